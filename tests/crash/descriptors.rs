//! A server that may have only a few files open, and more agents than that.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use axum::body::Body;
use axum::extract::{Path as InPath, State};
use axum::http::Request;
use axum::routing::{get, post};
use axum::{Json, Router};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use replibook::api::wire::RunView;
use replibook::run::{AgentState, RunStatus};
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::AbortOnDropHandle;

use crate::crash::server::{Client, LIMIT, Server, Settings};
use crate::wait;

/// How many descriptors the server may have.
const DESCRIPTORS: u64 = 128;

/// How many agents there are, each with an address of its own: far more than descriptors.
const AGENTS: u32 = 200;

/// How often an action is found running before it has ended.
const LOOKS: u32 = 3;

/// The state that all agents share.
#[derive(Debug, Default)]
struct Work {
    /// How often each action was asked for.
    looks: Mutex<HashMap<String, u32>>,
    /// No action ends as long as this is set.
    held: AtomicBool,
}

/// Agents at many addresses of loopback, all on one port.
struct Agents {
    port: u16,
    work: Arc<Work>,
    _served: AbortOnDropHandle<()>,
}

impl Agents {
    async fn start() -> Self {
        let work = Arc::new(Work::default());
        let router = Router::new()
            .route("/api/unstable/info/node", get(node))
            .route("/api/unstable/action", post(schedule))
            .route("/api/unstable/action/{id}", get(look))
            .with_state(work.clone());
        let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let served = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { port, work, _served: AbortOnDropHandle::new(served) }
    }

    /// Sets whether actions go on for ever.
    fn hold(&self, held: bool) {
        self.work.held.store(held, Ordering::SeqCst);
    }

    fn cluster(&self) -> Value {
        let agent = |number: u32| {
            let (third, fourth) = (1 + number / 250, 1 + number % 250);
            let address = format!("http://127.0.{third}.{fourth}:{}", self.port);
            json!({ "id": format!("node-{number}"), "address": address, "identity": "ignore" })
        };
        let agents: Vec<_> = (0..AGENTS).map(agent).collect();
        json!({
            "apiVersion": "replicante.io/v1", "kind": "Cluster", "metadata": { "name": "many" },
            "spec": { "agents": agents },
        })
    }
}

async fn node() -> Json<Value> {
    Json(json!({
        "node_id": "any", "node_status": "HEALTHY", "attributes": {}, "agent_version": "1",
        "store_id": "s", "store_version": "1",
    }))
}

async fn schedule(State(work): State<Arc<Work>>, Json(action): Json<Value>) -> Json<Value> {
    let id = action["id"].as_str().unwrap().to_owned();
    let before = work.looks.lock().unwrap().insert(id.clone(), 0);
    assert_eq!(before, None, "sent twice");
    Json(json!({ "id": id }))
}

async fn look(
    State(work): State<Arc<Work>>,
    InPath(id): InPath<String>,
) -> Result<Json<Value>, axum::http::StatusCode> {
    let mut looks = work.looks.lock().unwrap();
    let count = looks.get_mut(&id).ok_or(axum::http::StatusCode::NOT_FOUND)?;
    *count += 1;
    let done = *count > LOOKS && !work.held.load(Ordering::SeqCst);
    let phase = if done { "DONE" } else { "RUNNING" };
    Ok(Json(json!({
        "id": id, "kind": "x", "args": {}, "metadata": {}, "created_time": "2026-11-01T00:00:00Z",
        "scheduled_time": null, "finished_time": null,
        "state": { "phase": phase, "payload": null, "error": null },
    })))
}

const PLAYBOOK: &str = "
apiVersion: replicante.io/v1
kind: Playbook
metadata: { name: many, version: 1.0.0 }
spec:
  stages:
    - name: all
      strategy: { use: all-at-once }
      steps:
        - name: one
          action: example.com/one
";

/// A server with only [`DESCRIPTORS`] descriptors.
async fn server(dir: &Path) -> Server {
    use std::os::unix::fs::PermissionsExt as _;
    let program = dir.join("few.sh");
    let path = env!("CARGO_BIN_EXE_replibook");
    let script = format!(
        "#!/bin/sh\nulimit -S -n {DESCRIPTORS}\nulimit -H -n {DESCRIPTORS}\nexec {path} \"$@\"\n"
    );
    std::fs::write(&program, script).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let args = vec!["--agent-patience", "1s"];
    Server::start_with(Settings { program, args, ..Settings::in_dir(dir) }, None).await
}

/// Speaks to the server on one connection. A pool of connections would open another one if the first is not
/// idle again yet, and a server without free descriptors accepts none.
struct OneConnection {
    address: String,
    sender: SendRequest<String>,
    _driven: AbortOnDropHandle<()>,
}

impl OneConnection {
    async fn to(server: &Server) -> Self {
        let address = server.address.to_string();
        let stream = TcpStream::connect(&address).await.unwrap();
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        let driven = tokio::spawn(async move { connection.await.unwrap() });
        Self { address, sender, _driven: AbortOnDropHandle::new(driven) }
    }

