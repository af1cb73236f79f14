//! Looking at what a server has: playbooks, clusters, plugins, agents and runs.

use axum::response::{IntoResponse, Response};
use replibook::run::RunStatus;
use serde_json::{Value, json};

use super::server::{Seen, Server, problem, run, run_id};
use super::{command, read, replictl};

const PLAYBOOK: &str = "\
# As it was applied.
apiVersion: replicante.io/v1
kind: Playbook
metadata: { name: restart, version: 1.0.0 }
spec:
  stages:
    - name: all
      strategy: { use: rolling }
      steps: [{ name: ok, action: a/b }]
";

const DIGEST: &str = "sha256:000000000000000000000000000000000000000000000000000000000000000a";

fn playbook() -> Value {
    let pin = json!({"source": "store:zones@0.1.0", "digest": DIGEST, "kind": "strategy",
        "name": "zones", "version": "0.1.0", "grants": {"actions": [], "http": []}});
    json!({"name": "restart", "version": "1.0.0", "summary": null, "vcs": null, "stages": ["all"],
        "plugins": {"zones": pin}, "applied_at": "2026-11-22T09:00:00Z", "change": null,
        "document": PLAYBOOK})
}

fn listing(items: Value) -> Response {
    axum::Json(json!({"items": items, "next": null})).into_response()
}

fn agents(seen: &Seen) -> Response {
    let agent = |id: &str| {
        let mut agent = json!({"id": id, "address": format!("http://{id}"), "source": "declared",
            "attributes": {"zone": "a"}, "since": "2026-11-22T09:00:00Z"});
        if seen.parameter("ask").is_some() {
            agent["now"] = json!({"asked_at": "2026-11-22T09:00:00Z", "age": 40, "status": "HEALTHY",
                "agent_version": "0.1.0", "store": "mongo 7", "attributes": {"role": "PRIMARY"},
                "error": null});
        }
        agent
    };
    let all =
        ["a", "b", "c"].into_iter().filter(|id| seen.parameter("after").is_none_or(|it| *id > it));
    let limit = seen.parameter("limit").map_or(1_000, |limit| limit.parse().unwrap());
    let items: Vec<_> = all.take(limit).map(agent).collect();
    // Like the real server: a full page has a `next`, even if it is the last one.
    let next = items.last().filter(|_| items.len() == limit).map(|last| last["id"].clone());
    axum::Json(json!({"items": items, "next": next, "followed": true, "platform": null,
        "mass_absence": null}))
    .into_response()
}

fn answer(seen: &Seen) -> Response {
    let plugin = json!({"digest": DIGEST, "kind": "strategy", "name": "zones", "version": "0.1.0",
        "summary": "Goes by zone.", "arguments": {"type": "object"}, "size": 2_048,
        "added_at": "2026-11-22T09:00:00Z", "change": null,
        "unpinned_at": "2026-11-23T09:00:00Z", "goes_at": "2026-12-23T09:00:00Z"});
    let cluster = json!({"name": "eu", "agents": 3, "applied_at": "2026-11-22T09:00:00Z",
        "change": null, "document": "kind: Cluster\n"});
    match seen.path.as_str() {
        "/api/v1/playbooks" => listing(json!([playbook()])),
        "/api/v1/playbooks/restart" => axum::Json(playbook()).into_response(),
        "/api/v1/plugins" => listing(json!([plugin])),
        "/api/v1/clusters/eu" => axum::Json(cluster).into_response(),
        "/api/v1/clusters/eu/agents" => agents(seen),
        "/api/v1/runs" => listing(json!([run(RunStatus::Running, &[("DONE", 2)])])),
        _ => problem(404, "not-found", "there is no such thing"),
    }
}

#[tokio::test]
async fn a_document_comes_back_as_it_was_applied() {
    let server = Server::start(answer);
    let (code, out, err) =
        replictl(&server.url, &["get", "playbook", "restart", "-o", "yaml"]).await;
    assert_eq!((code, out.as_str()), (0, PLAYBOOK), "{err}");
    let (code, out, _) = replictl(&server.url, &["get", "cluster", "eu", "-o", "yaml"]).await;
    assert_eq!((code, out.as_str()), (0, "kind: Cluster\n"));
    let (_, out, _) = replictl(&server.url, &["get", "playbook", "restart", "-o", "json"]).await;
    let view: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(view["document"], PLAYBOOK);
}

