//! Lists that are searched, sorted and picked from, runs that are waited for, and documents that are compared.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::response::{IntoResponse, Response};
use replibook::run::RunStatus;
use serde_json::{Value, json};

use super::server::{EventScript, Seen, Server, event, problem, run, run_id};
use super::{NOWHERE, replictl};

/// Runs of three pages, the second of which is empty.
fn searched(seen: &Seen) -> Response {
    assert!(seen.parameter("selector").is_some(), "{}", seen.query);
    let (items, next) = match seen.parameter("after") {
        None => (json!([run(RunStatus::Paused, &[])]), json!("a")),
        Some("a") => (json!([]), json!("b")),
        Some("b") => (json!([run(RunStatus::Done, &[])]), Value::Null),
        Some(other) => panic!("{other}"),
    };
    axum::Json(json!({"items": items, "next": next})).into_response()
}

#[tokio::test]
async fn a_page_without_items_does_not_end_a_list_that_is_searched() {
    let server = Server::start(searched);
    let args = ["get", "runs", "-l", "run.failures == 0", "-o", "jsonpath={.items[*].status}"];
    let (code, out, err) = replictl(&server.url, &args).await;
    assert_eq!((code, out.as_str()), (0, "PAUSED DONE\n"), "{err}");
    assert_eq!(server.seen().len(), 3);
}

#[tokio::test]
async fn what_can_not_be_meant_is_refused_before_the_server_is_asked() {
    let name = run_id();
    for (args, message) in [
        (
            &["get", "runs", "-l", "run.sttus == 'DONE'"][..],
            "  run.sttus == 'DONE'\n      ^\nerror: --selector: \"run\" has no \"sttus\"",
        ),
        (&["run", "list", "-l", "agent.id == 'x'"], "unknown name \"agent\""),
        (&["get", "agents", "--cluster", "x", "-l", "agent.id ="], "--selector: Syntax error"),
        (&["get", "playbooks", "-l", "true"], "--selector goes with `get runs`"),
        (&["get", "runs", &name, "-l", "true"], "go with lists"),
        (&["run", "list", "--watch", "-l", "true"], "cannot be used with"),
        (&["get", "runs", "--sort-by", ".a["], "is no path such as .status"),
        (&["get", "runs", "--sort-by", ".id", "--after", "x"], "cannot be used with"),
        (&["get", "runs", "-o", "jsonpath={.id"], "found { without } after it"),
        (&["get", "runs", "-o", "jsonpath"], "expected custom-columns=HEADING:PATH,…"),
        (&["get", "runs", "-o", "custom-columns=A"], "expected HEADING:PATH"),
        (&["get", "runs", "-o", "csv"], "invalid value 'csv'"),
        (&["run", "wait", &name, "--for", "GONE"], "GONE"),
        (&["run", "wait", &name, "--timeout", "soon"], "soon"),
        (&["run", "start", "p", "--cluster", "c", "--dry-run", "--watch"], "cannot be used with"),
        (&["diff"], "--file"),
    ] {
        let (code, out, err) = replictl(NOWHERE, args).await;
        assert_eq!((code, out.as_str()), (2, ""), "{args:?}: {err}");
        assert!(err.contains(message), "{args:?}: {message:?} in\n{err}");
    }
}

fn runs(_: &Seen) -> Response {
    let one = |id: u32, failures: u32| {
        let mut one = run(RunStatus::Running, &[("DONE", id)]);
        one["id"] = json!(format!("01920000-0000-7000-8000-00000000000{id}"));
        one["failures"] = json!(failures);
        one["reason"] = json!({"code": "operator", "message": "a\u{1b}[31mb\nc"});
        one
    };
    axum::Json(json!({"items": [one(1, 10), one(2, 9), one(3, 0)], "next": null})).into_response()
}

