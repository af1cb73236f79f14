//! The budget, the end of a stage, and the end of the run.

use super::changes::Changes;
use super::state::{IllegalInput, Machine};
use crate::mutants::mutant;
use crate::playbook::{BudgetScope, OnExceeded};
use crate::run::{
    AgentState, Effect, PlannedNext, ReasonCode, RunStatus, StageProgress, StatusReason,
};

impl Machine {
    /// The failures that the budget of the stage counts.
    fn counted_failures(&self) -> u32 {
        let progress = &self.run.progress;
        match self.stage().map(|stage| stage.budget.scope) {
            Some(BudgetScope::Run) => progress.failures,
            Some(BudgetScope::Stage) | None => progress.stage.failures,
        }
    }

    /// The failures that the budget allows.
    fn allowed_failures(&self) -> u32 {
        let selected = self.run.progress.stage.selected;
        self.stage().map_or(0, |stage| stage.budget.max_failed.of(selected))
    }

    /// Whether more agents failed than the budget allows and a person has accepted.
    pub(super) fn budget_exceeded(&self) -> bool {
        let progress = &self.run.progress;
        let late = u32::from(mutant!(BudgetCheckedLate));
        self.counted_failures() > self.allowed_failures() + late
            && progress.failures > progress.accepted_failures
    }

    /// Acts on a budget that is exceeded. The host does, whatever the strategy thinks of it.
    pub(super) fn check_budget(&mut self, changes: &mut Changes) {
        if !self.budget_exceeded() {
            return;
        }
        let failures = self.counted_failures();
        let noun = if failures == 1 { "agent" } else { "agents" };
        let message =
            format!("{failures} {noun} failed, the budget allows {}", self.allowed_failures());
        let on_exceeded = self.stage().map(|stage| stage.budget.on_exceeded);
        match (on_exceeded, self.run.progress.status) {
            (Some(OnExceeded::Pause), RunStatus::Running) => {
                self.pause(ReasonCode::BudgetExceeded, message, changes);
            }
            (Some(OnExceeded::Abort), RunStatus::Running | RunStatus::Paused) => {
                // What ends the run already is not mended by agents that are tried again.
                if !matches!(self.run.progress.stage.next, Some(PlannedNext::Abort { .. })) {
                    let code = ReasonCode::BudgetExceeded;
                    let abort = PlannedNext::Abort { code, reason: message };
                    self.run.progress.stage.next = Some(abort);
                    changes.progress = true;
                }
            }
            // A run that is paused says why already, and one that is ending ends.
            (Some(OnExceeded::Pause | OnExceeded::Abort) | None, _) => {}
        }
    }

    /// Ends the stage once nothing is in flight and nothing more is to come: the next one begins, or
    /// the run ends.
    pub(super) fn end_stage_if_over(&mut self, changes: &mut Changes) {
        if !self.nothing_in_flight() || self.admitting || !self.meanwhile.is_empty() {
            return;
        }
        match self.run.progress.status {
            RunStatus::Cancelling => {
                let message = "cancelled".to_owned();
                let reason = self.run.progress.reason.clone();
                let reason = reason.unwrap_or(StatusReason { code: ReasonCode::Operator, message });
                self.finish(RunStatus::Cancelled, reason, changes);
            }
            RunStatus::Running => match &self.run.progress.stage.next {
                Some(PlannedNext::Complete) => self.end_stage(changes),
                Some(PlannedNext::Abort { code, reason }) => {
                    let reason = StatusReason { code: *code, message: reason.clone() };
                    self.finish(RunStatus::Failed, reason, changes);
                }
                Some(PlannedNext::Wait | PlannedNext::WaitUntil { .. }) | None => {}
            },
            RunStatus::PendingApprove
            | RunStatus::Pending
            | RunStatus::Starting
            | RunStatus::Paused
            | RunStatus::Finishing
            | RunStatus::Done
            | RunStatus::Failed
            | RunStatus::Cancelled => {}
        }
    }

    fn end_stage(&mut self, changes: &mut Changes) {
        let (failures, allowed) = (self.counted_failures(), self.allowed_failures());
        if failures > allowed && self.run.progress.exceeded.is_none() {
            self.run.progress.exceeded = Some(self.how_the_stage_ended());
        }
        let next = self.run.progress.stage.index.saturating_add(1);
        if usize::from(next) < self.run.snapshot.playbook.stages.len() {
            self.run.progress.stage =
                StageProgress { index: next, entering: true, ..StageProgress::default() };
            changes.progress = true;
            self.plan_due = false;
            self.load_members(changes);
            return;
        }
        let (outcome, reason) = self.verdict();
        self.finish(outcome, reason, changes);
    }

    fn how_the_stage_ended(&self) -> String {
        let failures = self.counted_failures();
        let selected = self.run.progress.stage.selected;
        let left = self.run.progress.count(AgentState::Pending);
        let mut message = if failures == 0 {
            let done = self.run.progress.count(AgentState::Done);
            // More than were selected when others joined.
            format!("{done} of {} agents done", selected.max(done))
        } else {
            let allowed = self.allowed_failures();
            format!("{failures} of {selected} agents failed, the budget allows {allowed}")
        };
        if left > 0 {
            message.push_str(&format!("; {left} were not started"));
        }
        message
    }

    /// How a run ends whose last stage its strategy called complete. Failures within the budgets end
    /// in DONE; more than one of them allows end in FAILED, also when a person let the run go on
    /// after them.
    fn verdict(&self) -> (RunStatus, StatusReason) {
        if let Some(message) = self.run.progress.exceeded.clone() {
            return (RunStatus::Failed, StatusReason { code: ReasonCode::BudgetExceeded, message });
        }
        let failures = self.run.progress.failures;
        let stages = self.run.snapshot.playbook.stages.len();
        let mut message = self.how_the_stage_ended();
        if failures > self.counted_failures() {
            message.push_str(&format!("; {failures} failed in all {stages} stages"));
        }
        let code = if failures > 0 { ReasonCode::SomeFailed } else { ReasonCode::AllDone };
        (RunStatus::Done, StatusReason { code, message })
    }

    /// Enters FINISHING: the outcome is settled and the one finish time is fixed.
    pub(super) fn finish(
        &mut self,
        outcome: RunStatus,
        reason: StatusReason,
        changes: &mut Changes,
    ) {
        self.run.progress.outcome = Some(outcome);
        self.run.progress.finishing_at = Some(changes.now);
        self.run.progress.stage.refresh.clear();
        self.forget_silent();
        if mutant!(FinishTsOnRunFirst) {
            self.run.progress.finish_ts = Some(changes.now);
        }
        self.plan_due = false;
        changes.status(self, RunStatus::Finishing, Some(reason));
        changes.effects.push(Effect::Stamp(changes.now));
    }

    /// All records have their `finish_ts`: the run gets its own, last.
    pub(super) fn stamped(&mut self, changes: &mut Changes) -> Result<(), IllegalInput> {
        let progress = &self.run.progress;
        match (progress.status, progress.outcome, progress.finishing_at) {
            (RunStatus::Finishing, Some(outcome), Some(at)) => {
                let reason = progress.reason.clone();
                changes.status(self, outcome, reason);
                self.run.progress.finish_ts = Some(at);
                Ok(())
            }
            (status, _, _) => Err(IllegalInput::new("the end of stamping", "it", status)),
        }
    }
}
