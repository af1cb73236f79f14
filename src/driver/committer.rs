//! From transitions to commits: as many transitions in one commit as fit, tried again until the store answers.

use std::collections::{BTreeMap, HashSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::lease::LeaseGuard;
use crate::clock::Clock;
use crate::run::{AgentRecord, AgentSeq, AttemptKey, Journal, Progress, Transition, Writes};
use crate::store::{MAX_COMMIT_DOCUMENTS, Store, StoreError};
use replibook_base::crash::{self, Point};
use replibook_core::mutant;

/// How long to wait after the first failed try.
const BACKOFF_START: Duration = Duration::from_millis(50);

/// The longest wait between two tries, so that the end of an outage is noticed within this time.
const BACKOFF_MAX: Duration = Duration::from_secs(5);

/// Commits the writes of one run.
pub(super) struct Committer {
    pub(super) store: Arc<dyn Store>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) lease: LeaseGuard,
    /// The progress of the run as it is stored, as far as that is known.
    stored: Mutex<Option<Progress>>,
}

impl Committer {
    pub(super) fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>, lease: LeaseGuard) -> Self {
        Self { store, clock, lease, stored: Mutex::default() }
    }

    /// What the store has of the run, which was just loaded from it.
    pub(super) fn knows(&self, progress: &Progress) {
        *self.stored() = Some(progress.clone());
    }

    /// Commits the writes of `transitions` in order, in as few commits as the bounds allow. What inputs of one commit change
    /// and change back is not written once more.
    ///
    /// # Errors
    /// [`StoreError`] that another try would not mend; the run must be given up then. A store that does not answer
    /// is no error: the commit is tried until it does, or until the lease is lost.
    ///
    /// Returns whether there was anything to commit.
    pub(super) async fn commit(&self, transitions: &mut [Transition]) -> Result<bool, StoreError> {
        let mut group = Group::default();
        let mut anything = false;
        for transition in transitions {
            let writes = std::mem::take(&mut transition.writes);
            if writes.is_empty() {
                continue;
            }
            anything = true;
            // The limits of the core ensure that a single transition fits.
            if !group.writes.is_empty() && !group.has_room_for(&writes) {
                self.commit_group(std::mem::take(&mut group)).await?;
            }
            group.add(writes);
        }
        if !group.writes.is_empty() {
            self.commit_group(group).await?;
        }
        Ok(anything)
    }

    async fn commit_group(&self, group: Group) -> Result<(), StoreError> {
        in_parts(group.writes, |writes| async move { self.write(writes).await }).await
    }

    async fn write(&self, writes: Writes) -> Result<(), StoreError> {
        if changes_nothing(&writes, self.stored().as_ref()) {
            return Ok(());
        }
        let (run, epoch) = (self.lease.run(), self.lease.epoch());
        if mutant!(TornCommit) {
            let part = Writes { events: Vec::new(), ..writes.clone() };
            self.until_answered(|| self.store.commit(run, epoch, &part)).await?;
        }
        crash::pass(Point::BeforeCommit);
        self.until_answered(|| self.store.commit(run, epoch, &writes)).await?;
        crash::pass(Point::AfterCommit);
        *self.stored() = writes.progress;
        Ok(())
    }

    fn stored(&self) -> MutexGuard<'_, Option<Progress>> {
        self.stored.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls the store until it answers. Once the lease is lost, returns the last error.
    pub(super) async fn until_answered<T, F, C>(&self, call: C) -> Result<T, StoreError>
    where
        C: Fn() -> F,
        F: Future<Output = Result<T, StoreError>>,
    {
        let mut wait = BACKOFF_START;
        loop {
            match call().await {
                Err(error) if error.retryable() && !self.lease.is_lost() => {
                    tracing::warn!(run = %self.lease.run(), %error, "store does not answer");
                    // Runs that wait for the same store must not all come back at once.
                    self.clock.sleep(self.part_of(wait)).await;
                    wait = (wait * 2).min(BACKOFF_MAX);
                }
                other => return other,
            }
        }
    }

    /// Between half of `wait` and all of it. It differs for each lease, but is the same when the same history is
    /// repeated.
    fn part_of(&self, wait: Duration) -> Duration {
        let mut hasher = DefaultHasher::new();
        (self.lease.run(), self.lease.epoch(), wait).hash(&mut hasher);
        let part = u32::try_from(hasher.finish() % 1_000).unwrap_or_default();
        wait / 2 + wait * part / 2_000
    }
}

/// Whether the writes are nothing but the progress that is stored already.
fn changes_nothing(writes: &Writes, stored: Option<&Progress>) -> bool {
    writes.documents() == 0 && writes.progress.as_ref() == stored
}

/// Commits a group in order. If its writes together are too many bytes, commits it in halves. Each write alone
/// fits, by the limits of the core.
async fn in_parts<F>(group: Vec<Writes>, commit: impl Fn(Writes) -> F) -> Result<(), StoreError>
where
    F: Future<Output = Result<(), StoreError>>,
{
    let mut parts = vec![group];
    while let Some(mut part) = parts.pop() {
        if part.len() <= 1 {
            for only in part {
                commit(only).await?;
            }
            continue;
        }
        match commit(merge(&part)).await {
            Err(StoreError::TooLarge { .. }) => {
                let later = part.split_off(part.len() / 2);
                parts.extend([later, part]);
            }
            other => other?,
        }
    }
    Ok(())
}

