//! The last stages of a run that has failed or is cancelled: those that are always done.
//!
//! Once it is known how such a run ends, that is kept, and those of these stages that have not ended go on like any other
//! stage. In a run that is cancelled, be it while they go on after a failure, they share the time of everything else that
//! is waited for then, counted from the cancel, and nobody is asked to decide: a stage that would pause the run is given up.

use super::turn::{Legal, Turn};
use crate::mutants::mutant;
use crate::run::state::{OfRun, OfStrategy, State};
use crate::run::{Closing, PlannedNext, ReasonCode, RunStatus, StatusReason};

impl State {
    /// Whether the run is cancelled and its last stages go on.
    pub(super) fn is_closing(&self) -> bool {
        self.status() == RunStatus::Cancelling && self.acts_as() == RunStatus::Running
    }

    /// Whether the run is paused because a person has to decide how it goes on. Who only paused it was asked nothing.
    fn waits_for_decision(&self) -> bool {
        let reason = self.progress().reason.as_ref().map(|reason| reason.code);
        let asks = reason != Some(ReasonCode::Operator) || self.budget_exceeded();
        self.status() == RunStatus::Paused && asks
    }

    /// The first stage that is still done before a run ends with this outcome; `None` if there is none.
    fn first_of_last(&self, outcome: RunStatus) -> Option<u16> {
        let has_begun = match self.status() {
            RunStatus::Running | RunStatus::Cancelling => true,
            RunStatus::PendingApprove
            | RunStatus::Pending
            | RunStatus::Starting
            | RunStatus::Paused
            | RunStatus::Finishing
            | RunStatus::Done
            | RunStatus::Failed
            | RunStatus::Cancelled => false,
        };
        let skips = self.status() == RunStatus::Cancelling && mutant!(AlwaysSkipped);
        let ends_well = outcome == RunStatus::Done;
        if !has_begun || ends_well || skips || self.progress().closing.is_some() {
            return None;
        }
        self.snapshot().always_after(self.progress().stage.index)
    }
}

impl Turn<'_> {
    /// Ends the run, or begins the next stage that is done before its end. Once it is known how the run ends, it stays so,
    /// whatever becomes of those stages.
    pub(super) fn finish(&mut self, outcome: RunStatus, reason: StatusReason) -> Legal {
        if let Some(next) = self.first_of_last(outcome) {
            let closing = Closing::of(outcome, reason.clone(), self.run());
            self.emit(OfRun::Closes { closing, next: Some(next) })?;
        } else if let Some(closing) = self.progress().closing.clone()
            && let Some(next) = self.run().stage_after()
            && self.progress().stage.entering
        {
            // The history says nothing else about a stage that never began.
            self.emit(OfRun::Closes { closing, next: Some(next) })?;
        }
        let Some(closing) = self.progress().closing.clone() else {
            return self.settle(outcome, reason);
        };
        if self.run().stage_after().is_none() {
            return self.settle(closing.outcome, closing.reason);
        }
        self.let_go()?;
        self.emit(OfRun::StageEnded)?;
        self.enter_stage()
    }

    /// Cancels the run: what is in flight is cut off or awaited. A stage that is always done goes on, and those that are
    /// still to come are done, unless the run was cancelled before.
    pub(super) fn cancel(&mut self, reason: StatusReason) -> Legal {
        let again = self.status() == RunStatus::Cancelling;
        let closes = self.progress().closing.is_some();
        // Nobody is asked any more, and a cancel says yes to nothing.
        let asks = self.waits_for_decision();
        if !again {
            self.become_status(RunStatus::Cancelling, Some(reason.clone()))?;
        }
        let goes_on = closes || !asks && self.stage().is_ok_and(|stage| stage.always);
        if again || !goes_on || mutant!(AlwaysSkipped) {
            self.close_now()?;
            self.stop_all()?;
            return self.end_stage_if_over();
        }
        if !closes {
            let mut closing = Closing::of(RunStatus::Cancelled, reason.clone(), self.run());
            // Those of this stage still count against its budget.
            closing.failures = closing.failures.saturating_sub(self.progress().stage.failures);
            self.emit(OfRun::Closes { closing, next: None })?;
        }
        self.let_go()?;
        if asks {
            // The run had failed, and then asked in one of its last stages.
            return self.give_up_stage(reason.code, reason.message);
        }
        if self.progress().stage.entering {
            self.enter_stage()?;
        }
        self.plan_is_due()?;
        self.end_stage_if_over()
    }

    /// No further stage begins before the run ends, and the present one is cut off.
    pub(super) fn close_now(&mut self) -> Legal {
        match self.progress().closing.as_ref().is_some_and(|closing| !closing.over) {
            true => self.emit(OfRun::ClosesNow),
            false => Ok(()),
        }
    }

    /// Gives up the present stage of a run that is being cancelled, because a person would have to decide how it goes on.
    /// The next one begins once nothing is in flight.
    pub(super) fn give_up_stage(&mut self, code: ReasonCode, reason: String) -> Legal {
        self.emit(OfStrategy::Next(PlannedNext::Abort { code, reason }))?;
        self.end_stage_if_over()
    }
}
