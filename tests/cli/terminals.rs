//! On real terminals: lines that fit them, characters that never get there, and what a person is told there.

use axum::response::IntoResponse;
use replibook::run::RunStatus;
use replibook::shown::has_unseen;
use serde_json::json;

use super::server::{EventScript, Seen, Server, event, problem, run, run_id};
use super::{NOWHERE, read, replictl};

/// A program on a terminal of `columns` columns.
pub(super) struct OnTerminal<'a> {
    pub(super) program: &'a str,
    pub(super) columns: usize,
    pub(super) server: &'a str,
    /// The file that data goes to; empty for the terminal.
    pub(super) data: &'a str,
    /// A text that the program writes, and what is typed (in hex) once it has.
    pub(super) typed: (&'a str, &'a str),
}

const REPLICTL: &str = env!("CARGO_BIN_EXE_replictl");
const REPLIBOOK: &str = env!("CARGO_BIN_EXE_replibook");

impl Default for OnTerminal<'_> {
    fn default() -> Self {
        Self { program: REPLICTL, columns: 80, server: NOWHERE, data: "", typed: ("", "") }
    }
}

impl OnTerminal<'_> {
    /// The exit code, and what the program wrote to the terminal, with `\n` at the ends of lines.
    pub(super) async fn run(&self, args: &[&str]) -> (i32, String) {
        let mut command = tokio::process::Command::new("python3");
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cli/terminal.py");
        let columns = self.columns.to_string();
        command.args([script, &columns, self.data, self.typed.0, self.typed.1, self.program]);
        command.args(args).env("REPLIBOOK_SERVER", self.server).env("TERM", "xterm");
        command.env_remove("NO_COLOR").stdin(std::process::Stdio::null()).kill_on_drop(true);
        let (code, shown, err) = read(command.output()).await;
        assert_eq!(err, "", "{args:?}");
        (code, shown.replace("\r\n", "\n"))
    }
}

/// The text without its colours.
pub(super) fn plain(shown: &str) -> String {
    let mut parts = shown.split('\x1b');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| {
        let end = part.find(|c: char| c.is_ascii_alphabetic()).unwrap();
        assert!(part[end..].starts_with('m'), "found more than colours: {shown:?}");
        text + &part[end + 1..]
    })
}

fn widest(shown: &str) -> usize {
    shown.lines().map(|line| line.chars().count()).max().unwrap_or(0)
}

#[tokio::test]
async fn arguments_do_nothing_to_a_terminal() {
    const ODD: &str = "\u{1b}[2J\u{1b}]0;pwn\u{7}x\nerror: forged";
    for (program, args) in [
        (REPLICTL, &["run", "list", "--status", ODD][..]),
        (REPLICTL, &["run", "list", "--limit", ODD]),
        (REPLICTL, &["run", "list", &format!("--limit={ODD}")]),
        (REPLICTL, &[ODD]),
        (REPLICTL, &["run", ODD]),
        (REPLICTL, &["run", "start", "p", "--cluster", "c", "--set", ODD]),
        (REPLICTL, &["get", "runs", ODD]),
        (REPLICTL, &["validate", "-f", ODD]),
        (REPLIBOOK, &["serve", "--listen", ODD]),
        (REPLIBOOK, &["serve", "--log", ODD]),
        (REPLIBOOK, &["agent", "--attribute", ODD]),
        (REPLIBOOK, &["store", "check", "--retention", ODD]),
        (REPLIBOOK, &["platform", "--file", ODD]),
        (REPLIBOOK, &[ODD]),
    ] {
        let (code, shown) = OnTerminal { program, ..OnTerminal::default() }.run(args).await;
        assert_ne!(code, 0, "{args:?}");
        let shown = plain(&shown);
        assert!(!has_unseen(&shown), "{args:?}: {shown:?}");
        assert!(!shown.contains("\nerror: forged"), "{args:?}: {shown}");
        assert!(shown.contains("forged"), "{args:?}: it is said what was found: {shown}");
    }
}

#[tokio::test]
async fn the_environment_does_nothing_to_a_terminal_either() {
    let odd = "http://x\u{1b}[2J\nerror: forged";
    let on = OnTerminal { server: odd, ..OnTerminal::default() };
    for args in [&["--help"][..], &["run", "list"], &["frobnicate"]] {
        let (_, shown) = on.run(args).await;
        let shown = plain(&shown);
        assert!(!has_unseen(&shown) && !shown.contains("\nerror: forged"), "{args:?}: {shown:?}");
    }
    let mut command = tokio::process::Command::new(REPLIBOOK);
    command.args(["serve"]).env("REPLIBOOK_LOG_FORMAT", odd).kill_on_drop(true);
    command.stdin(std::process::Stdio::null());
    let (code, _, err) = read(command.output()).await;
    assert_eq!(code, 2, "{err}");
    assert!(!has_unseen(&err) && !err.contains("\nerror: forged"), "{err:?}");
    assert!(err.contains("forged"), "{err}");
}