#[tokio::test]
async fn parts_of_a_list_are_picked_and_sorted() {
    let server = Server::start(runs);
    let columns = "custom-columns=RUN:.id,FAILED:.failures,WHY:.reason.message,NONE:.finish_ts";
    let args = ["get", "runs", "--sort-by", ".failures", "-o", columns];
    let (code, out, err) = replictl(&server.url, &args).await;
    let row = |id: u32, failures| {
        format!("01920000-0000-7000-8000-00000000000{id}   {failures:<6}   a [31mb c   -\n")
    };
    let head = format!("{:<36}   FAILED   {:<9}   NONE\n", "RUN", "WHY");
    let expected = format!("{head}{}{}{}", row(3, 0), row(2, 9), row(1, 10));
    assert_eq!((code, out), (0, expected), "{err}");
    let template =
        r#"jsonpath={range .items[?(@.failures>1)]}{.failures}:{.counts.DONE}{"\n"}{end}"#;
    let (code, out, err) = replictl(&server.url, &["run", "list", "-o", template]).await;
    assert_eq!((code, out.as_str()), (0, "10:1\n9:2\n"), "{err}");
    // What nobody has may be a mistake.
    let args = ["get", "runs", "-o", "custom-columns=RUN:.id,X:.sttus"];
    let (code, _, err) = replictl(&server.url, &args).await;
    assert_eq!(code, 0);
    assert!(
        err.contains("warning: nothing has \".sttus\"; the first item has id, playbook"),
        "{err}"
    );
    let (code, out, err) = replictl(&server.url, &["get", "runs", "--sort-by", ".sttus"]).await;
    assert_eq!((code, out.as_str()), (2, ""), "{err}");
    assert!(err.contains("--sort-by: no item has \".sttus\"; each has id, "), "{err}");
    let args = ["get", "runs", "--sort-by", ".failures", "--limit", "1", "-o", "name"];
    let (code, out, err) = replictl(&server.url, &args).await;
    assert_eq!((code, out.lines().count()), (0, 1));
    assert!(err.contains("2 more items of the sorted list not shown: raise --limit"), "{err}");
}

#[tokio::test]
async fn a_list_that_is_too_long_is_not_sorted() {
    let server = Server::start(|seen| {
        let after: usize = seen.parameter("after").map_or(0, |after| after.parse().unwrap());
        let items = vec![run(RunStatus::Done, &[]); 1_000];
        axum::Json(json!({"items": items, "next": (after + 1).to_string()})).into_response()
    });
    let (code, out, err) = replictl(&server.url, &["get", "runs", "--sort-by", ".since"]).await;
    assert_eq!((code, out.as_str()), (2, ""), "{err}");
    assert!(err.contains("there are more than 10000") && err.contains("--selector"), "{err}");
}

#[tokio::test]
async fn a_wait_sees_a_status_that_the_run_has_only_for_a_moment() {
    let later = |message: String| message.replace("09:00:00Z", "09:00:01Z");
    let (before, end) = (event(1, "PAUSED"), EventScript::end(RunStatus::Done, &[]));
    let (now, then) = (later(event(2, "PAUSED")), later(event(3, "RUNNING")));
    for (messages, expected) in [
        (vec![before.clone(), now, then], (0, "RUNNING\n")),
        // What was before the wait began does not count.
        (vec![before, end], (4, "DONE\n")),
    ] {
        let script = EventScript::new(vec![messages]).hanging();
        let server = Server::start(move |seen| script.answer(seen, RunStatus::Running, &[]));
        let wait = ["run", "wait", &run_id(), "--for", "Paused", "-o", "jsonpath={.status}"];
        let (code, out, err) = replictl(&server.url, &wait).await;
        assert_eq!((code, out.as_str()), expected, "{err}");
    }
}

