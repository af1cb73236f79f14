//! The run's agents as its strategy sees them.

use super::state::Machine;
use crate::playbook::{Expr, ExprError};
use crate::run::{AgentId, AgentRecord, AgentSeq, AgentState, Roster};

impl Roster for Machine {
    fn count(&self, state: AgentState) -> u32 {
        self.run.progress.count(state)
    }

    fn selected(&self) -> u32 {
        self.run.progress.stage.selected
    }

    fn page(&self, state: AgentState, after: Option<&AgentId>, limit: u32) -> Vec<AgentId> {
        let Some(set) = self.by_state.get(&state) else { return Vec::new() };
        let from = match after {
            None => AgentSeq(0),
            Some(id) => match self.seq_of(id) {
                Some(seq) => AgentSeq(seq.0.saturating_add(1)),
                None => return Vec::new(),
            },
        };
        let records = set.range(from..).take(limit as usize).filter_map(|seq| self.record(*seq));
        records.map(|record| record.agent.clone()).collect()
    }

    fn record(&self, id: &AgentId) -> Option<&AgentRecord> {
        self.seq_of(id).and_then(|seq| Self::record(self, seq))
    }

    fn matches(&self, id: &AgentId, expression: &Expr) -> Option<Result<bool, ExprError>> {
        Some(self.run.snapshot.holds_for(Roster::record(self, id)?, expression))
    }
}
