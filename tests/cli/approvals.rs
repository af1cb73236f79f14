//! Approvals: what a person is shown, and that exactly that is approved.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use replibook::access::{new_token, token_sum};
use replibook::cli::demo::Process;
use replibook::run::{Digest, RunStatus};
use serde_json::{Value, json};

use super::server::{Seen, Server, problem, run, run_id};
use super::terminals::{OnTerminal, plain};
use super::{command, is_ada, read, replictl};
use crate::crash::server::{Server as RealServer, Settings};

fn sum() -> String {
    Digest::of(b"what is asked").to_string()
}

/// A run that asks two people, one of whom has approved it.
fn asking() -> Value {
    let mut asking = run(RunStatus::PendingApprove, &[]);
    asking["params"] = json!({"grace": 30});
    asking["started_by"] = json!("user:id/eve");
    asking["asks"] = json!({
        "number": 1, "seen": sum(), "message": "the playbook asks for approval before it starts",
        "asked_at": "2026-11-22T09:00:00Z", "until": "2026-11-22T11:00:00Z", "then": "cancel",
        "by": ["group:id/dba"], "count": 2, "not_by_starter": true,
        "given": [{"by": "user:id/bob", "at": "2026-11-22T09:05:00Z"}],
    });
    asking
}

/// A server with such a run, which applies every approval.
fn answer(seen: &Seen) -> Response {
    if seen.method != "POST" {
        return axum::Json(asking()).into_response();
    }
    let command = seen.json();
    let view = json!({"id": command["id"], "run": run_id(), "command": command["command"],
        "outcome": {"outcome": "applied"}});
    (StatusCode::OK, axum::Json(view)).into_response()
}

/// The bodies of the commands that were sent.
fn posted(server: &Server) -> Vec<Value> {
    server.seen().iter().filter(|seen| seen.method == "POST").map(Seen::json).collect()
}

const SHOWN: &str = "run 01920000-0000-7000-8000-000000000001 of rolling-restart@1.4.0 on mongo-eu: the playbook asks for approval \
     before it starts\n  started by user:id/eve\n  grace = 30\n  1 of 2 approvals, by user:id/bob; wants group:id/dba; not by who \
     started the run; until 2026-11-22T11:00:00Z, then it is cancelled\n";

#[tokio::test]
async fn what_is_shown_is_what_is_approved() {
    let server = Server::start(answer);
    let (code, out, err) = replictl(&server.url, &["run", "approve", &run_id()]).await;
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("approve") && out.contains("applied"), "{out}");
    assert!(err.starts_with(&format!("{SHOWN}  sum: {}\n", sum())), "{err}");
    assert!(err.contains("it still waits: 1 of 2 approvals"), "{err}");
    let sent = posted(&server).pop().unwrap();
    assert_eq!((&sent["command"], &sent["seen"]), (&json!("approve"), &json!(sum())));
    assert!(is_ada(&sent["actor"]), "{sent}");
}

#[tokio::test]
async fn a_sum_that_is_given_is_approved_and_nothing_else_is_looked_at() {
    let server = Server::start(answer);
    let other = Digest::of(b"of a ticket").to_string();
    let args = ["run", "approve", &run_id(), "--seen", &other];
    let (code, _, err) = replictl(&server.url, &args).await;
    assert_eq!(code, 0, "{err}");
    assert!(!err.contains("sum:"), "{err}");
    assert_eq!(posted(&server)[0]["seen"], other.as_str());
    let (code, _, err) = replictl(&server.url, &["run", "approve", "x", "--seen", "7"]).await;
    assert!(code == 2 && err.contains("--seen"), "{err}");
}

#[tokio::test]
async fn an_approval_that_does_not_count_is_told_from_one_that_is_not_allowed() {
    for (status, code, exit) in [(409, "approval-outdated", 4), (403, "approval-not-wanted", 11)] {
        let server = Server::start(move |seen| match seen.method.as_str() {
            "POST" => problem(status, code, "whose is wanted, or which sum"),
            _ => answer(seen),
        });
        let (found, _, err) = replictl(&server.url, &["run", "approve", &run_id()]).await;
        assert_eq!(found, exit, "{err}");
        assert!(err.contains("whose is wanted, or which sum"), "{err}");
    }
}

#[tokio::test]
async fn a_person_is_asked_and_only_yes_approves() {
    for (typed, more, approved) in
        [("790a", &[][..], true), ("6e0a", &[], false), ("0a", &[], false), ("", &["--yes"], true)]
    {
        let server = Server::start(answer);
        let wait = if typed.is_empty() { "" } else { "approve it? [y/N] " };
        let on = OnTerminal { server: &server.url, typed: (wait, typed), ..OnTerminal::default() };
        let id = run_id();
        let args = [&["run", "approve", &id][..], more].concat();
        let (code, shown) = on.run(&args).await;
        assert_eq!(code, 0, "{shown}");
        assert_eq!(posted(&server).len(), usize::from(approved), "{shown}");
        assert_eq!(plain(&shown).contains("not approved"), !approved, "{shown}");
    }
}

const CLUSTER: &str = "apiVersion: replicante.io/v1
kind: Cluster
metadata: { name: eu }
spec: { agents: [{ id: node-1, address: 'http://127.0.0.1:1' }] }
";

fn playbook(approval: &str) -> String {
    format!(
        "apiVersion: replicante.io/v1
kind: Playbook
metadata: {{ name: restart, version: 1.0.0 }}
spec:
  approval: {approval}
  stages:
    - name: all
      strategy: {{ use: rolling }}
      steps: [{{ name: act, action: agent.replicante.io/test.success }}]
"
    )
}