/// The history says in which order things happened, where the times are the same.
#[tokio::test]
async fn a_wait_begins_with_what_comes_after_the_run_as_it_was_seen() {
    let script = EventScript::new(vec![vec![event(3, "PAUSED"), event(4, "RUNNING")]]).hanging();
    let server = Server::start(move |seen| match seen.header("accept") {
        "text/event-stream" => script.answer(seen, RunStatus::Running, &[]),
        _ => {
            let mut run = run(RunStatus::Running, &[]);
            run["last_event"] = json!(2);
            axum::Json(run).into_response()
        }
    });
    let wait = ["run", "wait", &run_id(), "--for", "PAUSED", "-o", "jsonpath={.status}"];
    let (code, out, err) = replictl(&server.url, &wait).await;
    assert_eq!((code, out.as_str()), (0, "RUNNING\n"), "{err}");
    let seen = server.seen();
    let streams: Vec<_> = seen
        .iter()
        .filter(|seen| seen.header("accept") == "text/event-stream")
        .map(|seen| seen.header("last-event-id"))
        .collect();
    assert_eq!(streams, ["2"]);
}

fn many_agents(all: usize) -> impl Fn(&Seen) -> Response {
    move |seen| {
        let number = |name| seen.parameter(name).map(|value| value.parse::<usize>().unwrap());
        let from = number("after").map_or(0, |after| after + 1);
        let limit = number("limit").unwrap();
        let agent = |n: usize| {
            json!({"id": format!("{n:05}"), "address": "http://a", "source": "declared",
                "attributes": {}, "since": "2026-11-22T09:00:00Z", "now": null})
        };
        let items: Vec<_> = (from..all).take(limit).map(agent).collect();
        // Of the agents after those nobody is selected, which only the last page knows.
        let next = match items.last() {
            Some(last) => last["id"].clone(),
            None if from == all => json!(format!("{from:05}")),
            None => Value::Null,
        };
        let page = json!({"items": items, "next": next, "undecided": 0, "followed": true,
            "platform": null, "mass_absence": null});
        axum::Json(page).into_response()
    }
}

#[tokio::test]
async fn as_many_agents_as_may_be_are_sorted_and_one_more_is_refused() {
    let args = ["get", "agents", "--cluster", "c", "-l", "agent.id >= '0'", "--sort-by", ".id"];
    let args = [&args[..], &["--limit", "1", "-o", "name"]].concat();
    for (all, expected) in [(10_000, (0, "00000\n")), (10_001, (2, ""))] {
        let server = Server::start(many_agents(all));
        let (code, out, err) = replictl(&server.url, &args).await;
        assert_eq!((code, out.as_str()), expected, "{all}: {err}");
    }
}

#[tokio::test]
async fn a_wait_survives_a_server_that_restarts_and_ends_as_the_run_does() {
    for (status, args, expected) in [
        (RunStatus::Done, &[][..], 0),
        (RunStatus::Failed, &[], 1),
        (RunStatus::Failed, &["--for=FAILED"], 0),
        (RunStatus::Cancelled, &["--for=DONE"], 7),
        (RunStatus::Done, &["--for=FAILED"], 4),
    ] {
        let end = EventScript::end(status, &[("DONE", 2)]);
        let script = EventScript::new(vec![vec![event(1, "RUNNING")], vec![], vec![end]]);
        let server = Server::start(move |seen| script.answer(seen, RunStatus::Running, &[]));
        let id = run_id();
        let wait = [&["run", "wait", &id, "--timeout", "1m", "-o", "name"], args].concat();
        let (code, out, err) = replictl(&server.url, &wait).await;
        assert_eq!((code, out), (expected, format!("{}\n", run_id())), "{status} {args:?}: {err}");
        assert!(err.contains("connection lost"), "{err}");
        assert_eq!(err.contains("will not become FAILED any more"), expected == 4, "{err}");
    }
}

#[tokio::test]
async fn a_wait_says_how_a_paused_run_goes_on_and_stays() {
    let told = std::sync::Arc::new(AtomicBool::new(false));
    let (seen_too, end) = (told.clone(), EventScript::end(RunStatus::Done, &[]));
    let script = EventScript::new(vec![vec![event(1, "PAUSED")], vec![end]]);
    let server = Server::start(move |seen| {
        if seen.path.ends_with("/explanation") {
            seen_too.store(true, Ordering::SeqCst);
            return axum::Json(json!({"status": "PAUSED", "since": "2026-11-22T09:00:00Z",
                "text": "It waits for you.", "actions": [], "next": []}))
            .into_response();
        }
        script.answer(seen, RunStatus::Paused, &[])
    });
    let (code, _, err) = replictl(&server.url, &["run", "wait", &run_id()]).await;
    assert_eq!((code, err.contains("It waits for you.")), (0, true), "{err}");
    assert!(told.load(Ordering::SeqCst));
}

