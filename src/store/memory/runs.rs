//! Runs, their leases, and the documents of each run.

use std::collections::{BTreeMap, BTreeSet};

use super::damaged::Damaged;
use super::state::{Parking, PerRun, RunEntry, State};
use super::troubled::set_free;
use crate::contract::{Lease, MAX_COMMIT_DOCUMENTS, MAX_PAGE, Result};
use crate::damage::KeptRun;
use crate::documents::{Claim, Created, Head, Holder, LogCursor, NewRun, Page, Put, RunFilter};
use crate::error::StoreError;
use crate::finish::Finishes;
use crate::keys::{page_limit, run_cursor};
use crate::options::Moment;
use crate::size::commit_size;
use replibook_core::mutant;
use replibook_core::playbook::access::Sight;
use replibook_core::run::{
    Command, Digest, EngineId, LogLine, OldLines, Run, RunId, RunStatus, Timestamp, Writes,
};

/// Whether one of these has the run.
fn is_seen(run: &Run, seen: Option<&[Sight]>) -> bool {
    let (playbook, cluster) = (&run.snapshot.playbook.name, &run.snapshot.cluster);
    seen.is_none_or(|seen| seen.iter().any(|sight| sight.has(playbook, cluster)))
}

impl State {
    pub(super) fn create_run(&mut self, new: &NewRun, at: &Moment) -> Result<Created> {
        let key = new.idempotency_key.as_ref();
        let named = |entry: &&RunEntry| key.is_some() && entry.idempotency_key.as_ref() == key;
        let id = new.run.id();
        let known = self.all_live(at).find(named).or_else(|| self.live(id, at));
        if let Some(known) = known {
            let before = known.run.id();
            return if known.request == new.request {
                Ok(Created::Before(before))
            } else {
                Err(StoreError::of_another_request(before))
            };
        }
        self.pinned_are_there(new.run.snapshot.pins().into_iter())?;
        let cluster = &new.run.snapshot.cluster;
        if !self.clusters.contains_key(cluster) {
            return Err(StoreError::MissingCluster { cluster: cluster.clone() });
        }
        self.lock_at_once(&new.run.snapshot, new.run.progress.status)?;
        self.pin(new.run.snapshot.pins().into_iter());
        let entry = RunEntry {
            run: new.run.clone(),
            idempotency_key: new.idempotency_key.clone(),
            request: new.request.clone(),
            engine: None,
            epoch: 0,
            until: Timestamp::default(),
            since: Timestamp::default(),
            parking: Parking::No,
        };
        self.runs.insert(id, entry);
        self.damaged.remove(&Damaged::Snapshot(id));
        for mended in [Damaged::Progress(id), Damaged::Status(id), Damaged::ClusterOf(id)] {
            self.damaged.remove(&mended);
        }
        let events = new.events.iter().map(|event| (event.seq, event.clone()));
        self.events.entry(id).or_default().extend(events);
        Ok(Created::New(id))
    }

    pub(super) fn run_of_request(
        &self,
        key: &str,
        request: &Digest,
        at: &Moment,
    ) -> Result<Option<Run>> {
        let mut all = self.all_live(at);
        match all.find(|entry| entry.idempotency_key.as_deref() == Some(key)) {
            Some(entry) if entry.request == *request => Ok(Some(entry.run.clone())),
            Some(entry) => Err(StoreError::of_another_request(entry.run.id())),
            None => Ok(None),
        }
    }

    pub(super) fn list_runs(
        &self,
        filter: &RunFilter,
        page: &Page,
        at: &Moment,
    ) -> Result<Vec<KeptRun>> {
        let after = run_cursor(page)?;
        let RunFilter { cluster, statuses, playbook, version, from, seen } = filter;
        let fits = |run: &Run| {
            let of = &run.snapshot.playbook;
            after.is_none_or(|after| run.id() < after)
                && from.is_none_or(|from| run.id() >= from)
                && cluster.as_ref().is_none_or(|name| run.snapshot.cluster == *name)
                && playbook.as_ref().is_none_or(|name| {
                    of.name == *name && version.as_ref().is_none_or(|wanted| of.version == *wanted)
                })
                && (statuses.is_empty() || statuses.contains(&run.progress.status))
                && is_seen(run, seen.as_deref())
        };
        let found = self.all_live(at).rev().filter(|entry| fits(&entry.run));
        let found = found.take(page_limit(page.limit) as usize);
        Ok(found.map(|entry| self.intact_run(entry)).collect())
    }

