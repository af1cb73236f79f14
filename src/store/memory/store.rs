//! The store itself: each call is one step under one lock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use semver::Version;

use super::damaged::Damaged;
use super::faults::Faults;
use super::state::{State, page};
use crate::checked::Checked;
use crate::contract::{Lease, Result, Store};
use crate::damage::{Found, KeptRun, RunPage};
use crate::documents::{
    Abandon, Abandonment, Claim, Cluster, Created, Ending, Failed, Head, Holder, Locked, LogCursor,
    NewRun, Object, Page, Plugin, PluginSignature, Put, Queue, RunFilter, StoredPlaybook,
    SweptPlugins,
};
use crate::engines::{Engine, EngineReport};
use crate::options::{Moment, StoreOptions};
use crate::size::{check_new_run, check_put};
use replibook_base::clock::Clock;
use replibook_core::playbook::access::Sight;
use replibook_core::run::{
    AgentId, AgentRecord, AgentSeq, AgentState, AttemptKey, Command, CommandId, Digest, EngineId,
    Journal, LogLine, Millis, OldLines, Run, RunEvent, RunId, Timestamp, Trouble, Writes,
};

/// A store in memory.
pub struct MemoryStore {
    state: Arc<Mutex<State>>,
    pub(super) faults: Faults,
    options: StoreOptions,
    clock: Arc<dyn Clock>,
    calls: AtomicU64,
}

impl MemoryStore {
    /// An empty store that takes time from `clock`.
    pub fn new(options: StoreOptions, clock: Arc<dyn Clock>) -> Self {
        let state = State {
            retention: Some(options.retention),
            plugin_retention: Some(options.plugin_retention),
            ..State::default()
        };
        let state = Arc::new(Mutex::new(state));
        Self { state, faults: Faults::default(), options, clock, calls: AtomicU64::new(0) }
    }

    /// The same documents, as another process would open them, with settings of its own.
    ///
    /// # Errors
    /// [`StoreError::Unfit`](crate::StoreError::Unfit) when a retention is asked for that is shorter than
    /// that of the store.
    pub fn open_again(&self, options: StoreOptions) -> Result<Self> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let retention = options.retention_over(state.retention)?;
        let plugin_retention = options.plugin_retention_over(state.plugin_retention)?;
        state.retention = Some(retention);
        state.plugin_retention = Some(plugin_retention);
        drop(state);
        Ok(Self {
            calls: AtomicU64::new(0),
            state: self.state.clone(),
            faults: Faults::default(),
            options: StoreOptions { retention, plugin_retention, ..options },
            clock: self.clock.clone(),
        })
    }

    /// Looks at every document.
    pub fn check(&self) -> Checked {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).check()
    }

    /// The clusters that have a lock, whether a run holds it or not.
    pub fn locks(&self) -> Vec<String> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.locks.keys().cloned().collect()
    }

    /// How long the records of a run are kept.
    pub fn retention(&self) -> Millis {
        self.options.retention
    }

    /// How often the store was called.
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    /// Damages a document that is there: it can't be read from now on, until it is written anew.
    pub fn damage(&self, what: Damaged) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.damaged.insert(what);
    }

    /// Makes a document readable again that was damaged.
    pub fn mend(&self, what: &Damaged) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.damaged.remove(what);
    }

    fn call<T>(&self, work: impl FnOnce(&mut State, &Moment) -> Result<T>) -> Result<T> {
        self.work(false, work)
    }

    fn work<T>(
        &self,
        commit: bool,
        work: impl FnOnce(&mut State, &Moment) -> Result<T>,
    ) -> Result<T> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let at = self.options.at(self.clock.now());
        // A panic of one test must not hide behind another's.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        self.faults.around(commit, || work(&mut state, &at))
    }
}

#[async_trait]
impl Store for MemoryStore {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn time(&self) -> Timestamp {
        self.clock.now()
    }

