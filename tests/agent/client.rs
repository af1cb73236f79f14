//! The HTTP client against recorded answers, and against servers that misbehave.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse as _;
use axum::routing::{any, get, post};
use axum::serve::ListenerExt as _;
use replibook::agent::{
    ActionPhase, ActionRequest, AgentClient as _, AgentError, AgentHttpConfig, HttpAgents,
    Scheduled,
};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;

use crate::agent::support::{Fixture, ID, client, request};

fn some_action() -> ActionRequest {
    request(ID, "agent.replicante.io/test.loop", json!({"target": 3}))
}

/// A server that gives one answer to everything.
async fn always(status: u16, body: &str) -> Fixture {
    let answer = (StatusCode::from_u16(status).unwrap(), body.to_owned());
    Fixture::serve(Router::new().fallback(any(async move || answer.into_response()))).await
}

#[tokio::test]
async fn the_request_has_the_fields_and_paths_of_the_specification() {
    let router = Router::new().route(
        "/base/api/unstable/action",
        post(async |body: axum::Json<Value>| {
            assert_eq!(
                body.0,
                json!({
                    "kind": "agent.replicante.io/test.loop", "args": {"target": 3}, "id": ID,
                    "created_time": "2026-11-22T09:00:00.000Z", "metadata": {},
                })
            );
            axum::Json(json!({ "id": ID }))
        }),
    );
    let agent = Fixture::serve(router).await;
    // A base URL may have a path, with or without a slash at its end.
    for address in [format!("{}/base", agent.address), format!("{}/base/", agent.address)] {
        let scheduled = client().schedule(&address, &some_action()).await.unwrap();
        assert_eq!(scheduled, Scheduled::Accepted);
    }
}

#[tokio::test]
async fn recorded_answers_to_a_post_are_told_apart() {
    let used = r#"{"error":true,"error_msg":"The action ID is already used by another action"}"#;
    let agent = always(409, used).await;
    let scheduled = client().schedule(&agent.address, &some_action()).await;
    assert_eq!(scheduled.unwrap(), Scheduled::Known);
    for (body, expected) in [
        (
            r#"{"error":true,"error_msg":"metadata for action nope/x not found"}"#,
            "metadata for action nope/x not found",
        ),
        (
            "Json deserialize error: EOF while parsing an object at line 1 column 1",
            "Json deserialize error: EOF while parsing an object at line 1 column 1",
        ),
    ] {
        let agent = always(400, body).await;
        let error = client().schedule(&agent.address, &some_action()).await.unwrap_err();
        let AgentError::Refused { status: 400, message, .. } = error else { panic!("{error}") };
        assert_eq!(message, expected);
    }
}