fn answer(seen: &Seen) -> axum::response::Response {
    let list = |items| axum::Json(json!({"items": items, "next": null})).into_response();
    let mut paused = run(RunStatus::Paused, &[("DONE", 10), ("FAILED", 2)]);
    paused["reason"]["message"] = json!(
        "2 agents failed, which is one more than the budget allows; \
        the strategy is not asked again until somebody lets the run go on"
    );
    let digest = format!("sha256:{}", "0".repeat(64));
    paused["plugins"] = json!({"zone-by-zone": {"source": "store:zone-by-zone@1.0.0", "digest": digest,
        "kind": "strategy", "name": "zone-by-zone", "version": "1.0.0",
        "grants": {"actions": [], "http": []}}});
    match seen.path.as_str() {
        path if path.ends_with("/explanation") => axum::Json(json!({"status": "PAUSED",
            "since": "2026-11-22T09:00:00Z", "text": "The run is paused, since ".repeat(6),
            "actions": [], "next": [{"effect": "accept the failures so far, and go on with the rest",
                "command": format!("run resume {}", run_id())}]}))
        .into_response(),
        path if path.ends_with("/agents") && path.contains("/runs/") => list(json!([json!({
            "run": run_id(), "seq": 0, "agent": "node-1", "address": "http://10.0.0.11:8000",
            "attributes": {}, "node": null, "state": "FAILED", "stage": 0, "step": 1, "attempts": [1],
            "batch": 1, "batch_label": "zone a", "results": {}, "skip_reason": null,
            "error": {"reason": "step-failed", "message": "no space left on the device of the node",
                "step": "restart", "at": "2026-11-22T09:00:00Z"},
            "started_at": null, "ended_at": null, "joined_at": null, "left_at": null,
            "finish_ts": null})])),
        path if path.ends_with("/snapshot") => problem(404, "run-not-found", "gone"),
        path if path.ends_with("/events") => {
            let text = event(1, "PAUSED");
            let data = text.lines().nth(1).unwrap().strip_prefix("data: ").unwrap();
            let mut event: serde_json::Value = serde_json::from_str(data).unwrap();
            event["reason"] = paused["reason"].clone();
            list(json!([event]))
        }
        "/api/v1/runs/plan" => axum::Json(json!({"playbook": "rolling-restart", "version": "1.4.0",
            "cluster": "mongo-eu", "status": "PENDING_APPROVE", "agents": 12, "members_problem": null,
            "waits": ["the playbook asks for approval before a run of it starts", "waits for an engine"],
            "params": {}, "plugins": paused["plugins"], "stages": [{"name": "all", "strategy": "zone-by-zone",
                "arguments": {"attribute": "zone", "batch": "10%"}, "select": null, "steps": ["drain"],
                "first": (0..10).map(|n| format!("a-node-{n}")).collect::<Vec<_>>(), "selected": 12,
                "undecided": 0, "error": null}]}))
        .into_response(),
        "/api/v1/runs" if seen.method == "GET" => list(json!([paused])),
        "/api/v1/runs/find" => axum::Json(json!({"ids": [run_id()], "count": 1})).into_response(),
        _ => axum::Json(paused).into_response(),
    }
}

#[tokio::test]
async fn what_is_shown_fits_the_terminal_and_keeps_what_matters() {
    let server = Server::start(answer);
    let id = run_id();
    for (columns, args, parts) in [
        (80, &["run", "list"][..], &["rolling-restart@1.4.0", "PAUSED", "10 done, 2 failed"][..]),
        (40, &["run", "list"], &["00000001", "PAUSED"]),
        (80, &["describe", "run", "last"], &["node-1", "FAILED", "no space left"]),
        (76, &["describe", "run", &id], &["somebody lets"]),
        (80, &["run", "events", &id], &["run is PAUSED"]),
        (80, &["run", "watch", "--until-pause", &id], &["replictl run resume"]),
        (80, &["run", "start", "p", "--cluster", "c"], &["replictl run watch"]),
        (
            80,
            &["run", "start", "p", "--cluster", "c", "--dry-run"],
            &["12 of 12: a-node-0", "a-node-9"],
        ),
        (80, &["run", "wait", "--for=PAUSED", &id], &["rolling-restart@1.4.0", "PAUSED"]),
        (
            80,
            &["get", "runs", "-o", "custom-columns=RUN:.id,STATUS:.status,WHY:.reason.message"],
            &[&id, "PAUSED", "2 agents failed, which is"],
        ),
        (60, &["get", "runs", "-l", "run.sttus == 'DONE'"], &["run.sttus == 'DONE'\n      ^\n"]),
    ] {
        let on = OnTerminal { columns, server: &server.url, ..OnTerminal::default() };
        let (_, shown) = on.run(args).await;
        let text = shown.rsplit('\r').next().unwrap();
        let shown =
            plain(&shown.replace("\x1b[2K", "").replace("\x1b[?25h", "").replace('\r', "\n"));
        assert!(widest(&shown) <= columns, "{args:?} at {columns}:\n{shown}\n{text:?}");
        for part in parts {
            assert!(shown.contains(part), "{args:?}: {part:?} in\n{shown}");
        }
    }
    let on = OnTerminal { server: &server.url, ..OnTerminal::default() };
    let (_, shown) = on.run(&["run", "events", &id]).await;
    let words = plain(&shown).split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains("until somebody lets the run go on"), "nothing is cut: {shown}");
}