#[tokio::test]
async fn clusters_plugins_and_agents_are_described() {
    let server = Server::start(answer);
    for (args, parts) in [
        (
            &["describe", "cluster", "eu"][..],
            &[
                "Cluster:    eu\n",
                "Listed:     3 agents\n",
                "a      http://a  declared  HEALTHY",
                "RUNNING",
                "\nkind: Cluster\n",
            ][..],
        ),
        (
            &["describe", "plugin", "zones@0.1.0"],
            &[
                "Plugin:     zones@0.1.0\n",
                "Pinned by:  nothing since 2026-11-23T09:00:00Z\n",
                "Expires:    2026-12-23T09:00:00Z, unless something pins it or it is uploaded again first\n",
                "Used by:    restart@1.0.0\n",
                DIGEST,
                "  type: object\n",
            ],
        ),
        (
            &["describe", "agent", "b", "--cluster", "eu"],
            &[
                "Agent:      b\n",
                "Status:     HEALTHY\n",
                "Store:      mongo 7\n",
                "Says:       role = \"PRIMARY\"\n",
                "Attribute:  zone = \"a\"\n",
            ],
        ),
        (
            &["plugin", "list"],
            &["UNPINNED", "EXPIRES", "  2026-11-23T09:00:00Z  2026-12-23T09:00:00Z\n"],
        ),
        (&["get", "agents", "--cluster", "eu"], &["HEALTH   AGE", "HEALTHY  0.0s  zone=a"]),
    ] {
        let (code, out, err) = replictl(&server.url, args).await;
        assert_eq!(code, 0, "{args:?}: {err}");
        for part in parts {
            assert!(out.contains(part), "{args:?}: {part:?} in\n{out}");
        }
    }
    let (code, _, err) =
        replictl(&server.url, &["describe", "agent", "x", "--cluster", "eu"]).await;
    assert_eq!((code, err.contains("has no agent \"x\"")), (4, true), "{err}");
    // To list names, no agent has to be asked.
    let before = server.seen().len();
    replictl(&server.url, &["get", "agents", "--cluster", "eu", "-o", "name"]).await;
    assert!(server.seen()[before..].iter().all(|seen| seen.parameter("ask").is_none()));
}

#[tokio::test]
async fn the_server_looks_for_the_runs_of_a_playbook_and_of_a_time() {
    let server = Server::start(answer);
    let args = [
        "run",
        "list",
        "-o",
        "name",
        "--playbook",
        "rolling-restart@1.4.0",
        "--since",
        "2026-11-22",
    ];
    let (code, out, err) = replictl(&server.url, &args).await;
    assert_eq!((code, out.contains(&run_id())), (0, true), "{err}");
    for seen in server.seen().iter().filter(|seen| seen.path == "/api/v1/runs") {
        assert_eq!(seen.parameter("playbook"), Some("rolling-restart%401.4.0"));
        assert_eq!(seen.parameter("since"), Some("2026-11-22T00%3A00%3A00.000Z"));
    }
    let (code, _, err) = replictl(&server.url, &["run", "list", "--since", "soon"]).await;
    assert_eq!((code, err.contains("expected a moment")), (2, true), "{err}");
}

#[tokio::test]
async fn a_run_is_found_without_its_list_where_the_server_can() {
    for is_old in [false, true] {
        let server = Server::start(move |seen| match seen.path.as_str() {
            "/api/v1/runs/find" if is_old => problem(400, "bad-parameter", "it is no UUID"),
            "/api/v1/runs/find" => {
                let ids = json!({"ids": [run_id()], "count": 1});
                axum::Json(ids).into_response()
            }
            "/api/v1/runs" => listing(json!([run(RunStatus::Running, &[])])),
            _ => axum::Json(run(RunStatus::Running, &[])).into_response(),
        });
        for name in ["last", "run/last", "000001", "00-0001"] {
            let (code, out, err) = replictl(&server.url, &["get", "run", name, "-o", "name"]).await;
            assert_eq!((code, out.contains(&run_id())), (0, true), "{name}: {err}");
        }
        let seen = server.seen();
        assert_eq!(seen.iter().any(|seen| seen.path == "/api/v1/runs"), is_old);
        let parts: Vec<_> = seen.iter().filter_map(|seen| seen.parameter("part")).collect();
        assert_eq!(parts, ["000001", "000001"]);
    }
}

#[tokio::test]
async fn logs_of_an_agent_that_the_run_does_not_have_are_none() {
    let server = Server::start(|seen| match seen.path.as_str() {
        path if path.ends_with("/logs") => listing(json!([])),
        path if path.ends_with("/agents/nodd-1") => {
            problem(404, "agent-not-found", "the run has no agent \"nodd-1\"")
        }
        _ => axum::Json(run(RunStatus::Running, &[])).into_response(),
    });
    let args = ["run", "logs", &run_id(), "--agent", "nodd-1"];
    let (code, out, err) = replictl(&server.url, &args).await;
    assert_eq!((code, out.as_str()), (4, ""), "{err}");
    assert!(err.contains("has no agent \"nodd-1\""), "{err}");
}

