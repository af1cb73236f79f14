//! What commands of the reference agent have written so far, through the client of engines.

use std::fs;

use axum::Router;
use axum::http::StatusCode;
use axum::response::IntoResponse as _;
use axum::routing::get;
use bytes::Bytes;
use replibook::agent::{
    AgentClient as _, AgentError, OUTPUT_BYTES, OutputPiece, OutputQuery, OutputStream,
};
use serde_json::json;
use uuid::Uuid;

use crate::agent::support::{DEADLINE, Fixture, ID, agent, client, raw, request, until_final};
use crate::wait;

const KIND: &str = "test.example.com/do";

fn config(script: &str, folder: &std::path::Path) -> String {
    let command = json!(["sh", "-c", script, "sh", folder.join("go")]);
    format!("{{ actions: {{ {KIND}: {{ command: {command} }} }} }}")
}

fn of(stream: OutputStream, from: u64) -> OutputQuery {
    OutputQuery { from, stream }
}

const OUT: OutputStream = OutputStream::Stdout;

/// Waits until the output has at least so many bytes.
async fn until_there(address: &str, bytes: u64) -> OutputPiece {
    wait::until("the output", DEADLINE, async || {
        let piece = client().output(address, ID, of(OUT, 0)).await.unwrap()?;
        (piece.next >= bytes).then_some(piece)
    })
    .await
}

#[tokio::test]
async fn it_is_there_before_the_command_ends_and_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let script = r#"printf 'begun \377\n'; echo no >&2; while [ ! -e "$1" ]; do sleep 0.01; done
                    echo through; exit 7"#;
    let config = config(script, folder.path());
    let (first, address) = agent(folder.path(), &config).await;
    client().schedule(&address, &request(ID, KIND, json!({}))).await.unwrap();
    let piece = until_there(&address, 8).await;
    let begun = Bytes::from_static(b"begun \xFF\n");
    assert_eq!(piece, OutputPiece { from: 0, next: 8, ended: false, exit: None, bytes: begun });
    let nothing = client().output(&address, ID, of(OUT, 8)).await.unwrap().unwrap();
    assert!(nothing.bytes.is_empty() && nothing.next == 8 && !nothing.ended);
    fs::write(folder.path().join("go"), "").unwrap();
    until_final(&address, ID).await;
    let piece = client().output(&address, ID, of(OUT, 8)).await.unwrap().unwrap();
    assert_eq!((&piece.bytes[..], piece.ended, piece.exit), (&b"through\n"[..], true, Some(7)));
    first.stop().await.unwrap();
    let (second, address) = agent(folder.path(), &config).await;
    assert_eq!(client().output(&address, ID, of(OUT, 8)).await.unwrap().unwrap(), piece);
    let errors = client().output(&address, ID, of(OutputStream::Stderr, 0)).await.unwrap().unwrap();
    assert_eq!((&errors.bytes[..], errors.ended, errors.exit), (&b"no\n"[..], true, Some(7)));
    let all = client().output(&address, ID, of(OUT, 0)).await.unwrap().unwrap();
    assert_eq!(all.bytes.len(), 16);
    second.stop().await.unwrap();
}

#[tokio::test]
async fn a_piece_is_bounded_and_the_oldest_output_goes() {
    let folder = tempfile::tempdir().unwrap();
    let script = "head -c 1100000 /dev/zero";
    let (agent, address) = agent(folder.path(), &config(script, folder.path())).await;
    client().schedule(&address, &request(ID, KIND, json!({}))).await.unwrap();
    until_final(&address, ID).await;
    let piece = client().output(&address, ID, of(OUT, 0)).await.unwrap().unwrap();
    assert_eq!((piece.from, piece.bytes.len()), (1_100_000 - 1_048_576, OUTPUT_BYTES));
    let last = client().output(&address, ID, of(OUT, 1_099_999)).await.unwrap().unwrap();
    assert_eq!((last.bytes.len(), last.next, last.ended), (1, 1_100_000, true));
    agent.stop().await.unwrap();
}

