//! What may happen to a stage between two questions to its strategy.

use crate::run::AgentId;

/// One thing that happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// The steps of an agent end well.
    Ends(AgentId),
    /// A step of an agent fails for good.
    Fails(AgentId),
    /// An agent of this group joins the cluster.
    Joins(AgentId, u32),
    /// An agent leaves the cluster.
    Leaves(AgentId),
    /// A person pauses the run.
    Pauses,
    /// A person lets it go on.
    Resumes,
    /// A person approves what the strategy asks.
    Approves,
    /// The moment comes for which the strategy or a guard waits.
    Waits,
}

impl Event {
    /// The agent that it happens to, if it is one.
    pub(super) const fn agent(&self) -> Option<&AgentId> {
        match self {
            Self::Ends(agent)
            | Self::Fails(agent)
            | Self::Joins(agent, _)
            | Self::Leaves(agent) => Some(agent),
            Self::Pauses | Self::Resumes | Self::Approves | Self::Waits => None,
        }
    }
}
