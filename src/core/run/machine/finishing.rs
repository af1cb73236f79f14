//! The budget, the end of a stage, and the end of the run. The host enforces the budget here, whatever the
//! strategy decides.

use super::turn::{Legal, Turn};
use crate::mutants::mutant;
use crate::playbook::{BudgetScope, OnExceeded, Stage};
use crate::run::state::{IllegalInput, OfRun, OfStrategy, State};
use crate::run::{
    AgentRecord, AgentState, Effect, PlannedNext, Progress, ReasonCode, RunStatus, StatusReason,
    outcomes,
};

impl State {
    /// The present stage, whose budget counts. `None` if the playbook has no stages, and then there is no budget
    /// either.
    fn budget_of(&self) -> Option<&Stage> {
        self.stage().ok()
    }

    /// The failures that count against the budget of the stage.
    fn counted_failures(&self) -> u32 {
        let progress = self.progress();
        match self.budget_of().map(|stage| stage.budget.scope) {
            Some(BudgetScope::Run) => {
                let before = progress.closing.as_ref().map_or(0, |closing| closing.failures);
                progress.failures.saturating_sub(before)
            }
            Some(BudgetScope::Stage) | None => progress.stage.failures,
        }
    }

    /// How many failures the budget allows.
    fn allowed_failures(&self) -> u32 {
        let selected = self.progress().stage.selected;
        self.budget_of().map_or(0, |stage| stage.budget.max_failed.of(selected))
    }

    /// Whether more agents failed than the budget allows and a person has accepted.
    pub(super) fn budget_exceeded(&self) -> bool {
        let progress = self.progress();
        let late = u32::from(mutant!(BudgetCheckedLate));
        self.counted_failures() > self.allowed_failures() + late
            && progress.failures > progress.accepted_failures
    }

    /// How many agents failed and how many may fail, as a message. With `of`, it also says out of how many agents,
    /// unless the budget counts several stages.
    fn failed_and_allowed(&self, of: Option<u32>) -> String {
        let (failures, allowed) = (self.counted_failures(), self.allowed_failures());
        let noun = if failures == 1 { "agent" } else { "agents" };
        let of_run = self.budget_of().is_some_and(|stage| stage.budget.scope == BudgetScope::Run);
        if self.is_once() && !(of_run && self.progress().failures > 1) {
            return format!("stage {} failed", self.run().stage_name());
        }
        let failed = match of {
            _ if of_run && self.progress().stage.index > self.snapshot().first_stage() => {
                format!("{failures} {noun} failed in all stages so far")
            }
            // An agent that joined may have failed in a stage that selected no agents.
            Some(of) => format!("{failures} of {} agents failed", of.max(failures)),
            None => format!("{failures} {noun} failed"),
        };
        format!("{failed}, the budget allows {allowed}")
    }

    fn how_the_stage_ended(&self) -> String {
        let failures = self.counted_failures();
        let selected = self.progress().stage.selected;
        let left = self.progress().count(AgentState::Pending);
        if failures == 0 && self.is_once() {
            return format!("stage {} is done", self.run().stage_name());
        }
        let mut message = if failures == 0 {
            let done = self.progress().count(AgentState::Done);
            // If agents joined, more may be done than were selected.
            format!("{done} of {} agents done", selected.max(done))
        } else {
            self.failed_and_allowed(Some(selected))
        };
        if left > 0 {
            message.push_str(&format!("; {left} were not started"));
        }
        message
    }

    /// How a run ends after its strategy called the last stage complete. Failures within the budgets end in DONE.
    /// More failures than a budget allows end in FAILED, even if a person let the run go on after them.
    fn verdict(&self) -> (RunStatus, StatusReason) {
        if let Some(message) = self.progress().exceeded.clone() {
            return (RunStatus::Failed, StatusReason { code: ReasonCode::BudgetExceeded, message });
        }
        let Progress { failures, passed_over, selected, .. } = self.progress();
        let (code, mut message) = match *failures > 0 || !passed_over.is_none() {
            // A failure that counts is the failure of some agent.
            _ if *selected == 0
                && *failures == 0
                && self.snapshot().first_with_agents().is_some() =>
            {
                (ReasonCode::NobodySelected, self.nobody_was_selected())
            }
            true => (ReasonCode::SomeFailed, self.how_all_stages_ended()),
            false => (ReasonCode::AllDone, self.how_all_stages_ended()),
        };
        if !passed_over.is_none() {
            message.push_str(&format!("; {passed_over}"));
        }
        if let Some(gone) = &self.progress().gone {
            message.push_str(&format!("; {gone}"));
        }
        (RunStatus::Done, StatusReason { code, message })
    }

