//! The real `replictl` against a scripted server.

#[path = "cli/server.rs"]
mod server;

use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use replibook::run::{Digest, RunStatus};
use serde_json::{Value, json};
use server::{EventScript, Seen, Server, event, problem, run, run_id};

/// No command of these tests takes longer, also on a busy machine.
const DEADLINE: Duration = Duration::from_secs(60);

fn command(server: &str, args: &[&str]) -> tokio::process::Command {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_replictl"));
    command.args(args).env("REPLIBOOK_SERVER", server).env("REPLIBOOK_USER", "ada");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

async fn replictl(server: &str, args: &[&str]) -> (i32, String, String) {
    read(command(server, args).output()).await
}

async fn read(output: impl Future<Output = std::io::Result<Output>>) -> (i32, String, String) {
    let output = tokio::time::timeout(DEADLINE, output).await.expect("in time").unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
}

/// A server for commands that must not ask it anything.
const NOWHERE: &str = "http://127.0.0.1:9";

fn write(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

const CLUSTER: &str = "\
apiVersion: replicante.io/v1
kind: Cluster
metadata: { name: mongo-eu }
spec:
  agents:
    - { id: node-1, address: http://10.0.0.11:8000 }
";

const PLAYBOOK: &str = "\
apiVersion: replicante.io/v1
kind: Playbook
metadata: { name: rolling-restart, version: 1.4.0 }
spec:
  plugins:
    zones: { source: file:plugins/zones.wasm }
  stages:
    - name: restart
      strategy: { use: zones }
      steps:
        - { name: ok, action: agent.replicante.io/test.success }
";

#[tokio::test]
async fn a_server_that_is_not_there_is_exit_8() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let (code, out, err) = replictl(&address, &["run", "list"]).await;
    assert_eq!((code, out.as_str()), (8, ""), "{err}");
    assert!(err.contains(&format!("failed to reach the server at {address}")), "{err}");
    assert!(err.contains("hint: `replibook serve`"), "{err}");
}

#[tokio::test]
async fn what_is_no_replibook_server_is_exit_8() {
    let server = Server::start(|_| (StatusCode::NOT_FOUND, "<html>nothing").into_response());
    let (code, _, err) = replictl(&server.url, &["get", "clusters", "x"]).await;
    assert_eq!(code, 8, "{err}");
    assert!(err.contains("404 Not Found: \"<html>nothing\"; expected problem+json"), "{err}");
}

#[tokio::test]
async fn what_is_not_there_is_exit_4() {
    let server = Server::start(|_| problem(404, "not-found", "there is no playbook team/x"));
    let (code, out, err) = replictl(&server.url, &["get", "playbooks", "team/x@1.0.0"]).await;
    assert_eq!((code, out.as_str()), (4, ""), "{err}");
    assert_eq!(err, "error: there is no playbook team/x\n");
    let seen = server.seen();
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].path, "/api/v1/playbooks/team%2Fx");
    assert_eq!(seen[0].query, "version=1.0.0");
}

#[tokio::test]
async fn an_invalid_document_is_exit_3_without_a_server() {
    let folder = tempfile::tempdir().unwrap();
    let sandwich = write(folder.path(), "sandwich.yaml", "apiVersion: x\nkind: Sandwich\n");
    for args in [["validate", "-f", &sandwich], ["apply", "-f", &sandwich]] {
        let (code, out, err) = replictl(NOWHERE, &args).await;
        assert_eq!((code, out.as_str()), (3, ""), "{err}");
        assert!(err.contains("sandwich.yaml"), "{err}");
    }
    let missing = folder.path().join("none.yaml");
    let (code, _, err) = replictl(NOWHERE, &["validate", "-f", missing.to_str().unwrap()]).await;
    assert_eq!(code, 3, "{err}");
    assert!(err.contains("failed to read") && err.contains("No such file"), "{err}");
}

#[tokio::test]
async fn a_plugin_that_can_not_be_read_is_shown_where_it_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let playbook = write(folder.path(), "p.yaml", PLAYBOOK);
    let (code, _, err) = replictl(NOWHERE, &["apply", "-f", &playbook]).await;
    assert_eq!(code, 3, "{err}");
    assert!(err.contains("p.yaml:6:22: /spec/plugins/zones/source: failed to read"), "{err}");
    assert!(err.contains("error: 1 problem in "), "{err}");
}

#[tokio::test]
async fn a_valid_cluster_is_exit_0_without_a_server() {
    let folder = tempfile::tempdir().unwrap();
    let cluster = write(folder.path(), "c.yaml", CLUSTER);
    let (code, out, err) = replictl(NOWHERE, &["validate", "-o", "name", "-f", &cluster]).await;
    assert_eq!((code, out.as_str(), err.as_str()), (0, "cluster/mongo-eu\n", ""));
}

