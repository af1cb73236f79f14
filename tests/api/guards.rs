//! Guards of clusters: how their documents are checked, when a cluster can't be given any, and how one is overridden.

use replibook::run::{CommandOutcome, RunStatus};
use serde_json::{Value, json};

use crate::api::engine::{Engine, id_of};
use crate::api::server::{CLUSTER, Server, playbook};

/// The cluster with more lines in its `spec`.
fn cluster(more: &str) -> String {
    format!("{CLUSTER}  {more}\n")
}

const GUARDS: &str = "guards: [{ name: one, max_out: 1 }]";

#[tokio::test]
async fn a_cluster_is_shown_with_its_guards() {
    let server = Server::start().await;
    let text = cluster(
        "guards: [{ name: one-zone, by: attributes.zone, max_out: 50%, groups: 1 }]\n  healthy: [HEALTHY, SYNCING]",
    );
    let applied = server.apply_cluster(&text).await.ok(201);
    let guards = &applied["guards"];
    assert_eq!(guards["guards"][0]["name"], "one-zone");
    assert_eq!(guards["guards"][0]["by"], "attributes.zone");
    assert_eq!(
        (&guards["guards"][0]["groups"], &guards["healthy"][1]),
        (&json!(1), &json!("SYNCING"))
    );
    assert_eq!(server.get("/api/v1/clusters/eu").await.ok(200)["guards"], *guards);
    let listed = server.get("/api/v1/clusters").await.ok(200);
    assert_eq!(listed["items"][0]["guards"], *guards);
    let without = server.apply_cluster(CLUSTER).await.ok(200);
    assert_eq!(without.get("guards"), None);
    server.stop().await;
}

#[tokio::test]
async fn guards_that_make_no_sense_are_refused_with_their_places() {
    let server = Server::start().await;
    for (spec, place) in [
        ("guards: [{ name: one }]", "/spec/guards/0/max_out"),
        ("guards: [{ name: One!, max_out: 1 }]", "/spec/guards/0/name"),
        ("guards: [{ name: one, max_out: -1 }]", "/spec/guards/0/max_out"),
        ("guards: [{ name: one, max_out: some }]", "/spec/guards/0/max_out"),
        ("guards: [{ name: one, max_out: 1, by: zone }]", "/spec/guards/0/by"),
        ("guards: [{ name: one, max_out: 1, groups: 1 }]", "/spec/guards/0/groups"),
        (
            "guards: [{ name: one, max_out: 1, by: attributes.zone, groups: 0 }]",
            "/spec/guards/0/groups",
        ),
        ("guards: [{ name: one, max_out: 1 }, { name: one, max_out: 2 }]", "/spec/guards/1/name"),
        ("guards: [{ name: windows, max_out: 1 }]", "/spec/guards/0/name"),
        ("healthy: []", "/spec/healthy"),
        ("healthy: [well]", "/spec/healthy/0"),
        ("windows: [{ every: '61 * * * *', for: 1h }]", "/spec/windows/0/every"),
        ("windows: [{ every: '0 22 * * *', for: 1h, zone: Atlantis }]", "/spec/windows/0/zone"),
        ("windows: [{ every: '0 22 * * *', for: soon }]", "/spec/windows/0/for"),
        (
            "freeze: [{ from: '2027-01-01T00:00:00Z', to: '2026-01-01T00:00:00Z', reason: x }]",
            "/spec/freeze/0/to",
        ),
        (
            "freeze: [{ from: tomorrow, to: '2026-01-01T00:00:00Z', reason: x }]",
            "/spec/freeze/0/from",
        ),
        (
            "freeze: [{ from: '2026-01-01T00:00:00Z', to: '2026-01-02T00:00:00Z' }]",
            "/spec/freeze/0/reason",
        ),
    ] {
        let problem = server.apply_cluster(&cluster(spec)).await.problem(422, "invalid-document");
        let problems = problem["problems"].as_array().unwrap();
        let paths: Vec<_> = problems.iter().map(|one| one["path"].as_str().unwrap()).collect();
        assert!(paths.contains(&place), "{spec}: {problem}");
        assert!(problems.iter().all(|one| one["line"].is_u64()), "{problem}");
    }
    let many: Vec<_> = (0..100).map(|n| format!("{{ name: g{n}, max_out: 1 }}")).collect();
    let many = cluster(&format!("guards: [{}]", many.join(", ")));
    server.apply_cluster(&many).await.problem(422, "invalid-document");
    server.get("/api/v1/clusters/eu").await.problem(404, "cluster-not-found");
    server.stop().await;
}