    pub(super) fn newest_runs(
        &self,
        seen: Option<&[Sight]>,
        limit: u32,
        at: &Moment,
    ) -> Vec<RunId> {
        let all = self.all_live(at).rev().filter(|entry| is_seen(&entry.run, seen));
        let all = all.map(|entry| entry.run.id());
        all.take(page_limit(limit) as usize).collect()
    }

    pub(super) fn claim(&mut self, engine: &EngineId, claim: &Claim, at: &Moment) -> Vec<Lease> {
        let Claim { limit, full, only_woken, passed } = claim;
        let free = |entry: &&mut RunEntry| {
            let Run { snapshot, progress } = &entry.run;
            let waits = progress.status == RunStatus::Pending && full.contains(&snapshot.cluster);
            let fits = !only_woken || entry.parking == Parking::Woken;
            entry.is_unclaimed(at) && !waits && fits && !passed.contains(&snapshot.id)
        };
        let found = self.runs.values_mut().filter(free);
        let found = found.take(page_limit(*limit) as usize);
        let lease = found.map(|entry| {
            let from = entry.engine.replace(engine.clone());
            entry.epoch += 1;
            entry.until = at.lease_until;
            entry.since = at.now;
            entry.parking = Parking::No;
            let cluster = Some(entry.run.snapshot.cluster.clone());
            Lease { cluster, from, ..entry.lease() }
        });
        lease.collect()
    }

    pub(super) fn unclaimed(&self, at: &Moment) -> u32 {
        let free = self.runs.values().filter(|entry| entry.is_unclaimed(at));
        u32::try_from(free.take(MAX_PAGE as usize).count()).unwrap_or(MAX_PAGE)
    }

    pub(super) fn holders(&self, runs: &[RunId], at: &Moment) -> Vec<Holder> {
        let held = self.runs.values().filter(|entry| runs.contains(&entry.run.id()));
        let holder = |entry: &RunEntry| {
            let engine = entry.engine.clone()?;
            let (run, since) = (entry.run.id(), entry.since);
            entry.held_by(&engine, at).then_some(Holder { run, engine, since })
        };
        held.filter_map(holder).collect()
    }

    pub(super) fn park(
        &mut self,
        run: RunId,
        epoch: u64,
        until: Timestamp,
        at: &Moment,
    ) -> Result<bool> {
        self.check_fence(run, epoch, at)?;
        if self.waiting(at).any(|command| command.run == run) {
            return Ok(false);
        }
        if let Some(entry) = self.runs.get_mut(&run) {
            set_free(entry, until);
            entry.parking = Parking::Parked;
        }
        Ok(true)
    }

    pub(super) fn renew(&mut self, engine: &EngineId, at: &Moment) -> Vec<Lease> {
        let held = self.runs.values_mut().filter(|entry| entry.held_by(engine, at));
        let lease = held.map(|entry| {
            entry.until = at.lease_until;
            entry.lease()
        });
        lease.collect()
    }

    pub(super) fn release(&mut self, run: RunId, epoch: u64) {
        if let Some(entry) = self.runs.get_mut(&run)
            && entry.epoch == epoch
        {
            entry.engine = None;
            entry.until = Timestamp::default();
        }
    }

    pub(super) fn release_all(&mut self, engine: &EngineId) {
        let of = |entry: &&mut RunEntry| entry.engine.as_ref() == Some(engine);
        for entry in self.runs.values_mut().filter(of).filter(|entry| !entry.finished()) {
            entry.engine = None;
            entry.until = Timestamp::default();
        }
    }