#[tokio::test]
async fn recorded_looks_are_read() {
    let body = |state: &str| {
        format!(
            r#"{{"args":{{"target":3}},"created_time":"2026-11-22T09:00:00Z","finished_time":null,"id":"{ID}","kind":"agent.replicante.io/test.loop","metadata":{{"run":"r1"}},"scheduled_time":"2026-11-22T08:59:27.403646945Z","state":{state}}}"#
        )
    };
    for (state, phase) in [
        (r#"{"error":null,"payload":null,"phase":"NEW"}"#, ActionPhase::New),
        (
            r#"{"error":null,"payload":{"count":2,"target":3},"phase":"RUNNING"}"#,
            ActionPhase::Running,
        ),
        (r#"{"error":null,"payload":{"count":3,"target":3},"phase":"DONE"}"#, ActionPhase::Done),
    ] {
        let agent = always(200, &body(state)).await;
        let status = client().action(&agent.address, ID).await.unwrap().unwrap();
        assert_eq!(status.phase, phase);
    }
    let agent = always(404, "").await;
    assert_eq!(client().action(&agent.address, ID).await.unwrap(), None);
}

#[tokio::test]
async fn answers_against_the_specification_are_told_apart() {
    for status in [500, 502, 503, 429, 408] {
        let agent = always(status, "later").await;
        let error = client().node(&agent.address).await.unwrap_err();
        assert!(matches!(error, AgentError::Broken { .. }) && error.retryable(), "{error}");
    }
    for status in [400, 401, 403, 404] {
        let agent = always(status, "no").await;
        let error = client().node(&agent.address).await.unwrap_err();
        assert!(matches!(error, AgentError::Refused { .. }) && !error.retryable(), "{error}");
    }
    for (status, body) in
        [(200, "<html>"), (200, "{}"), (200, ""), (204, ""), (303, ""), (304, ""), (300, "")]
    {
        let agent = always(status, body).await;
        let error = client().node(&agent.address).await.unwrap_err();
        assert!(matches!(error, AgentError::Malformed { .. }), "{error}");
        let error = client().schedule(&agent.address, &some_action()).await.unwrap_err();
        assert!(error.may_have_taken_effect(), "{error}");
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let router = Router::new()
        .route(
            "/api/unstable/info/node",
            get(async || (StatusCode::FOUND, [(header::LOCATION, "/elsewhere")])),
        )
        .route("/elsewhere", get(async || r#"{"node_status":"HEALTHY"}"#));
    let agent = Fixture::serve(router).await;
    let error = client().node(&agent.address).await.unwrap_err();
    let AgentError::Refused { status: 302, message, .. } = error else { panic!("{error}") };
    assert_eq!(message, "redirects to /elsewhere, which is not followed");
}

#[tokio::test]
async fn an_answer_over_the_limit_is_not_read() {
    let node =
        |padding: usize| format!(r#"{{"node_status":"HEALTHY","x":"{}"}}"#, "x".repeat(padding));
    let agent = always(200, &node(60_000)).await;
    assert!(client().node(&agent.address).await.is_ok());
    let agent = always(200, &node(256 * 1024)).await;
    let error = client().node(&agent.address).await.unwrap_err();
    assert!(error.to_string().contains("found more than 262144 bytes"), "{error}");
    let agent = always(200, &node(4 * 1024 * 1024)).await;
    let error = client().action(&agent.address, ID).await.unwrap_err();
    assert!(error.to_string().contains("found more than 4194304 bytes"), "{error}");
    let error = client().schedule(&agent.address, &some_action()).await.unwrap_err();
    assert!(error.to_string().contains("found more than 262144 bytes"), "{error}");
    assert!(error.may_have_taken_effect() && !error.retryable(), "{error}");
    // The status of a refusal counts, however long its body is.
    for (status, retryable) in [(500, true), (403, false)] {
        let agent = always(status, &"no".repeat(3 * 1024 * 1024)).await;
        let error = client().node(&agent.address).await.unwrap_err();
        assert_eq!(error.retryable(), retryable);
        assert!(matches!(error, AgentError::Broken { .. } | AgentError::Refused { .. }), "{error}");
        assert!(error.to_string().len() < 9_000);
    }
    let agent = always(404, &"x".repeat(8 * 1024 * 1024)).await;
    assert_eq!(client().action(&agent.address, ID).await.unwrap(), None);
    let agent = always(409, &"x".repeat(8 * 1024 * 1024)).await;
    let scheduled = client().schedule(&agent.address, &some_action()).await;
    assert_eq!(scheduled.unwrap(), Scheduled::Known);
}

#[tokio::test]
async fn nobody_there_means_not_sent() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    for address in [address.as_str(), "not a url", "https://127.0.0.1:1"] {
        let error = client().schedule(address, &some_action()).await.unwrap_err();
        assert!(matches!(error, AgentError::Connect { .. }), "{error}");
        assert!(error.retryable() && !error.may_have_taken_effect());
    }
}

#[tokio::test]
async fn a_connection_that_ends_or_hangs_means_perhaps_sent() {
    // A server that closes the connection after the request.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let accepting = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut byte = [0];
        stream.read_exact(&mut byte).await.unwrap();
    };
    let (agents, action) = (client(), some_action());
    let (error, ()) = tokio::join!(agents.schedule(&address, &action), accepting);
    let error = error.unwrap_err();
    assert!(matches!(error, AgentError::NoAnswer { .. }), "{error}");
    // A server that never answers.
    let request_timeout = Duration::from_millis(200);
    let config = AgentHttpConfig { request_timeout, ..AgentHttpConfig::default() };
    let error = HttpAgents::new(&config).unwrap().schedule(&address, &some_action()).await;
    let error = error.unwrap_err();
    assert!(matches!(error, AgentError::NoAnswer { .. }), "{error}");
    assert!(error.retryable() && error.may_have_taken_effect());
}

#[tokio::test]
async fn connections_are_used_again() {
    let connections = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&connections);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let listener = listener.tap_io(move |_| {
        count.fetch_add(1, Ordering::SeqCst);
    });
    let router = Router::new()
        .route("/api/unstable/info/node", get(async || r#"{"node_status":"HEALTHY"}"#));
    let server = tokio_util::task::AbortOnDropHandle::new(tokio::spawn(async move {
        axum::serve(listener, router).await
    }));
    let agents = client();
    for _ in 0..20 {
        agents.node(&address).await.unwrap();
    }
    // A refusal (404) leaves the connection usable too.
    assert_eq!(agents.action(&address, ID).await.unwrap(), None);
    agents.node(&address).await.unwrap();
    assert_eq!(connections.load(Ordering::SeqCst), 1);
    drop(server);
}
