//! The real `replictl` against a scripted server.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

#[path = "cli/server.rs"]
mod server;

#[path = "cli/approvals.rs"]
mod approvals;
#[path = "cli/contexts.rs"]
mod contexts;
#[path = "cli/documents.rs"]
mod documents;
#[path = "cli/exec.rs"]
mod exec;
#[path = "cli/exports.rs"]
mod exports;
#[path = "cli/import.rs"]
mod import;
#[path = "cli/looking.rs"]
mod looking;
#[path = "cli/policy.rs"]
mod policy;
#[path = "cli/prove.rs"]
mod prove;
#[path = "cli/queries.rs"]
mod queries;
#[path = "cli/runs.rs"]
mod runs;
#[path = "cli/secrets.rs"]
mod secrets;
#[path = "cli/shown.rs"]
mod shown;
#[path = "cli/steering.rs"]
mod steering;
#[path = "cli/terminals.rs"]
mod terminals;

use std::process::{Output, Stdio};
use std::time::Duration;

use axum::http::StatusCode;
use axum::response::IntoResponse;
use replibook::run::RunStatus;
use serde_json::{Value, json};
use server::{Server, problem, run, run_id};

/// No command of these tests takes longer, even on a busy machine.
const DEADLINE: Duration = Duration::from_secs(60);

