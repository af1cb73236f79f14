//! What is told of runs that may be viewed, where it touches those that may not.

use replibook::run::{Digest, EngineId, RunId, RunStatus, StatusReason, TroubleCode};
use replibook::store::memory::FaultMoment;
use replibook::store::{Failed, Store as _};
use serde_json::{Value, json};

use crate::api::access::{ADMIN, ask, get, server, token, two_runs};
use crate::api::engine::Engine;
use crate::api::plugins::{strategy, using};
use crate::api::server::{CLUSTER, Server, playbook, send};

const OPS: (&str, &[&str]) = ("ops", &["may: [view, start], playbooks: ['ops/*']"]);

const ZEROS: &str = "00000000-0000-0000-0000-000000000000";

#[tokio::test]
async fn what_people_wrote_stays_as_it_is_and_what_the_server_says_has_no_hidden_run() {
    let server = server(&[ADMIN, OPS]).await;
    let [_, other] = two_runs(&server).await;
    // Whoever reads a document and applies it again must not change it by that.
    let note = format!("attributes: {{ detail: '{other}' }}");
    let document = CLUSTER
        .replace("name: eu", "name: us")
        .replace("'http://127.0.0.1:2'", &format!("'http://127.0.0.1:2', {note}"));
    let body = Some(json!({ "document": document }));
    ask(&server, "admin", "POST", "/api/v1/clusters", body).await.ok(200);
    let found = get(&server, "ops", "/api/v1/clusters/us").await.ok(200);
    assert_eq!(found["document"], document);
    let alone = playbook("ops/alone", "1.0.0", "concurrency: reject");
    let body = Some(json!({ "document": alone }));
    ask(&server, "admin", "POST", "/api/v1/playbooks", body).await.ok(201);
    let start = json!({ "playbook": "ops/alone", "cluster": "us" });
    let refused = ask(&server, "ops", "POST", "/api/v1/runs", Some(start.clone())).await;
    let detail = refused.problem(409, "cluster-busy")["detail"].to_string();
    assert!(detail.contains(ZEROS) && !detail.contains(&other), "{detail}");
    let refused = ask(&server, "admin", "POST", "/api/v1/runs", Some(start)).await;
    let detail = refused.problem(409, "cluster-busy")["detail"].to_string();
    assert!(detail.contains(&other), "{detail}");
}

/// Has the run wait for another one, with others in between.
async fn queue(server: &Server, run: RunId, holder: RunId) {
    let engine = Engine::hold(server, run).await;
    let wait = |writes: &mut replibook::run::Writes| {
        if let Some(progress) = &mut writes.progress {
            progress.reason = Some(StatusReason::cluster_busy(holder, 2));
        }
    };
    engine.set(RunStatus::Pending, wait).await;
}

#[tokio::test]
async fn the_trouble_of_a_hidden_run_is_told_to_nobody_who_waits_for_it() {
    let server = server(&[ADMIN, OPS]).await;
    let [own, other] = two_runs(&server).await;
    let (run, holder): (RunId, RunId) = (own.parse().unwrap(), other.parse().unwrap());
    let id = EngineId("broken".to_owned());
    let leases = server.store.claim(&id, 100).await.unwrap();
    let lease = leases.iter().find(|lease| lease.run == holder).unwrap();
    let failed = Failed { code: TroubleCode::Damaged, message: "a secret journal".to_owned() };
    server.store.set_aside(holder, lease.epoch, &id, &failed).await.unwrap();
    for lease in &leases {
        let _ = server.store.release(lease.run, lease.epoch).await;
    }
    queue(&server, run, holder).await;
    let path = format!("/api/v1/runs/{own}/explanation");
    let told: Value = get(&server, "admin", &path).await.ok(200);
    assert!(told.to_string().contains("a secret journal"), "{told}");
    let told: Value = get(&server, "ops", &path).await.ok(200);
    for part in ["a secret journal", "can't go on", "run abandon", &other, "queued before"] {
        assert!(!told.to_string().contains(part), "{part} in {told}");
    }
    // Nor how many others wait.
    for path in ["/api/v1/runs".to_owned(), format!("/api/v1/runs/{own}")] {
        let told = get(&server, "ops", &path).await.ok(200).to_string();
        assert!(told.contains(&format!("waits for run {ZEROS} to end\"")), "{told}");
        let told = get(&server, "admin", &path).await.ok(200).to_string();
        assert!(
            told.contains(&format!("waits for run {other} to end; 2 more are queued")),
            "{told}"
        );
    }
}

