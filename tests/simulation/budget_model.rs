//! How many agents have failed, counted from the events alone, and whether more may start. The model shares
//! no code with the machine that it checks.

use std::collections::BTreeSet;

use replibook::playbook::{Budget, BudgetScope, OnExceeded};
use replibook::run::AgentId;

#[derive(Default)]
pub(crate) struct BudgetModel {
    /// Agents of the present stage whose failure counts.
    failed: BTreeSet<AgentId>,
    /// The same for earlier stages: an agent that left in one of them and has returned has failed in it for
    /// good.
    earlier: BTreeSet<AgentId>,
    /// Agents that begin the next stage as failed.
    entered: BTreeSet<AgentId>,
    /// Failures of earlier stages that count for the run.
    before: usize,
    /// Failures that don't count against the stages that are always done before the end.
    uncounted: usize,
    /// Failures of the whole run that a person has accepted.
    accepted: usize,
    /// Agents that the present stage selected.
    pub(crate) selected: u32,
}

impl BudgetModel {
    pub(crate) fn stage_begins(&mut self, selected: u32) {
        self.before += self.failed.len();
        self.earlier.append(&mut self.failed);
        self.failed = std::mem::take(&mut self.entered);
        self.selected = selected;
    }

    /// An agent failed, and not because the run was cancelled.
    pub(crate) fn failed(&mut self, agent: &AgentId) {
        self.failed.insert(agent.clone());
    }

    /// An agent that has failed before enters the next stage.
    pub(crate) fn enters_failed(&mut self, agent: &AgentId) {
        self.entered.insert(agent.clone());
    }

    /// A failed agent is to be tried again.
    pub(crate) fn put_back(&mut self, agent: &AgentId) {
        self.failed.remove(agent);
        self.accepted = self.accepted.min(self.of_run());
    }

    /// A person let the run go on although the budget was exceeded.
    pub(crate) fn accepted(&mut self) {
        self.accepted = self.of_run();
    }

    /// It is known that the run ends. If its present stage goes on, the failures of that still count.
    pub(crate) fn closes(&mut self, stage_goes_on: bool) {
        self.accepted();
        self.uncounted = if stage_goes_on { self.before } else { self.of_run() };
    }

    /// The failures of the present stage, and of the whole run.
    pub(crate) fn counted(&self) -> (usize, usize) {
        (self.failed.len(), self.of_run())
    }

    /// The agents that failed in any stage and were not put back. The run itself is none, which fails in a stage that
    /// has no agents.
    pub(crate) fn agents(&self) -> BTreeSet<&AgentId> {
        let all = self.failed.iter().chain(&self.entered).chain(&self.earlier);
        all.filter(|agent| !agent.is_run()).collect()
    }

    fn of_run(&self) -> usize {
        self.before + self.failed.len()
    }

    /// Whether no further agent may start under this budget.
    pub(crate) fn exceeded(&self, budget: &Budget) -> bool {
        let counted = match budget.scope {
            BudgetScope::Stage => self.failed.len(),
            BudgetScope::Run => self.of_run().saturating_sub(self.uncounted),
        };
        counted > budget.max_failed.of(self.selected) as usize && self.of_run() > self.accepted
    }

    /// Whether a run that goes on should have been paused.
    pub(crate) fn stops(&self, budget: &Budget) -> bool {
        budget.on_exceeded == OnExceeded::Pause && self.exceeded(budget)
    }

    pub(crate) fn in_words(&self) -> String {
        let (of_run, accepted, selected) = (self.of_run(), self.accepted, self.selected);
        let failed = self.failed.len();
        format!("{failed} of {selected} failed, {of_run} in all stages, {accepted} accepted")
    }
}
