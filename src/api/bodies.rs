//! Reading the bodies of requests, within limits.

use axum::body::Body;
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, header};
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use serde::de::DeserializeOwned;

use super::error::{ApiError, Code};
use super::limits::{
    INLINE_JSON, MAX_APPLY_BODY, MAX_BODIES, MAX_CLUSTER_BODY, MAX_JSON_BODY, MAX_PLAYBOOK_BODY,
};
use super::params;
use super::state::ApiState;
use super::wire::{
    AbandonRun, ApplyCluster, ApplyDocuments, ApplyPlaybook, RetryRun, StartRun, SubmitCommand,
};
use crate::web::{Memory, Share, is_json};

/// The memory that bodies may take, all together. Cheap to clone.
#[derive(Clone)]
pub(super) struct Budget(Memory);

impl Budget {
    pub(super) fn new() -> Self {
        Self(Memory::new(MAX_BODIES))
    }
}

/// A whole body, with its part of the budget.
pub(super) struct Received {
    pub(super) bytes: Bytes,
    _share: Share,
}

/// A type that comes as the body of a request.
pub(super) trait RequestBody: DeserializeOwned {
    /// The most bytes that it may have.
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

impl RequestBody for RetryRun {
    const LIMIT: usize = MAX_JSON_BODY;
}

impl RequestBody for AbandonRun {
    const LIMIT: usize = MAX_JSON_BODY;
}

impl RequestBody for SubmitCommand {
    const LIMIT: usize = MAX_JSON_BODY;
}

/// A body in JSON.
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
    // A web page can send other types to any server without being asked; this one it can't.
    check_json(request.headers())?;
    let Received { bytes, _share } = read(request, T::LIMIT, budget).await?;
    let parsed = match bytes.len() {
        ..=INLINE_JSON => serde_json::from_slice(&bytes),
        _ => off_loop(move || serde_json::from_slice(&bytes)).await?,
    };
    parsed.map_err(|error| {
        let detail = format!("failed to read the body as JSON: {error}");
        ApiError::new(Code::BadBody, detail)
    })
}

fn check_json(headers: &HeaderMap) -> Result<(), ApiError> {
    let found = params::header(headers, header::CONTENT_TYPE.as_str())?.unwrap_or("");
    if is_json(found) {
        return Ok(());
    }
    let detail = format!("header `content-type`: found {found:?}, expected \"application/json\"");
    Err(ApiError::new(Code::UnsupportedMediaType, detail))
}

/// Reads the whole body. One that declares too much is refused before any of it is read.
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
    let share = budget.0.take(declared.unwrap_or(limit)).await;
    let bytes = collect(request.into_body(), declared.unwrap_or(0), limit).await?;
    Ok(Received { bytes, _share: share })
}

async fn collect(body: Body, declared: usize, limit: usize) -> Result<Bytes, ApiError> {
    let mut chunks = body.into_data_stream();
    let mut bytes = BytesMut::with_capacity(declared.min(INLINE_JSON));
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|error| {
            ApiError::new(Code::BadBody, format!("failed to receive the body: {error}"))
        })?;
        if bytes.len() + chunk.len() > limit {
            return Err(too_large(limit));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes.freeze())
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

    async fn start(request: Request) -> Result<StartRun, ApiError> {
        read_json(request, &Budget::new()).await
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
        let budget = Budget::new();
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

    #[tokio::test]
    async fn a_body_past_the_budget_waits_until_another_is_gone() {
        const PART: usize = 1024;
        let budget = Budget::new();
        let declared = |bytes: usize| {
            let request = Request::builder().header("content-length", bytes.to_string());
            request.body(Body::empty()).unwrap()
        };
        let first = read(declared(MAX_BODIES - PART), MAX_BODIES, &budget).await.unwrap();
        let second = read(declared(PART + 1), MAX_BODIES, &budget);
        tokio::pin!(second);
        assert!(futures::poll!(&mut second).is_pending());
        drop(first);
        assert!(second.await.is_ok());
    }

    #[test]
    fn texts_have_a_longest_length() {
        assert!(check_length("actor", Some("ada"), 3).is_ok());
        let error = check_length("actor", Some("adam"), 3).unwrap_err();
        assert_eq!(error.to_string(), "`actor`: found 4 bytes, expected at most 3");
    }
}
