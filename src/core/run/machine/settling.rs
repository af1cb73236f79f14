//! Time that runs out, and actions that outlive their attempts. Nothing further is sent to an agent until it is
//! known how its action ended.

use super::calls::{MAX_JOURNAL_BYTES, unreachable_action};
use super::steps::{Why, deadline};
use super::turn::{Legal, Turn};
use crate::mutants::mutant;
use crate::playbook::{OnError, Step};
use crate::run::state::{
    Agent, Doing, EndKept, IllegalInput, OfAgent, OfCall, Phase, State, answers_bytes,
};
use crate::run::{
    AgentSeq, AgentState, Answer, AttemptKey, Call, CallError, Effect, Failure, FailureReason,
    Journal, JsonText, LateEnd, Millis, Outstanding, Perform, StepPhase,
};

impl Turn<'_> {
    /// Ends an attempt whose time is over. An activation that is going on is not interrupted: it ends soon, and
    /// its result is looked at then.
    pub(super) fn attempt_timed_out(&mut self, seq: AgentSeq) -> Legal {
        let attempt = self.attempt(seq)?;
        if attempt.doing == Doing::Activation {
            return Ok(());
        }
        let (key, doing) = (attempt.journal.key, attempt.doing);
        let step = self.step(key.step)?;
        let due = deadline(&attempt.journal, step, self.progress().held);
        if due > self.now {
            // The run was on hold in the meantime.
            return self.emit((seq, OfCall::Does { doing, alarm: Some(due) }));
        }
        let length = in_words(step.time_limit());
        let is_out = attempt.journal.pending_action();
        let is_out = is_out.filter(|_| !mutant!(OutstandingForgotten));
        self.keep_late(seq)?;
        let mut journal = Journal { cut_off: true, ..self.attempt(seq)?.journal.clone() };
        if is_out.is_some() || unreachable_action(&journal).is_some() {
            self.keep_what_it_saw(seq, &mut journal);
        }
        self.effect(Effect::Abandon(key));
        // The call that it waited for stays in the journal as pending.
        let closed = Box::new(journal.clone());
        self.emit((seq, OfCall::Closed { journal: closed, written: true }))?;
        // The message does not say whether the action may still be running: the record shows that, and it changes.
        let message = format!("the step did not end within {length}");
        let why = Why::retryable(FailureReason::TimedOut, message);
        if let Some(outstanding) = is_out {
            return self.end_with_action_out(seq, outstanding, journal, why);
        }
        self.note_unreachable(seq, &journal)?;
        self.step_failed(seq, why)?;
        self.begin_step(seq)
    }

    /// Ends an attempt whose action may still be running. If something is to follow on the agent, it waits until
    /// the end of the action is known; otherwise the agent fails at once. `journal` is that of the attempt.
    pub(super) fn end_with_action_out(
        &mut self,
        seq: AgentSeq,
        action: Outstanding,
        journal: Journal,
        why: Why,
    ) -> Legal {
        let retryable = why.retryable;
        self.attempt_failed(seq, why)?;
        let journal = Some(Box::new(journal));
        self.emit((seq, OfCall::LeftOpen { action, journal }))?;
        self.look_at_action(seq)?;
        let record = self.record(seq)?;
        let step = self.step(record.step)?;
        let again = retryable && record.tries < step.retry.attempts;
        if (again || step.on_error == OnError::Continue) && !record.leaving {
            return self.wait_for_end(seq, step.time_limit(), again);
        }
        self.agent_failed(seq)
    }

    /// Waits for the end of an action before the step of an agent that a person put back.
    pub(super) fn settle_first(&mut self, seq: AgentSeq, step: &Step) -> Legal {
        let agent = self.agent(seq)?;
        let again = agent.record().tries > 0;
        if let Some(action) = agent.watched() {
            // The look that goes on may have no patience left.
            let key = action.key;
            self.effect(Effect::Abandon(key));
        }
        self.look_at_action(seq)?;
        self.wait_for_end(seq, step.time_limit(), again)
    }

    pub(super) fn wait_for_end(&mut self, seq: AgentSeq, patience: Millis, again: bool) -> Legal {
        let until = self.now.plus(patience);
        self.emit((seq, OfAgent::Settles { until, again }))
    }

    /// Looks at the agent's outstanding action until it is final, and sends nothing.
    fn look_at_action(&mut self, seq: AgentSeq) -> Legal {
        let action = self.record(seq)?.outstanding.clone();
        let none = || IllegalInput::missing("a look", "an action that is out", "the agent");
        let action = action.ok_or_else(none)?;
        self.perform_look(seq, &action, false)?;
        self.emit((seq, OfCall::Watched))
    }

    fn perform_look(&mut self, seq: AgentSeq, action: &Outstanding, accepted: bool) -> Legal {
        let record = self.record(seq)?;
        let Outstanding { key, call, since, bytes } = *action;
        let perform = Perform {
            key,
            call,
            agent: record.agent.clone(),
            address: record.address.clone(),
            // Only the identifier of the action is needed to look at it.
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
            signal: None,
            caller: None,
            // The action was given them.
            secrets: self.entitled(key, key)?,
        };
        self.effect(Effect::Perform(Box::new(perform)));
        Ok(())
    }

    /// From now on only looks at the pending action of an attempt: nothing of it may be sent any more.
    pub(super) fn only_look(&mut self, seq: AgentSeq) -> Legal {
        let Some(attempt) = self.agent(seq)?.attempt() else { return Ok(()) };
        let action = attempt.journal.pending_action().filter(|_| attempt.doing == Doing::Answer);
        let accepted = attempt.journal.pending.as_ref().is_some_and(|pending| pending.accepted);
        let Some(action) = action else { return Ok(()) };
        self.effect(Effect::Abandon(action.key));
        self.perform_look(seq, &action, accepted)
    }

    /// Looks again at the actions that were being looked at when the run was last committed.
    pub(super) fn take_up_settling(&mut self, seq: AgentSeq) -> Legal {
        let agent = self.agent(seq)?;
        let record = agent.record();
        let Some(action) = &record.outstanding else { return Ok(()) };
        let journal = agent.over().filter(|journal| journal.key == action.key);
        let is_pending = journal.is_some_and(|journal| journal.pending.is_some());
        // Another node may have the address of an agent that has left.
        let has_left = record.state == AgentState::Removed && !is_pending;
        match has_left && !matches!(agent.phase(), Phase::Settling { .. }) {
            true => Ok(()),
            false => self.look_at_action(seq),
        }
    }

    /// Looks at the action of an agent that has ended, if nobody knows yet how the action ended.
    pub(super) fn look_at_open(&mut self, seq: AgentSeq) -> Legal {
        let agent = self.agent(seq)?;
        match agent.record().outstanding.is_some() && agent.watched().is_none() {
            true => self.look_at_action(seq),
            false => Ok(()),
        }
    }

    /// If the agent's action is being looked at, looks at it again at the new address.
    pub(super) fn look_at_it_there(&mut self, seq: AgentSeq) -> Legal {
        match self.agent(seq)?.watched().map(|action| action.key) {
            Some(key) => {
                self.effect(Effect::Abandon(key));
                self.look_at_action(seq)
            }
            None => Ok(()),
        }
    }

    /// Takes how an action ended whose attempt is over. If its agent did not tell, nothing has ended: the action
    /// is looked at again, as long as the run goes on.
    pub(super) fn settled(&mut self, seq: AgentSeq, answer: Answer) -> Legal {
        self.emit((seq, OfCall::Unwatched))?;
        if self.status().is_settled() {
            return Ok(());
        }
        let outcome = match &answer {
            Answer::RunAction(Ok(_)) => "DONE".to_owned(),
            Answer::RunAction(Err(CallError::NotTaken(why))) => {
                format!("it never began, since no request reached the agent: {why}")
            }
            Answer::RunAction(Err(error)) => error.to_string(),
            Answer::Info(_)
            | Answer::WaitStatus(_)
            | Answer::HttpSend(_)
            | Answer::WaitSignal(_)
            | Answer::Sleep => {
                let found = format!("{:?}", answer.name());
                return Err(IllegalInput::new("an answer", found, "an action"));
            }
        };
        if let Some(error) = answer.error().filter(|error| error.leaves_open()) {
            let reason = error.reason();
            if error.is_silence() {
                self.forget_identity(seq)?;
            }
            self.look_at_action(seq)?;
            return match self.agent(seq)?.phase() {
                Phase::Settling { .. } => self.fail_unsettled(seq, reason),
                Phase::Idle
                | Phase::Queued { .. }
                | Phase::Looking
                | Phase::Trying(_)
                | Phase::Retrying { .. } => Ok(()),
            };
        }
        self.end_late(seq, answer, outcome)?;
        self.forget_action(seq)
    }

    /// Writes down how the action ended: in the record, and in the journal of its attempt, so that the next
    /// attempt may go on from there.
    fn end_late(&mut self, seq: AgentSeq, answer: Answer, outcome: String) -> Legal {
        let agent = self.agent(seq)?;
        let action = agent.record().outstanding.clone();
        let none = || IllegalInput::missing("a late end", "an action that is out", "the agent");
        let action = action.ok_or_else(none)?;
        let well = matches!(answer, Answer::RunAction(Ok(_)));
        let over = agent.over().filter(|journal| journal.key == action.key).cloned();
        let journal = over.and_then(|over| over.ended_late(action.call, answer, self.now));
        let bytes = journal.as_ref().and_then(Journal::with_late);
        let bytes = bytes.map_or(0, |answers| answers_bytes(&answers));
        // No attempt may go on with more bytes of answers than that.
        let result = well && journal.is_some() && bytes <= MAX_JOURNAL_BYTES;
        let late = LateEnd::new(&action, self.now, &outcome, result);
        let Outstanding { key, call, .. } = action;
        let action_id = Some(key.action_id(self.snapshot().id, &agent.record().agent, call));
        let kept = Some(Box::new(EndKept { late, journal }));
        self.emit((seq, OfCall::EndedLate { key, outcome, action_id, kept }))
    }

    /// Keeps the late result for the next attempt, if the present attempt took it and the host ends it before
    /// anything came of it.
    pub(super) fn keep_late(&mut self, seq: AgentSeq) -> Legal {
        let attempt = self.agent(seq)?.attempt().filter(|_| self.action_out(seq).is_none());
        match attempt.map(|attempt| attempt.journal.clone()) {
            Some(journal) => self.keep_unused(&journal),
            None => Ok(()),
        }
    }

    /// Like [`keep_late`](Self::keep_late), for an attempt with this journal that has no action out.
    pub(super) fn keep_unused(&mut self, journal: &Journal) -> Legal {
        let (key, from) = (journal.key, journal.taken_from());
        let taken = journal.taken.and_then(|taken| usize::try_from(taken.answers).ok());
        if taken != Some(journal.answers.len()) {
            return Ok(());
        }
        let late = self.record(key.agent)?.late.as_ref();
        match late.is_some_and(|late| late.result && Some(late.key) == from) {
            true => self.emit((key.agent, OfCall::Kept { attempt: key.attempt })),
            false => Ok(()),
        }
    }

    /// The action is no longer out, and what waited for it goes on.
    fn forget_action(&mut self, seq: AgentSeq) -> Legal {
        let record = self.record(seq)?;
        let (phase, begun, leaving) = (record.phase, record.tries > 0, record.leaving);
        self.emit((seq, OfCall::Settled))?;
        let again = match phase {
            StepPhase::Settling { again, .. } => again,
            StepPhase::Waiting | StepPhase::Trying | StepPhase::RetryAt { .. } => return Ok(()),
        };
        if leaving {
            return self.leave(seq);
        }
        // If the result is there, no wait is needed.
        if begun && !(again && self.takes_late(seq)?) {
            self.after_failure(seq, again)?;
        }
        self.begin_step(seq)
    }

    /// The action is still out when the time to wait for it is over: the agent fails.
    pub(super) fn settling_timed_out(&mut self, seq: AgentSeq) -> Legal {
        self.fail_unsettled(seq, FailureReason::TimedOut)
    }

    /// Fails an agent whose action is still out. An agent that a person put back has no failure of its own yet. It
    /// fails for `reason`, and so counts like any other.
    fn fail_unsettled(&mut self, seq: AgentSeq, reason: FailureReason) -> Legal {
        let record = self.record(seq)?;
        let failure = match (record.error.clone(), reason) {
            (Some(mut error), FailureReason::TimedOut) => {
                let again =
                    "; its action did not end in that time again, and nothing more was sent";
                error.message.push_str(again);
                error
            }
            (Some(error), _) => error,
            (None, _) => {
                let message = "an action of an attempt before may still run, and nothing was sent";
                let (message, step) = (message.to_owned(), self.step_name(record.step));
                Failure { reason, message, step, at: self.now }
            }
        };
        self.fail_with(seq, failure)
    }

    /// Stops waiting for the action of an agent. An attempt that waits for it is told that it is lost; if the
    /// attempt is over, nothing is left of it.
    pub(super) fn give_up(&mut self, seq: AgentSeq, why: &str) -> Legal {
        let answer = Answer::RunAction(Err(CallError::Lost(why.to_owned())));
        let agent = self.agent(seq)?;
        let none = || IllegalInput::missing("giving up", "an action that is out", "the agent");
        if let Some(attempt) = agent.attempt() {
            let action = attempt.journal.pending_action();
            let Outstanding { key, call, .. } = action.ok_or_else(none)?;
            self.effect(Effect::Abandon(key));
            return self.answered(key, call, answer);
        }
        let key = agent.record().outstanding.as_ref().ok_or_else(none)?.key;
        self.effect(Effect::Abandon(key));
        self.end_late(seq, answer, why.to_owned())?;
        self.forget_action(seq)
    }
}

