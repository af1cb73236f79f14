//! The budget, the end of a stage, and the end of the run.

use super::changes::Changes;
use super::state::{IllegalInput, Machine};
use crate::mutants::mutant;
use crate::playbook::{BudgetScope, OnExceeded};
use crate::run::{
    AgentState, Effect, PlannedNext, Progress, ReasonCode, RunStatus, StageProgress, StatusReason,
    Unheard, outcomes,
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

    /// How many agents failed and how many may, as the budget counts them; of how many, where all are of one stage.
    fn failed_and_allowed(&self, of: Option<u32>) -> String {
        let (failures, allowed) = (self.counted_failures(), self.allowed_failures());
        let noun = if failures == 1 { "agent" } else { "agents" };
        let of_run = self.stage().is_some_and(|stage| stage.budget.scope == BudgetScope::Run);
        let failed = match of {
            _ if of_run && self.run.progress.stage.index > 0 => {
                format!("{failures} {noun} failed in all stages so far")
            }
            // One that joined may have failed in a stage that selected nobody.
            Some(of) => format!("{failures} of {} agents failed", of.max(failures)),
            None => format!("{failures} {noun} failed"),
        };
        format!("{failed}, the budget allows {allowed}")
    }

    /// Acts on a budget that is exceeded. The host does, whatever the strategy thinks of it.
    pub(super) fn check_budget(&mut self, changes: &mut Changes) {
        if !self.budget_exceeded() {
            return;
        }
        let message = self.failed_and_allowed(None);
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
            self.forget_fresh();
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
            self.failed_and_allowed(Some(selected))
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
        let Progress { failures, passed_over, selected, .. } = &self.run.progress;
        let (code, mut message) = match *failures > 0 || !passed_over.is_none() {
            // A failure that counted is one of somebody.
            _ if *selected == 0 && *failures == 0 => {
                (ReasonCode::NobodySelected, self.nobody_was_selected())
            }
            true => (ReasonCode::SomeFailed, self.how_all_stages_ended()),
            false => (ReasonCode::AllDone, self.how_all_stages_ended()),
        };
        if !passed_over.is_none() {
            message.push_str(&format!("; {passed_over}"));
        }
        if let Some(gone) = &self.run.progress.gone {
            message.push_str(&format!("; {gone}"));
        }
        (RunStatus::Done, StatusReason { code, message })
    }

    /// Over several stages, each agent counts once, by the worst that became of it: one that failed in
    /// the first stage takes no part in the last one.
    fn how_all_stages_ended(&self) -> String {
        let stages = self.run.snapshot.playbook.stages.len();
        if stages <= 1 {
            return self.how_the_stage_ended();
        }
        let counts = outcomes(self.records());
        let words = AgentState::SETTLED_FIRST.into_iter().filter_map(|state| {
            let count = counts.get(&state)?;
            Some(format!("{count} {}", state.as_str().to_lowercase()))
        });
        format!("{} over all {stages} stages", words.collect::<Vec<_>>().join(", "))
    }

    fn nobody_was_selected(&self) -> String {
        let (agents, stages) = (self.records().len(), self.run.snapshot.playbook.stages.len());
        let of = match (agents, &self.run.snapshot.retry_of) {
            (0, Some(of)) => format!("; run {} left no {of} agents that are still there", of.run),
            (0, None) => String::new(),
            (1, _) => " of 1 agent".to_owned(),
            (_, _) => format!(" of {agents} agents"),
        };
        match stages {
            0 | 1 => format!("nobody was selected{of}"),
            _ => format!("nobody was selected in any of the {stages} stages{of}"),
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
        self.run.progress.stage.refresh.clear();
        if !mutant!(UnheardKept) {
            self.run.progress.stage.unheard = Unheard::default();
        }
        self.forget_silent();
        self.run.progress.outcomes = outcomes(self.records());
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
