//! What one decision hands to the next. The host limits its size, so it must not grow with the number of
//! agents: batches of agents are kept as the numbers of the decisions that started them, and places in the
//! roster as the identifier of one agent.

use serde::{Deserialize, Serialize};

#[derive(Default, Serialize, Deserialize)]
pub(crate) struct Memo {
    pub(crate) phase: Phase,
    /// The present batch; the canaries are batch 0.
    pub(crate) batch: u32,
    /// How many agents the batch may still start; none means all that are selected.
    pub(crate) left: Option<u32>,
    /// The last agent for which the expression that selects canaries was tried.
    pub(crate) after: Option<String>,
    /// How many decisions have started agents so far. The host gives agents these numbers.
    pub(crate) decisions: u32,
    /// Number of the last decision that started canaries.
    pub(crate) canaries: u32,
    /// Number of the first decision that belongs to the present batch.
    pub(crate) first: u32,
    /// Agents that decisions up to this number started are no longer looked at, since a person let the run go
    /// on although some were ill.
    pub(crate) accepted: u32,
    /// When the soak of the canaries ends, in milliseconds since the Unix epoch; none after later batches.
    pub(crate) until: Option<f64>,
    pub(crate) look: Look,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Phase {
    /// The stage begins, or all canaries are gone.
    #[default]
    New,
    /// The batch is being started.
    Start,
    /// The batch is in flight.
    Flight,
    /// The health of agents that are done is looked at.
    Look,
    /// The next batch may start.
    Next,
}

/// How far a look at the health of agents has come.
#[derive(Default, Serialize, Deserialize)]
pub(crate) struct Look {
    /// The last agent that was looked at.
    pub(crate) after: Option<String>,
    /// When the agents after it were asked afresh, in milliseconds since the Unix epoch; none if they were
    /// not.
    pub(crate) asked: Option<f64>,
    /// How many agents were found well so far.
    pub(crate) well: u32,
}

impl Memo {
    /// Whether agents that this decision started are looked at.
    pub(crate) fn looks_at(&self, decision: u32) -> bool {
        let canary = decision <= self.canaries;
        let present = decision >= self.first;
        decision > self.accepted && (canary || present)
    }

    /// Whether agents that this decision started are canaries that are still looked at.
    pub(crate) fn is_canary(&self, decision: u32) -> bool {
        decision <= self.canaries && decision > self.accepted
    }
}