#[tokio::test]
async fn a_real_run_is_approved_as_it_was_seen_and_tells_of_its_deadline() {
    let folder = tempfile::tempdir().unwrap();
    let server = RealServer::start_with(Settings::in_dir(folder.path()), None).await;
    let url = format!("http://{}", server.address);
    let ctl = async |args: &[&str]| replictl(&url, args).await;
    for (name, text) in [
        ("cluster.yaml", CLUSTER.to_owned()),
        ("playbook.yaml", playbook("{ deadline: 2h, then: cancel }")),
    ] {
        let file = folder.path().join(name);
        std::fs::write(&file, text).unwrap();
        let (code, _, err) = ctl(&["apply", "-f", file.to_str().unwrap()]).await;
        assert_eq!(code, 0, "{err}");
    }
    let start = ["run", "start", "restart", "--cluster", "eu", "-o", "name"];
    let (code, out, err) = ctl(&start).await;
    assert_eq!(code, 0, "{err}");
    let run = out.trim();

    let (_, described, _) = ctl(&["describe", "run", run]).await;
    assert!(described.contains("0 of 1 approval; until "), "{described}");
    let sum = described.lines().find_map(|line| line.strip_prefix("Approve sum:")).unwrap().trim();
    let other = Digest::of(b"something else").to_string();
    let (code, _, err) = ctl(&["run", "approve", run, "--seen", &other]).await;
    assert_eq!(code, 4, "{err}");
    assert!(err.contains(&other) && err.contains(sum), "{err}");
    let (code, _, err) = ctl(&["run", "approve", run, "--seen", sum]).await;
    assert_eq!(code, 0, "{err}");
    let (_, events, _) = ctl(&["run", "events", run]).await;
    assert!(events.contains("1 of 1 approval"), "{events}");
    assert_eq!(ctl(&["run", "cancel", run, "-y"]).await.0, 0);

    // Whoever wants to could approve under any name here.
    let file = folder.path().join("two.yaml");
    let two = playbook("{ count: 2 }").replace("name: restart", "name: two");
    std::fs::write(&file, two).unwrap();
    assert_eq!(ctl(&["apply", "-f", file.to_str().unwrap()]).await.0, 0);
    let (code, _, err) = ctl(&["run", "start", "two", "--cluster", "eu"]).await;
    assert_eq!(code, 4, "{err}");
    assert!(err.contains("it needs a server with --access"), "{err}");
    server.stop().await;
}

/// The token of this name, the same each time.
fn token(name: &str) -> String {
    let mut random = [0; 32];
    random[..name.len()].copy_from_slice(name.as_bytes());
    new_token(random).0
}

#[tokio::test]
async fn two_who_are_named_approve_a_run_that_somebody_else_has_started() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: String| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let people = ["eve", "alice", "bob", "mal"];
    let tokens = people.map(|name| {
        let sum = token_sum(&token(name));
        format!("    - {{ name: {name}, sha256: {sum}, expires: 2099-01-01T00:00:00Z }}\n")
    });
    let who = people.map(|name| format!("'token:{name}'")).join(", ");
    let access = write(
        "access.yaml",
        format!(
            "apiVersion: replicante.io/v1\nkind: Access\nmetadata: {{ name: site }}\nspec:\n  tokens:\n{}  rules:\n    \
             - {{ who: [{who}], may: [view, apply, operate, start, steer, approve] }}\n",
            tokens.concat()
        ),
    );
    let data = folder.path().join("data");
    let mut serve = tokio::process::Command::new(env!("CARGO_BIN_EXE_replibook"));
    serve.args(["serve", "--listen", "127.0.0.1:0", "--until-stdin-closes", "--data"]).arg(data);
    serve.args(["--access", &access]);
    let log = folder.path().join("server.log");
    let server = Process::start("the server", serve, &log).await.unwrap();
    let ctl = async |who: &str, args: &[&str]| {
        let mut command = command(server.address(), args);
        read(command.env("REPLIBOOK_TOKEN", token(who)).output()).await
    };
    let rules = "{ by: ['token:alice', 'token:bob', 'token:eve'], count: 2, not_by_starter: true }";
    for (name, text) in [("c.yaml", CLUSTER.to_owned()), ("p.yaml", playbook(rules))] {
        let (code, _, err) = ctl("eve", &["apply", "-f", &write(name, text)]).await;
        assert_eq!(code, 0, "{err}");
    }
    let start = ["run", "start", "restart", "--cluster", "eu", "-o", "name"];
    let (code, out, err) = ctl("eve", &start).await;
    assert_eq!(code, 0, "{err}");
    let run = out.trim();
    let wants = "that of token:alice or token:bob or token:eve is wanted";
    for (who, code, says) in [
        ("eve", 11, "token:eve has started the run: somebody else has to approve it"),
        ("mal", 11, wants),
        ("alice", 0, "it still waits: 1 of 2 approvals, by token:alice"),
        ("alice", 4, "token:alice has approved it already"),
        ("bob", 0, "1 of 2 approvals, by token:alice"),
    ] {
        let (found, _, err) = ctl(who, &["run", "approve", run]).await;
        assert_eq!(found, code, "{who}: {err}");
        assert!(err.contains(says), "{who}: {err}");
    }
    let (_, events, _) = ctl("mal", &["run", "events", run, "-o", "wide"]).await;
    let counted: Vec<_> = events.lines().filter(|line| line.contains("of 2 approvals")).collect();
    assert!(counted[0].contains("token:alice") && counted[1].contains("token:bob"), "{events}");
    assert!(events.contains("run is PENDING"), "{events}");
    assert_eq!(ctl("eve", &["run", "cancel", run, "-y"]).await.0, 0);
    server.stop().await;
}
