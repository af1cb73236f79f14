//! Clients that take everything they can get, and do nothing with it.

use std::sync::Arc;
use std::time::Duration;

use replibook::api::MAX_PLUGIN_BODY;
use replibook::run::EngineId;
use replibook::store::Store as _;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::api::server::{CLUSTER, DEADLINE, JumpingClock, Server, playbook};

/// Connections that each announce the largest body: far more than the memory for bodies has room for, and
/// more than the share of one client.
const GREEDY: usize = 40;

async fn connect(server: &Server, says: &str) -> TcpStream {
    let mut client = TcpStream::connect(&server.address).await.unwrap();
    client.write_all(says.as_bytes()).await.unwrap();
    client
}

/// A server with a run that waits. Returns the run's identifier.
async fn with_run(server: &Server) -> String {
    server.apply_cluster(CLUSTER).await.ok(201);
    server.apply(&playbook("restart", "1.0.0", "")).await.ok(201);
    let start = json!({ "playbook": "restart", "cluster": "eu" });
    server.post("/api/v1/runs", start).await.ok(201)["id"].as_str().unwrap().to_owned()
}

/// Checks that a command is taken and kept. It gets no outcome, as no engine drives the run here.
async fn steers(server: &Server, run: &str) {
    let pause = json!({ "command": "pause", "actor": "ada" });
    server.post(&format!("/api/v1/runs/{run}/commands"), pause).await.ok(202);
    server.get("/healthz").await.ok(200);
    server.get("/readyz").await.ok(200);
}

#[tokio::test]
async fn bodies_that_are_announced_and_never_sent_keep_nobody_out() {
    let server = Server::with_clock(Arc::new(JumpingClock::default())).await;
    let run = with_run(&server).await;
    let mut greedy = Vec::new();
    for _ in 0..GREEDY {
        let says = format!(
            "PUT /api/v1/plugins HTTP/1.1\r\nhost: localhost\r\ncontent-length: {MAX_PLUGIN_BODY}\r\n\r\n"
        );
        greedy.push(connect(&server, &says).await);
    }
    steers(&server, &run).await;
    // Another upload gets through too.
    server.apply(&playbook("restart", "1.0.1", "")).await.ok(201);
    // These clients are told that they are too slow, or that the server stops.
    server.stop().await;
    for client in &mut greedy {
        let mut heard = Vec::new();
        let _ = client.read_to_end(&mut heard).await;
    }
}

