//! Contexts, and what proves to a server who asks.

use axum::response::IntoResponse as _;
use serde_json::json;

use super::server::{Server, problem};
use super::{NOWHERE, command, read};

fn empty(_: &super::server::Seen) -> axum::response::Response {
    axum::Json(json!({ "items": [], "next": null })).into_response()
}

/// `replictl` without a server and with the contexts in this folder.
async fn with(
    folder: &std::path::Path,
    args: &[&str],
    variables: &[(&str, &str)],
) -> (i32, String, String) {
    let mut command = command(NOWHERE, args);
    command.env_remove("REPLIBOOK_SERVER").env("REPLIBOOK_CONFIG", folder.join("c/config.yaml"));
    command.envs(variables.iter().copied());
    read(command.output()).await
}

#[tokio::test]
async fn a_token_goes_to_the_server_of_its_context_and_to_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let (own, other) = (Server::start(empty), Server::start(empty));
    let token = folder.path().join("token");
    std::fs::write(&token, "rpb_of-file\n").unwrap();
    let set =
        ["--server", &own.url, "--token-file", token.to_str().unwrap(), "context", "set", "own"];
    let (code, out, err) = with(folder.path(), &set, &[]).await;
    assert_eq!((code, out.as_str()), (0, ""), "{err}");
    let list = &["get", "clusters"];
    assert_eq!(with(folder.path(), list, &[]).await.0, 0);
    assert_eq!(own.seen()[0].header("authorization"), "Bearer rpb_of-file");
    let elsewhere = ["--server", &other.url, "get", "clusters"];
    assert_eq!(with(folder.path(), &elsewhere, &[]).await.0, 0);
    assert_eq!(other.seen()[0].header("authorization"), "");
    let variable = [("REPLIBOOK_TOKEN", "rpb_of-variable")];
    assert_eq!(with(folder.path(), &elsewhere, &variable).await.0, 0);
    assert_eq!(other.seen()[1].header("authorization"), "Bearer rpb_of-variable");
    let cases: [(&[&str], i32, &str); 6] = [
        (&["context", "use", "nothing"], 4, "there is no context \"nothing\"; there is own"),
        (&["--context", "nothing", "get", "clusters"], 4, "expected one of own"),
        (&["context", "set", "Own"], 2, "expected lowercase letters"),
        (&["context", "set", "new"], 2, "context new is new: expected --server URL"),
        (
            &[
                "--server",
                "http://192.0.2.1",
                "--token-file",
                token.to_str().unwrap(),
                "get",
                "clusters",
            ],
            2,
            "expected https",
        ),
        (
            &["--token-file", "/nowhere", "get", "clusters"],
            3,
            "failed to read the token in /nowhere",
        ),
    ];
    for (args, code, says) in cases {
        let (found, out, err) = with(folder.path(), args, &[]).await;
        assert_eq!((found, out.as_str()), (code, ""), "{args:?}: {err}");
        let words = err.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(words.contains(says), "{args:?}: {err}");
    }
    assert_eq!(with(folder.path(), &["context", "delete", "own"], &[]).await.0, 0);
    let (_, out, _) = with(folder.path(), &["context", "list", "-o", "json"], &[]).await;
    assert_eq!(out.trim(), "[]");
}

#[tokio::test]
async fn who_is_not_known_or_may_not_gets_exit_11() {
    for (status, code) in [(401, "not-authenticated"), (403, "not-allowed")] {
        let server = Server::start(move |_| problem(status, code, "no"));
        let (found, _, err) = read(command(&server.url, &["get", "clusters"]).output()).await;
        assert_eq!(found, 11, "{err}");
        assert_eq!(err.contains("hint:"), status == 401, "{err}");
    }
}

#[tokio::test]
async fn what_a_server_points_to_is_not_asked() {
    let other = Server::start(empty);
    let to = other.url.clone();
    let server = Server::start(move |_| axum::response::Redirect::temporary(&to).into_response());
    for args in
        [&["get", "clusters"][..], &["run", "pause", "018f0000-0000-7000-8000-000000000001"]]
    {
        let mut command = command(&server.url, args);
        command.env("REPLIBOOK_TOKEN", "rpb_x");
        let (code, _, err) = read(command.output()).await;
        assert_ne!(code, 0, "{err}");
        let words = err.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(words.contains("which is not followed"), "{err}");
    }
    assert!(!server.seen().is_empty() && other.seen().is_empty());
}
