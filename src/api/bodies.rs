//! Reading the bodies of requests, within limits.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequest, Request};
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
    MAX_JSON_BODY, MAX_PLAYBOOK_BODY, MAX_URGENT_BODIES,
};
use super::params;
use super::state::ApiState;
use super::wire::{
    AbandonRun, ApplyCluster, ApplyDocuments, ApplyPlaybook, RetryRun, StartRun, SubmitCommand,
};
use crate::run::integer_beyond_64_bits;
use crate::web::{Memory, Share, is_json};

/// The memory that bodies may take, all together: those of requests that steer a run have some of their own,
/// so that they get in however large the others are. Cheap to clone.
#[derive(Clone)]
pub(super) struct Budgets {
    urgent: Budget,
    others: Budget,
}

/// Memory that is taken as bytes come. When all is taken, one body at a time goes on beyond it: if each
/// waited for the others, none would end.
#[derive(Clone)]
pub(super) struct Budget {
    memory: Memory,
    beyond: Arc<Semaphore>,
    stopping: CancellationToken,
}

impl Budgets {
    /// Budgets of bodies that end when the server stops.
    pub(super) fn new(stopping: &CancellationToken) -> Self {
        let budget = |bytes: usize| Budget {
            memory: Memory::new(bytes),
            beyond: Arc::new(Semaphore::new(1)),
            stopping: stopping.clone(),
        };
        Self {
            urgent: budget(MAX_URGENT_BODIES - MAX_JSON_BODY),
            others: budget(MAX_BODIES - LARGEST_BODY),
        }
    }

    /// The one of those that steer no run.
    pub(super) const fn others(&self) -> &Budget {
        &self.others
    }

    const fn of<T: RequestBody>(&self) -> &Budget {
        if T::URGENT { &self.urgent } else { &self.others }
    }
}

/// A whole body, with its part of the budget.
pub(super) struct Received {
    pub(super) bytes: Bytes,
    _part: Part,
}

/// What a body has of its budget.
struct Part {
    share: Share,
    /// It goes on beyond the memory.
    beyond: Option<OwnedSemaphorePermit>,
}

impl Part {
    /// Makes it large enough for so many bytes, once there is room.
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

/// A type that comes as the body of a request.
pub(super) trait RequestBody: DeserializeOwned {
    /// The most bytes that it may have.
    const LIMIT: usize;
    /// Whether it steers a run.
    const URGENT: bool = false;
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

impl RequestBody for RetryRun {
    const LIMIT: usize = MAX_JSON_BODY;
    const URGENT: bool = true;
}

impl RequestBody for AbandonRun {
    const LIMIT: usize = MAX_JSON_BODY;
    const URGENT: bool = true;
}

impl RequestBody for SubmitCommand {
    const LIMIT: usize = MAX_JSON_BODY;
    const URGENT: bool = true;
}

/// A body in JSON.
pub(super) struct InJson<T>(pub(super) T);

impl<T: RequestBody + Send + 'static> FromRequest<ApiState> for InJson<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &ApiState) -> Result<Self, ApiError> {
        read_json(request, state.bodies.of::<T>()).await.map(Self)
    }
}

