//! One agent's way through its steps: which step comes next, when it is tried, and what its end means for the
//! agent.

use std::sync::Arc;

use super::ending::passes_rescue;
use super::steering::CHUNK_BYTES;
use super::turn::{Legal, Turn};
use crate::mutants::mutant;
use crate::playbook::{ExprError, OnError, Retry, Step};
use crate::run::failure::beginning;
use crate::run::state::{Doing, IllegalInput, OfAgent, OfCall, Phase, State};
use crate::run::{
    AgentSeq, AgentState, AttemptKey, Effect, Failure, FailureReason, Journal, JsonText, Millis,
    RunId,
};

/// The most bytes of results in one agent record. The record is one document and must fit one commit.
pub(super) const MAX_RESULTS_BYTES: usize = 1024 * 1024;

/// How many documents a transition may have before it begins no further agent. What one agent may add still fits
/// the commit, even if every step is left out or fails.
pub(super) const BEGIN_DOCUMENTS: usize = 500;

/// Why an attempt failed.
pub(super) struct Why {
    pub(super) reason: FailureReason,
    pub(super) message: String,
    /// Whether another attempt may succeed.
    pub(super) retryable: bool,
}

/// Bytes that are kept of the message of a failed expression. It may quote what agents say, and hundreds of agents
/// may fail in this way in one commit.
pub(super) const MAX_EXPRESSION_BYTES: usize = 512;

impl Why {
    /// The failure of an expression in the playbook.
    pub(super) fn expression(error: &ExprError) -> Self {
        let message = beginning(error.to_string(), MAX_EXPRESSION_BYTES);
        Self::permanent(FailureReason::BadArguments, message)
    }

    /// A failure that another attempt would not change.
    pub(super) fn permanent(reason: FailureReason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), retryable: false }
    }

    /// A failure after which another attempt may succeed.
    pub(super) fn retryable(reason: FailureReason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), retryable: true }
    }
}

/// What an attempt begins with: its journal, or why it can't begin.
type Begun = Result<Journal, Why>;

