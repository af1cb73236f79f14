//! A data directory in which no file can grow.
//!
//! The test limits the size of the server's files (`RLIMIT_FSIZE`) from outside while the server runs, so
//! that its write-ahead log can't grow. To the server that looks like a quota. The unit tests of the thread
//! that writes cover what SQLite itself calls a full disk.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use replibook::run::RunStatus;
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use serde_json::{Value, json};

use crate::crash::server::{Client, LIMIT, Remains, Server};
use crate::crash::stages::Scene;
use crate::wait;

/// How many agents the run has.
const AGENTS: usize = 3;

/// By how many bytes the log may still grow: less than a few commits.
const ROOM: u64 = 16 * 1024;

/// How long the store stays full: longer than a lease, which can't be renewed in that time.
const FULL: Duration = Duration::from_secs(17);

/// A server with a full store, a run that goes on, and the clusters that the server has said it keeps.
async fn full() -> (Scene, Server, String, Vec<String>) {
    let scene = Scene::new(AGENTS).await;
    let server = Server::start(scene.path(), None, None).await;
    let run = scene.start_run(&server).await;
    wait::until("the run to go", LIMIT, async || {
        let view = scene.client.run(&server.address, &run).await;
        (view.status == RunStatus::Running).then_some(())
    })
    .await;
    let kept = fill(&scene, &server).await;
    says_that_it_is_full(&scene.client, &server, &run).await;
    (scene, server, run, kept)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_waits_while_the_store_is_full_and_goes_on_when_there_is_room() {
    let (scene, server, run, kept) = full().await;

    let begun = Instant::now();
    let events = scene.client.events(&server.address, &run).await.len();
    wait::until("the lease to run out", LIMIT, async || {
        let (status, problem) = ready(&scene.client, &server).await;
        assert_eq!(status, 503, "{problem}");
        (begun.elapsed() >= FULL).then_some(())
    })
    .await;
    assert_eq!(scene.client.events(&server.address, &run).await.len(), events, "it went on");
    says_that_its_engine_is_there(&server, &run).await;

    limit(&server, None);
    wait::until("the server to be ready", LIMIT, async || {
        (ready(&scene.client, &server).await.0 == 200).then_some(())
    })
    .await;
    wait::until("its engine to say that it is well", LIMIT, async || {
        let (engines, problems) = told(&server, &["get", "engines"]).await;
        (engines.contains("active") && problems.is_empty()).then_some(())
    })
    .await;
    all_are_there(&scene.client, &server, &kept).await;
    scene.end_well(server, &run).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_while_its_store_is_full_has_lost_nothing() {
    let (scene, server, run, kept) = full().await;
    let remains = server.kill().await;
    let server = Server::again(remains, None).await;
    all_are_there(&scene.client, &server, &kept).await;
    scene.end_well(server, &run).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_starts_while_its_store_is_full_shows_what_is_there() {
    let (scene, server, run, kept) = full().await;
    let events = scene.client.events(&server.address, &run).await.len();
    let mut remains = server.kill().await;
    remains.settings.program = limited(&scene, &remains);
    let server = Server::again(remains, None).await;
    says_that_it_is_full(&scene.client, &server, &run).await;
    assert!(server.log().contains("the store can't be written at the start"), "{}", server.log());
    assert_eq!(scene.client.events(&server.address, &run).await.len(), events);
    for path in ["runs", "playbooks", "plugins", &format!("runs/{run}/explanation")] {
        let _: Value = scene.client.get(&format!("http://{}/api/v1/{path}", server.address)).await;
    }
    all_are_there(&scene.client, &server, &kept).await;

    limit(&server, None);
    wait::until("the server to be ready", LIMIT, async || {
        (ready(&scene.client, &server).await.0 == 200).then_some(())
    })
    .await;
    scene.end_well(server, &run).await;
}

/// A script that starts the server's program with files that can't grow from the start.
fn limited(scene: &Scene, remains: &Remains) -> PathBuf {
    use std::os::unix::fs::PermissionsExt as _;
    let used = std::fs::metadata(write_ahead_log(scene.path())).unwrap().len();
    // Shells count blocks of 512 bytes.
    let (blocks, program) = (used / 2 / 512, remains.settings.program.display());
    let path = scene.path().join("limited");
    let script = format!("#!/bin/sh\nulimit -S -f {blocks}\nexec '{program}' \"$@\"\n");
    std::fs::write(&path, script).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
    path
}

/// Limits the server's files, and writes until the server says that it is full. Returns the clusters that the
/// server has said it keeps.
async fn fill(scene: &Scene, server: &Server) -> Vec<String> {
    let log = write_ahead_log(scene.path());
    let used = std::fs::metadata(&log).unwrap().len();
    limit(server, Some(used + ROOM));
    let url = format!("http://{}/api/v1/clusters", server.address);
    let mut kept = Vec::new();
    for number in 0.. {
        let name = format!("kept-{number}");
        let document = json!({
            "apiVersion": "replicante.io/v1", "kind": "Cluster", "metadata": { "name": name },
            "spec": { "agents": [{ "id": "a", "address": "http://127.0.0.1:1" }] },
        });
        let body = json!({ "document": document.to_string() });
        let response = scene.client.0.post(&url).json(&body).send().await.unwrap();
        if response.status() != 201 {
            assert_full(response, "store-unavailable").await;
            break;
        }
        kept.push(name);
        assert!(number < 1_000, "the store never became full");
    }
    assert!(std::fs::metadata(&log).unwrap().len() <= used + ROOM);
    // The write that did not fit may have been large. From now on even the smallest one does not fit.
    limit(server, Some(used / 2));
    kept
}

fn write_ahead_log(dir: &Path) -> PathBuf {
    dir.join("server/replibook.db-wal")
}

/// Limits the size of the server's files; none lifts the limit.
fn limit(server: &Server, bytes: Option<u64>) {
    let id = i32::try_from(server.process.id().unwrap()).unwrap();
    // Sets only the soft limit, so that it can be lifted again.
    let limits = Rlimit { current: bytes, maximum: None };
    prlimit(Pid::from_raw(id), Resource::Fsize, limits).unwrap();
}

async fn says_that_it_is_full(client: &Client, server: &Server, run: &str) {
    wait::until("the server to say that it is not ready", LIMIT, async || {
        (ready(client, server).await.0 == 503).then_some(())
    })
    .await;
    let url = format!("http://{}/readyz", server.address);
    assert_full(client.0.get(url).send().await.unwrap(), "not-ready").await;
    // A command that could not be kept is not acknowledged.
    let url = format!("http://{}/api/v1/runs/{run}/commands", server.address);
    let pause = client.0.post(url).json(&json!({ "command": "pause" }));
    assert_full(pause.send().await.unwrap(), "store-unavailable").await;
    // What is there is still shown.
    let view = client.run(&server.address, run).await;
    assert_eq!(view.status, RunStatus::Running, "{view:?}");
    wait::until("the log to say why the run waits", LIMIT, async || {
        let log = server.log();
        (log.contains("store does not answer") && log.contains("the store is full")).then_some(())
    })
    .await;
}

/// No engine drives the run any more, and the engine can't write that it is there. The server knows it all
/// the same.
async fn says_that_its_engine_is_there(server: &Server, run: &str) {
    let (engines, problems) = told(server, &["get", "engines"]).await;
    assert!(engines.contains("cant-write"), "{engines}");
    assert!(
        problems.contains("can't write") && problems.contains("the store is full"),
        "{problems}"
    );
    let described = wait::until("the lease to have run out", LIMIT, async || {
        let (described, _) = told(server, &["describe", "run", run]).await;
        described.contains("It waits for an engine").then_some(described)
    })
    .await;
    // Joined into one line, however wide the terminal is.
    let described = described.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(described.contains("is there, but can't write"), "{described}");
    assert!(described.contains("the store is full"), "{described}");
    assert!(!described.contains("none is there"), "{described}");
}

/// What a command that succeeds writes to stdout and to stderr.
async fn told(server: &Server, args: &[&str]) -> (String, String) {
    let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_replictl"))
        .env("REPLIBOOK_SERVER", format!("http://{}", server.address))
        .args(args)
        .output()
        .await
        .unwrap();
    assert!(output.status.success(), "{args:?}: {output:?}");
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (text(output.stdout), text(output.stderr))
}

async fn assert_full(response: reqwest::Response, code: &str) {
    assert_eq!(response.status(), 503);
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    assert!(response.headers().contains_key("retry-after"));
    let problem: Value = response.json().await.unwrap();
    assert_eq!(problem["code"], code, "{problem}");
    assert!(problem["detail"].as_str().unwrap().contains("the store is full"), "{problem}");
}

async fn ready(client: &Client, server: &Server) -> (u16, String) {
    let url = format!("http://{}/readyz", server.address);
    let response = client.0.get(url).send().await.unwrap();
    (response.status().as_u16(), response.text().await.unwrap())
}

async fn all_are_there(client: &Client, server: &Server, kept: &[String]) {
    for name in kept {
        let url = format!("http://{}/api/v1/clusters/{name}", server.address);
        let _: Value = client.get(&url).await;
    }
}
