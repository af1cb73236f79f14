//! The calls of an attempt: its activations, the calls that they are blocked on, and the answers. A call is
//! committed as pending before it is performed; its answer is written together with what comes next.

use std::collections::BTreeMap;

use super::steps::{Why, deadline};
use super::turn::{Legal, Turn};
use crate::mutants::mutant;
use crate::run::fill::may_add;
use crate::run::state::{Agent, Attempt, Doing, IllegalInput, OfCall, State, size_of_answered};
use crate::run::{
    Activate, Activation, ActivationEnd, AgentSeq, Answer, Answered, AttemptKey, Call, CallError,
    CallName, Caller, Effect, Entitled, FailureReason, Journal, NodeInfo, Outstanding, Pending,
    Perform, PluginLine, SentAction, Wanted, declared_over,
};

/// The most bytes of answers in one journal. A journal is one document and must fit one commit.
pub(super) const MAX_JOURNAL_BYTES: usize = 1536 * 1024;

impl State {
    /// The attempt with this key, if it is in flight and is `doing` this.
    fn attempt_at(&self, key: AttemptKey, doing: Doing) -> Option<&Attempt> {
        let attempt = self.find(key.agent)?.attempt()?;
        (attempt.journal.key == key && attempt.doing == doing).then_some(attempt)
    }

    /// What the agent is asked before an attempt, for the precondition of its step.
    pub(super) fn wanted_before(&self, key: AttemptKey) -> Wanted {
        let require = self.step(key.step).ok().and_then(|step| step.require.as_ref());
        let wanted = require.map(Wanted::of).unwrap_or_default();
        let agent = self.find(key.agent);
        agent.map_or(wanted, |agent| wanted.and_compare(&agent.record().identity))
    }

    fn precondition(
        &self,
        key: AttemptKey,
        info: Result<NodeInfo, CallError>,
    ) -> Legal<Result<(), Why>> {
        let Some(require) = &self.step(key.step)?.require else { return Ok(Ok(())) };
        let record = self.record(key.agent)?;
        let info = match info {
            Ok(info) => info,
            Err(error) => {
                let message = format!("failed to look at the node before the step: {error}");
                return Ok(Err(Why::retryable(error.reason(), message)));
            }
        };
        if let Err(wrong) = record.check_identity(&info.raw, &info.datastore.store) {
            return Ok(Err(Why::permanent(FailureReason::WrongNode, wrong.to_string())));
        }
        let mut fresh = record.clone();
        let attributes = declared_over(info.attributes, &record.declared);
        (fresh.attributes, fresh.node) = (attributes.into(), info.raw.into());
        fresh.datastore = info.datastore.into();
        let looks = |path: &[&str]| require.looks_at(path);
        Ok(match self.with_record_scope(&fresh, looks, |scope| require.eval_bool(scope)) {
            Ok(true) => Ok(()),
            Ok(false) => {
                let message =
                    format!("{} does not hold: the node is {}", require.source(), info.status);
                Err(Why::retryable(FailureReason::Precondition, message))
            }
            Err(error) => Err(Why::expression(&error)),
        })
    }

    /// On whose behalf the pending call is made, if it is an HTTP request, or may have secrets in it.
    fn caller(
        &self,
        key: AttemptKey,
        journal: &Journal,
        secrets: &[Entitled],
    ) -> Legal<Option<Box<Caller>>> {
        let is_http = |pending: &Pending| pending.name == CallName::HttpSend;
        if !journal.pending.as_ref().is_some_and(is_http) && secrets.is_empty() {
            return Ok(None);
        }
        let (playbook, name) = (&self.snapshot().playbook, &self.step(key.step)?.plugin);
        let none = || IllegalInput::new("a plugin", name, "the playbook");
        let plugin = playbook.plugins.get(name).ok_or_else(none)?.clone();
        Ok(Some(Box::new(Caller { playbook: playbook.name.clone(), plugin })))
    }

