//! The promise that every back end keeps. It is written for a document database with transactions: documents are
//! read and written whole, by key, and a commit is one transaction.

use async_trait::async_trait;
use bytes::Bytes;
use semver::Version;

pub use super::bounds::{
    MAX_COMMIT_BYTES, MAX_COMMIT_DOCUMENTS, MAX_PAGE, MAX_PUT, MAX_QUEUED, MAX_SWEPT_PLUGINS,
};
use super::damage::{Found, KeptRun, RunPage, whole};
pub use super::documents::Lease;
use super::documents::{
    Abandon, Abandonment, Claim, Cluster, Created, Ending, Failed, Head, Holder, Locked, LogCursor,
    NewRun, Object, Page, Plugin, PluginSignature, Put, Queue, RunFilter, StoredPlaybook,
    SweptPlugins,
};
use super::engines::{Engine, EngineReport};
use super::error::StoreError;
use replibook_core::playbook::access::Sight;
use replibook_core::run::{
    AgentId, AgentRecord, AgentSeq, AgentState, Command, CommandId, Digest, EngineId, Journal,
    LogLine, Millis, OldLines, Run, RunEvent, RunId, Timestamp, Trouble, Writes,
};

/// Result of a store operation.
pub type Result<T> = std::result::Result<T, StoreError>;

