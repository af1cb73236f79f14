//! The door: every kind of answer over a socket that agents, and proxies before them, may give.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use replibook::agent::door::Pace;
use replibook::agent::door::bounds::{ACTION_BYTES, NODE};
use replibook::agent::platform::{HttpPlatforms, Platform as _, PlatformError, PlatformHttpConfig};
use replibook::agent::{
    ActionPhase, AgentClient as _, AgentError, AgentHttpConfig, HttpAgents, Scheduled,
};
use replibook::clock::{Clock as _, SystemClock};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::AbortOnDropHandle;

use crate::agent::support::{ID, client, request};

/// What a server sends, piece by piece, and how long it waits after each piece.
type Pieces = Vec<(Vec<u8>, Duration)>;

/// A server that gives the same answer to every request.
struct Raw {
    address: String,
    /// How many connections were made.
    asked: Arc<AtomicUsize>,
    _server: AbortOnDropHandle<()>,
}

impl Raw {
    async fn serve(pieces: Pieces) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&asked);
        let server = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                counted.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(answer(stream, pieces.clone()));
            }
        });
        Self { address, asked, _server: AbortOnDropHandle::new(server) }
    }

    /// A server that sends everything at once and closes the connection.
    async fn sends(bytes: impl Into<Vec<u8>>) -> Self {
        Self::serve(vec![(bytes.into(), Duration::ZERO)]).await
    }

    /// A server that answers 200 with this body.
    async fn says(body: impl AsRef<[u8]>) -> Self {
        Self::sends(with_head("200 OK", "", body.as_ref())).await
    }
}

async fn answer(mut stream: TcpStream, pieces: Pieces) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        if stream.read_buf(&mut head).await? == 0 {
            return Ok(());
        }
    }
    for (piece, wait) in pieces {
        stream.write_all(&piece).await?;
        SystemClock.sleep(wait).await;
    }
    // Reads the rest of the request: otherwise the connection is reset, and the answer is lost.
    stream.shutdown().await?;
    while stream.read_buf(&mut head).await? > 0 {
        head.clear();
    }
    Ok(())
}

fn with_head(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let close = "connection: close\r\n";
    let head = format!("HTTP/1.1 {status}\r\n{close}content-length: {length}\r\n{headers}\r\n");
    [head.as_bytes(), body].concat()
}

