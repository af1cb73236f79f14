//! The promise that every back end keeps. It is written for a document database with
//! transactions: documents are read and written whole, by key, and one commit is one transaction.

use async_trait::async_trait;
use bytes::Bytes;
use semver::Version;

use super::damage::{Found, KeptRun, RunPage, whole};
use super::documents::{
    Abandon, Abandonment, Claim, Cluster, Created, Ending, Failed, Head, Holder, Locked, LogCursor,
    NewRun, Object, Page, Plugin, Put, Queue, RunFilter, StoredPlaybook,
};
use super::engines::{Engine, EngineReport};
use super::error::StoreError;
use replibook_core::run::{
    AgentId, AgentRecord, AgentSeq, AgentState, Command, CommandId, Digest, EngineId, Journal,
    LogLine, OldLines, Run, RunEvent, RunId, Timestamp, Trouble, Writes,
};

/// Result of a store operation.
pub type Result<T> = std::result::Result<T, StoreError>;

/// The most documents that one commit writes besides the run, and the most that one call of
/// [`Store::stamp`] changes: it keeps a transaction well below the limits of document databases and
/// its pause unnoticeable.
pub const MAX_COMMIT_DOCUMENTS: usize = 1_000;

/// The most bytes that one commit writes, for the same reason: those of its documents besides the
/// run, as JSON. The largest of them is not counted, since it can't be split.
pub const MAX_COMMIT_BYTES: usize = 4 * 1024 * 1024;

/// The most documents in one page of any read, whatever is asked for.
pub const MAX_PAGE: u32 = 1_000;

/// The most documents that [`Store::put_all`] keeps at once: the files of one person, in one transaction.
pub const MAX_PUT: usize = 100;

/// The most runs that [`Locked::Waits`] counts: whoever waits behind a hundred others does not need
/// to know the number, and counting them costs each of those that wait.
pub const MAX_QUEUED: u32 = 100;

/// An engine's right to commit to a run, until it expires or another engine takes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The run.
    pub run: RunId,
    /// Grows each time the run changes hands; a commit with an older epoch is fenced.
    pub epoch: u64,
    /// When it expires, unless it is renewed: by the clock that the store was given, and not later
    /// than by the clock that the store decides with.
    pub until: Timestamp,
    /// The cluster of the run: of a claim, where it can be read.
    pub cluster: Option<String>,
    /// The engine whose lease ran out, if the claim took the run from one: it is gone, or the store was for it.
    pub from: Option<EngineId>,
}

