//! Documents of the store that are not part of a run, and the shapes of its questions.

use semver::Version;
use serde::{Deserialize, Serialize};

use super::contract::MAX_QUEUED;
use replibook_core::playbook::{Playbook, PluginInfo};
use replibook_core::run::{
    Digest, EngineId, LogLine, Run, RunEvent, RunId, RunStatus, Timestamp, Trouble, TroubleCode,
};

/// A playbook as it is kept: as it was written, and as it was resolved.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoredPlaybook {
    /// The document's text, as it was applied.
    pub text: String,
    /// The resolved playbook, with every plugin pinned.
    pub playbook: Playbook,
    /// Digest of the content (document without comments and layout, and pins): two texts of one
    /// content are the same playbook.
    pub content: Digest,
    /// When it was first applied.
    pub applied_at: Timestamp,
}

/// A cluster as it is kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cluster {
    /// The document's text, as it was applied.
    pub text: String,
    /// What it says.
    pub spec: replibook_core::playbook::Cluster,
    /// When it was last changed.
    pub applied_at: Timestamp,
}

/// Something that is applied.
#[derive(Clone, Debug, PartialEq)]
pub enum Object {
    /// A playbook.
    Playbook(StoredPlaybook),
    /// A cluster.
    Cluster(Cluster),
}

/// A plugin as it is kept, without its bytes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plugin {
    /// What it says about itself.
    pub info: PluginInfo,
    /// When it was first put.
    pub added_at: Timestamp,
}

/// A run to create.
#[derive(Clone, Debug)]
pub struct NewRun {
    /// The run.
    pub run: Run,
    /// Its first events.
    pub events: Vec<RunEvent>,
    /// Names the request, so that it can be repeated.
    pub idempotency_key: Option<String>,
    /// Digest of what was asked, to tell a repeated request from another one with the same key.
    pub request: Digest,
}

/// What became of a run to create.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Created {
    /// It was created.
    New(RunId),
    /// It had been created by an earlier request with this key.
    Before(RunId),
}

/// Which runs an engine wants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claim {
    /// At most so many.
    pub limit: u32,
    /// Clusters of which none is wanted that has not started: whose status is PENDING.
    pub full: Vec<String>,
    /// Whether only those are wanted that were woken: for which a command has come while nobody held them.
    pub only_woken: bool,
}

/// Who holds a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The run.
    pub run: RunId,
    /// The engine that has an unexpired lease on it.
    pub engine: EngineId,
    /// When it took the run.
    pub since: Timestamp,
}

/// What became of the wish for a cluster's lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Locked {
    /// The run holds the lock, until it has its `finish_ts`.
    Held,
    /// Another run comes first.
    Waits {
        /// The run that holds the lock; when none does, the oldest one that is queued.
        run: RunId,
        /// How many other runs are queued before this one; [`MAX_QUEUED`] stands
        /// for so many or more.
        queued: u32,
    },
}

/// The statuses of runs that go on, and so have the lock of their cluster if they need it. One that is finishing
/// may never have started.
pub(super) fn going_statuses() -> impl Iterator<Item = RunStatus> {
    let all = RunStatus::ALL.into_iter();
    all.filter(|status| status.holds_cluster() && *status != RunStatus::Finishing)
}

impl Locked {
    /// What a run is told that does not hold the lock: `holder` does, where there is one, and these
    /// are queued before it, oldest first, of which [`MAX_QUEUED`] + 2 are enough.
    pub(super) fn behind(holder: Option<RunId>, before: &[RunId]) -> Self {
        // A run may hold the lock and not have started yet.
        let mut before = before.iter().copied().filter(|run| Some(*run) != holder);
        let Some(run) = holder.or_else(|| before.next()) else { return Self::Held };
        let queued = u32::try_from(before.count()).unwrap_or(MAX_QUEUED).min(MAX_QUEUED);
        Self::Waits { run, queued }
    }
}

/// Who comes first on a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queue {
    /// The cluster.
    pub cluster: String,
    /// The unfinished run that holds the lock.
    pub holder: Option<RunId>,
    /// The runs that are queued, oldest first: as many as have to be known, at most
    /// [`MAX_QUEUED`] + 2.
    pub queued: Vec<RunId>,
}

impl Queue {
    /// What a run that is queued is told; none if it is not queued any more.
    pub fn place_of(&self, run: RunId) -> Option<Locked> {
        if self.holder == Some(run) {
            return Some(Locked::Held);
        }
        let place = self.queued.iter().position(|queued| *queued == run);
        let all_known = self.queued.len() < QUEUED_KNOWN as usize;
        match place {
            Some(place) => {
                self.queued.get(..place).map(|before| Locked::behind(self.holder, before))
            }
            None if all_known => None,
            None => Some(Locked::behind(self.holder, &self.queued)),
        }
    }
}

/// Runs of a queue that have to be known: beside those that are counted the holder, and the one that is named.
pub(super) const QUEUED_KNOWN: u32 = MAX_QUEUED + 2;

/// How far a run is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The run.
    pub run: RunId,
    /// Its status; none if it can't be read.
    pub status: Option<RunStatus>,
    /// Sequence of the event that comes next; none if it can't be read.
    pub next_event: Option<u64>,
}

/// Why an engine can't go on with a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    /// The kind of trouble.
    pub code: TroubleCode,
    /// What happened, for people.
    pub message: String,
}

/// Asks for the end of a run that can't go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Abandon {
    /// Who asks, as they said.
    pub actor: Option<String>,
    /// Why, as they said.
    pub why: String,
    /// Whether to give the run up even if it is in no trouble.
    pub force: bool,
}

/// What became of a request to abandon a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Abandonment {
    /// The run is given up, by this call or an earlier one.
    Begun(Trouble),
    /// The run is in no trouble, and was to be given up only if it is. Nothing was done.
    NotTroubled,
    /// The run had already finished by itself.
    Finished,
    /// There is no such run.
    Unknown,
}

/// How far the ending of an abandoned run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// There is more to do.
    Going,
    /// Everything is done except for the run itself, which must not end before this moment.
    Waits(Timestamp),
    /// The run has ended, or it was not abandoned.
    Ended,
}

/// What became of a document that was put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    /// It is new.
    Created,
    /// It replaced another.
    Updated,
    /// It was there already.
    Unchanged,
}

/// Which part of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Only what comes after this key.
    pub after: Option<String>,
    /// At most so many, and never more than [`MAX_PAGE`](super::MAX_PAGE).
    pub limit: u32,
}

/// Which runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunFilter {
    /// Only those of this cluster.
    pub cluster: Option<String>,
    /// Only those with one of these statuses; empty: any.
    pub statuses: Vec<RunStatus>,
    /// Only those of the playbook with this name.
    pub playbook: Option<String>,
    /// Only those of this version of the playbook; without `playbook` it says nothing.
    pub version: Option<Version>,
    /// Only this run and newer ones: identifiers begin with the moment of creation.
    pub from: Option<RunId>,
}

/// A place in the log of a run.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LogCursor {
    /// [`LogLine::event`](replibook_core::run::LogLine::event)
    pub event: u64,
    /// The agent's identifier; empty for the strategy.
    pub agent: String,
    /// [`LogLine::line`](replibook_core::run::LogLine::line)
    pub line: u32,
}

impl LogCursor {
    /// The place of `line`.
    pub fn of(line: &LogLine) -> Self {
        let agent = line.agent.as_ref().map_or_else(String::new, |agent| agent.0.clone());
        Self { event: line.event, agent, line: line.line }
    }
}
