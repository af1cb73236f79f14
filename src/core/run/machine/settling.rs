//! Time that runs out, and actions that outlive their attempt: nothing further is sent to an agent
//! until it is known how its action ended.

use super::calls::{MAX_JOURNAL_BYTES, pending_action, unreachable_action};
use super::changes::Changes;
use super::sizes::answers_bytes;
use super::state::{Doing, Machine};
use super::steps::{Why, deadline};
use crate::mutants::mutant;
use crate::playbook::{OnError, Step};
use crate::run::{
    AgentSeq, AgentState, Answer, Answered, AttemptKey, Call, CallError, Effect, Failure,
    FailureReason, Happened, Journal, JsonText, LateEnd, Millis, Outstanding, Perform, StepPhase,
    Timestamp,
};

impl Machine {
    /// Ends an attempt whose time is over. An activation that goes on is over soon; what comes of it
    /// is looked at then.
    pub(super) fn attempt_timed_out(&mut self, seq: AgentSeq, changes: &mut Changes) {
        let Some(attempt) = self.attempts.get(&seq) else { return };
        let is_out = pending_action(&attempt.journal).filter(|_| !mutant!(OutstandingForgotten));
        if attempt.doing == Doing::Activation {
            return;
        }
        let key = attempt.journal.key;
        let held = self.run.progress.held;
        let due = self.step(key.step).map(|step| deadline(&attempt.journal, step, held));
        if let Some(due) = due.filter(|due| *due > changes.now) {
            // The run was on hold meanwhile.
            self.alarms.set(seq, due);
            return;
        }
        self.keep_late(seq, changes);
        let Some(mut attempt) = self.attempts.remove(&seq) else { return };
        attempt.journal.cut_off = true;
        if is_out.is_some() || unreachable_action(&attempt.journal).is_some() {
            self.keep_what_it_saw(seq, &mut attempt.journal);
        }
        let timeout = self.step(key.step).map(Step::time_limit);
        let length = in_words(timeout.unwrap_or_default());
        changes.effects.push(Effect::Abandon(key));
        let Some(outstanding) = is_out else {
            // What it waited for stays in it as pending.
            self.note_unreachable(seq, &attempt.journal, changes);
            changes.journals.push(attempt.journal);
            let message = format!("the step did not end within {length}");
            self.step_failed(seq, Why::retryable(FailureReason::TimedOut, message), changes);
            self.begin_step(seq, changes);
            return;
        };
        changes.journals.push(attempt.journal.clone());
        // Whether its action may still be running is shown by what is out, since that changes.
        let message = format!("the step did not end within {length}");
        let why = Why::retryable(FailureReason::TimedOut, message);
        self.end_with_action_out(seq, outstanding, Some(attempt.journal), why, changes);
    }

    /// Ends an attempt whose action may still be running. What is to follow on its agent waits until
    /// that is known; where nothing is, the agent has failed at once.
    pub(super) fn end_with_action_out(
        &mut self,
        seq: AgentSeq,
        outstanding: Outstanding,
        journal: Option<Journal>,
        why: Why,
        changes: &mut Changes,
    ) {
        let retryable = why.retryable;
        self.attempt_failed(seq, why, changes);
        self.look_at(seq, outstanding.clone(), journal, changes);
        if let Some(record) = self.record_mut(seq) {
            record.outstanding = Some(outstanding);
        }
        let leaving = self.is_leaving(seq);
        let step = Machine::record(self, seq)
            .and_then(|record| Some((record.tries, self.step(record.step)?)));
        let Some((tries, step)) = step else { return };
        let again = retryable && tries < step.retry.attempts;
        if (again || step.on_error == OnError::Continue) && !leaving {
            let patience = step.time_limit();
            self.wait_for_end(seq, patience, again, changes);
        } else {
            self.end_agent(seq, AgentState::Failed, changes);
        }
    }

    /// Waits for the end of an action before the step of an agent that a person put back.
    pub(super) fn settle_first(&mut self, seq: AgentSeq, step: &Step, changes: &mut Changes) {
        let record = Machine::record(self, seq);
        let Some(outstanding) = record.and_then(|record| record.outstanding.clone()) else {
            return;
        };
        if self.settling.contains_key(&seq) {
            // The look that goes on has perhaps no patience left.
            changes.effects.push(Effect::Abandon(outstanding.key));
        }
        self.look_at(seq, outstanding, None, changes);
        let again = Machine::record(self, seq).is_some_and(|record| record.tries > 0);
        self.wait_for_end(seq, step.time_limit(), again, changes);
    }

    fn wait_for_end(
        &mut self,
        seq: AgentSeq,
        patience: Millis,
        again: bool,
        changes: &mut Changes,
    ) {
        let until = changes.now.plus(patience);
        self.set_phase(seq, StepPhase::Settling { until, again }, changes);
        self.alarms.set(seq, until);
    }