    async fn send(&mut self, method: &str, path: &str, body: String) -> (u16, String) {
        let request = Request::builder().method(method).uri(path).header("host", &self.address);
        let request = request.header("content-type", "application/json").body(body).unwrap();
        let answer = async {
            self.sender.ready().await.unwrap();
            let answer = self.sender.send_request(request).await.unwrap();
            let status = answer.status().as_u16();
            let body = axum::body::to_bytes(Body::new(answer.into_body()), usize::MAX).await;
            (status, String::from_utf8(body.unwrap().into()).unwrap())
        };
        tokio::time::timeout(LIMIT, answer).await.unwrap()
    }

    async fn get<T: serde::de::DeserializeOwned>(&mut self, path: &str) -> T {
        let (_, answer) = self.send("GET", path, String::new()).await;
        serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{error}: {answer}"))
    }

    async fn post(&mut self, path: &str, body: &Value, expected: u16) -> String {
        let (status, answer) =
            self.send("POST", &format!("/api/v1/{path}"), body.to_string()).await;
        assert_eq!(status, expected, "{answer}");
        answer
    }

    /// The value of a metric in `/metrics`.
    async fn number(&mut self, name: &str) -> f64 {
        let (_, text) = self.send("GET", "/metrics", String::new()).await;
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {name} in {text}")).parse().unwrap()
    }
}

/// Starts a run over all agents, and returns its id.
async fn start(client: &mut OneConnection, agents: &Agents) -> String {
    let cluster = agents.cluster().to_string();
    for (path, document) in [("clusters", cluster.as_str()), ("playbooks", PLAYBOOK)] {
        client.post(path, &json!({ "document": document }), 201).await;
    }
    let body = json!({ "playbook": "many", "cluster": "many" });
    let run: RunView = serde_json::from_str(&client.post("runs", &body, 201).await).unwrap();
    run.id.to_string()
}

fn assert_all_done(run: &RunView) {
    assert_eq!(run.status, RunStatus::Done, "{:?}", run.reason);
    assert_eq!((run.all_failures, run.counts[&AgentState::Done]), (0, AGENTS), "{:?}", run.counts);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_agents_than_descriptors_are_asked_one_after_the_other() {
    let dir = tempfile::tempdir().unwrap();
    let (agents, server) = (Agents::start().await, server(dir.path()).await);
    let mut client = OneConnection::to(&server).await;
    assert_eq!(client.number("process_max_fds").await, DESCRIPTORS as f64);
    let run = start(&mut client, &agents).await;
    let ended = Client::new().until_final(&server.address, &run).await;
    assert_all_done(&ended);
    assert_eq!(agents.work.looks.lock().unwrap().len(), AGENTS as usize);
    let open = client.number("process_open_fds").await;
    assert!(open < DESCRIPTORS as f64, "{open}");
    assert!(!server.log().contains("os error 24"), "{}", server.log());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_server_is_short_of_is_no_failure_of_an_agent() {
    let dir = tempfile::tempdir().unwrap();
    let (agents, server) = (Agents::start().await, server(dir.path()).await);
    let id = i32::try_from(server.process.id().unwrap()).unwrap();
    let limit = |descriptors: u64| {
        let limits = Rlimit { current: Some(descriptors), maximum: Some(DESCRIPTORS) };
        prlimit(Pid::from_raw(id), Resource::Nofile, limits).unwrap();
    };
    assert!(getrlimit(Resource::Nofile).current.is_none_or(|own| own > DESCRIPTORS));
    let mut client = OneConnection::to(&server).await;
    // Files that the server has open for a moment are closed again, so a few agents may get through. They
    // must not let the run end before the others have waited.
    agents.hold(true);
    let open = client.number("process_open_fds").await;
    limit(open as u64);
    let run = start(&mut client, &agents).await;
    // By then, each agent's patience is long over.
    wait::until("all agents to have waited several times", LIMIT, async || {
        let view: RunView = client.get(&format!("/api/v1/runs/{run}")).await;
        assert!(!view.status.is_final(), "{view:?}");
        let times = client.number("replibook_shortages_total").await;
        (times > f64::from(AGENTS) * 5.0).then_some(())
    })
    .await;
    wait::until("the server to say what it is short of", LIMIT, async || {
        let ready: Value = client.get("/readyz").await;
        (ready["short"]["message"] == "this server has no descriptors left").then_some(())
    })
    .await;
    let why: Value = client.get(&format!("/api/v1/runs/{run}/explanation")).await;
    assert!(why["text"].as_str().unwrap().contains("no descriptors left"), "{why}");
    assert!(server.log().contains("requests to agents are waiting"), "{}", server.log());
    let view: RunView = client.get(&format!("/api/v1/runs/{run}")).await;
    assert_eq!((view.all_failures, view.status.is_final()), (0, false), "{view:?}");
    limit(DESCRIPTORS);
    agents.hold(false);
    assert_all_done(&Client::new().until_final(&server.address, &run).await);
    server.stop().await;
}
