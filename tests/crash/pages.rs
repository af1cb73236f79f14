//! A server whose SQLite file has pages that hold nothing but noise.

use std::path::Path;

use serde_json::{Value, json};
use tokio::process::Command;

use crate::crash::server::{Client, Remains, Server};
use crate::noise;

/// Runs that wait for approval: enough to fill several pages.
const RUNS: usize = 40;

/// Exit code of `replictl` if what it asks for is damaged.
const DAMAGED: i32 = 14;

const PLAYBOOK: &str = r#"{
  "apiVersion": "replicante.io/v1", "kind": "Playbook",
  "metadata": { "name": "waits", "version": "1.0.0" },
  "spec": { "approval": "required", "stages": [{ "name": "only", "strategy": { "use": "all-at-once" },
    "steps": [{ "name": "act", "action": "example.com/act" }] }] }
}"#;

const CLUSTER: &str = r#"{
  "apiVersion": "replicante.io/v1", "kind": "Cluster", "metadata": { "name": "none" }, "spec": { "agents": [] }
}"#;

/// What a stopped server has left, and the ids of its runs, oldest first.
async fn stopped(dir: &Path, client: &Client) -> (Remains, Vec<String>) {
    let server = Server::start(dir, None, None).await;
    let api = format!("http://{}/api/v1", server.address);
    let post = async |kind: &str, body: Value| -> Value {
        let response = client.0.post(format!("{api}/{kind}")).json(&body).send().await.unwrap();
        response.error_for_status().unwrap().json().await.unwrap()
    };
    post("clusters", json!({ "document": CLUSTER })).await;
    post("playbooks", json!({ "document": PLAYBOOK })).await;
    let mut runs = Vec::new();
    for _ in 0..RUNS {
        let run = post("runs", json!({ "playbook": "waits", "cluster": "none" })).await;
        runs.push(run["id"].as_str().unwrap().to_owned());
    }
    (server.stop().await, runs)
}

/// Overwrites pages of the tables and indexes that match `like` with noise: the first leaf of each, or all
/// pages.
fn spoil(remains: &Remains, like: &str, all: bool) {
    let path = remains.settings.data.join(replibook::store::sqlite::DATABASE_FILE);
    let pages = noise::pages_of(&path, like, (!all).then_some("leaf"));
    assert!(pages.len() > usize::from(!all), "{like}: {pages:?}");
    let most = if all { pages.len() } else { 1 };
    noise::overwrite(&path, pages.into_iter().take(most));
}

/// What a command writes to stdout and to stderr, and its exit code.
async fn replictl(server: &Server, args: &[&str]) -> (String, String, Option<i32>) {
    let output = Command::new(env!("CARGO_BIN_EXE_replictl"))
        .env("REPLIBOOK_SERVER", format!("http://{}", server.address))
        .args(args)
        .output()
        .await
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (text(output.stdout), text(output.stderr), output.status.code())
}

/// The server says that its database is damaged: to everybody who asks whether it is ready, once in its log,
/// and in its metrics. Only the log says where the file is.
async fn says_that_it_is_damaged(client: &Client, server: &Server) {
    let get = async |path: &str| {
        let url = format!("http://{}{path}", server.address);
        let response = client.0.get(url).send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    };
    let (status, problem) = get("/readyz").await;
    assert_eq!(status, 503, "{problem}");
    assert!(
        problem.contains("is damaged") && problem.contains("`replibook store check`"),
        "{problem}"
    );
    assert!(!problem.contains("--data"), "{problem}");
    let (_, metrics) = get("/metrics").await;
    assert!(metrics.contains("\nreplibook_store_damaged 1\n"), "{metrics}");
    assert!(server.log().contains("store check --data"), "{}", server.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runs_are_listed_though_a_page_of_them_is_noise() {
    let (dir, client) = (tempfile::tempdir().unwrap(), Client::new());
    let (remains, runs) = stopped(dir.path(), &client).await;
    spoil(&remains, "runs", false);
    let server = Server::again(remains, None).await;
    for args in [&["run", "list"][..], &["run", "list", "--cluster", "none", "--limit", "100"]] {
        let (listed, said, code) = replictl(&server, args).await;
        assert_eq!(code, Some(0), "{args:?}: {said}");
        for run in &runs {
            assert!(listed.contains(run.as_str()), "{args:?}: {run}: {listed}");
        }
        let damaged = listed.lines().filter(|line| line.contains("damaged")).count();
        assert!(damaged > 0 && damaged < RUNS, "{args:?}: {listed}");
    }
    says_that_it_is_damaged(&client, &server).await;
    let (described, said, code) = replictl(&server, &["describe", "run", &runs[0]]).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(described.contains("the database is damaged"), "{described}");
    assert_eq!(server.log().matches("store check --data").count(), 1, "{}", server.log());
    server.process.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_of_which_nothing_can_be_read_says_why() {
    let (dir, client) = (tempfile::tempdir().unwrap(), Client::new());
    let (remains, runs) = stopped(dir.path(), &client).await;
    spoil(&remains, "events", true);
    for like in ["runs_by_version%", "runs_by_playbook%", "runs_by_cluster%", "runs_by_status"] {
        spoil(&remains, like, true);
    }
    let server = Server::start_with(remains.settings.clone(), None).await;
    let (listed, said, code) = replictl(&server, &["run", "list"]).await;
    assert_eq!(code, Some(0), "the table has them all: {said}");
    assert_eq!(listed.lines().count(), RUNS + 1, "{listed}");
    let (listed, said, code) = replictl(&server, &["run", "events", &runs[0]]).await;
    assert_eq!((code, listed.as_str()), (Some(DAMAGED), ""), "{said}");
    let remains = server.stop().await;

    spoil(&remains, "runs", true);
    let server = Server::start_with(remains.settings.clone(), None).await;
    let (listed, said, code) = replictl(&server, &["run", "list"]).await;
    assert_eq!((code, listed.as_str()), (Some(DAMAGED), ""), "{said}");
    assert!(said.contains("is damaged") && said.contains("replibook store check"), "{said}");
    let (said, _, code) = replictl(&server, &["get", "clusters"]).await;
    assert!(code == Some(0) && said.contains("none"), "what can be read is shown: {said}");
    says_that_it_is_damaged(&client, &server).await;
    server.process.stop().await;
}
