//! A store, agents and plugins for one test, and engines that can be stopped and killed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use replibook::agent::platform::FakePlatforms;
use replibook::agent::{AgentClient, AgentLimits, FakeAgents, Fault, Script, When};
use replibook::api::install_builtins;
use replibook::clock::{Clock, TokioClock};
use replibook::driver::{Activity, EngineConfig, Followers, Signals, World};
use replibook::outbound::{FakeOutbound, Outbound};
use replibook::playbook::{parse_cluster, parse_playbook, resolve};
use replibook::plugin::{HostConfig, PluginHost};
use replibook::run::{
    Approves, Command, CommandId, Digest, EngineId, Millis, Run, RunEvent, RunId, RunSeed,
    Timestamp, Verb, new_run, seeded,
};
use replibook::secrets::FakeSecrets;
use replibook::store::{Cluster, MemoryStore, NewRun, Put, Store, StoreError, StoreOptions};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::engine::RunningEngine;

/// A run that takes more virtual time than this is stuck.
const PATIENCE: Millis = Millis::from_secs(3_600);

pub(crate) struct Scene {
    pub(crate) memory: Arc<MemoryStore>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) agents: FakeAgents,
    pub(crate) platforms: FakePlatforms,
    /// Where the requests of steps go.
    pub(crate) outbound: FakeOutbound,
    /// The secrets of steps.
    pub(crate) secrets: FakeSecrets,
    /// The clock of the store and of the engines.
    pub(crate) clock: Arc<dyn Clock>,
    /// The same clock, with which a test sets it.
    set: Arc<Off>,
    pub(crate) plugins: PluginHost,
    count: usize,
}

impl Scene {
    pub(crate) async fn new(count: usize) -> Self {
        let start = Timestamp::from_millis(1_763_802_000_000);
        let right: Arc<dyn Clock> = Arc::new(TokioClock::starting_at(start));
        let set = Off::from(&right, 0);
        let clock: Arc<dyn Clock> = set.clone();
        let memory = Arc::new(MemoryStore::new(StoreOptions::default(), clock.clone()));
        let plugins =
            PluginHost::start(HostConfig { threads: Some(0), ..HostConfig::default() }).unwrap();
        install_builtins(memory.as_ref(), &plugins, clock.as_ref()).await.unwrap();
        let agents = FakeAgents::new(right.clone());
        let mut list = Vec::new();
        for index in 0..count {
            let payload = json!({"ok": true});
            agents.add(&address(index), Script::Succeed { when: When::Looks(2), payload });
            list.push(json!({"id": format!("node-{index}"), "address": address(index)}));
        }
        let text = json!({
            "apiVersion": "replicante.io/v1", "kind": "Cluster", "metadata": {"name": "c"},
            "spec": {"agents": list},
        })
        .to_string();
        let spec = parse_cluster(text.as_bytes()).unwrap();
        memory.put_cluster(&Cluster { text, spec, applied_at: start }).await.unwrap();
        let outbound = FakeOutbound::new(right.clone());
        let platforms = FakePlatforms::new(right);
        Self {
            store: memory.clone(),
            memory,
            agents,
            platforms,
            outbound,
            secrets: FakeSecrets::default(),
            clock,
            set,
            plugins,
            count,
        }
    }

    /// Creates a run of a rolling playbook with one action, over a quarter of the agents at a time.
    pub(crate) async fn start_run(&self, name: &str, budget: &str) -> RunId {
        self.start_run_with(name, budget, "approval: granted").await.unwrap()
    }

    /// The same with one more line in the playbook's step.
    pub(crate) async fn start_run_of(&self, name: &str, step: &str) -> RunId {
        self.create_run(name, "max_failed: 0", "approval: granted", step).await.unwrap()
    }

    /// The same with one more line in the playbook's `spec`.
    pub(crate) async fn start_run_with(
        &self,
        name: &str,
        budget: &str,
        spec: &str,
    ) -> Result<RunId, StoreError> {
        self.create_run(name, budget, spec, "on_error: fail").await
    }

