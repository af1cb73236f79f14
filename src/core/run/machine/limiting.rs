//! Keeps a run to the number of agents that it was started with.
//!
//! The first agents that a stage selects take part. Once as many take part as the limit says, no other agent does, in
//! no later stage either. So a run never touches more agents than that, however many stages it has.

use super::entering::BEYOND_LIMIT;
use crate::run::state::{Standing, State};
use crate::run::{AgentSeq, AgentState};

/// How many further agents may take part; `None` without a limit.
pub(super) struct Places(Option<u32>);

impl Places {
    pub(super) fn of(state: &State) -> Self {
        Self(state.snapshot().narrowed.limit.map(|limit| {
            let chosen = state.records().filter(|record| record.chosen).count();
            limit.saturating_sub(u32::try_from(chosen).unwrap_or(u32::MAX))
        }))
    }

    /// The standing of a member that has this standing by the selection alone. `has_one` says whether the member is
    /// already one of those that take part.
    pub(super) fn give(&mut self, standing: Standing, has_one: bool) -> Standing {
        let Some(places) = &mut self.0 else { return standing };
        match standing {
            Standing::Out(_) | Standing::Bystander => standing,
            Standing::In | Standing::Fails { .. } if has_one => standing,
            Standing::In | Standing::Fails { .. } => match places.checked_sub(1) {
                Some(left) => {
                    *places = left;
                    standing
                }
                None => Standing::Out(BEYOND_LIMIT),
            },
        }
    }
}

impl State {
    /// The standing of an agent that joined. Those that joined before it and wait to be admitted have a place.
    pub(super) fn within_limit(&self, seq: AgentSeq, standing: Standing) -> Standing {
        let Some(limit) = self.snapshot().narrowed.limit else { return standing };
        let has_one = self.find(seq).is_some_and(|agent| agent.record().chosen);
        let others = self.records().filter(|record| {
            record.seq != seq && (record.chosen || record.state == AgentState::Added)
        });
        let others = u32::try_from(others.count()).unwrap_or(u32::MAX);
        Places(Some(limit.saturating_sub(others))).give(standing, has_one)
    }
}
