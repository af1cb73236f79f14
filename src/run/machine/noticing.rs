//! What is noticed of calls in flight, kept for people: it changes nothing else.

use super::calls::call_number;
use super::changes::Changes;
use super::state::{Attempt, Doing, Machine};
use crate::mutants::mutant;
use crate::run::notice::MAX_SILENT_NAMED;
use crate::run::{AgentSeq, AttemptKey, Notice, Silent};

impl Attempt {
    /// Whether a call of it waits for its answer: also while it is activated anew.
    pub(super) fn waits_for_answer(&self) -> bool {
        self.journal.pending.is_some() && self.doing != Doing::Held
    }
}

impl Machine {
    /// Keeps what was noticed of a call; none: it goes on as it should. What is told of a call that has
    /// ended comes too late and changes nothing.
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

    /// Takes notice that a call has its answer, before anything is made of it.
    pub(super) fn heard(&mut self, key: AttemptKey, call: Option<u32>, changes: &mut Changes) {
        if self.is_waited_for(key, call) {
            self.drop_notice(key.agent, changes);
        }
    }

    /// Drops what was noticed of a call that has ended.
    pub(super) fn drop_notice(&mut self, seq: AgentSeq, changes: &mut Changes) {
        if !mutant!(NoticeKept) {
            self.set_notice(seq, None, changes);
        }
    }

    /// Whether that call is in flight; none is the question before an attempt.
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

    /// Drops what was noticed of calls that were given up by what just changed.
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

    /// Sets what is noticed of an agent's call, with the count that goes with it.
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

    /// The run is over: nobody is waited for any more.
    pub(super) fn forget_silent(&mut self) {
        self.silent.clear();
        self.count_silent();
    }
}
