//! One agent's way through its steps: attempts, calls, answers, results.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::changes::Changes;
use super::state::{Attempt, Doing, IllegalInput, Machine};
use crate::playbook::OnError;
use crate::run::{
    Activate, Activation, ActivationEnd, AgentSeq, AgentState, Answer, Answered, AttemptKey, Call,
    CallError, CallName, Effect, Failure, FailureReason, Happened, Journal, Pending, Perform,
    PluginLine, RunStatus,
};

/// The most bytes of answers in one journal: a journal is one document and fits one commit.
pub(super) const MAX_JOURNAL_BYTES: usize = 1536 * 1024;

/// The most bytes of results in one agent record, for the same reason.
pub(super) const MAX_RESULTS_BYTES: usize = 1024 * 1024;

/// Why an attempt failed.
struct Why {
    reason: FailureReason,
    message: String,
}

/// Documents after which a transition begins no further agent: what one agent may add, with every
/// step left out or failed, still fits the commit.
const BEGIN_DOCUMENTS: usize = 500;

impl Machine {
    /// Begins the first step of the agents that were started, as many as fit one commit.
    pub(super) fn begin_some(&mut self, changes: &mut Changes) {
        while changes.documents() < BEGIN_DOCUMENTS {
            let Some(seq) = self.starting.pop_front() else { return };
            self.begin_step(seq, changes);
        }
        if !self.starting.is_empty() {
            changes.effects.push(Effect::Continue);
        }
    }

    /// Starts the next step of a running agent, or ends the agent when there is none.
    pub(super) fn begin_step(&mut self, seq: AgentSeq, changes: &mut Changes) {
        loop {
            let Some(record) = Machine::record(self, seq) else { return };
            let snapshot = Arc::clone(&self.run.snapshot);
            let stage = usize::from(self.run.progress.stage.index);
            let stage = snapshot.playbook.stages.get(stage);
            let Some(step) = stage.and_then(|stage| stage.steps.get(usize::from(record.step)))
            else {
                self.end_agent(seq, AgentState::Done, changes);
                return;
            };
            if self.run.progress.status == RunStatus::Cancelling {
                self.cut_off(seq, &step.name, changes);
                return;
            }
            let wanted = step.when.as_ref().map_or(Ok(true), |when| {
                self.with_record_scope(record, |scope| when.eval_bool(scope))
            });
            match wanted {
                Ok(true) => {}
                Ok(false) => {
                    let agent = record.agent.clone();
                    changes.event(self, Happened::StepSkipped { agent, step: step.name.clone() });
                    self.advance(seq, changes);
                    continue;
                }
                Err(error) => {
                    let why =
                        Why { reason: FailureReason::BadArguments, message: error.to_string() };
                    if self.step_failed(seq, why, changes) {
                        continue;
                    }
                    return;
                }
            }
            if self.begin_attempt(seq, changes) {
                return;
            }
            if !self.is_running(seq) {
                return;
            }
        }
    }

    fn is_running(&self, seq: AgentSeq) -> bool {
        Machine::record(self, seq).is_some_and(|record| record.state == AgentState::Running)
    }

    /// Starts a new attempt of the present step. False when its arguments can't be worked out; then
    /// the step has failed already.
    fn begin_attempt(&mut self, seq: AgentSeq, changes: &mut Changes) -> bool {
        let Some(record) = self.record_mut(seq) else { return false };
        let index = record.step;
        let Some(number) = record.attempts.get_mut(usize::from(index)) else { return false };
        *number += 1;
        let attempt = *number;
        changes.records.insert(seq);
        let agent = record.agent.clone();
        let step = self.step(index).map(|step| step.name.clone()).unwrap_or_default();
        changes.event(self, Happened::StepStarted { agent, step, attempt });
        self.activate_anew(seq, changes)
    }

    /// Makes the journal of the attempt that the agent's record names, and activates it. Nothing is
    /// written yet: until the first call is committed the same journal can be made again.
    fn activate_anew(&mut self, seq: AgentSeq, changes: &mut Changes) -> bool {
        let Some(record) = Machine::record(self, seq) else { return false };
        let Some(step) = self.step(record.step) else { return false };
        let key = record.present_attempt();
        match self.arguments(record, step) {
            Ok(arguments) => {
                let journal = Journal {
                    run: record.run,
                    key,
                    agent: record.agent.clone(),
                    step_name: step.name.clone(),
                    started_at: changes.now,
                    arguments,
                    answers: Vec::new(),
                    pending: None,
                    log_lines: 0,
                    finish_ts: None,
                };
                self.activate(
                    seq,
                    Attempt { journal, doing: Doing::Activation, bytes: 0 },
                    changes,
                );
                true
            }
            Err(error) => {
                let why = Why { reason: FailureReason::BadArguments, message: error.to_string() };
                self.step_failed(seq, why, changes);
                false
            }
        }
    }

