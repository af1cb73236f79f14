//! Runs: watched and steered.

use axum::http::StatusCode;
use axum::response::IntoResponse;
use replibook::run::RunStatus;
use serde_json::{Value, json};

use super::server::{EventScript, Server, event, problem, run, run_id};
use super::{NOWHERE, command, is_ada, read, replictl};

#[tokio::test]
async fn each_option_that_makes_a_run_narrower_is_in_the_request() {
    let server = Server::start(|_| axum::Json(run(RunStatus::Pending, &[])).into_response());
    let all = ["--select", "true", "--limit", "1", "--skip-stage", "a", "--start-at", "b"];
    for (options, expected) in [
        (&["--select", "agent.id != 'node-1'"][..], json!({"select": "agent.id != 'node-1'"})),
        (&["--limit", "3"], json!({"limit": 3})),
        (&["--skip-stage", "drain"], json!({"skip_stages": ["drain"]})),
        (&["--skip-stage", "a", "--skip-stage", "b"], json!({"skip_stages": ["a", "b"]})),
        (&["--start-at", "restart"], json!({"start_at": "restart"})),
        (&all, json!({"select": "true", "limit": 1, "skip_stages": ["a"], "start_at": "b"})),
        (&[], json!({})),
    ] {
        let args = [&["run", "start", "p", "--cluster", "c"][..], options].concat();
        let (code, _, err) = replictl(&server.url, &args).await;
        assert_eq!(code, 0, "{options:?}: {err}");
        let sent = server.seen().last().unwrap().json();
        let mut sent = sent.as_object().unwrap().clone();
        sent.retain(|key, _| !["playbook", "cluster", "params", "started_by"].contains(&&**key));
        assert_eq!(Value::Object(sent), expected, "{options:?}");
    }
    let (code, _, err) =
        replictl(NOWHERE, &["run", "start", "p", "--cluster", "c", "--limit", "few"]).await;
    assert_eq!(code, 2, "{err}");
    assert!(err.contains("invalid value 'few' for '--limit <N>'"), "{err}");
}

#[tokio::test]
async fn a_watch_goes_on_after_lost_connections_where_it_was() {
    let script = EventScript::new(vec![
        vec![event(1, "RUNNING"), event(2, "node-1")],
        vec![],
        // An event that has come before is not printed again.
        vec![
            event(2, "node-1"),
            event(3, "node-2"),
            EventScript::end(RunStatus::Done, &[("DONE", 2)]),
        ],
    ]);
    let server = Server::start(move |seen| script.answer(seen, RunStatus::Running, &[]));
    let (code, out, err) = replictl(&server.url, &["run", "watch", &run_id()]).await;
    assert_eq!(code, 0, "{err}");
    assert!(out.ends_with("\n2 done\n"), "{out}");
    assert!(out.contains("node-1  1      DONE"), "{out}");
    for line in ["run is RUNNING", "node-1 is DONE", "node-2 is DONE"] {
        assert_eq!(err.matches(line).count(), 1, "{line} in\n{err}");
    }
    assert!(err.contains("connection lost (the server closed the connection)"), "{err}");
    let streams: Vec<String> = server
        .seen()
        .iter()
        .filter(|seen| seen.header("accept") == "text/event-stream")
        .map(|seen| seen.header("last-event-id").to_owned())
        .collect();
    assert_eq!(streams, ["", "2", "2"]);
}

#[tokio::test]
async fn a_watch_ends_when_the_server_says_that_the_run_is_gone() {
    let body = json!({"type": "about:blank", "title": "Not Found", "status": 404,
        "detail": "there is no such run", "code": "run-not-found"});
    let gone = format!("event: error\ndata: {body}\n\n");
    let script = EventScript::new(vec![vec![event(1, "RUNNING"), gone]]);
    let server = Server::start(move |seen| script.answer(seen, RunStatus::Running, &[]));
    let (code, _, err) = replictl(&server.url, &["run", "watch", &run_id()]).await;
    assert_eq!(code, 4, "{err}");
    assert!(err.ends_with("error: there is no such run\n"), "{err}");
}

