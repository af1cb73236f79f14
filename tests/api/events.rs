//! Events of a run as a stream.

use futures::StreamExt;
use futures::stream::BoxStream;
use replibook::run::{RunId, RunStatus};
use replibook::store::memory::FaultMoment;
use serde_json::{Value, json};

use std::sync::Arc;

use crate::api::engine::{Engine, id_of};
use crate::api::server::{CLUSTER, DEADLINE, JumpingClock, Server, playbook};

async fn started(server: &Server) -> RunId {
    server.apply_cluster(CLUSTER).await.ok(201);
    server.apply(&playbook("restart", "1.0.0", "")).await.ok(201);
    let body = json!({ "playbook": "restart", "cluster": "eu" });
    id_of(&server.post("/api/v1/runs", body).await.ok(201))
}

/// Reads a stream message by message.
struct Reader {
    chunks: BoxStream<'static, reqwest::Result<bytes::Bytes>>,
    text: String,
}

#[derive(Debug, PartialEq)]
struct Message {
    id: Option<String>,
    event: String,
    data: Value,
}

impl Reader {
    async fn open(server: &Server, run: RunId, last: Option<u64>) -> Self {
        let path = format!("/api/v1/runs/{run}/events");
        let mut request = server.request("GET", &path).header("accept", "text/event-stream");
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { chunks: response.bytes_stream().boxed(), text: String::new() }
    }

    /// The next message; none at the end of the stream.
    async fn next(&mut self) -> Option<Message> {
        loop {
            if let Some((message, rest)) = self.text.split_once("\n\n") {
                let field = |name: &str| {
                    let mut lines = message.lines().filter_map(|line| line.split_once(": "));
                    lines.find(|(key, _)| *key == name).map(|(_, value)| value.to_owned())
                };
                let read = (field("id"), field("event"), field("data"));
                self.text = rest.to_owned();
                // A message without data is a comment that keeps the connection alive.
                let (id, Some(event), Some(data)) = read else { continue };
                return Some(Message { id, event, data: serde_json::from_str(&data).unwrap() });
            }
            let chunk = tokio::time::timeout(DEADLINE, self.chunks.next()).await.unwrap()?;
            self.text.push_str(std::str::from_utf8(&chunk.unwrap()).unwrap());
        }
    }

    /// Takes the next message, which must be the event with this number.
    async fn expect(&mut self, seq: u64) -> Value {
        let message = self.next().await.unwrap();
        assert_eq!(message.id, Some(seq.to_string()));
        assert_eq!(
            (&message.event, &message.data["event"]),
            (&"status".to_owned(), &json!("status"))
        );
        assert_eq!(message.data["seq"], seq);
        message.data
    }
}

#[tokio::test]
async fn a_stream_goes_on_until_the_run_has_ended() {
    let server = Server::start().await;
    let run = started(&server).await;
    let mut reader = Reader::open(&server, run, None).await;
    assert_eq!(reader.expect(1).await["to"], "PENDING");
    let engine = Engine::hold(&server, run).await;
    engine.set_and_tell(RunStatus::Running).await;
    assert_eq!(reader.expect(2).await["to"], "RUNNING");
    // Nobody tells the stream about this event: it looks for itself.
    engine.set(RunStatus::Paused, |_| {}).await;
    reader.expect(3).await;
    engine.set_and_tell(RunStatus::Done).await;
    reader.expect(4).await;
    let end = reader.next().await.unwrap();
    assert_eq!((end.id, end.event.as_str()), (None, "end"));
    assert_eq!(end.data, server.get(&format!("/api/v1/runs/{run}")).await.ok(200));
    assert_eq!(reader.next().await, None);
    server.stop().await;
}

#[tokio::test]
async fn a_stream_is_taken_up_where_it_was_lost() {
    let server = Server::start().await;
    let run = started(&server).await;
    let engine = Engine::hold(&server, run).await;
    // More events than a stream reads at once.
    for number in 0..450 {
        let status = if number % 2 == 0 { RunStatus::Running } else { RunStatus::Paused };
        engine.set(status, |_| {}).await;
    }
    engine.set(RunStatus::Cancelled, |_| {}).await;
    for last in [None, Some(0), Some(1), Some(200), Some(451)] {
        let mut reader = Reader::open(&server, run, last).await;
        for seq in last.unwrap_or(0) + 1..=452 {
            reader.expect(seq).await;
        }
        assert_eq!(reader.next().await.unwrap().event, "end");
        assert_eq!(reader.next().await, None);
    }
    let page = server.get(&format!("/api/v1/runs/{run}/events?after=440&limit=10")).await.ok(200);
    assert_eq!(page["items"][0]["seq"], 441);
    assert_eq!(page["next"], "450");
    server.stop().await;
}

#[tokio::test]
async fn streams_end_when_the_server_stops() {
    let server = Server::start().await;
    let run = started(&server).await;
    let mut reader = Reader::open(&server, run, None).await;
    reader.expect(1).await;
    server.stop().await;
    assert_eq!(reader.next().await, None);
}

#[tokio::test]
async fn a_stream_over_a_store_that_fails_ends_with_a_problem() {
    let server = Server::with_clock(Arc::new(JumpingClock::default())).await;
    let run = started(&server).await;
    let mut reader = Reader::open(&server, run, None).await;
    reader.expect(1).await;
    server.store.faults().fail_calls(FaultMoment::Before);
    let message = reader.next().await.unwrap();
    assert_eq!(
        (message.event.as_str(), &message.data["code"]),
        ("error", &json!("store-unavailable"))
    );
    assert_eq!(reader.next().await, None);
    server.stop().await;
}

#[tokio::test]
async fn a_stream_that_can_not_begin_is_an_ordinary_error() {
    let server = Server::start().await;
    let run = started(&server).await;
    let path = format!("/api/v1/runs/{run}/events");
    let ask = |path: &str, last: &str| {
        let request = server.request("GET", path).header("accept", "text/event-stream");
        crate::api::server::send(request.header("last-event-id", last.to_owned()))
    };
    ask(&path, "x").await.problem(400, "bad-header");
    ask(&format!("{path}?limit=5"), "1").await.problem(400, "bad-parameter");
    let nowhere = format!("/api/v1/runs/{}/events", uuid::Uuid::from_u128(7));
    ask(&nowhere, "1").await.problem(404, "run-not-found");
    server.stop().await;
}
