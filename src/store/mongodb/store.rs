//! The store itself: passes each call of the contract on to the module that does it.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use semver::Version;

use super::base::Base;
use super::check::StoreReport;
use super::failure::of_opening;
use super::options::MongoOptions;
use super::time::ServerTime;
use super::{
    check, commands, commit, connect, engines, files, finishing, history, leases, locks, objects,
    parking, plugins, probe, retention, runs, schema, signing, transaction, troubled, upkeep,
};
use crate::contract::{Lease, Result, Store};
use crate::damage::{Found, KeptRun, RunPage};
use crate::documents::{
    Abandon, Abandonment, Claim, Cluster, Created, Ending, Failed, Head, Holder, Locked, LogCursor,
    NewRun, Object, Page, Plugin, PluginSignature, Put, Queue, RunFilter, StoredPlaybook,
    SweptPlugins,
};
use crate::engines::{Engine, EngineReport};
use crate::keys::{playbook_cursor, plugin_cursor, run_cursor};
use crate::options::{Moment, StoreOptions};
use crate::size::{check_new_run, check_put};
use replibook_base::clock::Clock;
use replibook_core::playbook::access::Sight;
use replibook_core::run::{
    AgentId, AgentRecord, AgentSeq, AgentState, AttemptKey, Command, CommandId, Digest, EngineId,
    Journal, LogLine, Millis, OldLines, Run, RunEvent, RunId, Timestamp, Trouble, Writes,
};

/// How long closing may take. If the server does not answer, it forgets the sessions by itself; and whoever asked
/// the process to end may kill it soon.
const CLOSE_LIMIT: std::time::Duration = std::time::Duration::from_millis(200);

/// A store in a MongoDB database, for any number of engines.
///
/// Every call must be made on a tokio runtime with timers.
pub struct MongoStore {
    base: Base,
    time: ServerTime,
    options: StoreOptions,
    lacks: Vec<&'static str>,
}

impl MongoStore {
    /// Connects, brings the database to the present schema, and creates missing indexes. `clock` is the engine's
    /// own clock, by which it knows how long it has a lease.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`](crate::StoreError::Unavailable) when the server does not answer, which may
    /// change; [`StoreError::Unfit`](crate::StoreError::Unfit) when the server is not fit (standalone, too old, or
    /// without something that is needed), does not let us in, or has a longer retention than the one that was set
    /// explicitly; [`StoreError::NewerSchema`](crate::StoreError::NewerSchema) when a newer program made the
    /// database.
    pub async fn open(
        options: &MongoOptions,
        store: StoreOptions,
        clock: Arc<dyn Clock>,
    ) -> Result<Self> {
        Self::open_at_last(options, store, clock).await.map_err(of_opening)
    }

    async fn open_at_last(
        options: &MongoOptions,
        store: StoreOptions,
        clock: Arc<dyn Clock>,
    ) -> Result<Self> {
        let mut opened = Self::connected(options, store, clock).await?;
        opened.lacks = probe::probe(&mut opened.base).await?;
        probe::say(&opened.lacks);
        schema::migrate(&opened.base).await?;
        opened.options.retention = retention::settle(&opened.base, &store, options.time).await?;
        opened.options.plugin_retention = retention::settle_plugins(&opened.base, &store).await?;
        locks::remove_gone(&opened.base).await?;
        for file in files::left_behind(&opened.base, &opened.time).await? {
            files::remove(&opened.base, file).await?;
        }
        Ok(opened)
    }

    /// Connects without changing anything. The retention is the one of the database, if it has one.
    ///
    /// # Errors
    /// Like [`open`](Self::open), except for what can only be found out by trying.
    pub async fn look(
        options: &MongoOptions,
        store: StoreOptions,
        clock: Arc<dyn Clock>,
    ) -> Result<Self> {
        let looked = async {
            let mut opened = Self::connected(options, store, clock).await?;
            let before = retention::before(&opened.base, options.time).await?;
            opened.options.retention = before.unwrap_or(store.retention);
            Ok(opened)
        };
        looked.await.map_err(of_opening)
    }

