//! The calls of an attempt: activations, what they are blocked on, and the answers.

use std::collections::BTreeMap;

use super::changes::Changes;
use super::sizes::{answers_bytes, size_of_answered};
use super::state::{Attempt, Doing, IllegalInput, Machine};
use super::steps::{Why, deadline};
use crate::mutants::mutant;
use crate::run::{
    Activate, Activation, ActivationEnd, AgentSeq, Answer, Answered, AttemptKey, Call, CallError,
    CallName, Effect, FailureReason, Journal, NodeInfo, Outstanding, Pending, Perform, PluginLine,
    RunStatus, SentAction, Wanted, declared_over,
};

/// The most bytes of answers in one journal: a journal is one document and fits one commit.
pub(super) const MAX_JOURNAL_BYTES: usize = 1536 * 1024;

impl Machine {
    pub(super) fn activate(&mut self, seq: AgentSeq, mut attempt: Attempt, changes: &mut Changes) {
        attempt.doing = if self.run.progress.hold && attempt.journal.pending.is_none() {
            Doing::Held
        } else {
            Doing::Activation
        };
        if attempt.doing == Doing::Held {
            self.alarms.clear(seq);
        } else {
            let seen = attempt.journal.attributes.clone();
            let effect = Machine::record(self, seq).and_then(|record| {
                let stage = self.stage()?;
                let step = self.step(attempt.journal.key.step)?;
                let pin = self.run.snapshot.playbook.plugins.get(&step.plugin)?;
                let effect = Effect::Activate(Box::new(Activate {
                    key: attempt.journal.key,
                    plugin: pin.digest.clone(),
                    grants: step.grants.clone(),
                    journal: attempt.journal.clone(),
                    agent: record.agent.clone(),
                    attributes: seen.unwrap_or_else(|| record.attributes.clone()),
                    cluster: self.run.snapshot.cluster.clone(),
                    stage: stage.name.clone(),
                }));
                Some((deadline(&attempt.journal, step, self.run.progress.held), effect))
            });
            if let Some((deadline, effect)) = effect {
                self.alarms.set(seq, deadline);
                changes.effects.push(effect);
            }
        }
        self.attempts.insert(seq, attempt);
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
                let bytes = answers_bytes(&journal.answers);
                let attempt = Attempt { journal, doing: Doing::Activation, bytes };
                self.go_on_with(seq, attempt, changes);
            }
            None => {
                let Some(step) = self.step(record.step).cloned() else { return };
                self.begin_anew(seq, &step, changes);
                self.keep_attributes(seq);
                self.begin_step(seq, changes);
            }
        }
    }

    /// Keeps the attributes of an attempt that is begun anew: they may have changed since it started.
    fn keep_attributes(&mut self, seq: AgentSeq) {
        let attributes = Machine::record(self, seq).map(|record| record.attributes.clone());
        if let Some(attempt) = self.attempts.get_mut(&seq) {
            // An attempt that goes on from another one sees what that one saw.
            attempt.journal.attributes = attempt.journal.attributes.take().or(attributes);
        }
    }

    /// The attempt of that key, if it is in flight and does that.
    fn attempt_mut(&mut self, key: AttemptKey, doing: Doing) -> Option<&mut Attempt> {
        let attempt = self.attempts.get_mut(&key.agent)?;
        (attempt.journal.key == key && attempt.doing == doing).then_some(attempt)
    }

    /// Takes what the agent says just before a step whose precondition looks at it.
    pub(super) fn checked(
        &mut self,
        key: AttemptKey,
        info: Result<NodeInfo, CallError>,
        changes: &mut Changes,
    ) {
        let seq = key.agent;
        if self.attempt_mut(key, Doing::Checking).is_none() {
            return;
        }
        let Some(attempt) = self.attempts.remove(&seq) else { return };
        if self.run.progress.status == RunStatus::Cancelling {
            let step = attempt.journal.step_name.clone();
            never_activated(attempt.journal, changes);
            self.cut_off(seq, &step, changes);
            return;
        }
        if self.is_leaving(seq) {
            never_activated(attempt.journal, changes);
            self.leave(seq, changes);
            return;
        }
        if info.as_ref().is_err_and(CallError::is_silence) {
            self.forget_identity(seq, changes);
        }
        match self.precondition(key, info) {
            Ok(()) => self.activate(seq, attempt, changes),
            Err(why) if why.reason == FailureReason::WrongNode => {
                never_activated(attempt.journal, changes);
                self.fail_in_step(seq, why, changes);
            }
            Err(why) => {
                never_activated(attempt.journal, changes);
                self.step_failed(seq, why, changes);
                self.begin_step(seq, changes);
            }
        }
    }

    /// What is asked before an attempt, for the precondition of its step.
    pub(super) fn wanted_before(&self, key: AttemptKey) -> Wanted {
        let require = self.step(key.step).and_then(|step| step.require.as_ref());
        let wanted = require.map(Wanted::of).unwrap_or_default();
        let record = Machine::record(self, key.agent);
        record.map_or(wanted, |record| wanted.and_compare(&record.identity))
    }

    fn precondition(&self, key: AttemptKey, info: Result<NodeInfo, CallError>) -> Result<(), Why> {
        let require = self.step(key.step).and_then(|step| step.require.as_ref());
        let (Some(require), Some(record)) = (require, Machine::record(self, key.agent)) else {
            return Ok(());
        };
        let info = info.map_err(|error| {
            let message = format!("failed to look at the node before the step: {error}");
            Why::retryable(error.reason(), message)
        })?;
        record
            .check_identity(&info.raw, &info.datastore.store)
            .map_err(|wrong| Why::permanent(FailureReason::WrongNode, wrong.to_string()))?;
        let mut fresh = record.clone();
        let attributes = declared_over(info.attributes, &record.declared);
        (fresh.attributes, fresh.node) = (attributes.into(), info.raw.into());
        fresh.datastore = info.datastore.into();
        match self.with_record_scope(
            &fresh,
            |path| require.looks_at(path),
            |scope| require.eval_bool(scope),
        ) {
            Ok(true) => Ok(()),
            Ok(false) => {
                let message =
                    format!("{} does not hold: the node is {}", require.source(), info.status);
                Err(Why::retryable(FailureReason::Precondition, message))
            }
            Err(error) => Err(Why::expression(&error)),
        }
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
            ActivationEnd::Failed { reason, message, retryable } => {
                let why = Why { reason, message, retryable };
                if reason.is_of_host() {
                    self.keep_late(key.agent, changes);
                }
                if let Some(outstanding) = self.action_out(key.agent) {
                    // Nothing further may be sent to the agent while its action may still run.
                    let journal = self.close_journal(key, logs, changes);
                    let seq = key.agent;
                    self.end_with_action_out(seq, outstanding, journal, why, changes);
                    return;
                }
                self.close_journal(key, logs, changes);
                self.step_failed(key.agent, why, changes);
                self.begin_step(key.agent, changes);
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
        let is_action = what.name() == CallName::RunAction;
        let cancelling = self.run.progress.status == RunStatus::Cancelling;
        if cancelling && !(again && is_action) {
            attempt.journal.cut_off = true;
            let step = attempt.journal.step_name.clone();
            changes.journals.push(attempt.journal);
            self.cut_off(seq, &step, changes);
            return;
        }
        if !(again && is_action) && self.is_leaving(seq) {
            self.attempts.insert(seq, attempt);
            self.leave(seq, changes);
            return;
        }
        if !again && self.run.progress.hold {
            // The answer that led here was not written yet. What follows it is made anew.
            changes.journals.push(attempt.journal.clone());
            self.hold(seq, attempt);
            return;
        }
        let step = self.step(key.step);
        let held = self.run.progress.held;
        if step.is_some_and(|step| deadline(&attempt.journal, step, held) <= changes.now) {
            attempt.doing = Doing::Answer;
            self.attempts.insert(seq, attempt);
            self.attempt_timed_out(seq, changes);
            return;
        }
        if is_action
            && !again
            && let Some(outstanding) = unreachable_action(&attempt.journal)
        {
            attempt.journal.cut_off = true;
            self.attempts.insert(seq, attempt);
            let message = "an action before could not be followed to its end and may still run";
            let journal = self.close_journal(key, logs, changes);
            let reason = journal.as_ref().and_then(open_reason);
            let why = Why::permanent(reason.unwrap_or(FailureReason::Unreachable), message);
            self.end_with_action_out(seq, outstanding, journal, why, changes);
            return;
        }
        let record = Machine::record(self, seq);
        let unidentified =
            record.is_some_and(|record| record.is_unidentified_before_action(changes.now));
        if !again {
            self.make_pending(&mut attempt.journal, &what, logs, changes);
        }
        let record = Machine::record(self, seq);
        if let (Some(pending), Some(record)) = (&attempt.journal.pending, record) {
            changes.effects.push(Effect::Perform(Box::new(Perform {
                key,
                call: call_number(&attempt.journal),
                agent: attempt.journal.agent.clone(),
                address: record.address.clone(),
                what,
                since: pending.at,
                again,
                accepted: pending.accepted,
                bytes: pending.bytes,
                // What is out is looked at, and nothing is sent any more, where the run is being cancelled
                // or the agent leaves: another node may have its address by now.
                look_only: cancelling || self.is_leaving(seq),
                noticed: record.notice.clone(),
                identity: record.identity.clone(),
                unidentified,
            })));
        }
        attempt.doing = Doing::Answer;
        self.attempts.insert(seq, attempt);
    }

    fn make_pending(
        &mut self,
        journal: &mut Journal,
        what: &Call,
        logs: Vec<PluginLine>,
        changes: &mut Changes,
    ) {
        let (step, agent) = (journal.step_name.clone(), journal.agent.clone());
        changes.logs(self, logs, &step, Some((&mut *journal, &agent)));
        journal.pending = Some(Pending {
            name: what.name(),
            arguments_hash: what.arguments_hash(),
            at: changes.now,
            accepted: false,
            bytes: what.argument_bytes(),
        });
        changes.journals.push(journal.clone());
        if what.name() == CallName::RunAction {
            let (key, call) = (journal.key, call_number(journal));
            let sent = SentAction::of(self.run.id(), &agent, key, call);
            if let Some(record) = self.record_mut(key.agent) {
                record.action = Some(sent);
                changes.records.insert(key.agent);
            }
        }
    }

    /// Ends the attempt's journal: its last answer and its last lines are written. What it waited for
    /// stands in the journal that is returned alone.
    fn close_journal(
        &mut self,
        key: AttemptKey,
        logs: Vec<PluginLine>,
        changes: &mut Changes,
    ) -> Option<Journal> {
        let Attempt { mut journal, .. } = self.attempts.remove(&key.agent)?;
        let step = journal.step_name.clone();
        let agent = journal.agent.clone();
        changes.logs(self, logs, &step, Some((&mut journal, &agent)));
        if pending_action(&journal).is_some() || unreachable_action(&journal).is_some() {
            self.keep_what_it_saw(key.agent, &mut journal);
        }
        let pending = journal.pending.take();
        self.note_unreachable(key.agent, &journal, changes);
        if !mutant!(AnswerNotRecorded) {
            changes.journals.push(journal.clone());
        }
        Some(Journal { pending, ..journal })
    }

    /// Keeps in a journal what its step saw of the agent, since that may change before another attempt
    /// goes on from there.
    pub(super) fn keep_what_it_saw(&self, seq: AgentSeq, journal: &mut Journal) {
        if let Some(record) = Machine::record(self, seq) {
            journal.attributes.get_or_insert_with(|| record.attributes.clone());
        }
    }

    /// Whatever the step made of it: an action whose agent could not be reached may still run.
    pub(super) fn note_unreachable(
        &mut self,
        seq: AgentSeq,
        journal: &Journal,
        changes: &mut Changes,
    ) {
        let Some(outstanding) = unreachable_action(journal) else { return };
        self.over.insert(seq, journal.clone());
        if let Some(record) = self.record_mut(seq) {
            record.outstanding = Some(outstanding);
            changes.records.insert(seq);
        }
    }

    pub(super) fn accepted(&mut self, key: AttemptKey, call: u32, changes: &mut Changes) {
        // Also while it is activated anew, because its agent has moved.
        let Some(attempt) = self.attempts.get_mut(&key.agent) else { return };
        if attempt.journal.key != key || call_number(&attempt.journal) != call {
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
        let seq = key.agent;
        if self.settling.get(&seq).is_some_and(|action| action.is_call(key, call)) {
            self.settled(seq, answer, changes);
            return Ok(());
        }
        let Some(attempt) = self.attempt_mut(key, Doing::Answer) else { return Ok(()) };
        if call_number(&attempt.journal) != call {
            return Ok(());
        }
        if let Answer::RunAction(Err(CallError::WrongNode(message))) = answer {
            self.found_wrong_node(seq, message, changes);
            return Ok(());
        }
        let Some(pending) = attempt.journal.pending.take() else { return Ok(()) };
        if pending.name != answer.name() {
            let (found, asked) = (answer.name(), pending.name);
            attempt.journal.pending = Some(pending);
            return Err(IllegalInput::new("an answer", format!("{found:?}"), format!("{asked:?}")));
        }
        let is_silence = answer.error().is_some_and(CallError::is_silence);
        let answered = pending.answered(changes.now, answer);
        if is_silence {
            self.forget_identity(seq, changes);
        }
        self.drop_notice(seq, changes);
        let Some(mut attempt) = self.attempts.remove(&seq) else { return Ok(()) };
        attempt.bytes += size_of_answered(&answered);
        if attempt.bytes > MAX_JOURNAL_BYTES {
            let message = format!(
                "the answers of the attempt have {} bytes, at most {MAX_JOURNAL_BYTES}",
                attempt.bytes
            );
            attempt.journal.cut_off = true;
            self.note_unreachable(seq, &attempt.journal, changes);
            changes.journals.push(attempt.journal);
            self.step_failed(seq, Why::permanent(FailureReason::PluginLimit, message), changes);
            self.begin_step(seq, changes);
            return Ok(());
        }
        attempt.journal.answers.push(answered);
        if self.run.progress.status == RunStatus::Cancelling {
            attempt.journal.cut_off = true;
            let step = attempt.journal.step_name.clone();
            changes.journals.push(attempt.journal);
            self.cut_off(seq, &step, changes);
        } else if self.run.progress.hold && self.is_leaving(seq) {
            self.attempts.insert(seq, attempt);
            self.leave(seq, changes);
        } else if self.run.progress.hold {
            changes.journals.push(attempt.journal.clone());
            self.hold(seq, attempt);
        } else {
            self.activate(seq, attempt, changes);
        }
        Ok(())
    }

    /// The action of the attempt in flight that may still be running: it is pending, in an attempt
    /// that failed when it was taken up again, or its agent could not be reached any more.
    pub(super) fn action_out(&self, seq: AgentSeq) -> Option<Outstanding> {
        let journal = &self.attempts.get(&seq)?.journal;
        pending_action(journal).or_else(|| unreachable_action(journal))
    }
}

/// Closes the journal of an attempt that its precondition kept from being activated, where it was
/// written: for the attributes in it. A replay would expect an activation of one that is not cut off.
fn never_activated(mut journal: Journal, changes: &mut Changes) {
    if journal.attributes.is_some() {
        journal.cut_off = true;
        changes.journals.push(journal);
    }
}

/// The action that a journal waits for.
pub(super) fn pending_action(journal: &Journal) -> Option<Outstanding> {
    let pending = journal.pending.as_ref().filter(|p| p.name == CallName::RunAction)?;
    let (call, since, bytes) = (call_number(journal), pending.at, pending.bytes);
    Some(Outstanding { key: journal.key, call, since, bytes })
}

/// The action in a journal whose end is not known, since the agent gave no readable answer about it.
pub(super) fn unreachable_action(journal: &Journal) -> Option<Outstanding> {
    let (call, answered, _) = left_open(journal)?;
    let (since, bytes) = (answered.at, answered.bytes);
    Some(Outstanding { key: journal.key, call, since, bytes })
}

/// Why nobody knows whether the action of [`unreachable_action`] goes on.
fn open_reason(journal: &Journal) -> Option<FailureReason> {
    left_open(journal).map(|(_, _, error)| error.reason())
}

/// The first answer that leaves an action open, with the number of its call.
fn left_open(journal: &Journal) -> Option<(u32, &Answered, &CallError)> {
    let mut answers = (0..).zip(&journal.answers);
    answers.find_map(|(call, answered)| {
        let Answer::RunAction(Err(error)) = &answered.answer else { return None };
        let forgotten = mutant!(GarbledEndsAction) && matches!(error, CallError::Malformed(_));
        (error.leaves_open() && !forgotten).then_some((call, answered, error))
    })
}

/// Number of the call that an attempt is at: the number of answers that it has.
pub(super) fn call_number(journal: &Journal) -> u32 {
    u32::try_from(journal.answers.len()).unwrap_or(u32::MAX)
}