    pub(super) fn commit(
        &mut self,
        run: RunId,
        epoch: u64,
        writes: &Writes,
        at: &Moment,
    ) -> Result<()> {
        commit_size(writes).check()?;
        self.check_fence(run, epoch, at)?;
        let Writes { progress, records, journals, logs, events, commands } = writes;
        self.mend(run, writes);
        if let (Some(progress), Some(entry)) = (progress, self.runs.get_mut(&run)) {
            entry.run.progress = progress.clone();
            if progress.finish_ts.is_some() {
                self.troubles.remove(&run);
            }
        }
        let records = records.iter().map(|record| (record.seq, record.clone()));
        self.records.entry(run).or_default().extend(records);
        let journals = journals.iter().map(|journal| (journal.key, journal.clone()));
        self.journals.entry(run).or_default().extend(journals);
        let logs = logs.iter().map(|line| (LogCursor::of(line), line.clone()));
        self.logs.entry(run).or_default().extend(logs);
        let events = events.iter().map(|event| (event.seq, event.clone()));
        self.events.entry(run).or_default().extend(events);
        self.commands.extend(commands.iter().map(|command| (command.id, command.clone())));
        Ok(())
    }

    /// A document that is written anew can be read again.
    fn mend(&mut self, run: RunId, writes: &Writes) {
        if self.damaged.is_empty() {
            return;
        }
        let Writes { progress, records, journals, logs, events, commands } = writes;
        let of_run = [Damaged::Progress(run), Damaged::Status(run)];
        let mended = (progress.iter().flat_map(|_| of_run.clone()))
            .chain(records.iter().map(|record| Damaged::Record(run, record.seq)))
            .chain(journals.iter().map(|journal| Damaged::Journal(run, journal.key)))
            .chain(logs.iter().map(|line| Damaged::Line(run, LogCursor::of(line))))
            .chain(events.iter().map(|event| Damaged::Event(run, event.seq)))
            .chain(commands.iter().map(|command| Damaged::Command(command.id)));
        for mended in mended {
            self.damaged.remove(&mended);
        }
    }

    /// The run, if `epoch` is that of its present lease.
    pub(super) fn check_fence(&self, run: RunId, epoch: u64, at: &Moment) -> Result<&RunEntry> {
        match self.live(run, at) {
            Some(entry) if entry.engine.is_some() && entry.epoch == epoch => Ok(entry),
            Some(entry) if mutant!(FenceIgnored) => Ok(entry),
            Some(_) | None => Err(StoreError::Fenced { run, epoch }),
        }
    }

    /// How far these runs are.
    pub(super) fn heads(&self, runs: &[RunId], at: &Moment) -> Vec<Head> {
        let known: BTreeSet<_> = runs.iter().take(MAX_PAGE as usize).collect();
        let found = known.into_iter().filter_map(|run| self.live(*run, at));
        found
            .map(|entry| {
                let run = entry.run.id();
                let is_lost = self.damaged.contains(&Damaged::Progress(run));
                let next_event = (!is_lost).then_some(entry.run.progress.next_event);
                Head { run, status: Some(entry.run.progress.status), next_event }
            })
            .collect()
    }

    /// Removes as many of these lines as one call may.
    pub(super) fn forget_lines(
        &mut self,
        run: RunId,
        epoch: u64,
        lines: &OldLines,
        at: &Moment,
    ) -> Result<u64> {
        self.check_fence(run, epoch, at)?;
        let Some(log) = self.logs.get_mut(&run) else { return Ok(0) };
        let goes = |(place, line): &(&LogCursor, &LogLine)| {
            line.level == lines.level
                && (lines.from..=lines.to).contains(&line.event)
                && line.number <= lines.last
                && !self.damaged.contains(&Damaged::Line(run, (*place).clone()))
        };
        let gone = log.iter().filter(goes).map(|(place, _)| place.clone());
        let gone: Vec<_> = gone.take(MAX_COMMIT_DOCUMENTS).collect();
        for place in &gone {
            log.remove(place);
        }
        Ok(gone.len() as u64)
    }

