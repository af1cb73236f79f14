//! All documents of the store in maps, ordered by their keys like the lists of the contract.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use bytes::Bytes;
use semver::Version;

use super::damaged::Damaged;
use crate::contract::Lease;
use crate::damage::{Damage, DamagedRun, Found, Glance, KeptRun};
use crate::documents::{Cluster, LogCursor, Plugin, StoredPlaybook};
use crate::engines::Engine;
use crate::finish::Finishes;
use crate::keys::page_limit;
use crate::options::Moment;
use crate::upkeep::Round;
use replibook_core::mutant;
use replibook_core::run::{
    AgentRecord, AgentSeq, AttemptKey, Command, CommandId, Digest, EngineId, Journal, KNOWN_FORMAT,
    LogLine, Millis, Run, RunEvent, RunId, Timestamp, Trouble,
};

/// The documents of each run, by their keys within the run.
pub(super) type PerRun<K, D> = BTreeMap<RunId, BTreeMap<K, D>>;

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) playbooks: BTreeMap<(String, Version), StoredPlaybook>,
    pub(super) clusters: BTreeMap<String, Cluster>,
    pub(super) plugins: BTreeMap<Digest, (Plugin, Bytes)>,
    pub(super) runs: BTreeMap<RunId, RunEntry>,
    pub(super) records: PerRun<AgentSeq, AgentRecord>,
    pub(super) journals: PerRun<AttemptKey, Journal>,
    pub(super) logs: PerRun<LogCursor, LogLine>,
    pub(super) events: PerRun<u64, RunEvent>,
    pub(super) commands: BTreeMap<CommandId, Command>,
    /// Which run last got the lock of each cluster.
    pub(super) locks: BTreeMap<String, RunId>,
    /// What is known of the engines, by identifier.
    pub(super) engines: BTreeMap<String, Engine>,
    /// Why runs can't go on; includes runs that are being abandoned.
    pub(super) troubles: BTreeMap<RunId, Trouble>,
    /// The retention that counts for everyone who uses the store.
    pub(super) retention: Option<Millis>,
    /// The same for plugins that nothing pins.
    pub(super) plugin_retention: Option<Millis>,
    /// Where the next sweep over plugins goes on.
    pub(super) round: Round,
    /// Documents that a test has damaged. Writing such a document anew mends it.
    pub(super) damaged: BTreeSet<Damaged>,
}

/// A run, with what only the store knows of it.
#[derive(Clone, Debug)]
pub(super) struct RunEntry {
    pub(super) run: Run,
    pub(super) idempotency_key: Option<String>,
    pub(super) request: Digest,
    pub(super) engine: Option<EngineId>,
    pub(super) epoch: u64,
    pub(super) until: Timestamp,
    /// When the present lease was taken.
    pub(super) since: Timestamp,
    pub(super) parking: Parking,
}

/// Whether a run without an engine waits for a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Parking {
    No,
    Parked,
    /// A command has come.
    Woken,
}

impl RunEntry {
    pub(super) fn finished(&self) -> bool {
        self.run.progress.finish_ts.is_some()
    }

    /// Whether the run is unfinished, nobody has its lease, it does not rest, and this version of the program can
    /// drive it.
    pub(super) fn is_unclaimed(&self, at: &Moment) -> bool {
        !self.finished() && self.until <= at.now && self.run.progress.needs <= KNOWN_FORMAT
    }

    /// Wakes a run for which a command has come, if it is parked or its lease has run out: even engines that have
    /// no place for it may take it up then. Returns whether that was done.
    pub(super) fn wake(&mut self, at: &Moment) -> bool {
        let is_asleep = match self.parking {
            Parking::No => self.until <= at.now && !mutant!(LeftAsleep),
            Parking::Parked => !mutant!(ParkedForGood),
            Parking::Woken => false,
        };
        if !is_asleep || self.finished() {
            return false;
        }
        if self.parking == Parking::Parked {
            self.until = Timestamp::default();
        }
        self.parking = Parking::Woken;
        true
    }

    /// The lease as its holder knows it.
    pub(super) fn lease(&self) -> Lease {
        let (run, epoch, until) = (self.run.id(), self.epoch, self.until);
        Lease { run, epoch, until, cluster: None, from: None }
    }

    /// Whether `engine` holds the run: it has an unexpired lease on it, and the run is unfinished.
    pub(super) fn held_by(&self, engine: &EngineId, at: &Moment) -> bool {
        self.engine.as_ref() == Some(engine) && self.until > at.now && !self.finished()
    }
}

impl State {
    /// A run, if it has not expired.
    pub(super) fn live(&self, id: RunId, at: &Moment) -> Option<&RunEntry> {
        self.runs.get(&id).filter(|entry| at.shows(entry.run.progress.finish_ts))
    }

