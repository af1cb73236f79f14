//! Steering runs: pauses, retries, giving up, and why a run waits.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use replibook::run::RunStatus;
use serde_json::{Value, json};

use super::server::{EventScript, Seen, Server, problem, run, run_id};
use super::{NOWHERE, is_ada, replictl};

const NEW: &str = "01920000-0000-7000-8000-000000000002";

fn applied(seen: &Seen) -> Response {
    let command = seen.json();
    let view = json!({"id": command["id"], "run": run_id(), "command": command["command"],
        "agent": command["agent"], "outcome": {"outcome": "applied"}});
    (StatusCode::OK, axum::Json(view)).into_response()
}

/// A server with one run in this status, which applies every command. A retry starts the run [`NEW`].
fn with_run(status: RunStatus) -> Server {
    Server::start(move |seen| match (seen.method.as_str(), seen.path.rsplit('/').next()) {
        ("POST", Some("retry")) => {
            let mut new = run(RunStatus::Pending, &[]);
            new["id"] = json!(NEW);
            (StatusCode::CREATED, axum::Json(new)).into_response()
        }
        ("POST", _) => applied(seen),
        (_, Some("agents")) => axum::Json(json!({"items": [], "next": null})).into_response(),
        _ => axum::Json(run(status, &[])).into_response(),
    })
}

fn posted(server: &Server) -> Vec<Value> {
    server.seen().iter().filter(|seen| seen.method == "POST").map(Seen::json).collect()
}

#[tokio::test]
async fn each_command_is_sent_with_its_reason_and_actor() {
    let server = with_run(RunStatus::Paused);
    let id = run_id();
    for (args, verb, agent) in [
        (vec!["pause"], "pause", Value::Null),
        (vec!["pause", "--now"], "pause-now", Value::Null),
        (vec!["resume"], "resume", Value::Null),
        (vec!["cancel", "-y"], "cancel", Value::Null),
        (vec!["approve"], "approve", Value::Null),
        (vec!["reject"], "reject", Value::Null),
        (vec!["retry"], "retry", Value::Null),
        (vec!["retry", "--failed"], "retry", Value::Null),
        (vec!["retry", "--agent", "node-1"], "retry", json!("node-1")),
        (vec!["retry", "--again"], "retry", Value::Null),
        (vec!["retry", "--again", "-a", "node-1"], "retry", json!("node-1")),
        (vec!["give-up", "--agent", "node-1"], "give-up", json!("node-1")),
        (vec!["give-up", "-a", "node-1", "--force"], "give-up", json!("node-1")),
        (vec!["give-up", "-a", "node-1", "-y"], "give-up", json!("node-1")),
    ] {
        let args = [&["run"], &args[..], &[&id, "--reason", "lunch"]].concat();
        let (code, out, err) = replictl(&server.url, &args).await;
        assert_eq!(code, 0, "{args:?}: {err}");
        let shown = out.lines().last().unwrap().split_whitespace().collect::<Vec<_>>().join(" ");
        let about = agent.as_str().map(|agent| format!("{verb} {agent}"));
        assert_eq!(shown, format!("{id} {} applied", about.as_deref().unwrap_or(verb)));
        let sent = posted(&server).pop().unwrap();
        assert_eq!((&sent["command"], &sent["agent"]), (&json!(verb), &agent));
        assert_eq!(sent["again"] == true, args.contains(&"--again"), "{sent}");
        assert!(sent["reason"] == "lunch" && is_ada(&sent["actor"]), "{sent}");
        let hints_at_resume = err.contains(&format!("replictl run resume {id}"));
        assert_eq!(hints_at_resume, verb == "retry", "{err}");
    }
}

#[tokio::test]
async fn a_guard_is_overridden_with_a_reason_and_not_without() {
    let server = with_run(RunStatus::Running);
    let id = run_id();
    let resume = ["run", "resume", &id, "--override-guard", "one-zone"];
    let (code, _, err) = replictl(&server.url, &resume).await;
    assert_eq!(code, 2, "{err}");
    assert!(err.contains("--reason"), "{err}");
    assert!(posted(&server).is_empty());
    for option in ["--why", "--reason"] {
        let args = [&resume[..], &[option, "rack 7 is gone"]].concat();
        let (code, _, err) = replictl(&server.url, &args).await;
        assert_eq!(code, 0, "{err}");
        let sent = posted(&server).pop().unwrap();
        assert_eq!(
            (&sent["command"], &sent["override_guard"]),
            (&json!("resume"), &json!("one-zone"))
        );
        assert_eq!(sent["reason"], "rack 7 is gone");
    }
    let (code, ..) = replictl(&server.url, &["run", "resume", &id]).await;
    assert_eq!((code, posted(&server).pop().unwrap().get("override_guard")), (0, None));
}