    pub(super) fn stamp(
        &mut self,
        run: RunId,
        epoch: u64,
        finish_ts: Timestamp,
        at: &Moment,
    ) -> Result<u64> {
        self.check_fence(run, epoch, at)?;
        Ok(self.stamp_some(run, finish_ts))
    }

    pub(super) fn submit(&mut self, new: &Command, at: &Moment) -> Put {
        if self.commands.get(&new.id).is_some_and(|known| at.shows(known.finish_ts)) {
            return Put::Unchanged;
        }
        let mut command = new.clone();
        if command.finish_ts.is_none() {
            let run = self.live(command.run, at);
            command.finish_ts = run.map_or(Some(at.now), |entry| entry.run.progress.finishing_at);
        }
        if let Some(entry) = self.runs.get_mut(&command.run) {
            entry.wake(at);
        }
        self.commands.insert(command.id, command);
        Put::Created
    }

    pub(super) fn wake(&mut self, at: &Moment) -> u64 {
        let waited_for: BTreeSet<_> = self.waiting(at).map(|command| command.run).collect();
        let runs = self.runs.iter_mut().filter(|(run, _)| waited_for.contains(run));
        runs.map(|(_, entry)| u64::from(entry.wake(at))).sum()
    }

    pub(super) fn unanswered(&self, run: RunId, at: &Moment) -> Vec<Command> {
        let mut found: Vec<_> = self.waiting(at).filter(|command| command.run == run).collect();
        found.sort_by_key(|command| (command.at, command.id));
        found.into_iter().take(MAX_PAGE as usize).cloned().collect()
    }

    /// The readable commands that have no outcome.
    fn waiting(&self, at: &Moment) -> impl Iterator<Item = &Command> {
        let waits = |command: &&Command| {
            let is_damaged = self.damaged.contains(&Damaged::Command(command.id));
            command.outcome.is_none() && at.shows(command.finish_ts) && !is_damaged
        };
        self.commands.values().filter(waits)
    }

    pub(super) fn waiting_commands(
        &self,
        engine: &EngineId,
        limit: u32,
        at: &Moment,
    ) -> Vec<Command> {
        let held = |run| self.runs.get(&run).is_some_and(|entry| entry.held_by(engine, at));
        let mut found: Vec<_> = self.waiting(at).filter(|command| held(command.run)).collect();
        found.sort_by_key(|command| (command.at, command.id));
        found.into_iter().take(page_limit(limit) as usize).cloned().collect()
    }

    pub(super) fn sweep(&mut self, limit: u32, at: &Moment) -> u64 {
        let mut left = page_limit(limit);
        let mut expired = |finish_ts: Option<Timestamp>| {
            let remove = left > 0 && !at.shows(finish_ts);
            left -= u32::from(remove);
            remove
        };
        sweep_each(&mut self.records, &mut expired);
        sweep_each(&mut self.journals, &mut expired);
        sweep_each(&mut self.logs, &mut expired);
        sweep_each(&mut self.events, &mut expired);
        self.commands.retain(|_, command| !expired(command.finish_ts));
        self.runs.retain(|_, entry| !expired(entry.run.progress.finish_ts));
        let runs = &self.runs;
        self.troubles.retain(|run, _| runs.contains_key(run));
        u64::from(page_limit(limit) - left)
    }
}

/// All documents of one kind that belong to a run.
pub(super) fn of_run<K, D: Finishes>(
    documents: &mut PerRun<K, D>,
    run: RunId,
) -> impl Iterator<Item = &mut dyn Finishes> {
    let documents = documents.get_mut(&run).into_iter().flat_map(BTreeMap::values_mut);
    documents.map(|document| document as &mut dyn Finishes)
}

fn sweep_each<K: Ord, D: Finishes>(
    documents: &mut PerRun<K, D>,
    expired: &mut impl FnMut(Option<Timestamp>) -> bool,
) {
    for documents in documents.values_mut() {
        documents.retain(|_, document| !expired(document.finish_ts()));
    }
    documents.retain(|_, documents| !documents.is_empty());
}
