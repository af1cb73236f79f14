//! The store itself: makes each call of the contract one write or one read.

use std::path::Path;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use rusqlite::Connection;
use semver::Version;
use tokio::sync::Semaphore;

use super::broken::Met;
use super::calls::SAVES;
use super::commit::Commit;
use super::directory::Directory;
use super::log_bounds::Bounds;
use super::readers::Readers;
use super::writer::Writer;
use super::{
    commands, create, engines, finishing, history, leases, locks, objects, open, plugins,
    run_lists, runs, salvage, salvage_objects, schema, settings, starting, troubled, upkeep,
};
use crate::contract::{Lease, MAX_COMMIT_DOCUMENTS, Result, Store};
use crate::damage::{Found, KeptRun, RunPage};
use crate::documents::{
    Abandon, Abandonment, Claim, Cluster, Created, Ending, Failed, Head, Holder, Locked, LogCursor,
    NewRun, Object, Page, Plugin, PluginSignature, Put, Queue, RunFilter, StoredPlaybook,
    SweptPlugins,
};
use crate::engines::{Draining, Engine, EngineReport};
use crate::keys::{playbook_cursor, plugin_cursor, run_cursor};
use crate::options::{Moment, StoreOptions};
use crate::size::{check_new_run, check_put};
use crate::upkeep::Round;
use replibook_base::clock::Clock;
use replibook_core::playbook::access::Sight;
use replibook_core::run::{
    AgentId, AgentRecord, AgentSeq, AgentState, AttemptKey, Command, CommandId, Digest, EngineId,
    Journal, LogLine, Millis, OldLines, Run, RunEvent, RunId, Timestamp, Trouble, Writes,
};

/// A store in one SQLite file, for one engine.
///
/// Every call must be made on a tokio runtime, of any kind. Dropping the store waits for the write that is being
/// made, and unlocks the data directory.
pub struct SqliteStore {
    // Readers close first: the last connection to close cleans up the file, and that should be the writer's.
    pub(super) readers: Readers,
    pub(super) writer: Writer,
    pub(super) options: StoreOptions,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) met: Met,
    /// Turns for calls that salvage from a damaged database.
    pub(super) saves: Arc<Semaphore>,
    /// Where the next sweep over plugins goes on.
    pub(super) round: Mutex<Round>,
}

impl SqliteStore {
    /// Opens the store in a data directory, which is created if it does not exist. Blocks while it reads and
    /// writes files.
    ///
    /// # Guarantees
    /// - While the store is open, nobody else can open the same directory as a store.
    /// - The leases of engines that used the directory before are void: their runs can be claimed.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`](crate::StoreError::Unavailable) when the directory is in use or can't be used;
    /// [`StoreError::NewerSchema`](crate::StoreError::NewerSchema) when a newer version made the database;
    /// [`StoreError::Unfit`](crate::StoreError::Unfit) when others can access the directory, when something was
    /// lost, or when the retention that was set explicitly is shorter than that of the store.
    pub fn open(
        directory: impl AsRef<Path>,
        options: StoreOptions,
        clock: Arc<dyn Clock>,
    ) -> Result<Self> {
        let met = Met::none_in(directory.as_ref());
        let directory = Directory::open(directory.as_ref())?;
        let path = directory.database();
        let connection = open::writer(&path)?;
        schema::migrate(&connection)?;
        let retention = settings::settle_retention(&connection, &options)?;
        let plugin_retention = settings::settle_plugin_retention(&connection, &options)?;
        let options = StoreOptions { retention, plugin_retention, ..options };
        if !create::gives_back(&connection)? {
            tracing::info!(
                "the file of the store does not shrink; `replibook store migrate` rewrites it once"
            );
        }
        let first = starting::start(&connection, &directory, &met)?;
        let readers = Readers::open(&path)?;
        let writer = Writer::start(connection, directory, Bounds::default(), first)?;
        let saves = Arc::new(Semaphore::new(SAVES));
        Ok(Self { readers, writer, options, clock, met, saves, round: Mutex::default() })
    }