#[tokio::test]
async fn credentials_are_checked_only_for_those_who_may_apply_the_cluster() {
    let rule = "may: [view, operate], clusters: [eu]";
    let server = server(&[ADMIN, ("op", &[rule])]).await;
    let secured = format!("{CLUSTER}  credentials: prod\n");
    let other = secured.replace("name: eu", "name: us");
    let apply = async |who: &str, document: &str, path: &str| {
        let body = match path {
            "/api/v1/apply" => json!({ "documents": [{ "document": document }] }),
            _ => json!({ "document": document }),
        };
        ask(&server, who, "POST", path, Some(body)).await
    };
    for path in ["/api/v1/clusters", "/api/v1/clusters?dry_run=true", "/api/v1/apply"] {
        for document in [&secured, &other] {
            let problem = apply("op", document, path).await.problem(403, "not-allowed");
            assert!(!problem.to_string().contains("--credentials"), "{problem}");
        }
        let problem = apply("admin", &secured, path).await.problem(422, "invalid-document");
        assert!(problem.to_string().contains("found no credentials"), "{problem}");
    }
}

#[tokio::test]
async fn who_may_not_view_something_is_not_told_what_it_is_like() {
    let rules = ["may: [apply], playbooks: ['ops/*']", "may: [operate], clusters: [eu]"];
    let server = server(&[ADMIN, ("blind", &rules)]).await;
    let guarded = format!("{CLUSTER}  guards: [{{ name: quorum, max_out: 1 }}]\n");
    let body = Some(json!({ "document": guarded }));
    ask(&server, "admin", "POST", "/api/v1/clusters", body).await.ok(201);
    let body = Some(json!({ "document": CLUSTER }));
    let refused = ask(&server, "blind", "POST", "/api/v1/clusters", body).await;
    let detail = refused.problem(403, "not-allowed")["detail"].to_string();
    assert!(detail.contains("admin") && !detail.contains("quorum"), "{detail}");
}

#[tokio::test]
async fn a_command_is_repeated_only_by_who_sent_it() {
    let server = server(&[ADMIN, ("on-call", &["may: [view, steer]"])]).await;
    let [run, _] = two_runs(&server).await;
    let path = format!("/api/v1/runs/{run}/commands");
    let id = "018f0000-0000-4000-8000-000000000001";
    let pause = Some(json!({ "id": id, "command": "pause" }));
    for _ in 0..2 {
        ask(&server, "admin", "POST", &path, pause.clone()).await.ok(202);
    }
    let refused = ask(&server, "on-call", "POST", &path, pause).await;
    let detail = refused.problem(409, "command-id-reused")["detail"].to_string();
    assert!(!detail.contains("pause") && !detail.contains(&run), "{detail}");
}

#[tokio::test]
async fn what_pins_a_plugin_is_named_to_those_who_may_view_everything() {
    let rule = "may: [view, upload], playbooks: ['ops/*']";
    let lord = "may: [admin], playbooks: ['ops/*']";
    let server = server(&[ADMIN, ("up", &[rule]), ("lord", &[lord])]).await;
    let bytes = strategy("hidden");
    let digest = Digest::of(&bytes);
    let put = server.request("PUT", "/api/v1/plugins").bearer_auth(token("admin"));
    send(put.body(bytes)).await.ok(201);
    let document = using("file:one.wasm").replace("{ name: restart,", "{ name: lab/secret,");
    let body = json!({ "document": document, "uploads": { "own": digest } });
    ask(&server, "admin", "POST", "/api/v1/playbooks", Some(body)).await.ok(201);
    let path = format!("/api/v1/plugins/{digest}");
    for (who, is_told) in [("up", false), ("admin", true)] {
        let problem = ask(&server, who, "DELETE", &path, None).await.problem(409, "plugin-pinned");
        assert_eq!(problem.to_string().contains("lab/secret"), is_told, "{who}: {problem}");
    }
    // With patterns, admin is about no plugin.
    ask(&server, "lord", "DELETE", &path, None).await.problem(403, "not-allowed");
}

#[tokio::test]
async fn how_a_store_fails_is_told_to_those_who_may_view_everything() {
    let server = server(&[ADMIN]).await;
    server.store.faults().fail_calls(FaultMoment::Before);
    let problem = server.get("/readyz").await.problem(503, "not-ready");
    assert_eq!(problem["detail"], "the server can't work with its store");
    let told = get(&server, "admin", "/readyz").await.problem(503, "not-ready");
    assert_ne!(told["detail"], problem["detail"]);
}