    async fn connected(
        options: &MongoOptions,
        store: StoreOptions,
        clock: Arc<dyn Clock>,
    ) -> Result<Self> {
        let base = connect::connect(options).await?;
        schema::version(&base).await?;
        let time = ServerTime::new(options.time, clock);
        connect::ask_time(&base, &time).await?;
        Ok(Self { base, time, options: store, lacks: Vec::new() })
    }

    /// What the server can't do and the store can do without, as human-readable text.
    pub fn lacks(&self) -> &[&'static str] {
        &self.lacks
    }

    /// Checks whether everything in the database is as it should be.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`](crate::StoreError::Unavailable) when the server does not answer.
    pub async fn check(&self) -> Result<StoreReport> {
        check::check(&self.base, &self.time).await
    }

    /// How long the records of a run are kept after it has ended.
    pub fn retention(&self) -> Millis {
        self.options.retention
    }

    fn now(&self) -> Moment {
        self.options.at(self.time.there())
    }
}

#[async_trait]
impl Store for MongoStore {
    fn name(&self) -> &'static str {
        "mongodb"
    }

    fn time(&self) -> Timestamp {
        self.time.shown()
    }

    fn wall(&self) -> Timestamp {
        self.time.wall()
    }

    async fn close(&self) {
        let closing = async {
            // End what was left a moment ago, so that it does not hold up anybody else.
            self.base.sessions.tidy(&self.base).await;
            // The driver shuts a dropped client down in a task, which the end of the process would cut off.
            self.base.client.clone().shutdown().immediate(true).await;
        };
        let _ = tokio::time::timeout(CLOSE_LIMIT, closing).await;
    }

    async fn ping(&self) -> Result<()> {
        connect::ask_time(&self.base, &self.time).await
    }

    async fn put_playbook(&self, playbook: &StoredPlaybook) -> Result<Put> {
        objects::put_playbook(&self.base, playbook).await
    }

    async fn playbook(
        &self,
        name: &str,
        version: Option<&Version>,
    ) -> Result<Option<StoredPlaybook>> {
        objects::playbook(&self.base, name, version).await
    }

    async fn read_playbooks(&self, page: &Page) -> Result<Found<StoredPlaybook>> {
        objects::playbooks(&self.base, playbook_cursor(page)?, page.limit).await
    }

    async fn delete_playbook(&self, name: &str, version: &Version) -> Result<bool> {
        objects::delete_playbook(&self.base, name, version).await
    }

    async fn put_cluster(&self, cluster: &Cluster) -> Result<Put> {
        objects::put_cluster(&self.base, cluster).await
    }

    async fn cluster(&self, name: &str) -> Result<Option<Cluster>> {
        objects::cluster(&self.base, name).await
    }

    async fn read_clusters(&self, page: &Page) -> Result<Found<Cluster>> {
        objects::clusters(&self.base, page).await
    }

    async fn delete_cluster(&self, name: &str) -> Result<bool> {
        objects::delete_cluster(&self.base, name).await
    }

    async fn put_all(&self, objects: &[Object]) -> Result<Vec<Put>> {
        check_put(objects)?;
        objects::put_all(&self.base, objects).await
    }

    async fn put_plugin(&self, plugin: &Plugin, bytes: Bytes) -> Result<Put> {
        plugins::put_plugin(&self.base, plugin, bytes).await
    }

    async fn sign_plugin(
        &self,
        digest: &Digest,
        new: &[PluginSignature],
    ) -> Result<Option<Plugin>> {
        signing::sign_plugin(&self.base, digest, new).await
    }

    async fn plugin(&self, digest: &Digest) -> Result<Option<Plugin>> {
        plugins::plugin(&self.base, digest).await
    }

    async fn plugin_by_name(&self, name: &str, version: &str) -> Result<Option<Plugin>> {
        plugins::plugin_by_name(&self.base, name, version).await
    }

    async fn plugin_bytes(&self, digest: &Digest) -> Result<Option<Bytes>> {
        plugins::plugin_bytes(&self.base, digest).await
    }

    async fn read_plugins(&self, page: &Page) -> Result<Found<Plugin>> {
        plugins::plugins(&self.base, plugin_cursor(page)?.as_ref(), page.limit).await
    }

    async fn delete_plugin(&self, digest: &Digest) -> Result<bool> {
        plugins::remove_plugin(&self.base, digest, None, &self.now()).await
    }

    fn plugin_retention(&self) -> Millis {
        self.options.plugin_retention
    }

    async fn renew_plugins(&self, digests: &[Digest]) -> Result<u64> {
        upkeep::renew(&self.base, digests, &self.now()).await
    }

    async fn sweep_plugins(&self, limit: u32) -> Result<Option<SweptPlugins>> {
        // Another server may have made it longer since this one started.
        let kept = retention::of_plugins(&self.base).await?;
        let plugin_retention = kept.unwrap_or(self.options.plugin_retention);
        let at = StoreOptions { plugin_retention, ..self.options }.at(self.time.there());
        upkeep::sweep(&self.base, limit, &at).await
    }

    async fn create_run(&self, new: &NewRun) -> Result<Created> {
        check_new_run(new)?;
        runs::create_run(&self.base, new, &self.now()).await
    }

    async fn run_of_request(&self, key: &str, request: &Digest) -> Result<Option<Run>> {
        runs::run_of_request(&self.base, key, request, &self.now()).await
    }

    async fn read_run(&self, id: RunId) -> Result<Option<KeptRun>> {
        runs::run(&self.base, id, &self.now()).await
    }

    async fn read_runs(&self, filter: &RunFilter, page: &Page) -> Result<RunPage> {
        let after = run_cursor(page)?;
        let runs = runs::runs(&self.base, filter, after, page.limit, &self.now()).await?;
        Ok(RunPage::from(runs))
    }

    async fn newest_runs(&self, seen: Option<&[Sight]>, limit: u32) -> Result<Vec<RunId>> {
        runs::newest(&self.base, seen, limit, &self.now()).await
    }

    async fn claim_some(&self, engine: &EngineId, claim: &Claim) -> Result<Vec<Lease>> {
        leases::claim(&self.base, &self.time, self.options.lease, engine, claim).await
    }

    async fn unclaimed(&self) -> Result<u32> {
        parking::unclaimed(&self.base, &self.now()).await
    }

    async fn holders(&self, runs: &[RunId]) -> Result<Vec<Holder>> {
        parking::holders(&self.base, runs, &self.now()).await
    }

    async fn park(&self, run: RunId, epoch: u64, until: Timestamp) -> Result<bool> {
        let at = &self.now();
        transaction::make(&self.base, &parking::Park { run, epoch, until, at }).await
    }

    async fn renew(&self, engine: &EngineId) -> Result<Vec<Lease>> {
        let renewed = leases::renew(&self.base, &self.time, self.options.lease, engine).await?;
        connect::ask_time(&self.base, &self.time).await?;
        Ok(renewed)
    }

    async fn release(&self, run: RunId, epoch: u64) -> Result<()> {
        leases::release(&self.base, run, epoch).await
    }

    async fn release_all(&self, engine: &EngineId) -> Result<()> {
        leases::release_all(&self.base, engine).await
    }

    async fn set_aside(
        &self,
        run: RunId,
        epoch: u64,
        engine: &EngineId,
        failure: &Failed,
    ) -> Result<Trouble> {
        let at = &self.now();
        let set_aside = troubled::SetAside { run, epoch, engine, failure, at };
        transaction::make(&self.base, &set_aside).await
    }

    async fn recover(&self, run: RunId, epoch: u64) -> Result<()> {
        let at = &self.now();
        transaction::make(&self.base, &troubled::Recover { run, epoch, at }).await
    }

    async fn troubles(&self, after: Option<RunId>, limit: u32) -> Result<Vec<Trouble>> {
        troubled::troubles(&self.base, after, limit).await
    }

    async fn troubles_of(&self, runs: &[RunId]) -> Result<Vec<Trouble>> {
        troubled::troubles_of(&self.base, runs, &self.now()).await
    }

    async fn rouse(&self) -> Result<u64> {
        troubled::rouse(&self.base).await
    }

    async fn abandon(&self, run: RunId, request: &Abandon) -> Result<Abandonment> {
        let at = &self.now();
        transaction::make(&self.base, &troubled::Give { run, request, at }).await
    }

    async fn end_abandoned(&self, run: RunId) -> Result<Ending> {
        transaction::make(&self.base, &troubled::End { run, at: &self.now() }).await
    }

    async fn lock_cluster(&self, run: RunId, epoch: u64) -> Result<Locked> {
        locks::lock_cluster(&self.base, run, epoch, &self.now()).await
    }

    async fn commit(&self, run: RunId, epoch: u64, writes: &Writes) -> Result<()> {
        commit::commit(&self.base, run, epoch, writes, &self.now()).await
    }

    async fn queues(&self, clusters: &[String]) -> Result<Vec<Queue>> {
        locks::queues(&self.base, clusters).await
    }

    async fn heads(&self, runs: &[RunId]) -> Result<Vec<Head>> {
        runs::heads(&self.base, runs, &self.now()).await
    }

    async fn forget_lines(&self, run: RunId, epoch: u64, lines: &OldLines) -> Result<u64> {
        let at = &self.now();
        transaction::make(&self.base, &finishing::Forget { run, epoch, lines, at }).await
    }

    async fn stamp(&self, run: RunId, epoch: u64, finish_ts: Timestamp) -> Result<u64> {
        finishing::stamp(&self.base, run, epoch, finish_ts, &self.now()).await
    }

    async fn read_records(
        &self,
        run: RunId,
        state: Option<AgentState>,
        after: Option<AgentSeq>,
        limit: u32,
    ) -> Result<Found<AgentRecord>> {
        history::records(&self.base, run, state, after, limit, &self.now()).await
    }

    async fn record(&self, run: RunId, agent: &AgentId) -> Result<Option<AgentRecord>> {
        history::record(&self.base, run, agent, &self.now()).await
    }

    async fn read_journals(
        &self,
        run: RunId,
        agent: Option<AgentSeq>,
        after: Option<AttemptKey>,
        limit: u32,
    ) -> Result<Found<Journal>> {
        history::journals(&self.base, run, agent, after, limit, &self.now()).await
    }

    async fn read_logs(
        &self,
        run: RunId,
        agent: Option<&AgentId>,
        after: Option<&LogCursor>,
        limit: u32,
    ) -> Result<Found<LogLine>> {
        history::logs(&self.base, run, agent, after, limit, &self.now()).await
    }

    async fn read_events(&self, run: RunId, after: u64, limit: u32) -> Result<Found<RunEvent>> {
        history::events(&self.base, run, after, limit, &self.now()).await
    }

    async fn submit(&self, command: &Command) -> Result<Put> {
        commands::submit(&self.base, command, &self.now()).await
    }

    async fn command(&self, id: CommandId) -> Result<Option<Command>> {
        commands::command(&self.base, id, &self.now()).await
    }

    async fn wake(&self) -> Result<u64> {
        parking::wake(&self.base, &self.now()).await
    }

    async fn unanswered(&self, run: RunId) -> Result<Vec<Command>> {
        commands::unanswered(&self.base, run, &self.now()).await
    }

    async fn waiting_commands(&self, engine: &EngineId, limit: u32) -> Result<Vec<Command>> {
        commands::waiting_commands(&self.base, engine, limit, &self.now()).await
    }

    async fn put_engine(&self, report: &EngineReport) -> Result<Engine> {
        engines::put_engine(&self.base, &self.time, report, &self.now()).await
    }

    async fn engines(&self) -> Result<Vec<Engine>> {
        engines::engines(&self.base, &self.now()).await
    }

    async fn drain_engine(
        &self,
        id: &EngineId,
        drain: bool,
        actor: Option<&str>,
        reason: Option<&str>,
    ) -> Result<Option<Engine>> {
        engines::drain_engine(&self.base, id, drain, actor, reason, &self.now()).await
    }

    async fn remove_engine(&self, id: &EngineId) -> Result<()> {
        engines::remove_engine(&self.base, id).await
    }

    /// The server removes expired documents by itself. So this only mends damaged leases.
    async fn sweep(&self, _: u32) -> Result<u64> {
        leases::mend(&self.base, &self.time, self.options.lease).await?;
        Ok(0)
    }
}
