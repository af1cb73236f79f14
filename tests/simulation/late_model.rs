//! Actions that ended after the time of their attempt, and what the next attempt does with them.

use std::collections::{BTreeMap, BTreeSet};

use replibook::run::AgentId;

use crate::ledger::{Check, expect};

/// Attempts whose action ended well late, and agents that are to do it all again.
#[derive(Debug, Default)]
pub(crate) struct LateModel {
    well: BTreeMap<AgentId, (String, u32)>,
    again: BTreeSet<AgentId>,
}

impl LateModel {
    /// The action of an attempt that was over has ended.
    pub(crate) fn ended(&mut self, agent: &AgentId, step: &str, attempt: u32, outcome: &str) {
        if outcome == "DONE" {
            self.well.insert(agent.clone(), (step.to_owned(), attempt));
        }
    }

    /// A person has these tried again, and perhaps do all of their step again.
    pub(crate) fn put_back(&mut self, agents: impl Iterator<Item = AgentId>, again: bool) {
        for agent in agents {
            match again {
                true => drop(self.again.insert(agent)),
                false => drop(self.again.remove(&agent)),
            }
        }
    }

    /// An attempt begins, with the late result of that one.
    pub(crate) fn begins(
        &mut self,
        agent: &AgentId,
        step: &str,
        attempt: u32,
        takes: Option<u32>,
    ) -> Check {
        let before = attempt.checked_sub(1);
        let well = self.well.remove(agent);
        let is_last = |(of, number): &(String, u32)| of == step && Some(*number) == before;
        let again = self.again.remove(agent);
        let expected = before.filter(|_| well.as_ref().is_some_and(is_last) && !again);
        expect(takes == expected, "what ended well late is taken, and not done again", || {
            format!("attempt {attempt} of {step} on {agent} takes {takes:?}: {well:?}, {again}")
        })
    }
}
