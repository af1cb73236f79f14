//! Ten thousand clients that connect and say nothing.

use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;

use crate::crash::server::{LIMIT, Server};

/// How many connections are opened, as far as this machine lets a process have so many.
const IDLE: &str = "10000";

/// How long a client waits that has something to say. It gets a place as soon as an idle connection has had one for a second.
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn ten_thousand_idle_connections_keep_nobody_out() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), None, None).await;
    let (address, port) = server.address.rsplit_once(':').unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/crash/idle.py");
    let mut idle = Command::new("python3");
    idle.args([script, address, port, IDLE]).kill_on_drop(true);
    let mut idle = idle.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(idle.stdout.take().unwrap()).lines();
    let client = || reqwest::Client::builder().no_proxy().timeout(PATIENCE).build().unwrap();
    let asks = async |path: &str| -> Value {
        // Each on a connection of its own.
        let url = format!("http://{}{path}", server.address);
        let answer = client().get(url).send().await.unwrap().error_for_status().unwrap();
        answer.json().await.unwrap()
    };
    let _ = rustls::crypto::ring::default_provider().install_default();
    // While they connect, and when all of them are there.
    let opened = async {
        let line = tokio::time::timeout(LIMIT, said.next_line()).await.expect("in time");
        line.unwrap().expect("how many there are").parse::<usize>().unwrap()
    };
    let mut opened = std::pin::pin!(opened);
    let opened = loop {
        tokio::select! {
            biased;
            opened = &mut opened => break opened,
            ready = asks("/readyz") => assert_eq!(ready["status"], "ready"),
        }
    };
    println!("{opened} idle connections");
    assert!(opened > 0);
    for _ in 0..20 {
        assert_eq!(asks("/readyz").await["status"], "ready");
        assert!(asks("/api/v1/runs").await["items"].as_array().unwrap().is_empty());
    }
    drop(idle.stdin.take());
    assert!(idle.wait().await.unwrap().success());
    server.stop().await;
}