#[tokio::test]
async fn a_queued_run_says_what_it_waits_for() {
    let end = EventScript::end(RunStatus::Cancelled, &[]);
    let script = EventScript::new(vec![vec![], vec![event(1, "PENDING"), end]]);
    let server = Server::start(move |seen| script.answer(seen, RunStatus::Pending, &[]));
    let (code, _, err) = replictl(&server.url, &["run", "watch", &run_id()]).await;
    assert_eq!(code, 7, "{err}");
    let told = "the run is queued: 2 agents failed, at most 1 may\n";
    assert_eq!(err.matches(told).count(), 1, "{err}");
}

#[tokio::test]
async fn a_watch_to_the_end_says_how_a_paused_run_goes_on_and_stays() {
    let end = EventScript::end(RunStatus::Done, &[("DONE", 2)]);
    let script = EventScript::new(vec![vec![event(1, "PAUSED")], vec![event(2, "RUNNING"), end]]);
    let server = Server::start(move |seen| {
        if seen.path.ends_with("/explanation") {
            let next = json!([{"effect": "go on", "command": format!("run resume {}", run_id())}]);
            return axum::Json(json!({"status": "PAUSED", "since": "2026-11-22T09:00:00Z",
                "text": "It waits for you.", "actions": [], "next": next}))
            .into_response();
        }
        script.answer(seen, RunStatus::Paused, &[])
    });
    let args = ["run", "watch", "--until-end", &run_id()];
    let (code, out, err) = replictl(&server.url, &args).await;
    assert_eq!(code, 0, "{err}");
    assert!(out.ends_with("2 done\n"), "{out}");
    let told = format!("It waits for you.\n  go on: replictl run resume {}\n", run_id());
    assert_eq!(err.matches(&told).count(), 1, "once: {err}");
    assert!(err.contains("run is RUNNING"), "{err}");
}

#[tokio::test]
async fn a_run_that_pauses_while_it_is_watched_is_exit_9() {
    let script = EventScript::new(vec![vec![event(1, "PAUSED")]]).hanging();
    let counts = [("DONE", 10), ("FAILED", 2)];
    let server = Server::start(move |seen| {
        let status = if script.streamed() { RunStatus::Paused } else { RunStatus::Running };
        script.answer(seen, status, &counts)
    });
    let (code, out, err) = replictl(&server.url, &["run", "watch", &run_id()]).await;
    assert_eq!(code, 9, "{err}");
    assert!(out.ends_with("10 done, 2 failed\n"), "{out}");
    assert!(err.contains("is paused: 2 agents failed, at most 1 may\n"), "{err}");
    assert!(err.contains(&format!("go on:      replictl run resume {}\n", run_id())), "{err}");
    assert!(err.contains(&format!("give up:    replictl run cancel {}\n", run_id())), "{err}");
}

#[tokio::test]
async fn every_end_of_a_run_has_its_exit_code() {
    for (status, counts, expected, said) in [
        (RunStatus::Done, ("DONE", 12), 0, ""),
        (RunStatus::Failed, ("FAILED", 12), 1, "the run failed: 2 agents failed"),
        (RunStatus::Done, ("FAILED", 2), 5, "is done, but some failed"),
        (RunStatus::PendingApprove, ("PENDING", 1), 6, "run approve"),
        (RunStatus::Cancelled, ("PENDING", 3), 7, "the run was cancelled"),
    ] {
        let script = EventScript::new(vec![]);
        let server = Server::start(move |seen| script.answer(seen, status, &[counts]));
        let args = ["run", "start", "p", "--cluster", "c", "--watch"];
        let (code, out, err) = replictl(&server.url, &args).await;
        assert_eq!(code, expected, "{status}: {err}");
        let summary = format!("{} {}\n", counts.1, counts.0.to_lowercase());
        assert!(out.ends_with(&summary), "{out}");
        assert!(err.contains(said), "{err}");
    }
}