    async fn create_run(
        &self,
        name: &str,
        budget: &str,
        spec: &str,
        step: &str,
    ) -> Result<RunId, StoreError> {
        let text = format!(
            "apiVersion: replicante.io/v1\nkind: Playbook\n\
             metadata: {{ name: {name}, version: 1.0.0 }}\n\
             spec:\n  {spec}\n  stages:\n    - name: only\n      budget: {{ {budget} }}\n      \
             strategy: {{ use: rolling, with: {{ batch: 25% }} }}\n      \
             steps:\n        - name: act\n          action: test.example.com/act\n          \
             {step}\n"
        );
        self.start_playbook(&text).await
    }

    /// Creates a run of this playbook, which uses only built-in plugins.
    pub(crate) async fn start_playbook(&self, text: &str) -> Result<RunId, StoreError> {
        self.start_playbook_with(text, Map::new()).await
    }

    /// The same with parameters. A plugin that the playbook declares is the built-in step of the same name.
    pub(crate) async fn start_playbook_with(
        &self,
        text: &str,
        params: Map<String, Value>,
    ) -> Result<RunId, StoreError> {
        let builtins: Vec<_> = self.plugins.builtins().iter().map(|b| b.info.clone()).collect();
        let document = parse_playbook(text.as_bytes()).unwrap();
        let declared = document.plugins().into_iter().map(|declared| {
            let info = builtins.iter().find(|info| info.name == declared.name).unwrap();
            (declared.name, info.clone())
        });
        let declared: BTreeMap<_, _> = declared.collect();
        let playbook = resolve(&document, &declared, &builtins).unwrap();
        let id = RunId(Uuid::now_v7());
        let (run, events) = new_run(id, &playbook, params, "c", None, self.clock.now());
        let run = seeded(run, || RunSeed::new([7; 32]));
        let request = Digest::of(text.as_bytes());
        let new = NewRun { run, events, idempotency_key: None, request };
        self.store.create_run(&new).await.map(|_| id)
    }

    /// Applies the cluster again, with this `spec`.
    pub(crate) async fn apply_cluster(&self, spec: serde_json::Value) {
        self.try_apply_cluster(spec).await.unwrap();
    }

    /// The same, with what the store says to it.
    pub(crate) async fn try_apply_cluster(&self, spec: Value) -> Result<Put, StoreError> {
        let text = json!({
            "apiVersion": "replicante.io/v1", "kind": "Cluster", "metadata": {"name": "c"},
            "spec": spec,
        })
        .to_string();
        let spec = parse_cluster(text.as_bytes()).unwrap();
        let applied_at = self.clock.now();
        self.store.put_cluster(&Cluster { text, spec, applied_at }).await
    }

    pub(crate) fn engine(&self, name: &str) -> RunningEngine {
        self.engine_with(name, 10)
    }

    /// Starts an engine whose clock is `millis` milliseconds ahead of the store's.
    pub(crate) fn engine_ahead(&self, name: &str, millis: i64) -> RunningEngine {
        let clock = Off::from(&self.clock, millis);
        RunningEngine::start(World { clock, ..self.world() }, name, 10)
    }

    /// Sets the clock of the store and of the engines back by this length.
    pub(crate) fn set_back(&self, length: Millis) {
        self.set.millis.fetch_sub(i64::try_from(length.0).unwrap(), Ordering::SeqCst);
    }

    /// Starts an engine that drives at most `max_runs` runs.
    pub(crate) fn engine_with(&self, name: &str, max_runs: usize) -> RunningEngine {
        RunningEngine::start(self.world(), name, max_runs)
    }

    /// Starts an engine that reaches its agents through this client.
    pub(crate) fn engine_of(&self, name: &str, agents: Arc<dyn AgentClient>) -> RunningEngine {
        RunningEngine::start(World { agents, ..self.world() }, name, 10)
    }

    /// Starts an engine whose steps send their requests there.
    pub(crate) fn engine_sending(&self, name: &str, outbound: Arc<dyn Outbound>) -> RunningEngine {
        RunningEngine::start(World { outbound, ..self.world() }, name, 10)
    }

    /// Starts an engine that has no secrets.
    pub(crate) fn engine_without_secrets(&self, name: &str) -> RunningEngine {
        let secrets = Arc::new(FakeSecrets::default());
        RunningEngine::start(World { secrets, ..self.world() }, name, 10)
    }

    /// Starts an engine with a clock of its own, and returns what it does.
    pub(crate) fn engine_by(
        &self,
        name: &str,
        clock: Arc<dyn Clock>,
    ) -> (RunningEngine, Arc<Activity>) {
        let config = EngineConfig::new(EngineId(name.to_owned()), 10);
        let activity = config.activity.clone();
        (RunningEngine::of(World { clock, ..self.world() }, config), activity)
    }