    fn activate(&mut self, seq: AgentSeq, attempt: Attempt, changes: &mut Changes) {
        let effect = Machine::record(self, seq).and_then(|record| {
            let stage = self.stage()?;
            let step = self.step(attempt.journal.key.step)?;
            let pin = self.run.snapshot.playbook.plugins.get(&step.plugin)?;
            Some(Effect::Activate(Box::new(Activate {
                key: attempt.journal.key,
                plugin: pin.digest.clone(),
                grants: step.grants.clone(),
                journal: attempt.journal.clone(),
                agent: record.agent.clone(),
                attributes: record.attributes.clone(),
                cluster: self.run.snapshot.cluster.clone(),
                stage: stage.name.clone(),
            })))
        });
        self.attempts.insert(seq, attempt);
        changes.effects.extend(effect);
    }

    /// Takes up the attempt of an agent that was running when the run was last committed to.
    pub(super) fn take_up_attempt(
        &mut self,
        seq: AgentSeq,
        journals: &mut BTreeMap<AttemptKey, Journal>,
        changes: &mut Changes,
    ) {
        let Some(record) = Machine::record(self, seq) else { return };
        match journals.remove(&record.present_attempt()) {
            Some(journal) => {
                let bytes = journal.answers.iter().map(size_of_answered).sum();
                self.activate(seq, Attempt { journal, doing: Doing::Activation, bytes }, changes);
            }
            None => {
                if !self.activate_anew(seq, changes) && self.is_running(seq) {
                    self.begin_step(seq, changes);
                }
            }
        }
    }

    /// The attempt of that key, if it is in flight and does that.
    fn attempt_mut(&mut self, key: AttemptKey, doing: Doing) -> Option<&mut Attempt> {
        let attempt = self.attempts.get_mut(&key.agent)?;
        (attempt.journal.key == key && attempt.doing == doing).then_some(attempt)
    }

    pub(super) fn activated(
        &mut self,
        key: AttemptKey,
        activation: Activation,
        changes: &mut Changes,
    ) {
        if self.attempt_mut(key, Doing::Activation).is_none() {
            return;
        }
        let Activation { end, logs } = activation;
        match end {
            ActivationEnd::Blocked(call) => self.blocked(key, call, logs, changes),
            ActivationEnd::Done(value) => {
                self.close_journal(key, logs, changes);
                self.step_done(key.agent, value, changes);
            }
            ActivationEnd::Failed { reason, message, retryable: _ } => {
                let why = Why { reason, message };
                if self.action_is_out(key.agent) {
                    // Nothing further may be sent to the agent while its action may still run.
                    self.close_journal(key, logs, changes);
                    self.fail_step(key.agent, why, OnError::Fail, changes);
                    return;
                }
                self.close_journal(key, logs, changes);
                if self.step_failed(key.agent, why, changes) {
                    self.begin_step(key.agent, changes);
                }
            }
        }
    }

    /// Commits the call as pending before it is performed. A call that is pending already was
    /// committed before a crash: then nothing is written, and it is performed again.
    fn blocked(
        &mut self,
        key: AttemptKey,
        what: Call,
        logs: Vec<PluginLine>,
        changes: &mut Changes,
    ) {
        let seq = key.agent;
        let Some(mut attempt) = self.attempts.remove(&seq) else { return };
        let again = attempt.journal.pending.is_some();
        let is_out = again && what.name() == CallName::RunAction;
        if self.run.progress.status == RunStatus::Cancelling && !is_out {
            let step = attempt.journal.step_name.clone();
            changes.journals.push(attempt.journal);
            self.cut_off(seq, &step, changes);
            return;
        }
        if what.name() == CallName::RunAction && !again && has_unreachable_action(&attempt.journal)
        {
            self.attempts.insert(seq, attempt);
            let message = "an action before could not be followed to its end and may still run";
            let why = Why { reason: FailureReason::Unreachable, message: message.to_owned() };
            self.close_journal(key, logs, changes);
            self.fail_step(seq, why, OnError::Fail, changes);
            return;
        }
        let cancelling = self.run.progress.status == RunStatus::Cancelling;
        let journal = &mut attempt.journal;
        if !again {
            let step = journal.step_name.clone();
            let agent = journal.agent.clone();
            changes.logs(self, logs, &step, Some((&mut *journal, &agent)));
            journal.pending = Some(Pending {
                name: what.name(),
                arguments_hash: what.arguments_hash(),
                at: changes.now,
                accepted: false,
            });
            changes.journals.push(journal.clone());
        }
        let address = Machine::record(self, seq).map(|record| record.address.clone());
        if let (Some(pending), Some(address)) = (&journal.pending, address) {
            changes.effects.push(Effect::Perform(Box::new(Perform {
                key,
                call: call_number(journal),
                agent: journal.agent.clone(),
                address,
                what,
                since: pending.at,
                again,
                // A run that is being cancelled looks at what is out, and sends nothing any more.
                accepted: pending.accepted || cancelling,
            })));
        }
        attempt.doing = Doing::Answer;
        self.attempts.insert(seq, attempt);
    }