impl Turn<'_> {
    /// Begins the next steps of the agents that wait for one, as many as fit one commit.
    pub(super) fn begin_some(&mut self) -> Legal {
        let mut bytes = 0;
        while self.documents() < BEGIN_DOCUMENTS && bytes < CHUNK_BYTES {
            let Some(seq) = self.next_to_begin() else { return Ok(()) };
            self.emit((seq, OfAgent::Rests))?;
            bytes += self.weight(seq)?;
            self.begin_step(seq)?;
        }
        Ok(())
    }

    /// Begins the next step of a running agent, or ends the agent if no step is left. If a look at the agent is
    /// due, that comes first.
    pub(super) fn begin_step(&mut self, seq: AgentSeq) -> Legal {
        self.begin(seq, true)
    }

    /// Like [`begin_step`](Self::begin_step), for an agent that did not answer that look.
    pub(super) fn begin_step_unseen(&mut self, seq: AgentSeq) -> Legal {
        self.begin(seq, false)
    }

    fn begin(&mut self, seq: AgentSeq, mut looks: bool) -> Legal {
        let snapshot = Arc::clone(self.snapshot());
        while self.waits_for_step(seq) {
            let record = self.record(seq)?;
            let stage = snapshot.playbook.stages.get(usize::from(self.progress().stage.index));
            if let Some(to) = stage.and_then(|stage| passes_rescue(stage, record)) {
                self.emit((seq, OfAgent::Turns { to, failure: None }))?;
                continue;
            }
            let Some(step) = stage.and_then(|stage| stage.steps.get(usize::from(record.step)))
            else {
                return self.steps_over(seq);
            };
            if record.leaving {
                return self.leave(seq);
            }
            if self.is_cut_off(seq) {
                return self.cut_off(seq, &step.name);
            }
            if self.progress().hold {
                return Ok(());
            }
            if record.outstanding.is_some() {
                return self.settle_first(seq, step);
            }
            if looks && self.is_look_due(seq)? {
                return self.look_first(seq);
            }
            looks = true;
            self.consider_step(seq, step)?;
        }
        Ok(())
    }

    /// Begins the step, or leaves it out if its `when` is false.
    fn consider_step(&mut self, seq: AgentSeq, step: &Step) -> Legal {
        if self.takes_late(seq)? {
            // `when` was true when the step began.
            return self.begin_attempt(seq, step);
        }
        let record = self.record(seq)?;
        let wanted = step.when.as_ref().map_or(Ok(true), |when| {
            let looks = |path: &[&str]| when.looks_at(path);
            self.with_record_scope(record, looks, |scope| when.eval_bool(scope))
        });
        match wanted {
            Ok(true) => self.begin_attempt(seq, step),
            Ok(false) => {
                let step = record.step;
                self.emit((seq, OfAgent::StepSkipped { step }))
            }
            Err(error) => self.step_failed(seq, Why::expression(&error)),
        }
    }

    /// Starts a new attempt of the present step.
    pub(super) fn begin_attempt(&mut self, seq: AgentSeq, step: &Step) -> Legal {
        if self.record(seq)?.again {
            self.emit((seq, OfAgent::DoesAgain))?;
        }
        let key = self.record(seq)?.present_attempt();
        let attempt = if mutant!(AttemptReused) { 1 } else { key.attempt.saturating_add(1) };
        let takes = self.taken_over(seq, AttemptKey { attempt, ..key })?;
        let takes = takes.and_then(|journal| journal.taken_from()).map(|from| from.attempt);
        self.emit((seq, OfAgent::StepStarted { step: key.step, attempt, takes }))?;
        self.begin_anew(seq, step)
    }

    /// Makes the journal of the attempt that the agent's record names. Nothing of it is written yet: until the
    /// first call is committed, the same journal can be made again.
    pub(super) fn begin_anew(&mut self, seq: AgentSeq, step: &Step) -> Legal {
        match self.new_journal(seq, step)? {
            Ok(journal) => {
                self.emit((seq, OfCall::Opened(Box::new(journal))))?;
                self.go_on_with(seq)
            }
            Err(why) => self.step_failed(seq, why),
        }
    }

    fn new_journal(&self, seq: AgentSeq, step: &Step) -> Legal<Begun> {
        let record = self.record(seq)?;
        let key = record.present_attempt();
        if let Some(journal) = self.taken_over(seq, key)? {
            return Ok(Ok(journal));
        }
        let arguments = match self.arguments(record, step, key) {
            Ok(arguments) => arguments,
            Err(error) => return Ok(Err(Why::expression(&error))),
        };
        let (run, agent, name) = (record.run, record.agent.clone(), step.name.clone());
        let journal = Journal::new(run, key, agent, name, self.now, arguments);
        Ok(Ok(Journal { held: self.progress().held, ..journal }))
    }

    /// Activates an attempt. If it has made no call yet, the precondition of its step is checked first, for which
    /// the agent is asked each time.
    pub(super) fn go_on_with(&mut self, seq: AgentSeq) -> Legal {
        let journal = &self.attempt(seq)?.journal;
        let key = journal.key;
        let begun = !journal.answers.is_empty() || journal.pending.is_some();
        let step = self.step(key.step)?;
        if step.require.is_none() || begun {
            return self.activate(seq);
        }
        let alarm = deadline(journal, step, self.progress().held);
        let record = self.record(seq)?;
        let (address, noticed) = (record.address.clone(), record.notice.clone());
        let wanted = self.wanted_before(key);
        self.emit((seq, OfCall::Does { doing: Doing::Checking, alarm: Some(alarm) }))?;
        self.effect(Effect::Check { key, address, wanted, noticed });
        Ok(())
    }

    /// Keeps the value of a step that ended well, and goes on with the next step.
    pub(super) fn step_done(&mut self, seq: AgentSeq, value: JsonText) -> Legal {
        let record = self.record(seq)?;
        let name = self.step_name(record.step);
        let others = record.results.iter().filter(|(step, _)| **step != name);
        let held: usize = others.map(|(_, value)| value.bytes()).sum();
        let bytes = held + value.bytes();
        if bytes > MAX_RESULTS_BYTES {
            let message =
                format!("the results of the agent have {bytes} bytes, at most {MAX_RESULTS_BYTES}");
            self.step_failed(seq, Why::permanent(FailureReason::PluginLimit, message))?;
        } else {
            self.emit((seq, OfAgent::StepDone { value: Some(value) }))?;
        }
        self.begin_step(seq)
    }

    /// Handles the failure of an attempt of the present step: it is tried again later, or the agent goes on with
    /// the next step, which the caller begins, or the agent fails.
    pub(super) fn step_failed(&mut self, seq: AgentSeq, why: Why) -> Legal {
        let retryable = why.retryable;
        self.attempt_failed(seq, why)?;
        self.after_failure(seq, retryable)
    }

    /// Records that the attempt failed, and does nothing more.
    pub(super) fn attempt_failed(&mut self, seq: AgentSeq, why: Why) -> Legal {
        let step = self.step_name(self.record(seq)?.step);
        let Why { reason, message, retryable: _ } = why;
        let failure = Failure::new(reason, message, step, self.now);
        self.emit((seq, OfAgent::StepFailed(failure)))
    }

    /// Decides what follows a failed attempt that has no action out.
    pub(super) fn after_failure(&mut self, seq: AgentSeq, retryable: bool) -> Legal {
        let record = self.record(seq)?;
        let step = self.step(record.step)?;
        if record.leaving {
            return self.leave(seq);
        }
        let (on_error, retry) = (step.on_error, step.retry);
        let again = retryable && record.tries < retry.attempts;
        if again && !self.is_cut_off(seq) {
            let run = self.snapshot().id;
            let wait = wait_before(&retry, record.tries, record.present_attempt(), run);
            return self.emit((seq, OfAgent::RetriesAt(self.now.plus(wait))));
        }
        match on_error {
            OnError::Continue => self.pass_over(seq),
            OnError::Fail => self.agent_failed(seq),
        }
    }

    /// Passes over the failure of the present step: the failure is counted, and the next step follows.
    fn pass_over(&mut self, seq: AgentSeq) -> Legal {
        if !mutant!(PassedOverNotCounted) {
            self.emit((seq, OfAgent::PassedOver))?;
        }
        self.emit((seq, OfAgent::Advanced))
    }

    /// Begins the attempt that follows a failed one.
    pub(super) fn try_again(&mut self, seq: AgentSeq) -> Legal {
        let snapshot = Arc::clone(self.snapshot());
        let record = self.record(seq)?;
        let stage = snapshot.playbook.stages.get(usize::from(record.stage));
        let step = stage.and_then(|stage| stage.steps.get(usize::from(record.step)));
        let none = || IllegalInput::missing("a retry", "the step of its agent", "the stage");
        let step = step.ok_or_else(none)?;
        if self.is_cut_off(seq) {
            return self.cut_off(seq, &step.name);
        }
        if record.outstanding.is_some() {
            return self.settle_first(seq, step);
        }
        if self.is_look_due(seq)? {
            self.emit((seq, OfAgent::Waits))?;
            return self.look_first(seq);
        }
        self.begin_attempt(seq, step)?;
        // Arguments that can't be worked out may have ended the step at once.
        self.begin_step(seq)
    }

    /// Ends an agent that has come through all of its steps.
    pub(super) fn agent_done(&mut self, seq: AgentSeq) -> Legal {
        self.look_away(seq)?;
        self.look_at_open(seq)?;
        self.emit((seq, OfAgent::Done))?;
        self.after_end(seq)
    }

    /// Fails the agent.
    pub(super) fn fail_agent(&mut self, seq: AgentSeq, failure: Failure) -> Legal {
        self.look_away(seq)?;
        self.look_at_open(seq)?;
        let uncounted =
            mutant!(UnreachableNotCounted) && failure.reason == FailureReason::Unreachable;
        let counts = failure.reason != FailureReason::Cancelled && !uncounted;
        self.emit((seq, OfAgent::Failed { failure, counts, undecided: false }))?;
        if counts {
            self.check_budget()?;
        }
        self.after_end(seq)
    }

    fn after_end(&mut self, seq: AgentSeq) -> Legal {
        if self.is_leaving(seq) {
            self.leave(seq)?;
        }
        self.end_stage_if_over()
    }
}

