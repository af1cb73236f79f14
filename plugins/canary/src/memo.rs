//! What one decision hands to the next. It stays small however many agents there are: agents are
//! known by the numbers of the decisions that started them, and places in the roster by one name.

use serde::{Deserialize, Serialize};

#[derive(Default, Serialize, Deserialize)]
pub(crate) struct Memo {
    pub(crate) phase: Phase,
    /// The present batch; the canaries are batch 0.
    pub(crate) batch: u32,
    /// Agents that it may still start; none while all that are selected may start.
    pub(crate) left: Option<u32>,
    /// The last agent that was looked at for canaries.
    pub(crate) after: Option<String>,
    /// Decisions that started agents so far: the host numbers agents by them.
    pub(crate) decisions: u32,
    /// The last of them that started canaries.
    pub(crate) canaries: u32,
    /// The first of them that belongs to the present batch.
    pub(crate) first: u32,
    /// What these decisions started is no longer looked at, since a person let the run go on.
    pub(crate) accepted: u32,
    /// Until when the canaries are watched.
    pub(crate) until: Option<f64>,
    pub(crate) look: Look,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Phase {
    /// The stage begins.
    #[default]
    New,
    /// The batch is being started.
    Start,
    /// The batch is in flight.
    Flight,
    /// The health of what is done is looked at.
    Look,
    /// The next batch may start.
    Next,
}

/// A look at the health of agents, some at a time.
#[derive(Default, Serialize, Deserialize)]
pub(crate) struct Look {
    /// The last agent that was looked at.
    pub(crate) after: Option<String>,
    /// When those after it were to be asked afresh.
    pub(crate) asked: Option<f64>,
    /// Agents that were found well so far.
    pub(crate) well: u32,
}

impl Memo {
    /// Whether the health of what a decision started is looked at.
    pub(crate) fn looks_at(&self, decision: u32) -> bool {
        let canary = decision <= self.canaries;
        let present = decision >= self.first;
        decision > self.accepted && (canary || present)
    }

    /// Whether a decision started canaries that are looked at.
    pub(crate) fn is_canary(&self, decision: u32) -> bool {
        decision <= self.canaries && decision > self.accepted
    }
}