    /// Looks at an action until it is final, and sends nothing. `journal` is that of its attempt, if it has
    /// just ended.
    pub(super) fn look_at(
        &mut self,
        seq: AgentSeq,
        action: Outstanding,
        journal: Option<Journal>,
        changes: &mut Changes,
    ) {
        self.perform_look(seq, &action, false, changes);
        if let Some(journal) = journal {
            self.over.insert(seq, journal);
        }
        self.settling.insert(seq, action);
    }

    fn perform_look(
        &self,
        seq: AgentSeq,
        action: &Outstanding,
        accepted: bool,
        changes: &mut Changes,
    ) {
        let Some(record) = Machine::record(self, seq) else { return };
        let Outstanding { key, call, since, bytes } = *action;
        changes.effects.push(Effect::Perform(Box::new(Perform {
            key,
            call,
            agent: record.agent.clone(),
            address: record.address.clone(),
            // Looking needs no more than the identifier of the action.
            what: Call::RunAction {
                kind: String::new(),
                arguments: JsonText::from(serde_json::Value::Null),
            },
            since,
            again: true,
            accepted,
            bytes: if mutant!(SizeForgotten) { Some(0) } else { bytes },
            look_only: true,
            noticed: record.notice.clone(),
            identity: record.identity.clone(),
            unidentified: record.is_unidentified(),
        })));
    }

    /// Has the pending action of an attempt looked at only: nothing of it may be sent any more.
    pub(super) fn only_look(&mut self, seq: AgentSeq, changes: &mut Changes) {
        let Some(attempt) = self.attempts.get(&seq) else { return };
        if attempt.doing != Doing::Answer {
            return;
        }
        let Some(action) = pending_action(&attempt.journal) else { return };
        let accepted = attempt.journal.pending.as_ref().is_some_and(|pending| pending.accepted);
        changes.effects.push(Effect::Abandon(action.key));
        self.perform_look(seq, &action, accepted, changes);
    }

    /// Takes up the actions that were looked at when the run was last committed to.
    pub(super) fn take_up_settling(&mut self, seq: AgentSeq, changes: &mut Changes) {
        let Some(record) = Machine::record(self, seq) else { return };
        let Some(outstanding) = record.outstanding.clone() else { return };
        let journal = self.over.get(&seq).filter(|journal| journal.key == outstanding.key);
        let is_pending = journal.is_some_and(|journal| journal.pending.is_some());
        match record.phase {
            StepPhase::Settling { until, .. } => self.alarms.set(seq, until),
            // Another node may have its address by now.
            _ if record.state == AgentState::Removed && !is_pending => return,
            StepPhase::Waiting | StepPhase::Trying | StepPhase::RetryAt { .. } => {}
        }
        self.look_at(seq, outstanding, None, changes);
    }

    /// Looks at the action of an agent that is over, where nobody knows yet how that ended.
    pub(super) fn look_at_open(&mut self, seq: AgentSeq, changes: &mut Changes) {
        let out = Machine::record(self, seq).and_then(|record| record.outstanding.clone());
        if let Some(action) = out.filter(|_| !self.settling.contains_key(&seq)) {
            self.look_at(seq, action, None, changes);
        }
    }

    /// Whether an answer leaves the action open that is looked at: then that goes on.
    pub(super) fn is_looked_at_again(&self, key: AttemptKey, call: u32, answer: &Answer) -> bool {
        let action = self.settling.get(&key.agent);
        let is_settling = action.is_some_and(|action| action.is_call(key, call));
        is_settling && answer.error().is_some_and(CallError::leaves_open)
    }

    /// Takes notice of how an action ended whose attempt is over. Where its agent did not tell, nothing has
    /// ended: it is looked at again, for as long as the run goes.
    pub(super) fn settled(&mut self, seq: AgentSeq, answer: Answer, changes: &mut Changes) {
        let Some(action) = self.settling.remove(&seq) else { return };
        if self.run.progress.status.is_settled() {
            return;
        }
        let outcome = match &answer {
            Answer::RunAction(Ok(_)) => "DONE".to_owned(),
            Answer::RunAction(Err(CallError::NotTaken(why))) => {
                format!("it never began, since no request reached the agent: {why}")
            }
            Answer::RunAction(Err(error)) => error.to_string(),
            Answer::Info(_) | Answer::WaitStatus(_) | Answer::Sleep => return,
        };
        if let Some(error) = answer.error().filter(|error| error.leaves_open()) {
            if error.is_silence() {
                self.forget_identity(seq, changes);
            }
            self.look_at(seq, action, None, changes);
            let phase = Machine::record(self, seq).map(|record| record.phase);
            if matches!(phase, Some(StepPhase::Settling { .. })) {
                self.fail_unsettled(seq, error.reason(), changes);
            }
            return;
        }
        self.ended_late(seq, &action, answer, &outcome, changes);
        self.say_late(seq, &action, outcome, changes);
        self.forget_action(seq, changes);
    }