    /// Ends the attempt's journal: its last answer and its last lines are written.
    fn close_journal(&mut self, key: AttemptKey, logs: Vec<PluginLine>, changes: &mut Changes) {
        let Some(mut attempt) = self.attempts.remove(&key.agent) else { return };
        let step = attempt.journal.step_name.clone();
        let agent = attempt.journal.agent.clone();
        changes.logs(self, logs, &step, Some((&mut attempt.journal, &agent)));
        attempt.journal.pending = None;
        changes.journals.push(attempt.journal);
    }

    pub(super) fn accepted(&mut self, key: AttemptKey, call: u32, changes: &mut Changes) {
        let Some(attempt) = self.attempt_mut(key, Doing::Answer) else { return };
        if call_number(&attempt.journal) != call {
            return;
        }
        if let Some(pending) = &mut attempt.journal.pending
            && !pending.accepted
        {
            pending.accepted = true;
            changes.journals.push(attempt.journal.clone());
        }
    }

    /// Records an answer and activates the step again. The answer is written with what comes next.
    pub(super) fn answered(
        &mut self,
        key: AttemptKey,
        call: u32,
        answer: Answer,
        changes: &mut Changes,
    ) -> Result<(), IllegalInput> {
        let Some(attempt) = self.attempt_mut(key, Doing::Answer) else { return Ok(()) };
        if call_number(&attempt.journal) != call {
            return Ok(());
        }
        let Some(pending) = attempt.journal.pending.take() else { return Ok(()) };
        if pending.name != answer.name() {
            let (found, asked) = (answer.name(), pending.name);
            attempt.journal.pending = Some(pending);
            return Err(IllegalInput::new("an answer", format!("{found:?}"), format!("{asked:?}")));
        }
        let answered = Answered {
            name: pending.name,
            arguments_hash: pending.arguments_hash,
            at: changes.now,
            answer,
        };
        let seq = key.agent;
        let Some(mut attempt) = self.attempts.remove(&seq) else { return Ok(()) };
        attempt.bytes += size_of_answered(&answered);
        attempt.doing = Doing::Activation;
        if attempt.bytes > MAX_JOURNAL_BYTES {
            let message = format!(
                "the answers of the attempt have {} bytes, at most {MAX_JOURNAL_BYTES}",
                attempt.bytes
            );
            changes.journals.push(attempt.journal);
            let why = Why { reason: FailureReason::PluginLimit, message };
            if self.step_failed(seq, why, changes) {
                self.begin_step(seq, changes);
            }
            return Ok(());
        }
        attempt.journal.answers.push(answered);
        if self.run.progress.status == RunStatus::Cancelling {
            let step = attempt.journal.step_name.clone();
            changes.journals.push(attempt.journal);
            self.cut_off(seq, &step, changes);
            return Ok(());
        }
        self.activate(seq, attempt, changes);
        Ok(())
    }

    fn step_done(&mut self, seq: AgentSeq, value: Value, changes: &mut Changes) {
        let Some(record) = Machine::record(self, seq) else { return };
        let index = record.step;
        let step = self.step(index).map(|step| step.name.clone()).unwrap_or_default();
        let held: usize = record.results.values().map(json_bytes).sum();
        let bytes = held + json_bytes(&value);
        if bytes > MAX_RESULTS_BYTES {
            let message =
                format!("the results of the agent have {bytes} bytes, at most {MAX_RESULTS_BYTES}");
            let why = Why { reason: FailureReason::PluginLimit, message };
            if self.step_failed(seq, why, changes) {
                self.begin_step(seq, changes);
            }
            return;
        }
        self.step_ended(seq, None, changes);
        if let Some(record) = self.record_mut(seq) {
            record.results.insert(step, value);
        }
        self.advance(seq, changes);
        self.begin_step(seq, changes);
    }

