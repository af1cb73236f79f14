//! One agent's way through its steps: which comes next, when it is tried, and what its end means.

use std::sync::Arc;

use serde_json::Value;

use super::changes::Changes;
use super::sizes::answers_bytes;
use super::state::{Attempt, Doing, Machine};
use super::steering::CHUNK_BYTES;
use crate::mutants::mutant;
use crate::playbook::{ExprError, OnError, Retry, Step};
use crate::run::failure::beginning;
use crate::run::{
    AgentSeq, AgentState, AttemptKey, Datastore, Effect, Failure, FailureReason, Happened, Journal,
    JsonText, Millis, RunId, RunStatus, StepPhase,
};

/// The most bytes of results in one agent record: it is one document and fits one commit.
pub(super) const MAX_RESULTS_BYTES: usize = 1024 * 1024;

/// Documents after which a transition begins no further agent: what one agent may add, with every
/// step left out or failed, still fits the commit.
pub(super) const BEGIN_DOCUMENTS: usize = 500;

/// Why an attempt failed.
pub(super) struct Why {
    pub(super) reason: FailureReason,
    pub(super) message: String,
    /// Whether another attempt may go well.
    pub(super) retryable: bool,
}

/// Bytes of what an expression that failed says: it may quote what agents say, and hundreds of agents may
/// fail so in one commit.
pub(super) const MAX_EXPRESSION_BYTES: usize = 512;

impl Why {
    /// An expression of the playbook failed.
    pub(super) fn expression(error: &ExprError) -> Self {
        let message = beginning(error.to_string(), MAX_EXPRESSION_BYTES);
        Self::permanent(FailureReason::BadArguments, message)
    }

    /// A failure that another attempt would not mend.
    pub(super) fn permanent(reason: FailureReason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), retryable: false }
    }

    /// A failure after which another attempt may go well.
    pub(super) fn retryable(reason: FailureReason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), retryable: true }
    }
}

impl Machine {
    /// Begins the next step of the agents that wait for that, as many as fit one commit.
    pub(super) fn begin_some(&mut self, changes: &mut Changes) {
        let mut bytes = 0;
        while changes.documents() < BEGIN_DOCUMENTS && bytes < CHUNK_BYTES {
            let Some(seq) = self.starting.pop_front() else { return };
            bytes += self.weight(seq);
            self.begin_step(seq, changes);
        }
    }

    /// Starts the next step of a running agent, or ends the agent if there is none. If it is due, the
    /// agent is looked at first.
    pub(super) fn begin_step(&mut self, seq: AgentSeq, changes: &mut Changes) {
        self.begin(seq, true, changes);
    }

    /// The same for an agent that did not answer that look.
    pub(super) fn begin_step_unseen(&mut self, seq: AgentSeq, changes: &mut Changes) {
        self.begin(seq, false, changes);
    }

    fn begin(&mut self, seq: AgentSeq, mut looks: bool, changes: &mut Changes) {
        loop {
            if !self.waits_for_step(seq) {
                return;
            }
            let Some(record) = Machine::record(self, seq) else { return };
            let snapshot = Arc::clone(&self.run.snapshot);
            let stage = snapshot.playbook.stages.get(usize::from(self.run.progress.stage.index));
            let Some(step) = stage.and_then(|stage| stage.steps.get(usize::from(record.step)))
            else {
                self.end_agent(seq, AgentState::Done, changes);
                return;
            };
            if record.leaving {
                self.leave(seq, changes);
                return;
            }
            if self.run.progress.status == RunStatus::Cancelling {
                self.cut_off(seq, &step.name, changes);
                return;
            }
            if self.run.progress.hold {
                return;
            }
            if record.outstanding.is_some() {
                self.settle_first(seq, step, changes);
                return;
            }
            if looks && self.looks_first(seq, changes) {
                return;
            }
            looks = true;
            self.consider_step(seq, step, changes);
        }
    }

    /// Begins the step, or passes it by where its condition says so.
    fn consider_step(&mut self, seq: AgentSeq, step: &Step, changes: &mut Changes) {
        let Some(record) = Machine::record(self, seq) else { return };
        if self.takes_late(seq) {
            // `when` held when the step began.
            self.begin_attempt(seq, step, changes);
            return;
        }
        let wanted = step.when.as_ref().map_or(Ok(true), |when| {
            let looks = |path: &[&str]| when.looks_at(path);
            self.with_record_scope(record, looks, |scope| when.eval_bool(scope))
        });
        match wanted {
            Ok(true) => self.begin_attempt(seq, step, changes),
            Ok(false) => {
                let agent = record.agent.clone();
                changes.event(self, Happened::StepSkipped { agent, step: step.name.clone() });
                self.advance(seq, changes);
            }
            Err(error) => {
                let why = Why::expression(&error);
                self.step_failed(seq, why, changes);
            }
        }
    }