#[tokio::test]
async fn secrets_are_never_shown_while_the_command_runs_or_later() {
    let folder = tempfile::tempdir().unwrap();
    let secret = "correct horse battery";
    let script = r#"IFS= read -r args; printf '%s|' "$args"; printf 'correct'; sleep 0.05; printf ' horse battery'
                    head -c 2000 /dev/zero | tr '\000' x; while [ ! -e "$1" ]; do sleep 0.01; done; echo; echo correct horse battery"#;
    let (agent, address) = agent(folder.path(), &config(script, folder.path())).await;
    let places = json!([{"at": "/password", "from": 0, "to": secret.len()}]).to_string();
    let body = json!({
        "kind": KIND, "id": ID, "args": {"password": secret},
        "metadata": {"replibook.secrets": places}, "created_time": "2026-11-22T09:00:00Z",
    });
    assert_eq!(raw(&address, "POST", "/api/unstable/action", &body.to_string()).await.status, 200);
    // What may be the beginning of a secret is held back; the rest is there.
    let piece = until_there(&address, 1_000).await;
    let text = String::from_utf8(piece.bytes.to_vec()).unwrap();
    assert!(text.starts_with("{\"password\":\"[secret]\"}|[secret]xxx"), "{text}");
    fs::write(folder.path().join("go"), "").unwrap();
    until_final(&address, ID).await;
    let piece = client().output(&address, ID, of(OUT, 0)).await.unwrap().unwrap();
    let text = String::from_utf8(piece.bytes.to_vec()).unwrap();
    assert!(text.ends_with("x\n[secret]\n") && !text.contains("horse"), "{text}");
    agent.stop().await.unwrap();
}

#[tokio::test]
async fn what_there_is_nothing_of_is_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let (agent, address) = agent(folder.path(), "{}").await;
    assert_eq!(client().output(&address, ID, of(OUT, 0)).await.unwrap(), None, "no such action");
    let success = request(ID, "agent.replicante.io/test.success", json!({}));
    client().schedule(&address, &success).await.unwrap();
    until_final(&address, ID).await;
    let piece = client().output(&address, ID, of(OUT, 5)).await.unwrap().unwrap();
    assert!(piece.bytes.is_empty() && piece.ended && piece.next == 5, "it writes nothing");
    for (path, status) in [
        (format!("action/{ID}/output?from=x"), 400),
        (format!("action/{ID}/output?from=-1"), 400),
        (format!("action/{ID}/output?stream=both"), 400),
        (format!("action/{ID}/output?from=0&stream=stderr"), 200),
        (format!("action/{}/output", Uuid::from_u128(7)), 404),
        ("action/x/output".to_owned(), 404),
    ] {
        let answer = raw(&address, "GET", &format!("/api/unstable/{path}"), "").await;
        assert_eq!(answer.status, status, "{path}: {answer:?}");
    }
    agent.stop().await.unwrap();
}

/// An agent that answers the call in this way.
async fn answering(status: u16, headers: &[(&'static str, &'static str)], body: usize) -> Fixture {
    let headers = headers.to_vec();
    let answer = move || {
        let mut response =
            (StatusCode::from_u16(status).unwrap(), vec![b'x'; body]).into_response();
        for (name, value) in headers {
            response.headers_mut().insert(name, value.parse().unwrap());
        }
        async { response }
    };
    Fixture::serve(Router::new().route("/api/unstable/action/{id}/output", get(answer))).await
}

#[tokio::test]
async fn answers_of_agents_without_it_and_of_broken_ones() {
    for status in [404, 405, 410, 501] {
        let agent = answering(status, &[], 3).await;
        let found = client().output(&agent.address, ID, of(OUT, 0)).await;
        assert_eq!(found.unwrap(), None, "{status}");
    }
    let broken = answering(500, &[], 3).await;
    let error = client().output(&broken.address, ID, of(OUT, 0)).await.unwrap_err();
    assert!(matches!(error, AgentError::Broken { status: 500, .. }), "{error}");
    let good = [("output-next", "3"), ("output-ended", "false")];
    let agent = answering(200, &good, 3).await;
    let piece = client().output(&agent.address, ID, of(OUT, 0)).await.unwrap().unwrap();
    assert_eq!(&piece.bytes[..], b"xxx");
    let none: &[(&'static str, &'static str)] = &[];
    for (headers, body) in [
        (none, 3),
        (&[("output-next", "3")], 3),
        (&[("output-next", "0"), ("output-ended", "false")], 3),
        (&good, OUTPUT_BYTES + 1),
    ] {
        let agent = answering(200, headers, body).await;
        let error = client().output(&agent.address, ID, of(OUT, 0)).await.unwrap_err();
        assert!(matches!(error, AgentError::Malformed { .. }), "{error}");
    }
}
