//! Failures of steps that a playbook passes over (`on_error: continue`), counted from the events alone: an
//! agent that is done has passed over each step that failed in its last attempt.

use std::collections::{BTreeMap, BTreeSet};

use replibook::run::{AgentId, AgentRecord, AgentSeq, AgentState, Failure, PassedOver, Progress};

use crate::ledger::{Check, expect};

#[derive(Default)]
pub(crate) struct PassedOverModel {
    /// Whether the last attempt of each step failed. A step's name is used in only one stage.
    failed: BTreeMap<AgentId, BTreeMap<String, bool>>,
    /// The step at which each agent failed last. While an agent goes on, a step that it passed over.
    failed_at: BTreeMap<AgentId, String>,
    /// Agents that left once, or were put back after their last steps: what they were doing begins again.
    left: BTreeSet<AgentId>,
}

impl PassedOverModel {
    pub(crate) fn step_ended(&mut self, agent: &AgentId, step: &str, failed: bool) {
        self.failed.entry(agent.clone()).or_default().insert(step.to_owned(), failed);
        if failed {
            self.failed_at.insert(agent.clone(), step.to_owned());
        }
    }

    /// An agent has failed. The event says why, unless the end of its last step has just said so.
    pub(crate) fn agent_failed(&mut self, agent: &AgentId, why: Option<&Failure>) {
        if let Some(why) = why {
            self.failed_at.insert(agent.clone(), why.step.clone());
        }
    }

    /// A failed agent is to be tried again. If it has done steps that follow a failure, some of them may be done again, and
    /// others never. Otherwise only the step at which it failed may never be done again: a run that closes goes on with
    /// other steps. Nobody passed over that failure.
    pub(crate) fn put_back(&mut self, agent: &AgentId, is_main: impl Fn(&str) -> bool) {
        let Some(steps) = self.failed.get_mut(agent) else { return };
        if steps.keys().any(|step| !is_main(step)) {
            self.left.insert(agent.clone());
        }
        if let Some(step) = self.failed_at.get(agent) {
            steps.remove(step);
        }
    }

    pub(crate) fn changed(&mut self, agent: &AgentId, to: AgentState) {
        if to == AgentState::Removed {
            self.left.insert(agent.clone());
        }
    }

    /// Checks that the run counts the same as its records, and that the records count what happened.
    pub(crate) fn fits(
        &self,
        progress: &Progress,
        records: &BTreeMap<AgentSeq, AgentRecord>,
    ) -> Check {
        let rule = "what is passed over is counted right";
        let with = || records.values().filter(|record| record.passed_over > 0);
        let folded = PassedOver {
            failures: with().map(|record| record.passed_over).sum(),
            agents: u32::try_from(with().count()).unwrap(),
        };
        let said = progress.passed_over;
        expect(said == folded, rule, || format!("{said} said, {folded} by the records"))?;
        let done = |record: &&AgentRecord| {
            record.state == AgentState::Done && !self.left.contains(&record.agent)
        };
        for record in records.values().filter(done) {
            let steps = self.failed.get(&record.agent);
            let failed = steps.map_or(0, |steps| steps.values().filter(|failed| **failed).count());
            expect(record.passed_over as usize == failed, rule, || {
                format!("{} of {}, and {failed} failed", record.passed_over, record.agent)
            })?;
        }
        Ok(())
    }
}
