//! The imports of the world `strategy`. What a guest logs is the same for both worlds.

use super::bindings::strategy::replicante::playbook::roster::{
    self, AgentDetails, AgentState, StateCounts,
};
use super::convert;
use super::guest::Guest;
use crate::run::{self, AgentId, MAX_ROSTER_PAGE};

impl roster::Host for Guest {
    fn counts(&mut self) -> wasmtime::Result<StateCounts> {
        let roster = self.roster("roster.counts")?;
        Ok(StateCounts {
            added: roster.count(run::AgentState::Added),
            pending: roster.count(run::AgentState::Pending),
            running: roster.count(run::AgentState::Running),
            done: roster.count(run::AgentState::Done),
            failed: roster.count(run::AgentState::Failed),
            skipped: roster.count(run::AgentState::Skipped),
            removed: roster.count(run::AgentState::Removed),
            selected: roster.selected(),
        })
    }

    fn page(
        &mut self,
        state: AgentState,
        after: Option<String>,
        limit: u32,
    ) -> wasmtime::Result<Vec<String>> {
        let roster = self.roster("roster.page")?;
        let after = after.map(AgentId);
        let limit = limit.min(MAX_ROSTER_PAGE);
        let ids = roster.page(convert::agent_state(state), after.as_ref(), limit);
        Ok(ids.into_iter().map(|id| id.0).collect())
    }

    fn details(&mut self, id: String) -> wasmtime::Result<Option<AgentDetails>> {
        let roster = self.roster("roster.details")?;
        Ok(roster.record(&AgentId(id)).map(convert::agent_details))
    }
}