#[tokio::test]
async fn an_older_server_gives_no_unfiltered_list() {
    let server = Server::start(|_| {
        problem(400, "bad-parameter", "query: found \"playbook\", expected one of cluster, status")
    });
    for args in [&["run", "list", "--playbook", "x"][..], &["run", "list", "-w", "--playbook", "x"]]
    {
        let (code, out, err) = replictl(&server.url, args).await;
        assert_eq!((code, out.as_str()), (4, ""), "{err}");
        assert!(
            err.contains("the server does not know --playbook: it is older than this replictl"),
            "{err}"
        );
    }
}

#[tokio::test]
async fn a_list_that_is_watched_shows_what_changes() {
    let server = Server::start(|seen| {
        let status = if seen.number < 2 { RunStatus::Running } else { RunStatus::Paused };
        listing(json!([run(status, &[("DONE", 2)])]))
    });
    let child = command(&server.url, &["run", "list", "--watch"]).spawn().unwrap();
    // When the second look comes, the findings of the first one have been written.
    server.wait_for(|seen| seen.number == 5).await;
    let id = rustix::process::Pid::from_raw(child.id().unwrap().cast_signed()).unwrap();
    rustix::process::kill_process(id, rustix::process::Signal::INT).unwrap();
    let (code, out, err) = read(child.wait_with_output()).await;
    assert_eq!(code, 0, "{err}");
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines.len(), 3, "{out}");
    assert!(lines[1].contains("RUNNING") && lines[2].contains("PAUSED"), "{out}");
}

#[tokio::test]
async fn a_list_that_is_watched_tells_of_ends_also_where_they_leave_it() {
    let script = |seen: &Seen, view: Value| match (seen.path.as_str(), seen.parameter("status")) {
        ("/api/v1/runs", Some("RUNNING")) => listing(json!([view])),
        // The run has ended: it is neither among those that go on, nor new.
        ("/api/v1/runs", _) if seen.number > 1 => listing(json!([])),
        ("/api/v1/runs", _) => listing(json!([view])),
        _ => {
            let mut ended = view;
            (ended["status"], ended["finish_ts"]) = (json!("DONE"), json!("2026-11-22T09:00:09Z"));
            axum::Json(ended).into_response()
        }
    };
    let server = Server::start(move |seen| script(seen, run(RunStatus::Running, &[("DONE", 2)])));
    let args =
        ["run", "list", "-w", "--status", "running", "--playbook", "rolling-restart", "-o", "json"];
    let child = command(&server.url, &args).spawn().unwrap();
    server.wait_for(|seen| seen.path.ends_with(&run_id())).await;
    // Waits for the next look.
    server.wait_for(|seen| seen.number > 5).await;
    let id = rustix::process::Pid::from_raw(child.id().unwrap().cast_signed()).unwrap();
    rustix::process::kill_process(id, rustix::process::Signal::INT).unwrap();
    let (code, out, err) = read(child.wait_with_output()).await;
    assert_eq!(code, 0, "{err}");
    let lines: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let statuses: Vec<&Value> = lines.iter().map(|run| &run["status"]).collect();
    assert_eq!(statuses, ["RUNNING", "DONE"], "one a line: {out}");
    let asked = server.seen().iter().filter(|seen| seen.path.ends_with(&run_id())).count();
    assert_eq!(asked, 1, "once");
}

#[tokio::test]
async fn a_list_of_as_many_as_were_asked_for_has_no_more() {
    let server = Server::start(|seen| match seen.parameter("after") {
        Some(_) => listing(json!([])),
        None => axum::Json(json!({"items": [run(RunStatus::Done, &[])], "next": run_id()}))
            .into_response(),
    });
    let (code, _, err) = replictl(&server.url, &["run", "list", "--limit", "1"]).await;
    assert_eq!((code, err.as_str()), (0, ""));
    let server = Server::start(answer);
    for (limit, more) in [("3", ""), ("2", "there is more: add --after b\n")] {
        let args = ["get", "agents", "--cluster", "eu", "--limit", limit];
        let (code, _, err) = replictl(&server.url, &args).await;
        assert_eq!((code, err.as_str()), (0, more));
    }
}

