//! How much memory a server takes if all its agents answer with the worst that may come in.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use replibook::run::{AgentState, RunStatus};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::crash::server::{Client, Server};

const AGENTS: usize = 60;

/// How many KiB a server may take at most, however it was built. For each agent it holds a payload, arguments
/// and results at a time, each somewhat less than 1 MiB.
const MOST: u64 = 400 * 1024;

const LARGE: &str = "crash.example.com/large";

/// Objects nested in each other, which take the most memory once they are values: some 12 MiB in all. The
/// text beside them brings the payload close to the bytes that may come in.
fn payload() -> String {
    let chain = format!("{}1{}", r#"{"a":"#.repeat(60), "}".repeat(60));
    let mut text = format!("[{}]", vec![chain; 325].join(","));
    let rest = 1_000_000 - text.len();
    text.pop();
    write!(text, r#","{}"]"#, "x".repeat(rest)).unwrap();
    text
}

/// The kinds of the actions that the agents know, by their identifiers.
type Known = Arc<Mutex<HashMap<String, String>>>;

async fn schedule(State((known, _)): State<(Known, Arc<str>)>, body: String) -> String {
    let action: Value = serde_json::from_str(&body).unwrap();
    let [id, kind] = ["id", "kind"].map(|key| action[key].as_str().unwrap().to_owned());
    known.lock().unwrap().insert(id.clone(), kind);
    json!({ "id": id }).to_string()
}

async fn action(
    State((known, payload)): State<(Known, Arc<str>)>,
    Path((_, id)): Path<(String, String)>,
) -> Result<String, StatusCode> {
    let kind = known.lock().unwrap().get(&id).cloned().ok_or(StatusCode::NOT_FOUND)?;
    let payload = if kind == LARGE { &*payload } else { "null" };
    Ok(format!(r#"{{"id":"{id}","state":{{"phase":"DONE","payload":{payload},"error":null}}}}"#))
}

async fn node(Path(agent): Path<String>) -> String {
    json!({ "node_id": agent, "node_status": "HEALTHY", "attributes": {} }).to_string()
}

/// Starts agents that do every action at once, and returns their cluster.
async fn agents() -> Value {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let api = Router::new()
        .route("/{agent}/api/unstable/info/node", get(node))
        .route("/{agent}/api/unstable/action", post(schedule))
        .route("/{agent}/api/unstable/action/{id}", get(action))
        .layer(axum::extract::DefaultBodyLimit::disable())
        .with_state((Known::default(), payload().into()));
    tokio::spawn(async move { axum::serve(listener, api).await.unwrap() });
    let agent = |index: usize| {
        let address = format!("http://{address}/node-{index}");
        json!({ "id": format!("node-{index}"), "address": address })
    };
    let agents: Vec<_> = (0..AGENTS).map(agent).collect();
    json!({
        "apiVersion": "replicante.io/v1", "kind": "Cluster", "metadata": { "name": "large" },
        "spec": { "agents": agents },
    })
}

/// A playbook in which the second step gets what the first one returned.
fn playbook() -> Value {
    json!({
        "apiVersion": "replicante.io/v1", "kind": "Playbook",
        "metadata": { "name": "large", "version": "1.0.0" },
        "spec": { "stages": [{
            "name": "only", "strategy": { "use": "all-at-once" },
            "steps": [
                { "name": "first", "action": LARGE, "timeout": "10m" },
                {
                    "name": "second", "action": "crash.example.com/small", "timeout": "10m",
                    "args": { "was": "${{ steps.first.result }}" },
                },
            ],
        }] },
    })
}

/// The most that a process has taken so far, in KiB.
fn peak(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().trim().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_agents_with_the_worst_payloads_take_less_than_400_mib() {
    let (dir, client) = (tempfile::tempdir().unwrap(), Client::new());
    let cluster = agents().await;
    let server = Server::start(dir.path(), None, None).await;
    let api = format!("http://{}/api/v1", server.address);
    let send = async |path: &str, body: Value| -> Value {
        let response = client.0.post(format!("{api}/{path}")).json(&body).send().await.unwrap();
        let (status, text) = (response.status(), response.text().await.unwrap());
        assert!(status.is_success(), "{path}: {status} {text}");
        serde_json::from_str(&text).unwrap()
    };
    for document in [playbook(), cluster] {
        let (kind, text) =
            (document["kind"].as_str().unwrap().to_lowercase(), document.to_string());
        send(&format!("{kind}s"), json!({ "document": text })).await;
    }
    let started = send("runs", json!({ "playbook": "large", "cluster": "large" })).await;
    let id = started["id"].as_str().unwrap();
    let run = client.until_final(&server.address, id).await;
    let (peak, log) = (peak(server.process.id().unwrap()), server.log());
    assert_eq!(run.status, RunStatus::Done, "{run:?}\n{log}");
    assert_eq!(run.counts.get(&AgentState::Done), Some(&(AGENTS as u32)), "{run:?}");
    println!("the server took {} MiB at most", peak / 1024);
    assert!(peak < MOST, "found {peak} KiB, expected less than {MOST}");
    server.stop().await;
}