/// A server with a run that is done, whose view also has these fields.
fn with_done(besides: Value) -> Server {
    let script = EventScript::new(vec![]);
    Server::start(move |seen| {
        if seen.path.ends_with("/explanation") {
            return problem(404, "route-not-found", "there is nothing");
        }
        let is_run =
            seen.header("accept") != "text/event-stream" && !seen.path.ends_with("/agents");
        if !is_run {
            return script.answer(seen, RunStatus::Done, &[("DONE", 1)]);
        }
        let mut done = super::server::run(RunStatus::Done, &[("SKIPPED", 3)]);
        done.as_object_mut().unwrap().extend(besides.as_object().unwrap().clone());
        axum::Json(done).into_response()
    })
}

#[tokio::test]
async fn a_run_over_nobody_is_exit_10_unless_that_is_allowed() {
    let reason = json!({"code": "nobody-selected", "message": "nobody was selected of 3 agents"});
    let server = with_done(json!({"nobody": true, "reason": reason}));
    let id = run_id();
    for args in [
        vec!["run", "watch", &id],
        vec!["run", "start", "p", "--cluster", "c", "--watch"],
        vec!["run", "retry", &id, "--watch"],
    ] {
        let (code, out, err) = replictl(&server.url, &args).await;
        assert_eq!(code, 10, "{args:?}: {err}");
        assert!(out.ends_with("nobody selected (3 skipped)\n"), "{out}");
        assert!(err.contains("nobody was selected of 3 agents"), "{err}");
        let args = [&args[..], &["--allow-nobody"]].concat();
        assert_eq!(replictl(&server.url, &args).await.0, 0, "{args:?}");
    }
    // A command that does not follow the run has no such end.
    for option in ["--allow-nobody", "--until-end", "--until-pause"] {
        for args in [
            &["run", "start", "p", "--cluster", "c"][..],
            &["run", "resume", &id],
            &["run", "retry", &id],
        ] {
            let args = [args, &[option]].concat();
            assert_eq!(replictl(NOWHERE, &args).await.0, 2, "{args:?}");
        }
    }
    let (code, out, err) = replictl(&server.url, &["describe", "run", &id]).await;
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("Agents:     nobody selected (3 skipped)"), "{out}");
}

#[tokio::test]
async fn what_was_passed_over_is_told_and_is_exit_5() {
    let server = with_done(json!({"outcomes": {"DONE": 1, "FAILED": 1},
        "passed_over": {"failures": 5, "agents": 1}}));
    let (code, out, err) = replictl(&server.url, &["run", "watch", &run_id()]).await;
    assert_eq!(code, 5, "{err}");
    let told = "1 done, 1 failed, 5 failures of steps passed over on 1 agent\n";
    assert!(out.ends_with(told), "{out}");
    let (code, out, err) = replictl(&server.url, &["describe", "run", &run_id()]).await;
    assert_eq!(code, 0, "{err}");
    assert!(out.contains(told.trim_end()), "{out}");
}

#[tokio::test]
async fn of_a_large_run_only_the_failures_are_shown() {
    let script = EventScript::new(vec![]);
    let counts = [("DONE", 200), ("FAILED", 1)];
    let server = Server::start(move |seen| script.answer(seen, RunStatus::Done, &counts));
    let (code, out, err) = replictl(&server.url, &["run", "watch", &run_id()]).await;
    assert_eq!(code, 5, "{err}");
    assert!(out.ends_with("200 done, 1 failed\n"), "{out}");
    let asked = server.seen().into_iter().find(|seen| seen.path.ends_with("/agents")).unwrap();
    assert_eq!(asked.query, "state=FAILED&limit=200");
}

#[cfg(unix)]
#[tokio::test]
async fn ctrl_c_stops_the_watching_only() {
    let script = EventScript::new(vec![vec![event(1, "RUNNING")]]).hanging();
    let server = Server::start(move |seen| script.answer(seen, RunStatus::Running, &[]));
    let child = command(&server.url, &["run", "watch", &run_id()]).spawn().unwrap();
    server.wait_for(|seen| seen.header("accept") == "text/event-stream").await;
    // `replictl` looks at the run again after the event, so the event has come by then.
    server.wait_for(|seen| seen.number >= 2).await;
    let pid = child.id().unwrap().to_string();
    std::process::Command::new("kill").args(["-INT", &pid]).status().unwrap();
    let (code, _, err) = read(child.wait_with_output()).await;
    assert_eq!(code, 130, "{err}");
    assert!(err.contains("stopped watching; the run goes on"), "{err}");
    assert!(err.contains(&format!("replictl run watch {}", run_id())), "{err}");
    assert!(!server.seen().iter().any(|seen| seen.method == "POST"), "nothing was asked of it");
}