    /// Whether the agent is at a step that nothing was done for yet.
    fn waits_for_step(&self, seq: AgentSeq) -> bool {
        let waits = Machine::record(self, seq).is_some_and(|record| {
            record.state == AgentState::Running && record.phase == StepPhase::Waiting
        });
        waits && !self.looking.contains(&seq)
    }

    /// Starts a new attempt of the present step.
    pub(super) fn begin_attempt(&mut self, seq: AgentSeq, step: &Step, changes: &mut Changes) {
        let Some(record) = self.record_mut(seq) else { return };
        if std::mem::take(&mut record.again) {
            record.late = None;
            self.over.remove(&seq);
        }
        let Some(record) = self.record_mut(seq) else { return };
        let Some(number) = record.attempts.get_mut(usize::from(record.step)) else { return };
        *number = if mutant!(AttemptReused) { 1 } else { *number + 1 };
        let attempt = *number;
        record.tries = record.tries.saturating_add(1);
        record.phase = StepPhase::Trying;
        changes.records.insert(seq);
        let agent = record.agent.clone();
        let takes = self.taken_over(seq, changes.now);
        let takes = takes.and_then(|journal| journal.taken_from()).map(|from| from.attempt);
        let step_name = step.name.clone();
        changes.event(self, Happened::StepStarted { agent, step: step_name, attempt, takes });
        self.begin_anew(seq, step, changes);
    }

    /// Makes the journal of the attempt that the agent's record names. Nothing of it is written yet:
    /// until the first call is committed the same journal can be made again.
    pub(super) fn begin_anew(&mut self, seq: AgentSeq, step: &Step, changes: &mut Changes) {
        if let Some(journal) = self.taken_over(seq, changes.now) {
            let bytes = answers_bytes(&journal.answers);
            self.go_on_with(seq, Attempt { journal, doing: Doing::Checking, bytes }, changes);
            return;
        }
        let Some(record) = Machine::record(self, seq) else { return };
        let arguments = match self.arguments(record, step) {
            Ok(arguments) => arguments,
            Err(error) => {
                let why = Why::expression(&error);
                self.step_failed(seq, why, changes);
                return;
            }
        };
        let (key, agent) = (record.present_attempt(), record.agent.clone());
        let journal =
            Journal::new(record.run, key, agent, step.name.clone(), changes.now, arguments);
        let journal = Journal { held: self.run.progress.held, ..journal };
        let attempt = Attempt { journal, doing: Doing::Checking, bytes: 0 };
        self.go_on_with(seq, attempt, changes);
    }

    /// Activates an attempt; before its first call the precondition of its step is looked at, anew
    /// where that was long ago.
    pub(super) fn go_on_with(&mut self, seq: AgentSeq, attempt: Attempt, changes: &mut Changes) {
        let Journal { key, answers, pending, .. } = &attempt.journal;
        let (key, begun) = (*key, !answers.is_empty() || pending.is_some());
        let step = self.step(key.step).filter(|step| step.require.is_some() && !begun);
        let (Some(step), Some(record)) = (step, Machine::record(self, seq)) else {
            self.activate(seq, attempt, changes);
            return;
        };
        let (address, noticed) = (record.address.clone(), record.notice.clone());
        self.alarms.set(seq, deadline(&attempt.journal, step, self.run.progress.held));
        self.attempts.insert(seq, Attempt { doing: Doing::Checking, ..attempt });
        let wanted = self.wanted_before(key);
        changes.effects.push(Effect::Check { key, address, wanted, noticed });
    }

    /// Takes notice of the value of a step that ended well, and goes on with the next one.
    pub(super) fn step_done(&mut self, seq: AgentSeq, value: JsonText, changes: &mut Changes) {
        let Some(record) = Machine::record(self, seq) else { return };
        let name = self.step_name(record.step);
        let others = record.results.iter().filter(|(step, _)| **step != name);
        let held: usize = others.map(|(_, value)| value.bytes()).sum();
        let bytes = held + value.bytes();
        if bytes > MAX_RESULTS_BYTES {
            let message =
                format!("the results of the agent have {bytes} bytes, at most {MAX_RESULTS_BYTES}");
            let why = Why::permanent(FailureReason::PluginLimit, message);
            self.step_failed(seq, why, changes);
        } else {
            self.step_ended(seq, None, changes);
            if let Some(record) = self.record_mut(seq) {
                record.results.insert(name, value);
                record.late = None;
            }
            self.over.remove(&seq);
            self.advance(seq, changes);
        }
        self.begin_step(seq, changes);
    }