#[tokio::test]
async fn problems_that_the_server_finds_are_shown_at_their_lines() {
    let server = Server::start(|_| {
        let found = json!({"code": "duplicate", "path": "/spec/agents/0/id", "line": 7,
            "column": 13, "message": "duplicate agent", "found": "node-1", "expected": null});
        let body = json!({"type": "about:blank", "title": "x", "status": 422,
            "detail": "1 problem", "code": "invalid-document", "problems": [found]});
        (StatusCode::UNPROCESSABLE_ENTITY, axum::Json(body)).into_response()
    });
    let folder = tempfile::tempdir().unwrap();
    let file = write(folder.path(), "c.yaml", &format!("# clusters\n---\n{CLUSTER}"));
    let (code, _, err) = replictl(&server.url, &["apply", "-f", &file]).await;
    assert_eq!(code, 3, "{err}");
    assert!(err.contains("c.yaml:8:13: /spec/agents/0/id: duplicate agent\n"), "{err}");
    assert!(err.contains(" 8 |     - { id: node-1"), "{err}");
    let marker = err.lines().find(|line| line.ends_with('^')).unwrap();
    assert_eq!(marker, "   |             ^");
}

fn applied(seen: &Seen, digest: &Digest, known: bool) -> Response {
    let info = json!({"digest": digest, "kind": "strategy", "name": "zones", "version": "0.1.0",
        "summary": "", "arguments": {}, "size": 4, "added_at": "2026-11-22T09:00:00Z",
        "change": null});
    let pin = json!({"source": "file:plugins/zones.wasm", "digest": digest, "kind": "strategy",
        "name": "zones", "version": "0.1.0", "grants": {"actions": [], "http": []}});
    match (seen.method.as_str(), seen.path.as_str()) {
        ("GET", path) if path.starts_with("/api/v1/plugins/") && !known => {
            problem(404, "not-found", "no such plugin")
        }
        ("GET" | "PUT", path) if path.starts_with("/api/v1/plugins") => {
            axum::Json(info).into_response()
        }
        ("POST", "/api/v1/playbooks") => axum::Json(json!({
            "name": "rolling-restart", "version": "1.4.0", "summary": null, "vcs": null,
            "stages": ["restart"], "plugins": {"zones": pin},
            "applied_at": "2026-11-22T09:00:00Z", "change": "created", "document": null}))
        .into_response(),
        ("POST", "/api/v1/clusters") => axum::Json(json!({
            "name": "mongo-eu", "agents": 1, "applied_at": "2026-11-22T09:00:00Z",
            "change": "updated", "document": null}))
        .into_response(),
        _ => problem(500, "unexpected", &format!("{} {}", seen.method, seen.path)),
    }
}

#[tokio::test]
async fn apply_uploads_the_plugins_beside_the_playbook_and_shows_their_digests() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("plugins")).unwrap();
    write(folder.path(), "plugins/zones.wasm", "wasm");
    let file = write(folder.path(), "all.yaml", &format!("{PLAYBOOK}---\n{CLUSTER}"));
    let digest = Digest::of(b"wasm");

    for known in [false, true] {
        let answer = digest.clone();
        let server = Server::start(move |seen| applied(seen, &answer, known));
        let (code, out, err) = replictl(&server.url, &["apply", "-f", &file]).await;
        assert_eq!(code, 0, "{err}");
        let change = if known { "unchanged" } else { "uploaded" };
        let lines: Vec<&str> = out.lines().collect();
        assert!(lines[1].starts_with("plugin    zones"), "{out}");
        assert!(lines[1].contains(change) && lines[1].contains(digest.short()), "{out}");
        assert!(lines[2].contains("rolling-restart  1.4.0    created"), "{out}");
        assert!(lines[3].contains("mongo-eu") && lines[3].contains("updated"), "{out}");
        assert!(!out.contains('\x1b'), "a pipe is not coloured: {out}");

        let seen = server.seen();
        let put: Vec<&Seen> = seen.iter().filter(|seen| seen.method == "PUT").collect();
        assert_eq!(put.len(), usize::from(!known));
        if let Some(put) = put.first() {
            assert_eq!(put.body.as_ref(), b"wasm");
            assert_eq!(put.query, format!("digest={}", digest.as_str().replace(':', "%3A")));
        }
        let apply = seen.iter().find(|seen| seen.path == "/api/v1/playbooks").unwrap();
        assert_eq!(apply.json()["uploads"], json!({"zones": digest}));
        assert_eq!(apply.json()["document"], PLAYBOOK);
    }

    let server = Server::start(move |seen| applied(seen, &digest, true));
    let args = ["apply", "--dry-run", "-o", "json", "-f", &file];
    let (code, out, err) = replictl(&server.url, &args).await;
    assert_eq!(code, 0, "{err}");
    let shown: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(shown[2]["change"], "valid", "{out}");
    let seen = server.seen();
    assert!(!seen.iter().any(|seen| seen.path == "/api/v1/clusters"));
    assert!(seen.iter().any(|seen| seen.query == "dry_run=true"));
}