#[tokio::test]
async fn whoever_follows_ends_once_nobody_reads() {
    let id = run_id();
    for args in [&["run", "watch", &id][..], &["run", "events", "--follow", &id]] {
        for closes_stdout in [true, false] {
            let script = EventScript::new(vec![vec![event(1, "RUNNING")]]).hanging();
            let server = Server::start(move |seen| script.answer(seen, RunStatus::Running, &[]));
            let mut child = command(&server.url, args).spawn().unwrap();
            server.wait_for(|seen| seen.header("accept") == "text/event-stream").await;
            if closes_stdout {
                drop(child.stdout.take());
            } else {
                drop(child.stderr.take());
            }
            let (code, _, _) = read(child.wait_with_output()).await;
            assert_eq!(code, 130, "{args:?}, {closes_stdout}");
        }
    }
}

#[tokio::test]
async fn a_watch_in_a_pipe_ends_with_what_reads_it() {
    let script = EventScript::new(vec![vec![event(1, "RUNNING")]]).hanging();
    let server = Server::start(move |seen| script.answer(seen, RunStatus::Running, &[]));
    // How the run ends is not known yet, so the exit code is not that of success.
    let line = "{ \"$0\" run watch \"$1\" 2>&1; echo $? >&3; } 3>&2 | head -n 1";
    let mut shell = tokio::process::Command::new("sh");
    shell.args(["-c", line, env!("CARGO_BIN_EXE_replictl"), &run_id()]).kill_on_drop(true);
    shell.env("REPLIBOOK_SERVER", &server.url).stdin(std::process::Stdio::null());
    let (code, out, err) = read(shell.output()).await;
    assert_eq!((code, out.lines().count(), err.trim()), (0, 1, "130"), "{out}{err}");
}

#[tokio::test]
async fn events_are_followed_as_lines_of_json() {
    let end = EventScript::end(RunStatus::Done, &[]);
    let script = EventScript::new(vec![vec![event(1, "RUNNING"), event(2, "node-1"), end]]);
    let server = Server::start(move |seen| script.answer(seen, RunStatus::Running, &[]));
    let args = ["run", "events", &run_id(), "--follow", "-o", "json"];
    let (code, out, err) = replictl(&server.url, &args).await;
    assert_eq!(code, 0, "{err}");
    let events: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(events.len(), 2, "{out}");
    assert_eq!(events[1]["agent"], "node-1");
}

#[tokio::test]
async fn a_command_is_asked_about_until_it_has_its_outcome() {
    let server = Server::start(|seen| {
        let command = seen.json();
        let outcome = (seen.number > 1).then(|| json!({"outcome": "applied"}));
        let status = if outcome.is_some() { StatusCode::OK } else { StatusCode::ACCEPTED };
        let view = json!({"id": command["id"], "run": run_id(), "command": command["command"],
            "outcome": outcome});
        (status, axum::Json(view)).into_response()
    });
    // No person can be asked here, so cancelling does not ask.
    let args = ["run", "cancel", &run_id(), "--reason", "wrong cluster"];
    let (code, out, err) = replictl(&server.url, &args).await;
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("cancel   applied"), "{out}");
    let seen = server.seen();
    assert_eq!(seen.len(), 3);
    assert_eq!(seen[0].path, format!("/api/v1/runs/{}/commands", run_id()));
    assert_eq!(seen[0].json(), seen[2].json(), "the identifier makes it one command");
    assert_eq!(seen[0].json()["reason"], "wrong cluster");
    assert!(is_ada(&seen[0].json()["actor"]));
}

#[tokio::test]
async fn a_command_that_does_not_fit_is_exit_4() {
    let server = Server::start(|_| problem(409, "command-refused", "the run is not paused"));
    let (code, _, err) = replictl(&server.url, &["run", "resume", &run_id()]).await;
    assert_eq!((code, err.as_str()), (4, "error: the run is not paused\n"));
}