#[tokio::test]
async fn a_conflict_through_the_bytes_of_a_plugin_shows_both_digests() {
    let document = PLAYBOOK
        .replace("spec:\n", "spec:\n  plugins: { zones: { source: \"file:zones.wasm\" } }\n");
    let known = document.clone();
    let server = Server::start(move |seen| match (seen.method.as_str(), seen.path.as_str()) {
        (_, "/api/v1/apply") => problem(409, "conflict", "playbook restart exists"),
        ("PUT", _) => answer_upload(),
        (_, "/api/v1/playbooks/restart") => {
            let mut playbook = playbook();
            playbook["document"] = json!(known);
            axum::Json(playbook).into_response()
        }
        _ => problem(404, "not-found", "there is no such thing"),
    });
    let folder = tempfile::tempdir().unwrap();
    let bytes = b"\0asm\x0d\0\x01\0";
    std::fs::write(folder.path().join("zones.wasm"), bytes).unwrap();
    let file = folder.path().join("p.yaml");
    std::fs::write(&file, document).unwrap();
    let (code, _, err) = replictl(&server.url, &["apply", "-f", file.to_str().unwrap()]).await;
    assert_eq!(code, 4, "{err}");
    let digest = replibook::run::Digest::of(bytes);
    assert!(err.contains(&format!("\n- {DIGEST}\n+ {digest}\n")), "{err}");
}

fn answer_upload() -> Response {
    axum::Json(json!({"digest": DIGEST, "kind": "strategy", "name": "zones", "version": "0.1.0",
        "summary": "", "arguments": {}, "size": 8, "added_at": "2026-11-22T09:00:00Z", "change": "created"}))
    .into_response()
}

#[tokio::test]
async fn one_new_version_twice_shows_what_differs() {
    let server =
        Server::start(|_| problem(409, "conflict", "playbook restart is in the request twice"));
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: String| {
        let file = folder.path().join(name);
        std::fs::write(&file, text).unwrap();
        file.to_str().unwrap().to_owned()
    };
    let old = write("a.yaml", PLAYBOOK.to_owned());
    let new = write("b.yaml", PLAYBOOK.replace("action: a/b", "action: a/c"));
    let (code, _, err) = replictl(&server.url, &["apply", "-f", &old, "-f", &new]).await;
    assert_eq!(code, 4, "{err}");
    assert!(err.contains("\n+      steps: [{ name: ok, action: a/c }]\n"), "{err}");
    assert!(err.contains("is in the request twice with different content"), "{err}");
}

#[tokio::test]
async fn comments_before_a_document_are_applied_with_it() {
    let server = Server::start(|_| problem(409, "conflict", "no"));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("p.yaml");
    let text = format!("# The team's.\n\n---\n{PLAYBOOK}");
    std::fs::write(&file, &text).unwrap();
    replictl(&server.url, &["apply", "-f", file.to_str().unwrap()]).await;
    let seen = server.seen();
    let sent = seen.iter().find(|seen| seen.path == "/api/v1/apply").unwrap().json();
    assert_eq!(sent["documents"][0]["document"], text);
}

#[tokio::test]
async fn a_full_disk_is_no_wrong_usage() {
    let server = Server::start(answer);
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut command = command(&server.url, &["run", "list"]);
    let (code, _, err) = read(command.stdout(full).spawn().unwrap().wait_with_output()).await;
    assert_eq!(code, 12, "{err}");
}

#[tokio::test]
async fn a_conflict_shows_what_differs() {
    let server = Server::start(|seen| match seen.path.as_str() {
        "/api/v1/apply" => {
            problem(409, "conflict", "playbook restart is known; nothing was applied")
        }
        _ => answer(seen),
    });
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("p.yaml");
    std::fs::write(&file, PLAYBOOK.replace("action: a/b", "action: a/c")).unwrap();
    let args = ["apply", "-f", file.to_str().unwrap()];
    let (code, out, err) = replictl(&server.url, &args).await;
    assert_eq!((code, out.as_str()), (4, ""), "{err}");
    assert!(err.contains("\n-      steps: [{ name: ok, action: a/b }]\n"), "{err}");
    assert!(err.contains("\n+      steps: [{ name: ok, action: a/c }]\n"), "{err}");
    assert!(err.ends_with("error: playbook restart is known; nothing was applied\n"), "{err}");
}

#[tokio::test]
async fn warnings_are_shown_at_their_places_and_fail_nothing() {
    let server = Server::start(|seen| match seen.path.as_str() {
        "/api/v1/apply" => {
            let warning = json!({"code": "not-granted", "path": "/spec/plugins/zones", "line": 5,
                "column": 3, "message": "no actions are granted", "found": null, "expected": null});
            let mut applied = playbook();
            applied["kind"] = json!("playbook");
            applied["warnings"] = json!([warning]);
            axum::Json(json!({ "items": [applied] })).into_response()
        }
        _ => answer(seen),
    });
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("p.yaml");
    std::fs::write(&file, PLAYBOOK).unwrap();
    let (code, out, err) = replictl(&server.url, &["apply", "-f", file.to_str().unwrap()]).await;
    assert_eq!(code, 0, "{err}");
    assert!(
        err.contains("p.yaml:5:3: /spec/plugins/zones: warning: no actions are granted\n"),
        "{err}"
    );
    assert!(out.contains("playbook  restart"), "{out}");
}