#[tokio::test]
async fn a_request_that_may_be_repeated_is_tried_three_times() {
    let server = Server::start(|seen| match seen.number {
        0..2 => problem(503, "starting", "not yet"),
        _ => {
            axum::Json(json!({"items": [run(RunStatus::Done, &[])], "next": null})).into_response()
        }
    });
    let (code, out, err) = replictl(&server.url, &["get", "runs", "-o", "name"]).await;
    assert_eq!((code, out), (0, format!("run/{}\n", run_id())), "{err}");

    let server = Server::start(|_| problem(503, "starting", "not yet"));
    let (code, _, _) = replictl(&server.url, &["get", "runs"]).await;
    assert_eq!((code, server.seen().len()), (8, 3));
    // Deleting again could hide that it was done.
    let (code, _, _) = replictl(&server.url, &["delete", "cluster", "x"]).await;
    assert_eq!((code, server.seen().len()), (8, 4));
}

#[tokio::test]
async fn a_start_has_typed_parameters_and_one_key_for_all_tries() {
    let server = Server::start(|seen| match seen.number {
        0 => problem(503, "starting", "not yet"),
        _ => axum::Json(run(RunStatus::Pending, &[])).into_response(),
    });
    let args = [
        "run",
        "start",
        "rolling-restart@1.4.0",
        "--cluster",
        "mongo-eu",
        "--set",
        "grace=30",
        "--set",
        "hook.url=http://x",
        "-o",
        "yaml",
    ];
    let (code, out, err) = replictl(&server.url, &args).await;
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("status: PENDING\n"), "{out}");
    assert!(err.contains(&format!("replictl run watch {}", run_id())), "{err}");
    let seen = server.seen();
    let expected = json!({"playbook": "rolling-restart@1.4.0", "cluster": "mongo-eu",
        "params": {"grace": 30, "hook": {"url": "http://x"}}, "started_by": "ada"});
    assert_eq!(seen[1].json(), expected);
    assert!(!seen[0].header("idempotency-key").is_empty());
    assert_eq!(seen[0].header("idempotency-key"), seen[1].header("idempotency-key"));
}

#[tokio::test]
async fn parameters_that_do_not_fit_are_exit_3() {
    let server = Server::start(|_| {
        let found = json!({"code": "schema", "path": "/grace", "line": null, "column": null,
            "message": "wrong type", "found": "\"x\"", "expected": "integer"});
        let body = json!({"type": "about:blank", "title": "x", "status": 422,
            "detail": "the parameters do not fit", "code": "invalid-params", "problems": [found]});
        (StatusCode::UNPROCESSABLE_ENTITY, axum::Json(body)).into_response()
    });
    let args = ["run", "start", "p", "--cluster", "c", "--set", "grace=x"];
    let (code, _, err) = replictl(&server.url, &args).await;
    assert_eq!(code, 3);
    let expected = "/grace: wrong type\n   = found: \"x\"\n   = expected: integer\n\
        error: the parameters do not fit\n";
    assert_eq!(err, expected);
}

