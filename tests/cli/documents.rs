//! Documents: validated, applied, and refused.

use std::path::Path;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use replibook::run::Digest;
use serde_json::{Value, json};

use super::server::{Seen, Server, problem};
use super::{NOWHERE, replictl};

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

/// What every component begins with.
const COMPONENT: &str = "\0asm\x0d\0\x01\0";

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
async fn a_playbook_of_built_in_plugins_is_checked_without_a_server() {
    let folder = tempfile::tempdir().unwrap();
    let plugins = "  plugins:\n    zones: { source: file:plugins/zones.wasm }\n";
    let playbook = PLAYBOOK.replace(plugins, "").replace("use: zones", "use: rolling");
    let file = write(folder.path(), "p.yaml", &playbook);
    let (code, out, err) = replictl(NOWHERE, &["validate", "-f", &file]).await;
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("playbook  rolling-restart  1.4.0    valid"), "{out}");

    let file = write(folder.path(), "p.yaml", &playbook.replace("use: rolling", "use: roling"));
    let (code, _, err) = replictl(NOWHERE, &["validate", "-f", &file]).await;
    assert_eq!(code, 3, "{err}");
    assert!(err.contains("p.yaml:7:24: /spec/stages/0/strategy/use: "), "{err}");
    assert!(err.contains("did you mean \"rolling\"?"), "{err}");
}

#[tokio::test]
async fn a_file_that_is_no_plugin_is_shown_where_it_is_named() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("plugins")).unwrap();
    write(folder.path(), "plugins/zones.wasm", "not wasm");
    let file = write(folder.path(), "p.yaml", PLAYBOOK);
    let (code, _, err) = replictl(NOWHERE, &["validate", "-f", &file]).await;
    assert_eq!(code, 3, "{err}");
    assert!(err.contains("p.yaml:6:22: /spec/plugins/zones/source: "), "{err}");
    assert!(err.contains("error: 1 problem in"), "what follows from it is not told: {err}");
}

#[tokio::test]
async fn problems_that_the_server_finds_are_shown_at_their_lines() {
    let server = Server::start(|_| invalid(&[(0, "duplicate", "/spec/agents/0/id", 8)]));
    let folder = tempfile::tempdir().unwrap();
    let file = write(folder.path(), "c.yaml", &format!("# clusters\n---\n{CLUSTER}"));
    let (code, _, err) = replictl(&server.url, &["apply", "-f", &file]).await;
    assert_eq!(code, 3, "{err}");
    assert!(err.contains("c.yaml:8:13: /spec/agents/0/id: duplicate here\n"), "{err}");
    assert!(err.contains(" 8 |     - { id: node-1"), "{err}");
    let marker = err.lines().find(|line| line.ends_with('^')).unwrap();
    assert_eq!(marker, "   |             ^");
}

