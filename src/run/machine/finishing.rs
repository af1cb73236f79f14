//! The budget, the end of a stage, and the end of the run.

use super::changes::Changes;
use super::state::{IllegalInput, Machine};
use crate::playbook::OnExceeded;
use crate::run::{AgentState, Effect, PlannedNext, ReasonCode, RunStatus, StatusReason};

impl Machine {
    /// The failures that the budget allows.
    fn allowed_failures(&self) -> u32 {
        let selected = self.run.progress.stage.selected;
        self.stage().map_or(0, |stage| stage.budget.max_failed.of(selected))
    }

    /// Whether more agents failed than the budget allows and a person has accepted.
    pub(super) fn budget_exceeded(&self) -> bool {
        let stage = &self.run.progress.stage;
        stage.failures > self.allowed_failures().max(stage.accepted_failures)
    }

    /// Acts on a budget that is exceeded. The host does, whatever the strategy thinks of it.
    pub(super) fn check_budget(&mut self, changes: &mut Changes) {
        if !self.budget_exceeded() {
            return;
        }
        let failures = self.run.progress.stage.failures;
        let noun = if failures == 1 { "agent" } else { "agents" };
        let message =
            format!("{failures} {noun} failed, the budget allows {}", self.allowed_failures());
        let on_exceeded = self.stage().map(|stage| stage.budget.on_exceeded);
        match (on_exceeded, self.run.progress.status) {
            (Some(OnExceeded::Pause), RunStatus::Running) => {
                self.pause(ReasonCode::BudgetExceeded, message, changes);
            }
            (Some(OnExceeded::Abort), RunStatus::Running | RunStatus::Paused) => {
                let code = ReasonCode::BudgetExceeded;
                self.run.progress.stage.next = Some(PlannedNext::Abort { code, reason: message });
                changes.progress = true;
            }
            // A run that is paused says why already, and one that is ending ends.
            _ => {}
        }
    }

    /// Ends the stage, and with it the run, once nothing is in flight and nothing more is to come.
    pub(super) fn end_stage_if_over(&mut self, changes: &mut Changes) {
        if !self.nothing_in_flight() {
            return;
        }
        match (self.run.progress.status, &self.run.progress.stage.next) {
            (RunStatus::Cancelling, _) => {
                let message = "cancelled".to_owned();
                let reason = self.run.progress.reason.clone();
                let reason = reason.unwrap_or(StatusReason { code: ReasonCode::Operator, message });
                self.finish(RunStatus::Cancelled, reason, changes);
            }
            (RunStatus::Running, Some(PlannedNext::Complete)) => {
                let (outcome, reason) = self.verdict();
                self.finish(outcome, reason, changes);
            }
            (RunStatus::Running, Some(PlannedNext::Abort { code, reason })) => {
                let reason = StatusReason { code: *code, message: reason.clone() };
                self.finish(RunStatus::Failed, reason, changes);
            }
            _ => {}
        }
    }

    /// How a stage ends that its strategy called complete. Failures within the budget end in DONE;
    /// more than it allows end in FAILED, also when a person let the run go on after them.
    fn verdict(&self) -> (RunStatus, StatusReason) {
        let failures = self.run.progress.stage.failures;
        let selected = self.run.progress.stage.selected;
        let allowed = self.allowed_failures();
        let left = self.run.progress.count(AgentState::Pending);
        let mut message = if failures == 0 {
            format!("{} of {selected} agents done", self.run.progress.count(AgentState::Done))
        } else {
            format!("{failures} of {selected} agents failed, the budget allows {allowed}")
        };
        if left > 0 {
            message.push_str(&format!("; {left} were not started"));
        }
        if failures > allowed {
            (RunStatus::Failed, StatusReason { code: ReasonCode::BudgetExceeded, message })
        } else if failures > 0 {
            (RunStatus::Done, StatusReason { code: ReasonCode::SomeFailed, message })
        } else {
            (RunStatus::Done, StatusReason { code: ReasonCode::AllDone, message })
        }
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