    /// Whether an action of the attempt in flight may still be running: it is pending, in an attempt
    /// that failed when it was taken up again, or its agent could not be reached any more.
    fn action_is_out(&self, seq: AgentSeq) -> bool {
        self.attempts.get(&seq).is_some_and(|attempt| {
            let pending = attempt.journal.pending.as_ref();
            pending.is_some_and(|pending| pending.name == CallName::RunAction)
                || has_unreachable_action(&attempt.journal)
        })
    }

    /// Takes notice that the present step failed. True when the agent goes on with the next one.
    fn step_failed(&mut self, seq: AgentSeq, why: Why, changes: &mut Changes) -> bool {
        let Some(record) = Machine::record(self, seq) else { return false };
        let Some(on_error) = self.step(record.step).map(|step| step.on_error) else { return false };
        self.fail_step(seq, why, on_error, changes)
    }

    fn fail_step(
        &mut self,
        seq: AgentSeq,
        why: Why,
        on_error: OnError,
        changes: &mut Changes,
    ) -> bool {
        let Some(record) = Machine::record(self, seq) else { return false };
        let step = self.step(record.step).map(|step| step.name.clone()).unwrap_or_default();
        let Why { reason, message } = why;
        let failure = Failure { reason, message, step, at: changes.now };
        self.step_ended(seq, Some(failure.clone()), changes);
        if let Some(record) = self.record_mut(seq) {
            record.error = Some(failure);
        }
        match on_error {
            OnError::Continue => {
                self.advance(seq, changes);
                true
            }
            OnError::Fail => {
                self.end_agent(seq, AgentState::Failed, changes);
                false
            }
        }
    }

    fn step_ended(&mut self, seq: AgentSeq, failure: Option<Failure>, changes: &mut Changes) {
        let Some(record) = Machine::record(self, seq) else { return };
        let attempt = record.present_attempt().attempt;
        let agent = record.agent.clone();
        let step = self.step(record.step).map(|step| step.name.clone()).unwrap_or_default();
        changes.event(self, Happened::StepEnded { agent, step, attempt, failure });
        changes.records.insert(seq);
    }

    fn advance(&mut self, seq: AgentSeq, changes: &mut Changes) {
        if let Some(record) = self.record_mut(seq) {
            record.step += 1;
            changes.records.insert(seq);
        }
    }

    /// Ends an agent whose steps are not over because the run is cancelled.
    pub(super) fn cut_off(&mut self, seq: AgentSeq, step: &str, changes: &mut Changes) {
        self.attempts.remove(&seq);
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

    fn end_agent(&mut self, seq: AgentSeq, state: AgentState, changes: &mut Changes) {
        self.attempts.remove(&seq);
        let Some(record) = self.record_mut(seq) else { return };
        record.ended_at = Some(changes.now);
        let failure = record.error.clone().filter(|_| state == AgentState::Failed);
        let why = failure.as_ref().map(|f| format!("{}: {}", f.reason, f.message));
        changes.agent(self, seq, state, why);
        self.plan_due = true;
        if failure.is_some_and(|f| f.reason != FailureReason::Cancelled) {
            self.run.progress.stage.failures += 1;
            self.check_budget(changes);
        }
        self.end_stage_if_over(changes);
    }
}

fn has_unreachable_action(journal: &Journal) -> bool {
    journal.answers.iter().any(|answered| {
        matches!(answered.answer, Answer::RunAction(Err(CallError::Unreachable(_))))
    })
}

/// Number of the call that an attempt is at: the number of answers that it has.
pub(super) fn call_number(journal: &Journal) -> u32 {
    u32::try_from(journal.answers.len()).unwrap_or(u32::MAX)
}

/// Bytes of a value as JSON text.
pub(super) fn json_bytes(value: &Value) -> usize {
    value.to_string().len()
}

fn size_of_answered(answered: &Answered) -> usize {
    match &answered.answer {
        Answer::RunAction(Ok(value)) => json_bytes(value),
        Answer::Info(Ok(node)) => json_bytes(&node.raw),
        Answer::WaitStatus(Ok(text)) => text.len(),
        Answer::Info(Err(error))
        | Answer::RunAction(Err(error))
        | Answer::WaitStatus(Err(error)) => error.to_string().len(),
        Answer::Sleep => 0,
    }
}