#[tokio::test]
async fn a_signal_is_sent_with_its_payload() {
    let server = Server::start(|seen| match seen.method.as_str() {
        "POST" => {
            let sent = seen.json();
            let view = json!({"id": sent["id"], "run": run_id(), "command": "signal", "agent": sent["agent"],
                "outcome": {"outcome": "applied"}});
            (StatusCode::OK, axum::Json(view)).into_response()
        }
        _ => axum::Json(run(RunStatus::Running, &[])).into_response(),
    });
    let id = run_id();
    for (options, agent, payload) in [
        (vec![], Value::Null, Value::Null),
        (vec!["--payload", r#"{"ticket": 7}"#], Value::Null, json!({"ticket": 7})),
        (vec!["-a", "node-1", "-p", "3"], json!("node-1"), json!(3)),
    ] {
        let args = [&["run", "signal", &id, "go", "--reason", "lunch"], &options[..]].concat();
        let (code, out, err) = replictl(&server.url, &args).await;
        assert_eq!(code, 0, "{args:?}: {err}");
        assert!(out.contains("signal") && out.contains("applied"), "{out}");
        let seen = server.seen().into_iter().rfind(|seen| seen.method == "POST").unwrap();
        assert_eq!(seen.path, format!("/api/v1/runs/{id}/signals"));
        let sent = seen.json();
        assert_eq!(
            (&sent["name"], &sent["agent"], &sent["payload"]),
            (&json!("go"), &agent, &payload)
        );
        assert!(sent["reason"] == "lunch" && is_ada(&sent["actor"]), "{sent}");
    }
    let args = ["run", "signal", &id, "go", "--payload", "yes"];
    let (code, _, err) = replictl(&server.url, &args).await;
    assert!(code == 2 && err.contains("text needs quotes of its own"), "{code} {err}");
}

/// Takes half a minute: `replictl` waits that long.
#[tokio::test]
async fn what_was_not_applied_in_time_is_exit_13() {
    let server = Server::start(|seen| {
        let command = seen.json();
        let view = json!({"id": command["id"], "run": run_id(), "command": command["command"],
            "agent": null, "outcome": null});
        (StatusCode::ACCEPTED, axum::Json(view)).into_response()
    });
    let id = run_id();
    let args = ["run", "pause", &id, "-o", "json"];
    let (code, out, err) = replictl(&server.url, &args).await;
    assert_eq!(code, 13, "{err}");
    assert!(err.contains("pause is accepted, not yet applied"), "{err}");
    let told: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&told["command"], &told["outcome"]), (&json!("pause"), &Value::Null));
    // It asks about the same command each time.
    let ids: Vec<_> = posted(&server).into_iter().map(|sent| sent["id"].clone()).collect();
    assert!(ids.len() > 1 && ids.iter().all(|id| *id == ids[0]), "{ids:?}");
}

#[tokio::test]
async fn a_finished_run_is_retried_in_a_new_one() {
    for (options, kinds) in [
        (vec![], [false, false, false]),
        (vec!["--failed"], [true, false, false]),
        (vec!["--skipped", "--unfinished"], [false, true, true]),
    ] {
        let server = with_run(RunStatus::Failed);
        let id = run_id();
        let args = [&["run", "retry", &id, "--reason", "mended"], &options[..]].concat();
        let (code, out, err) = replictl(&server.url, &args).await;
        assert_eq!(code, 0, "{err}");
        assert!(out.contains(NEW) && out.contains("PENDING"), "{out}");
        assert!(err.contains(&format!("replictl run watch {NEW}")), "{err}");
        let seen = server.seen();
        let request = seen.iter().find(|seen| seen.method == "POST").unwrap();
        assert_eq!(request.path, format!("/api/v1/runs/{id}/retry"));
        assert!(!request.header("idempotency-key").is_empty(), "it may be repeated");
        let sent = request.json();
        assert_eq!(["failed", "skipped", "unfinished"].map(|kind| sent[kind] == true), kinds);
        assert!(sent["reason"] == "mended" && is_ada(&sent["started_by"]), "{sent}");
    }
}

#[tokio::test]
async fn a_finished_run_is_retried_with_a_mended_playbook() {
    let server = with_run(RunStatus::Cancelled);
    let args = ["run", "retry", &run_id(), "--unfinished", "--playbook", "restart@1.0.1"];
    let (code, _, err) = replictl(&server.url, &args).await;
    assert_eq!(code, 0, "{err}");
    let sent = posted(&server).pop().unwrap();
    assert_eq!((&sent["playbook"], &sent["unfinished"]), (&json!("restart@1.0.1"), &json!(true)));
}

