//! Texts of other people, and names of files: nothing in them does anything to a terminal, and none begins a
//! line of its own.

use axum::response::IntoResponse;
use replibook::run::RunStatus;
use replibook::shown::has_unseen;
use serde_json::{Value, json};

use super::server::{Seen, Server, event, problem, run, run_id};
use super::{NOWHERE, replictl};

/// A text that would clear the screen, forge a line, and reverse what follows.
const ODD: &str = "full\u{1b}[2J\nerror: forged\r\u{9b}31m\u{202e}dne\u{200b}";

fn odd_run(status: RunStatus) -> Value {
    let mut run = run(status, &[("FAILED", 1)]);
    run["reason"] = json!({"code": "budget-exceeded", "message": ODD});
    run["started_by"] = json!(ODD);
    run["params"] = json!({ ODD: ODD });
    run["cluster"] = json!(ODD);
    run
}

fn answer(seen: &Seen) -> axum::response::Response {
    let record = json!({"run": run_id(), "seq": 0, "agent": format!("node{ODD}"), "address": ODD,
        "attributes": {}, "node": null, "state": "FAILED", "stage": 0, "step": 1, "attempts": [1],
        "batch": 1, "batch_label": ODD, "results": {ODD: ODD}, "skip_reason": ODD,
        "error": {"reason": "step-failed", "message": ODD, "step": ODD, "at": "2026-11-22T09:00:00Z"},
        "started_at": null, "ended_at": null, "joined_at": null, "left_at": null, "finish_ts": null});
    let log = json!({"run": run_id(), "event": 1, "line": 0, "at": "2026-11-22T09:00:00Z",
        "agent": ODD, "source": ODD, "attempt": null, "level": "info", "message": ODD,
        "finish_ts": null});
    let list = |item: Value| axum::Json(json!({"items": [item], "next": null})).into_response();
    match seen.path.as_str() {
        path if path.ends_with("/agents") && path.contains("clusters") => {
            let agent = json!({"id": ODD, "address": ODD, "source": "declared",
                "attributes": {ODD: ODD}, "since": "2026-11-22T09:00:00Z"});
            axum::Json(json!({"items": [agent], "next": null, "followed": true, "platform": null,
                "mass_absence": null}))
            .into_response()
        }
        path if path.ends_with("/agents") => list(record),
        path if path.ends_with("/logs") => list(log),
        path if path.ends_with("/events") => {
            let text = event(1, &format!("node{}", ODD.escape_default()));
            let data = text.lines().nth(1).unwrap().strip_prefix("data: ").unwrap();
            let mut event: Value = serde_json::from_str(data).unwrap();
            (event["actor"], event["agent"]) = (json!(ODD), json!(ODD));
            list(event)
        }
        path if path.ends_with("/explanation") => axum::Json(json!({"status": "PAUSED",
            "since": "2026-11-22T09:00:00Z", "text": ODD, "actions": [],
            "next": [{"effect": ODD, "command": ODD}]}))
        .into_response(),
        path if path.ends_with("/snapshot") => problem(404, "run-not-found", ODD),
        path if path.ends_with("/commands") => axum::Json(json!({"id": uuid::Uuid::nil(),
            "run": run_id(), "command": "pause", "outcome": {"outcome": "refused", "reason": ODD}}))
        .into_response(),
        path if path.ends_with("/runs") => list(odd_run(RunStatus::Paused)),
        path if path.ends_with(&run_id()) => axum::Json(odd_run(RunStatus::Paused)).into_response(),
        _ => problem(409, "conflict", ODD),
    }
}

#[tokio::test]
async fn no_command_lets_anything_through() {
    let server = Server::start(answer);
    let id = run_id();
    let commands: [&[&str]; 15] = [
        &["run", "list"],
        &["get", "runs"],
        &["get", "runs", &id],
        &["get", "agents", "--cluster", "x"],
        &["describe", "run", &id],
        &["describe", "agent", ODD, "--cluster", "x"],
        &["run", "agents", &id],
        &["run", "logs", &id],
        &["run", "events", &id],
        &["run", "pause", &id],
        &["run", "watch", &id],
        &["delete", "cluster", "x"],
        &["get", "clusters", ODD],
        &["describe", "playbook", ODD],
        &["run", "list", "--status", ODD],
    ];
    for command in commands {
        for format in
            ["table", "wide", "json", "yaml", "name", "custom-columns=A:..message,B:..playbook"]
        {
            let args = [command, &["-o", format]].concat();
            let (code, out, err) = replictl(&server.url, &args).await;
            assert_ne!(code, 8, "{args:?}: the answer was understood: {err}");
            if matches!(format, "table" | "wide" | "json") {
                assert!(out.contains("forged") || err.contains("forged"), "{args:?}: it is shown");
            }
            assert!(!has_unseen(&out), "{args:?}: {out:?}");
            assert!(!has_unseen(&err), "{args:?}: {err:?}");
            for line in out.lines().chain(err.lines()) {
                assert!(!line.starts_with("error: forged"), "{args:?}: {line}");
            }
            if format == "json" && out.starts_with(['[', '{']) {
                let read: Value = serde_json::from_str(&out).unwrap();
                assert_ne!(read, Value::Null, "{args:?}: programs read what was there");
            }
        }
    }
}

#[tokio::test]
async fn a_file_may_be_called_as_it_likes() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a\u{1b}]0;x\u{7}\nerror: forged\u{202e}.yaml");
    let cluster = "apiVersion: replicante.io/v1\nkind: Cluster\nmetadata: { name: eu }\nspec: {}\n";
    for text in [cluster, "kind: Sandwich\n", "a: [", "\u{1b}[2J\u{202e}: x\n", ""] {
        std::fs::write(&file, text).unwrap();
        for format in ["table", "json", "yaml"] {
            let args = ["validate", "-f", file.to_str().unwrap(), "-o", format];
            let (_, out, err) = replictl(NOWHERE, &args).await;
            assert!(!has_unseen(&out) && !has_unseen(&err), "{out:?} {err:?}");
            assert!(!err.contains("\nerror: forged"), "{err}");
        }
    }
}
