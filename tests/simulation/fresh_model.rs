//! What agents say for a strategy: all agents that it wished for are asked after the wish, and again after
//! every pause.

use std::collections::BTreeSet;

use replibook::run::{AgentId, AgentState, Asked, Timestamp};

use crate::ledger::{Check, expect};
use crate::run_model::RunModel;

/// The last wish of the strategy of the present stage.
#[derive(Debug, Default)]
pub(crate) struct FreshModel {
    wished: BTreeSet<AgentId>,
    /// Answers from before this moment do not count.
    since: Timestamp,
}

impl FreshModel {
    /// A decision was carried out.
    pub(crate) fn wishes(&mut self, agents: &[AgentId], at: Timestamp) {
        (self.wished, self.since) = (agents.iter().cloned().collect(), at);
    }

    /// The run goes on after a pause.
    pub(crate) fn goes_on(&mut self, at: Timestamp) {
        self.since = at;
    }

    /// It is no longer known which node answers at the agent's address.
    pub(crate) fn left(&mut self, agent: &AgentId) {
        self.wished.remove(agent);
    }
}

impl RunModel {
    /// Checks, when the strategy has decided, that it saw fresh answers.
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
