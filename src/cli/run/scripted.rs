//! Limits of waiting, against a server that never comes to an end.

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures::{StreamExt, stream};
use serde_json::json;

use super::steer::submit;
use super::watch::{Patience, observe};
use crate::cli::client::Client;
use crate::cli::feed::{FeedLimits, Update, follow};
use crate::cli::output::{Console, Format};
use crate::cli::progress::Progress;
use crate::cli::sample::run_view;
use crate::run::{AgentState, RunStatus, Verb};

const CONSOLE: Console = Console {
    format: Format::Table,
    colour: false,
    colour_messages: false,
    live: false,
    can_ask: false,
};

/// A server that lasts as long as the test's runtime.
async fn serve(answer: fn(&Method, &str) -> Response) -> Client {
    let app = Router::new().fallback(move |request: Request| async move {
        answer(request.method(), request.uri().path())
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    Client::new(&format!("http://{address}")).unwrap()
}

/// A stream of events that begins and then stays silent.
fn silent() -> Response {
    let first = stream::iter([Ok::<_, std::io::Error>(": hello\n\n")]);
    let body = Body::from_stream(first.chain(stream::pending()));
    ([(header::CONTENT_TYPE, "text/event-stream")], body).into_response()
}

fn never_settled(_: &Method, path: &str) -> Response {
    if path.ends_with("/events") {
        return silent();
    }
    let mut run = run_view(RunStatus::Paused);
    run.counts.insert(AgentState::Running, 1);
    axum::Json(run).into_response()
}

#[tokio::test]
async fn a_paused_run_that_does_not_settle_is_left() {
    let client = serve(never_settled).await;
    let mut run = run_view(RunStatus::Paused);
    run.counts.insert(AgentState::Running, 2);
    let settling = Duration::from_millis(50);
    let patience = Patience { settling, ..Patience::default() };
    observe(&client, &mut run, &mut Progress::new(&CONSOLE), patience).await.unwrap();
    assert_eq!(run.counts[&AgentState::Running], 1, "it was looked at before it was left");
}

#[tokio::test]
async fn a_silent_stream_counts_as_lost() {
    let client = serve(never_settled).await;
    let limits = FeedLimits { silence: Duration::from_millis(50), ..FeedLimits::default() };
    let feed = follow(client, run_view(RunStatus::Running).id, limits);
    let updates: Vec<_> = feed.take(3).collect().await;
    assert!(
        matches!(&updates[..], [
            Ok(Update::Lost { message }),
            Ok(Update::Back),
            Ok(Update::Lost { .. })
        ] if message == "silence for 50ms"),
        "{updates:?}"
    );
}

#[tokio::test]
async fn a_command_that_no_engine_takes_is_not_waited_for_without_end() {
    let client = serve(|_, _| {
        let (id, run) = (uuid::Uuid::nil(), run_view(RunStatus::Running).id);
        let view = json!({"id": id, "run": run, "command": "pause", "outcome": null});
        (StatusCode::ACCEPTED, axum::Json(view)).into_response()
    })
    .await;
    let run = run_view(RunStatus::Running).id;
    let view = submit(&client, run, Verb::Pause, None, Duration::from_millis(50)).await.unwrap();
    assert_eq!(view.outcome, None);
}
