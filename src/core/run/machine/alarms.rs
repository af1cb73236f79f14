//! Moments at which something is due. Each agent has one alarm at most, and the run has one timer for all of them,
//! so a large cluster needs no more timers than a small one.

use super::steering::{CANCEL_DEADLINE, CHUNK_BYTES};
use super::steps::BEGIN_DOCUMENTS;
use super::turn::{Legal, Turn};
use crate::run::state::{IllegalInput, OfAgent, OfRun, Sent, State};
use crate::run::{Effect, PlannedNext, RunStatus, StepPhase, Timestamp};

impl State {
    fn next_due(&self) -> Option<Timestamp> {
        let of_run = match self.status() {
            RunStatus::Running if self.is_plan_due() || self.is_out(Sent::Plan) => None,
            RunStatus::Running => self.next_plan().into_iter().chain(self.next_of_held()).min(),
            RunStatus::PendingApprove | RunStatus::Paused => self.approved_until(),
            RunStatus::Cancelling => {
                let is_asked = self.is_plan_due() || self.is_out(Sent::Plan);
                let next = self.next_plan().into_iter().chain(self.next_of_held()).min();
                let next = next.filter(|_| self.is_closing() && !is_asked);
                let deadline = self.progress().since.plus(CANCEL_DEADLINE);
                Some(next.map_or(deadline, |next| next.min(deadline)))
            }
            RunStatus::Pending
            | RunStatus::Starting
            | RunStatus::Finishing
            | RunStatus::Done
            | RunStatus::Failed
            | RunStatus::Cancelled => return None,
        };
        of_run.into_iter().chain(self.next_alarm()).min()
    }

    /// When the earliest alarm of any agent is due.
    pub(super) fn next_alarm(&self) -> Option<Timestamp> {
        self.first_alarm().map(|(at, _)| at)
    }

    /// When something is due because guards hold somebody: a window opens, or agents are asked again.
    fn next_of_held(&self) -> Option<Timestamp> {
        let held = &self.progress().held_agents;
        if held.is_nobody() {
            return None;
        }
        held.until.into_iter().chain(self.next_look()).min()
    }

    /// When the strategy wants to be asked again at the latest.
    fn next_plan(&self) -> Option<Timestamp> {
        match &self.progress().stage.next {
            Some(PlannedNext::WaitUntil { at }) => Some(*at),
            Some(PlannedNext::Wait | PlannedNext::Complete | PlannedNext::Abort { .. }) | None => {
                None
            }
        }
    }
}

impl Turn<'_> {
    /// Asks to be woken when the next thing is due, unless an earlier wake-up was asked for already. Most attempts
    /// end long before their time is over, and each of them would set the timer anew.
    pub(super) fn keep_awake(&mut self) -> Legal {
        match self.next_due() {
            Some(wanted) if self.wakes_at().is_none_or(|asked| wanted < asked) => {
                self.emit(OfRun::WakesAt(wanted))?;
                self.effect(Effect::WakeAt(wanted));
                Ok(())
            }
            Some(_) | None => Ok(()),
        }
    }

    pub(super) fn woken(&mut self) -> Legal {
        self.emit(OfRun::Woke)?;
        self.end_overdue()?;
        match self.status() {
            RunStatus::Running => {
                if self.next_plan().is_some_and(|at| at <= self.now) {
                    self.plan_is_due()?;
                }
                self.wake_held()?;
            }
            RunStatus::Cancelling => {
                if self.now >= self.progress().since.plus(CANCEL_DEADLINE) {
                    self.close_now()?;
                    self.stop_waiting()?;
                } else if self.is_closing() {
                    if self.next_plan().is_some_and(|at| at <= self.now) {
                        self.plan_is_due()?;
                    }
                    self.wake_held()?;
                }
            }
            RunStatus::Paused
            | RunStatus::PendingApprove
            | RunStatus::Pending
            | RunStatus::Starting
            | RunStatus::Finishing
            | RunStatus::Done
            | RunStatus::Failed
            | RunStatus::Cancelled => {}
        }
        self.ring()
    }

    /// Does what is due for agents, as much as fits one commit. The rest is due again at once.
    fn ring(&mut self) -> Legal {
        let mut bytes = 0;
        while self.documents() < BEGIN_DOCUMENTS && bytes < CHUNK_BYTES {
            let due = self.first_alarm().filter(|(at, _)| *at <= self.now);
            let Some((_, seq)) = due else { return Ok(()) };
            self.emit((seq, OfAgent::Rang))?;
            bytes += self.weight(seq)?;
            match self.record(seq)?.phase {
                StepPhase::Trying => self.attempt_timed_out(seq)?,
                // A held run begins the next attempt when it is resumed.
                StepPhase::RetryAt { .. } if self.progress().hold => {}
                StepPhase::RetryAt { .. } => self.try_again(seq)?,
                StepPhase::Settling { .. } => self.settling_timed_out(seq)?,
                StepPhase::Waiting => {
                    let of = "an agent that waits";
                    return Err(IllegalInput::missing("a moment", "something that is due", of));
                }
            }
        }
        Ok(())
    }
}
