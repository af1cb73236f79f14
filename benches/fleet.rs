//! What a run over many agents costs: `cargo bench --bench fleet`.
//!
//! A real server on SQLite drives one `action` step over agents that are simulated behind real
//! loopback HTTP, 500 at a time. Beside it, in the same run, the floor: a bare client with the same
//! HTTP library, the same window, the same requests and the same wait before it looks.
//! `REPLIBOOK_BENCH_AGENTS` sets the number of agents (default 1000).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
// Figures are what this program is for.
#![allow(clippy::print_stdout)]

use std::collections::HashSet;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::extract::{Path as UrlPath, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use futures::StreamExt as _;
use replibook::api::wire::RunView;
use replibook::cli::demo::Process;
use serde_json::{Value, json};
use tokio::process::Command;

/// Agents in flight.
const WINDOW: usize = 500;

/// The wait before the first look at an action: the default of the engine.
const LOOK: Duration = Duration::from_millis(50);

/// Far beyond what a run takes.
const LIMIT: Duration = Duration::from_secs(600);

const PLAYBOOK: &str = r#"
apiVersion: replicante.io/v1
kind: Playbook
metadata: { name: fleet, version: 1.0.0 }
spec:
  stages:
    - name: all
      strategy: { use: rolling, with: { batch: 500, mode: window } }
      steps: [ { name: act, action: bench.example.com/act } ]
"#;

/// Identifiers of the actions that the simulated agents know.
type Known = Arc<Mutex<HashSet<String>>>;

#[tokio::main]
async fn main() {
    let agents = std::env::var("REPLIBOOK_BENCH_AGENTS").ok();
    let agents: usize = agents.and_then(|text| text.parse().ok()).unwrap_or(1_000);
    // Another part of this process may have installed it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let fleet = simulate().await;
    let client = reqwest::Client::builder().no_proxy().build().unwrap();

    let start = Instant::now();
    floor(&client, &fleet, agents).await;
    let floor = start.elapsed();

    let dir = tempfile::tempdir().unwrap();
    let server = serve(dir.path()).await;
    prepare(&client, server.address(), &fleet, agents).await;
    let (accepted, run) = start_run(&client, server.address()).await;
    let start = Instant::now();
    wait(&client, server.address(), &run).await;
    let took = start.elapsed() + accepted;
    server.stop().await;

    let rate = |took: Duration| agents as f64 / took.as_secs_f64();
    println!("| what | agents | seconds | agents/s |");
    println!("| --- | --- | --- | --- |");
    println!("| floor: bare client | {agents} | {:.2} | {:.0} |", floor.as_secs_f64(), rate(floor));
    println!("| a run on SQLite | {agents} | {:.2} | {:.0} |", took.as_secs_f64(), rate(took));
    println!("run accepted in {:.0} ms", accepted.as_secs_f64() * 1_000.0);
}

/// Serves all agents from one address: each has a path of its own.
async fn simulate() -> String {
    async fn act(State(known): State<Known>, Json(action): Json<Value>) -> Json<Value> {
        let id = action["id"].as_str().unwrap().to_owned();
        known.lock().unwrap().insert(id.clone());
        Json(json!({"id": id}))
    }
    async fn look(
        State(known): State<Known>,
        UrlPath((_, id)): UrlPath<(String, String)>,
    ) -> Result<Json<Value>, StatusCode> {
        if !known.lock().unwrap().contains(&id) {
            return Err(StatusCode::NOT_FOUND);
        }
        let state = json!({"phase": "DONE", "payload": {"ok": true}, "error": null});
        let at = "2026-01-01T00:00:00Z";
        Ok(Json(json!({
            "id": id, "kind": "bench.example.com/act", "args": null, "metadata": {}, "state": state,
            "created_time": at, "scheduled_time": at, "finished_time": at,
        })))
    }
    async fn node(UrlPath(agent): UrlPath<String>) -> Json<Value> {
        let version = json!({"number": "1.0.0", "checkout": null, "extra": null});
        Json(json!({
            "node_id": agent, "node_status": "HEALTHY", "attributes": {}, "store_id": "bench",
            "agent_version": version, "store_version": version,
            "address": {"client": null, "member": null},
        }))
    }
    let router = Router::new()
        .route("/{agent}/api/unstable/action", post(act))
        .route("/{agent}/api/unstable/action/{id}", get(look))
        .route("/{agent}/api/unstable/info/node", get(node))
        .with_state(Known::default());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    // It ends with this process.
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    address
}

/// The same requests with nothing around them.
async fn floor(client: &reqwest::Client, fleet: &str, agents: usize) {
    let one = |agent: usize| async move {
        let api = format!("{fleet}/floor-{agent}/api/unstable");
        client.get(format!("{api}/info/node")).send().await.unwrap().bytes().await.unwrap();
        let id = uuid::Uuid::new_v4();
        let action = json!({"id": id, "kind": "bench.example.com/act", "args": null});
        client.post(format!("{api}/action")).json(&action).send().await.unwrap();
        tokio::time::sleep(LOOK).await;
        let look = client.get(format!("{api}/action/{id}")).send().await.unwrap();
        assert_eq!(look.json::<Value>().await.unwrap()["state"]["phase"], "DONE");
    };
    futures::stream::iter(0..agents).for_each_concurrent(WINDOW, one).await;
}

async fn serve(dir: &Path) -> Process {
    let mut command = Command::new(env!("CARGO_BIN_EXE_replibook"));
    command.args(["serve", "--until-stdin-closes", "--listen", "127.0.0.1:0", "--data"]);
    command.arg(dir.join("data"));
    Process::start("the server", command, &dir.join("server.log")).await.unwrap()
}

async fn prepare(client: &reqwest::Client, server: &str, fleet: &str, agents: usize) {
    let agent = |n: usize| json!({"id": format!("node-{n}"), "address": format!("{fleet}/{n}")});
    let cluster = json!({
        "apiVersion": "replicante.io/v1", "kind": "Cluster", "metadata": {"name": "fleet"},
        "spec": {"agents": (0..agents).map(agent).collect::<Vec<_>>()},
    });
    for (kind, document) in [("clusters", cluster.to_string()), ("playbooks", PLAYBOOK.to_owned())]
    {
        let url = format!("{server}/api/v1/{kind}");
        let answer = client.post(url).json(&json!({"document": document})).send().await.unwrap();
        assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
    }
}

async fn start_run(client: &reqwest::Client, server: &str) -> (Duration, RunView) {
    let start = Instant::now();
    let body = json!({"playbook": "fleet", "cluster": "fleet"});
    let answer = client.post(format!("{server}/api/v1/runs")).json(&body).send().await.unwrap();
    let run: RunView = answer.error_for_status().unwrap().json().await.unwrap();
    (start.elapsed(), run)
}

async fn wait(client: &reqwest::Client, server: &str, run: &RunView) {
    let url = format!("{server}/api/v1/runs/{}", run.id);
    let start = Instant::now();
    loop {
        let view: RunView = client.get(&url).send().await.unwrap().json().await.unwrap();
        if view.status.is_final() {
            assert_eq!(view.status.as_str(), "DONE", "{view:?}");
            return;
        }
        assert!(start.elapsed() < LIMIT, "{view:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