fn write(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

const STORED: &str = "\
apiVersion: replicante.io/v1
kind: Cluster
metadata: { name: eu }
spec:
  agents:
    - { id: node-1, address: http://10.0.0.11:8000 }
";

const PLAYBOOK: &str = "\
apiVersion: replicante.io/v1
kind: Playbook
metadata: { name: restart, version: 1.0.0 }
spec:
  stages:
    - name: all
      strategy: { use: rolling }
      steps: [{ name: ok, action: a/b }]
";

fn stored(seen: &Seen) -> Response {
    assert_eq!(seen.method, "GET", "nothing is changed");
    match (seen.path.as_str(), seen.parameter("version")) {
        ("/api/v1/clusters/eu", _) => axum::Json(json!({"name": "eu", "agents": 1,
            "applied_at": "2026-11-22T09:00:00Z", "change": null, "document": STORED}))
        .into_response(),
        ("/api/v1/playbooks/restart", None | Some("1.0.0")) => axum::Json(json!({
            "name": "restart", "version": "1.0.0", "summary": null, "vcs": null, "stages": ["all"],
            "plugins": {}, "applied_at": "2026-11-22T09:00:00Z", "change": null,
            "document": PLAYBOOK}))
        .into_response(),
        _ => problem(404, "not-found", "there is no such thing"),
    }
}

#[tokio::test]
async fn documents_are_compared_with_what_is_stored() {
    let (server, folder) = (Server::start(stored), tempfile::tempdir().unwrap());
    let same = write(folder.path(), "same.yaml", &format!("{STORED}---\n# A note.\n{PLAYBOOK}"));
    let (code, out, err) = replictl(&server.url, &["diff", "-f", &same]).await;
    let unchanged = "cluster eu: unchanged\nplaybook restart@1.0.0: unchanged\n";
    assert_eq!((code, out.as_str()), (0, unchanged), "{err}");

    let moved = STORED.replace("10.0.0.11", "10.0.0.12");
    let text = format!("{moved}---\n{}", PLAYBOOK.replace("1.0.0", "1.1.0"));
    let other = write(folder.path(), "other.yaml", &text);
    let (code, out, err) = replictl(&server.url, &["diff", "-f", &other]).await;
    assert_eq!(code, 1, "{err}");
    for part in [
        "cluster eu differs: what is stored (-), ",
        "\n-    - { id: node-1, address: http://10.0.0.11:8000 }\n",
        "\n+    - { id: node-1, address: http://10.0.0.12:8000 }\n",
        "playbook restart@1.1.0 is new: version 1.0.0 (-), ",
        "\n-metadata: { name: restart, version: 1.0.0 }\n",
    ] {
        assert!(out.contains(part), "{part:?} in\n{out}");
    }
    let columns = "custom-columns=NAME:.name,CHANGE:.change";
    let (code, out, _) = replictl(&server.url, &["diff", "-f", &other, "-o", columns]).await;
    assert_eq!((code, out.as_str()), (1, "NAME      CHANGE\neu        changed\nrestart   new\n"));

    let new = write(folder.path(), "new.yaml", &PLAYBOOK.replace("restart", "fresh"));
    let (code, out, _) = replictl(&server.url, &["diff", "-f", &new]).await;
    assert_eq!((code, out.contains("playbook fresh@1.0.0 is new: ")), (1, true), "{out}");
    let broken = write(folder.path(), "broken.yaml", &PLAYBOOK.replace("stages", "stags"));
    let (code, out, err) = replictl(NOWHERE, &["diff", "-f", &broken]).await;
    assert_eq!((code, out.as_str()), (3, ""), "{err}");
}
