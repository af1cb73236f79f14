//! What agents say for a strategy: it is asked of all for whom it wished, after that and after every pause.

use std::collections::BTreeSet;

use replibook::run::{AgentId, AgentState, Asked, Timestamp};

use crate::ledger::{Check, expect};
use crate::run_model::RunModel;

/// The last wish of the strategy of the present stage.
#[derive(Debug, Default)]
pub(crate) struct FreshModel {
    wished: BTreeSet<AgentId>,
    /// What is older does not count.
    since: Timestamp,
}

impl FreshModel {
    /// A decision was obeyed.
    pub(crate) fn wishes(&mut self, agents: &[AgentId], at: Timestamp) {
        (self.wished, self.since) = (agents.iter().cloned().collect(), at);
    }

    /// The run goes on after a pause.
    pub(crate) fn goes_on(&mut self, at: Timestamp) {
        self.since = at;
    }

    /// Nobody knows any more what answers there.
    pub(crate) fn left(&mut self, agent: &AgentId) {
        self.wished.remove(agent);
    }
}

impl RunModel {
    /// The strategy was asked, and something came of it.
    pub(crate) fn was_fresh(&self, asked: &Asked) -> Check {
        let FreshModel { wished, since } = &self.fresh;
        if asked.at < *since {
            return Ok(());
        }
        for agent in wished {
            let seen_at = self.record_of(agent).and_then(|record| record.node_seen_at);
            let is_gone = self.state_of(agent) == Some(AgentState::Removed);
            expect(
                is_gone || seen_at >= Some(*since),
                "what a strategy wished for is fresh",
                || format!("{agent} was asked at {seen_at:?}, expected since {since}; {asked:?}"),
            )?;
        }
        Ok(())
    }
}
