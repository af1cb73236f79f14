//! Documents of the store that are not part of a run, and the parameters and results of its calls.

use semver::Version;
use serde::{Deserialize, Serialize};

use super::contract::MAX_QUEUED;
use super::error::StoreError;
use replibook_core::playbook::access::Sight;
use replibook_core::playbook::policy::{MAX_SIGNATURE_BYTES, MAX_SIGNATURES};
use replibook_core::playbook::{Playbook, PluginInfo, Provenance};
use replibook_core::run::{
    Digest, EngineId, LogLine, Run, RunEvent, RunId, RunStatus, Timestamp, Trouble, TroubleCode,
};

/// A playbook as it is stored: both as it was written and as it was resolved.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoredPlaybook {
    /// The text of the document, as it was applied: YAML or JSON.
    pub text: String,
    /// The resolved playbook, with every plugin pinned.
    pub playbook: Playbook,
    /// Digest of the content (the document without comments and layout, and the pins). Two texts with the same
    /// content are the same playbook.
    pub content: Digest,
    /// When this version was first applied.
    pub applied_at: Timestamp,
}

/// A cluster as it is stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cluster {
    /// The text of the document, as it was applied: YAML or JSON.
    pub text: String,
    /// What the document says.
    pub spec: replibook_core::playbook::Cluster,
    /// When it was last changed.
    pub applied_at: Timestamp,
}

/// A document that is applied.
#[derive(Clone, Debug, PartialEq)]
pub enum Object {
    /// One version of a playbook.
    Playbook(StoredPlaybook),
    /// A Cluster object.
    Cluster(Cluster),
}

/// A plugin as it is stored, without its bytes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plugin {
    /// The plugin's description of itself, and its digest.
    pub info: PluginInfo,
    /// When the plugin was first put.
    pub added_at: Timestamp,
    /// From when on its retention counts: when it was last put, or when a sweep found that nothing pins it. None while
    /// something pins it, and until a sweep has found that nothing does any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unpinned_at: Option<Timestamp>,
    /// Where its bytes came from: one entry for each source. Empty if that is not known, as for those that early
    /// versions put.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub provenance: Vec<Provenance>,
    /// Its signatures, at most [`MAX_SIGNATURES`], in the order in which they were put.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub signatures: Vec<PluginSignature>,
}

/// A signature of a plugin, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginSignature {
    /// The text of the signature, in the form of minisign.
    pub text: String,
    /// Identifier of the key that made it, as the signature says itself.
    pub key_id: String,
    /// The comment that is signed too.
    pub trusted_comment: String,
    /// The public key with which the signature was checked, over the plugin's bytes. `None` as long as nobody had that
    /// key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checked: Option<String>,
}

/// The most sources that are kept of a plugin: the first, and those that were used last.
pub const MAX_PROVENANCE: usize = 16;

impl Plugin {
    /// A plugin that nothing pins yet, without signatures, of which nobody said where it came from.
    pub fn new(info: PluginInfo, added_at: Timestamp) -> Self {
        let unpinned_at = Some(added_at);
        Self { info, added_at, unpinned_at, provenance: Vec::new(), signatures: Vec::new() }
    }

    /// Begins the retention anew at this moment, if it has begun. Returns whether anything changed.
    pub fn renew(&mut self, at: Timestamp) -> bool {
        let renews = self.unpinned_at.is_some_and(|since| since < at);
        if renews {
            self.unpinned_at = Some(at);
        }
        renews
    }

    /// Adds what is not known yet about where the plugin came from. A source that is known is kept as it was said
    /// last. Returns whether anything changed.
    pub fn learn(&mut self, said: &[Provenance]) -> bool {
        let mut changed = false;
        for new in said {
            match self.provenance.iter_mut().find(|known| known.source == new.source) {
                Some(known) if known.at >= new.at => {}
                Some(known) => {
                    known.clone_from(new);
                    changed = true;
                }
                None => {
                    self.provenance.push(new.clone());
                    changed = true;
                }
            }
        }
        while self.provenance.len() > MAX_PROVENANCE {
            let later = self.provenance.iter().enumerate().skip(1);
            let oldest = later.min_by_key(|(_, known)| known.at).map_or(1, |(at, _)| at);
            self.provenance.remove(oldest);
        }
        changed
    }