#[tokio::test]
async fn requests_past_the_share_of_a_client_are_refused_and_steering_goes_on() {
    let connections = 16;
    let server = Server::with_connections(connections).await;
    let run = with_run(&server).await;
    // Each request goes on until its body has come.
    let says = "POST /api/v1/runs HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
                content-length: 1000\r\n\r\n{";
    let mut slow = Vec::new();
    for _ in 0..connections - 2 {
        slow.push(connect(&server, says).await);
    }
    let refused = async {
        loop {
            let reply = server.get("/api/v1/runs").await;
            if reply.status == 503 {
                return reply;
            }
        }
    };
    let refused = tokio::time::timeout(DEADLINE, refused).await.unwrap();
    assert_eq!(refused.header("retry-after"), "1");
    refused.problem(503, "too-busy");
    steers(&server, &run).await;
    // The same share serves those who name a run by a part of its identifier.
    let part = run.replace('-', "").split_off(20);
    for query in [String::new(), format!("?part={part}")] {
        let found = server.get(&format!("/api/v1/runs/find{query}")).await.ok(200);
        assert_eq!(found, json!({ "ids": [run.as_str()], "count": 1 }));
    }
    steered_by_the_command_line(&server, &run, "last").await;
    steered_by_the_command_line(&server, &run, &format!("run/{part}")).await;
    drop(slow);
    let again = async {
        while server.get("/api/v1/runs").await.status != 200 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, again).await.unwrap();
    server.stop().await;
}

/// Checks that `replictl` gets its command through when the run is named `name`.
async fn steered_by_the_command_line(server: &Server, run: &str, name: &str) {
    let engine = EngineId("e".to_owned());
    server.store.claim(&engine, 1).await.unwrap();
    let commands = async || server.store.waiting_commands(&engine, 100).await.unwrap();
    let before = commands().await.len();
    let mut replictl = tokio::process::Command::new(env!("CARGO_BIN_EXE_replictl"))
        .args(["--server", &server.url(""), "run", "pause", name])
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let kept = async {
        while commands().await.len() <= before {
            // Time goes fast here, so the lease has to be renewed: commands of a run without an engine are
            // not listed.
            server.store.renew(&engine).await.unwrap();
            assert!(replictl.try_wait().unwrap().is_none(), "{name}: it gave up");
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, kept).await.unwrap();
    let kept = commands().await;
    assert!(kept.len() > before && kept.iter().all(|command| command.run.to_string() == run));
}

/// A request that steers a run and announces a body of `announces` bytes.
fn command(run: &str, announces: usize) -> String {
    format!(
        "POST /api/v1/runs/{run}/commands HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
         content-length: {announces}\r\n\r\n{{"
    )
}

#[tokio::test]
async fn commands_of_which_most_never_comes_keep_nobody_from_steering() {
    let server = Server::with_connections(16).await;
    let run = with_run(&server).await;
    let mut slow = Vec::new();
    for _ in 0..GREEDY {
        slow.push(connect(&server, &command(&run, 1_000)).await);
    }
    steers(&server, &run).await;
    // A body that is too large is refused before any of it comes.
    let mut large = connect(&server, &command(&run, 1024 * 1024)).await;
    let mut heard = String::new();
    let _ = large.read_to_string(&mut heard).await;
    assert!(heard.starts_with("HTTP/1.1 413") && heard.contains("body-too-large"), "{heard}");
    server.stop().await;
}

/// Connects from another address of this machine.
async fn connect_from(server: &Server, ip: [u8; 4], says: &str) -> TcpStream {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind((ip, 0).into()).unwrap();
    let mut client = socket.connect(server.address.parse().unwrap()).await.unwrap();
    // The server may refuse the client while it still sends.
    let _ = client.write_all(says.as_bytes()).await;
    client
}

#[tokio::test]
async fn answers_that_two_clients_do_not_read_keep_no_third_one_out() {
    let server = Server::with_connections(16).await;
    let run = with_run(&server).await;
    let plugins = server.get("/api/v1/plugins").await.ok(200);
    let digest = plugins["items"][0]["digest"].as_str().unwrap();
    let one = format!("GET /api/v1/plugins/{digest}/bytes HTTP/1.1\r\nhost: localhost\r\n\r\n");
    let many = one.repeat(200);
    let mut unread = Vec::new();
    for ip in [[127, 0, 0, 2], [127, 0, 0, 3]] {
        for _ in 0..20 {
            unread.push(connect_from(&server, ip, &many).await);
        }
    }
    steers(&server, &run).await;
    server.get("/api/v1/runs").await;
    drop(unread);
    server.stop().await;
}

#[tokio::test]
async fn requests_that_are_refused_are_counted() {
    let server = Server::with_connections(16).await;
    let metrics = async || server.request("GET", "/metrics").send().await.unwrap().text().await;
    assert!(metrics().await.unwrap().contains("replibook_requests_refused_total 0\n"));
    let mut slow = Vec::new();
    for _ in 0..8 {
        let says = "POST /api/v1/runs HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
                    content-length: 1000\r\n\r\n{";
        slow.push(connect(&server, says).await);
    }
    let refused = async {
        while metrics().await.unwrap().contains("replibook_requests_refused_total 0\n") {
            server.get("/api/v1/runs").await;
        }
    };
    tokio::time::timeout(DEADLINE, refused).await.unwrap();
    server.stop().await;
}

#[tokio::test]
async fn answers_are_packed_for_those_who_accept_that() {
    let server = Server::start().await;
    let ask = |encoding: &'static str| {
        server.request("GET", "/openapi.json").header("accept-encoding", encoding).send()
    };
    let plain = ask("identity").await.unwrap();
    assert_eq!(plain.headers()["vary"], "accept-encoding");
    let plain = plain.bytes().await.unwrap();
    let packed = ask("gzip").await.unwrap();
    assert_eq!(packed.headers()["content-encoding"], "gzip");
    assert_eq!(packed.headers()["content-type"], "application/json");
    let packed = packed.bytes().await.unwrap();
    assert!(packed.starts_with(&[0x1f, 0x8b]) && packed.len() < plain.len() / 4);
    // A small answer would hardly become smaller.
    let health = server.request("GET", "/healthz").header("accept-encoding", "gzip");
    assert!(!health.send().await.unwrap().headers().contains_key("content-encoding"));
    server.stop().await;
}

#[tokio::test]
async fn connections_that_ask_for_nothing_keep_nobody_out() {
    let server = Server::with_connections(16).await;
    let run = with_run(&server).await;
    let mut quiet = Vec::new();
    for says in ["", "GET / HTTP/1.1\r\nhost: "].into_iter().cycle().take(100) {
        quiet.push(connect(&server, says).await);
    }
    steers(&server, &run).await;
    let first = tokio::time::timeout(Duration::from_secs(20), quiet[0].read_u8()).await;
    assert!(first.unwrap().is_err(), "the oldest has given its place away");
    server.stop().await;
}
