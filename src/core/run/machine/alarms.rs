//! Moments at which something is due: one for each agent, and one timer for all of them.

use std::collections::{BTreeMap, BTreeSet};

use super::changes::Changes;
use super::state::Machine;
use super::steering::{CANCEL_DEADLINE, CHUNK_BYTES};
use super::steps::BEGIN_DOCUMENTS;
use crate::run::{AgentSeq, Effect, PlannedNext, RunStatus, StepPhase, Timestamp};

/// For each agent at most one moment at which something is due.
#[derive(Debug, Default)]
pub(super) struct Alarms {
    of: BTreeMap<AgentSeq, Timestamp>,
    order: BTreeSet<(Timestamp, AgentSeq)>,
}

impl Alarms {
    /// Sets the moment of an agent, in place of the one it had.
    pub(super) fn set(&mut self, seq: AgentSeq, at: Timestamp) {
        self.clear(seq);
        self.of.insert(seq, at);
        self.order.insert((at, seq));
    }

    pub(super) fn clear(&mut self, seq: AgentSeq) {
        if let Some(at) = self.of.remove(&seq) {
            self.order.remove(&(at, seq));
        }
    }

    fn first(&self) -> Option<Timestamp> {
        self.order.first().map(|(at, _)| *at)
    }

    /// Takes the agent out whose moment came first, if it has come.
    fn take_due(&mut self, now: Timestamp) -> Option<AgentSeq> {
        let (_, seq) = *self.order.first().filter(|(at, _)| *at <= now)?;
        self.clear(seq);
        Some(seq)
    }
}

impl Machine {
    /// Asks to be woken when the next thing is due, or earlier where that was asked for already: most
    /// attempts end long before their time is over, and each would set the timer anew.
    pub(super) fn keep_awake(&mut self, changes: &mut Changes) {
        let Some(wanted) = self.next_due() else { return };
        if self.wake.is_none_or(|asked| wanted < asked) {
            self.wake = Some(wanted);
            changes.effects.push(Effect::WakeAt(wanted));
        }
    }

    fn next_due(&self) -> Option<Timestamp> {
        let progress = &self.run.progress;
        let of_run = match progress.status {
            RunStatus::Running if self.plan_due || self.planning => None,
            RunStatus::Running => self.next_plan(),
            RunStatus::Paused => None,
            RunStatus::Cancelling => Some(progress.since.plus(CANCEL_DEADLINE)),
            RunStatus::PendingApprove
            | RunStatus::Pending
            | RunStatus::Starting
            | RunStatus::Finishing
            | RunStatus::Done
            | RunStatus::Failed
            | RunStatus::Cancelled => return None,
        };
        of_run.into_iter().chain(self.alarms.first()).min()
    }

    /// When something is due for an agent.
    pub(super) fn next_alarm(&self) -> Option<Timestamp> {
        self.alarms.first()
    }

    /// When the strategy wants to be asked again at the latest.
    fn next_plan(&self) -> Option<Timestamp> {
        match &self.run.progress.stage.next {
            Some(PlannedNext::WaitUntil { at }) => Some(*at),
            Some(PlannedNext::Wait | PlannedNext::Complete | PlannedNext::Abort { .. }) | None => {
                None
            }
        }
    }

    pub(super) fn woken(&mut self, changes: &mut Changes) {
        self.wake = None;
        match self.run.progress.status {
            RunStatus::Running => {
                if self.next_plan().is_some_and(|at| at <= changes.now) {
                    self.plan_due = true;
                }
            }
            RunStatus::Paused => {}
            RunStatus::Cancelling => {
                if changes.now >= self.run.progress.since.plus(CANCEL_DEADLINE) {
                    self.stop_waiting(changes);
                }
            }
            RunStatus::PendingApprove
            | RunStatus::Pending
            | RunStatus::Starting
            | RunStatus::Finishing
            | RunStatus::Done
            | RunStatus::Failed
            | RunStatus::Cancelled => return,
        }
        self.ring(changes);
    }

    /// Does what is due for agents, as much as fits one commit; what is left is due at once again.
    fn ring(&mut self, changes: &mut Changes) {
        let mut bytes = 0;
        while changes.documents() < BEGIN_DOCUMENTS && bytes < CHUNK_BYTES {
            let Some(seq) = self.alarms.take_due(changes.now) else { return };
            bytes += self.weight(seq);
            match Self::record(self, seq).map(|record| record.phase) {
                Some(StepPhase::Trying) => self.attempt_timed_out(seq, changes),
                // A run on hold begins it when it is resumed.
                Some(StepPhase::RetryAt { .. }) if !self.run.progress.hold => {
                    self.try_again(seq, changes);
                }
                Some(StepPhase::Settling { .. }) => self.settling_timed_out(seq, changes),
                Some(StepPhase::RetryAt { .. } | StepPhase::Waiting) | None => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_has_one_moment_and_the_first_that_is_due_goes_first() {
        let mut alarms = Alarms::default();
        let at = Timestamp::from_millis;
        alarms.set(AgentSeq(1), at(30));
        alarms.set(AgentSeq(2), at(20));
        alarms.set(AgentSeq(1), at(10));
        alarms.set(AgentSeq(3), at(40));
        alarms.clear(AgentSeq(3));
        assert_eq!(alarms.first(), Some(at(10)));
        assert_eq!(alarms.take_due(at(25)), Some(AgentSeq(1)));
        assert_eq!(alarms.take_due(at(25)), Some(AgentSeq(2)));
        assert_eq!(alarms.take_due(at(99)), None);
    }
}