    /// Adds signatures, or what is known of them by now. One with the same text is the same one, and stays checked. A
    /// key signs a plugin once: its newer signature takes the place of an older one. Where there is no room, the
    /// oldest that was not checked goes, since it counts for nothing. Returns whether anything changed.
    ///
    /// # Errors
    /// [`StoreError::TooLarge`] past [`MAX_SIGNATURES`] or [`MAX_SIGNATURE_BYTES`] of those that were checked.
    pub fn sign(&mut self, signatures: &[PluginSignature]) -> Result<bool, StoreError> {
        let mut signed = self.signatures.clone();
        for new in signatures {
            let is_known = signed.iter().any(|kept| kept.text == new.text);
            if is_known && new.checked.is_none() || signed.contains(new) {
                continue;
            }
            signed.retain(|kept| {
                kept.text != new.text && (kept.checked.is_none() || kept.checked != new.checked)
            });
            signed.push(new.clone());
            while let Some(error) = no_room(&signed) {
                let before = signed.len() - 1;
                let unchecked = signed[..before].iter().position(|kept| kept.checked.is_none());
                signed.remove(unchecked.ok_or(error)?);
            }
        }
        let changed = signed != self.signatures;
        self.signatures = signed;
        Ok(changed)
    }
}

/// Why one plugin can't have these signatures.
fn no_room(signed: &[PluginSignature]) -> Option<StoreError> {
    let bytes: usize = signed.iter().map(|one| one.text.len()).sum();
    let too_large = |found, unit, limit| Some(StoreError::TooLarge { found, unit, limit });
    match (signed.len(), bytes) {
        (found, _) if found > MAX_SIGNATURES => too_large(found, "signatures", MAX_SIGNATURES),
        (_, found) if found > MAX_SIGNATURE_BYTES => {
            too_large(found, "bytes of signatures", MAX_SIGNATURE_BYTES)
        }
        _ => None,
    }
}

/// An engine's right to commit to a run, until the lease expires or another engine takes the run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The run to which the engine may commit.
    pub run: RunId,
    /// Grows each time the run changes hands; a commit with an older epoch is fenced.
    pub epoch: u64,
    /// When the lease expires unless it is renewed, by the clock that the store was given. That is never later
    /// than by the clock that the store decides with.
    pub until: Timestamp,
    /// The cluster of the run. Only a claim says it, and only if it can be read.
    pub cluster: Option<String>,
    /// The engine from which the claim took the run, if its lease ran out: it is gone, or could not reach the
    /// store.
    pub from: Option<EngineId>,
}

/// The result of a sweep over plugins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SweptPlugins {
    /// How many plugins were looked at.
    pub looked_at: u32,
    /// Those that were removed.
    pub removed: Vec<Digest>,
}

/// A run to create.
#[derive(Clone, Debug)]
pub struct NewRun {
    /// The run as it is to be stored first.
    pub run: Run,
    /// Its first events. They are written in the same transaction.
    pub events: Vec<RunEvent>,
    /// Identifies the request, so that it can be repeated. If this is None, only the run's identifier does.
    pub idempotency_key: Option<String>,
    /// Digest of the request, to tell a repetition from another request with the same key.
    pub request: Digest,
}

/// The result of creating a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Created {
    /// The run was created.
    New(RunId),
    /// An earlier request with this key or identifier had created the run.
    Before(RunId),
}

/// Which runs an engine wants to claim.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claim {
    /// The most runs to claim.
    pub limit: u32,
    /// The clusters of which no run is wanted that has not started, that is, whose status is PENDING.
    pub full: Vec<String>,
    /// Whether only woken runs are wanted: those for which a command has come while no engine held them.
    pub only_woken: bool,
    /// Runs that are not wanted: the engine lacks what they need.
    pub passed: Vec<RunId>,
}

/// Which engine holds a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The run that is held.
    pub run: RunId,
    /// The engine that has an unexpired lease on it.
    pub engine: EngineId,
    /// When the engine took the run.
    pub since: Timestamp,
}

/// The answer to a run that asks for its cluster's lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Locked {
    /// The run holds the lock, and keeps it until it gets its `finish_ts`.
    Held,
    /// Another run comes first.
    Waits {
        /// The run that holds the lock or, if none does, the oldest run that is queued.
        run: RunId,
        /// How many other runs are queued before this one. [`MAX_QUEUED`] means that many or more.
        queued: u32,
    },
}

/// Whether a cluster gets guards that count agents, and had none, as far as is known.
pub(super) fn gets_guards(known: Option<&Cluster>, new: &Cluster) -> bool {
    let counts = |cluster: &Cluster| !cluster.spec.guards.guards.is_empty();
    counts(new) && !known.is_some_and(counts)
}

/// How many runs that go on a cluster [`locked_with_guards`] has to know.
pub(super) const GOING_KNOWN: u32 = 3;