    /// Takes notice that an attempt of the present step failed: it is tried again later, or the agent
    /// goes on with the next step, which the caller begins, or the agent has failed.
    pub(super) fn step_failed(&mut self, seq: AgentSeq, why: Why, changes: &mut Changes) {
        let retryable = why.retryable;
        self.attempt_failed(seq, why, changes);
        self.after_failure(seq, retryable, changes);
    }

    /// Writes down that the attempt failed, and nothing more.
    pub(super) fn attempt_failed(&mut self, seq: AgentSeq, why: Why, changes: &mut Changes) {
        self.alarms.clear(seq);
        let Some(record) = Machine::record(self, seq) else { return };
        let step = self.step_name(record.step);
        let Why { reason, message, retryable: _ } = why;
        let failure = Failure::new(reason, message, step, changes.now);
        self.step_ended(seq, Some(failure.clone()), changes);
        if let Some(record) = self.record_mut(seq) {
            record.error = Some(failure);
        }
    }

    /// What comes after a failed attempt of which nothing is left.
    pub(super) fn after_failure(&mut self, seq: AgentSeq, retryable: bool, changes: &mut Changes) {
        let Some(record) = Machine::record(self, seq) else { return };
        let Some(step) = self.step(record.step) else { return };
        if record.leaving {
            self.leave(seq, changes);
            return;
        }
        let (on_error, retry) = (step.on_error, step.retry);
        let again = retryable && record.tries < retry.attempts;
        if again && self.run.progress.status != RunStatus::Cancelling {
            let wait =
                wait_before(&retry, record.tries, record.present_attempt(), self.run.snapshot.id);
            let at = changes.now.plus(wait);
            self.set_phase(seq, StepPhase::RetryAt { at }, changes);
            self.alarms.set(seq, at);
            return;
        }
        match on_error {
            OnError::Continue => self.pass_over(seq, changes),
            OnError::Fail => self.end_agent(seq, AgentState::Failed, changes),
        }
    }

    /// Passes over the failure of the present step: it is counted, and the next step follows.
    fn pass_over(&mut self, seq: AgentSeq, changes: &mut Changes) {
        if !mutant!(PassedOverNotCounted)
            && let Some(record) = self.record_mut(seq)
        {
            record.passed_over = record.passed_over.saturating_add(1);
            let is_first = record.passed_over == 1;
            let passed = &mut self.run.progress.passed_over;
            passed.failures = passed.failures.saturating_add(1);
            passed.agents += u32::from(is_first);
        }
        self.advance(seq, changes);
    }

    /// Begins the attempt that a failed one was to be followed by.
    pub(super) fn try_again(&mut self, seq: AgentSeq, changes: &mut Changes) {
        let snapshot = Arc::clone(&self.run.snapshot);
        let Some(record) = Machine::record(self, seq) else { return };
        let stage = snapshot.playbook.stages.get(usize::from(record.stage));
        let step = stage.and_then(|stage| stage.steps.get(usize::from(record.step)));
        let Some(step) = step else { return };
        if self.run.progress.status == RunStatus::Cancelling {
            self.cut_off(seq, &step.name, changes);
            return;
        }
        if record.outstanding.is_some() {
            self.settle_first(seq, step, changes);
            return;
        }
        if self.looks_first(seq, changes) {
            self.set_phase(seq, StepPhase::Waiting, changes);
            return;
        }
        self.begin_attempt(seq, step, changes);
        // Arguments that can't be worked out may have ended the step at once.
        self.begin_step(seq, changes);
    }

    fn step_ended(&mut self, seq: AgentSeq, failure: Option<Failure>, changes: &mut Changes) {
        let Some(record) = Machine::record(self, seq) else { return };
        let (key, agent) = (record.present_attempt(), record.agent.clone());
        let action_id = record.action.filter(|sent| sent.key == key).map(|sent| sent.action_id);
        let (step, attempt) = (self.step_name(record.step), key.attempt);
        changes.event(self, Happened::StepEnded { agent, step, attempt, failure, action_id });
        changes.records.insert(seq);
    }