fn command(server: &str, args: &[&str]) -> tokio::process::Command {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_replictl"));
    command.args(args).env("REPLIBOOK_SERVER", server).env("REPLIBOOK_USER", "ada");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

/// Whether the actor is the user of this machine, in the name of Ada.
fn is_ada(who: &Value) -> bool {
    who.as_str().and_then(|who| who.strip_suffix(", as ada")).is_some_and(|user| !user.is_empty())
}

pub(crate) async fn replictl(server: &str, args: &[&str]) -> (i32, String, String) {
    read(command(server, args).output()).await
}

async fn read(output: impl Future<Output = std::io::Result<Output>>) -> (i32, String, String) {
    let output = tokio::time::timeout(DEADLINE, output).await.expect("in time").unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
}

/// An address for commands that must not ask a server anything.
const NOWHERE: &str = "http://127.0.0.1:9";

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
async fn a_request_that_may_be_repeated_is_tried_three_times() {
    let server = Server::start(|seen| match seen.number {
        0..2 => problem(503, "starting", "not yet"),
        _ => {
            axum::Json(json!({"items": [run(RunStatus::Done, &[])], "next": null})).into_response()
        }
    });
    let (code, out, err) = replictl(&server.url, &["get", "runs", "-o", "name"]).await;
    assert_eq!((code, out), (0, format!("{}\n", run_id())), "{err}");

    let server = Server::start(|_| problem(503, "starting", "not yet"));
    let (code, _, _) = replictl(&server.url, &["get", "runs"]).await;
    assert_eq!((code, server.seen().len()), (8, 3));
    // A second request could hide that the first one has deleted it.
    let (code, _, _) = replictl(&server.url, &["delete", "cluster", "x"]).await;
    assert_eq!((code, server.seen().len()), (8, 4));
}

#[tokio::test]
async fn a_start_has_typed_parameters_and_one_key_for_all_tries() {
    let server = Server::start(|seen| match (seen.method.as_str(), seen.number) {
        ("GET", _) => {
            let document = "apiVersion: replicante.io/v1\nkind: Playbook\n\
                metadata: { name: rolling-restart, version: 1.4.0 }\nspec:\n  params:\n    properties: \
                { release: { type: string }, grace: { type: integer } }\n  stages:\n    - name: a\n      \
                strategy: { use: rolling }\n      steps: [{ name: ok, action: x/y }]\n";
            let playbook = json!({"name": "rolling-restart", "version": "1.4.0", "summary": null,
                "vcs": null, "stages": ["a"], "plugins": {}, "applied_at": "2026-11-22T09:00:00Z",
                "change": null, "document": document});
            axum::Json(playbook).into_response()
        }
        (_, 1) => problem(503, "starting", "not yet"),
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
        "--set",
        "release=2.10",
        "--set-string",
        "id=007",
        "-o",
        "yaml",
    ];
    let (code, out, err) = replictl(&server.url, &args).await;
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("status: PENDING\n"), "{out}");
    assert!(err.contains(&format!("replictl run watch {}", run_id())), "{err}");
    let seen = server.seen();
    let expected = json!({"playbook": "rolling-restart@1.4.0", "cluster": "mongo-eu",
        "params": {"grace": 30, "hook": {"url": "http://x"}, "release": "2.10", "id": "007"},
        "started_by": seen[2].json()["started_by"]});
    assert_eq!(seen[2].json(), expected);
    assert!(is_ada(&seen[2].json()["started_by"]), "{expected}");
    assert_eq!(seen[0].query, "version=1.4.0");
    assert!(!seen[1].header("idempotency-key").is_empty());
    assert_eq!(seen[1].header("idempotency-key"), seen[2].header("idempotency-key"));
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
async fn a_run_goes_by_any_part_of_its_identifier_and_as_the_last_one() {
    let server = Server::start(|seen| match seen.path.as_str() {
        "/api/v1/runs/find" => {
            let is_in = |part: &str| run_id().replace('-', "").contains(part);
            let ids =
                if seen.parameter("part").is_none_or(is_in) { vec![run_id()] } else { vec![] };
            axum::Json(json!({"count": ids.len(), "ids": ids})).into_response()
        }
        _ => axum::Json(run(RunStatus::Done, &[])).into_response(),
    });
    let id = run_id();
    let with_kind = format!("run/{id}");
    let parts = [(&id[..6], 0), (&id[..13], 0), ("ffffff", 4), (&id[..5], 2), ("run/x", 2)];
    let others = [(&id[id.len() - 8..], 0), (&id[10..20], 0), (with_kind.as_str(), 0), ("last", 0)];
    for (beginning, expected) in parts.into_iter().chain(others) {
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
    assert_eq!(
        queries,
        [
            "status=DONE&limit=4",
            "status=DONE&limit=2&after=2",
            // The last request asks whether there are more.
            "status=DONE&limit=1&after=4"
        ]
    );
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
    assert!(out.contains("Exit codes:\n    0  all went well\n"), "{out}");
}

#[tokio::test]
async fn the_help_of_every_program_fits_80_columns() {
    for args in [
        &[][..],
        &["serve"],
        &["agent"],
        &["platform"],
        &["store"],
        &["store", "check"],
        &["store", "migrate"],
        &["demo"],
    ] {
        let mut replibook = tokio::process::Command::new(env!("CARGO_BIN_EXE_replibook"));
        replibook.args(args).arg("--help").stdin(Stdio::null()).kill_on_drop(true);
        let (code, out, err) = read(replibook.output()).await;
        assert_eq!((code, err.as_str()), (0, ""), "{args:?}");
        let too_long: Vec<_> = out.lines().filter(|line| line.chars().count() > 80).collect();
        assert!(too_long.is_empty(), "{args:?}: {too_long:#?}");
    }
}

#[tokio::test]
async fn there_is_a_completion_for_each_shell() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let (code, out, _) = replictl(NOWHERE, &["completion", shell]).await;
        assert_eq!(code, 0);
        for word in ["replictl", "approve", "wait", "selector", "sort-by", "dry-run"] {
            assert!(out.contains(word), "{word} for {shell}");
        }
        if ["bash", "fish", "zsh"].contains(&shell) {
            assert!(out.contains("custom-columns="), "{shell}");
        }
    }
}

#[tokio::test]
async fn the_agents_of_a_cluster_come_page_by_page_with_what_the_platform_said() {
    let server = Server::start(|seen| {
        let ids = match seen.parameter("after") {
            None => vec!["a", "b"],
            Some("b") => vec!["c"],
            Some(other) => panic!("{other}"),
        };
        let agent = |id: &str| {
            json!({"id": id, "address": format!("http://{id}"), "source": "discovered",
                "attributes": {}, "since": "2026-11-24T09:00:00.000Z"})
        };
        let next = (ids.len() == 2).then_some("b");
        let last =
            json!({"at": "2026-11-24T09:00:00.000Z", "outcome": "failed", "message": "gone"});
        let platform = json!({"url": "http://p", "cluster": "x", "interval": 10_000,
            "last_answer": last});
        axum::Json(json!({
            "items": ids.iter().map(|id| agent(id)).collect::<Vec<_>>(), "next": next,
            "followed": true, "platform": platform, "mass_absence": {"absent": 2, "known": 3},
        }))
        .into_response()
    });
    let args = ["get", "agents", "--cluster", "eu", "-o", "name"];
    let (code, out, err) = replictl(&server.url, &args).await;
    assert_eq!((code, out.as_str()), (0, "a\nb\nc\n"), "{err}");
    assert!(err.contains("platform http://p, cluster x: failed at "), "{err}");
    assert!(err.contains("2 agents of 3 are absent at once"), "{err}");
    assert!(server.seen().iter().all(|seen| seen.path == "/api/v1/clusters/eu/agents"));

    let (code, out, _) = replictl(&server.url, &["get", "agent", "c", "--cluster", "eu"]).await;
    assert_eq!(code, 0);
    assert!(out.contains("c      http://c  discovered  -"), "{out}");
    let (code, _, err) = replictl(&server.url, &["get", "agents", "d", "--cluster", "eu"]).await;
    assert_eq!((code, err.contains("cluster \"eu\" has no agent \"d\"")), (4, true), "{err}");
    let (code, ..) = replictl(&server.url, &["get", "agents"]).await;
    assert_eq!(code, 2);
    let (code, ..) = replictl(&server.url, &["get", "runs", "--cluster", "eu"]).await;
    assert_eq!(code, 2);
}
