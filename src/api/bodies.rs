//! Reads the bodies of requests within limits of size, pace and memory, so that no client can fill the memory
//! of the server or hold its places with slow bodies.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequest, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use serde::de::DeserializeOwned;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::error::{ApiError, Code};
use super::limits::{
    BODY_GRACE, BODY_RATE, INLINE_JSON, LARGEST_BODY, MAX_APPLY_BODY, MAX_BODIES, MAX_CLUSTER_BODY,
    MAX_JSON_BODY, MAX_PLAYBOOK_BODY, MAX_SIGNAL_BODY, MAX_STEERING_BODY, SMALL_BODY,
    STEERING_GRACE,
};
use super::params;
use super::state::ApiState;
use super::weigh::client_of;
use super::wire::{
    AbandonRun, ApplyCluster, ApplyDocuments, ApplyPlaybook, DrainEngine, ExecCommand, RetryRun,
    SendSignal, StartImport, StartRun, SubmitCommand,
};
use crate::run::integer_beyond_64_bits;
use crate::web::{Client, Memory, Share, is_json};

/// The memory that all bodies together may take; small ones do not count. It is taken as bytes arrive, and one
/// client gets half of it at most. When all is taken, one body at a time may exceed it: if every body waited
/// for the others, none would end. Cheap to clone.
#[derive(Clone)]
pub(super) struct Budget {
    memory: Memory,
    beyond: Arc<Semaphore>,
    stopping: CancellationToken,
}

impl Budget {
    /// A budget whose bodies are given up when the server stops.
    pub(super) fn new(stopping: &CancellationToken) -> Self {
        Self {
            memory: Memory::new(MAX_BODIES - LARGEST_BODY),
            beyond: Arc::new(Semaphore::new(1)),
            stopping: stopping.clone(),
        }
    }
}

/// A complete body, with its share of the budget.
pub(super) struct Received {
    pub(super) bytes: Bytes,
    _part: Part,
}

/// The share that a body has of its budget.
struct Part {
    share: Share,
    /// The permission to exceed the memory, if this body has it.
    beyond: Option<OwnedSemaphorePermit>,
}

impl Part {
    /// Makes the share large enough for `bytes` bytes, once there is room.
    async fn grow_to(&mut self, bytes: usize, budget: &Budget) {
        if self.beyond.is_some() || self.share.try_grow_to(bytes) {
            return;
        }
        let turn = Arc::clone(&budget.beyond).acquire_owned();
        tokio::select! {
            biased;
            () = self.share.grow_to(bytes) => {}
            turn = turn => self.beyond = turn.ok(),
        }
    }
}

/// A type that is read from the body of a request.
pub(super) trait RequestBody: DeserializeOwned {
    /// The most bytes that the body may have.
    const LIMIT: usize;
}

impl RequestBody for ApplyPlaybook {
    const LIMIT: usize = MAX_PLAYBOOK_BODY;
}

impl RequestBody for ApplyCluster {
    const LIMIT: usize = MAX_CLUSTER_BODY;
}

impl RequestBody for ApplyDocuments {
    const LIMIT: usize = MAX_APPLY_BODY;
}

impl RequestBody for StartRun {
    const LIMIT: usize = MAX_JSON_BODY;
}

impl RequestBody for ExecCommand {
    const LIMIT: usize = MAX_JSON_BODY;
}

impl RequestBody for RetryRun {
    const LIMIT: usize = MAX_STEERING_BODY;
}

impl RequestBody for AbandonRun {
    const LIMIT: usize = MAX_STEERING_BODY;
}

impl RequestBody for DrainEngine {
    const LIMIT: usize = MAX_JSON_BODY;
}

impl RequestBody for StartImport {
    const LIMIT: usize = MAX_JSON_BODY;
}

impl RequestBody for SubmitCommand {
    const LIMIT: usize = MAX_STEERING_BODY;
}

impl RequestBody for SendSignal {
    const LIMIT: usize = MAX_SIGNAL_BODY;
}

/// The value of a body in JSON.
pub(super) struct InJson<T>(pub(super) T);

impl<T: RequestBody + Send + 'static> FromRequest<ApiState> for InJson<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &ApiState) -> Result<Self, ApiError> {
        read_json(request, &state.bodies).await.map(Self)
    }
}

async fn read_json<T: RequestBody + Send + 'static>(
    request: Request,
    budget: &Budget,
) -> Result<T, ApiError> {
    // A web page can send other types to any server without the browser asking first, but not this one.
    check_json(request.headers())?;
    let Received { bytes, _part } = read(request, T::LIMIT, budget).await?;
    match bytes.len() {
        ..=INLINE_JSON => parse(&bytes),
        _ => off_loop(move || parse(&bytes)).await?,
    }
}