/// Writes that go into one commit, and how many documents they have.
#[derive(Default)]
struct Group {
    writes: Vec<Writes>,
    /// Records and journals are written whole: each counts once, however many writes of the group have it.
    records: HashSet<AgentSeq>,
    journals: HashSet<AttemptKey>,
    /// The number of all other documents.
    documents: usize,
}

impl Group {
    fn has_room_for(&self, writes: &Writes) -> bool {
        let new = |record: &&AgentRecord| !self.records.contains(&record.seq);
        let records = writes.records.iter().filter(new).count();
        let new = |journal: &&Journal| !self.journals.contains(&journal.key);
        let journals = writes.journals.iter().filter(new).count();
        let held = self.records.len() + self.journals.len() + self.documents;
        held + records + journals + others(writes) <= MAX_COMMIT_DOCUMENTS
    }

    fn add(&mut self, writes: Writes) {
        self.records.extend(writes.records.iter().map(|record| record.seq));
        self.journals.extend(writes.journals.iter().map(|journal| journal.key));
        self.documents += others(&writes);
        self.writes.push(writes);
    }
}

fn others(writes: &Writes) -> usize {
    writes.logs.len() + writes.events.len() + writes.commands.len()
}

/// Merges several writes into one: the last version of each document, and all events and lines.
fn merge(group: &[Writes]) -> Writes {
    let mut merged = Writes::default();
    let mut records = BTreeMap::new();
    let mut journals = BTreeMap::new();
    for writes in group {
        merged.progress.clone_from(&writes.progress);
        records.extend(writes.records.iter().map(|record| (record.seq, record)));
        journals.extend(writes.journals.iter().map(|journal| (journal.key, journal)));
        merged.logs.extend_from_slice(&writes.logs);
        merged.events.extend_from_slice(&writes.events);
        merged.commands.extend_from_slice(&writes.commands);
    }
    merged.records = records.into_values().cloned().collect();
    merged.journals = journals.into_values().cloned().collect();
    merged
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    use crate::run::{AgentId, LogLevel, LogLine, RunId, RunStatus, Timestamp};

    fn lines(count: usize) -> Writes {
        let line = LogLine {
            run: RunId(Uuid::nil()),
            attempt: None,
            agent: None,
            source: "all".to_owned(),
            line: 1,
            event: 1,
            number: 0,
            at: Timestamp::from_millis(0),
            level: LogLevel::Info,
            message: String::new(),
            finish_ts: None,
        };
        Writes { logs: vec![line; count], ..Writes::default() }
    }

    fn records(seqs: std::ops::Range<u32>) -> Writes {
        let record = |seq| {
            AgentRecord::new(
                RunId(Uuid::nil()),
                AgentSeq(seq),
                AgentId(seq.to_string()),
                String::new(),
                0,
            )
        };
        Writes { records: seqs.map(record).collect(), ..Writes::default() }
    }

    #[tokio::test]
    async fn what_is_too_large_together_is_committed_in_few_parts_and_in_order() {
        let group = (0..16_u64).map(|event| {
            let mut writes = lines(1);
            writes.logs[0].event = event;
            writes
        });
        let committed = std::cell::RefCell::new(Vec::new());
        let commit = |writes: Writes| {
            let events: Vec<u64> = writes.logs.iter().map(|line| line.event).collect();
            let fits = events.len() <= 5;
            if fits {
                committed.borrow_mut().push(events);
            }
            let too_large = StoreError::TooLarge { found: 6, unit: "bytes", limit: 5 };
            std::future::ready(fits.then_some(()).ok_or(too_large))
        };
        in_parts(group.collect(), commit).await.unwrap();
        let committed = committed.into_inner();
        assert_eq!(committed.len(), 4);
        assert_eq!(committed.concat(), (0..16).collect::<Vec<_>>());
        let alone = in_parts(vec![lines(6)], |_| {
            std::future::ready(Err(StoreError::TooLarge { found: 6, unit: "bytes", limit: 5 }))
        });
        assert!(matches!(alone.await, Err(StoreError::TooLarge { .. })));
    }

    #[test]
    fn only_what_is_stored_already_is_not_written() {
        let stored = Progress::new(RunStatus::Running, Timestamp::from_millis(0));
        let same = Writes { progress: Some(stored.clone()), ..Writes::default() };
        assert!(changes_nothing(&same, Some(&stored)));
        assert!(!changes_nothing(&same, None), "who does not know what is stored writes");
        let other = Progress::new(RunStatus::Paused, Timestamp::from_millis(0));
        assert!(!changes_nothing(&same, Some(&other)));
        for more in [lines(1), records(0..1)] {
            let writes = Writes { progress: same.progress.clone(), ..more };
            assert!(!changes_nothing(&writes, Some(&stored)));
        }
    }

    #[test]
    fn a_group_has_as_many_documents_as_a_commit_may_and_counts_a_record_once() {
        let mut group = Group::default();
        for writes in [records(0..600), records(100..600), lines(400), records(0..600)] {
            assert!(group.has_room_for(&writes));
            group.add(writes);
        }
        assert!(!group.has_room_for(&records(600..601)), "one too many");
        assert_eq!(merge(&group.writes).documents(), MAX_COMMIT_DOCUMENTS);
    }
}
