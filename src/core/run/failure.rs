//! Why an agent failed: a fixed list of reasons for programs, with a message for people.

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// Why an agent failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Failure {
    /// The reason, one of a fixed list.
    pub reason: FailureReason,
    /// What happened, as human-readable text of at most 4 KiB.
    pub message: String,
    /// Name of the step that failed.
    pub step: String,
    /// When it failed.
    pub at: Timestamp,
}

/// The most bytes of a failure's message, as many as a plugin's message may have. The message is in the record,
/// even after its stage is over, and in two events of each attempt. The second event has it twice if it differs
/// from what the end of the step said. One commit may have many failures.
pub(super) const MAX_FAILURE_BYTES: usize = 4 * 1024;

impl Failure {
    /// The failure of a step. Only the beginning of a long message is kept.
    pub(super) fn new(reason: FailureReason, message: String, step: String, at: Timestamp) -> Self {
        Self { reason, message: Self::kept(message), step, at }
    }

    /// The part of a message that is kept.
    pub fn kept(message: String) -> String {
        beginning(message, MAX_FAILURE_BYTES)
    }

    /// The failure of an agent that left before its steps ended, where the stage counts that as a failure.
    pub(super) fn left_cluster(step: String, at: Timestamp) -> Self {
        let message = "the agent left the cluster before its steps ended".to_owned();
        Self { reason: FailureReason::LeftCluster, message, step, at }
    }
}

/// At most `bytes` bytes of a message that may quote agents, followed by `…` if there was more. Control characters
/// are replaced: JSON writes each of them with six bytes.
pub(super) fn beginning(mut message: String, bytes: usize) -> String {
    if message.len() > bytes {
        message.truncate(message.floor_char_boundary(bytes));
        message.push('…');
    }
    let is_odd = |c: char| c.is_control() && c != '\n' && c != '\t';
    if message.contains(is_odd) {
        message = message.replace(is_odd, "\u{fffd}");
    }
    message
}

/// The reasons for a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum FailureReason {
    /// An action ended in FAILED.
    ActionFailed,
    /// The agent, or something in front of it, refused the request. Nothing was done.
    Refused,
    /// The agent's answer can't be read, or is over its bounds.
    Malformed,
    /// The agent could not be reached before the deadline.
    Unreachable,
    /// What answers at the agent's address says that it is another node. Nothing was sent to it.
    WrongNode,
    /// The agent no longer knows an action that it had accepted.
    ActionLost,
    /// The step itself gave an error.
    StepFailed,
    /// The time of the step ran out.
    TimedOut,
    /// The plugin trapped.
    PluginTrapped,
    /// The plugin used more CPU time than an activation may.
    PluginOutOfTime,
    /// The plugin asked for more memory than an activation may have.
    PluginOutOfMemory,
    /// The plugin exceeded a limit on numbers or sizes: calls, log lines, results.
    PluginLimit,
    /// An activation did not repeat the calls of the activation before it.
    NotDeterministic,
    /// The plugin could not be loaded.
    PluginUnavailable,
    /// The precondition of the step did not hold.
    Precondition,
    /// The plugin asked for something that the playbook does not grant.
    NotGranted,
    /// A secret is not where the engine looks for it, or is not what a secret may be.
    SecretUnavailable,
    /// An expression of the playbook failed, or the arguments do not fit the plugin's schema.
    BadArguments,
    /// The agent left the cluster before its steps ended, and the stage counts that as a failure.
    LeftCluster,
    /// The run was cancelled before the agent's steps ended. This is the only reason that never counts against a
    /// budget.
    Cancelled,
}

impl FailureReason {
    /// All reasons.
    pub const ALL: [Self; 20] = [
        Self::ActionFailed,
        Self::Refused,
        Self::Malformed,
        Self::Unreachable,
        Self::WrongNode,
        Self::ActionLost,
        Self::StepFailed,
        Self::TimedOut,
        Self::PluginTrapped,
        Self::PluginOutOfTime,
        Self::PluginOutOfMemory,
        Self::PluginLimit,
        Self::NotDeterministic,
        Self::PluginUnavailable,
        Self::Precondition,
        Self::NotGranted,
        Self::SecretUnavailable,
        Self::BadArguments,
        Self::LeftCluster,
        Self::Cancelled,
    ];

    /// Whether the host could not activate the step, or not to its end. Neither the step nor its agent is to blame
    /// for that.
    pub(super) const fn is_of_host(self) -> bool {
        match self {
            Self::PluginUnavailable | Self::PluginOutOfTime | Self::PluginOutOfMemory => true,
            Self::ActionFailed
            | Self::Refused
            | Self::Malformed
            | Self::Unreachable
            | Self::WrongNode
            | Self::ActionLost
            | Self::StepFailed
            | Self::TimedOut
            | Self::PluginTrapped
            | Self::PluginLimit
            | Self::NotDeterministic
            | Self::Precondition
            | Self::NotGranted
            | Self::SecretUnavailable
            | Self::BadArguments
            | Self::LeftCluster
            | Self::Cancelled => false,
        }
    }

    /// The word that stands for the reason in the API, on the command line and in documents.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ActionFailed => "action-failed",
            Self::Refused => "refused",
            Self::Malformed => "malformed",
            Self::Unreachable => "unreachable",
            Self::WrongNode => "wrong-node",
            Self::ActionLost => "action-lost",
            Self::StepFailed => "step-failed",
            Self::TimedOut => "timed-out",
            Self::PluginTrapped => "plugin-trapped",
            Self::PluginOutOfTime => "plugin-out-of-time",
            Self::PluginOutOfMemory => "plugin-out-of-memory",
            Self::PluginLimit => "plugin-limit",
            Self::NotDeterministic => "not-deterministic",
            Self::PluginUnavailable => "plugin-unavailable",
            Self::Precondition => "precondition",
            Self::NotGranted => "not-granted",
            Self::SecretUnavailable => "secret-unavailable",
            Self::BadArguments => "bad-arguments",
            Self::LeftCluster => "left-cluster",
            Self::Cancelled => "cancelled",
        }
    }
}

impl std::fmt::Display for FailureReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}