/// The run that gets the lock of a cluster together with its first guards: the only run that goes on it, if that went
/// without the lock. `going` are the runs that [hold their cluster](RunStatus::holds_cluster) by their status.
///
/// # Errors
/// Several runs go on the cluster, or have its lock. Guards count who is out in one run, so none of them could keep them.
pub(super) fn locked_with_guards(
    cluster: &str,
    holder: Option<RunId>,
    going: &[RunId],
) -> Result<Option<RunId>, StoreError> {
    let mut others = going.iter().copied().filter(|run| Some(*run) != holder);
    match (holder, others.next(), others.next()) {
        (_, None, _) => Ok(None),
        (None, Some(run), None) => Ok(Some(run)),
        (_, Some(run), _) => Err(StoreError::ClusterInUse { cluster: cluster.to_owned(), run }),
    }
}

/// The statuses of runs that go on, and so have the lock of their cluster if they need it. A run that is finishing
/// is not among them, because it may never have started.
pub(super) fn going_statuses() -> impl Iterator<Item = RunStatus> {
    let all = RunStatus::ALL.into_iter();
    all.filter(|status| status.holds_cluster() && *status != RunStatus::Finishing)
}

impl Locked {
    /// The answer to a run that does not hold the lock. `holder` has the lock, if any run does; `before` has the
    /// runs that are queued before this one, oldest first. [`MAX_QUEUED`] + 2 of these are enough.
    pub(super) fn behind(holder: Option<RunId>, before: &[RunId]) -> Self {
        // The holder may not have started, and so may be queued as well.
        let mut before = before.iter().copied().filter(|run| Some(*run) != holder);
        let Some(run) = holder.or_else(|| before.next()) else { return Self::Held };
        let queued = u32::try_from(before.count()).unwrap_or(MAX_QUEUED).min(MAX_QUEUED);
        Self::Waits { run, queued }
    }
}

/// Which runs come first on a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queue {
    /// Name of the cluster.
    pub cluster: String,
    /// The unfinished run that holds the lock, if any.
    pub holder: Option<RunId>,
    /// The runs that are queued, oldest first: as many as have to be known, at most [`MAX_QUEUED`] + 2.
    pub queued: Vec<RunId>,
}

impl Queue {
    /// The answer to a queued run. None if it is no longer queued.
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

/// How many runs of a queue have to be known: those that are counted, the holder, and the one that is named.
pub(super) const QUEUED_KNOWN: u32 = MAX_QUEUED + 2;

/// How far a run is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The run in question.
    pub run: RunId,
    /// The run's status. None if it can't be read.
    pub status: Option<RunStatus>,
    /// The sequence of the event that comes next. None if it can't be read.
    pub next_event: Option<u64>,
}

/// Why an engine can't go on with a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    /// The kind of trouble.
    pub code: TroubleCode,
    /// What happened, as human-readable text.
    pub message: String,
}

/// A request to end a run that can't go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Abandon {
    /// Who asks, as they named themselves.
    pub actor: Option<String>,
    /// Why, in their own words.
    pub why: String,
    /// Whether to give up the run even if it is not in trouble.
    pub force: bool,
}

/// The result of a request to abandon a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Abandonment {
    /// The run is given up, by this request or an earlier one.
    Begun(Trouble),
    /// The run is not in trouble, and `force` was not set. Nothing was done.
    NotTroubled,
    /// The run had already ended by itself.
    Finished,
    /// There is no such run.
    Unknown,
}

/// How far the end of an abandoned run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// There is more to do: call again.
    Going,
    /// Everything is done except for the run itself, which must not end before this moment.
    Waits(Timestamp),
    /// The run has ended, or was never abandoned.
    Ended,
}

/// What became of a document that was put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    /// The document is new.
    Created,
    /// The document replaced another.
    Updated,
    /// The same document was stored already.
    Unchanged,
}

/// Which part of a list to read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Only entries after this key. None: from the beginning.
    pub after: Option<String>,
    /// The most entries to read, and never more than [`MAX_PAGE`](super::MAX_PAGE).
    pub limit: u32,
}

/// Which runs to list. The default is all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunFilter {
    /// Only runs on this cluster.
    pub cluster: Option<String>,
    /// Only runs with one of these statuses. Empty: with any.
    pub statuses: Vec<RunStatus>,
    /// Only runs of the playbook with this name.
    pub playbook: Option<String>,
    /// Only runs of this version of the playbook. Ignored without `playbook`.
    pub version: Option<Version>,
    /// Only this run and newer ones. Identifiers begin with the moment of creation.
    pub from: Option<RunId>,
    /// Only runs that one of these has, as far as that is known of a run whose documents are damaged. `None`: all.
    pub seen: Option<Vec<Sight>>,
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
