//! Keeps what is noticed about calls in flight. It is kept for people only: no decision depends on it.

use super::turn::{Legal, Turn};
use crate::mutants::mutant;
use crate::run::failure::beginning;
use crate::run::notice::MAX_SILENT_NAMED;
use crate::run::state::{Agent, Attempt, Doing, OfAgent, OfStrategy, State};
use crate::run::{
    AgentSeq, AgentState, AttemptKey, Notice, Refreshed, RunStatus, Unheard, UnheardAgent,
};

/// Bytes that are kept of why an agent gave no usable answer. The text is part of a sentence, and is written with
/// every commit.
const MAX_UNHEARD_BYTES: usize = 300;

impl State {
    /// Whether this call is in flight. `None` means the question that is asked before an attempt.
    fn is_waited_for(&self, key: AttemptKey, call: Option<u32>) -> bool {
        if self.status().is_settled() {
            return false;
        }
        let Some(agent) = self.find(key.agent) else { return false };
        let of_attempt = agent.attempt().filter(|attempt| attempt.journal.key == key);
        let in_attempt = of_attempt.is_some_and(|attempt| match call {
            None => attempt.doing == Doing::Checking,
            Some(call) => attempt.waits_for_answer() && attempt.journal.call() == call,
        });
        let is_watched = |call| agent.watched().is_some_and(|action| action.is_call(key, call));
        in_attempt || call.is_some_and(is_watched)
    }

    /// Whether something was noticed about a call of the agent, and no call of it is in flight any more.
    fn is_notice_over(&self, seq: AgentSeq) -> bool {
        let waits =
            |attempt: &Attempt| attempt.doing == Doing::Checking || attempt.waits_for_answer();
        self.find(seq).is_some_and(|agent: &Agent| {
            let waits = agent.attempt().is_some_and(waits) || agent.watched().is_some();
            agent.record().notice.is_some() && !waits
        })
    }
}

impl Turn<'_> {
    /// Keeps what was noticed about a call; `None` if the call goes on as it should. A notice about a call that
    /// has ended comes too late and changes nothing.
    pub(super) fn noticed(
        &mut self,
        key: AttemptKey,
        call: Option<u32>,
        notice: Option<Notice>,
    ) -> Legal {
        match self.is_waited_for(key, call) {
            true => self.set_notice(key.agent, notice),
            false => Ok(()),
        }
    }

    /// Notes that a call has got its answer, before anything is made of the answer.
    pub(super) fn heard(&mut self, key: AttemptKey, call: Option<u32>) -> Legal {
        match self.is_waited_for(key, call) {
            true => self.drop_notice(key.agent),
            false => Ok(()),
        }
    }

    /// Drops what was noticed about a call that has ended.
    pub(super) fn drop_notice(&mut self, seq: AgentSeq) -> Legal {
        match mutant!(NoticeKept) {
            true => Ok(()),
            false => self.set_notice(seq, None),
        }
    }

    /// Drops what was noticed about calls that the latest changes gave up.
    pub(super) fn drop_notices(&mut self) -> Legal {
        for seq in self.written_records() {
            if self.is_notice_over(seq) {
                self.drop_notice(seq)?;
            }
        }
        Ok(())
    }

    /// Sets what is noticed about an agent's call, if it is different from before.
    fn set_notice(&mut self, seq: AgentSeq, notice: Option<Notice>) -> Legal {
        match self.record(seq)?.notice == notice {
            true => Ok(()),
            false => self.emit((seq, OfAgent::Noticed(notice))),
        }
    }

    /// While the run goes on: notes which agents gave no usable answer when they were asked for the strategy, and
    /// since when. For agents that did not answer the time before either, the first time counts.
    pub(super) fn note_unheard(&mut self, answers: &[Refreshed]) -> Legal {
        if self.status() != RunStatus::Running {
            return Ok(());
        }
        let before = &self.progress().stage.unheard;
        let mut unheard = Unheard::default();
        let mut others = Vec::new();
        for Refreshed { agent: seq, about, silence } in answers {
            let record = self.record(*seq)?;
            let wrong = || {
                Some((
                    about.seen_at?,
                    record.check_identity(&about.node, &about.datastore.store).err()?.to_string(),
                ))
            };
            let Some((asked_at, message)) = silence.clone().or_else(wrong) else { continue };
            if record.state == AgentState::Removed {
                continue;
            }
            unheard.agents += 1;
            let message = beginning(message, MAX_UNHEARD_BYTES);
            let known = before.some.iter().find(|known| known.agent == record.agent);
            let since = known.map_or(asked_at, |known| known.since);
            let found = UnheardAgent { agent: record.agent.clone(), since, message };
            match known {
                Some(_) => unheard.some.push(found),
                None if others.len() < MAX_SILENT_NAMED => others.push(found),
                None => {}
            }
        }
        unheard.some.extend(others);
        unheard.some.truncate(MAX_SILENT_NAMED);
        unheard.some.sort_by_key(|agent| agent.since);
        match unheard == *before {
            true => Ok(()),
            false => self.emit(OfStrategy::Unheard(unheard)),
        }
    }
}
