//! Runs that are narrower than their playbooks, and the refusal of what does not fit the playbook.

use serde_json::{Value, json};

use crate::api::engine::id_of;
use crate::api::server::{CLUSTER, Reply, Server, playbook};

async fn server() -> Server {
    let server = Server::start().await;
    server.apply_cluster(CLUSTER).await.ok(201);
    server.apply(&playbook("restart", "1.0.0", "")).await.ok(201);
    server
}

async fn start(server: &Server, narrow: &Value) -> Reply {
    let mut body = json!({ "playbook": "restart", "cluster": "eu" });
    body.as_object_mut().unwrap().extend(narrow.as_object().unwrap().clone());
    server.post("/api/v1/runs", body).await
}

#[tokio::test]
async fn what_narrows_a_run_is_in_its_view_its_snapshot_and_its_first_event() {
    let server = server().await;
    let narrow = json!({ "select": "agent.id != \"node-2\"", "limit": 2, "start_at": "restart" });
    let run = start(&server, &narrow).await.ok(201);
    assert_eq!(run["narrowed"], narrow);
    let of = |what: &str| format!("/api/v1/runs/{}/{what}", id_of(&run));
    let snapshot = server.get(&of("snapshot")).await.ok(200);
    assert_eq!(snapshot["narrowed"], narrow);
    let events = server.get(&of("events")).await.ok(200);
    let told = events["items"][0]["reason"]["message"].as_str().unwrap();
    assert!(told.ends_with("at most 2 agents; from stage restart on"), "{told}");
    let why = server.get(&of("explanation")).await.ok(200);
    assert!(why["text"].as_str().unwrap().contains("narrower than its playbook"), "{why}");

    let whole = start(&server, &json!({})).await.ok(201);
    assert_eq!(whole.get("narrowed"), None);
    server.stop().await;
}

#[tokio::test]
async fn what_does_not_fit_the_playbook_is_refused_before_a_run_is_made() {
    let server = server().await;
    for (narrow, path) in [
        (json!({ "select": "agent.id ==" }), "/select"),
        (json!({ "select": "steps.x.result" }), "/select"),
        (json!({ "limit": 0 }), "/limit"),
        (json!({ "skip_stages": ["other"] }), "/skip_stages/0"),
        (json!({ "skip_stages": ["restart"] }), "/skip_stages"),
        (json!({ "start_at": "restarts" }), "/start_at"),
    ] {
        let problem = start(&server, &narrow).await.problem(422, "invalid-params");
        assert_eq!(problem["problems"][0]["path"], path, "{problem}");
    }
    start(&server, &json!({ "limit": -1 })).await.problem(400, "bad-body");
    assert_eq!(server.get("/api/v1/runs").await.ok(200)["items"], json!([]));
    server.stop().await;
}