impl State {
    /// Whether an answer leaves the action open that is being looked at, so that the look goes on.
    pub(super) fn is_looked_at_again(&self, key: AttemptKey, call: u32, answer: &Answer) -> bool {
        let action = self.find(key.agent).and_then(Agent::watched);
        let is_watched = action.is_some_and(|action| action.is_call(key, call));
        is_watched && answer.error().is_some_and(CallError::leaves_open)
    }

    /// Whether the next attempt of the agent's step goes on from the last one.
    pub(super) fn takes_late(&self, seq: AgentSeq) -> Legal<bool> {
        let agent = self.agent(seq)?;
        let record = agent.record();
        let late = record.late_end().filter(|late| late.result && !record.again);
        Ok(late.zip(agent.over()).is_some_and(|(late, journal)| journal.key == late.key))
    }

    /// Why the action of an agent can't be given up; `None` if it can.
    pub(super) fn not_given_up(&self, seq: AgentSeq) -> Option<String> {
        let agent = self.find(seq)?;
        let record = agent.record();
        let attempt = agent.attempt();
        let again = attempt.and_then(|attempt| attempt.journal.pending_action());
        let is_asked = attempt.is_some_and(|attempt| attempt.doing == Doing::Answer);
        let out = record.outstanding.is_some() || again.is_some() && is_asked;
        if !out && again.is_some() {
            return Some(format!(
                "agent {} is being asked anew: try again in a moment",
                record.agent
            ));
        }
        (!out).then(|| format!("agent {} is {} and has no action out", record.agent, record.state))
    }
}