    /// All runs that have not expired, oldest first.
    pub(super) fn all_live<'a>(
        &'a self,
        at: &'a Moment,
    ) -> impl DoubleEndedIterator<Item = &'a RunEntry> {
        self.runs.values().filter(|entry| at.shows(entry.run.progress.finish_ts))
    }
}

/// What every damage says about itself.
pub(super) const WHY: &str = "as asked";

impl State {
    /// The document, or its damage if a test has damaged it.
    pub(super) fn intact<T: Clone>(
        &self,
        what: &str,
        place: &Damaged,
        key: String,
        document: &T,
    ) -> std::result::Result<T, Damage> {
        match self.damaged.contains(place) {
            true => Err(Damage::new(what, key, &WHY)),
            false => Ok(document.clone()),
        }
    }

    /// The run, or what is known of it if a test has damaged it.
    pub(super) fn intact_run(&self, entry: &RunEntry) -> KeptRun {
        let Run { snapshot, progress } = &entry.run;
        let id = entry.run.id();
        let is_lost = self.damaged.contains(&Damaged::Snapshot(id));
        let has_status = !self.damaged.contains(&Damaged::Status(id));
        let is_damaged = [Damaged::Progress(id), Damaged::ClusterOf(id)]
            .iter()
            .any(|place| self.damaged.contains(place));
        if !is_lost && !is_damaged && has_status {
            return Ok(entry.run.clone());
        }
        let glance = Glance {
            id,
            cluster: Some(snapshot.cluster.clone()),
            status: has_status.then_some(progress.status),
            finish_ts: progress.finish_ts,
            snapshot: (!is_lost).then(|| snapshot.clone()),
        };
        Err(Box::new(DamagedRun { glance, damage: Damage::new("a run", id.to_string(), &WHY) }))
    }
}

/// A kind of record of a run that is read in pages.
pub(super) trait Paged: Clone + Finishes {
    /// The key that tells the records of a run apart.
    type Key: Ord + Clone;

    /// What messages call such a record.
    const WHAT: &'static str;

    /// How damage to such a record is noted.
    fn place(run: RunId, key: Self::Key) -> Damaged;

    /// The key as text, in the form that all back ends use.
    fn words(key: &Self::Key) -> String;
}

impl Paged for AgentRecord {
    type Key = AgentSeq;
    const WHAT: &'static str = "an agent record";

    fn place(run: RunId, key: AgentSeq) -> Damaged {
        Damaged::Record(run, key)
    }

    fn words(key: &AgentSeq) -> String {
        key.0.to_string()
    }
}

impl Paged for Journal {
    type Key = AttemptKey;
    const WHAT: &'static str = "a journal";

    fn place(run: RunId, key: AttemptKey) -> Damaged {
        Damaged::Journal(run, key)
    }

    fn words(key: &AttemptKey) -> String {
        format!("{}.{}.{}.{}", key.agent.0, key.stage, key.step, key.attempt)
    }
}

impl Paged for LogLine {
    type Key = LogCursor;
    const WHAT: &'static str = "a log line";

    fn place(run: RunId, key: LogCursor) -> Damaged {
        Damaged::Line(run, key)
    }

    fn words(key: &LogCursor) -> String {
        format!("{}.{}.{}", key.event, key.line, key.agent)
    }
}

impl Paged for RunEvent {
    type Key = u64;
    const WHAT: &'static str = "an event";

    fn place(run: RunId, key: u64) -> Damaged {
        Damaged::Event(run, key)
    }

    fn words(key: &u64) -> String {
        key.to_string()
    }
}

/// The first `limit` unexpired documents of a run that come after `after` and fit.
pub(super) fn page<D: Paged>(
    documents: &PerRun<D::Key, D>,
    damaged: &BTreeSet<Damaged>,
    run: RunId,
    after: Option<&D::Key>,
    limit: u32,
    at: &Moment,
    fits: impl Fn(&D) -> bool,
) -> Found<D> {
    let Some(documents) = documents.get(&run) else { return Vec::new() };
    let after = after.map_or(Bound::Unbounded, Bound::Excluded);
    let found = documents.range((after, Bound::Unbounded));
    let found = found.filter(|(_, document)| at.shows(document.finish_ts()) && fits(document));
    let read = |(key, document): (&D::Key, &D)| match damaged.contains(&D::place(run, key.clone()))
    {
        true => Err(Damage::new(D::WHAT, D::words(key), &WHY)),
        false => Ok(document.clone()),
    };
    found.take(page_limit(limit) as usize).map(read).collect()
}
