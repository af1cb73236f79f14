//! Approvals of what was seen, and playbooks that count the approvals of certain people.

use replibook::run::{Digest, canonical};
use serde_json::{Value, json};

use crate::api::server::{CLUSTER, Reply, Server, playbook};

/// A server with a cluster, and a playbook with this approval.
async fn server(approval: &str) -> Server {
    let server = Server::start().await;
    server.apply(&playbook("restart", "1.0.0", &format!("approval: {approval}"))).await.ok(201);
    server.apply_cluster(CLUSTER).await.ok(201);
    server
}

async fn start(server: &Server) -> Reply {
    let body = json!({ "playbook": "restart", "cluster": "eu", "started_by": "eve" });
    server.post("/api/v1/runs", body).await
}

async fn approve(server: &Server, run: &Value, seen: Option<&str>) -> Reply {
    let path = format!("/api/v1/runs/{}/commands", run["id"].as_str().unwrap());
    server.post(&path, json!({ "command": "approve", "seen": seen, "actor": "ann" })).await
}

#[tokio::test]
async fn a_server_that_knows_nobody_starts_nothing_that_counts_certain_people() {
    for approval in [
        "{ by: [\"group:id/dba\"] }",
        "{ count: 2 }",
        "{ not_by_starter: true }",
        "{ by: [\"token:ci\"], before_start: false }",
    ] {
        let server = server(approval).await;
        let problem = start(&server).await.problem(409, "access-needed");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.ends_with("it needs a server with --access"), "{detail}");
        let body = json!({ "playbook": "restart", "cluster": "eu" });
        server.post("/api/v1/runs/plan", body).await.problem(409, "access-needed");
        server.stop().await;
    }
}

#[tokio::test]
async fn a_run_shows_what_it_asks_with_the_sum_of_its_snapshot() {
    let server = server("{ deadline: 2h, then: cancel }").await;
    let run = start(&server).await.ok(201);
    let asks = &run["asks"];
    let path = format!("/api/v1/runs/{}/snapshot", run["id"].as_str().unwrap());
    let snapshot = server.get(&path).await.ok(200);
    assert_eq!(asks["seen"], Digest::of(canonical(&snapshot).as_bytes()).as_str());
    assert_eq!(
        (&asks["number"], &asks["count"], &asks["then"]),
        (&json!(1), &json!(1), &json!("cancel"))
    );
    assert_eq!(asks["message"], "the playbook asks for approval before it starts");
    assert!(asks["until"].is_string() && asks["given"].is_null(), "{asks}");
    let path = format!("/api/v1/runs/{}/explanation", run["id"].as_str().unwrap());
    let why = server.get(&path).await.ok(200);
    let text = why["text"].as_str().unwrap();
    assert!(text.contains("It has 0 of 1 approval; until "), "{text}");
    server.stop().await;
}

#[tokio::test]
async fn an_approval_of_something_else_is_refused_with_both_sums() {
    let other = Digest::of(b"what somebody saw before").to_string();
    for (approval, needs) in [("required", false), ("{ deadline: 2h, then: pause }", true)] {
        let server = server(approval).await;
        let run = start(&server).await.ok(201);
        let asked = run["asks"]["seen"].as_str().unwrap();
        let problem = approve(&server, &run, Some(&other)).await.problem(409, "approval-outdated");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains(&other) && detail.contains(asked), "{detail}");
        if needs {
            let problem = approve(&server, &run, None).await.problem(409, "approval-outdated");
            assert!(problem["detail"].as_str().unwrap().contains(asked), "{problem}");
        }
        approve(&server, &run, Some("sha256:7")).await.problem(400, "bad-body");
        let path = format!("/api/v1/runs/{}/commands", run["id"].as_str().unwrap());
        let body = json!({ "command": "cancel", "seen": asked });
        server.post(&path, body).await.problem(400, "bad-body");
        server.stop().await;
    }
}