#[tokio::test]
async fn a_cluster_on_which_runs_go_side_by_side_gets_no_guards() {
    let server = Server::start().await;
    server.apply_cluster(CLUSTER).await.ok(201);
    server.apply(&playbook("restart", "1.0.0", "concurrency: allow")).await.ok(201);
    let body = json!({ "playbook": "restart", "cluster": "eu" });
    let first = server.post("/api/v1/runs", body.clone()).await.ok(201);
    let engine = Engine::hold(&server, id_of(&first)).await;
    engine.set(RunStatus::Starting, |_| {}).await;
    engine.set(RunStatus::Running, |_| {}).await;
    // One alone is no hindrance.
    server.apply_cluster(&cluster(GUARDS)).await.ok(200);
    server.apply_cluster(CLUSTER).await.ok(200);

    let second = server.post("/api/v1/runs", body).await.ok(201);
    let other = Engine::hold(&server, id_of(&second)).await;
    other.set(RunStatus::Starting, |_| {}).await;
    let all = json!({ "documents": [{ "document": cluster(GUARDS) }] });
    for refused in [
        server.apply_cluster(&cluster(GUARDS)).await,
        server.post("/api/v1/clusters?dry_run=true", json!({ "document": cluster(GUARDS) })).await,
        server.post("/api/v1/apply", all).await,
    ] {
        let problem = refused.problem(409, "cluster-in-use");
        let detail = problem["detail"].as_str().unwrap();
        for run in [&first, &second] {
            assert!(detail.contains(run["id"].as_str().unwrap()), "{detail}");
        }
    }
    // What limits no numbers is kept by each run for itself.
    let window = cluster("windows: [{ every: '0 22 * * *', for: 1h }]");
    server.apply_cluster(&window).await.ok(200);
    other.set(RunStatus::Cancelled, |_| {}).await;
    server.apply_cluster(&cluster(GUARDS)).await.ok(200);
    server.stop().await;
}

#[tokio::test]
async fn a_guard_is_overridden_by_a_resume_with_a_reason_and_by_nothing_else() {
    let server = Server::start().await;
    server.apply_cluster(&cluster(GUARDS)).await.ok(201);
    server.apply(&playbook("restart", "1.0.0", "")).await.ok(201);
    let body = json!({ "playbook": "restart", "cluster": "eu" });
    let run = server.post("/api/v1/runs", body).await.ok(201);
    let path = format!("/api/v1/runs/{}/commands", run["id"].as_str().unwrap());
    let with = |command: &str, reason: Value| {
        let body = json!({ "command": command, "override_guard": "one", "reason": reason });
        server.post(&path, body)
    };
    for (command, reason, found) in [
        ("resume", Value::Null, "`reason`: found none"),
        ("resume", json!("  "), "`reason`: found none"),
        ("pause", json!("why not"), "`override_guard`: found it with pause"),
    ] {
        let problem = with(command, reason).await.problem(400, "bad-body");
        assert!(problem["detail"].as_str().unwrap().contains(found), "{problem}");
    }
    let long = json!({ "command": "resume", "override_guard": "g".repeat(257), "reason": "x" });
    server.post(&path, long).await.problem(400, "bad-body");

    let engine = Engine::hold(&server, id_of(&run)).await;
    let (applied, ()) = tokio::join!(
        with("resume", json!("rack 7 is gone")),
        engine.answer_next(CommandOutcome::Applied)
    );
    let applied = applied.ok(200);
    assert_eq!(
        (&applied["override_guard"], &applied["command"]),
        (&json!("one"), &json!("resume"))
    );
    server.stop().await;
}
