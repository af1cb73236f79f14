//! A server that is asked to stop: it is gone before anybody kills it, whatever clients and agents are at, and
//! the next one has its runs at once.

use std::time::Duration;

use replibook::run::Explanation;
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::server::{LIMIT, Server};
use crate::stages::{self, Scene};
use crate::wait;

/// What asks containers to stop kills them after 10 s. A server takes less than one second; a busy machine, more.
const SOON: Duration = Duration::from_secs(6);

/// Clients in the middle of something.
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
    let id = i32::try_from(server.process.id().unwrap()).unwrap();
    kill_process(Pid::from_raw(id).unwrap(), Signal::TERM).unwrap();
    let status = tokio::time::timeout(SOON, server.process.wait()).await;
    let status = status.expect("the server does not stop").unwrap();
    assert!(status.success(), "{status}\n{}", server.log());
    assert!(!server.log().contains("did not stop in time"), "{}", server.log());

    let next = Server::start(scene.path(), store.as_deref(), None).await;
    for agent in 0..2 {
        scene.agents.let_go(agent);
    }
    let run = scene.client.until_final(&next.address, &run).await;
    assert_eq!(run.status, replibook::run::RunStatus::Done, "{run:?}");
    next.stop().await;
    scene.agents.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_asked_to_stop_is_gone_soon_and_the_next_one_goes_on() {
    stops_soon_and_the_next_one_goes_on(None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn so_is_one_on_mongodb() {
    stops_soon_and_the_next_one_goes_on(Some(crate::database())).await;
}