    fn wall(&self) -> Timestamp {
        self.clock.wall()
    }

    async fn ping(&self) -> Result<()> {
        match self.faults.spare_pings() {
            true => Ok(()),
            false => self.call(|_, _| Ok(())),
        }
    }

    async fn put_playbook(&self, playbook: &StoredPlaybook) -> Result<Put> {
        self.call(|state, _| state.put_playbook(playbook))
    }

    async fn playbook(
        &self,
        name: &str,
        version: Option<&Version>,
    ) -> Result<Option<StoredPlaybook>> {
        self.call(|state, _| state.playbook(name, version))
    }

    async fn read_playbooks(&self, page: &Page) -> Result<Found<StoredPlaybook>> {
        self.call(|state, _| state.playbooks(page))
    }

    async fn delete_playbook(&self, name: &str, version: &Version) -> Result<bool> {
        self.call(|state, _| Ok(state.delete_playbook(name, version)))
    }

    async fn put_cluster(&self, cluster: &Cluster) -> Result<Put> {
        self.call(|state, _| state.put_cluster(cluster))
    }

    async fn cluster(&self, name: &str) -> Result<Option<Cluster>> {
        self.call(|state, _| state.cluster(name))
    }

    async fn read_clusters(&self, page: &Page) -> Result<Found<Cluster>> {
        self.call(|state, _| Ok(state.clusters(page)))
    }

    async fn delete_cluster(&self, name: &str) -> Result<bool> {
        self.call(|state, _| state.delete_cluster(name))
    }

    async fn put_all(&self, objects: &[Object]) -> Result<Vec<Put>> {
        check_put(objects)?;
        self.call(|state, _| state.put_all(objects))
    }

    async fn put_plugin(&self, plugin: &Plugin, bytes: Bytes) -> Result<Put> {
        self.call(|state, _| Ok(state.put_plugin(plugin, bytes)))
    }

    async fn sign_plugin(
        &self,
        digest: &Digest,
        new: &[PluginSignature],
    ) -> Result<Option<Plugin>> {
        self.call(|state, _| state.sign_plugin(digest, new))
    }

    async fn plugin(&self, digest: &Digest) -> Result<Option<Plugin>> {
        self.call(|state, _| state.plugin(digest))
    }

    async fn plugin_by_name(&self, name: &str, version: &str) -> Result<Option<Plugin>> {
        self.call(|state, _| state.plugin_by_name(name, version))
    }

    async fn plugin_bytes(&self, digest: &Digest) -> Result<Option<Bytes>> {
        self.call(|state, _| state.plugin_bytes(digest))
    }

    async fn read_plugins(&self, page: &Page) -> Result<Found<Plugin>> {
        self.call(|state, _| state.plugins(page))
    }

    async fn delete_plugin(&self, digest: &Digest) -> Result<bool> {
        self.call(|state, at| state.delete_plugin(digest, at))
    }

    fn plugin_retention(&self) -> Millis {
        self.options.plugin_retention
    }

    async fn renew_plugins(&self, digests: &[Digest]) -> Result<u64> {
        self.call(|state, at| Ok(state.renew_plugins(digests, at)))
    }

    async fn sweep_plugins(&self, limit: u32) -> Result<Option<SweptPlugins>> {
        self.call(|state, at| Ok(state.sweep_plugins(limit, at)))
    }

    async fn create_run(&self, new: &NewRun) -> Result<Created> {
        check_new_run(new)?;
        self.call(|state, at| state.create_run(new, at))
    }

    async fn run_of_request(&self, key: &str, request: &Digest) -> Result<Option<Run>> {
        self.call(|state, at| state.run_of_request(key, request, at))
    }

    async fn read_run(&self, id: RunId) -> Result<Option<KeptRun>> {
        self.call(|state, at| Ok(state.live(id, at).map(|entry| state.intact_run(entry))))
    }