    /// The action of the attempt in flight that may still be running: a pending one, in an attempt that failed
    /// when it was taken up again, or one whose agent could no longer be reached.
    pub(super) fn action_out(&self, seq: AgentSeq) -> Option<Outstanding> {
        let journal = &self.find(seq)?.attempt()?.journal;
        journal.pending_action().or_else(|| unreachable_action(journal))
    }

    /// Keeps in a journal what its step saw of the agent. That may change before another attempt goes on from
    /// there.
    pub(super) fn keep_what_it_saw(&self, seq: AgentSeq, journal: &mut Journal) {
        if let Some(agent) = self.find(seq) {
            journal.attributes.get_or_insert_with(|| agent.record().attributes.clone());
        }
    }
}

impl Turn<'_> {
    pub(super) fn activate(&mut self, seq: AgentSeq) -> Legal {
        let agent = self.agent(seq)?;
        let journal = &self.attempt(seq)?.journal;
        if self.progress().hold && journal.pending.is_none() {
            return self.hold(seq);
        }
        let (record, stage) = (agent.record(), self.stage()?);
        let step = self.step(journal.key.step)?;
        let alarm = Some(deadline(journal, step, self.progress().held));
        let seen = journal.attributes.as_ref().unwrap_or(&record.attributes);
        let effect = Effect::Activate(Box::new(Activate {
            key: journal.key,
            plugin: self.plugin(&step.plugin)?.clone(),
            grants: step.grants.clone(),
            journal: journal.clone(),
            agent: record.agent.clone(),
            attributes: seen.clone(),
            cluster: self.snapshot().cluster.clone(),
            stage: stage.name.clone(),
        }));
        self.emit((seq, OfCall::Does { doing: Doing::Activation, alarm }))?;
        self.effect(effect);
        Ok(())
    }

    /// Takes up the attempt of an agent that was running at the last commit.
    pub(super) fn take_up_attempt(
        &mut self,
        seq: AgentSeq,
        journals: &mut BTreeMap<AttemptKey, Journal>,
    ) -> Legal {
        let record = self.record(seq)?;
        match journals.remove(&record.present_attempt()) {
            Some(journal) => {
                self.emit((seq, OfCall::Opened(Box::new(journal))))?;
                self.go_on_with(seq)
            }
            None => {
                let step = self.step(record.step)?.clone();
                self.begin_anew(seq, &step)?;
                self.keep_seen(seq)?;
                self.begin_step(seq)
            }
        }
    }

    /// Keeps the attributes that an attempt sees when it is begun anew: they may have changed since it started.
    fn keep_seen(&mut self, seq: AgentSeq) -> Legal {
        let agent = self.agent(seq)?;
        match agent.attempt() {
            // An attempt that goes on from an earlier attempt sees what that one saw.
            Some(attempt) if attempt.journal.attributes.is_none() => {
                let attributes = agent.record().attributes.clone();
                self.emit((seq, OfCall::Sees { attributes, written: false }))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Takes what the agent says just before a step whose precondition looks at it.
    pub(super) fn checked(&mut self, key: AttemptKey, info: Result<NodeInfo, CallError>) -> Legal {
        let seq = key.agent;
        let Some(attempt) = self.attempt_at(key, Doing::Checking) else { return Ok(()) };
        if self.is_cut_off(seq) {
            let step = attempt.journal.step_name.clone();
            self.never_activated(seq)?;
            return self.cut_off(seq, &step);
        }
        if self.is_leaving(seq) {
            self.never_activated(seq)?;
            return self.leave(seq);
        }
        if info.as_ref().is_err_and(CallError::is_silence) {
            self.forget_identity(seq)?;
        }
        match self.precondition(key, info)? {
            Ok(()) => self.activate(seq),
            Err(why) if why.reason == FailureReason::WrongNode => {
                self.never_activated(seq)?;
                self.fail_in_step(seq, why)
            }
            Err(why) => {
                self.never_activated(seq)?;
                self.step_failed(seq, why)?;
                self.begin_step(seq)
            }
        }
    }

    /// Closes the journal of an attempt that its precondition kept from being activated, if the journal was
    /// written, which is done for the attributes in it. It is marked as cut off, since otherwise a replay would
    /// expect an activation.
    fn never_activated(&mut self, seq: AgentSeq) -> Legal {
        let mut journal = self.attempt(seq)?.journal.clone();
        let written = journal.attributes.is_some();
        journal.cut_off = written;
        self.emit((seq, OfCall::Closed { journal: Box::new(journal), written }))
    }

    pub(super) fn activated(&mut self, key: AttemptKey, activation: Activation) -> Legal {
        let seq = key.agent;
        if self.attempt_at(key, Doing::Activation).is_none() {
            return Ok(());
        }
        let Activation { end, logs } = activation;
        match end {
            ActivationEnd::Blocked(call) => self.blocked(key, call, logs),
            ActivationEnd::Done(value) => {
                self.close_journal(seq, logs)?;
                self.step_done(seq, value)
            }
            ActivationEnd::Failed { reason, message, retryable } => {
                let why = Why { reason, message, retryable };
                if reason.is_of_host() {
                    self.keep_late(seq)?;
                }
                let outstanding = self.action_out(seq);
                let journal = self.close_journal(seq, logs)?;
                if let Some(outstanding) = outstanding {
                    // Nothing further may be sent to the agent while its action may still run.
                    return self.end_with_action_out(seq, outstanding, journal, why);
                }
                self.step_failed(seq, why)?;
                self.begin_step(seq)
            }
        }
    }

    /// Commits the call as pending before it is performed. A call that is already pending was committed before a
    /// crash: then nothing is written, and the call is performed again.
    fn blocked(&mut self, key: AttemptKey, what: Call, logs: Vec<PluginLine>) -> Legal {
        let seq = key.agent;
        let attempt = self.attempt(seq)?;
        let (journal, alarm) = (&attempt.journal, attempt.alarm);
        let again = journal.pending.is_some();
        let is_action = what.name() == CallName::RunAction;
        let cancelling = self.is_cut_off(seq);
        if cancelling && !(again && is_action) {
            let step = journal.step_name.clone();
            self.cut_short(seq)?;
            return self.cut_off(seq, &step);
        }
        if self.asks_nobody(seq, &what) {
            return self.nobody_to_ask(seq, logs);
        }
        if !(again && is_action) && self.is_leaving(seq) {
            return self.leave(seq);
        }
        if !again && self.progress().hold {
            // The answer that led here is not written yet. What follows from it is made again later.
            return self.hold_written(seq);
        }
        if deadline(journal, self.step(key.step)?, self.progress().held) <= self.now {
            self.emit((seq, OfCall::Does { doing: Doing::Answer, alarm }))?;
            return self.attempt_timed_out(seq);
        }
        if is_action
            && !again
            && let Some(outstanding) = unreachable_action(journal)
        {
            return self.end_unreachable(seq, outstanding, logs);
        }
        let unidentified = self.record(seq)?.is_unidentified_before_action(self.now);
        if !again {
            self.make_pending(seq, &what, logs)?;
        }
        let (attempt, record) = (self.attempt(seq)?, self.record(seq)?);
        let secrets = self.entitled(key, attempt.journal.seed_key())?;
        if let Some(pending) = &attempt.journal.pending {
            let perform = Perform {
                key,
                call: attempt.journal.call(),
                agent: attempt.journal.agent.clone(),
                address: record.address.clone(),
                what,
                since: pending.at,
                again,
                accepted: pending.accepted,
                bytes: pending.bytes,
                // If the run is being cancelled or the agent leaves, the action is only looked at and nothing is
                // sent: another node may have the agent's address by now.
                look_only: cancelling || self.is_leaving(seq),
                noticed: record.notice.clone(),
                identity: record.identity.clone(),
                unidentified,
                signal: self.came_before(seq, &attempt.journal),
                caller: self.caller(key, &attempt.journal, &secrets)?,
                secrets,
            };
            self.effect(Effect::Perform(Box::new(perform)));
        }
        self.emit((seq, OfCall::Does { doing: Doing::Answer, alarm }))
    }

    /// Ends an attempt that asks for another action while nobody knows whether the earlier action still goes on.
    fn end_unreachable(
        &mut self,
        seq: AgentSeq,
        outstanding: Outstanding,
        logs: Vec<PluginLine>,
    ) -> Legal {
        self.log_of(seq, logs)?;
        let message = "an action before could not be followed to its end and may still run";
        let journal = self.close_cut_off(seq)?;
        let reason = open_reason(&journal).unwrap_or(FailureReason::Unreachable);
        let why = Why::permanent(reason, message);
        self.end_with_action_out(seq, outstanding, journal, why)
    }

    fn make_pending(&mut self, seq: AgentSeq, what: &Call, logs: Vec<PluginLine>) -> Legal {
        self.log_of(seq, logs)?;
        let journal = &self.attempt(seq)?.journal;
        let (key, call) = (journal.key, journal.call());
        let secrets = self.entitled(key, journal.seed_key())?;
        let mut pending = Pending::new(what, self.now);
        // How long a request may be on its way depends on how long it is with its secrets.
        pending.bytes = pending.bytes.map(|bytes| bytes.saturating_add(may_add(what, &secrets)));
        let action = (what.name() == CallName::RunAction)
            .then(|| SentAction::of(self.snapshot().id, &journal.agent, key, call));
        self.emit((seq, OfCall::Called { pending, action }))
    }

    /// Writes log lines of an attempt in flight.
    fn log_of(&mut self, seq: AgentSeq, logs: Vec<PluginLine>) -> Legal {
        let step = self.attempt(seq)?.journal.step_name.clone();
        self.log(logs, &step, Some(seq))
    }

    /// Ends the attempt's journal, and writes its last answer and its last lines. Only the returned journal still
    /// has the call that it waited for.
    pub(super) fn close_journal(&mut self, seq: AgentSeq, logs: Vec<PluginLine>) -> Legal<Journal> {
        self.log_of(seq, logs)?;
        let journal = self.attempt(seq)?.journal.clone();
        self.close(seq, journal)
    }

    /// Like [`close_journal`](Self::close_journal), for an attempt that the host ends.
    fn close_cut_off(&mut self, seq: AgentSeq) -> Legal<Journal> {
        let journal = self.attempt(seq)?.journal.clone();
        self.close(seq, Journal { cut_off: true, ..journal })
    }

    fn close(&mut self, seq: AgentSeq, mut journal: Journal) -> Legal<Journal> {
        if journal.pending_action().is_some() || unreachable_action(&journal).is_some() {
            self.keep_what_it_saw(seq, &mut journal);
        }
        let pending = journal.pending.take();
        let written = !mutant!(AnswerNotRecorded);
        self.emit((seq, OfCall::Closed { journal: Box::new(journal.clone()), written }))?;
        self.note_unreachable(seq, &journal)?;
        Ok(Journal { pending, ..journal })
    }

    /// Ends an attempt whose journal is written as it is, with the call that it waited for.
    pub(super) fn cut_short(&mut self, seq: AgentSeq) -> Legal<Journal> {
        let journal = Journal { cut_off: true, ..self.attempt(seq)?.journal.clone() };
        self.emit((seq, OfCall::Closed { journal: Box::new(journal.clone()), written: true }))?;
        Ok(journal)
    }

    /// Writes the last answer of an attempt, and holds the attempt.
    fn hold_written(&mut self, seq: AgentSeq) -> Legal {
        self.emit((seq, OfCall::Written))?;
        self.hold(seq)
    }

    /// Notes an action whose agent could not be reached: whatever the step made of that, the action may still run.
    pub(super) fn note_unreachable(&mut self, seq: AgentSeq, journal: &Journal) -> Legal {
        match unreachable_action(journal) {
            Some(action) => {
                let journal = Some(Box::new(journal.clone()));
                self.emit((seq, OfCall::LeftOpen { action, journal }))
            }
            None => Ok(()),
        }
    }

    pub(super) fn accepted(&mut self, key: AttemptKey, call: u32) -> Legal {
        // This also counts while the attempt is activated anew because its agent has moved.
        let attempt = self.find(key.agent).and_then(Agent::attempt);
        let is_open = attempt.is_some_and(|Attempt { journal, .. }| {
            let waits = journal.pending.as_ref().is_some_and(|pending| !pending.accepted);
            journal.key == key && journal.call() == call && waits
        });
        match is_open {
            true => self.emit((key.agent, OfCall::Accepted)),
            false => Ok(()),
        }
    }

    /// Records an answer and activates the step again. The answer is written together with what comes next.
    pub(super) fn answered(&mut self, key: AttemptKey, call: u32, answer: Answer) -> Legal {
        let seq = key.agent;
        let watched = self.find(seq).and_then(Agent::watched);
        if watched.is_some_and(|action| action.is_call(key, call)) {
            return self.settled(seq, answer);
        }
        let Some(attempt) = self.attempt_at(key, Doing::Answer) else { return Ok(()) };
        if attempt.journal.call() != call {
            return Ok(());
        }
        if let Answer::RunAction(Err(CallError::WrongNode(message))) = answer {
            return self.found_wrong_node(seq, message);
        }
        let pending = attempt.journal.pending.clone();
        let none = || IllegalInput::missing("an answer", "a pending call", "the attempt");
        let pending = pending.ok_or_else(none)?;
        if pending.name != answer.name() {
            let (found, asked) = (answer.name(), pending.name);
            let (found, asked) = (format!("{found:?}"), format!("{asked:?}"));
            return Err(IllegalInput::new("an answer", found, asked));
        }
        let bytes = attempt.bytes;
        let is_silence = answer.error().is_some_and(CallError::is_silence);
        let answered = pending.answered(self.now, answer);
        if is_silence {
            self.forget_identity(seq)?;
        }
        self.drop_notice(seq)?;
        let bytes = bytes + size_of_answered(&answered);
        if bytes > MAX_JOURNAL_BYTES {
            return self.answered_too_much(seq, bytes);
        }
        self.emit((seq, OfCall::Answered(Box::new(answered))))?;
        if self.is_cut_off(seq) {
            let step = self.cut_short(seq)?.step_name;
            self.cut_off(seq, &step)
        } else if self.progress().hold && self.is_leaving(seq) {
            self.leave(seq)
        } else if self.progress().hold {
            self.hold_written(seq)
        } else {
            self.activate(seq)
        }
    }

    fn answered_too_much(&mut self, seq: AgentSeq, bytes: usize) -> Legal {
        let message =
            format!("the answers of the attempt have {bytes} bytes, at most {MAX_JOURNAL_BYTES}");
        let mut journal = self.attempt(seq)?.journal.clone();
        (journal.cut_off, journal.pending) = (true, None);
        self.emit((seq, OfCall::Closed { journal: Box::new(journal.clone()), written: true }))?;
        self.note_unreachable(seq, &journal)?;
        self.step_failed(seq, Why::permanent(FailureReason::PluginLimit, message))?;
        self.begin_step(seq)
    }
}

/// The action in a journal whose end is unknown because the agent gave no readable answer about it.
pub(super) fn unreachable_action(journal: &Journal) -> Option<Outstanding> {
    let (call, answered, _) = left_open(journal)?;
    let (since, bytes) = (answered.at, answered.bytes);
    Some(Outstanding { key: journal.key, call, since, bytes })
}

/// Why nobody knows whether the action of [`unreachable_action`] still goes on.
fn open_reason(journal: &Journal) -> Option<FailureReason> {
    left_open(journal).map(|(_, _, error)| error.reason())
}

/// The first answer that leaves its action open, with the number of its call.
fn left_open(journal: &Journal) -> Option<(u32, &Answered, &CallError)> {
    let mut answers = (0..).zip(&journal.answers);
    answers.find_map(|(call, answered)| {
        let Answer::RunAction(Err(error)) = &answered.answer else { return None };
        let forgotten = mutant!(GarbledEndsAction) && matches!(error, CallError::Malformed(_));
        (error.leaves_open() && !forgotten).then_some((call, answered, error))
    })
}
