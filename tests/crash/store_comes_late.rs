//! A server that is started before its store.

use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::crash::server::{Client, LIMIT};
use crate::mongodb::TestServer;
use crate::wait;

/// Starts a server on a port that was free a moment ago. Also returns its address.
fn start(dir: &std::path::Path, store: &str) -> (Child, String) {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let log = std::fs::File::options().create(true).append(true).open(dir.join("log")).unwrap();
    let child = Command::new(env!("CARGO_BIN_EXE_replibook"))
        .args(["serve", "--listen", &free.to_string(), "--data"])
        .arg(dir.join("data"))
        .env("REPLIBOOK_STORE", store)
        .stdout(Stdio::piped())
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    (child, free.to_string())
}

async fn until_it_says(client: &Client, address: &str, path: &str, status: u16) -> String {
    wait::until(path, LIMIT, async || {
        let answer = client.0.get(format!("http://{address}{path}")).send().await.ok()?;
        let found = answer.status().as_u16();
        let text = answer.text().await.unwrap_or_default();
        (found == status).then_some(text)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_waits_for_its_store_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let client = Client::new();
    let database = TestServer::start(&[]);
    database.die();
    let store = crate::mongodb::with_database(database.address(), "replibook");
    let store = format!("{store}&serverSelectionTimeoutMS=500");
    let (mut server, address) = start(dir.path(), &store);
    until_it_says(&client, &address, "/healthz", 200).await;
    let told = until_it_says(&client, &address, "/readyz", 503).await;
    assert!(told.contains("waits for its store"), "{told}");
    wait::until("the log to say it", LIMIT, async || {
        let log = std::fs::read_to_string(dir.path().join("log")).unwrap();
        log.contains("waiting for the store: ").then_some(())
    })
    .await;
    assert!(server.try_wait().unwrap().is_none());

    database.rise();
    let mut lines = BufReader::new(server.stdout.take().unwrap()).lines();
    let line = tokio::time::timeout(LIMIT, lines.next_line()).await.unwrap().unwrap();
    assert_eq!(line.unwrap(), format!("listening on http://{address}"));
    until_it_says(&client, &address, "/readyz", 200).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_waits_for_its_store_stops_when_it_is_asked_to() {
    let dir = tempfile::tempdir().unwrap();
    let nowhere = "mongodb://127.0.0.1:1/?directConnection=true";
    let (mut server, address) = start(dir.path(), nowhere);
    until_it_says(&Client::new(), &address, "/readyz", 503).await;
    let id = i32::try_from(server.id().unwrap()).unwrap();
    kill_process(Pid::from_raw(id).unwrap(), Signal::TERM).unwrap();
    // One attempt to reach the store takes 5 s; a stop must not wait for it.
    let status = tokio::time::timeout(Duration::from_secs(4), server.wait()).await;
    assert!(status.expect("it stops").unwrap().success());
}