#[tokio::test]
async fn nobody_is_asked_whether_to_cancel_a_run_that_has_ended() {
    let server = Server::start(|seen| match seen.method.as_str() {
        "POST" => problem(409, "command-refused", "the run has ended as DONE"),
        _ => axum::Json(run(RunStatus::Done, &[("DONE", 2)])).into_response(),
    });
    let on = OnTerminal { server: &server.url, ..OnTerminal::default() };
    let (code, shown) = on.run(&["run", "cancel", &run_id()]).await;
    assert_eq!((code, shown.contains("[y/N]")), (4, false), "{shown}");
    assert!(shown.contains("the run has ended as DONE"), "{shown}");
}

#[tokio::test]
async fn what_the_server_says_of_itself_fits_the_terminal() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    std::fs::write(folder.path().join("file"), "").unwrap();
    let (data, file) = (data.to_str().unwrap(), folder.path().join("file"));
    let on = OnTerminal { program: REPLIBOOK, ..OnTerminal::default() };
    for (args, code, parts) in [
        (&["serve", "--listen", "0.0.0.0:1"][..], 1, ["others can reach it", "--tls NAME"]),
        (
            &["serve", "--listen", "127.0.0.1:0", "--data", file.to_str().unwrap()],
            1,
            ["directory", "exists"],
        ),
        (&["store", "migrate", "--data", data], 0, ["ready for this version", "finished"]),
        (&["store", "check", "--data", data], 0, ["documents read:", "every document can be read"]),
    ] {
        let (found, shown) = on.run(args).await;
        let shown = plain(&shown);
        assert_eq!(found, code, "{args:?}: {shown}");
        // A word that is longer than a line is not cut.
        let long = |line: &str| line.chars().count() > 80 && line.trim().contains(' ');
        assert!(!shown.lines().any(long), "{args:?}: {shown}");
        let words = shown.split_whitespace().collect::<Vec<_>>().join(" ");
        for part in parts {
            assert!(words.contains(part), "{args:?}: {part:?} in {shown}");
        }
    }
}

#[tokio::test]
async fn usage_does_not_ask_for_what_the_environment_gives() {
    let server = Server::start(answer);
    for (args, usage) in [
        (&["run", "pause"][..], "Usage: replictl run pause <RUN>"),
        (&["get", "agents"], "Usage: replictl get --cluster <CLUSTER> <THINGS> [NAME]"),
        (&["run", "pause", "--nwo"], "Usage: replictl run pause "),
    ] {
        let (code, _, err) = replictl(&server.url, args).await;
        assert_eq!(
            (code, err.contains(usage), err.contains("--server")),
            (2, true, false),
            "{err}"
        );
    }
}

#[tokio::test]
async fn data_for_a_file_does_not_depend_on_the_terminal() {
    let server = Server::start(answer);
    let folder = tempfile::tempdir().unwrap();
    let mut written = Vec::new();
    for columns in [45, 200] {
        let file = folder.path().join(columns.to_string());
        let data = file.to_str().unwrap();
        let on = OnTerminal { columns, server: &server.url, data, ..OnTerminal::default() };
        let (code, shown) = on.run(&["describe", "run", "last"]).await;
        assert_eq!((code, shown.as_str()), (0, ""));
        written.push(std::fs::read_to_string(&file).unwrap());
    }
    assert_eq!(written[0], written[1]);
    assert!(written[0].contains("until somebody lets the run go on\n"), "{}", written[0]);
    assert!(
        written[0].contains("The run is paused, since ".repeat(6).trim_end()),
        "{}",
        written[0]
    );
}