impl State {
    /// Whether the agent is at a step for which nothing was done yet.
    fn waits_for_step(&self, seq: AgentSeq) -> bool {
        self.find(seq).is_some_and(|agent| {
            let waits = matches!(agent.phase(), Phase::Idle);
            waits && agent.record().state == AgentState::Running
        })
    }
}

/// When the time of an attempt is over. `held` is how long the run was on hold in all; the part of it that came
/// after the beginning of the attempt does not count.
pub(super) fn deadline(journal: &Journal, step: &Step, held: Millis) -> crate::run::Timestamp {
    let timeout = step.time_limit();
    let since = held.beyond(journal.held);
    journal.counts_from().plus(timeout).plus(since)
}

/// How long to wait before a step is tried again that was tried `tries` times. The wait grows with each try. The
/// seed of the failed attempt takes off up to a half, so that agents which failed together don't come back
/// together.
fn wait_before(retry: &Retry, tries: u32, failed: AttemptKey, run: RunId) -> Millis {
    let grown = retry.initial.0 as f64 * retry.factor.powf(f64::from(tries.saturating_sub(1)));
    let longest = grown.min(retry.max.0 as f64);
    let [a, b, c, d, ..] = failed.seed(run);
    let part = f64::from(u32::from_be_bytes([a, b, c, d])) / f64::from(u32::MAX);
    Millis((longest * (1.0 - part / 2.0)) as u64)
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
