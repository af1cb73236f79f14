//! What a strategy looks at. A strategy is a pure function of what it is told, so two rosters that differ only in what it
//! never asks for get the same decision: that is what makes it right to take them for one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use crate::playbook::{Expr, ExprError};
use crate::run::{AgentId, AgentRecord, AgentState, Machine, Roster};

/// The kinds of things that a strategy has looked at, as a set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Looks(u16);

impl Looks {
    /// Which agents guards held.
    const HELD: Self = Self(1 << 8);
    /// All that is known of single agents: their states, batches, times and nodes.
    pub(super) const RECORDS: Self = Self(1 << 9);
    /// The attributes of agents.
    const ATTRIBUTES: Self = Self(1 << 10);

    /// Which agents are in this state.
    pub(super) const fn page(state: AgentState) -> Self {
        let bit = match state {
            AgentState::Added => 0,
            AgentState::Pending => 1,
            AgentState::Running => 2,
            AgentState::Done => 3,
            AgentState::Failed => 4,
            AgentState::Skipped => 5,
            AgentState::Removed => 6,
        };
        Self(1 << bit)
    }

    pub(super) const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    #[must_use]
    pub(super) const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether it has looked at whom guards hold.
    pub(super) const fn held(self) -> bool {
        self.has(Self::HELD)
    }

    /// Whether it can tell groups apart.
    pub(super) const fn sees_groups(self) -> bool {
        self.has(Self::ATTRIBUTES) || self.has(Self::RECORDS)
    }

    /// Whether it knows single agents apart by more than the state that they are in.
    pub(super) const fn sees_records(self) -> bool {
        self.has(Self::RECORDS)
    }
}

/// The roster of a machine, which notes what is asked of it.
pub(super) struct Watched {
    machine: Arc<Machine>,
    looks: AtomicU16,
}

impl Watched {
    pub(super) const fn new(machine: Arc<Machine>) -> Self {
        Self { machine, looks: AtomicU16::new(0) }
    }

    pub(super) fn looks(&self) -> Looks {
        Looks(self.looks.load(Ordering::Relaxed))
    }

    fn note(&self, looks: Looks) {
        self.looks.fetch_or(looks.0, Ordering::Relaxed);
    }
}

impl Roster for Watched {
    fn count(&self, state: AgentState) -> u32 {
        self.machine.count(state)
    }

    fn selected(&self) -> u32 {
        self.machine.selected()
    }

    fn page(&self, state: AgentState, after: Option<&AgentId>, limit: u32) -> Vec<AgentId> {
        self.note(Looks::page(state));
        self.machine.page(state, after, limit)
    }

    fn record(&self, id: &AgentId) -> Option<&AgentRecord> {
        self.note(Looks::RECORDS);
        Roster::record(&*self.machine, id)
    }

    fn held(&self, after: Option<&AgentId>, limit: u32) -> Vec<AgentId> {
        self.note(Looks::HELD);
        self.machine.held(after, limit)
    }

    fn matches(&self, id: &AgentId, expression: &Expr) -> Option<Result<bool, ExprError>> {
        self.note(Looks::ATTRIBUTES);
        self.machine.matches(id, expression)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_add_up() {
        let pending = Looks::page(AgentState::Pending);
        let both = pending.and(Looks::RECORDS);
        assert!(both.has(pending) && both.sees_groups() && both.sees_records());
        assert!(!pending.has(both) && !pending.sees_groups() && !pending.held());
        let pages = AgentState::ALL.map(Looks::page);
        let all = pages.iter().fold(Looks::default(), |all, page| all.and(*page));
        assert_eq!(all.0.count_ones() as usize, AgentState::ALL.len());
    }
}