    /// Writes down how the action ended: in the journal of its attempt, so that the next one may go on from
    /// there, and in the record.
    fn ended_late(
        &mut self,
        seq: AgentSeq,
        action: &Outstanding,
        answer: Answer,
        outcome: &str,
        changes: &mut Changes,
    ) {
        let well = matches!(answer, Answer::RunAction(Ok(_)));
        let over = self.over.remove(&seq).filter(|journal| journal.key == action.key);
        let closed =
            over.and_then(|journal| with_late_end(journal, action.call, answer, changes.now));
        let mut result = false;
        if let Some(journal) = closed {
            let bytes = journal.with_late().map_or(0, |answers| answers_bytes(&answers));
            // No attempt may go on with more than that.
            result = well && bytes <= MAX_JOURNAL_BYTES;
            if result {
                self.over.insert(seq, journal.clone());
            }
            changes.journals.push(journal);
        }
        let Some(record) = self.record_mut(seq) else { return };
        record.late = Some(LateEnd::new(action, changes.now, outcome, result));
        changes.records.insert(seq);
    }

    /// The journal with which the agent's present attempt begins, if it goes on from the one before, whose
    /// action ended well but late.
    pub(super) fn taken_over(&self, seq: AgentSeq, now: Timestamp) -> Option<Journal> {
        let record = Machine::record(self, seq)?;
        let key = record.present_attempt();
        let before = AttemptKey { attempt: key.attempt.checked_sub(1)?, ..key };
        let late = record.late.as_ref().filter(|late| late.result)?;
        if late.last_attempt() != before || mutant!(LateResultIgnored) {
            return None;
        }
        let journal = self.over.get(&seq).filter(|journal| journal.key == late.key)?;
        journal.go_on(key, now, self.run.progress.held)
    }

    /// Whether the next attempt of the agent's step goes on from the last one.
    pub(super) fn takes_late(&self, seq: AgentSeq) -> bool {
        let Some(record) = Machine::record(self, seq) else { return false };
        let late = record.late_end().filter(|late| late.result && !record.again);
        let over = self.over.get(&seq);
        late.zip(over).is_some_and(|(late, journal)| journal.key == late.key)
    }

    /// Keeps the late result for the next attempt where the present one took it and is ended by the host
    /// before anything came of that.
    pub(super) fn keep_late(&mut self, seq: AgentSeq, changes: &mut Changes) {
        let attempt = self.attempts.get(&seq).filter(|_| self.action_out(seq).is_none());
        if let Some(journal) = attempt.map(|attempt| attempt.journal.clone()) {
            self.keep_unused(&journal, changes);
        }
    }

    /// The same of an attempt of which that is the journal, and which has no action out.
    pub(super) fn keep_unused(&mut self, journal: &Journal, changes: &mut Changes) {
        let (key, from) = (journal.key, journal.taken_from());
        let taken = journal.taken.and_then(|taken| usize::try_from(taken.answers).ok());
        if taken != Some(journal.answers.len()) {
            return;
        }
        let late = self.record_mut(key.agent).and_then(|record| record.late.as_mut());
        if let Some(late) = late.filter(|late| late.result && Some(late.key) == from) {
            late.kept_by = Some(key.attempt);
            changes.records.insert(key.agent);
        }
    }

    fn say_late(
        &mut self,
        seq: AgentSeq,
        outstanding: &Outstanding,
        outcome: String,
        changes: &mut Changes,
    ) {
        let Some(agent) = Machine::record(self, seq).map(|record| record.agent.clone()) else {
            return;
        };
        let (key, call) = (outstanding.key, outstanding.call);
        let action_id = Some(key.action_id(self.run.id(), &agent, call));
        let AttemptKey { stage, step, attempt, .. } = key;
        let stage = self.run.snapshot.playbook.stages.get(usize::from(stage));
        let step = stage.and_then(|stage| stage.steps.get(usize::from(step)));
        let step = step.map(|step| step.name.clone()).unwrap_or_default();
        changes.event(self, Happened::LateAction { agent, step, attempt, outcome, action_id });
    }

    /// The action is out no more: what waited for that goes on.
    fn forget_action(&mut self, seq: AgentSeq, changes: &mut Changes) {
        let Some(record) = self.record_mut(seq) else { return };
        record.outstanding = None;
        changes.records.insert(seq);
        let StepPhase::Settling { again, .. } = record.phase else { return };
        let begun = record.tries > 0;
        record.phase = StepPhase::Waiting;
        self.alarms.clear(seq);
        if self.is_leaving(seq) {
            self.leave(seq, changes);
            return;
        }
        // If the result is there, no wait is needed.
        if begun && !(again && self.takes_late(seq)) {
            self.after_failure(seq, again, changes);
        }
        self.begin_step(seq, changes);
    }