/// A primary store.
///
/// # Guarantees
/// - What a call returned as written is durable, and every later read sees it.
/// - A [`commit`](Self::commit) is atomic, and is refused as [`StoreError::Fenced`] when the lease
///   is not the run's present one. It counts documents, not states: whether the transition makes
///   sense is the core's matter.
/// - A document whose `finish_ts` is longer ago than the retention is never returned, even before
///   it was removed; it is as if it were not there. Time is the store's own.
/// - An engine *holds* a run while it has an unexpired lease on it and the run is unfinished (has no
///   `finish_ts`).
/// - At most one run *holds the lock* of a cluster: from the answer that gave it until the run's
///   `finish_ts`, even while no engine holds the run, or while it is in trouble. Nothing else ends it.
/// - A run is *queued* while its status is PENDING, unless its playbook allows others beside it
///   ([`Snapshot::locks_cluster`](replibook_core::run::Snapshot::locks_cluster)). One that waits for approval is
///   not queued yet; once approved, it has its place by its creation, as all others.
/// - Pages are full as long as there is more, and never larger than [`MAX_PAGE`].
/// - A document that is there but can't be read is a [`Damage`](super::Damage). A list has the damage at the
///   document's place among those that can be read. A call that asks for this document alone, or for all of
///   them to be readable, fails with [`StoreError::Damaged`]. Nothing else fails because of it.
/// - Nothing but what is documented here shows of how a back end keeps things.
///
/// # Errors
/// Every call may fail with [`StoreError::Unavailable`], which is worth trying again; it says
/// nothing about whether a write took effect, so every write here is safe to repeat.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Name of the back end, for people.
    fn name(&self) -> &'static str;

    /// The present moment by the clock that the store decides with: what that clock said last, and what has
    /// passed here since. It never goes back while the process lives. Time in runs is this one, so that it is
    /// the same for all engines, whatever their own clocks say; [`Skew`](super::Skew) is how far these are off.
    fn time(&self) -> Timestamp;

    /// The same without what makes it never go back: what that clock says by now, also when it was set back, or
    /// another server is asked. Only for [`Skew`](super::Skew).
    fn wall(&self) -> Timestamp {
        self.time()
    }

    /// What was found since the store was opened of damage to the database itself, for people, without where its files
    /// are; none where nothing was found. What can be read is read all the same.
    fn broken(&self) -> Option<String> {
        None
    }

    /// Whether the store answers.
    async fn ping(&self) -> Result<()>;

    /// Keeps a playbook under its (name, version). The same content again is [`Put::Unchanged`], or
    /// [`Put::Updated`] where what was kept can't be read any more and is mended by it.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when that (name, version) already exists with different content;
    /// [`StoreError::MissingPlugin`] when a pinned digest is not in the store.
    async fn put_playbook(&self, playbook: &StoredPlaybook) -> Result<Put>;

    /// A playbook; without a version the highest one by semantic versioning.
    async fn playbook(
        &self,
        name: &str,
        version: Option<&Version>,
    ) -> Result<Option<StoredPlaybook>>;

    /// All playbooks in order of name and then of semantic version, after `page.after`
    /// (`name@version`).
    ///
    /// # Errors
    /// [`StoreError::BadCursor`] when `page.after` is no such key; so for the other lists.
    async fn read_playbooks(&self, page: &Page) -> Result<Found<StoredPlaybook>>;

    /// The same, if all of them can be read.
    async fn playbooks(&self, page: &Page) -> Result<Vec<StoredPlaybook>> {
        whole(self.read_playbooks(page).await?)
    }

    /// Removes one version of a playbook. Runs are not affected. Whether it was there.
    async fn delete_playbook(&self, name: &str, version: &Version) -> Result<bool>;

    /// Keeps a cluster under its name; the last one put counts. [`Put::Unchanged`] when text and
    /// content are those that are kept; they keep their `applied_at` then.
    async fn put_cluster(&self, cluster: &Cluster) -> Result<Put>;

    /// A cluster.
    async fn cluster(&self, name: &str) -> Result<Option<Cluster>>;

    /// All clusters in order of name, after `page.after`.
    async fn read_clusters(&self, page: &Page) -> Result<Found<Cluster>>;

    /// The same, if all of them can be read.
    async fn clusters(&self, page: &Page) -> Result<Vec<Cluster>> {
        whole(self.read_clusters(page).await?)
    }

    /// Removes a cluster. Whether it was there.
    ///
    /// # Errors
    /// [`StoreError::ClusterInUse`] while a run of the cluster is unfinished, whether it has begun or still
    /// waits. The check and the removal are one transaction, also against [`create_run`](Self::create_run).
    async fn delete_cluster(&self, name: &str) -> Result<bool>;

    /// Keeps several playbooks and clusters, all of them or none, and returns what became of each, in the
    /// same order. If two clusters have the same name, the later one counts.
    ///
    /// # Errors
    /// As for [`put_playbook`](Self::put_playbook), for the first one that can't be kept;
    /// [`StoreError::TooLarge`] past [`MAX_PUT`].
    async fn put_all(&self, objects: &[Object]) -> Result<Vec<Put>>;

    /// Keeps a plugin and its bytes under its digest. A known digest is [`Put::Unchanged`], or
    /// [`Put::Updated`] where what was kept of the plugin beside its bytes can't be read any more and is
    /// mended by it.
    async fn put_plugin(&self, plugin: &Plugin, bytes: Bytes) -> Result<Put>;

    /// What is known of a plugin.
    async fn plugin(&self, digest: &Digest) -> Result<Option<Plugin>>;

    /// The plugin with this name and version, which it gives itself; of several the one with the
    /// latest `added_at`.
    async fn plugin_by_name(&self, name: &str, version: &str) -> Result<Option<Plugin>>;

    /// The bytes of a plugin.
    async fn plugin_bytes(&self, digest: &Digest) -> Result<Option<Bytes>>;

    /// All plugins in order of digest, after `page.after`.
    async fn read_plugins(&self, page: &Page) -> Result<Found<Plugin>>;

    /// The same, if all of them can be read.
    async fn plugins(&self, page: &Page) -> Result<Vec<Plugin>> {
        whole(self.read_plugins(page).await?)
    }

    /// Removes a plugin. Whether it was there.
    ///
    /// # Errors
    /// [`StoreError::Pinned`] while a playbook or an unexpired run pins it. The check and the
    /// removal are one transaction, also against [`create_run`](Self::create_run) and
    /// [`put_playbook`](Self::put_playbook).
    async fn delete_plugin(&self, digest: &Digest) -> Result<bool>;

    /// Creates a run with its first events. With an idempotency key or an identifier that is known
    /// already, of an unexpired run, it returns that run and creates nothing.
    ///
    /// A run whose playbook rejects a busy cluster gets the cluster's lock with its creation, if it is
    /// PENDING then.
    ///
    /// # Errors
    /// [`StoreError::ClusterBusy`] when the playbook rejects a busy cluster, and another run holds
    /// its lock or is queued for it. Of two such runs that are created at once, one is;
    /// [`StoreError::MissingPlugin`] when a pinned digest is not in the store;
    /// [`StoreError::MissingCluster`] when the cluster is not;
    /// [`StoreError::Conflict`] when the key or identifier is known with another request;
    /// [`StoreError::TooLarge`] when the events are too many for one transaction.
    async fn create_run(&self, new: &NewRun) -> Result<Created>;

    /// The unexpired run that an earlier request with this idempotency key created, whatever became of its
    /// playbook and cluster.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when that was a different request.
    async fn run_of_request(&self, key: &str, request: &Digest) -> Result<Option<Run>>;

    /// A run, or what is known of it if its documents can't be read.
    async fn read_run(&self, id: RunId) -> Result<Option<KeptRun>>;

    /// A run.
    async fn run(&self, id: RunId) -> Result<Option<Run>> {
        let found = self.read_run(id).await?;
        found.transpose().map_err(|damaged| damaged.damage.into())
    }

    /// Runs that fit `filter`, newest first, after `page.after` (a run's identifier). What counts is the
    /// status that is kept beside the documents. A page reads the runs that are on it and hardly any others,
    /// whatever the filter.
    async fn read_runs(&self, filter: &RunFilter, page: &Page) -> Result<RunPage>;

    /// The same, if all of them can be read.
    async fn runs(&self, filter: &RunFilter, page: &Page) -> Result<Vec<Run>> {
        self.read_runs(filter, page).await?.whole()
    }

    /// The identifiers of the newest runs, newest first, including runs whose documents can't be read: at most
    /// `limit`, and at most [`MAX_PAGE`]. It reads no snapshots. It is an error if there may be newer ones.
    async fn newest_runs(&self, limit: u32) -> Result<Vec<RunId>>;

    /// Takes the leases of unfinished runs that no engine holds and that fit the claim, oldest run first, and
    /// returns them: at most [`MAX_PAGE`]. A lease whose answer was lost shows up in [`renew`](Self::renew). A run
    /// that can't be taken just now is passed by, and keeps none of the others waiting; so is one that needs a
    /// newer engine ([`Progress::needs`](replibook_core::run::Progress::needs)).
    async fn claim_some(&self, engine: &EngineId, claim: &Claim) -> Result<Vec<Lease>>;

    /// The same for at most `limit` runs, of which any will do.
    async fn claim(&self, engine: &EngineId, limit: u32) -> Result<Vec<Lease>> {
        self.claim_some(engine, &Claim { limit, ..Claim::default() }).await
    }

    /// How many unfinished runs an engine could claim, and none has; [`MAX_PAGE`] stands for so many or more.
    async fn unclaimed(&self) -> Result<u32>;

    /// Who holds these runs (at most [`MAX_PAGE`]), oldest run first, without those that nobody does.
    async fn holders(&self, runs: &[RunId]) -> Result<Vec<Holder>>;

    /// Prolongs the leases of all runs that `engine` holds, and returns them, oldest run first.
    async fn renew(&self, engine: &EngineId) -> Result<Vec<Lease>>;

    /// Gives a lease back, so that another engine may claim the run at once. A lease that is no
    /// longer held is left alone.
    async fn release(&self, run: RunId, epoch: u64) -> Result<()>;

    /// Gives back all leases that `engine` has, in one write: others can claim its runs at once. Whatever the
    /// engine has not committed by then is lost.
    async fn release_all(&self, engine: &EngineId) -> Result<()>;

    /// Gives the lease of a run back that waits for a person: nobody can claim the run before a command for it
    /// is [submitted](Self::submit), or before `until`. Whether that was done: it is not while a command
    /// without an outcome waits for the run. One that can't be read does not count, as in
    /// [`waiting_commands`](Self::waiting_commands).
    ///
    /// # Errors
    /// [`StoreError::Fenced`] as in [`commit`](Self::commit).
    async fn park(&self, run: RunId, epoch: u64, until: Timestamp) -> Result<bool>;

    /// Sets aside a run that `engine` can't go on with: keeps the reason beside the run, and gives its lease
    /// back. Nobody may claim the run before it has [rested](Trouble::rest). Returns what is kept: for
    /// several failures of one kind in a row, this says since when and how many.
    ///
    /// # Errors
    /// [`StoreError::Fenced`] as in [`commit`](Self::commit).
    async fn set_aside(
        &self,
        run: RunId,
        epoch: u64,
        engine: &EngineId,
        failure: &Failed,
    ) -> Result<Trouble>;

    /// Forgets the trouble of a run that is well again.
    ///
    /// # Errors
    /// [`StoreError::Fenced`] as in [`commit`](Self::commit).
    async fn recover(&self, run: RunId, epoch: u64) -> Result<()>;

    /// The troubles of unfinished runs, and of those that are being abandoned, oldest run first, after
    /// `after`. A trouble that can't be read is skipped.
    async fn troubles(&self, after: Option<RunId>, limit: u32) -> Result<Vec<Trouble>>;

    /// The troubles of these runs (at most [`MAX_PAGE`]), including finished ones, oldest run first.
    async fn troubles_of(&self, runs: &[RunId]) -> Result<Vec<Trouble>>;

    /// Ends the rest period of all runs that are set aside, and returns how many there were: the engine that
    /// calls this may be able to go on with them.
    async fn rouse(&self) -> Result<u64>;

    /// Gives up an unfinished run without asking its state machine and without reading its documents: the
    /// engine that has its lease is fenced, and nobody can claim it any more. The run is FINISHING from then
    /// on, until [`end_abandoned`](Self::end_abandoned) ends it. Documents that can't be read stay as they
    /// are. Repeating it changes nothing.
    async fn abandon(&self, run: RunId, request: &Abandon) -> Result<Abandonment>;

    /// Does one bounded part of ending an abandoned run. All its records get their `finish_ts`. The run gets
    /// its own last, as FAILED, but not before the lease under which an engine may still send something for
    /// it has run out.
    ///
    /// The `finish_ts` is the moment at which the run was given up. If the run was FINISHING by then it is
    /// the moment at which that began, which some records may have already, unless half of the retention has
    /// passed since: whoever asks what became of the run must still find it.
    async fn end_abandoned(&self, run: RunId) -> Result<Ending>;

    /// Gives the lock of the run's cluster to the run, if no other unfinished run holds it and no older
    /// one is queued for it: identifiers sort by creation. Else says which run comes first, and
    /// writes nothing. Who holds the lock already is told so.
    ///
    /// A run whose playbook allows others beside it does not need the lock, and should not ask.
    ///
    /// # Errors
    /// [`StoreError::Fenced`] as in [`commit`](Self::commit).
    async fn lock_cluster(&self, run: RunId, epoch: u64) -> Result<Locked>;

    /// Who comes first on these clusters (at most [`MAX_PAGE`]), in their order. It is one question for
    /// all runs that wait, and its answer may be out of date at once: only
    /// [`lock_cluster`](Self::lock_cluster) gives a lock.
    async fn queues(&self, clusters: &[String]) -> Result<Vec<Queue>>;

    /// How far these runs are (at most [`MAX_PAGE`]), oldest first. A run that is not there, or has
    /// expired, is left out.
    async fn heads(&self, runs: &[RunId]) -> Result<Vec<Head>>;

    /// Writes what a transition says, all or nothing. Documents replace those of the same key: the
    /// sequence of an agent record, the key of a journal, the place of a log line, the sequence of an
    /// event, the identifier of a command. Repeating the last commit changes nothing. The trouble of a run
    /// that gets its `finish_ts` is forgotten with that.
    ///
    /// # Errors
    /// [`StoreError::Fenced`] when `epoch` is not that of the run's lease. An expired lease that no
    /// engine has taken yet still counts, also for the last commit of a run; a released one does
    /// not. [`StoreError::TooLarge`] past [`MAX_COMMIT_DOCUMENTS`] or [`MAX_COMMIT_BYTES`] (for a
    /// single document only when the back end can't hold it at all: MongoDB, past 16 MiB);
    /// [`commit_bytes`](super::commit_bytes) tells beforehand.
    async fn commit(&self, run: RunId, epoch: u64, writes: &Writes) -> Result<()>;

    /// Gives `finish_ts` to at most [`MAX_COMMIT_DOCUMENTS`] agent records, journals, log lines,
    /// events and commands of the run that have none, and returns how many that were. Zero: all have theirs.
    ///
    /// # Errors
    /// [`StoreError::Fenced`] as in [`commit`](Self::commit).
    async fn stamp(&self, run: RunId, epoch: u64, finish_ts: Timestamp) -> Result<u64>;

    /// Removes at most [`MAX_COMMIT_DOCUMENTS`] of these lines from the log of the run, the oldest first, and
    /// returns how many that were. Zero: none of them is left. A line that can't be read stays.
    ///
    /// # Errors
    /// [`StoreError::Fenced`] as in [`commit`](Self::commit).
    async fn forget_lines(&self, run: RunId, epoch: u64, lines: &OldLines) -> Result<u64>;

    /// Agent records of a run by sequence, after `after`; with a state only those in it.
    async fn read_records(
        &self,
        run: RunId,
        state: Option<AgentState>,
        after: Option<AgentSeq>,
        limit: u32,
    ) -> Result<Found<AgentRecord>>;

    /// The same, if all of them can be read.
    async fn records(
        &self,
        run: RunId,
        state: Option<AgentState>,
        after: Option<AgentSeq>,
        limit: u32,
    ) -> Result<Vec<AgentRecord>> {
        whole(self.read_records(run, state, after, limit).await?)
    }

    /// The record of one agent.
    async fn record(&self, run: RunId, agent: &AgentId) -> Result<Option<AgentRecord>>;

    /// Journals of a run by key, after `after`; with an agent only its own.
    async fn read_journals(
        &self,
        run: RunId,
        agent: Option<AgentSeq>,
        after: Option<replibook_core::run::AttemptKey>,
        limit: u32,
    ) -> Result<Found<Journal>>;

    /// The same, if all of them can be read.
    async fn journals(
        &self,
        run: RunId,
        agent: Option<AgentSeq>,
        after: Option<replibook_core::run::AttemptKey>,
        limit: u32,
    ) -> Result<Vec<Journal>> {
        whole(self.read_journals(run, agent, after, limit).await?)
    }

    /// Log lines of a run in order of (event, agent, line), after `after`; with an agent only its own.
    async fn read_logs(
        &self,
        run: RunId,
        agent: Option<&AgentId>,
        after: Option<&LogCursor>,
        limit: u32,
    ) -> Result<Found<LogLine>>;

    /// The same, if all of them can be read.
    async fn logs(
        &self,
        run: RunId,
        agent: Option<&AgentId>,
        after: Option<&LogCursor>,
        limit: u32,
    ) -> Result<Vec<LogLine>> {
        whole(self.read_logs(run, agent, after, limit).await?)
    }

    /// Events of a run by sequence, after `after` (0: from the first).
    async fn read_events(&self, run: RunId, after: u64, limit: u32) -> Result<Found<RunEvent>>;

    /// The same, if all of them can be read.
    async fn events(&self, run: RunId, after: u64, limit: u32) -> Result<Vec<RunEvent>> {
        whole(self.read_events(run, after, limit).await?)
    }

    /// Keeps a command. The same identifier again is [`Put::Unchanged`], whatever became of it.
    ///
    /// A command without `finish_ts` to a run that is finishing gets the run's `finishing_at`, and one
    /// to a run that is not there gets the present moment, so that none outlives its run for ever. A run
    /// that is [parked](Self::park), or that no engine holds and any may claim, is *woken* from then on.
    async fn submit(&self, command: &Command) -> Result<Put>;

    /// Does the same for runs whose command came while an engine held them that does not any more, or that a server
    /// of an earlier version took. How many runs were woken; there may be more of them.
    async fn wake(&self) -> Result<u64>;

    /// Commands to the run without an outcome, in order of (`at`, `id`), at most [`MAX_PAGE`]. A command that can't
    /// be read is skipped.
    async fn unanswered(&self, run: RunId) -> Result<Vec<Command>>;

    /// A command.
    async fn command(&self, id: CommandId) -> Result<Option<Command>>;

    /// Commands without an outcome, of the runs that `engine` holds, in order of (`at`, `id`). A command
    /// that can't be read is skipped.
    async fn waiting_commands(&self, engine: &EngineId, limit: u32) -> Result<Vec<Command>>;

    /// Keeps what an engine says of itself, as said now, and returns all that is known of it.
    async fn put_engine(&self, report: &EngineReport) -> Result<Engine>;

    /// The engines that said something within [`ENGINE_KEPT`](super::ENGINE_KEPT), by their identifiers, at most
    /// [`MAX_PAGE`]. One that can't be read is skipped.
    async fn engines(&self) -> Result<Vec<Engine>>;

    /// Says whether an engine is to hand over its runs and take no more, and returns all that is known of it;
    /// none when there is no such engine. Saying the same again changes nothing, whoever says it for what reason.
    async fn drain_engine(
        &self,
        id: &EngineId,
        drain: bool,
        actor: Option<&str>,
        reason: Option<&str>,
    ) -> Result<Option<Engine>>;

    /// Forgets an engine that has ended.
    async fn remove_engine(&self, id: &EngineId) -> Result<()>;

    /// Removes at most `limit` expired documents (and at most [`MAX_PAGE`]) and returns how many;
    /// nothing where the back end does so by itself. Which go first is not promised.
    async fn sweep(&self, limit: u32) -> Result<u64>;

    /// Ends what goes on in the background, before the process ends. No other call may follow.
    async fn close(&self) {}
}
