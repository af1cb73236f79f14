//! Tests of the limits on waiting, against a server whose answers never come to an end.

use std::time::Duration;

use futures::StreamExt;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::steer::{Asked, submit};
use super::watch::{Patience, observe};
use crate::cli::client::Client;
use crate::cli::feed::{FeedLimits, Update, follow};
use crate::cli::output::{Console, Format};
use crate::cli::progress::Progress;
use crate::cli::sample::{run_view, trouble};
use crate::run::{AgentState, RunStatus, Verb};

const CONSOLE: Console = Console {
    format: Format::Table,
    picked: None,
    colour: false,
    colour_messages: false,
    live: false,
    can_ask: false,
    width: None,
    message_width: None,
};

/// A server that lasts as long as the test's runtime. It answers each request with `answer`, but a request for
/// events with a stream that begins and then stays silent.
async fn serve(answer: Value) -> Client {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            tokio::spawn(serve_one(connection, answer.clone()));
        }
    });
    Client::new(&format!("http://{address}")).unwrap()
}

async fn serve_one(connection: TcpStream, answer: Value) -> std::io::Result<()> {
    let mut connection = BufReader::new(connection);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        connection.read_line(&mut head).await?;
    }
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
    connection.read_exact(&mut body).await?;
    if head.contains("/events ") {
        let begin = "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n: hello\n\n";
        connection.write_all(begin.as_bytes()).await?;
        std::future::pending::<()>().await;
    }
    let answer = answer.to_string();
    let length = answer.len();
    let text =
        format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{answer}");
    connection.write_all(text.as_bytes()).await
}

fn unsettled() -> Value {
    let mut run = run_view(RunStatus::Paused);
    run.counts.insert(AgentState::Running, 1);
    json!(run)
}

#[tokio::test]
async fn a_paused_run_that_does_not_settle_is_left() {
    let client = serve(unsettled()).await;
    let mut run = run_view(RunStatus::Paused);
    run.counts.insert(AgentState::Running, 2);
    let settling = Duration::from_millis(50);
    let patience = Patience { settling, ..Patience::default() };
    observe(&client, &mut run, &mut Progress::new(&CONSOLE), patience).await.unwrap();
    assert_eq!(run.counts[&AgentState::Running], 1, "it was looked at before it was left");
}

#[tokio::test]
async fn a_run_that_can_not_go_on_is_left_with_what_was_found() {
    let mut ill = run_view(RunStatus::Running);
    ill.trouble = Some(trouble(None));
    let client = serve(json!(ill)).await;
    let mut run = run_view(RunStatus::Running);
    let patience = Patience { troubled: Duration::from_millis(50), ..Patience::default() };
    observe(&client, &mut run, &mut Progress::new(&CONSOLE), patience).await.unwrap();
    assert_eq!(run.trouble, ill.trouble, "it got into trouble while it was watched");
}

#[tokio::test]
async fn a_silent_stream_counts_as_lost() {
    let client = serve(unsettled()).await;
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
    let (id, run) = (uuid::Uuid::nil(), run_view(RunStatus::Running).id);
    let waiting = json!({"id": id, "run": run, "command": "pause", "outcome": null});
    let client = serve(waiting).await;
    let view = submit(&client, run, Asked::new(Verb::Pause, None), Duration::from_millis(50))
        .await
        .unwrap();
    assert_eq!(view.outcome, None);
}