/// What the server knows of the plugin: whether it has it, and when that goes.
type Known = (bool, Option<&'static str>);

fn applied(seen: &Seen, digest: &Digest, (known, goes_at): Known) -> Response {
    let info = json!({"digest": digest, "kind": "strategy", "name": "zones", "version": "0.1.0",
        "summary": "", "arguments": {}, "size": 4, "added_at": "2026-11-22T09:00:00Z",
        "unpinned_at": goes_at, "goes_at": goes_at, "change": null});
    let pin = json!({"source": "file:plugins/zones.wasm", "digest": digest, "kind": "strategy",
        "name": "zones", "version": "0.1.0", "grants": {"actions": [], "http": []}});
    match (seen.method.as_str(), seen.path.as_str()) {
        ("GET", path) if path.starts_with("/api/v1/plugins/") && !known => {
            problem(404, "not-found", "no such plugin")
        }
        ("GET" | "PUT", path) if path.starts_with("/api/v1/plugins") => {
            axum::Json(info).into_response()
        }
        ("GET", "/api/v1/playbooks/rolling-restart") => {
            problem(404, "not-found", "no such playbook")
        }
        ("POST", "/api/v1/apply") => axum::Json(json!({"items": [
            {"kind": "playbook", "name": "rolling-restart", "version": "1.4.0", "summary": null,
            "vcs": null, "stages": ["restart"], "plugins": {"zones": pin},
            "applied_at": "2026-11-22T09:00:00Z", "change": "created", "document": null},
            {"kind": "cluster", "name": "mongo-eu", "agents": 1,
            "applied_at": "2026-11-22T09:00:00Z",
            "change": if seen.query == "dry_run=true" { "valid" } else { "updated" },
            "document": null},
        ]}))
        .into_response(),
        _ => problem(500, "unexpected", &format!("{} {}", seen.method, seen.path)),
    }
}

#[tokio::test]
async fn apply_uploads_the_plugins_beside_the_playbook_and_shows_their_digests() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("plugins")).unwrap();
    write(folder.path(), "plugins/zones.wasm", COMPONENT);
    let file = write(folder.path(), "all.yaml", &format!("{PLAYBOOK}---\n{CLUSTER}"));
    let digest = Digest::of(COMPONENT.as_bytes());

    for (known, change) in [
        ((false, None), "uploaded"),
        ((true, None), "unchanged"),
        ((true, Some("9000-01-01T00:00:00Z")), "unchanged"),
        // It must not go before its playbook is applied.
        ((true, Some("2001-01-01T00:00:00Z")), "uploaded"),
    ] {
        let answer = digest.clone();
        let server = Server::start(move |seen| applied(seen, &answer, known));
        let (code, out, err) = replictl(&server.url, &["apply", "-f", &file]).await;
        assert_eq!(code, 0, "{err}");
        let lines: Vec<&str> = out.lines().collect();
        assert!(lines[1].starts_with("plugin    zones"), "{out}");
        assert!(lines[1].contains(change) && lines[1].contains(digest.short()), "{out}");
        assert!(lines[2].contains("rolling-restart  1.4.0    created"), "{out}");
        assert!(lines[3].contains("mongo-eu") && lines[3].contains("updated"), "{out}");
        assert!(!out.contains('\x1b'), "a pipe is not coloured: {out}");

        let seen = server.seen();
        let put: Vec<&Seen> = seen.iter().filter(|seen| seen.method == "PUT").collect();
        assert_eq!(put.len(), usize::from(change == "uploaded"));
        if let Some(put) = put.first() {
            assert_eq!(put.body.as_ref(), COMPONENT.as_bytes());
            let expected = digest.as_str().replace(':', "%3A");
            assert_eq!(put.parameter("digest"), Some(expected.as_str()));
            // Where the bytes come from, and who brings them, is kept with them.
            assert_eq!(put.parameter("source"), Some("file%3Aplugins%2Fzones.wasm"));
            assert!(put.parameter("actor").unwrap().ends_with("%2C+as+ada"), "{}", put.query);
        }
        let apply: Vec<&Seen> = seen.iter().filter(|seen| seen.method == "POST").collect();
        assert!(apply.len() == 1 && apply[0].path == "/api/v1/apply", "all in one request");
        let sent = apply[0].json();
        assert_eq!(sent["documents"][0]["uploads"], json!({"zones": digest}));
        assert_eq!(sent["documents"][0]["document"], PLAYBOOK);
        assert_eq!(sent["documents"][1]["uploads"], json!({}));
    }

    let server = Server::start(move |seen| applied(seen, &digest, (true, None)));
    let args = ["apply", "--dry-run", "-o", "json", "-f", &file];
    let (code, out, err) = replictl(&server.url, &args).await;
    assert_eq!(code, 0, "{err}");
    let shown: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(shown[2]["change"], "valid", "{out}");
    let seen = server.seen();
    let posts: Vec<&Seen> = seen.iter().filter(|seen| seen.method == "POST").collect();
    assert!(posts.len() == 1 && posts[0].query == "dry_run=true");
}

/// An answer that says which documents are not valid: number of the document, code, path and line.
fn invalid(found: &[(u32, &str, &str, u32)]) -> Response {
    let documents = found.iter().map(|(document, code, path, line)| {
        let found = json!({"code": code, "path": path, "line": line, "column": 13,
            "message": format!("{code} here"), "found": null, "expected": null});
        json!({"document": document, "problems": [found]})
    });
    let body = json!({"type": "about:blank", "title": "x", "status": 422,
        "detail": "problems; nothing was applied", "code": "invalid-document",
        "documents": documents.collect::<Vec<_>>()});
    (StatusCode::UNPROCESSABLE_ENTITY, axum::Json(body)).into_response()
}

#[tokio::test]
async fn a_refused_upload_does_not_hide_the_problems_of_the_rest() {
    let digest = Digest::of(COMPONENT.as_bytes());
    let server = Server::start(move |seen| match (seen.method.as_str(), seen.path.as_str()) {
        ("PUT", _) => problem(422, "no-component", "this is no component"),
        ("POST", "/api/v1/apply") => invalid(&[
            (0, "plugin-not-uploaded", "/spec/plugins/zones/source", 6),
            (1, "duplicate", "/spec/agents/0/id", 6),
        ]),
        _ => applied(seen, &digest, (false, None)),
    });
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("plugins")).unwrap();
    write(folder.path(), "plugins/zones.wasm", COMPONENT);
    let file = write(folder.path(), "all.yaml", &format!("{PLAYBOOK}---\n{CLUSTER}"));
    let (code, out, err) = replictl(&server.url, &["apply", "-f", &file]).await;
    assert_eq!((code, out.as_str()), (3, ""), "{err}");
    assert!(
        err.contains("all.yaml:6:22: /spec/plugins/zones/source: this is no component"),
        "{err}"
    );
    assert!(!err.contains("plugin-not-uploaded here"), "it goes without saying: {err}");
    assert!(err.contains("/spec/agents/0/id: duplicate here"), "{err}");
    assert!(err.contains("error: 2 problems in "), "{err}");
    let posts = server.seen().into_iter().filter(|seen| seen.method == "POST");
    assert!(posts.into_iter().all(|seen| seen.query == "dry_run=true"), "nothing is applied");
}