fn parse<T: RequestBody>(bytes: &[u8]) -> Result<T, ApiError> {
    let parsed = serde_json::from_slice(bytes).map_err(|error| {
        let detail = format!("failed to read the body as JSON: {error}");
        ApiError::new(Code::BadBody, detail)
    })?;
    // The number was read as another one.
    match std::str::from_utf8(bytes).ok().and_then(integer_beyond_64_bits) {
        Some(number) => {
            let number: String = number.chars().take(SHOWN_DIGITS).collect();
            let detail =
                format!("found the number {number}, expected whole numbers of at most 64 bits");
            Err(ApiError::new(Code::BadBody, detail))
        }
        None => Ok(parsed),
    }
}

/// How many characters of a number that is too large are shown.
const SHOWN_DIGITS: usize = 80;

fn check_json(headers: &HeaderMap) -> Result<(), ApiError> {
    let found = params::header(headers, header::CONTENT_TYPE.as_str())?.unwrap_or("");
    if is_json(found) {
        return Ok(());
    }
    let detail = format!("header `content-type`: found {found:?}, expected \"application/json\"");
    Err(ApiError::new(Code::UnsupportedMediaType, detail))
}

/// Reads the body of a request that steers a run before the request gets a share of anything. Returns the same
/// request, with the complete body.
pub(super) async fn arrive(request: Request, budget: &Budget) -> Result<Request, ApiError> {
    let (head, body) = request.into_parts();
    let paced = Paced { limit: MAX_STEERING_BODY, grace: STEERING_GRACE };
    let Received { bytes, .. } = read_paced(&head, body, paced, budget).await?;
    Ok(Request::from_parts(head, Body::from(bytes)))
}

/// How large a body may be, and how late it may begin.
#[derive(Clone, Copy)]
struct Paced {
    limit: usize,
    grace: Duration,
}

/// Reads a whole body. A body that declares too many bytes is refused before any of it is read, and one that
/// comes too slowly is given up.
pub(super) async fn read(
    request: Request,
    limit: usize,
    budget: &Budget,
) -> Result<Received, ApiError> {
    let (head, body) = request.into_parts();
    read_paced(&head, body, Paced { limit, grace: BODY_GRACE }, budget).await
}

async fn read_paced(
    head: &Parts,
    body: Body,
    paced: Paced,
    budget: &Budget,
) -> Result<Received, ApiError> {
    let declared = params::header(&head.headers, header::CONTENT_LENGTH.as_str())?;
    let declared = declared.and_then(|text| text.parse::<usize>().ok());
    if declared.is_some_and(|declared| declared > paced.limit) {
        return Err(too_large(paced.limit));
    }
    let client = client_of(&head.extensions);
    tokio::select! {
        biased;
        () = budget.stopping.cancelled() => {
            Err(ApiError::new(Code::NotReady, "the server is stopping and did not receive the whole body"))
        }
        received = collect(body, declared.unwrap_or(0), paced, budget, client) => received,
    }
}

