//! What is noticed about a call in flight: that its agent does not answer, or that its action waits in the agent's
//! queue. It is for people only: no decision depends on it, and no plugin sees it.

use serde::{Deserialize, Serialize};

use crate::ids::AgentId;
use crate::time::Timestamp;

/// How many silent agents a run names. Explanations name no more, and every commit writes the names.
pub(super) const MAX_SILENT_NAMED: usize = 4;

/// What is noticed about a call in flight. If nothing is noticed, the call goes on as it should.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "notice")]
pub enum Notice {
    /// The agent gives no usable answer.
    NoAnswer {
        /// When the first request was sent that got no usable answer.
        since: Timestamp,
        /// What came of the last request, as human-readable text.
        message: String,
        /// Whether the agent answers at all, with errors.
        #[serde(default)]
        errors: bool,
    },
    /// The agent has not begun the action.
    Queued {
        /// Since when the action is known to be NEW.
        since: Timestamp,
        /// How many other actions are ahead in the agent's queue, or being executed.
        before: u32,
        /// Kind of the one that is being executed, or else of the first in the queue. `None` if there are none.
        #[serde(default)]
        behind: Option<String>,
    },
}

impl Notice {
    /// Whether the agent gives no usable answer.
    pub const fn is_silence(&self) -> bool {
        match self {
            Self::NoAnswer { .. } => true,
            Self::Queued { .. } => false,
        }
    }

    /// Since when this has been so.
    pub const fn since(&self) -> Timestamp {
        match self {
            Self::NoAnswer { since, .. } | Self::Queued { since, .. } => *since,
        }
    }
}

/// The agents that gave no usable answer when they were last asked about their nodes for a strategy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Unheard {
    /// How many agents there are.
    pub agents: u32,
    /// A few of the agents, those first that have been silent for longest.
    pub some: Vec<UnheardAgent>,
}

impl Unheard {
    /// Whether all agents answered.
    pub fn is_nobody(&self) -> bool {
        self.agents == 0
    }
}

/// An agent that gave no usable answer when it was asked for a strategy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct UnheardAgent {
    /// The agent.
    pub agent: AgentId,
    /// When the first request was sent that got no usable answer.
    pub since: Timestamp,
    /// What came of the last request, as human-readable text.
    pub message: String,
}

/// The agents of a run that have a call in flight and give no usable answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Silent {
    /// How many agents there are.
    pub agents: u32,
    /// The first few of the agents, by their number in the run.
    pub some: Vec<AgentId>,
}

impl Silent {
    /// Whether all agents answer.
    pub fn is_nobody(&self) -> bool {
        self.agents == 0
    }
}