    /// Over several stages each agent counts once, by the worst state that it came to: an agent that failed in the
    /// first stage takes no part in the last.
    fn how_all_stages_ended(&self) -> String {
        let stages = self.snapshot().number_of_stages();
        if stages <= 1 {
            return self.how_the_stage_ended();
        }
        let counts = outcomes(self.records());
        if counts.is_empty() {
            return format!("all {stages} stages are done");
        }
        let words = AgentState::SETTLED_FIRST.into_iter().filter_map(|state| {
            let count = counts.get(&state)?;
            Some(format!("{count} {}", state.as_str().to_lowercase()))
        });
        format!("{} over all {stages} stages", words.collect::<Vec<_>>().join(", "))
    }

    fn nobody_was_selected(&self) -> String {
        let is_agent = |record: &&AgentRecord| !record.bystander && !record.agent.is_run();
        let agents = self.records().filter(is_agent).count();
        let stages = self.snapshot().number_of_stages();
        let of = match (agents, &self.snapshot().retry_of) {
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
}

impl Turn<'_> {
    /// Pauses or ends the run if its budget is exceeded. This does not depend on the strategy.
    pub(super) fn check_budget(&mut self) -> Legal {
        if !self.budget_exceeded() {
            return Ok(());
        }
        let message = self.failed_and_allowed(None);
        // A run that is being cancelled has no time to pause.
        let on_exceeded = match self.is_closing() {
            true => OnExceeded::Abort,
            false => self.stage()?.budget.on_exceeded,
        };
        match (on_exceeded, self.acts_as()) {
            (OnExceeded::Pause, RunStatus::Running) => {
                self.pause(ReasonCode::BudgetExceeded, message)
            }
            (OnExceeded::Abort, RunStatus::Running | RunStatus::Paused) => {
                // If something else already ends the run, agents that are tried again don't change that.
                if matches!(self.progress().stage.next, Some(PlannedNext::Abort { .. })) {
                    return Ok(());
                }
                let code = ReasonCode::BudgetExceeded;
                self.emit(OfStrategy::Next(PlannedNext::Abort { code, reason: message }))
            }
            // A paused run already says why it is paused, and a run that is ending goes on to its end.
            (OnExceeded::Pause | OnExceeded::Abort, _) => Ok(()),
        }
    }

    /// Ends the stage once nothing is in flight and nothing more is to come. Then the next stage begins, or the
    /// run ends.
    pub(super) fn end_stage_if_over(&mut self) -> Legal {
        if !self.nothing_in_flight() || self.is_admitting() || self.next_change().is_some() {
            return Ok(());
        }
        match self.acts_as() {
            RunStatus::Cancelling => {
                let message = "cancelled".to_owned();
                let reason = self.progress().reason.clone();
                let reason = reason.unwrap_or(StatusReason { code: ReasonCode::Operator, message });
                self.finish(RunStatus::Cancelled, reason)
            }
            RunStatus::Running => match &self.progress().stage.next {
                Some(PlannedNext::Complete) => self.end_stage(),
                Some(PlannedNext::Abort { code, reason }) => {
                    let reason = StatusReason { code: *code, message: reason.clone() };
                    self.finish(RunStatus::Failed, reason)
                }
                Some(PlannedNext::Wait | PlannedNext::WaitUntil { .. }) | None => Ok(()),
            },
            RunStatus::PendingApprove
            | RunStatus::Pending
            | RunStatus::Starting
            | RunStatus::Paused
            | RunStatus::Finishing
            | RunStatus::Done
            | RunStatus::Failed
            | RunStatus::Cancelled => Ok(()),
        }
    }

    fn end_stage(&mut self) -> Legal {
        let (failures, allowed) = (self.counted_failures(), self.allowed_failures());
        if failures > allowed && self.progress().exceeded.is_none() {
            self.emit(OfRun::Exceeded(self.how_the_stage_ended()))?;
        }
        if self.run().stage_after().is_some() {
            self.emit(OfRun::StageEnded)?;
            return self.enter_stage();
        }
        let (outcome, reason) = self.verdict();
        self.finish(outcome, reason)
    }

    /// Enters FINISHING: settles the outcome, and fixes the one finish time.
    pub(super) fn settle(&mut self, outcome: RunStatus, reason: StatusReason) -> Legal {
        let outcomes = outcomes(self.records());
        self.emit(OfRun::Settled { outcome, outcomes, reason })?;
        self.effect(Effect::Stamp(self.now));
        Ok(())
    }

    /// All records have their `finish_ts`. Now the run gets its own, as the last.
    pub(super) fn stamped(&mut self) -> Legal {
        let Progress { outcome, reason, .. } = self.progress();
        let (outcome, reason) = (*outcome, reason.clone());
        let none = || IllegalInput::missing("the end of a run", "its outcome", "the run");
        self.become_status(outcome.ok_or_else(none)?, reason)
    }
}