#[tokio::test]
async fn a_watch_goes_on_after_lost_connections_where_it_was() {
    let script = EventScript::new(vec![
        vec![event(1, "RUNNING"), event(2, "node-1")],
        vec![],
        // An event that came already is not told again.
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
    // The look at the run after the event tells that the event has come.
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
    // Nobody can be asked here, so cancelling does not ask.
    let args = ["run", "cancel", &run_id(), "--reason", "wrong cluster"];
    let (code, out, err) = replictl(&server.url, &args).await;
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("cancel   applied"), "{out}");
    let seen = server.seen();
    assert_eq!(seen.len(), 3);
    assert_eq!(seen[0].path, format!("/api/v1/runs/{}/commands", run_id()));
    assert_eq!(seen[0].json(), seen[2].json(), "the identifier makes it one command");
    assert_eq!(seen[0].json()["reason"], "wrong cluster");
    assert_eq!(seen[0].json()["actor"], "ada");
}

#[tokio::test]
async fn a_command_that_does_not_fit_is_exit_4() {
    let server = Server::start(|_| problem(409, "command-refused", "the run is not paused"));
    let (code, _, err) = replictl(&server.url, &["run", "resume", &run_id()]).await;
    assert_eq!((code, err.as_str()), (4, "error: the run is not paused\n"));
}

#[tokio::test]
async fn a_run_goes_by_the_beginning_of_its_identifier() {
    let server = Server::start(|seen| match seen.path.as_str() {
        "/api/v1/runs" => {
            axum::Json(json!({"items": [run(RunStatus::Done, &[])], "next": null})).into_response()
        }
        _ => axum::Json(run(RunStatus::Done, &[])).into_response(),
    });
    let id = run_id();
    for (beginning, expected) in [(&id[..6], 0), (&id[..13], 0), ("ffffff", 4), (&id[..5], 2)] {
        let args = ["get", "runs", beginning, "-o", "json"];
        let (code, out, err) = replictl(&server.url, &args).await;
        assert_eq!(code, expected, "{beginning}: {err}");
        assert_eq!(out.contains(&id), expected == 0, "{out}");
    }
}

#[tokio::test]
async fn pages_are_read_until_the_limit_and_the_rest_is_told() {
    let server = Server::start(|seen| {
        let after: u32 = seen.parameter("after").map_or(0, |after| after.parse().unwrap());
        let items: Vec<Value> = (after..after + 2).map(|_| run(RunStatus::Done, &[])).collect();
        axum::Json(json!({"items": items, "next": (after + 2).to_string()})).into_response()
    });
    let args = ["run", "list", "--limit", "4", "--status", "done", "-o", "name"];
    let (code, out, err) = replictl(&server.url, &args).await;
    assert_eq!((code, out.lines().count()), (0, 4), "{err}");
    assert_eq!(err, "there is more: add --after 4\n");
    let queries: Vec<String> = server.seen().into_iter().map(|seen| seen.query).collect();
    assert_eq!(queries, ["status=DONE&limit=4", "status=DONE&limit=2&after=2"]);
}

#[tokio::test]
async fn a_list_that_leads_nowhere_ends() {
    let page = json!({"items": [], "next": "1"});
    let server = Server::start(move |_| axum::Json(page.clone()).into_response());
    let (code, _, err) = replictl(&server.url, &["get", "clusters"]).await;
    assert_eq!(code, 8, "{err}");
    assert!(err.contains("a page that does not lead on"), "{err}");
}

#[tokio::test]
async fn an_answer_without_end_is_not_read_to_the_end() {
    let server = Server::start(|_| {
        let chunk = axum::body::Bytes::from(vec![b' '; 1024 * 1024]);
        let chunks = futures::stream::repeat_with(move || Ok::<_, std::io::Error>(chunk.clone()));
        axum::body::Body::from_stream(chunks).into_response()
    });
    let (code, _, err) = replictl(&server.url, &["get", "clusters"]).await;
    assert_eq!(code, 8, "{err}");
    assert!(err.contains("more than 67108864 bytes"), "{err}");
}

#[tokio::test]
async fn wrong_usage_is_exit_2() {
    for args in [
        &["run"][..],
        &["frobnicate"],
        &["run", "start", "p"],
        &["run", "list", "--status", "GONE"],
        &["run", "list", "--limit", "100001"],
        &["run", "start", "p", "--cluster", "c", "--set", "x"],
        &["delete", "playbook", "p"],
        &["--server", "nonsense", "run", "list"],
    ] {
        let (code, out, err) = replictl(NOWHERE, args).await;
        assert_eq!((code, out.as_str()), (2, ""), "{args:?}: {err}");
        assert!(!err.is_empty());
    }
}

#[tokio::test]
async fn help_goes_to_standard_output() {
    for args in [&["--help"][..], &["apply", "--help"], &["run", "start", "-h"], &["--version"]] {
        let (code, out, err) = replictl(NOWHERE, args).await;
        assert_eq!((code, err.as_str()), (0, ""), "{args:?}");
        assert!(out.contains("replictl"), "{out}");
    }
    let (_, out, _) = replictl(NOWHERE, &["--help"]).await;
    assert!(out.contains("Exit codes: 0 ok"), "{out}");
}

#[tokio::test]
async fn there_is_a_completion_for_each_shell() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let (code, out, _) = replictl(NOWHERE, &["completion", shell]).await;
        assert_eq!(code, 0);
        assert!(out.contains("replictl") && out.contains("approve"), "{shell}");
    }
}