    pub(crate) fn world(&self) -> World {
        let platforms = Arc::new(self.platforms.clone());
        World {
            store: self.store.clone(),
            followers: Followers::new(platforms, self.store.clone(), self.clock.clone()),
            agents: Arc::new(self.agents.clone()),
            outbound: Arc::new(self.outbound.clone()),
            secrets: Arc::new(self.secrets.clone()),
            plugins: self.plugins.clone(),
            clock: self.clock.clone(),
            signals: Signals::new(),
            agent_limits: AgentLimits::default(),
        }
    }

    pub(crate) fn script(&self, agent: usize, script: Script) {
        self.agents.set_script(&address(agent), script);
    }

    pub(crate) fn fault(&self, agent: usize, fault: Fault) {
        self.agents.add_fault(&address(agent), fault);
    }

    pub(crate) async fn command(&self, run: RunId, verb: Verb) -> CommandId {
        self.command_again(run, verb, false).await
    }

    /// Somebody asks something of a run, or approves what it asks.
    pub(crate) async fn command_by(
        &self,
        run: RunId,
        verb: Verb,
        by: &str,
        approves: Option<Approves>,
    ) {
        let command =
            Command { approves, actor: Some(by.to_owned()), ..self.new_command(run, verb) };
        self.store.submit(&command).await.unwrap();
    }

    pub(crate) async fn command_again(&self, run: RunId, verb: Verb, again: bool) -> CommandId {
        let command = Command { again, ..self.new_command(run, verb) };
        self.store.submit(&command).await.unwrap();
        command.id
    }

    fn new_command(&self, run: RunId, verb: Verb) -> Command {
        Command {
            again: false,
            id: CommandId(Uuid::new_v4()),
            run,
            verb,
            agent: None,
            signal: None,
            override_guard: None,
            approves: None,
            actor: Some("ann".to_owned()),
            why: None,
            at: self.clock.now(),
            outcome: None,
            finish_ts: None,
        }
    }

    /// Asks a run to go on without this guard.
    pub(crate) async fn override_guard(&self, run: RunId, guard: &str, why: Option<&str>) {
        let command = Command {
            override_guard: Some(guard.to_owned()),
            why: why.map(str::to_owned),
            ..self.new_command(run, Verb::Resume)
        };
        self.store.submit(&command).await.unwrap();
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(crate) async fn wait(&self, length: Millis) {
        self.clock.sleep(length.to_std()).await;
    }

    pub(crate) async fn until(&self, id: RunId, wanted: impl Fn(&Run) -> bool) -> Run {
        let start = self.clock.now();
        loop {
            let run = self.store.run(id).await.unwrap().unwrap();
            if wanted(&run) {
                return run;
            }
            let progress = &run.progress;
            assert!(self.clock.now().since(start) < PATIENCE, "the run is stuck: {progress:?}");
            self.wait(Millis(50)).await;
        }
    }

    pub(crate) async fn until_final(&self, id: RunId) -> Run {
        self.until(id, |run| run.progress.status.is_final()).await
    }

    pub(crate) async fn events(&self, run: RunId) -> Vec<RunEvent> {
        self.store.events(run, 0, 1_000).await.unwrap()
    }

    /// How often each agent executed its actions.
    pub(crate) fn executions(&self) -> Vec<u32> {
        (0..self.count).map(|i| self.agents.executions(&address(i)).values().sum()).collect()
    }
}

pub(crate) fn address(index: usize) -> String {
    format!("http://127.0.0.1:{}", 10_000 + index)
}

/// A clock that is ahead of another one, or behind it.
pub(crate) struct Off {
    clock: Arc<dyn Clock>,
    millis: AtomicI64,
}

impl Off {
    fn from(clock: &Arc<dyn Clock>, millis: i64) -> Arc<Self> {
        Arc::new(Self { clock: clock.clone(), millis: AtomicI64::new(millis) })
    }
}

#[async_trait]
impl Clock for Off {
    fn now(&self) -> Timestamp {
        let ahead = self.millis.load(Ordering::SeqCst);
        Timestamp::from_millis(self.clock.now().as_millis() + ahead)
    }

    async fn sleep(&self, length: Duration) {
        self.clock.sleep(length).await;
    }
}