#[tokio::test]
async fn a_refusal_says_that_nothing_was_applied() {
    let server =
        Server::start(|_| problem(409, "conflict", "mongo-us is known; nothing was applied"));
    let folder = tempfile::tempdir().unwrap();
    let eu = write(folder.path(), "eu.yaml", CLUSTER);
    let us = write(folder.path(), "us.yaml", &CLUSTER.replace("mongo-eu", "mongo-us"));
    let (code, out, err) = replictl(&server.url, &["apply", "-f", &eu, "-f", &us]).await;
    assert_eq!((code, out.as_str()), (4, ""), "{err}");
    assert_eq!(err, "error: mongo-us is known; nothing was applied\n");
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn more_documents_than_may_be_applied_at_once_are_refused_before_anything_is_sent() {
    let folder = tempfile::tempdir().unwrap();
    let many = write(folder.path(), "many.yaml", &format!("---\n{CLUSTER}").repeat(60));
    let (code, _, err) = replictl(NOWHERE, &["apply", "-f", &many, "-f", &many]).await;
    assert_eq!(code, 2, "{err}");
    assert!(err.contains("found 120 documents, expected at most 100 at once"), "{err}");
}

#[tokio::test]
async fn all_problems_of_all_files_are_told_at_once_and_before_anything_is_sent() {
    let folder = tempfile::tempdir().unwrap();
    let playbook =
        PLAYBOOK.replace("use: zones", "use: roling").replace("- { name: ok,", "- { naem: ok,");
    let playbook = write(folder.path(), "p.yaml", &playbook);
    let cluster = write(folder.path(), "c.yaml", &CLUSTER.replace("http:", "ftp:"));
    let bytes = folder.path().join("b.yaml");
    std::fs::write(&bytes, b"kind: \xff\n").unwrap();
    let bytes = bytes.to_str().unwrap();
    let missing = folder.path().join("none.yaml");
    let missing = missing.to_str().unwrap();
    for command in ["validate", "apply"] {
        let args = [command, "-f", &playbook, "-f", missing, "-f", &cluster, "-f", bytes];
        let (code, out, err) = replictl(NOWHERE, &args).await;
        assert_eq!((code, out.as_str()), (3, ""), "{err}");
        for expected in [
            "p.yaml:6:22: /spec/plugins/zones/source: failed to read the plugin",
            "p.yaml:9:24: /spec/stages/0/strategy/use: there is no strategy",
            "p.yaml:11:13: /spec/stages/0/steps/0/naem: unknown key",
            "none.yaml: No such file",
            "c.yaml:6:30: /spec/agents/0/address: not a valid address",
            "b.yaml:1:7: the document is not UTF-8",
        ] {
            assert!(err.contains(expected), "{expected}: {err}");
        }
    }
}

#[tokio::test]
async fn what_only_a_server_has_is_left_out_of_the_check_with_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    let playbook = PLAYBOOK.replace("file:plugins/zones.wasm", "store:zones@1.0.0");
    let file = write(folder.path(), "p.yaml", &playbook);
    let (code, out, err) = replictl(NOWHERE, &["validate", "-f", &file]).await;
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("rolling-restart  1.4.0    in part"), "{out}");
    assert!(err.contains("plugin \"zones\" is known only to a server"), "{err}");
    let file = write(folder.path(), "p.yaml", &playbook.replace("use: zones", "use: roling"));
    let (code, _, err) = replictl(NOWHERE, &["validate", "-f", &file]).await;
    assert_eq!(code, 3, "{err}");
    assert!(err.contains("there is no strategy \"roling\""), "{err}");
}

#[tokio::test]
async fn fields_are_explained_without_a_server() {
    let (code, out, err) =
        replictl(NOWHERE, &["explain", "playbook.spec.stages.steps.retry"]).await;
    assert_eq!(code, 0, "{err}");
    assert!(out.starts_with("playbook.spec.stages.steps.retry: a mapping\n"), "{out}");
    assert!(out.contains("  attempts: a whole number, required\n      Attempts in all."), "{out}");
    assert!(out.contains("  initial: a text, 1s when absent\n"), "{out}");

    let args = ["explain", "cluster", "--recursive", "-o", "json"];
    let (_, out, err) = replictl(NOWHERE, &args).await;
    let shown: Value = serde_json::from_str(&out).expect(&err);
    assert_eq!(shown["fields"][3]["fields"][0]["fields"][0]["path"], "cluster.spec.agents.id");

    let (code, _, err) = replictl(NOWHERE, &["explain", "cluster.spec.agent"]).await;
    assert_eq!(code, 4, "{err}");
    assert!(err.contains("did you mean \"agents\"?"), "{err}");

    let (code, out, _) = replictl(NOWHERE, &["explain", "playbook", "--schema"]).await;
    assert_eq!((code, out.as_str()), (0, include_str!("../../schemas/playbook.json")));
    let args = ["explain", "playbook.spec", "--schema"];
    assert_eq!(replictl(NOWHERE, &args).await.0, 2);
}