    async fn read_runs(&self, filter: &RunFilter, page: &Page) -> Result<RunPage> {
        self.call(|state, at| state.list_runs(filter, page, at)).map(RunPage::from)
    }

    async fn newest_runs(&self, seen: Option<&[Sight]>, limit: u32) -> Result<Vec<RunId>> {
        self.call(|state, at| Ok(state.newest_runs(seen, limit, at)))
    }

    async fn claim_some(&self, engine: &EngineId, claim: &Claim) -> Result<Vec<Lease>> {
        self.call(|state, at| Ok(state.claim(engine, claim, at)))
    }

    async fn unclaimed(&self) -> Result<u32> {
        self.call(|state, at| Ok(state.unclaimed(at)))
    }

    async fn holders(&self, runs: &[RunId]) -> Result<Vec<Holder>> {
        self.call(|state, at| Ok(state.holders(runs, at)))
    }

    async fn park(&self, run: RunId, epoch: u64, until: Timestamp) -> Result<bool> {
        self.call(|state, at| state.park(run, epoch, until, at))
    }

    async fn renew(&self, engine: &EngineId) -> Result<Vec<Lease>> {
        self.call(|state, at| Ok(state.renew(engine, at)))
    }

    async fn release(&self, run: RunId, epoch: u64) -> Result<()> {
        self.call(|state, _| {
            state.release(run, epoch);
            Ok(())
        })
    }

    async fn release_all(&self, engine: &EngineId) -> Result<()> {
        self.call(|state, _| {
            state.release_all(engine);
            Ok(())
        })
    }

    async fn set_aside(
        &self,
        run: RunId,
        epoch: u64,
        engine: &EngineId,
        failure: &Failed,
    ) -> Result<Trouble> {
        self.call(|state, at| state.set_aside(run, epoch, engine, failure, at))
    }

    async fn recover(&self, run: RunId, epoch: u64) -> Result<()> {
        self.call(|state, at| state.recover(run, epoch, at))
    }

    async fn troubles(&self, after: Option<RunId>, limit: u32) -> Result<Vec<Trouble>> {
        self.call(|state, _| Ok(state.troubles(after, limit)))
    }

    async fn troubles_of(&self, runs: &[RunId]) -> Result<Vec<Trouble>> {
        self.call(|state, at| Ok(state.troubles_of(runs, at)))
    }

    async fn rouse(&self) -> Result<u64> {
        self.call(|state, _| Ok(state.rouse()))
    }

    async fn abandon(&self, run: RunId, request: &Abandon) -> Result<Abandonment> {
        self.call(|state, at| Ok(state.abandon(run, request, at)))
    }

    async fn end_abandoned(&self, run: RunId) -> Result<Ending> {
        self.clock.sleep(self.faults.ends_take().to_std()).await;
        self.call(|state, at| {
            self.faults.check_end(run)?;
            Ok(state.end_abandoned(run, at))
        })
    }

    async fn lock_cluster(&self, run: RunId, epoch: u64) -> Result<Locked> {
        self.call(|state, at| state.lock_cluster(run, epoch, at))
    }

    async fn commit(&self, run: RunId, epoch: u64, writes: &Writes) -> Result<()> {
        self.work(true, |state, at| {
            self.faults.check_commit(run, writes)?;
            state.commit(run, epoch, writes, at)
        })
    }

    async fn queues(&self, clusters: &[String]) -> Result<Vec<Queue>> {
        self.call(|state, _| Ok(state.queues(clusters)))
    }

    async fn heads(&self, runs: &[RunId]) -> Result<Vec<Head>> {
        self.call(|state, at| Ok(state.heads(runs, at)))
    }

    async fn forget_lines(&self, run: RunId, epoch: u64, lines: &OldLines) -> Result<u64> {
        self.call(|state, at| state.forget_lines(run, epoch, lines, at))
    }

    async fn stamp(&self, run: RunId, epoch: u64, finish_ts: Timestamp) -> Result<u64> {
        self.call(|state, at| state.stamp(run, epoch, finish_ts, at))
    }

