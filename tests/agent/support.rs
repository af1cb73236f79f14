//! Servers and requests for these tests. Every server listens on a free port of loopback and ends when its
//! handle is dropped.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use replibook::agent::server::{AgentConfig, AgentSettings, RunningAgent, start};
use replibook::agent::{ActionRequest, AgentHttpConfig, HttpAgents};
use replibook::clock::SystemClock;
use replibook::run::Timestamp;
use serde_json::{Map, Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

/// How long to wait for anything that must happen.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// The identifier in the recorded answers.
pub(crate) const ID: Uuid = Uuid::from_u128(0x1111_1111_2222_4333_8444_5555_5555_5555);

/// A server in the test's own process, which ends when this is dropped.
pub(crate) struct Fixture {
    pub(crate) address: String,
    _server: AbortOnDropHandle<()>,
}

impl Fixture {
    pub(crate) async fn serve(router: Router) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, _server: AbortOnDropHandle::new(server) }
    }
}

pub(crate) fn client() -> HttpAgents {
    HttpAgents::new(&AgentHttpConfig::default()).unwrap()
}

pub(crate) fn request(id: Uuid, kind: &str, args: Value) -> ActionRequest {
    ActionRequest {
        id,
        kind: kind.to_owned(),
        args: args.into(),
        created_time: Timestamp::from_millis(1_795_338_000_000),
        metadata: Map::new(),
    }
}

/// A reference agent with a quick tick, in the test's own process.
pub(crate) async fn agent(folder: &Path, config: &str) -> (RunningAgent, String) {
    let config: AgentConfig = serde_yaml::from_str(config).unwrap();
    let settings = AgentSettings {
        config,
        data: folder.join("agent.sqlite"),
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        insecure: false,
        tls: None,
        tick: Duration::from_millis(5),
        retention: Duration::from_secs(3_600),
    };
    let agent = start(settings, Arc::new(SystemClock)).await.unwrap();
    let address = format!("http://{}", agent.address());
    (agent, address)
}

/// An HTTP answer as it came.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// Sends one request on a connection of its own, without an HTTP library.
pub(crate) async fn raw(address: &str, method: &str, path: &str, body: &str) -> Answer {
    let host = address.strip_prefix("http://").unwrap();
    let head = format!("host: {host}\r\ncontent-type: application/json\r\n");
    raw_with(address, method, path, &head, body).await
}

/// Like [`raw`], with these lines in the head, and no others but the length of the body.
pub(crate) async fn raw_with(
    address: &str,
    method: &str,
    path: &str,
    head: &str,
    body: &str,
) -> Answer {
    let mut stream = TcpStream::connect(address.strip_prefix("http://").unwrap()).await.unwrap();
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\n{head}connection: close\r\ncontent-length: {length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    // A server that refuses a body by its length closes the connection before it has read it.
    let _ = stream.write_all(body.as_bytes()).await;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head: head.to_owned(), body: body.to_owned() }
}

/// Schedules an action with a raw request.
pub(crate) async fn post(address: &str, id: Uuid, kind: &str, args: Value) -> Answer {
    let body = json!({
        "kind": kind, "args": args, "id": id,
        "metadata": {"run": "r1"}, "created_time": "2026-11-22T09:00:00Z",
    });
    raw(address, "POST", "/api/unstable/action", &body.to_string()).await
}

/// Asks for an action until `wanted` holds for it, and returns it.
pub(crate) async fn until(address: &str, id: Uuid, wanted: impl Fn(&Value) -> bool) -> Value {
    let start = Instant::now();
    loop {
        let answer = raw(address, "GET", &format!("/api/unstable/action/{id}"), "").await;
        let action = answer.json();
        if wanted(&action) {
            return action;
        }
        assert!(start.elapsed() < DEADLINE, "still {action}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Asks for an action until it is final, and returns it.
pub(crate) async fn until_final(address: &str, id: Uuid) -> Value {
    until(address, id, |action| !action["finished_time"].is_null()).await
}
