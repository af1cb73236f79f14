//! Platforms over real sockets: the client against good and bad ones, and `replibook platform` as a
//! process whose file changes.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::http::StatusCode;
use axum::routing::get;
use replibook::agent::platform::{HttpPlatforms, Platform as _, PlatformError, PlatformHttpConfig};
use rustix::process::{Pid, Signal, kill_process};

use crate::agent::support::{DEADLINE, Fixture, raw};

fn client() -> HttpPlatforms {
    HttpPlatforms::new(PlatformHttpConfig::default()).unwrap()
}

async fn answering(path: &str, status: u16, body: impl Into<String>) -> Fixture {
    let answer = (StatusCode::from_u16(status).unwrap(), body.into());
    Fixture::serve(Router::new().route(path, get(async move || answer))).await
}

const ANSWER: &str = r#"{"clusters": [{"cluster_id": "eu", "nodes": [
    {"node_id": "a", "agent_address": "http://a:1", "node_class": "m5", "node_group": null}, 7]}]}"#;

#[tokio::test]
async fn the_nodes_of_a_cluster_come_as_they_are_told() {
    let platform = answering("/base/discover", 200, ANSWER).await;
    for url in [format!("{}/base", platform.address), format!("{}/base/", platform.address)] {
        let nodes = client().discover(&url, "eu").await.unwrap().unwrap();
        assert_eq!(nodes.len(), 2);
        assert_eq!(nodes[0].node_id.as_deref(), Some("a"));
        assert_eq!((nodes[0].node_class.as_deref(), &nodes[0].node_group), (Some("m5"), &None));
        assert_eq!(nodes[1].node_id, None);
        assert_eq!(client().discover(&url, "us").await.unwrap(), None);
    }
}

#[tokio::test]
async fn what_is_no_answer_is_told_apart() {
    let platform = answering("/discover", 503, "starting").await;
    let error = client().discover(&platform.address, "eu").await.unwrap_err();
    assert!(matches!(error, PlatformError::Status { status: 503, .. }) && error.retryable());
    assert!(error.to_string().ends_with("answered 503: starting"), "{error}");
    // Only status 200 is an answer, whatever the body of another one says.
    let platform = answering("/discover", 201, ANSWER).await;
    let error = client().discover(&platform.address, "eu").await.unwrap_err();
    assert!(matches!(error, PlatformError::Status { status: 201, .. }), "{error}");
    let platform = answering("/discover", 200, "<html>").await;
    let error = client().discover(&platform.address, "eu").await.unwrap_err();
    assert!(matches!(error, PlatformError::Malformed { .. }), "{error}");
    let address = platform.address.clone();
    drop(platform);
    let error = loop {
        // The port is closed only once the server's task is gone.
        match client().discover(&address, "eu").await {
            Err(error @ PlatformError::NoAnswer { .. }) => break error,
            Ok(_) | Err(_) => tokio::task::yield_now().await,
        }
    };
    assert!(error.to_string().contains("failed to get an answer from http://"), "{error}");
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let there = answering("/discover", 200, ANSWER).await;
    let location = format!("{}/discover", there.address);
    let redirect = get(async move || (StatusCode::FOUND, [("location", location)]));
    let here = Fixture::serve(Router::new().route("/discover", redirect)).await;
    let error = client().discover(&here.address, "eu").await.unwrap_err();
    assert!(matches!(error, PlatformError::Status { status: 302, .. }), "{error}");
}

#[tokio::test]
async fn an_answer_has_a_largest_size_and_a_longest_time() {
    let endless = get(async || {
        let chunk = || Ok::<_, std::io::Error>(vec![b' '; 1024 * 1024]);
        Body::from_stream(futures::stream::repeat_with(chunk))
    });
    let platform = Fixture::serve(Router::new().route("/discover", endless)).await;
    let error = client().discover(&platform.address, "eu").await.unwrap_err();
    assert!(error.to_string().ends_with("answered with more than 67108864 bytes"), "{error}");

    let silent = get(async || {
        std::future::pending::<()>().await;
    });
    let platform = Fixture::serve(Router::new().route("/discover", silent)).await;
    let request_timeout = Duration::from_millis(100);
    let config = PlatformHttpConfig { request_timeout, ..PlatformHttpConfig::default() };
    let client = HttpPlatforms::new(config).unwrap();
    let error = client.discover(&platform.address, "eu").await.unwrap_err();
    assert!(matches!(error, PlatformError::NoAnswer { .. }), "{error}");
}

