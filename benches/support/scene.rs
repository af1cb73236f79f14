//! A server with a store of its own, and a process that answers for its agents.

// Not every benchmark needs all of it.
#![allow(dead_code)]

use std::time::{Duration, Instant};

use replibook::api::wire::{Listing, RunView};
use replibook::cli::demo::Process;
use replibook::run::{AgentRecord, RunStatus};
use reqwest::header::{AUTHORIZATION, HeaderValue};
use reqwest::{Client, ClientBuilder};
use serde_json::json;
use tempfile::TempDir;
use tokio::process::Command;

use super::simulator;
use super::support::{Backend, mongodb, with_database};

/// How long to wait for a run: far beyond what any takes.
const LIMIT: Duration = Duration::from_secs(900);

/// Time between two looks at a run: a look costs the server about as much as one agent does.
const LOOK: Duration = Duration::from_millis(50);

/// The file of the server's policy, if it has one.
const POLICY: &str = "policy.yaml";

/// The file that says who may do what, if the server asks, and where it then writes what they change.
const ACCESS: &str = "access.yaml";
const AUDIT: &str = "audit.jsonl";

/// The folder of credentials, if the agents want some.
const CREDENTIALS: &str = "credentials";

/// A server, the simulated agents, and a client for both.
pub(crate) struct Scene {
    pub(crate) server: Process,
    pub(crate) agents: Process,
    pub(crate) client: Client,
    backend: Backend,
    dir: TempDir,
}