/// A primary store.
///
/// # Guarantees
/// - Whatever a call has reported as written is durable, and every later read sees it.
/// - A [`commit`](Self::commit) is atomic, and is refused as [`StoreError::Fenced`] if the lease is not the run's
///   present one. The store counts documents and does not judge states: whether the transition makes sense is up
///   to the core.
/// - A document whose `finish_ts` is longer ago than the retention is never returned, even before it is removed:
///   it is as if it did not exist. Time is the store's own.
/// - An engine *holds* a run while it has an unexpired lease on it and the run is unfinished (has no
///   `finish_ts`).
/// - At most one run *holds the lock* of a cluster: from the answer that gave it the lock until the run's
///   `finish_ts`, even while no engine holds the run, or while the run is in trouble. Nothing else ends it.
/// - A run is *queued* while its status is PENDING, unless its playbook allows others beside it
///   ([`Snapshot::locks_cluster`](replibook_core::run::Snapshot::locks_cluster)). A run that waits for approval is
///   not queued yet; once approved, its place in the queue depends on when it was created, like that of all
///   others.
/// - A page is full as long as there is more, and never larger than [`MAX_PAGE`].
/// - A document that exists but can't be read is a [`Damage`](super::Damage). A list has the damage in the
///   document's place among those that can be read. A call that asks for just this document, or that needs all
///   documents to be readable, fails with [`StoreError::Damaged`]. Nothing else fails because of it.
/// - How a back end stores things does not show, except as documented here.
///
/// # Errors
/// Every call may fail with [`StoreError::Unavailable`], which is worth trying again. The error does not say
/// whether a write took effect, so every write here is safe to repeat.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// The name of the back end, for display.
    fn name(&self) -> &'static str;

    /// The present moment by the clock that the store decides with: what that clock last said, plus the time that
    /// has passed here since. It never goes back while the process lives. This is the time in runs, so that it is
    /// the same for all engines, whatever their own clocks say; [`Skew`](super::Skew) says how far those are off.
    fn time(&self) -> Timestamp;

    /// What that clock itself says by now, which may go back: when it was set back, or when another server is
    /// asked. Only for [`Skew`](super::Skew).
    fn wall(&self) -> Timestamp {
        self.time()
    }

    /// Damage to the database itself that was found since the store was opened, as human-readable text that does
    /// not say where the files are. None if nothing was found. Whatever can be read is still read.
    fn broken(&self) -> Option<String> {
        None
    }

    /// Checks that the store answers.
    async fn ping(&self) -> Result<()>;

    /// Keeps a playbook under its (name, version). Keeping the same content again is [`Put::Unchanged`], or
    /// [`Put::Updated`] if the stored document could no longer be read and is mended by this.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when that (name, version) already exists with different content;
    /// [`StoreError::MissingPlugin`] when a pinned digest is not in the store.
    async fn put_playbook(&self, playbook: &StoredPlaybook) -> Result<Put>;

    /// A playbook. Without a version, the highest one by semantic versioning.
    async fn playbook(
        &self,
        name: &str,
        version: Option<&Version>,
    ) -> Result<Option<StoredPlaybook>>;

    /// All playbooks in order of name and then of semantic version, after `page.after` (`name@version`).
    ///
    /// # Errors
    /// [`StoreError::BadCursor`] when `page.after` is not such a key. The other lists fail in the same way.
    async fn read_playbooks(&self, page: &Page) -> Result<Found<StoredPlaybook>>;

    /// Like [`read_playbooks`](Self::read_playbooks), but fails if one of them can't be read.
    async fn playbooks(&self, page: &Page) -> Result<Vec<StoredPlaybook>> {
        whole(self.read_playbooks(page).await?)
    }

    /// Removes one version of a playbook. Runs are not affected. Returns whether it existed.
    async fn delete_playbook(&self, name: &str, version: &Version) -> Result<bool>;

    /// Keeps a cluster under its name; the last one that was put counts. [`Put::Unchanged`] if text and content
    /// are the same as those stored; then the stored `applied_at` stays too.
    ///
    /// If the cluster had no guards that count agents and now gets some, the only run that goes on it gets the cluster's
    /// lock in the same transaction, whatever its playbook allows: no other run begins beside it then, however late it
    /// learns of the guards itself.
    ///
    /// # Errors
    /// [`StoreError::ClusterInUse`] if it would get its first such guards while several runs go on it, or while one goes
    /// and another has the lock.
    async fn put_cluster(&self, cluster: &Cluster) -> Result<Put>;

    /// The cluster of this name.
    async fn cluster(&self, name: &str) -> Result<Option<Cluster>>;

    /// All clusters in order of name, after `page.after`.
    async fn read_clusters(&self, page: &Page) -> Result<Found<Cluster>>;

    /// Like [`read_clusters`](Self::read_clusters), but fails if one of them can't be read.
    async fn clusters(&self, page: &Page) -> Result<Vec<Cluster>> {
        whole(self.read_clusters(page).await?)
    }

    /// Removes a cluster. Returns whether it existed.
    ///
    /// # Errors
    /// [`StoreError::ClusterInUse`] while a run of the cluster is unfinished, even if it still waits. The check
    /// and the removal are one transaction, which also excludes a concurrent [`create_run`](Self::create_run).
    async fn delete_cluster(&self, name: &str) -> Result<bool>;

    /// Keeps several playbooks and clusters, either all of them or none. Returns what became of each, in the same
    /// order. If two clusters have the same name, the later one counts.
    ///
    /// # Errors
    /// Those of [`put_playbook`](Self::put_playbook) and [`put_cluster`](Self::put_cluster), for the first document that
    /// can't be kept;
    /// [`StoreError::TooLarge`] for more than [`MAX_PUT`].
    async fn put_all(&self, objects: &[Object]) -> Result<Vec<Put>>;

    /// Keeps a plugin and its bytes under its digest. Of a known digest the provenance is added ([`Plugin::learn`]), and
    /// its retention begins anew ([`Plugin::renew`]): that is [`Put::Unchanged`], or [`Put::Updated`] if some of the
    /// provenance is new, or if the stored information about the plugin could no longer be read and is mended by this.
    async fn put_plugin(&self, plugin: &Plugin, bytes: Bytes) -> Result<Put>;

    /// Keeps signatures beside a plugin ([`Plugin::sign`]), and returns it as it is then; `None` if it is not there. Past
    /// their limit, [`StoreError::TooLarge`].
    async fn sign_plugin(&self, digest: &Digest, new: &[PluginSignature])
    -> Result<Option<Plugin>>;

    /// The stored information about a plugin, without its bytes.
    async fn plugin(&self, digest: &Digest) -> Result<Option<Plugin>>;

    /// The plugin that describes itself by this name and version. If there are several, the one with the latest
    /// `added_at`.
    async fn plugin_by_name(&self, name: &str, version: &str) -> Result<Option<Plugin>>;

    /// The bytes of a plugin: the component itself.
    async fn plugin_bytes(&self, digest: &Digest) -> Result<Option<Bytes>>;

    /// All plugins in order of digest, after `page.after`.
    async fn read_plugins(&self, page: &Page) -> Result<Found<Plugin>>;

    /// Like [`read_plugins`](Self::read_plugins), but fails if one of them can't be read.
    async fn plugins(&self, page: &Page) -> Result<Vec<Plugin>> {
        whole(self.read_plugins(page).await?)
    }

    /// Removes a plugin. Returns whether it existed.
    ///
    /// # Errors
    /// [`StoreError::Pinned`] while a playbook or an unexpired run pins it. The check and the removal are one
    /// transaction, which also excludes a concurrent [`create_run`](Self::create_run) or
    /// [`put_playbook`](Self::put_playbook).
    async fn delete_plugin(&self, digest: &Digest) -> Result<bool>;

    /// How long a plugin is kept that nothing pins, as far as this process knows: another one may have made it longer.
    fn plugin_retention(&self) -> Millis;

    /// Begins the retention of these plugins (at most [`MAX_PAGE`]) anew, where it has begun. Returns how many of them are
    /// there.
    async fn renew_plugins(&self, digests: &[Digest]) -> Result<u64>;

    /// Looks at the next `limit` plugins (and at most [`MAX_SWEPT_PLUGINS`]), in order of digest and then from the
    /// beginning again. The retention of a plugin begins when it is put, or when this first finds that nothing pins it, and
    /// ends when something does. Once it has passed, this removes the plugin with its bytes, signatures and provenance,
    /// in a transaction like that of [`delete_plugin`](Self::delete_plugin). A plugin that can't be read is passed over.
    ///
    /// None if this was done less than [`PLUGIN_SWEEP`](super::PLUGIN_SWEEP) ago, whoever did it: of several engines,
    /// one at a time does it. A store that one process has alone begins anew when it is opened.
    async fn sweep_plugins(&self, limit: u32) -> Result<Option<SweptPlugins>>;

    /// Creates a run with its first events. If an unexpired run with this idempotency key or identifier exists
    /// already, returns that run and creates nothing.
    ///
    /// If the playbook rejects a busy cluster, and the run is created as PENDING, the run gets the cluster's lock
    /// at once.
    ///
    /// # Errors
    /// [`StoreError::ClusterBusy`] when the playbook rejects a busy cluster, and another run holds its lock or is
    /// queued for it (of two such runs that are created at the same time, one is created);
    /// [`StoreError::MissingPlugin`] when a pinned digest is not in the store; [`StoreError::MissingCluster`] when
    /// the cluster is not in the store; [`StoreError::Conflict`] when the key or identifier is known from another
    /// request; [`StoreError::TooLarge`] when the events are too many for one transaction.
    async fn create_run(&self, new: &NewRun) -> Result<Created>;

    /// The unexpired run that an earlier request with this idempotency key created, whatever has become of its
    /// playbook and cluster.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when the earlier request was a different one.
    async fn run_of_request(&self, key: &str, request: &Digest) -> Result<Option<Run>>;

    /// The run, or what is known of it if its documents can't be read.
    async fn read_run(&self, id: RunId) -> Result<Option<KeptRun>>;

    /// Like [`read_run`](Self::read_run), but fails if the run can't be read.
    async fn run(&self, id: RunId) -> Result<Option<Run>> {
        let found = self.read_run(id).await?;
        found.transpose().map_err(|damaged| damaged.damage.into())
    }

    /// Runs that fit `filter`, newest first, after `page.after` (a run's identifier). The filter looks at the
    /// status that is stored beside the documents. Whatever the filter, a page reads the runs that it contains and
    /// hardly any others.
    async fn read_runs(&self, filter: &RunFilter, page: &Page) -> Result<RunPage>;

    /// Like [`read_runs`](Self::read_runs), but fails if one of them can't be read.
    async fn runs(&self, filter: &RunFilter, page: &Page) -> Result<Vec<Run>> {
        self.read_runs(filter, page).await?.whole()
    }

    /// The identifiers of the newest runs, newest first, including runs whose documents can't be read: at most
    /// `limit`, and at most [`MAX_PAGE`]. Reads no snapshots. Fails if there may be newer runs that the store
    /// can't find.
    async fn newest_runs(&self, seen: Option<&[Sight]>, limit: u32) -> Result<Vec<RunId>>;

    /// Takes the leases of unfinished runs that no engine holds and that fit the claim, oldest run first, and
    /// returns them: at most [`MAX_PAGE`]. If the answer is lost, the leases show up in [`renew`](Self::renew). A
    /// run that can't be taken just now is passed over and does not keep the others waiting; so is a run that
    /// needs a newer engine ([`Progress::needs`](replibook_core::run::Progress::needs)).
    async fn claim_some(&self, engine: &EngineId, claim: &Claim) -> Result<Vec<Lease>>;

    /// Claims at most `limit` runs of any cluster.
    async fn claim(&self, engine: &EngineId, limit: u32) -> Result<Vec<Lease>> {
        self.claim_some(engine, &Claim { limit, ..Claim::default() }).await
    }

    /// How many unfinished runs no engine has although one could claim them. [`MAX_PAGE`] means that many or more.
    async fn unclaimed(&self) -> Result<u32>;

    /// Who holds these runs (at most [`MAX_PAGE`]), oldest run first. Runs that no engine holds are left out.
    async fn holders(&self, runs: &[RunId]) -> Result<Vec<Holder>>;

    /// Prolongs the leases of all runs that `engine` holds, and returns them, oldest run first.
    async fn renew(&self, engine: &EngineId) -> Result<Vec<Lease>>;

    /// Gives a lease back, so that another engine may claim the run at once. Does nothing if the lease is no
    /// longer held.
    async fn release(&self, run: RunId, epoch: u64) -> Result<()>;

    /// Gives back all leases that `engine` has, in one write, so that others can claim its runs at once. Whatever
    /// the engine has not committed by then is lost.
    async fn release_all(&self, engine: &EngineId) -> Result<()>;

    /// Gives back the lease of a run that waits for a person, and keeps everyone from claiming the run before a
    /// command for it is [submitted](Self::submit), or before `until`. Returns whether that was done: it is not
    /// done while a command without an outcome waits for the run. As in
    /// [`waiting_commands`](Self::waiting_commands), a command that can't be read does not count.
    ///
    /// # Errors
    /// [`StoreError::Fenced`], like [`commit`](Self::commit).
    async fn park(&self, run: RunId, epoch: u64, until: Timestamp) -> Result<bool>;

    /// Sets aside a run that `engine` can't go on with: keeps the reason beside the run, and gives back its lease.
    /// Nobody may claim the run before it has [rested](Trouble::rest). Returns what is stored; after several
    /// failures of the same kind in a row, that says how many there were, and since when.
    ///
    /// # Errors
    /// [`StoreError::Fenced`], like [`commit`](Self::commit).
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
    /// [`StoreError::Fenced`], like [`commit`](Self::commit).
    async fn recover(&self, run: RunId, epoch: u64) -> Result<()>;

    /// The troubles of runs that are unfinished or being abandoned, oldest run first, after `after`. A trouble
    /// that can't be read is skipped.
    async fn troubles(&self, after: Option<RunId>, limit: u32) -> Result<Vec<Trouble>>;

    /// The troubles of these runs (at most [`MAX_PAGE`]), including finished ones, oldest run first.
    async fn troubles_of(&self, runs: &[RunId]) -> Result<Vec<Trouble>>;

    /// Ends the rest of all runs that are set aside, and returns how many there were: the engine that calls this
    /// may be able to go on with them.
    async fn rouse(&self) -> Result<u64>;

    /// Gives up an unfinished run without asking its state machine and without reading its documents. The engine
    /// that has its lease is fenced, and nobody can claim the run any more. From then on the run is FINISHING,
    /// until [`end_abandoned`](Self::end_abandoned) ends it. Documents that can't be read stay as they are.
    /// Repeating the call changes nothing.
    async fn abandon(&self, run: RunId, request: &Abandon) -> Result<Abandonment>;

    /// Does one bounded part of ending an abandoned run. First all its records get their `finish_ts`. The run
    /// itself gets its `finish_ts` last, as FAILED, and not before the lease has run out under which an engine may
    /// still send something for it.
    ///
    /// The `finish_ts` is the moment at which the run was given up. If the run was FINISHING already, it is the
    /// moment at which that began, which some records may have by then. But if half of the retention has passed
    /// since that moment, the moment of giving up counts instead: whoever asks what became of the run must still
    /// find it.
    async fn end_abandoned(&self, run: RunId) -> Result<Ending>;

    /// Gives the lock of the run's cluster to the run, if no other unfinished run holds it and no older run is
    /// queued for it (identifiers sort by creation). Otherwise says which run comes first, and writes nothing. A
    /// run that holds the lock already is told so.
    ///
    /// A run whose playbook allows others beside it does not need the lock and should not ask for it.
    ///
    /// # Errors
    /// [`StoreError::Fenced`], like [`commit`](Self::commit).
    async fn lock_cluster(&self, run: RunId, epoch: u64) -> Result<Locked>;

    /// Which run comes first on each of these clusters (at most [`MAX_PAGE`]), in the order given. This is one
    /// question for all runs that wait. Its answer may be out of date at once: only
    /// [`lock_cluster`](Self::lock_cluster) gives a lock.
    async fn queues(&self, clusters: &[String]) -> Result<Vec<Queue>>;

    /// How far these runs are (at most [`MAX_PAGE`]), oldest first. A run that does not exist, or has expired, is
    /// left out.
    async fn heads(&self, runs: &[RunId]) -> Result<Vec<Head>>;

    /// Writes the documents of a transition, all or none. A document replaces the one with the same key: the
    /// sequence of an agent record, the key of a journal, the place of a log line, the sequence of an event, the
    /// identifier of a command. Repeating the last commit changes nothing. A commit that gives the run its
    /// `finish_ts` also removes the run's trouble.
    ///
    /// # Errors
    /// [`StoreError::Fenced`] when `epoch` is not that of the run's lease. An expired lease still counts while no
    /// other engine has taken the run, also for the last commit of the run; a released lease does not.
    /// [`StoreError::TooLarge`] past [`MAX_COMMIT_DOCUMENTS`] or [`MAX_COMMIT_BYTES`]; for a single document only
    /// if the back end can't hold it at all (MongoDB, past 16 MiB). [`commit_bytes`](super::commit_bytes) tells
    /// the size beforehand.
    async fn commit(&self, run: RunId, epoch: u64, writes: &Writes) -> Result<()>;

    /// Gives `finish_ts` to at most [`MAX_COMMIT_DOCUMENTS`] agent records, journals, log lines, events and
    /// commands of the run that have none, and returns how many. Zero means that all have one.
    ///
    /// # Errors
    /// [`StoreError::Fenced`], like [`commit`](Self::commit).
    async fn stamp(&self, run: RunId, epoch: u64, finish_ts: Timestamp) -> Result<u64>;

    /// Removes at most [`MAX_COMMIT_DOCUMENTS`] of these lines from the log of the run, the oldest first, and
    /// returns how many. Zero means that none of them is left. A line that can't be read stays.
    ///
    /// # Errors
    /// [`StoreError::Fenced`], like [`commit`](Self::commit).
    async fn forget_lines(&self, run: RunId, epoch: u64, lines: &OldLines) -> Result<u64>;

    /// The agent records of a run by sequence, after `after`. With a state, only the records in it.
    async fn read_records(
        &self,
        run: RunId,
        state: Option<AgentState>,
        after: Option<AgentSeq>,
        limit: u32,
    ) -> Result<Found<AgentRecord>>;

    /// Like [`read_records`](Self::read_records), but fails if one of them can't be read.
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

    /// The journals of a run by key, after `after`. With an agent, only that agent's.
    async fn read_journals(
        &self,
        run: RunId,
        agent: Option<AgentSeq>,
        after: Option<replibook_core::run::AttemptKey>,
        limit: u32,
    ) -> Result<Found<Journal>>;

    /// Like [`read_journals`](Self::read_journals), but fails if one of them can't be read.
    async fn journals(
        &self,
        run: RunId,
        agent: Option<AgentSeq>,
        after: Option<replibook_core::run::AttemptKey>,
        limit: u32,
    ) -> Result<Vec<Journal>> {
        whole(self.read_journals(run, agent, after, limit).await?)
    }

    /// The log lines of a run in order of (event, agent, line), after `after`. With an agent, only that agent's.
    async fn read_logs(
        &self,
        run: RunId,
        agent: Option<&AgentId>,
        after: Option<&LogCursor>,
        limit: u32,
    ) -> Result<Found<LogLine>>;

    /// Like [`read_logs`](Self::read_logs), but fails if one of them can't be read.
    async fn logs(
        &self,
        run: RunId,
        agent: Option<&AgentId>,
        after: Option<&LogCursor>,
        limit: u32,
    ) -> Result<Vec<LogLine>> {
        whole(self.read_logs(run, agent, after, limit).await?)
    }

    /// The events of a run by sequence, after `after` (0: from the first).
    async fn read_events(&self, run: RunId, after: u64, limit: u32) -> Result<Found<RunEvent>>;

    /// Like [`read_events`](Self::read_events), but fails if one of them can't be read.
    async fn events(&self, run: RunId, after: u64, limit: u32) -> Result<Vec<RunEvent>> {
        whole(self.read_events(run, after, limit).await?)
    }

    /// Keeps a command. The same identifier again is [`Put::Unchanged`], whatever has become of the command.
    ///
    /// A command without `finish_ts` gets one at once if its run is finishing (the run's `finishing_at`) or does
    /// not exist (the present moment), so that no command outlives its run for ever. A run that is
    /// [parked](Self::park), or that no engine holds and any may claim, is *woken* from then on.
    async fn submit(&self, command: &Command) -> Result<Put>;

    /// Wakes runs whose command came while an engine held them that no longer does, or whose command was accepted
    /// by a server of an earlier version. Returns how many were woken; there may be more.
    async fn wake(&self) -> Result<u64>;

    /// The commands to the run that have no outcome, in order of (`at`, `id`), at most [`MAX_PAGE`]. A command
    /// that can't be read is skipped.
    async fn unanswered(&self, run: RunId) -> Result<Vec<Command>>;

    /// The command with this identifier.
    async fn command(&self, id: CommandId) -> Result<Option<Command>>;

    /// The commands without an outcome for runs that `engine` holds, in order of (`at`, `id`). A command that
    /// can't be read is skipped.
    async fn waiting_commands(&self, engine: &EngineId, limit: u32) -> Result<Vec<Command>>;

    /// Keeps an engine's report, as of now, and returns everything that is known of the engine.
    async fn put_engine(&self, report: &EngineReport) -> Result<Engine>;

    /// The engines that have reported within [`ENGINE_KEPT`](super::ENGINE_KEPT), by identifier, at most
    /// [`MAX_PAGE`]. An engine whose document can't be read is skipped.
    async fn engines(&self) -> Result<Vec<Engine>>;

    /// Sets whether an engine is to hand over its runs and take no more, and returns everything that is known of
    /// the engine; None if it does not exist. Setting the same again changes nothing, even with another actor or
    /// reason.
    async fn drain_engine(
        &self,
        id: &EngineId,
        drain: bool,
        actor: Option<&str>,
        reason: Option<&str>,
    ) -> Result<Option<Engine>>;

    /// Forgets an engine that has ended.
    async fn remove_engine(&self, id: &EngineId) -> Result<()>;

    /// Removes at most `limit` expired documents (and at most [`MAX_PAGE`]), in no promised order, and returns how
    /// many. Does nothing if the back end removes them by itself.
    async fn sweep(&self, limit: u32) -> Result<u64>;

    /// Ends background work before the process ends. No other call may follow.
    async fn close(&self) {}
}