#[tokio::test]
async fn a_hundred_thousand_nodes_are_read() {
    let node = |n| format!(r#"{{"node_id": "node-{n}", "agent_address": "http://10.0.0.1/{n}"}}"#);
    let nodes: Vec<String> = (0..100_000).map(node).collect();
    let body =
        format!(r#"{{"clusters": [{{"cluster_id": "eu", "nodes": [{}]}}]}}"#, nodes.join(","));
    let platform = answering("/discover", 200, body).await;
    let nodes = client().discover(&platform.address, "eu").await.unwrap().unwrap();
    assert_eq!(nodes.len(), 100_000);
}

/// `replibook platform` as a process; it is killed when this is dropped.
pub(crate) struct Process {
    child: Child,
    pub(crate) address: String,
    log: mpsc::Receiver<String>,
}

impl Process {
    fn start(file: &Path) -> Self {
        Self::start_with(file, &[])
    }

    pub(crate) fn start_with(file: &Path, more: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_replibook"))
            .args(["platform", "--listen", "127.0.0.1:0", "--file", file.to_str().unwrap()])
            .args(more)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening on ").expect("the address").to_owned();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let (sender, log) = mpsc::channel();
        // Reads all lines, so that the process never waits for its log to be read.
        std::thread::spawn(move || lines.map_while(Result::ok).try_for_each(|l| sender.send(l)));
        Self { child, address, log }
    }

    /// Asks until the cluster has `nodes` nodes.
    async fn until(&self, nodes: usize) {
        let start = Instant::now();
        loop {
            let found = client().discover(&self.address, "eu").await.unwrap().unwrap().len();
            if found == nodes {
                return;
            }
            assert!(start.elapsed() < DEADLINE, "still {found} nodes");
            tokio::task::yield_now().await;
        }
    }

    /// Waits for a line of its log that has `part` in it.
    fn logged(&self, part: &str) -> String {
        loop {
            let line = self.log.recv_timeout(DEADLINE).unwrap_or_else(|_| panic!("no {part:?}"));
            if line.contains(part) {
                return line;
            }
        }
    }

    /// Ends the process by a signal.
    fn stop(mut self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().try_into().unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn text(nodes: usize) -> String {
    let node = |n| format!("    - {{ node_id: n{n}, agent_address: 'http://n{n}' }}\n");
    let nodes: String = (0..nodes).map(node).collect();
    format!("clusters:\n- cluster_id: eu\n  nodes:\n{nodes}")
}

#[tokio::test]
async fn a_file_is_served_and_its_changes_are_seen() {
    let folder = tempfile::tempdir().unwrap();
    let (file, new) = (folder.path().join("nodes.yaml"), folder.path().join("new"));
    std::fs::write(&file, text(2)).unwrap();
    let platform = Process::start(&file);
    platform.until(2).await;
    std::fs::write(&new, text(3)).unwrap();
    std::fs::rename(&new, &file).unwrap();
    platform.until(3).await;
    std::fs::write(&file, "clusters:\n- cluster_id: eu\n  nodes: [{ node_id: n0 }]\n").unwrap();
    let said = platform.logged("/clusters/0/nodes/0/agent_address: the key");
    assert!(said.contains(": 3:11: /clusters"), "{said}");
    assert!(said.contains("the last good content is still served"), "{said}");
    platform.until(3).await;
    assert_eq!(raw(&platform.address, "GET", "/nothing", "").await.status, 404);
    std::fs::write(&file, text(4)).unwrap();
    platform.until(4).await;
    platform.stop(Signal::TERM);
}

#[tokio::test]
async fn it_stops_on_an_interrupt_and_does_not_start_with_a_broken_file() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text(1)).unwrap();
    let platform = Process::start(file.path());
    platform.logged("nodes=1");
    platform.stop(Signal::INT);
    std::fs::write(file.path(), "clusters: 7\n").unwrap();
    let run = |more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_replibook"));
        let output = command.arg("platform").arg("--file").arg(file.path()).args(more).output();
        let output = output.unwrap();
        assert!(!output.status.success() && output.stdout.is_empty());
        String::from_utf8(output.stderr).unwrap()
    };
    let said = run(&["--listen", "127.0.0.1:0"]);
    assert!(said.contains("1:11: /clusters: wrong type of value; found 7"), "{said}");
    std::fs::write(file.path(), text(1)).unwrap();
    let said = run(&["--listen", "0.0.0.0:0"]);
    assert!(
        said.contains(
            "expected --tls NAME, or a loopback address (127.0.0.1 or [::1]), or --insecure"
        ),
        "{said}"
    );
}