    /// Rewrites the file of a store that an earlier version made, so that it shrinks when documents are removed.
    /// Returns whether that had to be done. Blocks, and needs as much free space as the file takes.
    ///
    /// # Errors
    /// Like [`open`](Self::open), and also if anything else has the database open.
    pub fn rebuild(directory: impl AsRef<Path>) -> Result<bool> {
        create::rebuild(&Directory::open(directory.as_ref())?)
    }

    /// How long the records of a run are kept after it has ended.
    pub fn retention(&self) -> Millis {
        self.options.retention
    }

    /// The time is taken where the call is made: an injected clock need not work on other threads.
    fn now(&self) -> Moment {
        self.options.at(self.clock.now())
    }
}

#[async_trait]
impl Store for SqliteStore {
    fn name(&self) -> &'static str {
        "sqlite"
    }

    fn time(&self) -> Timestamp {
        self.clock.now()
    }

    fn wall(&self) -> Timestamp {
        self.clock.wall()
    }

    fn broken(&self) -> Option<String> {
        self.met.said()
    }

    async fn ping(&self) -> Result<()> {
        // Write to the disk: a store on a disk that takes no more is as good as none.
        self.write(schema::touch).await
    }

    async fn put_playbook(&self, playbook: &StoredPlaybook) -> Result<Put> {
        let playbook = playbook.clone();
        self.write(move |c| objects::put_playbook(c, &playbook)).await
    }

    async fn playbook(
        &self,
        name: &str,
        version: Option<&Version>,
    ) -> Result<Option<StoredPlaybook>> {
        let (name, version) = (name.to_owned(), version.cloned());
        self.read(move |c| objects::playbook(c, &name, version.as_ref())).await
    }

    async fn read_playbooks(&self, page: &Page) -> Result<Found<StoredPlaybook>> {
        let after = playbook_cursor(page)?.map(|(name, version)| (name.to_owned(), version));
        let (limit, same) = (page.limit, after.clone());
        let save = move |c: &Connection| salvage_objects::playbooks(c, same, limit);
        self.read_or_save(move |c| objects::playbooks(c, after, limit), save).await
    }

    async fn delete_playbook(&self, name: &str, version: &Version) -> Result<bool> {
        let (name, version) = (name.to_owned(), version.clone());
        self.write(move |c| objects::delete_playbook(c, &name, &version)).await
    }

    async fn put_cluster(&self, cluster: &Cluster) -> Result<Put> {
        let cluster = cluster.clone();
        self.write(move |c| objects::put_cluster(c, &cluster)).await
    }

    async fn cluster(&self, name: &str) -> Result<Option<Cluster>> {
        let name = name.to_owned();
        self.read(move |c| objects::cluster(c, &name)).await
    }

    async fn read_clusters(&self, page: &Page) -> Result<Found<Cluster>> {
        let (page, same) = (page.clone(), page.clone());
        let save = move |c: &Connection| salvage_objects::clusters(c, &same);
        self.read_or_save(move |c| objects::clusters(c, &page), save).await
    }

    async fn delete_cluster(&self, name: &str) -> Result<bool> {
        let name = name.to_owned();
        self.write(move |c| objects::delete_cluster(c, &name)).await
    }

    async fn put_all(&self, objects: &[Object]) -> Result<Vec<Put>> {
        let bytes = check_put(objects)?;
        let objects = objects.to_vec();
        self.write_bytes(bytes, move |c| objects::put_all(c, &objects)).await
    }

    async fn put_plugin(&self, plugin: &Plugin, bytes: Bytes) -> Result<Put> {
        let plugin = plugin.clone();
        self.write_bytes(bytes.len(), move |c| plugins::put_plugin(c, &plugin, &bytes)).await
    }

    async fn sign_plugin(
        &self,
        digest: &Digest,
        new: &[PluginSignature],
    ) -> Result<Option<Plugin>> {
        let (digest, new) = (digest.clone(), new.to_vec());
        self.write(move |c| plugins::sign_plugin(c, &digest, &new)).await
    }

    async fn plugin(&self, digest: &Digest) -> Result<Option<Plugin>> {
        let digest = digest.clone();
        self.read(move |c| plugins::plugin(c, &digest)).await
    }

    async fn plugin_by_name(&self, name: &str, version: &str) -> Result<Option<Plugin>> {
        let (name, version) = (name.to_owned(), version.to_owned());
        self.read(move |c| plugins::plugin_by_name(c, &name, &version)).await
    }

    async fn plugin_bytes(&self, digest: &Digest) -> Result<Option<Bytes>> {
        let digest = digest.clone();
        self.read(move |c| plugins::plugin_bytes(c, &digest)).await
    }

    async fn read_plugins(&self, page: &Page) -> Result<Found<Plugin>> {
        let (after, limit) = (plugin_cursor(page)?, page.limit);
        let same = after.clone();
        let save = move |c: &Connection| salvage_objects::plugins(c, same.as_ref(), limit);
        self.read_or_save(move |c| plugins::plugins(c, after.as_ref(), limit), save).await
    }

    async fn delete_plugin(&self, digest: &Digest) -> Result<bool> {
        let (digest, at) = (digest.clone(), self.now());
        self.write(move |c| plugins::delete_plugin(c, &digest, &at)).await
    }

    fn plugin_retention(&self) -> Millis {
        self.options.plugin_retention
    }

    async fn renew_plugins(&self, digests: &[Digest]) -> Result<u64> {
        let (digests, at) = (digests.to_vec(), self.now());
        self.write(move |c| upkeep::renew(c, &digests, &at)).await
    }

    async fn sweep_plugins(&self, limit: u32) -> Result<Option<SweptPlugins>> {
        self.sweep_next(limit, self.now()).await
    }

    async fn create_run(&self, new: &NewRun) -> Result<Created> {
        check_new_run(new)?;
        let (new, at) = (new.clone(), self.now());
        self.write(move |c| runs::create_run(c, &new, &at)).await
    }

    async fn run_of_request(&self, key: &str, request: &Digest) -> Result<Option<Run>> {
        let (key, request, at) = (key.to_owned(), request.clone(), self.now());
        self.read(move |c| runs::run_of_request(c, &key, &request, &at)).await
    }

    async fn read_run(&self, id: RunId) -> Result<Option<KeptRun>> {
        let at = self.now();
        self.read_or_save(move |c| runs::run(c, id, &at), move |c| salvage::one(c, id, &at)).await
    }

    async fn read_runs(&self, filter: &RunFilter, page: &Page) -> Result<RunPage> {
        let (after, limit) = (run_cursor(page)?, page.limit);
        let (filter, same, at) = (filter.clone(), filter.clone(), self.now());
        let read =
            move |c: &Connection| run_lists::runs(c, &filter, after, limit, &at).map(RunPage::from);
        self.read_or_save(read, move |c| salvage::runs(c, &same, after, limit, &at)).await
    }

    async fn newest_runs(&self, seen: Option<&[Sight]>, limit: u32) -> Result<Vec<RunId>> {
        let (seen, at) = (seen.map(<[Sight]>::to_vec), self.now());
        let also = seen.clone();
        let read = move |c: &Connection| run_lists::newest(c, seen.as_deref(), limit, &at);
        self.read_or_save(read, move |c| salvage::newest(c, also, limit, &at)).await
    }

    async fn claim_some(&self, engine: &EngineId, claim: &Claim) -> Result<Vec<Lease>> {
        let (engine, claim, at) = (engine.clone(), claim.clone(), self.now());
        self.write(move |c| leases::claim(c, &engine, &claim, &at)).await
    }

    async fn unclaimed(&self) -> Result<u32> {
        let at = self.now();
        self.read(move |c| leases::unclaimed(c, &at)).await
    }

    async fn holders(&self, runs: &[RunId]) -> Result<Vec<Holder>> {
        let (runs, at) = (runs.to_vec(), self.now());
        self.read(move |c| leases::holders(c, &runs, &at)).await
    }

    async fn park(&self, run: RunId, epoch: u64, until: Timestamp) -> Result<bool> {
        let at = self.now();
        self.write(move |c| leases::park(c, run, epoch, until, &at)).await
    }

    async fn renew(&self, engine: &EngineId) -> Result<Vec<Lease>> {
        let (engine, at) = (engine.clone(), self.now());
        self.write(move |c| leases::renew(c, &engine, &at)).await
    }

    async fn release(&self, run: RunId, epoch: u64) -> Result<()> {
        self.write(move |c| leases::release(c, run, epoch)).await
    }

    async fn release_all(&self, engine: &EngineId) -> Result<()> {
        let engine = engine.clone();
        self.write(move |c| leases::release_all(c, &engine)).await
    }

    async fn set_aside(
        &self,
        run: RunId,
        epoch: u64,
        engine: &EngineId,
        failure: &Failed,
    ) -> Result<Trouble> {
        let (engine, failure, at) = (engine.clone(), failure.clone(), self.now());
        self.write(move |c| troubled::set_aside(c, run, epoch, &engine, &failure, &at)).await
    }

    async fn recover(&self, run: RunId, epoch: u64) -> Result<()> {
        let at = self.now();
        self.write(move |c| troubled::recover(c, run, epoch, &at)).await
    }

    async fn troubles(&self, after: Option<RunId>, limit: u32) -> Result<Vec<Trouble>> {
        self.read(move |c| troubled::troubles(c, after, limit)).await
    }

    async fn troubles_of(&self, runs: &[RunId]) -> Result<Vec<Trouble>> {
        let (runs, at) = (runs.to_vec(), self.now());
        self.read(move |c| troubled::troubles_of(c, &runs, &at)).await
    }

    async fn rouse(&self) -> Result<u64> {
        self.write(troubled::rouse).await
    }

    async fn abandon(&self, run: RunId, request: &Abandon) -> Result<Abandonment> {
        let (request, at) = (request.clone(), self.now());
        self.write(move |c| troubled::abandon(c, run, &request, &at)).await
    }

    async fn end_abandoned(&self, run: RunId) -> Result<Ending> {
        let at = self.now();
        self.write(move |c| troubled::end_abandoned(c, run, &at)).await
    }

    async fn lock_cluster(&self, run: RunId, epoch: u64) -> Result<Locked> {
        let at = self.now();
        match self.read(move |c| locks::look(c, run, epoch, &at)).await? {
            waits @ Locked::Waits { .. } => Ok(waits),
            Locked::Held => self.write(move |c| locks::lock_cluster(c, run, epoch, &at)).await,
        }
    }

    async fn commit(&self, run: RunId, epoch: u64, writes: &Writes) -> Result<()> {
        let (commit, at) = (Commit::of(writes)?, self.now());
        self.write_bytes(commit.bytes(), move |c| commit.write(c, run, epoch, &at)).await
    }

    async fn queues(&self, clusters: &[String]) -> Result<Vec<Queue>> {
        let clusters = clusters.to_vec();
        self.read(move |c| locks::queues(c, &clusters)).await
    }

    async fn heads(&self, runs: &[RunId]) -> Result<Vec<Head>> {
        let (runs, at) = (runs.to_vec(), self.now());
        self.read(move |c| runs::heads(c, &runs, &at)).await
    }

    async fn forget_lines(&self, run: RunId, epoch: u64, lines: &OldLines) -> Result<u64> {
        // Reading a log would keep the one thread that writes from its work. Old lines don't change, so they can
        // be looked for on another connection.
        let (lines, at) = (*lines, self.now());
        let (mut these, mut after) = (Vec::new(), None);
        loop {
            let look =
                move |c: &Connection| finishing::look_for_lines(c, run, &lines, after.as_ref());
            let part = self.read(look).await?;
            these.extend(part.these);
            after = part.last;
            if after.is_none() || these.len() >= MAX_COMMIT_DOCUMENTS {
                break;
            }
        }
        self.write(move |c| finishing::forget_lines(c, run, epoch, &these, &at)).await
    }

    async fn stamp(&self, run: RunId, epoch: u64, finish_ts: Timestamp) -> Result<u64> {
        let at = self.now();
        self.write(move |c| finishing::stamp(c, run, epoch, finish_ts, &at)).await
    }

    async fn read_records(
        &self,
        run: RunId,
        state: Option<AgentState>,
        after: Option<AgentSeq>,
        limit: u32,
    ) -> Result<Found<AgentRecord>> {
        let at = self.now();
        self.read(move |c| history::records(c, run, state, after, limit, &at)).await
    }

    async fn record(&self, run: RunId, agent: &AgentId) -> Result<Option<AgentRecord>> {
        let (agent, at) = (agent.clone(), self.now());
        self.read(move |c| history::agent_record(c, run, &agent, &at)).await
    }

    async fn read_journals(
        &self,
        run: RunId,
        agent: Option<AgentSeq>,
        after: Option<AttemptKey>,
        limit: u32,
    ) -> Result<Found<Journal>> {
        let at = self.now();
        self.read(move |c| history::journals(c, run, agent, after, limit, &at)).await
    }

    async fn read_logs(
        &self,
        run: RunId,
        agent: Option<&AgentId>,
        after: Option<&LogCursor>,
        limit: u32,
    ) -> Result<Found<LogLine>> {
        let (agent, after, at) = (agent.cloned(), after.cloned(), self.now());
        self.read(move |c| history::logs(c, run, agent.as_ref(), after.as_ref(), limit, &at)).await
    }

    async fn read_events(&self, run: RunId, after: u64, limit: u32) -> Result<Found<RunEvent>> {
        let at = self.now();
        self.read(move |c| history::events(c, run, after, limit, &at)).await
    }

    async fn submit(&self, command: &Command) -> Result<Put> {
        let (command, at) = (command.clone(), self.now());
        self.write(move |c| commands::submit(c, &command, &at)).await
    }

    async fn command(&self, id: CommandId) -> Result<Option<Command>> {
        let at = self.now();
        self.read(move |c| commands::command(c, id, &at)).await
    }

    async fn wake(&self) -> Result<u64> {
        let at = self.now();
        let runs = self.read(move |c| leases::asleep(c, &at)).await?;
        match runs.is_empty() {
            true => Ok(0),
            false => self.write(move |c| leases::wake(c, &runs, &at)).await,
        }
    }

    async fn unanswered(&self, run: RunId) -> Result<Vec<Command>> {
        let at = self.now();
        self.read(move |c| commands::unanswered(c, run, &at)).await
    }

    async fn waiting_commands(&self, engine: &EngineId, limit: u32) -> Result<Vec<Command>> {
        let (engine, at) = (engine.clone(), self.now());
        self.read(move |c| commands::waiting_commands(c, &engine, limit, &at)).await
    }

    async fn put_engine(&self, report: &EngineReport) -> Result<Engine> {
        let (report, at) = (report.clone(), self.now());
        self.write(move |c| engines::put_engine(c, &report, &at)).await
    }

    async fn engines(&self) -> Result<Vec<Engine>> {
        let at = self.now();
        self.read(move |c| engines::engines(c, &at)).await
    }

    async fn drain_engine(
        &self,
        id: &EngineId,
        drain: bool,
        actor: Option<&str>,
        reason: Option<&str>,
    ) -> Result<Option<Engine>> {
        let (id, at) = (id.clone(), self.now());
        let draining = drain.then(|| Draining::new(at.now, actor, reason));
        self.write(move |c| engines::drain_engine(c, &id, draining.as_ref(), &at)).await
    }

    async fn remove_engine(&self, id: &EngineId) -> Result<()> {
        let id = id.clone();
        self.write(move |c| engines::remove_engine(c, &id)).await
    }

    async fn sweep(&self, limit: u32) -> Result<u64> {
        let at = self.now();
        self.write(move |c| finishing::sweep(c, limit, &at)).await
    }
}