#[tokio::test]
async fn ctrl_c_at_a_pause_says_how_the_run_goes_on() {
    for (status, why, told, commands, not) in [
        (RunStatus::Paused, "budget-exceeded", "the run is paused", ["resume", "cancel"], "pause"),
        (RunStatus::Paused, "approval", "waits for approval", ["approve", "reject"], "resume"),
        (
            RunStatus::PendingApprove,
            "approval",
            "waits for approval",
            ["approve", "reject"],
            "pause",
        ),
        (RunStatus::Running, "approval", "the run goes on", ["pause", "cancel"], "resume"),
    ] {
        let script = EventScript::new(vec![vec![event(1, "RUNNING")]]).hanging();
        let server = Server::start(move |seen| {
            let mut view = run(status, &[]);
            if status != RunStatus::Running {
                view["reason"] = json!({"code": why, "message": "x"});
            }
            match seen.path.rsplit('/').next() {
                Some("events") => script.answer(seen, status, &[]),
                Some("explanation") => problem(404, "route-not-found", "no"),
                _ => axum::Json(view).into_response(),
            }
        });
        let on = OnTerminal {
            server: &server.url,
            typed: ("run is RUNNING", "03"),
            ..OnTerminal::default()
        };
        let (code, shown) = on.run(&["run", "watch", &run_id()]).await;
        assert_eq!(code, 130, "{shown}");
        let (_, end) = shown.split_once("stopped watching").expect(&shown);
        assert!(end.contains(told), "{shown}");
        for command in commands {
            assert!(end.contains(&format!("replictl run {command} {}", run_id())), "{shown}");
        }
        assert!(!end.contains(&format!("run {not} ")), "{shown}");
    }
}

/// A server that knows version 1.0.0 of a playbook, whose plugin may do nothing.
fn answer_growth(seen: &Seen) -> axum::response::Response {
    let playbook = |version: &str, actions: serde_json::Value| {
        let digest = format!("sha256:{}", "0".repeat(64));
        json!({"kind": "playbook", "name": "drain", "version": version, "summary": null, "vcs": null,
            "stages": ["all"], "plugins": {"own": {"source": "store:own@1.0.0", "digest": digest,
            "kind": "step", "name": "own", "version": "1.0.0", "grants": {"actions": actions, "http": []}}},
            "applied_at": "2026-11-22T09:00:00Z", "change": "created", "document": null})
    };
    match (seen.method.as_str(), seen.path.as_str()) {
        ("GET", "/api/v1/playbooks/drain") => {
            axum::Json(playbook("1.0.0", json!([]))).into_response()
        }
        ("POST", "/api/v1/apply") => {
            axum::Json(json!({"items": [playbook("1.1.0", json!(["a/*"]))]})).into_response()
        }
        _ => problem(404, "not-found", "nothing"),
    }
}

#[tokio::test]
async fn a_person_is_asked_before_grants_grow() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("p.yaml");
    let document = "apiVersion: replicante.io/v1\nkind: Playbook\nmetadata: { name: drain, version: 1.1.0 }\nspec:\n  \
        plugins: { own: { source: 'store:own@1.0.0', grants: { actions: ['a/*'] } } }\n  stages:\n    \
        - name: all\n      strategy: { use: rolling }\n      steps: [{ name: own, use: own }]\n";
    std::fs::write(&file, document).unwrap();
    let file = file.to_str().unwrap();
    // y, n, and an empty answer, each with a line end.
    for (typed, args, applied) in [
        ("790a", &["apply", "-f", file][..], true),
        ("6e0a", &["apply", "-f", file], false),
        ("0a", &["apply", "-f", file], false),
        ("", &["apply", "--yes", "-f", file], true),
        ("", &["apply", "--dry-run", "-f", file], false),
    ] {
        let server = Server::start(answer_growth);
        let wait = if typed.is_empty() { "" } else { "apply? [y/N] " };
        let on = OnTerminal { server: &server.url, typed: (wait, typed), ..OnTerminal::default() };
        let (code, shown) = on.run(args).await;
        assert_eq!(code, 0, "{args:?}: {shown}");
        let shown = plain(&shown);
        assert!(
            shown.contains("grants of playbook drain version 1.1.0, since version 1.0.0:"),
            "{shown}"
        );
        assert!(shown.contains("  + own: actions a/*"), "{shown}");
        let is_real = |seen: &&Seen| seen.method == "POST" && seen.query != "dry_run=true";
        assert_eq!(server.seen().iter().filter(is_real).count(), usize::from(applied), "{args:?}");
        assert_eq!(shown.contains("nothing was applied"), !typed.is_empty() && !applied, "{shown}");
    }
}