    pub(super) fn advance(&mut self, seq: AgentSeq, changes: &mut Changes) {
        self.alarms.clear(seq);
        if let Some(record) = self.record_mut(seq) {
            record.step += 1;
            record.tries = 0;
            record.phase = StepPhase::Waiting;
            changes.records.insert(seq);
        }
    }

    pub(super) fn set_phase(&mut self, seq: AgentSeq, phase: StepPhase, changes: &mut Changes) {
        if let Some(record) = self.record_mut(seq) {
            record.phase = phase;
            changes.records.insert(seq);
        }
    }

    /// Ends an agent whose steps are not over because the run is cancelled.
    pub(super) fn cut_off(&mut self, seq: AgentSeq, step: &str, changes: &mut Changes) {
        let failure = Failure {
            reason: FailureReason::Cancelled,
            message: "the run was cancelled before the agent's steps ended".to_owned(),
            step: step.to_owned(),
            at: changes.now,
        };
        if let Some(record) = self.record_mut(seq) {
            record.error = Some(failure);
        }
        self.end_agent(seq, AgentState::Failed, changes);
    }

    pub(super) fn end_agent(&mut self, seq: AgentSeq, state: AgentState, changes: &mut Changes) {
        self.attempts.remove(&seq);
        self.stop_looking(seq, changes);
        self.alarms.clear(seq);
        self.look_at_open(seq, changes);
        let Some(record) = self.record_mut(seq) else { return };
        record.ended_at = Some(changes.now);
        record.phase = StepPhase::Waiting;
        let failure = record.error.clone().filter(|_| state == AgentState::Failed);
        let why = failure.as_ref().map(|f| format!("{}: {}", f.reason, f.message));
        changes.agent(self, seq, state, why);
        self.plan_due = true;
        let uncounted =
            |reason| mutant!(UnreachableNotCounted) && reason == FailureReason::Unreachable;
        if failure.is_some_and(|f| f.reason != FailureReason::Cancelled && !uncounted(f.reason)) {
            self.count_failure(changes);
        }
        if self.is_leaving(seq) {
            self.leave(seq, changes);
        }
        self.end_stage_if_over(changes);
    }
}

/// When the time of an attempt is over.
/// `held` is how long the run was on hold so far: what of that came after the beginning of the attempt
/// is not counted.
pub(super) fn deadline(journal: &Journal, step: &Step, held: Millis) -> crate::run::Timestamp {
    let timeout = step.time_limit();
    let since = held.beyond(journal.held);
    journal.counts_from().plus(timeout).plus(since)
}

/// How long to wait before a step is tried again that was tried `tries` times: it grows with each,
/// and a part of up to a half is taken off by the seed of the attempt that failed, so that agents
/// which failed together don't come back together.
fn wait_before(retry: &Retry, tries: u32, failed: AttemptKey, run: RunId) -> Millis {
    let grown = retry.initial.0 as f64 * retry.factor.powf(f64::from(tries.saturating_sub(1)));
    let longest = grown.min(retry.max.0 as f64);
    let [a, b, c, d, ..] = failed.seed(run);
    let part = f64::from(u32::from_be_bytes([a, b, c, d])) / f64::from(u32::MAX);
    Millis((longest * (1.0 - part / 2.0)) as u64)
}

/// Bytes of a value as JSON text.
pub(super) fn datastore_bytes(Datastore { store, shards }: &Datastore) -> usize {
    json_bytes(store) + json_bytes(shards)
}

pub(super) fn json_bytes(value: &Value) -> usize {
    value.to_string().len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_up_to_the_longest_and_differ_by_attempt() {
        let retry = Retry { attempts: 9, initial: Millis(1_000), factor: 2.0, max: Millis(5_000) };
        let run = RunId(uuid::Uuid::from_u128(1));
        let wait = |tries, agent| {
            let key = AttemptKey { agent: AgentSeq(agent), stage: 0, step: 0, attempt: tries };
            wait_before(&retry, tries, key, run).0
        };
        for (tries, longest) in [(1, 1_000), (2, 2_000), (3, 4_000), (4, 5_000), (200, 5_000)] {
            let waits: Vec<u64> = (0..50).map(|agent| wait(tries, agent)).collect();
            assert!(waits.iter().all(|wait| (longest / 2..=longest).contains(wait)), "{waits:?}");
            assert!(waits.iter().any(|wait| wait != &waits[0]));
        }
        assert_eq!(wait(2, 7), wait(2, 7));
    }
}