async fn read_json<T: RequestBody + Send + 'static>(
    request: Request,
    budget: &Budget,
) -> Result<T, ApiError> {
    // A web page can send other types to any server without being asked; this one it can't.
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
    // It was read as another number.
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

/// Characters of a number that is too large which are shown.
const SHOWN_DIGITS: usize = 80;

fn check_json(headers: &HeaderMap) -> Result<(), ApiError> {
    let found = params::header(headers, header::CONTENT_TYPE.as_str())?.unwrap_or("");
    if is_json(found) {
        return Ok(());
    }
    let detail = format!("header `content-type`: found {found:?}, expected \"application/json\"");
    Err(ApiError::new(Code::UnsupportedMediaType, detail))
}

/// Reads the whole body. One that declares too much is refused before any of it is read, one that comes too
/// slowly is left.
pub(super) async fn read(
    request: Request,
    limit: usize,
    budget: &Budget,
) -> Result<Received, ApiError> {
    let declared = params::header(request.headers(), header::CONTENT_LENGTH.as_str())?;
    let declared = declared.and_then(|text| text.parse::<usize>().ok());
    if declared.is_some_and(|declared| declared > limit) {
        return Err(too_large(limit));
    }
    tokio::select! {
        biased;
        () = budget.stopping.cancelled() => {
            Err(ApiError::new(Code::NotReady, "the server stops before the whole body was there"))
        }
        received = collect(request.into_body(), declared.unwrap_or(0), limit, budget) => received,
    }
}

async fn collect(
    body: Body,
    declared: usize,
    limit: usize,
    budget: &Budget,
) -> Result<Received, ApiError> {
    let mut chunks = body.into_data_stream();
    let mut part = Part { share: budget.memory.nothing(), beyond: None };
    let mut bytes = BytesMut::with_capacity(declared.min(FIRST_BYTES));
    let mut began = Instant::now();
    while let Some(chunk) = timeout_at(due(began, bytes.len()), chunks.next())
        .await
        .map_err(|_| too_slow(bytes.len(), began.elapsed()))?
    {
        let chunk = chunk.map_err(|error| {
            ApiError::new(Code::BadBody, format!("failed to receive the body: {error}"))
        })?;
        let length = bytes.len() + chunk.len();
        if length > limit {
            return Err(too_large(limit));
        }
        // That it waits for room is not the fault of whoever sends it.
        let waits = Instant::now();
        part.grow_to(length, budget).await;
        began += waits.elapsed();
        bytes.extend_from_slice(&chunk);
    }
    Ok(Received { bytes: bytes.freeze(), _part: part })
}

/// Bytes that are set aside for a body before any of it is there.
const FIRST_BYTES: usize = 16 * 1024;

/// When the next piece of a body must be there, after so many bytes of it.
fn due(began: Instant, received: usize) -> Instant {
    began + BODY_GRACE + Duration::from_secs_f64(received as f64 / f64::from(BODY_RATE))
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

/// Does work that needs the processor for long beside the event loop.
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

    fn budgets() -> Budgets {
        Budgets::new(&CancellationToken::new())
    }

    async fn start(request: Request) -> Result<StartRun, ApiError> {
        read_json(request, budgets().of::<StartRun>()).await
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
        let budget = budgets().others;
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

    /// A budget of so many bytes.
    fn small(bytes: usize) -> Budget {
        Budget { memory: Memory::new(bytes), ..budgets().others }
    }

    /// A body that has begun, and the sender of the rest of it.
    fn begun() -> (Request, tokio::sync::mpsc::UnboundedSender<Bytes>) {
        let (sender, mut pieces) = tokio::sync::mpsc::unbounded_channel::<Bytes>();
        let next = move |cx: &mut std::task::Context<'_>| pieces.poll_recv(cx).map(|p| p.map(Ok));
        let stream = futures::stream::poll_fn(next).map(|p: Result<Bytes, std::io::Error>| p);
        let request = Request::builder().header("content-length", (64 * PART).to_string());
        (request.body(Body::from_stream(stream)).unwrap(), sender)
    }

    const PART: usize = 1024;

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
        // The memory is taken; one goes on beyond it, and the next waits.
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
        assert!(error.detail.starts_with("only 1024 bytes of the body came in 10 s"), "{error}");
        budget.stopping.cancel();
        let (request, _sender) = begun();
        let error = read(request, 64 * PART, &budget).await.err().unwrap();
        assert_eq!(error.code, Code::NotReady);
    }

    #[tokio::test]
    async fn those_that_steer_a_run_have_memory_of_their_own() {
        let budgets = budgets();
        let all = budgets.others.memory.take(usize::MAX).await;
        let _beyond = budgets.others.beyond.try_acquire().unwrap();
        let pause = request("application/json", r#"{"command": "pause"}"#);
        let command: SubmitCommand = read_json(pause, budgets.of::<SubmitCommand>()).await.unwrap();
        assert_eq!(command.command, crate::run::Verb::Pause);
        drop(all);
    }

    #[test]
    fn texts_have_a_longest_length() {
        assert!(check_length("actor", Some("ada"), 3).is_ok());
        let error = check_length("actor", Some("adam"), 3).unwrap_err();
        assert_eq!(error.to_string(), "`actor`: found 4 bytes, expected at most 3");
    }
}
