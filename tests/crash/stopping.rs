//! A server that is asked to stop: it is gone before anybody kills it, whatever clients and agents are doing,
//! and the next server has its runs at once.

use std::time::Duration;

use replibook::run::RunStatus;
use replibook::why::Explanation;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::crash::server::{Client, LIMIT, Server};
use crate::crash::stages::{self, Scene};
use crate::wait;

/// A stop takes less than a second, and more on a busy machine. This is less than everything that it must not
/// wait for: the end of an abandoned transaction, or of a lease.
const SOON: Duration = Duration::from_secs(6);

/// Agents of a run that takes a while to end: it has many times more records and events than one write
/// stamps.
const MANY: usize = 12_000;

/// Asks a server to stop. It may wait for nothing but the ends of its commits.
async fn terminate(server: &mut Server) {
    let id = i32::try_from(server.process.id().unwrap()).unwrap();
    kill_process(Pid::from_raw(id).unwrap(), Signal::TERM).unwrap();
    let status = tokio::time::timeout(SOON, server.process.wait()).await;
    let status = status.expect("the server does not stop").unwrap();
    let log = server.log();
    assert!(status.success(), "{status}\n{log}");
}

/// Opens connections of clients that are in the middle of something.
async fn busy(server: &Server, run: &str) -> Vec<TcpStream> {
    let host = &server.address;
    let half_head = format!("GET /api/v1/runs HTTP/1.1\r\nhost: {host}\r\nx-ha");
    let half_body = format!(
        "POST /api/v1/runs HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n\
         content-length: 500\r\n\r\n{{\"playbook\":"
    );
    let stream = format!(
        "GET /api/v1/runs/{run}/events HTTP/1.1\r\nhost: {host}\r\naccept: text/event-stream\r\n\r\n"
    );
    let mut clients = Vec::new();
    for says in [half_head, half_body, stream] {
        let mut client = TcpStream::connect(host).await.unwrap();
        client.write_all(says.as_bytes()).await.unwrap();
        clients.push(client);
    }
    let mut first = [0; 12];
    clients[2].read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");
    clients
}

async fn stops_soon_and_the_next_one_goes_on(store: Option<String>) {
    let scene = Scene::new(2).await;
    let mut server = Server::start(scene.path(), store.as_deref(), None).await;
    let run =
        stages::start_run(&scene.client, &server, &scene.agents, |_| stages::WAITING.to_owned())
            .await;
    let url = |server: &Server| format!("http://{}/api/v1/runs/{run}/explanation", server.address);
    wait::until("actions to be out", LIMIT, async || {
        let told: Explanation = scene.client.get(&url(&server)).await;
        told.text.contains("2 running").then_some(())
    })
    .await;
    let _clients = busy(&server, &run).await;
    terminate(&mut server).await;
    // If it had had to cut something off, it would say so.
    assert!(!server.log().contains("did not stop in time"), "{}", server.log());

    let next = Server::start(scene.path(), store.as_deref(), None).await;
    for agent in 0..2 {
        scene.agents.let_go(agent);
    }
    let run = scene.client.until_final(&next.address, &run).await;
    assert_eq!(run.status, RunStatus::Done, "{run:?}");
    next.stop().await;
    scene.agents.stop().await;
}

/// How often a run may end before its server is stopped.
const ATTEMPTS: u32 = 4;

/// Agents at addresses where nobody answers. None of them is selected before the run is cancelled.
fn many_members(count: usize) -> String {
    let agent =
        |n| json!({ "id": format!("node-{n}"), "address": format!("http://127.0.0.1:9/{n}") });
    let document = json!({
        "apiVersion": "replicante.io/v1", "kind": "Cluster", "metadata": { "name": "crash" },
        "spec": { "agents": (0..count).map(agent).collect::<Vec<_>>() },
    });
    document.to_string()
}

/// Stops a server whose run is finishing, and has the next server end the run. A fast server may have ended
/// it before: then the same is tried again with twice as many agents.
async fn stops_while_a_run_is_finishing(store: impl Fn() -> Option<String>) {
    for attempt in 0..ATTEMPTS {
        if stopped_while_a_run_was_finishing(store(), MANY << attempt).await {
            return;
        }
    }
    panic!("the run had ended {ATTEMPTS} times before its server was stopped");
}

async fn stopped_while_a_run_was_finishing(store: Option<String>, agents: usize) -> bool {
    let dir = tempfile::tempdir().unwrap();
    let client = Client::new();
    let mut server = Server::start(dir.path(), store.as_deref(), None).await;
    let playbook = stages::WAITING.replace("all-at-once\"", "rolling\", \"with\": {\"batch\": 1}");
    let run = stages::start_run_over(&client, &server, many_members(agents), &playbook).await;
    let status = || {
        let (client, address, run) = (&client, server.address.clone(), run.clone());
        async move { client.run(&address, &run).await.status }
    };
    let goes = async || (status().await == RunStatus::Running).then_some(());
    wait::until("the run to go", LIMIT, goes).await;
    let url = format!("http://{}/api/v1/runs/{run}/commands", server.address);
    // The answer may come only when the run is over.
    let asked = client.0.post(url).json(&json!({ "command": "cancel" })).send();
    let asked = tokio::spawn(asked);
    let finishes = async || {
        let status = status().await;
        (status == RunStatus::Finishing || status.is_final()).then_some(())
    };
    wait::until("the run to be finishing", LIMIT, finishes).await;
    terminate(&mut server).await;
    drop(asked);

    let next = Server::start(dir.path(), store.as_deref(), None).await;
    let run = client.until_final(&next.address, &run).await;
    assert_eq!(run.status, RunStatus::Cancelled, "{run:?}");
    let log = next.log();
    let mut taken_up = log.lines().filter(|line| line.contains("taking up the run"));
    let last = taken_up.next_back().unwrap_or_default();
    let was_finishing = last.contains("FINISHING");
    next.stop().await;
    was_finishing
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_with_a_run_that_is_finishing_stops_and_the_next_one_finishes_it() {
    stops_while_a_run_is_finishing(|| None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn so_does_one_with_a_run_that_is_finishing_on_mongodb() {
    stops_while_a_run_is_finishing(|| Some(crate::crash::database())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_asked_to_stop_is_gone_soon_and_the_next_one_goes_on() {
    stops_soon_and_the_next_one_goes_on(None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn so_is_one_on_mongodb() {
    stops_soon_and_the_next_one_goes_on(Some(crate::crash::database())).await;
}