    /// The action is still out at the end of our patience: the agent has failed.
    pub(super) fn settling_timed_out(&mut self, seq: AgentSeq, changes: &mut Changes) {
        self.fail_unsettled(seq, FailureReason::TimedOut, changes);
    }

    /// Fails an agent whose action is still out. An agent that a person put back has no failure of its
    /// own yet: it gets that `reason`, so that it counts like any other.
    fn fail_unsettled(&mut self, seq: AgentSeq, reason: FailureReason, changes: &mut Changes) {
        let Some(record) = Machine::record(self, seq) else { return };
        let step = self.step_name(record.step);
        let Some(record) = self.record_mut(seq) else { return };
        match (&mut record.error, reason) {
            (Some(error), FailureReason::TimedOut) => {
                let again =
                    "; its action did not end in that time again, and nothing more was sent";
                // A person may retry it many times.
                if !error.message.ends_with(again) {
                    error.message.push_str(again);
                }
            }
            (Some(_), _) => {}
            (None, _) => {
                let message = "an action of an attempt before may still run, and nothing was sent";
                let message = message.to_owned();
                record.error = Some(Failure { reason, message, step, at: changes.now });
            }
        }
        self.end_agent(seq, AgentState::Failed, changes);
    }

    /// Why the action of an agent can't be given up; nothing: it can.
    pub(super) fn not_given_up(&self, seq: AgentSeq) -> Option<String> {
        let record = Machine::record(self, seq)?;
        let attempt = self.attempts.get(&seq).filter(|attempt| attempt.doing == Doing::Answer);
        let in_flight = attempt.and_then(|attempt| pending_action(&attempt.journal));
        let out = record.outstanding.is_some() || in_flight.is_some();
        let again = self.attempts.get(&seq).and_then(|attempt| pending_action(&attempt.journal));
        if !out && again.is_some() {
            return Some(format!(
                "agent {} is being asked anew: try again in a moment",
                record.agent
            ));
        }
        (!out).then(|| format!("agent {} is {} and has no action out", record.agent, record.state))
    }

    /// Waits no longer for the action of an agent. An attempt that waits for it is told that it is
    /// lost; of an attempt that is over nothing is left.
    pub(super) fn give_up(&mut self, seq: AgentSeq, why: &str, changes: &mut Changes) {
        let answer = || Answer::RunAction(Err(CallError::Lost(why.to_owned())));
        if let Some(attempt) = self.attempts.get(&seq) {
            if let Some(Outstanding { key, call, .. }) = pending_action(&attempt.journal) {
                changes.effects.push(Effect::Abandon(key));
                // The name of the answer is that of the call, so it is not refused.
                let _ = self.answered(key, call, answer(), changes);
            }
            return;
        }
        let record = Machine::record(self, seq);
        let Some(outstanding) = record.and_then(|record| record.outstanding.clone()) else {
            return;
        };
        changes.effects.push(Effect::Abandon(outstanding.key));
        self.settling.remove(&seq);
        self.ended_late(seq, &outstanding, answer(), why, changes);
        self.say_late(seq, &outstanding, why.to_owned(), changes);
        self.forget_action(seq, changes);
    }
}

/// The journal of an attempt that is over, with how the action of one of its calls ended; none if it has no
/// such call.
fn with_late_end(
    mut journal: Journal,
    call: u32,
    answer: Answer,
    now: Timestamp,
) -> Option<Journal> {
    if let Some(pending) = journal.pending.take_if(|pending| pending.name == answer.name()) {
        journal.late = Some(pending.answered(now, answer));
        return Some(journal);
    }
    let answered = journal.answers.get(usize::try_from(call).ok()?)?;
    let (name, arguments_hash) = (answered.name, answered.arguments_hash.clone());
    journal.late = Some(Answered { name, arguments_hash, at: now, answer, bytes: None });
    journal.late_of = Some(call);
    Some(journal)
}

/// A length of time for people, as playbooks have it.
fn in_words(length: Millis) -> String {
    let (seconds, rest) = (length.0 / 1_000, length.0 % 1_000);
    match (seconds, rest) {
        (_, 1..) => format!("{} ms", length.0),
        (s, 0) if s >= 3_600 && s % 3_600 == 0 => format!("{}h", s / 3_600),
        (s, 0) if s >= 60 && s % 60 == 0 => format!("{}m", s / 60),
        (s, 0) => format!("{s}s"),
    }
}
