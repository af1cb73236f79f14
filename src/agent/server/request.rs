//! Requests to schedule an action, as they come in, and refusals, as they go out. The reference agent and the gateway
//! have them in common.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::FromRequest as _;
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::json::measure;
use crate::run::Timestamp;
use crate::web::{OwnNames, check_origin, is_json};

/// How many bytes of JSON the arguments of an action may have: as many as agents of the SDK accept.
pub(in crate::agent) const MAX_ARGS_BYTES: usize = 2 * 1024 * 1024;

/// Bytes of a body: the arguments, and room for the other fields.
pub(in crate::agent) const MAX_BODY_BYTES: usize = MAX_ARGS_BYTES + 64 * 1024;

/// The most characters in the name of a kind, as the interface of steps promises.
pub(in crate::agent) const MAX_KIND_CHARS: usize = 256;

/// An action that somebody wants to be done.
#[derive(Debug)]
pub(in crate::agent) struct Sent {
    pub(in crate::agent) id: Uuid,
    pub(in crate::agent) kind: String,
    /// JSON, as it was sent.
    pub(in crate::agent) args: String,
    pub(in crate::agent) metadata: BTreeMap<String, String>,
    pub(in crate::agent) created_time: String,
}

#[derive(Deserialize)]
struct ScheduleBody<'a> {
    kind: String,
    /// The text as it was sent. `None` stands for null.
    #[serde(borrow)]
    args: Option<&'a RawValue>,
    id: Option<Uuid>,
    #[serde(default)]
    metadata: BTreeMap<String, String>,
    created_time: Option<String>,
}

impl Sent {
    /// Reads a body.
    pub(in crate::agent) fn read(body: &[u8], now: Timestamp) -> Result<Self, Refusal> {
        let body: ScheduleBody<'_> =
            serde_json::from_slice(body).map_err(|error| deserialize(&error))?;
        let chars = body.kind.chars().count();
        if chars > MAX_KIND_CHARS {
            let message =
                format!("kind: found {chars} characters, expected at most {MAX_KIND_CHARS}");
            return Err(Refusal::bad(message));
        }
        let args = body.args.map_or("null", RawValue::get);
        if args.len() > MAX_ARGS_BYTES {
            let found = args.len();
            let message =
                format!("args: found {found} bytes of JSON, expected at most {MAX_ARGS_BYTES}");
            return Err(Refusal::bad(message));
        }
        // JSON that can't be read as values could be sent in an answer, but the client could not read it.
        measure(args).map_err(|error| deserialize(&format!("args: {error}")))?;
        let created_time = match body.created_time {
            None => now.to_string(),
            Some(text) => created_time(&text)?,
        };
        Ok(Self {
            id: body.id.unwrap_or_else(Uuid::new_v4),
            kind: body.kind,
            args: args.to_owned(),
            metadata: body.metadata,
            created_time,
        })
    }
}

/// How long a body says that it is, if it is JSON and not too long.
pub(in crate::agent) fn declared(headers: &HeaderMap) -> Result<usize, Refusal> {
    check_type(headers)?;
    let declared = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok());
    let declared = declared.and_then(|length| length.parse().ok()).unwrap_or(MAX_BODY_BYTES);
    if declared > MAX_BODY_BYTES {
        let message =
            format!("the body: found {declared} bytes, expected at most {MAX_BODY_BYTES}");
        return Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, message));
    }
    Ok(declared)
}

/// The body of a request.
pub(in crate::agent) async fn body<S: Send + Sync>(
    request: Request,
    state: &S,
) -> Result<Bytes, Refusal> {
    let body = Bytes::from_request(request, state).await;
    body.map_err(|rejection| Refusal::new(rejection.status(), rejection.body_text()))
}

/// Refuses requests that a web page sends, and requests to a name that is not this server's. Otherwise any page could run
/// actions through a browser near it.
pub(in crate::agent) fn check_stranger(
    names: &OwnNames,
    headers: &HeaderMap,
    uri: &Uri,
) -> Result<(), Refusal> {
    names
        .check(headers, uri)
        .map_err(|stranger| format!("{stranger}, or a name of --allow-host"))
        .and_then(|()| check_origin(headers, false).map_err(|stranger| stranger.to_string()))
        .map_err(|message| Refusal::new(StatusCode::FORBIDDEN, message))
}

/// A web page can't send a form with the content type of JSON unless the browser asks the server first.
fn check_type(headers: &HeaderMap) -> Result<(), Refusal> {
    let found =
        headers.get(header::CONTENT_TYPE).map(|value| value.to_str().unwrap_or("(not text)"));
    if found.is_some_and(is_json) {
        return Ok(());
    }
    let found = found.map_or_else(|| "nothing".to_owned(), |found| format!("{found:?}"));
    let message = format!("content-type: found {found}, expected application/json");
    Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message))
}

/// Reads a time, which must be written in UTC.
fn created_time(text: &str) -> Result<String, Refusal> {
    let wrong = |error: jiff::Error| deserialize(&format!("created_time: {error}"));
    let moment: jiff::Timestamp = text.parse().map_err(wrong)?;
    let pieces = jiff::fmt::temporal::Pieces::parse(text).map_err(wrong)?;
    if pieces.to_numeric_offset() != Some(jiff::tz::Offset::UTC) {
        return Err(Refusal::bad("The provided created_time MUST be in UTC".to_owned()));
    }
    Ok(moment.to_string())
}

/// Why a request is refused.
#[derive(Debug)]
pub(in crate::agent) struct Refusal {
    status: StatusCode,
    body: RefusalBody,
}

#[derive(Debug)]
enum RefusalBody {
    Json(String),
    Text(String),
}

impl Refusal {
    pub(in crate::agent) fn new(status: StatusCode, message: String) -> Self {
        Self { status, body: RefusalBody::Json(message) }
    }

    pub(in crate::agent) fn bad(message: String) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// The identifier is that of another action.
    pub(in crate::agent) fn known() -> Self {
        let message = "The action ID is already used by another action".to_owned();
        Self::new(StatusCode::CONFLICT, message)
    }

    /// The status and the message.
    #[cfg(test)]
    pub(in crate::agent) fn parts(&self) -> (u16, &str) {
        let (RefusalBody::Json(message) | RefusalBody::Text(message)) = &self.body;
        (self.status.as_u16(), message)
    }
}

fn deserialize(error: &dyn std::fmt::Display) -> Refusal {
    let body = RefusalBody::Text(format!("Json deserialize error: {error}"));
    Refusal { status: StatusCode::BAD_REQUEST, body }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        match self.body {
            RefusalBody::Text(message) => text(self.status, message),
            RefusalBody::Json(message) => {
                (self.status, Json(json!({ "error": true, "error_msg": message }))).into_response()
            }
        }
    }
}

/// An answer in plain text.
pub(in crate::agent) fn text(status: StatusCode, message: String) -> Response {
    (status, [(header::CONTENT_TYPE, "text/plain; charset=utf-8")], message).into_response()
}
