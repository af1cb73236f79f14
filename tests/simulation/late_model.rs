//! Actions that ended after the time of their attempt, and what the next attempt does with their results.

use std::collections::{BTreeMap, BTreeSet};

use replibook::run::{AgentId, FailureReason};

use crate::ledger::{Check, expect};

/// Attempts whose action ended well late, and agents that are to do everything again.
#[derive(Debug, Default)]
pub(crate) struct LateModel {
    well: BTreeMap<AgentId, (String, u32)>,
    /// For each agent: the step, the attempt that took over a late result, and the attempt that the result is
    /// from. The next attempt takes it over too if this one comes to nothing.
    taken: BTreeMap<AgentId, (String, u32, u32)>,
    again: BTreeSet<AgentId>,
}

impl LateModel {
    /// The action of an attempt that was over has ended.
    pub(crate) fn ended(&mut self, agent: &AgentId, step: &str, attempt: u32, outcome: &str) {
        if outcome == "DONE" {
            self.well.insert(agent.clone(), (step.to_owned(), attempt));
        }
    }

    /// A person has these agents tried again. With `again`, they do all of their step again.
    pub(crate) fn put_back(&mut self, agents: impl Iterator<Item = AgentId>, again: bool) {
        for agent in agents {
            match again {
                true => drop(self.again.insert(agent)),
                false => drop(self.again.remove(&agent)),
            }
        }
    }

    /// An attempt begins, with the late result of attempt `takes`.
    pub(crate) fn begins(
        &mut self,
        agent: &AgentId,
        step: &str,
        attempt: u32,
        takes: Option<u32>,
    ) -> Check {
        let before = attempt.checked_sub(1);
        let well = self.well.remove(agent).map(|(of, number)| (of, number, number));
        let late = self.taken.remove(agent);
        let late = well.or(late);
        let is_last = |(of, last, _): &&(String, u32, u32)| of == step && Some(*last) == before;
        let again = self.again.remove(agent);
        let expected = late.as_ref().filter(is_last).filter(|_| !again).map(|(_, _, from)| *from);
        if let Some(from) = expected {
            self.taken.insert(agent.clone(), (step.to_owned(), attempt, from));
        }
        expect(takes == expected, "what ended well late is taken, and not done again", || {
            format!("attempt {attempt} of {step} on {agent} takes {takes:?}: {late:?}, {again}")
        })
    }

    /// An attempt has ended. An attempt that took over a late result needs nothing more for its only action,
    /// so it comes to nothing only if the host ends it.
    pub(crate) fn attempt_ended(&mut self, agent: &AgentId, failure: Option<FailureReason>) {
        let is_of_host = matches!(
            failure,
            Some(
                FailureReason::TimedOut
                    | FailureReason::WrongNode
                    | FailureReason::PluginUnavailable
                    | FailureReason::PluginOutOfTime
                    | FailureReason::PluginOutOfMemory
            )
        );
        if !is_of_host {
            self.taken.remove(agent);
        }
    }
}