impl Turn<'_> {
    /// The journal with which this attempt of the agent begins, if it goes on from the attempt before, whose
    /// action ended well but late.
    pub(super) fn taken_over(&self, seq: AgentSeq, key: AttemptKey) -> Legal<Option<Journal>> {
        let agent = self.agent(seq)?;
        let Some(attempt) = key.attempt.checked_sub(1) else { return Ok(None) };
        let before = AttemptKey { attempt, ..key };
        let late = agent.record().late.as_ref().filter(|late| late.result);
        let late = late.filter(|late| late.last_attempt() == before && !mutant!(LateResultIgnored));
        let journal = late.zip(agent.over()).filter(|(late, over)| over.key == late.key);
        Ok(journal.and_then(|(_, over)| over.go_on(key, self.now, self.progress().held)))
    }
}

/// A length of time as human-readable text, in the form that playbooks use.
fn in_words(length: Millis) -> String {
    let (seconds, rest) = (length.0 / 1_000, length.0 % 1_000);
    match (seconds, rest) {
        (_, 1..) => format!("{} ms", length.0),
        (s, 0) if s >= 3_600 && s % 3_600 == 0 => format!("{}h", s / 3_600),
        (s, 0) if s >= 60 && s % 60 == 0 => format!("{}m", s / 60),
        (s, 0) => format!("{s}s"),
    }
}