impl Scene {
    /// Starts both processes. An action of the agents takes `takes`.
    pub(crate) async fn start(backend: Backend, takes: Duration) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let agents = Self::start_agents(&dir, takes).await;
        let server = Self::start_server(backend, &dir).await;
        Self { server, agents, client: client(), backend, dir }
    }

    /// Starts both processes, the server with this policy.
    pub(crate) async fn start_with_policy(backend: Backend, takes: Duration, policy: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(POLICY), policy).unwrap();
        let agents = Self::start_agents(&dir, takes).await;
        let server = Self::start_server(backend, &dir).await;
        Self { server, agents, client: client(), backend, dir }
    }

    /// Starts both processes, the server with this file of who may do what, and with an audit. The client has `token`.
    pub(crate) async fn start_with_access(backend: Backend, access: &str, token: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(ACCESS), access).unwrap();
        let agents = Self::start_agents(&dir, Duration::ZERO).await;
        let server = Self::start_server(backend, &dir).await;
        Self { server, agents, client: client_with(token), backend, dir }
    }

    /// Starts both processes, the agents at as many addresses and perhaps behind TLS; then clients need a certificate.
    pub(crate) async fn start_at(backend: Backend, places: simulator::Places) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join(CREDENTIALS);
        std::fs::create_dir(&folder).unwrap();
        let log = dir.path().join("agents.log");
        let command = simulator::command_at(Duration::ZERO, places, &folder);
        let agents = Process::start("the agents", command, &log).await.unwrap();
        let server = Self::start_server(backend, &dir).await;
        Self { server, agents, client: client(), backend, dir }
    }

    async fn start_agents(dir: &TempDir, takes: Duration) -> Process {
        let log = dir.path().join("agents.log");
        Process::start("the agents", simulator::command(takes), &log).await.unwrap()
    }

    async fn start_server(backend: Backend, dir: &TempDir) -> Process {
        let mut command = Command::new(env!("CARGO_BIN_EXE_replibook"));
        command.args(["serve", "--until-stdin-closes", "--listen", "127.0.0.1:0", "--data"]);
        command.arg(dir.path().join("data"));
        let policy = dir.path().join(POLICY);
        if policy.exists() {
            command.arg("--policy").arg(policy);
        }
        let access = dir.path().join(ACCESS);
        if access.exists() {
            command.arg("--access").arg(access).arg("--audit").arg(dir.path().join(AUDIT));
        }
        let credentials = dir.path().join(CREDENTIALS);
        if credentials.exists() {
            command.arg("--credentials").arg(credentials);
        }
        let name = dir.path().file_name().unwrap().to_str().unwrap();
        let store = match backend {
            Backend::Sqlite => "sqlite".to_owned(),
            Backend::Mongodb => with_database(&mongodb().unwrap(), name),
        };
        command.env("REPLIBOOK_STORE", store);
        let log = dir.path().join("server.log");
        Process::start("the server", command, &log).await.unwrap()
    }

    /// Kills the server as a crash would, and starts another one on the same data. Also returns the moment at
    /// which it was started.
    pub(crate) async fn crash(self) -> (Self, Instant) {
        let Self { server, agents, client, backend, dir } = self;
        server.kill().await.unwrap();
        let forget = format!("{}{}", agents.address(), simulator::FORGET);
        client.get(forget).send().await.unwrap();
        let start = Instant::now();
        let server = Self::start_server(backend, &dir).await;
        (Self { server, agents, client, backend, dir }, start)
    }

    /// Actions that were posted or looked at since the server crashed.
    pub(crate) async fn touched(&self) -> usize {
        let url = format!("{}{}", self.agents.address(), simulator::TOUCHED);
        self.client.get(url).send().await.unwrap().json().await.unwrap()
    }

    /// Ends both processes.
    pub(crate) async fn stop(self) {
        self.server.stop().await;
        self.agents.stop().await;
    }

    /// Process id of the server.
    pub(crate) fn server_id(&self) -> u32 {
        self.server.id().unwrap()
    }

    /// Process id of the simulated agents.
    pub(crate) fn agents_id(&self) -> u32 {
        self.agents.id().unwrap()
    }

    /// Puts a cluster of `agents` agents. All have the same address, and each has a path of its own.
    pub(crate) async fn put_cluster(&self, name: &str, agents: usize) {
        let base = self.agents.address().to_owned();
        self.put_agents(name, agents, |n| format!("{base}/{n}"), None).await;
    }

    /// Puts a cluster of `agents` agents at these addresses, which are reached with these credentials.
    pub(crate) async fn put_agents(
        &self,
        name: &str,
        agents: usize,
        at: impl Fn(usize) -> String,
        credentials: Option<&str>,
    ) {
        let agent = |n: usize| json!({"id": format!("node-{n}"), "address": at(n)});
        let mut spec = json!({"agents": (0..agents).map(agent).collect::<Vec<_>>()});
        if let Some(credentials) = credentials {
            spec["credentials"] = json!(credentials);
        }
        let cluster = json!({
            "apiVersion": "replicante.io/v1", "kind": "Cluster", "metadata": {"name": name}, "spec": spec,
        });
        self.put("clusters", &cluster.to_string()).await;
    }

    /// How many handshakes the agents did in full, and how many went on with an earlier session.
    pub(crate) async fn handshakes(&self) -> [usize; 2] {
        let control =
            std::fs::read_to_string(simulator::control(&self.dir.path().join(CREDENTIALS)));
        let url = format!("{}{}", control.unwrap(), simulator::HANDSHAKES);
        self.client.get(url).send().await.unwrap().json().await.unwrap()
    }

    /// Puts a playbook of one `action` step, which has at most `window` agents in flight.
    pub(crate) async fn put_playbook(&self, name: &str, window: usize) {
        let playbook = json!({
            "apiVersion": "replicante.io/v1", "kind": "Playbook",
            "metadata": {"name": name, "version": "1.0.0"},
            "spec": {"stages": [{
                "name": "all",
                "strategy": {"use": "rolling", "with": {"batch": window, "mode": "window"}},
                "steps": [{"name": "act", "action": "bench.example.com/act"}],
            }]},
        });
        self.put("playbooks", &playbook.to_string()).await;
    }

    /// Applies one document of this kind.
    pub(crate) async fn put(&self, kind: &str, document: &str) {
        let url = format!("{}/api/v1/{kind}", self.server.address());
        let body = json!({"document": document});
        let answer = self.client.post(url).json(&body).send().await.unwrap();
        assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
    }

    /// Starts a run. Also returns how long it took until the run was accepted.
    pub(crate) async fn start_run(&self, playbook: &str, cluster: &str) -> (RunView, Duration) {
        let start = Instant::now();
        let body = json!({"playbook": playbook, "cluster": cluster});
        let url = format!("{}/api/v1/runs", self.server.address());
        let answer = self.client.post(url).json(&body).send().await.unwrap();
        assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
        (answer.json().await.unwrap(), start.elapsed())
    }

    /// The run, asked for now.
    pub(crate) async fn run(&self, run: &RunView) -> RunView {
        let url = format!("{}/api/v1/runs/{}", self.server.address(), run.id);
        self.client.get(&url).send().await.unwrap().json().await.unwrap()
    }

    /// Waits until `done` holds for the run, which must not fail meanwhile.
    pub(crate) async fn wait_until(
        &self,
        run: &RunView,
        done: impl Fn(&RunView) -> bool,
    ) -> RunView {
        let start = Instant::now();
        loop {
            let view = self.run(run).await;
            if done(&view) {
                return view;
            }
            let bad = [RunStatus::Failed, RunStatus::Cancelled, RunStatus::Paused];
            let log = || self.server.log_tail();
            if bad.contains(&view.status) {
                panic!("{view:?}\n{}\n{}", self.first_failed(run).await, log());
            }
            assert!(start.elapsed() < LIMIT, "{view:?}\n{}", log());
            tokio::time::sleep(LOOK).await;
        }
    }

    /// The first agent of a run that failed, as the API has it, for the message of a benchmark that ends early.
    async fn first_failed(&self, run: &RunView) -> String {
        let base = format!("{}/api/v1/runs/{}", self.server.address(), run.id);
        let url = format!("{base}/agents?state=FAILED&limit=1");
        self.client.get(&url).send().await.unwrap().text().await.unwrap()
    }

    /// Waits until the run is done, and checks that all agents ended well.
    pub(crate) async fn wait_done(&self, run: &RunView) -> RunView {
        let view = self.wait_until(run, |view| view.status.is_final()).await;
        assert_eq!(view.status, RunStatus::Done, "{view:?}\n{}", self.server.log_tail());
        view
    }

    /// Milliseconds from the start of an agent to its result, of all agents of a run, in order.
    pub(crate) async fn latencies(&self, run: &RunView) -> Vec<i64> {
        let base = format!("{}/api/v1/runs/{}/agents?limit=1000", self.server.address(), run.id);
        let mut times = Vec::new();
        let mut after = String::new();
        loop {
            let answer = self.client.get(format!("{base}{after}")).send().await.unwrap();
            let page: Listing<AgentRecord> = answer.json().await.unwrap();
            times.extend(page.items.iter().filter_map(|record| {
                Some(record.ended_at?.as_millis() - record.started_at?.as_millis())
            }));
            match page.next {
                Some(next) => after = format!("&after={next}"),
                None => break,
            }
        }
        times.sort_unstable();
        times
    }
}

/// A client that uses no proxy.
pub(crate) fn client() -> Client {
    builder().build().unwrap()
}

/// A client that has this token.
fn client_with(token: &str) -> Client {
    let bearer = HeaderValue::from_str(&format!("Bearer {token}")).unwrap();
    builder().default_headers([(AUTHORIZATION, bearer)].into_iter().collect()).build().unwrap()
}

fn builder() -> ClientBuilder {
    // Another part of this process may have installed the provider before.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder().no_proxy()
}
