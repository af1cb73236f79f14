//! What happens to the attempt of an agent, and to its action that is out.

use super::agent::{Attempt, Doing, Phase};
use super::event::{EndKept, OfCall};
use super::illegal::IllegalInput;
use super::index::set;
use super::value::State;
use super::weight::size_of_answered;
use crate::run::{AgentSeq, Answered, Journal, Pending, SentAction, Timestamp};

impl State {
    pub(super) fn of_call(&mut self, seq: AgentSeq, event: &OfCall) -> Result<(), IllegalInput> {
        match event {
            OfCall::Opened(journal) => {
                let attempt = Box::new(Attempt::new(Journal::clone(journal)));
                self.set_phase(seq, Phase::Trying(attempt))?;
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
                let none = || IllegalInput::missing("an acceptance", "an attempt without a call");
                pending.ok_or_else(none)?.accepted = true;
            }
            OfCall::Answered(answered) => self.answered(seq, answered)?,
            OfCall::Closed { journal, written: _ } => {
                let open = self.attempt(seq)?.journal.key;
                if open != journal.key {
                    let (found, open) = (journal.key.attempt, open.attempt);
                    return Err(IllegalInput::new("the end of an attempt", found, open));
                }
                self.set_phase(seq, Phase::Idle)?;
            }
            OfCall::LeftOpen { action, journal } => {
                let agent = self.agent_mut(seq)?;
                agent.record.outstanding = Some(action.clone());
                if journal.is_some() {
                    agent.over.clone_from(journal);
                }
            }
            OfCall::Watched => {
                if self.record(seq)?.outstanding.is_none() {
                    return Err(IllegalInput::missing("a look at an action", "the agent"));
                }
                self.watch(seq, true)?;
            }
            OfCall::Unwatched => self.watch(seq, false)?,
            OfCall::EndedLate { kept: Some(kept), .. } => {
                let agent = self.agent_mut(seq)?;
                let EndKept { late, journal } = &**kept;
                agent.over = journal.clone().filter(|_| late.result).map(Box::new);
                agent.record.late = Some(late.clone());
            }
            OfCall::EndedLate { kept: None, .. } => {
                self.agent(seq)?;
            }
            OfCall::Settled => {
                self.watch(seq, false)?;
                let agent = self.agent_mut(seq)?;
                agent.record.outstanding = None;
                if matches!(agent.phase, Phase::Settling { .. }) {
                    self.set_phase(seq, Phase::Idle)?;
                }
            }
            OfCall::Kept { attempt } => {
                if let Some(late) = &mut self.record_mut(seq)?.late {
                    late.kept_by = Some(*attempt);
                }
            }
        }
        Ok(())
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
                let agent = agent.record.agent.clone();
                Err(IllegalInput::missing("something to an attempt in flight", agent))
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

    /// The step made a call. Nothing is sent to an agent while an action of an attempt that is over may
    /// still be running.
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
        let journal = &mut self.attempt_mut(seq)?.journal;
        if let Some(before) = &journal.pending {
            return Err(IllegalInput::new("a call", pending.name.as_str(), before.name.as_str()));
        }
        journal.pending = Some(pending.clone());
        Ok(())
    }

    fn answered(&mut self, seq: AgentSeq, answered: &Answered) -> Result<(), IllegalInput> {
        let attempt = self.attempt_mut(seq)?;
        let asked = attempt.journal.pending.take().map(|pending| pending.name);
        if asked != Some(answered.name) {
            let (found, asked) = (format!("{:?}", answered.name), format!("{asked:?}"));
            return Err(IllegalInput::new("an answer", found, asked));
        }
        attempt.bytes += size_of_answered(answered);
        attempt.journal.answers.push(answered.clone());
        Ok(())
    }

    fn watch(&mut self, seq: AgentSeq, is_watched: bool) -> Result<(), IllegalInput> {
        self.agent_mut(seq)?.watched = is_watched;
        set(&mut self.index.watched, seq, is_watched);
        Ok(())
    }
}
