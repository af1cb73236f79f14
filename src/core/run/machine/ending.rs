//! What follows on an agent when one of its steps has failed for good, or when it is cut off: the rescue steps of the
//! stage, then its finally steps, then the agent's end in FAILED.
//!
//! ```text
//! steps ──all well──────────────────────▶ finally ──▶ DONE
//!   └─failed─▶ rescue ─(whatever comes)─▶ finally ──▶ FAILED
//!   └─cancel────────────────────────────▶ finally ──▶ FAILED
//! ```
//!
//! A finally step that fails does not keep the others from being done. Nothing of this is begun on an agent to which
//! nothing may be sent: it left, another node has its address, or its action may still be running.

use super::steering::CANCEL_DEADLINE;
use super::turn::{Legal, Turn};
use crate::mutants::mutant;
use crate::playbook::{Stage, StepRole};
use crate::run::state::{IllegalInput, OfAgent, OfRun};
use crate::run::{AgentRecord, AgentSeq, AgentState, Failure, FailureReason, RunStatus};

/// Where an agent goes on when it comes to a rescue step although nothing failed: at the first finally step, or past
/// the last step.
pub(super) fn passes_rescue(stage: &Stage, record: &AgentRecord) -> Option<u16> {
    let step = stage.steps.get(usize::from(record.step))?;
    match step.role {
        StepRole::Rescue if record.ending.is_none() => {
            let end = u16::try_from(stage.steps.len()).unwrap_or(u16::MAX);
            Some(stage.first_of(StepRole::Finally).unwrap_or(end))
        }
        StepRole::Main | StepRole::Rescue | StepRole::Finally => None,
    }
}

impl Turn<'_> {
    /// Whether nothing further is done on the agent because the run is cancelled. Its finally steps are done all the
    /// same, until the time for that is over.
    pub(super) fn is_cut_off(&self, seq: AgentSeq) -> bool {
        let is_over = self.now >= self.progress().since.plus(CANCEL_DEADLINE);
        let ends = self.present_role(seq) == Some(StepRole::Finally);
        self.acts_as() == RunStatus::Cancelling && (is_over || !ends)
    }

    /// Cuts off an agent whose steps are not over, because the run is cancelled.
    pub(super) fn cut_off(&mut self, seq: AgentSeq, step: &str) -> Legal {
        let failure = Failure {
            reason: FailureReason::Cancelled,
            message: "the run was cancelled before the agent's steps ended".to_owned(),
            step: step.to_owned(),
            at: self.now,
        };
        self.goes_wrong(seq, failure)
    }

    /// Goes on after what last went wrong with an agent, which is final for its step.
    pub(super) fn agent_failed(&mut self, seq: AgentSeq) -> Legal {
        let failure = self.last_error(seq)?;
        self.goes_wrong(seq, failure)
    }

    /// Fails the agent for what last went wrong, without any further step.
    pub(super) fn fail_at_once(&mut self, seq: AgentSeq) -> Legal {
        let failure = self.last_error(seq)?;
        self.fail_with(seq, failure)
    }

    /// Fails the agent without any further step. If it failed before, its first failure stays the reason.
    pub(super) fn fail_with(&mut self, seq: AgentSeq, last: Failure) -> Legal {
        let failure = match &self.record(seq)?.ending {
            Some(first) => first.and(&last),
            None => last,
        };
        self.fail_agent(seq, failure)
    }

    fn last_error(&self, seq: AgentSeq) -> Legal<Failure> {
        let none = || IllegalInput::missing("an end in FAILED", "a failure", "the agent");
        self.record(seq)?.error.clone().ok_or_else(none)
    }

    /// Goes on with the step that follows a failure, or fails the agent. If an action of the agent may still be running,
    /// its end is awaited first, for as long as an attempt of the failed step may take.
    fn goes_wrong(&mut self, seq: AgentSeq, failure: Failure) -> Legal {
        let Some(to) = self.step_after_failure(seq)? else { return self.fail_with(seq, failure) };
        let patience = self.step(self.record(seq)?.step)?.time_limit();
        self.look_away(seq)?;
        self.look_at_open(seq)?;
        self.emit((seq, OfAgent::Turns { to, failure: Some(failure) }))?;
        if self.present_role(seq).is_none() {
            return self.steps_over(seq);
        }
        match self.record(seq)?.outstanding.is_some() {
            true => self.wait_for_end(seq, patience, false),
            false => self.emit((seq, OfAgent::Queued)),
        }
    }

    /// The step that is done after the present one has failed for good, or was cut off.
    fn step_after_failure(&self, seq: AgentSeq) -> Legal<Option<u16>> {
        let (record, stage) = (self.record(seq)?, self.stage()?);
        let is_cancelled = self.acts_as() == RunStatus::Cancelling;
        let is_over = self.now >= self.progress().since.plus(CANCEL_DEADLINE);
        let has_begun = record.attempts.iter().any(|attempts| *attempts > 0);
        if record.leaving || !has_begun || is_cancelled && is_over {
            return Ok(None);
        }
        let last = stage.first_of(StepRole::Finally);
        Ok(match self.present_role(seq) {
            Some(StepRole::Main) if !is_cancelled => stage.first_of(StepRole::Rescue).or(last),
            Some(StepRole::Main | StepRole::Rescue) => last,
            // The next one, or past the last: then the agent ends.
            Some(StepRole::Finally) => Some(record.step.saturating_add(1)),
            None => None,
        })
    }

    /// Ends an agent that is past its last step.
    pub(super) fn steps_over(&mut self, seq: AgentSeq) -> Legal {
        let ending = self.record(seq)?.ending.as_ref();
        match ending.map(|ending| ending.failure.clone()).filter(|_| !mutant!(RescueForgives)) {
            Some(failure) => self.fail_agent(seq, failure),
            None => self.agent_done(seq),
        }
    }

    /// Lets finally steps go on that had stopped, in a run that is cancelled after it was paused at once.
    pub(super) fn end_hold_of_last_steps(&mut self) -> Legal {
        let has_any = self.stage().is_ok_and(|stage| stage.first_of(StepRole::Finally).is_some());
        if !self.progress().hold || !has_any {
            return Ok(());
        }
        self.emit(OfRun::LetGo)?;
        for seq in self.in_state(AgentState::Running) {
            if self.is_cut_off(seq) {
                continue;
            }
            self.let_go_of(seq)?;
        }
        Ok(())
    }
}
