//! Runs that can't go on, and how they end.

use super::damaged::Damaged;
use super::runs::of_run;
use super::state::{Parking, RunEntry, State};
use crate::contract::{MAX_COMMIT_DOCUMENTS, Result};
use crate::documents::{Abandon, Abandonment, Ending, Failed};
use crate::finish::Finishes;
use crate::keys::page_limit;
use crate::options::Moment;
use crate::troubled;
use replibook_core::mutant;
use replibook_core::run::{EngineId, RunEvent, RunId, Timestamp, Trouble};

impl State {
    pub(super) fn set_aside(
        &mut self,
        run: RunId,
        epoch: u64,
        engine: &EngineId,
        failure: &Failed,
        at: &Moment,
    ) -> Result<Trouble> {
        let cluster = Some(self.check_fence(run, epoch, at)?.run.snapshot.cluster.clone());
        let before = self.readable_trouble(run);
        let trouble = troubled::failed(before, (run, cluster), engine, failure, at);
        if let Some(entry) = self.runs.get_mut(&run) {
            let rests = troubled::rests_until(&trouble, at);
            set_free(entry, if mutant!(SetAsideForGood) { Timestamp::MAX } else { rests });
        }
        self.keep(trouble.clone());
        Ok(trouble)
    }

    /// The trouble of a run. A trouble that can't be read counts as none, and is written anew.
    fn readable_trouble(&self, run: RunId) -> Option<Trouble> {
        self.troubles.get(&run).filter(|trouble| self.is_readable(trouble)).cloned()
    }

    fn is_readable(&self, trouble: &Trouble) -> bool {
        !self.damaged.contains(&Damaged::Trouble(trouble.run))
    }

    fn keep(&mut self, trouble: Trouble) {
        self.damaged.remove(&Damaged::Trouble(trouble.run));
        self.troubles.insert(trouble.run, trouble);
    }

    pub(super) fn recover(&mut self, run: RunId, epoch: u64, at: &Moment) -> Result<()> {
        self.check_fence(run, epoch, at)?;
        self.troubles.remove(&run);
        Ok(())
    }

    pub(super) fn troubles(&self, after: Option<RunId>, limit: u32) -> Vec<Trouble> {
        let going = |trouble: &&Trouble| {
            self.runs.get(&trouble.run).is_some_and(|entry| !entry.finished())
                && after.is_none_or(|after| trouble.run > after)
                && self.is_readable(trouble)
        };
        let found = self.troubles.values().filter(going);
        found.take(page_limit(limit) as usize).cloned().collect()
    }

    pub(super) fn troubles_of(&self, runs: &[RunId], at: &Moment) -> Vec<Trouble> {
        let found = self.troubles.values().filter(|trouble| runs.contains(&trouble.run));
        let found = found.filter(|trouble| self.is_readable(trouble));
        found.filter(|trouble| at.shows(trouble.finish_ts)).cloned().collect()
    }

    pub(super) fn rouse(&mut self) -> u64 {
        let troubles = &self.troubles;
        let rests = |entry: &&mut RunEntry| {
            let trouble = troubles.get(&entry.run.id());
            !entry.finished()
                && entry.engine.is_none()
                && trouble.is_some_and(|trouble| trouble.abandoned.is_none())
        };
        let resting = self.runs.values_mut().filter(rests);
        let resting = resting.filter(|entry| entry.parking != Parking::Parked);
        resting.map(|entry| entry.until = Timestamp::default()).count() as u64
    }

    pub(super) fn abandon(&mut self, run: RunId, request: &Abandon, at: &Moment) -> Abandonment {
        let seq = self.next_event(run);
        let before = self.readable_trouble(run);
        let Some(entry) = self.runs.get_mut(&run) else { return Abandonment::Unknown };
        if !at.shows(entry.run.progress.finish_ts) {
            return Abandonment::Unknown;
        }
        match before {
            Some(known) if known.abandoned.is_some() => return Abandonment::Begun(known),
            _ if entry.finished() => return Abandonment::Finished,
            None if !request.force => return Abandonment::NotTroubled,
            Some(_) | None => {}
        }
        let lease = entry.engine.as_ref().map(|_| entry.until);
        let cluster = Some(entry.run.snapshot.cluster.clone());
        let finishing_at = entry.run.progress.finishing_at;
        let trouble = troubled::abandoned(before, (run, cluster), request, lease, finishing_at, at);
        if !mutant!(AbandonNotFenced) {
            set_free(entry, Timestamp::MAX);
        }
        let from = entry.run.progress.status;
        let begun = trouble.abandoned.as_ref().and_then(|abandoned| {
            abandoned.begin(run, Some(from), Some(&mut entry.run.progress), seq)
        });
        self.tell(begun);
        self.damaged.remove(&Damaged::Status(run));
        self.keep(trouble.clone());
        Abandonment::Begun(trouble)
    }

    pub(super) fn end_abandoned(&mut self, run: RunId, at: &Moment) -> Ending {
        let Some(abandoned) = self.readable_trouble(run).and_then(|known| known.abandoned) else {
            return Ending::Ended;
        };
        if self.runs.get(&run).is_none_or(RunEntry::finished) {
            return Ending::Ended;
        }
        if self.stamp_some(run, abandoned.at) > 0 {
            return Ending::Going;
        }
        if at.now < abandoned.not_before {
            return Ending::Waits(abandoned.not_before);
        }
        if mutant!(AbandonKeepsLock) {
            return Ending::Ended;
        }
        let seq = self.next_event(run);
        let progress = self.runs.get_mut(&run).map(|entry| &mut entry.run.progress);
        let ended = abandoned.end(run, progress, seq);
        self.tell(Some(ended));
        if let Some(trouble) = self.troubles.get_mut(&run) {
            trouble.finish_ts = Some(abandoned.at);
        }
        Ending::Ended
    }

    /// Gives `finish_ts` to records that have none, as many as one call may, and returns how many.
    pub(super) fn stamp_some(&mut self, run: RunId, finish_ts: Timestamp) -> u64 {
        let commands = self.commands.values_mut().filter(|command| command.run == run);
        let all = of_run(&mut self.records, run)
            .chain(of_run(&mut self.journals, run))
            .chain(of_run(&mut self.logs, run))
            .chain(of_run(&mut self.events, run))
            .chain(commands.map(|command| command as &mut dyn Finishes));
        let unstamped = all.filter(|record| record.finish_ts().is_none());
        let stamp = |record: &mut dyn Finishes| record.set_finish_ts(Some(finish_ts));
        unstamped.take(MAX_COMMIT_DOCUMENTS).map(stamp).count() as u64
    }

    /// The sequence of the event that follows the last one of a run.
    fn next_event(&self, run: RunId) -> u64 {
        let last = self.events.get(&run).and_then(|events| events.keys().next_back());
        last.map_or(1, |last| last + 1)
    }

    fn tell(&mut self, event: Option<RunEvent>) {
        if let Some(event) = event {
            self.damaged.remove(&Damaged::Event(event.run, event.seq));
            self.events.entry(event.run).or_default().insert(event.seq, event);
        }
    }
}

/// Takes the run from the engine that has it. Nobody may claim it before `until`.
pub(super) fn set_free(entry: &mut RunEntry, until: Timestamp) {
    entry.engine = None;
    entry.epoch += 1;
    entry.until = until;
    entry.parking = Parking::No;
}
