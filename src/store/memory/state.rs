//! All documents, in maps that are ordered by their keys.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;
use semver::Version;

use crate::run::{
    AgentRecord, AgentSeq, AttemptKey, Command, CommandId, Digest, EngineId, Journal, LogLine, Run,
    RunEvent, RunId, Timestamp,
};
use crate::store::documents::{Cluster, LogCursor, Plugin, StoredPlaybook};
use crate::store::finish::Finishes;
use crate::store::keys::page_limit;
use crate::store::options::Moment;

/// The documents of each run by their keys in it.
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
    /// Which run got the lock of a cluster last.
    pub(super) locks: BTreeMap<String, RunId>,
}

/// A run with what the store itself knows of it.
#[derive(Clone, Debug)]
pub(super) struct RunEntry {
    pub(super) run: Run,
    pub(super) idempotency_key: Option<String>,
    pub(super) request: Digest,
    pub(super) engine: Option<EngineId>,
    pub(super) epoch: u64,
    pub(super) until: Timestamp,
}

impl RunEntry {
    pub(super) fn finished(&self) -> bool {
        self.run.progress.finish_ts.is_some()
    }

    /// Whether `engine` holds the run: an unexpired lease on an unfinished run.
    pub(super) fn held_by(&self, engine: &EngineId, at: &Moment) -> bool {
        self.engine.as_ref() == Some(engine) && self.until > at.now && !self.finished()
    }
}

impl State {
    /// A run that has not expired.
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

/// The first `limit` documents of a run that have not expired, fit, and come after a key.
pub(super) fn page<K: Ord, D: Clone + Finishes>(
    documents: &PerRun<K, D>,
    run: RunId,
    after: Option<&K>,
    limit: u32,
    at: &Moment,
    fits: impl Fn(&D) -> bool,
) -> Vec<D> {
    let Some(documents) = documents.get(&run) else { return Vec::new() };
    let after = after.map_or(Bound::Unbounded, Bound::Excluded);
    let found = documents.range((after, Bound::Unbounded)).map(|(_, document)| document);
    let found = found.filter(|document| at.shows(document.finish_ts()) && fits(document));
    found.take(page_limit(limit) as usize).cloned().collect()
}
