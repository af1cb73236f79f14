//! What people ask of a run: commands, each a document of its own.

use serde::{Deserialize, Serialize};

use crate::ids::{AgentId, CommandId, RunId};
use crate::time::Timestamp;

/// A command to a run. It is applied once, by the engine that holds the run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Command {
    /// Identifier; submitting the same one again changes nothing.
    pub id: CommandId,
    /// The run.
    pub run: RunId,
    /// What is asked.
    pub verb: Verb,
    /// The agent that it is about: for [`Verb::GiveUp`], and for a [`Verb::Retry`] of one agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<AgentId>,
    /// Whether a [`Verb::Retry`] does what ended well late again, in place of taking its result.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub again: bool,
    /// Who asks, as they said.
    pub actor: Option<String>,
    /// Why, as they said.
    pub why: Option<String>,
    /// When it was submitted.
    pub at: Timestamp,
    /// What became of it; none while it waits.
    pub outcome: Option<CommandOutcome>,
    /// When the run finished, once it has.
    pub finish_ts: Option<Timestamp>,
}

/// What a command asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Verb {
    /// Let a run go that waits for approval: before its start, or where its strategy asks.
    Approve,
    /// Cancel a run that waits for approval.
    Reject,
    /// Start no new agent; those that have started finish their steps.
    Pause,
    /// Start no new agent, and stop each that has started after its present call.
    PauseNow,
    /// Go on after a pause; accepts the failures so far. Refused where the strategy asks for approval.
    Resume,
    /// Put the failed agents of a paused run back in the queue, or one of them.
    Retry,
    /// Wait no longer for the action of an agent, which may never end.
    GiveUp,
    /// End the run after what is in flight.
    Cancel,
}

impl Verb {
    /// Every verb.
    pub const ALL: [Self; 8] = [
        Self::Approve,
        Self::Reject,
        Self::Pause,
        Self::PauseNow,
        Self::Resume,
        Self::Retry,
        Self::GiveUp,
        Self::Cancel,
    ];

    /// The word used everywhere.
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
    /// It did not fit.
    Refused {
        /// Why.
        reason: String,
    },
}