    async fn read_records(
        &self,
        run: RunId,
        agent_state: Option<AgentState>,
        after: Option<AgentSeq>,
        limit: u32,
    ) -> Result<Found<AgentRecord>> {
        let fits = |record: &AgentRecord| agent_state.is_none_or(|state| record.state == state);
        self.call(|state, at| {
            Ok(page(&state.records, &state.damaged, run, after.as_ref(), limit, at, fits))
        })
    }

    async fn record(&self, run: RunId, agent: &AgentId) -> Result<Option<AgentRecord>> {
        let fits = |record: &AgentRecord| record.agent == *agent;
        self.call(|state, at| {
            let found = page(&state.records, &state.damaged, run, None, 1, at, fits).pop();
            Ok(found.transpose()?)
        })
    }

    async fn read_journals(
        &self,
        run: RunId,
        agent: Option<AgentSeq>,
        after: Option<AttemptKey>,
        limit: u32,
    ) -> Result<Found<Journal>> {
        let fits = |journal: &Journal| agent.is_none_or(|agent| journal.key.agent == agent);
        self.call(|state, at| {
            Ok(page(&state.journals, &state.damaged, run, after.as_ref(), limit, at, fits))
        })
    }

    async fn read_logs(
        &self,
        run: RunId,
        agent: Option<&AgentId>,
        after: Option<&LogCursor>,
        limit: u32,
    ) -> Result<Found<LogLine>> {
        let fits = |line: &LogLine| agent.is_none_or(|agent| line.agent.as_ref() == Some(agent));
        self.call(|state, at| Ok(page(&state.logs, &state.damaged, run, after, limit, at, fits)))
    }

    async fn read_events(&self, run: RunId, after: u64, limit: u32) -> Result<Found<RunEvent>> {
        self.call(|state, at| {
            Ok(page(&state.events, &state.damaged, run, Some(&after), limit, at, |_| true))
        })
    }

    async fn submit(&self, command: &Command) -> Result<Put> {
        self.call(|state, at| Ok(state.submit(command, at)))
    }

    async fn command(&self, id: CommandId) -> Result<Option<Command>> {
        self.call(|state, at| {
            let command = state.commands.get(&id);
            let Some(command) = command.filter(|command| at.shows(command.finish_ts)) else {
                return Ok(None);
            };
            let place = Damaged::Command(id);
            Ok(Some(state.intact("a command", &place, id.0.to_string(), command)?))
        })
    }

    async fn wake(&self) -> Result<u64> {
        self.call(|state, at| Ok(state.wake(at)))
    }

    async fn unanswered(&self, run: RunId) -> Result<Vec<Command>> {
        self.call(|state, at| Ok(state.unanswered(run, at)))
    }

    async fn waiting_commands(&self, engine: &EngineId, limit: u32) -> Result<Vec<Command>> {
        self.call(|state, at| Ok(state.waiting_commands(engine, limit, at)))
    }

    async fn put_engine(&self, report: &EngineReport) -> Result<Engine> {
        self.call(|state, at| Ok(state.put_engine(report, at)))
    }

    async fn engines(&self) -> Result<Vec<Engine>> {
        self.call(|state, at| Ok(state.engines(at)))
    }

    async fn drain_engine(
        &self,
        id: &EngineId,
        drain: bool,
        actor: Option<&str>,
        reason: Option<&str>,
    ) -> Result<Option<Engine>> {
        self.call(|state, at| Ok(state.drain_engine(id, drain, actor, reason, at)))
    }

    async fn remove_engine(&self, id: &EngineId) -> Result<()> {
        self.call(|state, _| {
            state.engines.remove(&id.0);
            Ok(())
        })
    }

    async fn sweep(&self, limit: u32) -> Result<u64> {
        self.call(|state, at| Ok(state.sweep(limit, at)))
    }
}
