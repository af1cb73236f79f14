//! What is noticed about calls in flight. It is kept for people and changes nothing else.

use super::calls::call_number;
use super::changes::Changes;
use super::state::{Attempt, Doing, Machine};
use crate::mutants::mutant;
use crate::run::failure::beginning;
use crate::run::notice::MAX_SILENT_NAMED;
use crate::run::{
    AgentId, AgentSeq, AgentState, AttemptKey, Notice, Refreshed, RunStatus, Silent, Unheard,
    UnheardAgent,
};

/// Bytes of what came of asking an agent: it stands in a sentence, and is written with every commit.
const MAX_UNHEARD_BYTES: usize = 300;

impl Attempt {
    /// Whether a call of the attempt waits for its answer, even while the attempt is activated anew.
    pub(super) fn waits_for_answer(&self) -> bool {
        self.journal.pending.is_some() && self.doing != Doing::Held
    }
}

impl Machine {
    /// Keeps what was noticed about a call; none if it goes on as it should. A notice about a call that
    /// has ended comes too late and changes nothing.
    pub(super) fn noticed(
        &mut self,
        key: AttemptKey,
        call: Option<u32>,
        notice: Option<Notice>,
        changes: &mut Changes,
    ) {
        if self.is_waited_for(key, call) {
            self.set_notice(key.agent, notice, changes);
        }
    }

    /// Notes that a call has its answer, before anything is made of the answer.
    pub(super) fn heard(&mut self, key: AttemptKey, call: Option<u32>, changes: &mut Changes) {
        if self.is_waited_for(key, call) {
            self.drop_notice(key.agent, changes);
        }
    }

    /// Drops what was noticed about a call that has ended.
    pub(super) fn drop_notice(&mut self, seq: AgentSeq, changes: &mut Changes) {
        if !mutant!(NoticeKept) {
            self.set_notice(seq, None, changes);
        }
    }

    /// Whether this call is in flight; none means the question before an attempt.
    fn is_waited_for(&self, key: AttemptKey, call: Option<u32>) -> bool {
        if self.run.progress.status.is_settled() {
            return false;
        }
        let of_attempt = self.attempts.get(&key.agent).filter(|attempt| attempt.journal.key == key);
        let in_attempt = of_attempt.is_some_and(|attempt| match call {
            None => attempt.doing == Doing::Checking,
            Some(call) => attempt.waits_for_answer() && call_number(&attempt.journal) == call,
        });
        let settling = self.settling.get(&key.agent);
        let is_settling = |call| settling.is_some_and(|action| action.is_call(key, call));
        in_attempt || call.is_some_and(is_settling)
    }

    /// Drops what was noticed about calls that the latest changes gave up.
    pub(super) fn drop_notices(&mut self, changes: &mut Changes) {
        let is_over = |seq: &AgentSeq| {
            let waits = self.attempts.get(seq).is_some_and(|attempt| {
                attempt.doing == Doing::Checking || attempt.waits_for_answer()
            });
            let noticed = Self::record(self, *seq).is_some_and(|record| record.notice.is_some());
            noticed && !waits && !self.settling.contains_key(seq)
        };
        let over: Vec<_> = changes.records.iter().copied().filter(is_over).collect();
        for seq in over {
            self.drop_notice(seq, changes);
        }
    }

    /// Sets what is noticed about an agent's call, and the count that goes with it.
    pub(super) fn set_notice(
        &mut self,
        seq: AgentSeq,
        notice: Option<Notice>,
        changes: &mut Changes,
    ) {
        let Some(record) = self.record_mut(seq) else { return };
        if record.notice == notice {
            return;
        }
        let is_silent = notice.as_ref().is_some_and(Notice::is_silence);
        record.notice = notice;
        changes.records.insert(seq);
        let changed = match is_silent {
            true => self.silent.insert(seq),
            false => self.silent.remove(&seq),
        };
        if changed {
            self.count_silent();
        }
    }

    fn count_silent(&mut self) {
        let named = self.silent.iter().filter_map(|seq| Self::record(self, *seq));
        let some = named.take(MAX_SILENT_NAMED).map(|record| record.agent.clone()).collect();
        let agents = u32::try_from(self.silent.len()).unwrap_or(u32::MAX);
        self.run.progress.silent = Silent { agents, some };
    }

    /// Notes which agents gave no good answer when they were asked for the strategy, and since when: in
    /// a run that goes on. Of those that did not answer the time before either, the first time counts.
    pub(super) fn note_unheard(&mut self, answers: &[Refreshed], changes: &mut Changes) {
        if self.run.progress.status != RunStatus::Running {
            return;
        }
        let before = std::mem::take(&mut self.run.progress.stage.unheard);
        let mut unheard = Unheard::default();
        let mut others = Vec::new();
        for Refreshed { agent: seq, about, silence } in answers {
            let Some(record) = Self::record(self, *seq) else { continue };
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
        changes.progress |= unheard != before;
        self.run.progress.stage.unheard = unheard;
    }

    /// An agent has answered, whoever asked.
    pub(super) fn forget_unheard(&mut self, agent: &AgentId) {
        let unheard = &mut self.run.progress.stage.unheard;
        let named = unheard.some.len();
        unheard.some.retain(|other| other.agent != *agent);
        if unheard.some.len() < named {
            unheard.agents = unheard.agents.saturating_sub(1);
        }
    }

    /// Forgets those that the strategy does not want asked again: nobody finds out whether they answer.
    pub(super) fn keep_unheard(&mut self) {
        if mutant!(UnheardKept) {
            return;
        }
        let mut unheard = std::mem::take(&mut self.run.progress.stage.unheard);
        let asked = &self.run.progress.stage.refresh;
        let is_asked = |agent: &UnheardAgent| {
            self.seq_of(&agent.agent).is_some_and(|seq| asked.contains(&seq))
        };
        unheard.some.retain(is_asked);
        if !unheard.some.is_empty() {
            let most = u32::try_from(asked.len()).unwrap_or(u32::MAX);
            unheard.agents = unheard.agents.min(most);
            self.run.progress.stage.unheard = unheard;
        }
    }

    /// The run is over: nobody is waited for any more.
    pub(super) fn forget_silent(&mut self) {
        self.silent.clear();
        self.count_silent();
    }
}