fn action(id: &str, state: &str) -> String {
    format!(r#"{{"id":"{id}","state":{state}}}"#)
}

fn node(more: &str) -> String {
    format!(r#"{{"node_status":"HEALTHY","node_id":"node-1"{more}}}"#)
}

/// Bodies that are no answer of the agent API to any request, and what errors say about them.
fn unreadable() -> Vec<(Vec<u8>, &'static str)> {
    let text = |text: &str| text.as_bytes().to_vec();
    let utf16: Vec<u8> = node("").encode_utf16().flat_map(u16::to_le_bytes).collect();
    vec![
        (text(""), "found nothing, expected a JSON object"),
        (text("<html>it works</html>"), "found \"<html>it works</html>\", expected a JSON object"),
        (text("\u{feff}{}"), "found a byte order mark"),
        (utf16, "expected a JSON object"),
        (b"{\"id\": \"\xff\xfe\"}".to_vec(), "not UTF-8 at 8"),
        (text(r#"{"id": "\ud800", "node_status": "\ud800"}"#), "end of hex escape"),
        (text(r#"{"id": NaN, "node_status": NaN}"#), "expected a JSON object"),
        (text(r#"{"id": 1e999, "node_status": 1e999}"#), "number out of range"),
        (text(r#"["HEALTHY"]"#), "expected a JSON object"),
        (text("{} {}"), "trailing characters"),
        (text("{"), "EOF while parsing"),
        (text("\"\\u0000\""), "expected a JSON object"),
        (text(&"[".repeat(200_000)), "recursion limit exceeded"),
    ]
}

fn message(error: &AgentError) -> &str {
    let AgentError::Malformed { message, .. } = error else {
        panic!("expected something malformed, found {error:?}")
    };
    message
}

#[tokio::test]
async fn what_can_not_be_read_is_malformed_whatever_was_asked() {
    let agents = client();
    for (body, told) in unreadable() {
        let agent = Raw::says(&body).await;
        let address = &agent.address;
        let errors = [
            agents.node(address).await.unwrap_err(),
            agents.action(address, ID).await.unwrap_err(),
            agents.schedule(address, &request(ID, "k", json!({}))).await.unwrap_err(),
        ];
        for error in errors {
            let shown = String::from_utf8_lossy(&body[..body.len().min(60)]).into_owned();
            assert!(!error.retryable() && error.may_have_taken_effect(), "{shown}: {error}");
            let recursion = told.starts_with("recursion") && message(&error).contains("EOF");
            assert!(message(&error).contains(told) || recursion, "{shown}: {error}");
            assert!(message(&error).len() < 1_000, "{shown}: {error}");
        }
    }
}

#[tokio::test]
async fn what_speaks_no_http_is_malformed() {
    let agents = client();
    let many = "x: y\r\n".repeat(200_000);
    for (bytes, told) in [
        (b"220 mail.example.com ESMTP\r\n".to_vec(), "found something that is not HTTP"),
        (b"\x15\x03\x03\x00\x02\x02\x50".to_vec(), "found something that is not HTTP"),
        (b"HTTP/1.1 ok\r\n\r\n".to_vec(), "found something that is not HTTP"),
        (format!("HTTP/1.1 200 OK\r\n{many}\r\n").into_bytes(), "found something that is not HTTP"),
        (
            format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "y".repeat(2_000_000)).into(),
            "found something that is not HTTP",
        ),
        (
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n".to_vec(),
            "found something that is not HTTP",
        ),
        (
            with_head("200 OK", "content-encoding: gzip\r\n", b"\x1f\x8b\x08"),
            "the encoding \"gzip\"",
        ),
        (with_head("204 No Content", "", b""), "found nothing"),
    ] {
        let agent = Raw::sends(bytes.clone()).await;
        let error = agents.node(&agent.address).await.unwrap_err();
        assert!(message(&error).contains(told), "{error}");
    }
    // If a connection ends in the middle of an answer, nothing more is said than that.
    for bytes in ["", "HTTP/1.1 20", "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n{}"] {
        let agent = Raw::sends(bytes).await;
        let error = agents.node(&agent.address).await.unwrap_err();
        assert!(matches!(error, AgentError::NoAnswer { .. }), "{bytes:?}: {error}");
    }
}

#[tokio::test]
async fn an_answer_may_come_after_interim_ones_and_be_of_any_type() {
    let body = node("");
    let head = "HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n";
    let answer = with_head("200 OK", "content-type: text/html\r\n", body.as_bytes());
    let agent = Raw::sends([head.as_bytes(), &answer].concat()).await;
    assert_eq!(client().node(&agent.address).await.unwrap().status, "HEALTHY");
    let accepted = with_head("202 Accepted", "", action(&ID.to_string(), "{}").as_bytes());
    let agent = Raw::sends(accepted).await;
    let scheduled = client().schedule(&agent.address, &request(ID, "k", json!({}))).await;
    assert_eq!(scheduled.unwrap(), Scheduled::Accepted);
    let upper = ID.to_string().to_uppercase();
    let agent = Raw::says(action(&upper, r#"{"phase":"DONE"}"#)).await;
    let status = client().action(&agent.address, ID).await.unwrap().unwrap();
    assert_eq!(status.phase, ActionPhase::Done);
}

#[tokio::test]
async fn a_refusal_is_told_with_its_status_and_what_is_known_of_it() {
    for (status, headers, body, told) in [
        ("401 Unauthorized", "", "", "answered 401: (no message)"),
        ("403 Forbidden", "", "<h1>no</h1>", "answered 403: <h1>no</h1>"),
        ("404 Not Found", "", "", "answered 404: (no message) (is the path in the address right?)"),
        (
            "308 Permanent Redirect",
            "location: https://elsewhere/\r\n",
            "",
            "answered 308: redirects to https://elsewhere/, which is not followed",
        ),
        (
            "400 Bad Request",
            "",
            r#"{"error_msg":"a","error_cause":"b","error_trail":["b","c"],"error_backtrace":"x"}"#,
            "answered 400: a: b: c",
        ),
        (
            "400 Bad Request",
            "",
            r#"{"error":"a","layers":["b"],"trace":"x"}"#,
            "answered 400: a: b",
        ),
        ("403 Forbidden", "", "\u{1b}[2Jno", "answered 403: \u{fffd}[2Jno"),
    ] {
        let agent = Raw::sends(with_head(status, headers, body.as_bytes())).await;
        let error = client().schedule(&agent.address, &request(ID, "k", json!({}))).await;
        let error = error.unwrap_err();
        assert!(matches!(error, AgentError::Refused { .. }), "{error}");
        assert!(!error.may_have_taken_effect() && !error.retryable(), "{error}");
        assert_eq!(error.to_string(), format!("{} {told}", agent.address));
    }
}

/// A pace with an idle time of one second instead of 15.
fn pace(rate: u32) -> Pace {
    Pace { idle: Duration::from_secs(1), rate, turn: Duration::from_secs(30) }
}

/// An answer that is sent in pieces, with a wait (in milliseconds) after each.
fn in_pieces(body: &str, pieces: usize, wait: u64) -> Pieces {
    let answer = with_head("200 OK", "", body.as_bytes());
    let size = answer.len().div_ceil(pieces);
    answer.chunks(size).map(|piece| (piece.to_vec(), Duration::from_millis(wait))).collect()
}

#[tokio::test]
async fn an_answer_that_comes_slowly_and_steadily_arrives() {
    // The whole answer takes longer than a request may take until its answer begins, and longer than one
    // piece may take.
    let (request_timeout, pace) = (Duration::from_secs(1), pace(4_000));
    let config = AgentHttpConfig { request_timeout, pace, ..AgentHttpConfig::default() };
    let body = node(&format!(r#","x":"{}""#, "x".repeat(20_000)));
    let agent = Raw::serve(in_pieces(&body, 8, 300)).await;
    let agents = HttpAgents::new(&config).unwrap();
    assert_eq!(agents.node(&agent.address).await.unwrap().status, "HEALTHY");
    let clusters =
        json!({"clusters": [{"cluster_id": "eu", "nodes": []}], "x": "x".repeat(20_000)});
    let platform = Raw::serve(in_pieces(&clusters.to_string(), 8, 300)).await;
    let config = PlatformHttpConfig { request_timeout, pace, ..PlatformHttpConfig::default() };
    let platforms = HttpPlatforms::new(config).unwrap();
    assert_eq!(platforms.discover(&platform.address, "eu").await.unwrap(), Some(vec![]));
}

#[tokio::test]
async fn slow_large_answers_give_way_to_those_that_wait_and_are_asked_for_again() {
    let pace = Pace { turn: Duration::from_millis(100), ..pace(1) };
    let agents = HttpAgents::new(&AgentHttpConfig { pace, ..AgentHttpConfig::default() }).unwrap();
    // These answers announce no length, so each may become as large as any, and together they fill the room.
    let head = b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n";
    let mut drips: Pieces = vec![([&head[..], &[b' '; 40_000]].concat(), Duration::ZERO)];
    drips.extend((0..5_000).map(|_| (vec![b' '], Duration::from_millis(50))));
    let slow = Raw::serve(drips).await;
    let mut asks = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let (agents, address) = (agents.clone(), slow.address.clone());
        asks.spawn(async move { agents.action(&address, ID).await.map(drop) });
    }
    let body = node(&format!(r#","x":"{}""#, "x".repeat(60_000)));
    let quick = Raw::says(&body).await;
    while slow.asked.load(Ordering::Relaxed) <= 16 {
        assert_eq!(agents.node(&quick.address).await.unwrap().status, "HEALTHY");
        assert!(asks.try_join_next().is_none(), "it is asked again, and nobody is told");
    }
}

#[tokio::test]
async fn an_answer_that_only_drips_does_not_hold_for_ever() {
    let config = AgentHttpConfig { pace: pace(25_000), ..AgentHttpConfig::default() };
    let agents = HttpAgents::new(&config).unwrap();
    let begins = with_head("200 OK", "", &[b' '; 60_000]);
    let head = begins[..begins.len() - 60_000].to_vec();
    let mut drips: Pieces = vec![(head, Duration::ZERO)];
    drips.extend((0..60_000).map(|_| (vec![b' '], Duration::from_millis(20))));
    let agent = Raw::serve(drips).await;
    for error in [
        agents.node(&agent.address).await.unwrap_err(),
        agents.action(&agent.address, ID).await.map(drop).unwrap_err(),
    ] {
        assert!(matches!(error, AgentError::NoAnswer { .. }), "{error}");
        assert!(error.to_string().contains("bytes of the answer came in"), "{error}");
    }
    // An answer that stops is given up after the idle time, and one that never begins after the time for its
    // beginning.
    let hour = Duration::from_secs(3_600);
    let agent = Raw::serve(vec![(begins[..30_000].to_vec(), hour)]).await;
    let error = agents.node(&agent.address).await.unwrap_err();
    assert!(error.to_string().contains("bytes of the answer came in"), "{error}");
    let request_timeout = Duration::from_millis(200);
    let config = AgentHttpConfig { request_timeout, ..AgentHttpConfig::default() };
    let agent = Raw::serve(vec![(Vec::new(), hour)]).await;
    let error = HttpAgents::new(&config).unwrap().node(&agent.address).await.unwrap_err();
    assert!(error.to_string().contains("no answer began within 200"), "{error}");
}

#[tokio::test]
async fn an_answer_whose_status_says_all_is_not_waited_for() {
    // A page that would take an hour. It sends more at once than is read of it, or less.
    let page = |status: &str, at_once: usize| {
        let answer = with_head(status, "", &[b'x'; 60_000]);
        let (begins, rest) = answer.split_at(answer.len() - 60_000 + at_once);
        let mut drips: Pieces = vec![(begins.to_vec(), Duration::from_secs(1))];
        drips.extend(rest.iter().map(|byte| (vec![*byte], Duration::from_millis(100))));
        drips
    };
    let config = AgentHttpConfig { pace: pace(1), ..AgentHttpConfig::default() };
    let agents = HttpAgents::new(&config).unwrap();
    for at_once in [10, 40_000] {
        let start = std::time::Instant::now();
        let agent = Raw::serve(page("404 Not Found", at_once)).await;
        assert_eq!(agents.action(&agent.address, ID).await.unwrap(), None);
        let agent = Raw::serve(page("409 Conflict", at_once)).await;
        let known = agents.schedule(&agent.address, &request(ID, "k", json!({}))).await;
        assert_eq!(known.unwrap(), Scheduled::Known);
        let agent = Raw::serve(page("403 Forbidden", at_once)).await;
        let error = agents.node(&agent.address).await.unwrap_err();
        assert!(matches!(error, AgentError::Refused { status: 403, .. }), "{error}");
        assert!(start.elapsed() < Duration::from_secs(30), "{:?}", start.elapsed());
    }
}

#[tokio::test]
async fn more_large_answers_than_fit_at_once_all_arrive() {
    let payload = "x".repeat(600_000);
    let agent =
        Raw::says(action(&ID.to_string(), &format!(r#"{{"phase":"DONE","payload":"{payload}"}}"#)))
            .await;
    let agents = client();
    let asked = (0..60).map(|_| agents.action(&agent.address, ID));
    for status in futures::future::join_all(asked).await {
        assert_eq!(status.unwrap().unwrap().payload, json!(payload));
    }
}

#[tokio::test]
async fn sixty_payloads_of_a_million_zeros_are_left_out() {
    let zeros = format!("[{}0]", "0,".repeat(524_286));
    let body = action(&ID.to_string(), &format!(r#"{{"phase":"DONE","payload":{zeros}}}"#));
    assert!(body.len() < ACTION_BYTES);
    let agent = Raw::says(body).await;
    let agents = client();
    let asked = (0..60).map(|_| agents.action(&agent.address, ID));
    for status in futures::future::join_all(asked).await {
        let status = status.unwrap().unwrap();
        assert_eq!((status.phase, status.payload), (ActionPhase::Done, json!(null).into()));
        assert!(status.unread.unwrap().contains("more than 20000 values"));
    }
}

#[tokio::test]
async fn a_body_over_the_limit_is_not_read_on() {
    let node = node(&format!(r#","x":"{}""#, "x".repeat(NODE.bytes)));
    let agent = Raw::says(&node).await;
    let error = client().node(&agent.address).await.unwrap_err();
    assert!(message(&error).contains("more than 262144 bytes"), "{error}");
    // An answer that announces no length and never ends.
    let piece = format!("{:x}\r\n{}\r\n", 60_000, " ".repeat(60_000));
    let mut pieces: Pieces =
        vec![(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec(), Duration::ZERO)];
    pieces.extend((0..200).map(|_| (piece.clone().into_bytes(), Duration::ZERO)));
    let agent = Raw::serve(pieces).await;
    let error = client().action(&agent.address, ID).await.unwrap_err();
    assert!(message(&error).contains("more than 4194304 bytes"), "{error}");
}

#[tokio::test]
async fn a_platform_is_no_more_trusted_than_an_agent() {
    let platforms = HttpPlatforms::new(PlatformHttpConfig::default()).unwrap();
    for (body, _) in unreadable() {
        let platform = Raw::says(&body).await;
        let error = platforms.discover(&platform.address, "eu").await.unwrap_err();
        assert!(matches!(error, PlatformError::Malformed { .. }), "{error}");
        assert!(error.to_string().len() < 10_000);
    }
    let long = "x".repeat(1_000_000);
    for body in [json!({ "clusters": long }), json!({"clusters": [{"cluster_id": [long]}]})] {
        let platform = Raw::says(body.to_string()).await;
        let error = platforms.discover(&platform.address, "eu").await.unwrap_err();
        assert!(error.to_string().len() < 10_000, "{}", error.to_string().len());
    }
    let node = json!({"node_id": long, "agent_address": long, "node_class": long});
    let body = json!({"clusters": [{"cluster_id": "eu", "nodes": [node]}]});
    let platform = Raw::says(body.to_string()).await;
    let nodes = platforms.discover(&platform.address, "eu").await.unwrap().unwrap();
    let kept =
        nodes[0].node_id.as_ref().unwrap().len() + nodes[0].agent_address.as_ref().unwrap().len();
    assert!(kept < 10_000, "{kept}");
    let platform = Raw::sends("220 mail.example.com ESMTP\r\n").await;
    let error = platforms.discover(&platform.address, "eu").await.unwrap_err();
    assert!(error.to_string().contains("found something that is not HTTP"), "{error}");
}
