//! What is noticed about a call in flight: that its agent does not answer, or that its action waits in
//! the agent's queue. It is only for people: nothing is decided by it, and no plugin sees it.

use serde::{Deserialize, Serialize};

use crate::ids::AgentId;
use crate::time::Timestamp;

/// How many silent agents a run names: its explanation names no more, and every commit writes them.
pub(super) const MAX_SILENT_NAMED: usize = 4;

/// What is noticed of a call in flight. A call of which nothing is noticed goes on as it should.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "notice")]
pub enum Notice {
    /// The agent gives no good answer.
    NoAnswer {
        /// When the first of the requests was sent that got none.
        since: Timestamp,
        /// What came of the last request, for people.
        message: String,
        /// Whether it answers at all, with errors.
        #[serde(default)]
        errors: bool,
    },
    /// The agent has not begun the action.
    Queued {
        /// Since when the action is known to be NEW.
        since: Timestamp,
        /// How many others come before it in the agent's queue, or go on.
        before: u32,
        /// Kind of the action that goes on there, or that goes first; none when no other comes before.
        #[serde(default)]
        behind: Option<String>,
    },
}

impl Notice {
    /// Whether the agent gives no good answer.
    pub const fn is_silence(&self) -> bool {
        match self {
            Self::NoAnswer { .. } => true,
            Self::Queued { .. } => false,
        }
    }

    /// Since when it is so.
    pub const fn since(&self) -> Timestamp {
        match self {
            Self::NoAnswer { since, .. } | Self::Queued { since, .. } => *since,
        }
    }
}

/// The agents that gave no good answer when they were asked about their nodes for a strategy last.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Unheard {
    /// How many.
    pub agents: u32,
    /// A few of them, those that have been silent for longest first.
    pub some: Vec<UnheardAgent>,
}

impl Unheard {
    /// Whether all agents answered.
    pub fn is_nobody(&self) -> bool {
        self.agents == 0
    }
}

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct UnheardAgent {
    /// The agent.
    pub agent: AgentId,
    /// When the first of the requests was sent that got no good answer.
    pub since: Timestamp,
    /// What came of the last one, for people.
    pub message: String,
}

/// The agents of a run that have a call in flight and give no good answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Silent {
    /// How many.
    pub agents: u32,
    /// The first few of them, in the order of the run.
    pub some: Vec<AgentId>,
}

impl Silent {
    /// Whether all agents answer.
    pub fn is_nobody(&self) -> bool {
        self.agents == 0
    }
}
