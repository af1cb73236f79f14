//! The part of [`evolve`](super::evolve()) that applies what happens to the attempt of an agent, and to its
//! outstanding action.

use super::agent::{Attempt, Doing, Phase};
use super::event::{EndKept, OfCall};
use super::illegal::IllegalInput;
use super::index::set;
use super::value::State;
use super::weight::size_of_answered;
use crate::mutants::mutant;
use crate::run::{
    AgentSeq, Answer, Answered, AttemptKey, Journal, Outstanding, Pending, Received, SentAction,
    Signal, Timestamp,
};

impl State {
    pub(super) fn of_call(&mut self, seq: AgentSeq, event: &OfCall) -> Result<(), IllegalInput> {
        match event {
            OfCall::Opened(journal) => {
                if let Some(out) = &self.record(seq)?.outstanding {
                    let (found, out) = (in_words(journal.key), in_words(out.key));
                    let with = format!("the action of another one, {out}, that may still run");
                    return Err(IllegalInput::new("an attempt", found, with));
                }
                let attempt = Box::new(Attempt::new(Journal::clone(journal)));
                self.set_phase(seq, Phase::Trying(attempt))?;
                self.record_mut(seq)?.waits_for_signal =
                    journal.pending.as_ref().and_then(Pending::signal);
            }
            OfCall::Written => {
                self.attempt(seq)?;
            }
            OfCall::Does { doing, alarm } => self.does(seq, *doing, *alarm)?,
            OfCall::Sees { attributes, written: _ } => {
                self.attempt_mut(seq)?.journal.attributes = Some(attributes.clone());
            }
            OfCall::Called { pending, action } => self.called(seq, pending, *action)?,
            OfCall::Accepted => {
                let pending = self.attempt_mut(seq)?.journal.pending.as_mut();
                let none = || IllegalInput::missing("an acceptance", "a call", "the attempt");
                pending.ok_or_else(none)?.accepted = true;
            }
            OfCall::Answered(answered) => self.answered(seq, answered)?,
            OfCall::Closed { journal, written: _ } => {
                let open = self.attempt(seq)?.journal.key;
                if open != journal.key {
                    let (found, open) = (journal.key.attempt, open.attempt);
                    return Err(IllegalInput::new("the end of an attempt", found, open));
                }
                // This is the only way out of an attempt.
                self.put_phase(seq, Phase::Idle)?;
                self.record_mut(seq)?.waits_for_signal = None;
            }
            OfCall::LeftOpen { action, journal } => {
                self.left_open(seq, action, journal.as_deref())?;
            }
            OfCall::Watched => {
                self.action_of(seq, "a look at an action")?;
                self.watch(seq, true)?;
            }
            OfCall::Unwatched => self.watch(seq, false)?,
            OfCall::EndedLate { key, kept: Some(kept), .. } => {
                let out = self.action_of(seq, "a late end")?;
                if out != *key {
                    let (found, out) = (in_words(*key), in_words(out));
                    return Err(IllegalInput::new("a late end", found, out));
                }
                let agent = self.agent_mut(seq)?;
                let EndKept { late, journal } = &**kept;
                agent.over = journal.clone().filter(|_| late.result).map(Box::new);
                agent.record.late = Some(late.clone());
            }
            // A history does not say which actions are out.
            OfCall::EndedLate { kept: None, .. } => {
                self.agent(seq)?;
            }
            OfCall::Settled => {
                self.action_of(seq, "that nothing is out")?;
                self.watch(seq, false)?;
                let agent = self.agent_mut(seq)?;
                agent.record.outstanding = None;
                if matches!(agent.phase, Phase::Settling { .. }) {
                    self.set_phase(seq, Phase::Idle)?;
                }
            }
            OfCall::Kept { attempt } => {
                let late = self.record_mut(seq)?.late.as_mut();
                let none = || IllegalInput::missing("what is kept", "a late end", "the agent");
                late.ok_or_else(none)?.kept_by = Some(*attempt);
            }
        }
        Ok(())
    }

    /// Drops a late result of any step but the present one, which begins. What that result says is no longer true
    /// once another step has begun: a rescue that ended well late, for example, undid what the steps had done by
    /// then, and not what they do when they are tried again.
    pub(super) fn forget_other_late(&mut self, seq: AgentSeq) -> Result<(), IllegalInput> {
        let agent = self.agent_mut(seq)?;
        let (stage, step) = (agent.record.stage, agent.record.step);
        let is_other = |key: AttemptKey| (key.stage, key.step) != (stage, step);
        agent.record.late.take_if(|late| is_other(late.key));
        agent.over.take_if(|over| is_other(over.key));
        Ok(())
    }

