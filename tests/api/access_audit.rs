//! What is written down of those who change things, and what happens where nothing can be written.

use serde_json::{Value, json};

use crate::api::access::{ADMIN, ask, audited, get, two_runs};
use crate::api::server::{CLUSTER, Server, playbook};

fn outcomes(page: &Value) -> Vec<(String, String, String)> {
    let items = page["items"].as_array().unwrap();
    let text = |item: &Value, key: &str| item[key].as_str().unwrap_or_default().to_owned();
    items
        .iter()
        .map(|item| (text(item, "who"), text(item, "what"), text(item, "outcome")))
        .collect()
}

#[tokio::test]
async fn every_change_is_written_down_before_and_after_and_every_refusal_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    let roles: [(&str, &[&str]); 2] = [ADMIN, ("ci", &["may: [view]"])];
    let server = Server::with_keeper(audited(&roles, &path)).await;
    let apply = |who: &'static str, dry: &str| {
        let body = json!({ "document": playbook("restart", "1.0.0", "") });
        let (server, path) = (&server, format!("/api/v1/playbooks{dry}"));
        async move { ask(server, who, "POST", &path, Some(body)).await }
    };
    apply("ci", "").await.problem(403, "not-allowed");
    apply("admin", "?dry_run=true").await.ok(200);
    apply("admin", "").await.ok(201);
    apply("nobody", "").await.problem(401, "not-authenticated");
    get(&server, "ci", "/api/v1/playbooks").await.ok(200);
    let conflict = json!({ "document": playbook("restart", "1.0.0", "summary: other") });
    ask(&server, "admin", "POST", "/api/v1/playbooks", Some(conflict))
        .await
        .problem(409, "conflict");

    let page = get(&server, "admin", "/api/v1/audit").await.ok(200);
    let expected = [
        ("token:admin", "failed"),
        ("token:admin", "begins"),
        ("anybody", "refused"),
        ("token:admin", "done"),
        ("token:admin", "begins"),
        ("token:ci", "refused"),
    ];
    let expected = expected
        .map(|(who, outcome)| (who.to_owned(), "apply a playbook".to_owned(), outcome.to_owned()));
    assert_eq!(outcomes(&page), expected);
    let done = &page["items"][3];
    assert_eq!(done["about"], json!({ "playbook": "restart", "version": "1.0.0" }));
    assert_eq!((&done["status"], &done["from"]), (&json!(201), &json!("127.0.0.1")));
    assert_eq!(done["request"], page["items"][4]["request"]);
    assert_eq!(done["to"], "POST /api/v1/playbooks");
    assert_eq!(page["items"][5]["code"], "not-allowed");
    // Pages lead on, and nobody else may read them.
    let first = get(&server, "admin", "/api/v1/audit?limit=4").await.ok(200);
    let rest = format!("/api/v1/audit?after={}", first["next"].as_str().unwrap());
    let rest = get(&server, "admin", &rest).await.ok(200);
    assert_eq!((outcomes(&rest).len(), &rest["next"]), (2, &Value::Null));
    get(&server, "ci", "/api/v1/audit").await.problem(403, "not-allowed");
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(!text.contains("rpb_"), "nothing of a token is in it");
}

#[tokio::test]
async fn a_server_without_an_audit_says_so() {
    let server = crate::api::access::server(&[ADMIN]).await;
    get(&server, "admin", "/api/v1/audit").await.problem(404, "no-audit");
}

#[tokio::test]
async fn on_a_full_disk_runs_are_stopped_and_nothing_else_is_changed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    let server = Server::with_keeper(audited(&[ADMIN], &path)).await;
    let [run, _] = two_runs(&server).await;
    std::fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink("/dev/full", &path).unwrap();
    let commands = format!("/api/v1/runs/{run}/commands");
    let cluster = CLUSTER.replace("name: eu", "name: other");
    for (path, body) in [
        ("/api/v1/playbooks", json!({ "document": playbook("other", "1.0.0", "") })),
        ("/api/v1/clusters", json!({ "document": cluster })),
        ("/api/v1/apply", json!({ "documents": [{ "document": cluster }] })),
        ("/api/v1/runs", json!({ "playbook": "ops/restart", "cluster": "eu" })),
        (commands.as_str(), json!({ "command": "resume" })),
        (commands.as_str(), json!({ "command": "approve" })),
    ] {
        let refused = ask(&server, "admin", "POST", path, Some(body)).await;
        refused.problem(503, "audit-unavailable");
    }
    let missing = get(&server, "admin", "/api/v1/playbooks/other").await;
    missing.problem(404, "playbook-not-found");
    // A dry run changes nothing.
    let body = json!({ "document": playbook("other", "1.0.0", "") });
    ask(&server, "admin", "POST", "/api/v1/playbooks?dry_run=true", Some(body)).await.ok(200);
    for command in ["pause", "pause-now", "cancel"] {
        let body = Some(json!({ "command": command }));
        ask(&server, "admin", "POST", &commands, body).await.ok(202);
    }
    let reject =
        ask(&server, "admin", "POST", &commands, Some(json!({ "command": "reject" }))).await;
    assert!(reject.status != 503, "{}", reject.body);
    // They are in the file once there is room again.
    std::fs::remove_file(&path).unwrap();
    let body = json!({ "document": playbook("other", "1.0.0", "") });
    ask(&server, "admin", "POST", "/api/v1/playbooks", Some(body)).await.ok(201);
    let page = get(&server, "admin", "/api/v1/audit").await.ok(200);
    let begins = |(_, what, outcome): &(String, String, String)| {
        what == "steer a run" && outcome == "begins"
    };
    assert_eq!(outcomes(&page).iter().filter(|one| begins(one)).count(), 3, "{page}");
}
