//! Engines in this process, with a store in MongoDB and in real time, over scripted agents.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use replibook::agent::platform::FakePlatforms;
use replibook::agent::{AgentLimits, FakeAgents, KnownId, Script, When};
use replibook::api::install_builtins;
use replibook::clock::{Clock, SystemClock};
use replibook::driver::{Followers, Signals, World};
use replibook::outbound::NoOutbound;
use replibook::playbook::{parse_cluster, parse_playbook, resolve};
use replibook::plugin::{HostConfig, PluginHost};
use replibook::run::{
    AgentState, Command, CommandId, Digest, Millis, Run, RunEvent, RunId, RunStatus, Verb, new_run,
};
use replibook::secrets::NoSecrets;
use replibook::store::mongodb::MongoOptions;
use replibook::store::{Cluster, MongoStore, NewRun, Store, StoreOptions};
use serde_json::{Map, json};
use uuid::Uuid;

use crate::engine::RunningEngine;
use crate::wait;

/// Far longer than any run of these tests takes, even on a busy machine.
pub(crate) const LIMIT: Duration = Duration::from_secs(240);

/// How many steps the playbook has.
pub(crate) const STEPS: usize = 2;

pub(crate) struct Scene {
    pub(crate) store: Arc<MongoStore>,
    pub(crate) agents: FakeAgents,
    plugins: PluginHost,
    clock: Arc<dyn Clock>,
}

impl Scene {
    /// A scene with the store at `address` and leases of this length.
    pub(crate) async fn new(address: &str, lease: Millis) -> Self {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let options = StoreOptions { lease, ..StoreOptions::default() };
        let mongo = MongoOptions::new(address);
        let store = Arc::new(MongoStore::open(&mongo, options, clock.clone()).await.unwrap());
        let plugins =
            PluginHost::start(HostConfig { threads: Some(1), ..HostConfig::default() }).unwrap();
        install_builtins(store.as_ref(), &plugins, clock.as_ref()).await.unwrap();
        let agents = FakeAgents::new(clock.clone());
        Self { store, agents, plugins, clock }
    }

    /// Starts a run of two actions over a cluster of its own, with `window` agents at a time. If an agent
    /// gets the POST of an action again, it does the action again. An action takes up to 150 ms.
    pub(crate) async fn start_run(&self, name: &str, agents: usize, window: usize) -> RunId {
        let now = self.clock.now();
        let mut list = Vec::new();
        for n in 0..agents {
            let address = address(name, n);
            let when = When::After(Millis(10 * (n as u64 % 16)));
            self.agents.add(&address, Script::Succeed { when, payload: json!({"n": n}) });
            self.agents.set_known_id(&address, KnownId::RunAgain);
            list.push(json!({"id": format!("node-{n}"), "address": address}));
        }
        let text = json!({
            "apiVersion": "replicante.io/v1", "kind": "Cluster", "metadata": {"name": name},
            "spec": {"agents": list},
        })
        .to_string();
        let spec = parse_cluster(text.as_bytes()).unwrap();
        self.store.put_cluster(&Cluster { text, spec, applied_at: now }).await.unwrap();

        let playbook = json!({
            "apiVersion": "replicante.io/v1", "kind": "Playbook",
            "metadata": {"name": name, "version": "1.0.0"},
            "spec": {"stages": [{
                "name": "only",
                "strategy": {"use": "rolling", "with": {"batch": window, "mode": "window"}},
                "steps": [
                    {"name": "drain", "action": "test.example.com/drain"},
                    {"name": "restart", "action": "test.example.com/restart"},
                ],
            }]},
        });
        let builtins: Vec<_> = self.plugins.builtins().iter().map(|b| b.info.clone()).collect();
        let document = parse_playbook(playbook.to_string().as_bytes()).unwrap();
        let playbook = resolve(&document, &BTreeMap::new(), &builtins).unwrap();
        let id = RunId(Uuid::now_v7());
        let (run, events) = new_run(id, &playbook, Map::new(), name, None, now);
        let request = Digest::of(name.as_bytes());
        let new = NewRun { run, events, idempotency_key: None, request };
        self.store.create_run(&new).await.unwrap();
        id
    }

    pub(crate) fn engine(&self, name: &str) -> RunningEngine {
        let platforms = Arc::new(FakePlatforms::new(self.clock.clone()));
        let world = World {
            store: self.store.clone(),
            followers: Followers::new(platforms, self.store.clone(), self.clock.clone()),
            agents: Arc::new(self.agents.clone()),
            outbound: Arc::new(NoOutbound),
            secrets: Arc::new(NoSecrets),
            plugins: self.plugins.clone(),
            clock: self.clock.clone(),
            signals: Signals::new(),
            agent_limits: AgentLimits::default(),
        };
        RunningEngine::start(world, name, 10)
    }

    pub(crate) async fn command(&self, run: RunId, verb: Verb) {
        let command = Command {
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
        };
        self.store.submit(&command).await.unwrap();
    }

    pub(crate) async fn until(&self, id: RunId, wanted: impl Fn(&Run) -> bool) -> Run {
        wait::until("the run", LIMIT, async || {
            // The server may be failing just now.
            self.store.run(id).await.ok().flatten().filter(&wanted)
        })
        .await
    }

    pub(crate) async fn until_final(&self, id: RunId) -> Run {
        self.until(id, |run| run.progress.status.is_final()).await
    }

    /// All events of a run.
    pub(crate) async fn events(&self, run: RunId) -> Vec<RunEvent> {
        let mut all: Vec<RunEvent> = Vec::new();
        loop {
            let after = all.last().map_or(0, |event| event.seq);
            let page = self.store.events(run, after, 1_000).await.unwrap();
            if page.is_empty() {
                return all;
            }
            all.extend(page);
        }
    }

    /// Proves that the run went well, that each agent did each of its actions once, and that everything that
    /// the run left has its `finish_ts`.
    pub(crate) async fn assert_done_once(&self, name: &str, run: &Run, agents: usize) {
        let progress = &run.progress;
        assert_eq!(progress.status, RunStatus::Done, "{progress:?}");
        assert_eq!(progress.count(AgentState::Done) as usize, agents, "{progress:?}");
        for n in 0..agents {
            let executions = self.agents.executions(&address(name, n));
            let times: Vec<_> = executions.values().copied().collect();
            assert_eq!(times, [1; STEPS], "{name}: node-{n}");
        }
        let events = self.events(run.id()).await;
        let found: Vec<_> = events.iter().map(|event| event.seq).collect();
        assert_eq!(found, (1..=events.len() as u64).collect::<Vec<_>>(), "{name}");
        assert!(events.iter().all(|event| event.finish_ts == progress.finish_ts), "{name}");
        let journals = self.store.journals(run.id(), None, None, 1_000).await.unwrap();
        assert_eq!(journals.len(), agents * STEPS, "{name}");
        assert!(journals.iter().all(|j| j.answers.len() == 1 && j.pending.is_none()), "{name}");
    }
}

fn address(cluster: &str, n: usize) -> String {
    format!("http://{cluster}-{n}.example.com")
}