    /// Notes an action that is out. Its attempt must be over, and no other action may be out.
    fn left_open(
        &mut self,
        seq: AgentSeq,
        action: &Outstanding,
        journal: Option<&Journal>,
    ) -> Result<(), IllegalInput> {
        let agent = self.agent_mut(seq)?;
        let goes_on = agent.attempt().map(|attempt| attempt.journal.key);
        let before = agent.record.outstanding.as_ref().map(|before| before.key);
        let other = goes_on.or(before.filter(|before| *before != action.key));
        if let Some(other) = other {
            let (found, other) = (in_words(action.key), in_words(other));
            return Err(IllegalInput::new("an action that is out", found, other));
        }
        agent.record.outstanding = Some(action.clone());
        if let Some(journal) = journal {
            agent.over = Some(Box::new(journal.clone()));
        }
        Ok(())
    }

    /// The attempt whose action is out.
    fn action_of(&self, seq: AgentSeq, what: &'static str) -> Result<AttemptKey, IllegalInput> {
        let record = self.record(seq)?;
        let out = record.outstanding.as_ref().map(|action| action.key);
        let none = || {
            IllegalInput::missing(what, "an action that is out", format!("agent {}", record.agent))
        };
        out.ok_or_else(none)
    }

    pub(super) fn attempt_mut(&mut self, seq: AgentSeq) -> Result<&mut Attempt, IllegalInput> {
        let agent = self.agent_mut(seq)?;
        match &mut agent.phase {
            Phase::Trying(attempt) => Ok(attempt),
            Phase::Idle
            | Phase::Queued { .. }
            | Phase::Looking
            | Phase::Retrying { .. }
            | Phase::Settling { .. } => {
                let of = format!("agent {}", agent.record.agent);
                Err(IllegalInput::missing("something to an attempt", "one in flight", of))
            }
        }
    }

    fn does(
        &mut self,
        seq: AgentSeq,
        doing: Doing,
        alarm: Option<Timestamp>,
    ) -> Result<(), IllegalInput> {
        let attempt = self.attempt_mut(seq)?;
        attempt.doing = doing;
        let before = std::mem::replace(&mut attempt.alarm, alarm);
        self.index.alarms.change(seq, before, alarm);
        Ok(())
    }

    /// The step made a call. No action may be sent while an action of an attempt that is over may still be
    /// running.
    fn called(
        &mut self,
        seq: AgentSeq,
        pending: &Pending,
        action: Option<SentAction>,
    ) -> Result<(), IllegalInput> {
        let record = self.record_mut(seq)?;
        if action.is_some() && record.outstanding.is_some() {
            let agent = record.agent.clone();
            return Err(IllegalInput::new("an action", agent, "another one that may still run"));
        }
        record.action = action.or(record.action);
        record.waits_for_signal = pending.signal();
        let journal = &mut self.attempt_mut(seq)?.journal;
        if let Some(before) = &journal.pending {
            return Err(IllegalInput::new("a call", pending.name.as_str(), before.name.as_str()));
        }
        journal.pending = Some(pending.clone());
        Ok(())
    }

    fn answered(&mut self, seq: AgentSeq, answered: &Answered) -> Result<(), IllegalInput> {
        if let Answer::WaitSignal(Ok(received)) = &answered.answer {
            self.check_received(seq, received)?;
        }
        let attempt = self.attempt_mut(seq)?;
        let asked = attempt.journal.pending.take().map(|pending| pending.name);
        if asked != Some(answered.name) {
            let (found, asked) = (format!("{:?}", answered.name), format!("{asked:?}"));
            return Err(IllegalInput::new("an answer", found, asked));
        }
        attempt.bytes += size_of_answered(answered);
        attempt.journal.answers.push(answered.clone());
        self.record_mut(seq)?.waits_for_signal = None;
        Ok(())
    }

    /// An attempt gets each signal once, and only one that came.
    fn check_received(&self, seq: AgentSeq, received: &Received) -> Result<(), IllegalInput> {
        let (number, last) = (received.number, self.run.progress.signals_sent);
        let found = || format!("number {number}");
        if number == 0 || number > last {
            return Err(IllegalInput::new("a signal", found(), format!("{last} signals came")));
        }
        let had = self.attempt(seq)?.journal.received().any(|before| before == number);
        match had && !mutant!(SignalTwice) {
            true => Err(IllegalInput::new("a signal", found(), "an attempt that had it before")),
            false => Ok(()),
        }
    }

    /// Counts a signal, which must have the next number.
    pub(super) fn count_signal(&mut self, signal: &Signal) -> Result<(), IllegalInput> {
        let progress = &mut self.run.progress;
        let next = progress.signals_sent.saturating_add(1);
        if signal.number != next {
            let (found, next) = (format!("number {}", signal.number), format!("number {next}"));
            return Err(IllegalInput::new("a signal", found, next));
        }
        progress.signals_sent = next;
        Ok(())
    }

    fn watch(&mut self, seq: AgentSeq, is_watched: bool) -> Result<(), IllegalInput> {
        self.agent_mut(seq)?.watched = is_watched;
        set(&mut self.index.watched, seq, is_watched);
        Ok(())
    }
}

fn in_words(key: AttemptKey) -> String {
    let AttemptKey { agent: _, stage, step, attempt } = key;
    format!("attempt {attempt} of step {step} in stage {stage}")
}