#[tokio::test]
async fn a_repeated_retry_is_asked_for_also_when_its_run_is_gone() {
    let server = Server::start(|seen| match seen.method.as_str() {
        "POST" => (StatusCode::OK, axum::Json(run(RunStatus::Done, &[]))).into_response(),
        _ => problem(404, "run-not-found", "there is no run, or it has expired"),
    });
    let id = run_id();
    let args = ["run", "retry", &id, "--idempotency-key", "k"];
    let (code, _, err) = replictl(&server.url, &args).await;
    assert_eq!(code, 0, "{err}");
    let (code, _, err) = replictl(&server.url, &["run", "retry", &id]).await;
    assert_eq!(code, 4, "{err}");
}

#[tokio::test]
async fn a_new_run_is_followed_to_its_end() {
    let script = EventScript::new(vec![vec![EventScript::end(RunStatus::Done, &[("DONE", 2)])]]);
    let server = Server::start(move |seen| match seen.method.as_str() {
        "POST" => (StatusCode::CREATED, axum::Json(run(RunStatus::Pending, &[]))).into_response(),
        _ if script.streamed() => script.answer(seen, RunStatus::Done, &[("DONE", 2)]),
        _ => script.answer(seen, RunStatus::Failed, &[]),
    });
    let args = ["run", "retry", &run_id(), "--watch", "--idempotency-key", "k"];
    let (code, out, err) = replictl(&server.url, &args).await;
    assert!(err.contains("started, over agents of run"), "{err}");
    assert!([0, 1].contains(&code), "{out}{err}");
    let seen = server.seen();
    let request = seen.iter().find(|seen| seen.method == "POST").unwrap();
    assert_eq!(request.header("idempotency-key"), "k");
}

#[tokio::test]
async fn what_does_not_fit_the_run_is_exit_4_with_the_reason() {
    let id = run_id();
    for (status, options, reason) in [
        (RunStatus::Paused, vec!["--skipped"], "is PAUSED: --skipped is for a run that has ended"),
        (RunStatus::Running, vec!["--unfinished"], "is RUNNING: --unfinished is for"),
        (RunStatus::Paused, vec!["--watch"], "is PAUSED: --watch is for a run that has ended"),
        (
            RunStatus::Paused,
            vec!["--playbook", "p@2.0.0"],
            "is PAUSED: --playbook is for a run that has ended",
        ),
        (RunStatus::Paused, vec!["--playbook", "p@2.0.0"], "\n  replictl run cancel"),
        (RunStatus::Paused, vec!["--playbook", "p@2.0.0"], "--unfinished --playbook p@2.0.0"),
        (RunStatus::Done, vec!["--agent", "node-1"], "has ended as DONE: --agent is for a paused"),
        (RunStatus::Done, vec!["--again"], "has ended as DONE: --again is for a paused"),
    ] {
        let server = with_run(status);
        let args = [&["run", "retry", &id], &options[..]].concat();
        let (code, _, err) = replictl(&server.url, &args).await;
        assert_eq!(code, 4, "{err}");
        assert!(err.contains(reason), "{err}");
        assert_eq!(posted(&server), [] as [Value; 0], "nothing was asked of it");
    }
    let server = Server::start(|seen| match seen.method.as_str() {
        "POST" => problem(409, "nothing-to-retry", "run x left no failed agents"),
        _ => axum::Json(run(RunStatus::Done, &[])).into_response(),
    });
    let (code, _, err) = replictl(&server.url, &["run", "retry", &id]).await;
    assert_eq!((code, err.as_str()), (4, "error: run x left no failed agents\n"));
    // Combinations that make no sense are wrong usage.
    for args in [
        vec!["run", "give-up", &id],
        vec!["run", "retry", &id, "--agent", "node-1", "--failed"],
        vec!["run", "resume", &id, "--now"],
    ] {
        assert_eq!(replictl(NOWHERE, &args).await.0, 2, "{args:?}");
    }
}

#[tokio::test]
async fn a_run_says_why_it_waits_and_what_to_type() {
    let explained = |status: RunStatus| {
        json!({"status": status, "since": "2026-11-22T09:00:00Z",
            "text": "The strategy asks for approval: go on?",
            "next": [{"effect": "let it go on", "command": format!("run approve {}", run_id())}]})
    };
    let script = EventScript::new(vec![]);
    let server = Server::start(move |seen| match seen.path.ends_with("/explanation") {
        true => axum::Json(explained(RunStatus::Paused)).into_response(),
        false => script.answer(seen, RunStatus::Paused, &[("DONE", 1)]),
    });
    let told = format!(
        "The strategy asks for approval: go on?\n  let it go on: replictl run approve {}\n",
        run_id()
    );
    let (code, _, err) = replictl(&server.url, &["run", "watch", &run_id()]).await;
    assert_eq!(code, 9, "{err}");
    assert!(err.ends_with(&told), "{err}");
    let (code, out, err) = replictl(&server.url, &["describe", "run", &run_id()]).await;
    assert_eq!(code, 0, "{err}");
    assert!(out.contains(&format!("\n\n{told}")), "{out}");
}
