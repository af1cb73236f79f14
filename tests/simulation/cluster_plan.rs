//! How the cluster of a history changes, as plain data, and which agents belong to it at any moment.

use crate::plan::{AgentPlan, Plan, Window};

/// A platform that tells of agents, and how truthfully it does.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PlatformPlan {
    /// How often it is asked, in milliseconds.
    pub(crate) interval: u64,
    /// How long an answer takes, in milliseconds.
    pub(crate) latency: u64,
    /// Whether it also tells of agents that the Cluster object lists.
    pub(crate) tells_all: bool,
    /// Untrue answers. If several apply at once, the first one counts.
    pub(crate) lies: Vec<Lie>,
    /// During this window the Cluster object does not name the platform.
    pub(crate) dropped: Option<Window>,
}

/// An untrue answer of a platform.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lie {
    pub(crate) window: Window,
    pub(crate) what: Lied,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lied {
    /// An answer that can't be read.
    Fails,
    /// Another cluster, and not this one.
    OtherCluster,
    /// The cluster without nodes.
    Empty,
    /// The cluster without this many hundredths of its nodes.
    Hides(u32),
    /// The nodes of another cluster under the name of this one.
    Strangers,
    /// Every node twice: some of them with two addresses, and two with the same address.
    Twice,
    /// The nodes, and some more that say nothing.
    Unusable,
}

/// Agents of another cluster that a platform may tell of.
pub(crate) const STRANGERS: usize = 2;

impl AgentPlan {
    /// Whether the agent belongs to the cluster at this moment.
    pub(crate) fn is_member(&self, at: u64) -> bool {
        !self.gone.iter().any(|gone| gone.holds(at))
    }

    /// Which of its addresses the agent has at this moment, from 0.
    pub(crate) fn home(&self, at: u64) -> usize {
        self.moves.iter().filter(|moved| **moved <= at).count()
    }
}

impl Plan {
    /// Whether the Cluster object lists the agent at this moment.
    pub(crate) fn lists(&self, agent: &AgentPlan, at: u64) -> bool {
        (self.platform.is_none() || agent.listed) && agent.is_member(at)
    }

    /// The platform; none if the Cluster object does not name it at this moment.
    pub(crate) fn named(&self, at: u64) -> Option<&PlatformPlan> {
        let platform = self.platform.as_ref()?;
        (!platform.dropped.is_some_and(|dropped| dropped.holds(at))).then_some(platform)
    }

    /// The moments at which the Cluster object changes, in order.
    pub(crate) fn turns(&self) -> Vec<u64> {
        let windows = self.agents.iter().flat_map(|agent| &agent.gone);
        let dropped = self.platform.iter().filter_map(|platform| platform.dropped.as_ref());
        let edges = windows.chain(dropped).flat_map(|window| [window.from, window.to]);
        let moves = self.agents.iter().flat_map(|agent| agent.moves.iter().copied());
        let mut turns: Vec<u64> = edges
            .chain(moves)
            .chain(self.guards.iter().map(|guards| guards.at))
            .filter(|at| (1..u64::MAX).contains(at))
            .collect();
        turns.sort_unstable();
        turns.dedup();
        turns
    }

    /// Whether nothing in this history delays what engines do.
    pub(crate) fn is_quiet(&self) -> bool {
        let engines = &self.engines;
        let selects =
            self.runs.iter().flat_map(|run| &run.stages).any(|stage| stage.selects.is_some());
        // An agent that joins and has to answer is waited for as long as it gives no answer that can be read.
        // A stranger never gives one, and a lie may name an address at which no agent is.
        let silent = |a: &AgentPlan| {
            a.away.is_some() || a.ill.is_some() || a.garbles.is_some() || a.proxied.is_some()
        };
        let mut lies = self.platform.iter().flat_map(|platform| &platform.lies);
        let misled = |lie: &Lie| matches!(lie.what, Lied::Strangers | Lied::Twice);
        let waits = selects && (self.agents.iter().any(silent) || lies.any(misled));
        // A run that is set aside is told nothing until it is tried again.
        self.outages.is_empty()
            && self.ill.is_none()
            && !waits
            && engines.iter().all(|engine| engine.troubles.is_empty() && engine.faults.is_empty())
    }

    /// Keeps the cluster as it is, as far as its runs can see.
    pub(crate) fn keep_members(&mut self) {
        for agent in &mut self.agents {
            agent.gone.clear();
            agent.moves.clear();
        }
        if let Some(platform) = &mut self.platform {
            platform.lies.clear();
            platform.dropped = None;
        }
    }
}
