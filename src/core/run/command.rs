//! What people ask of a run: commands. Each is a document of its own, so that it can be stored while another
//! process drives the run.

use serde::{Deserialize, Serialize};

use super::approving::Approves;
use super::signal::SentSignal;
use crate::ids::{AgentId, CommandId, RunId};
use crate::time::Timestamp;

/// A command to a run. It is applied once, by the engine that holds the run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Command {
    /// Identifier. Submitting a command with the same identifier again changes nothing.
    pub id: CommandId,
    /// The run that the command is for.
    pub run: RunId,
    /// What is asked of the run.
    pub verb: Verb,
    /// The agent that the command is about: for [`Verb::GiveUp`], and for a [`Verb::Retry`] or a [`Verb::Signal`] of
    /// one agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<AgentId>,
    /// Whether a [`Verb::Retry`] does again what ended well but late, instead of taking its result.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub again: bool,
    /// The signal of a [`Verb::Signal`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<SentSignal>,
    /// For [`Verb::Resume`]: the guard of the cluster that is overridden, so that it does not count for the run until the
    /// guard of that name is changed. `windows` and `freeze` stand for all windows and all freezes. It needs a `why`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub override_guard: Option<String>,
    /// For [`Verb::Approve`]: what was seen, and in which of the groups that the playbook names the actor is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approves: Option<Approves>,
    /// Who asks, as the person gave it.
    pub actor: Option<String>,
    /// Why, as the person gave it.
    pub why: Option<String>,
    /// When the command was submitted.
    pub at: Timestamp,
    /// What became of the command. `None` while it waits.
    pub outcome: Option<CommandOutcome>,
    /// When the run finished, once it has.
    pub finish_ts: Option<Timestamp>,
}

/// What a command asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Verb {
    /// Let a run go on that waits for approval: before its start, or where its strategy asks for approval.
    Approve,
    /// Cancel a run that waits for approval.
    Reject,
    /// Start no further agents; those that have started finish their steps.
    Pause,
    /// Start no further agents, and stop those that have started after their present calls.
    PauseNow,
    /// Go on after a pause, which accepts the failures so far. Refused if the strategy asked for approval; a run that was
    /// not approved in time asks again. With
    /// [`Command::override_guard`], it also works on a run that is not paused.
    Resume,
    /// Put the failed agents of a paused run, or one of them, back in the queue.
    Retry,
    /// Stop waiting for the action of an agent, because it may never end.
    GiveUp,
    /// End the run once what is in flight has ended.
    Cancel,
    /// Hand a signal to steps that wait for it, now or later.
    Signal,
}

impl Verb {
    /// All verbs.
    pub const ALL: [Self; 9] = [
        Self::Approve,
        Self::Reject,
        Self::Pause,
        Self::PauseNow,
        Self::Resume,
        Self::Retry,
        Self::GiveUp,
        Self::Cancel,
        Self::Signal,
    ];

    /// The word that stands for the verb in the API, on the command line and in documents.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Approve => "approve",
            Self::Reject => "reject",
            Self::Pause => "pause",
            Self::PauseNow => "pause-now",
            Self::Resume => "resume",
            Self::Retry => "retry",
            Self::GiveUp => "give-up",
            Self::Cancel => "cancel",
            Self::Signal => "signal",
        }
    }
}

impl std::fmt::Display for Verb {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What became of a command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "outcome")]
pub enum CommandOutcome {
    /// It took effect.
    Applied,
    /// The run was not in a state in which the command could be applied.
    Refused {
        /// Why, as human-readable text.
        reason: String,
    },
}
