//! Runs that a person holds: agents that stop after their present call, and those that are put back.

use std::collections::BTreeSet;

use super::changes::Changes;
use super::state::{Attempt, Doing, Machine};
use super::steering::{CHUNK_BYTES, record_bytes};
use crate::run::{AgentSeq, AgentState, FailureReason, PlannedNext, ReasonCode, StepPhase};

/// Agents that are put back by one commit: each is a record and an event, and perhaps one with what is
/// known anew of it.
const RETRIES_AT_ONCE: usize = 300;

impl Machine {
    /// Keeps an attempt where it is until the run is resumed.
    pub(super) fn hold(&mut self, seq: AgentSeq, mut attempt: Attempt) {
        attempt.doing = Doing::Held;
        self.alarms.clear(seq);
        self.attempts.insert(seq, attempt);
    }

    /// Lets all agents go on that stopped after a call. Their time on hold is not counted.
    pub(super) fn let_go(&mut self, changes: &mut Changes) {
        if !self.run.progress.hold {
            return;
        }
        let progress = &mut self.run.progress;
        progress.hold = false;
        if let Some(since) = progress.held_since.take() {
            progress.held.0 = progress.held.0.saturating_add(changes.now.since(since).0);
        }
        changes.progress = true;
        let known: BTreeSet<AgentSeq> = self.starting.iter().copied().collect();
        for seq in self.in_state(AgentState::Running) {
            if self.attempts.get(&seq).is_some_and(|attempt| attempt.doing == Doing::Held) {
                if let Some(attempt) = self.attempts.remove(&seq) {
                    self.go_on_with(seq, attempt, changes);
                }
                continue;
            }
            match Self::record(self, seq).map(|record| record.phase) {
                Some(StepPhase::RetryAt { at }) => self.alarms.set(seq, at),
                Some(StepPhase::Waiting) if !known.contains(&seq) => self.starting.push_back(seq),
                Some(StepPhase::Waiting | StepPhase::Trying | StepPhase::Settling { .. })
                | None => {}
            }
        }
    }

    /// Puts failed agents back to be started again: one, or all. With `again` they do all of the failed
    /// step again, even actions that ended well but late.
    pub(super) fn retry(&mut self, agent: Option<AgentSeq>, again: bool, changes: &mut Changes) {
        // A strategy that saw all agents end has to be asked again.
        if self.run.progress.stage.next == Some(PlannedNext::Complete) {
            self.run.progress.stage.next = None;
        }
        changes.progress = true;
        match agent {
            Some(seq) => {
                self.put_back(seq, again, changes);
                self.take_back_abort();
            }
            None => {
                self.run.progress.stage.retrying = Some(AgentSeq(0));
                self.run.progress.stage.retrying_again = again;
                self.retry_some(changes);
            }
        }
    }

    /// Puts the next chunk of them back.
    pub(super) fn retry_some(&mut self, changes: &mut Changes) {
        let Some(from) = self.run.progress.stage.retrying else { return };
        // One more than is put back, to know where to go on.
        let failed = self.some_in(AgentState::Failed, from, RETRIES_AT_ONCE + 1);
        let mut failed = failed.into_iter().peekable();
        let (mut done, mut bytes) = (0, 0);
        while done < RETRIES_AT_ONCE && bytes < CHUNK_BYTES {
            let Some(seq) = failed.next() else { break };
            done += 1;
            bytes += Self::record(self, seq).map_or(0, record_bytes);
            self.put_back(seq, self.run.progress.stage.retrying_again, changes);
        }
        self.run.progress.stage.retrying = failed.peek().copied();
        self.take_back_abort();
        changes.progress = true;
    }

    /// Puts a failed agent back to be started again. It goes on with the step that failed, in a new
    /// attempt: what it did before is not done again, nor is an action that ended well but late.
    fn put_back(&mut self, seq: AgentSeq, again: bool, changes: &mut Changes) {
        let weight = Self::record(self, seq).map_or(0, record_bytes);
        self.heaviest = self.heaviest.max(weight);
        let Some(record) = self.record_mut(seq) else { return };
        let counted = record.error.take().is_some_and(|f| f.reason != FailureReason::Cancelled);
        record.tries = 0;
        record.again = again;
        record.phase = StepPhase::Waiting;
        (record.batch, record.batch_label) = (None, None);
        (record.started_at, record.ended_at) = (None, None);
        changes.agent(self, seq, AgentState::Pending, Some("to be tried again".to_owned()));
        if counted {
            self.uncount_failure();
        }
    }

    /// Counts a failure for the budgets, and acts on one that is exceeded.
    pub(super) fn count_failure(&mut self, changes: &mut Changes) {
        self.run.progress.stage.failures += 1;
        self.run.progress.failures += 1;
        self.check_budget(changes);
    }

    /// A failure that was counted is none any more.
    pub(super) fn uncount_failure(&mut self) {
        let progress = &mut self.run.progress;
        progress.stage.failures = progress.stage.failures.saturating_sub(1);
        progress.failures = progress.failures.saturating_sub(1);
        progress.accepted_failures = progress.accepted_failures.min(progress.failures);
    }

    /// A budget that was to end the run may hold again.
    fn take_back_abort(&mut self) {
        let next = &self.run.progress.stage.next;
        let is_abort =
            matches!(next, Some(PlannedNext::Abort { code: ReasonCode::BudgetExceeded, .. }));
        if is_abort && !self.budget_exceeded() {
            self.run.progress.stage.next = None;
        }
    }
}
