//! What is written down of those who change things, and what happens where nothing can be written.

use std::sync::Arc;

use replibook::access::Keeper;
use replibook::access::audit::AuditLog;
use replibook::clock::SystemClock;
use replibook::run::{RunId, RunStatus};
use serde_json::{Value, json};

use crate::api::access::{ADMIN, ask, audited, current, get, token, two_runs};
use crate::api::engine::Engine;
use crate::api::server::{CLUSTER, DEADLINE, JumpingClock, Server, playbook, send};

/// How many refusals of one identity the audit has at once.
const REFUSALS_AT_ONCE: usize = 200;

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

/// Reads the audit until it has this outcome, and returns what has it.
async fn until(server: &Server, outcome: &str) -> Value {
    let look = async {
        loop {
            let page = get(server, "admin", "/api/v1/audit").await.ok(200);
            let items = page["items"].as_array().unwrap();
            if let Some(found) = items.iter().find(|item| item["outcome"] == outcome) {
                return found.clone();
            }
        }
    };
    tokio::time::timeout(DEADLINE, look).await.unwrap()
}

#[tokio::test]
async fn who_goes_away_before_the_answer_leaves_an_end_in_the_audit() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    let keeper = audited(&[ADMIN], &path);
    let server = Server::with_keeper_at(keeper, Arc::new(SystemClock)).await;
    let [run, _] = two_runs(&server).await;
    let before = get(&server, "admin", "/api/v1/audit").await.ok(200);
    // Nobody drives the run, so this is not answered for a while.
    let commands = format!("/api/v1/runs/{run}/commands");
    let pause = server.request("POST", &commands).bearer_auth(token("admin"));
    let asking = tokio::spawn(pause.json(&json!({ "command": "pause" })).send());
    let look = async {
        loop {
            let page = get(&server, "admin", "/api/v1/audit").await.ok(200);
            if page["items"].as_array().unwrap().len() > before["items"].as_array().unwrap().len() {
                break;
            }
        }
    };
    tokio::time::timeout(DEADLINE, look).await.unwrap();
    asking.abort();
    let left = until(&server, "unknown").await;
    assert_eq!((&left["what"], &left["about"]["run"]), (&json!("steer a run"), &json!(run)));
}

#[tokio::test]
async fn who_says_nothing_is_in_the_audit_and_nobody_fills_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    let roles: [(&str, &[&str]); 2] = [ADMIN, ("ci", &["may: [view]"])];
    let clock = Arc::new(JumpingClock::default());
    let audit = AuditLog::open(&path).unwrap();
    let keeper = Keeper::new(current(&roles), clock).with_audit(Some(audit));
    let server = Server::with_keeper(keeper).await;
    let body = json!({ "document": CLUSTER });
    server.post("/api/v1/clusters", body.clone()).await.problem(401, "not-authenticated");
    let refused = until(&server, "refused").await;
    assert_eq!((&refused["who"], &refused["what"]), (&json!("anybody"), &json!("apply a cluster")));
    for _ in 0..REFUSALS_AT_ONCE + 20 {
        let reply = ask(&server, "ci", "POST", "/api/v1/clusters", Some(body.clone())).await;
        reply.problem(403, "not-allowed");
    }
    let text = std::fs::read_to_string(&path).unwrap();
    let lines = text.lines().filter(|line| line.contains("token:ci")).count();
    assert_eq!(lines, REFUSALS_AT_ONCE);
}

#[tokio::test]
async fn a_session_without_a_page_is_in_the_audit_and_a_page_of_another_site_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    let clock = Arc::new(JumpingClock::default());
    let audit = AuditLog::open(&path).unwrap();
    let keeper = Keeper::new(current(&[ADMIN]), clock).with_audit(Some(audit));
    let server = Server::with_keeper(keeper).await;
    let sent = async |origin: Option<&str>| {
        let request = server.request("POST", "/api/v1/clusters");
        let request = request.header("cookie", "replibook-session=guessed");
        let request =
            origin.map_or(request.try_clone().unwrap(), |origin| request.header("origin", origin));
        send(request.json(&json!({ "document": CLUSTER }))).await
    };
    sent(Some("https://evil.example.com")).await.problem(403, "origin-refused");
    for _ in 0..REFUSALS_AT_ONCE + 20 {
        sent(None).await.problem(403, "origin-refused");
    }
    let refused = until(&server, "refused").await;
    assert_eq!(
        (&refused["who"], &refused["what"], &refused["code"]),
        (&json!("anybody"), &json!("apply a cluster"), &json!("origin-refused"))
    );
    // The first one, of another site, is not among them, and cookies that are no sessions fill no disk.
    let lines = std::fs::read_to_string(&path).unwrap().lines().count();
    assert_eq!(lines, REFUSALS_AT_ONCE);
}

#[tokio::test]
async fn each_document_that_is_applied_has_an_entry() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    let server = Server::with_keeper(audited(&[ADMIN], &path)).await;
    let names: Vec<String> = (0..20).map(|number| format!("a-long-name-{number:0>40}")).collect();
    let document = |name: &String| CLUSTER.replace("name: eu", &format!("name: {name}"));
    let documents: Vec<_> =
        names.iter().map(|name| json!({ "document": document(name) })).collect();
    let all = Some(json!({ "documents": documents }));
    ask(&server, "admin", "POST", "/api/v1/apply", all).await.ok(200);
    let page = get(&server, "admin", "/api/v1/audit").await.ok(200);
    let items = page["items"].as_array().unwrap();
    assert_eq!((items.len(), &items[0]["outcome"]), (21, &json!("done")));
    for (name, item) in names.iter().zip(items[1..].iter().rev()) {
        assert_eq!((&item["about"]["cluster"], &item["outcome"]), (&json!(name), &json!("begins")));
        assert_eq!(item["request"], items[0]["request"]);
    }
}

#[tokio::test]
async fn what_changes_nothing_takes_no_room_of_the_reserve() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    let server = Server::with_keeper(audited(&[ADMIN], &path)).await;
    let [run, other] = two_runs(&server).await;
    let other: RunId = other.parse().unwrap();
    Engine::hold(&server, other).await.set(RunStatus::Done, |_| {}).await;
    std::fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink("/dev/full", &path).unwrap();
    let reserve = || std::fs::read(folder.path().join("audit.jsonl.reserve")).unwrap();
    let before = reserve();
    let pause = |reason: String| Some(json!({ "command": "pause", "reason": reason }));
    let ended = format!("/api/v1/runs/{other}/commands");
    let refused = ask(&server, "admin", "POST", &ended, pause("x".to_owned())).await;
    refused.problem(409, "command-refused");
    assert!(before == reserve(), "nothing is written of a run that has ended");
    let nothing = Some(json!({ "documents": [] }));
    let applied = ask(&server, "admin", "POST", "/api/v1/apply", nothing).await.ok(200);
    assert_eq!(applied["items"], json!([]));
    let commands = format!("/api/v1/runs/{run}/commands");
    ask(&server, "admin", "POST", &commands, pause("why ".repeat(60))).await.ok(202);
    let kept = reserve();
    let lines = kept.split(|byte| *byte == 0).next().unwrap();
    let text = std::str::from_utf8(lines).unwrap();
    assert!(text.contains("\"pause\"") && !text.contains("why "), "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");
}