async fn collect(
    body: Body,
    declared: usize,
    paced: Paced,
    budget: &Budget,
    client: Client,
) -> Result<Received, ApiError> {
    let mut chunks = body.into_data_stream();
    let mut part = Part { share: budget.memory.of(client).nothing(), beyond: None };
    let mut bytes = BytesMut::with_capacity(declared.min(SMALL_BODY));
    let mut began = Instant::now();
    while let Some(chunk) = timeout_at(due(began, bytes.len(), paced.grace), chunks.next())
        .await
        .map_err(|_| too_slow(bytes.len(), began.elapsed()))?
    {
        let chunk = chunk.map_err(|error| {
            ApiError::new(Code::BadBody, format!("failed to receive the body: {error}"))
        })?;
        let length = bytes.len() + chunk.len();
        if length > paced.limit {
            return Err(too_large(paced.limit));
        }
        if length > SMALL_BODY {
            // The wait for room is not the fault of whoever sends the body.
            let waits = Instant::now();
            part.grow_to(length, budget).await;
            began += waits.elapsed();
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(Received { bytes: bytes.freeze(), _part: part })
}

/// When the next piece of a body must arrive, after `received` bytes of it.
fn due(began: Instant, received: usize, grace: Duration) -> Instant {
    began + grace + Duration::from_secs_f64(received as f64 / f64::from(BODY_RATE))
}

fn too_slow(received: usize, after: Duration) -> ApiError {
    let seconds = after.as_secs();
    let detail = format!(
        "only {received} bytes of the body came in {seconds} s, expected at least {BODY_RATE} a second"
    );
    ApiError::new(Code::BodyTooSlow, detail)
}

fn too_large(limit: usize) -> ApiError {
    ApiError::new(Code::BodyTooLarge, format!("the body is larger than {limit} bytes"))
}

/// Refuses a text that is longer than `limit` bytes.
pub(super) fn check_length(name: &str, text: Option<&str>, limit: usize) -> Result<(), ApiError> {
    match text.map(str::len) {
        Some(length) if length > limit => {
            let detail = format!("`{name}`: found {length} bytes, expected at most {limit}");
            Err(ApiError::new(Code::BadBody, detail))
        }
        Some(_) | None => Ok(()),
    }
}

/// Does work that needs the processor for long on a blocking thread.
pub(super) async fn off_loop<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ApiError> {
    tokio::task::spawn_blocking(work).await.map_err(ApiError::internal)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(content_type: &str, body: impl Into<Body>) -> Request {
        Request::builder().header("content-type", content_type).body(body.into()).unwrap()
    }

    fn budget() -> Budget {
        Budget::new(&CancellationToken::new())
    }

    async fn start(request: Request) -> Result<StartRun, ApiError> {
        read_json(request, &budget()).await
    }

    #[tokio::test]
    async fn a_body_is_json_of_the_expected_shape() {
        let body = r#"{"playbook": "restart", "cluster": "eu"}"#;
        assert_eq!(
            start(request("application/json; charset=utf-8", body)).await.unwrap().cluster,
            "eu"
        );
        let error = start(request("text/plain", body)).await.unwrap_err();
        assert_eq!(error.code, Code::UnsupportedMediaType);
        for (bad, says) in [
            ("", "EOF while parsing"),
            ("{", "EOF while parsing"),
            (r#"{"playbook": "a"}"#, "missing field `cluster`"),
            (r#"{"playbook": "a", "clutser": "eu"}"#, "unknown field `clutser`, expected one of"),
            (r#"{"playbook": 1, "cluster": "eu"}"#, "line 1 column 14"),
            (
                r#"{"playbook": "a", "cluster": "eu", "params": {"n": 1, "n": 2}}"#,
                "found the key \"n\" twice",
            ),
            (
                r#"{"playbook": "a", "cluster": "eu", "params": {"n": 18446744073709551616}}"#,
                "found the number 18446744073709551616, expected whole numbers of at most 64 bits",
            ),
        ] {
            let error = start(request("application/json", bad)).await.unwrap_err();
            assert_eq!(error.code, Code::BadBody);
            assert!(error.detail.contains(says), "{error}");
        }
    }

    #[tokio::test]
    async fn a_large_body_is_read_too() {
        let name = "x".repeat(2 * INLINE_JSON);
        let body = format!(r#"{{"playbook": "{name}", "cluster": "eu"}}"#);
        assert_eq!(start(request("application/json", body)).await.unwrap().playbook, name);
    }

    #[tokio::test]
    async fn a_body_past_its_limit_is_refused_whether_declared_or_not() {
        let budget = budget();
        let declared = Request::builder().header("content-length", "11").body(Body::empty());
        let error = read(declared.unwrap(), 10, &budget).await.err().unwrap();
        assert_eq!(error.to_string(), "the body is larger than 10 bytes");
        let streamed = |chunks: usize| {
            let chunks = (0..chunks).map(|_| Ok::<_, std::io::Error>("12345"));
            Request::new(Body::from_stream(futures::stream::iter(chunks)))
        };
        assert_eq!(read(streamed(2), 10, &budget).await.unwrap().bytes.len(), 10);
        let error = read(streamed(3), 10, &budget).await.err().unwrap();
        assert_eq!(error.code, Code::BodyTooLarge);
    }

    /// A budget in which each client may have `bytes` bytes.
    fn small(bytes: usize) -> Budget {
        Budget { memory: Memory::new(2 * bytes), ..budget() }
    }

    /// A body that has begun, and a sender for the rest of it.
    fn begun() -> (Request, tokio::sync::mpsc::UnboundedSender<Bytes>) {
        let (sender, mut pieces) = tokio::sync::mpsc::unbounded_channel::<Bytes>();
        let next = move |cx: &mut std::task::Context<'_>| pieces.poll_recv(cx).map(|p| p.map(Ok));
        let stream = futures::stream::poll_fn(next).map(|p: Result<Bytes, std::io::Error>| p);
        let request = Request::builder().header("content-length", (64 * PART).to_string());
        (request.body(Body::from_stream(stream)).unwrap(), sender)
    }

    /// Bytes of one piece, which is larger than a small body.
    const PART: usize = 2 * SMALL_BODY;

    fn part() -> Bytes {
        Bytes::from_static(&[b'x'; PART])
    }

    #[tokio::test]
    async fn what_is_announced_takes_nothing_and_what_comes_does() {
        let budget = small(2 * PART);
        let (quiet, _sender) = begun();
        let mut quiet = Box::pin(read(quiet, 64 * PART, &budget));
        assert!(futures::poll!(&mut quiet).is_pending());
        let whole = |parts: usize| Request::new(Body::from(vec![b'x'; parts * PART]));
        let first = read(whole(2), 64 * PART, &budget).await.unwrap();
        // The memory is taken; one body exceeds it, and the next one waits.
        let second = read(whole(8), 64 * PART, &budget).await.unwrap();
        let mut third = Box::pin(read(whole(1), 64 * PART, &budget));
        assert!(futures::poll!(&mut third).is_pending());
        drop(second);
        assert!(third.await.is_ok());
        drop(first);
        assert!(read(whole(2), 64 * PART, &budget).await.is_ok());
    }

    #[tokio::test]
    async fn bodies_that_wait_for_each_other_end_one_after_the_other() {
        let budget = small(4 * PART);
        let (first, first_sender) = begun();
        let (second, second_sender) = begun();
        let mut first = Box::pin(read(first, 64 * PART, &budget));
        let mut second = Box::pin(read(second, 64 * PART, &budget));
        for _ in 0..6 {
            first_sender.send(part()).unwrap();
            second_sender.send(part()).unwrap();
            assert!(futures::poll!(&mut first).is_pending());
            assert!(futures::poll!(&mut second).is_pending());
        }
        drop((first_sender, second_sender));
        let ended = tokio::select! { one = &mut first => one, one = &mut second => one };
        assert_eq!(ended.unwrap().bytes.len(), 6 * PART);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_comes_too_slowly_is_left_and_so_is_one_at_the_end_of_the_server() {
        let budget = small(64 * PART);
        let (request, sender) = begun();
        sender.send(part()).unwrap();
        let error = read(request, 64 * PART, &budget).await.err().unwrap();
        assert_eq!(error.code, Code::BodyTooSlow);
        assert!(error.detail.starts_with("only 49152 bytes of the body came in 13 s"), "{error}");
        budget.stopping.cancel();
        let (request, _sender) = begun();
        let error = read(request, 64 * PART, &budget).await.err().unwrap();
        assert_eq!(error.code, Code::NotReady);
    }

    fn from(client: u8, mut request: Request) -> Request {
        request.extensions_mut().insert(Client::at(([10, 0, 0, client], 1).into()));
        request
    }

    #[tokio::test]
    async fn small_bodies_wait_for_nobody_and_one_client_does_not_take_all() {
        let budget = small(4 * PART);
        let whole = |parts: usize| Request::new(Body::from(vec![b'x'; parts * PART]));
        let _first = read(from(1, whole(4)), 64 * PART, &budget).await.unwrap();
        // The body exceeds the share of its client, and keeps the permission for that.
        let _second = read(from(1, whole(1)), 64 * PART, &budget).await.unwrap();
        let mut third = Box::pin(read(from(1, whole(1)), 64 * PART, &budget));
        assert!(futures::poll!(&mut third).is_pending());
        assert!(read(from(2, whole(4)), 64 * PART, &budget).await.is_ok());
        let pause = request("application/json", r#"{"command": "pause"}"#);
        let command: SubmitCommand = read_json(from(1, pause), &budget).await.unwrap();
        assert_eq!(command.command, crate::run::Verb::Pause);
    }

    #[tokio::test(start_paused = true)]
    async fn what_steers_a_run_is_small_and_comes_at_once() {
        let budget = budget();
        let reason = "\\u00e9".repeat(super::super::limits::MAX_REASON / 2);
        let body = format!(r#"{{"command": "pause", "reason": "{reason}"}}"#);
        let arrived = arrive(request("application/json", body), &budget).await.unwrap();
        let command: SubmitCommand = read_json(arrived, &budget).await.unwrap();
        assert_eq!(command.reason.unwrap().len(), super::super::limits::MAX_REASON);
        let large = Request::new(Body::from(vec![b' '; MAX_STEERING_BODY + 1]));
        assert_eq!(arrive(large, &budget).await.err().unwrap().code, Code::BodyTooLarge);
        let (sender, mut pieces) = tokio::sync::mpsc::unbounded_channel::<Bytes>();
        let next = move |cx: &mut std::task::Context<'_>| pieces.poll_recv(cx).map(|p| p.map(Ok));
        let quiet = futures::stream::poll_fn(next).map(|p: Result<Bytes, std::io::Error>| p);
        let began = Instant::now();
        let error = arrive(Request::new(Body::from_stream(quiet)), &budget).await.err().unwrap();
        assert_eq!((error.code, began.elapsed()), (Code::BodyTooSlow, STEERING_GRACE));
        drop(sender);
    }

    #[test]
    fn texts_have_a_longest_length() {
        assert!(check_length("actor", Some("ada"), 3).is_ok());
        let error = check_length("actor", Some("adam"), 3).unwrap_err();
        assert_eq!(error.to_string(), "`actor`: found 4 bytes, expected at most 3");
    }
}
