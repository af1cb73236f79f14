//! How much memory the reference agent takes, whatever is sent to it and whatever it is asked for.

use std::fmt::Write as _;

use futures::future::join_all;
use rustix::process::Pid;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use uuid::Uuid;

use crate::agent::process::Agent;
use crate::agent::support::{post, raw, until};

const LOOP: &str = "agent.replicante.io/test.loop";

/// How many KiB a process may take at most: 64 MiB of bodies and answers, as much again that the allocator
/// does not give back, and the process itself.
const MOST: u64 = 250 * 1024;

/// The most that a process has taken so far, in KiB.
fn peak(pid: Pid) -> u64 {
    let path = format!("/proc/{}/status", pid.as_raw_nonzero());
    let status = std::fs::read_to_string(path).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().trim().parse().unwrap()
}

/// A mebibyte of JSON: the kind that takes the most memory as values.
fn zeros() -> Box<str> {
    format!("[{}0]", "0,".repeat(512 * 1024 - 2)).into()
}

#[tokio::test]
async fn large_arguments_of_many_actions_are_not_in_memory() {
    let folder = tempfile::tempdir().unwrap();
    let agent = Agent::start_with(folder.path(), json!({}), &[]);
    let address = agent.address.as_str();
    // The agent works on this action for ever, and the others wait behind it.
    let first = Uuid::from_u128(0);
    post(address, first, LOOP, json!({"target": u64::MAX})).await;
    let args = zeros();
    let send = async |id: u128| {
        let id = Uuid::from_u128(id);
        let body = format!(r#"{{"kind":"{LOOP}","id":"{id}","args":{args}}}"#);
        raw(address, "POST", "/api/unstable/action", &body).await
    };
    // All requests come at once, and are more than there is room for.
    let answers = join_all((1..=80).map(send)).await;
    let queued = answers.iter().filter(|answer| answer.status == 200).count();
    assert!((60..=64).contains(&queued), "{queued} are queued");
    for answer in answers.iter().filter(|answer| answer.status != 200) {
        assert_eq!(answer.status, 503, "{answer:?}");
        let message = answer.json()["error_msg"].as_str().unwrap().to_owned();
        assert!(message.starts_with("the queue is full: found 1000 actions or 67108864 bytes"));
    }
    let queue = raw(address, "GET", "/api/unstable/actions/queue", "").await.json();
    assert_eq!(queue["actions"].as_array().unwrap().len(), queued + 1);
    // Asks for all actions, and for the queue as often, at once.
    let mut asked = Vec::new();
    for item in queue["actions"].as_array().unwrap() {
        let id = item["id"].as_str().unwrap().to_owned();
        asked.push(format!("/api/unstable/action/{id}"));
        asked.push("/api/unstable/actions/queue".to_owned());
    }
    for answer in join_all(asked.iter().map(|path| raw(address, "GET", path, ""))).await {
        assert_eq!(answer.status, 200);
    }
    // A client that does not read its answer keeps its part of the memory, and other clients wait only for
    // that part.
    let mut silent = Vec::new();
    for path in asked.iter().filter(|path| path.contains("/action/")).take(40) {
        let host = address.strip_prefix("http://").unwrap();
        let mut stream = TcpStream::connect(host).await.unwrap();
        let mut head = String::new();
        write!(head, "GET {path} HTTP/1.1\r\nhost: {host}\r\n\r\n").unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        silent.push(stream);
    }
    silent[0].read_u8().await.unwrap();
    let counts = |action: &Value| action["state"]["phase"] == "RUNNING";
    until(address, first, counts).await;
    drop(silent);
    let taken = peak(agent.pid());
    assert!(taken < MOST, "it took {taken} KiB");
}

#[tokio::test]
async fn a_body_that_is_declared_too_large_is_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let agent = Agent::start_with(folder.path(), json!({}), &[]);
    let host = agent.address.strip_prefix("http://").unwrap();
    for (length, chunked) in [("2162689", false), ("0", true)] {
        let mut stream = TcpStream::connect(host).await.unwrap();
        let length = match chunked {
            true => "transfer-encoding: chunked".to_owned(),
            false => format!("content-length: {length}"),
        };
        let head = format!(
            "POST /api/unstable/action HTTP/1.1\r\nhost: {host}\r\n{length}\r\n\
             content-type: application/json\r\nconnection: close\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        if chunked {
            let chunk = "x".repeat(0x10000);
            for _ in 0..33 {
                stream.write_all(format!("10000\r\n{chunk}\r\n").as_bytes()).await.unwrap();
            }
            // One byte more than is allowed.
            stream.write_all(b"1\r\nx\r\n").await.unwrap();
        }
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
        assert!(answer.contains(r#""error":true"#), "{answer}");
    }
}
