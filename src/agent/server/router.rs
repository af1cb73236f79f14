//! The HTTP interface of the reference agent: the routes of the agent API, and limits on memory, since anybody
//! who reaches the agent may send large requests.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{DefaultBodyLimit, FromRequest as _, Path, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use uuid::Uuid;

use super::config::AgentConfig;
use super::error::StoreError;
use super::json::measure;
use super::node;
use super::store::{Action, ActionStore, Added, Listed, MAX_QUEUED, MAX_QUEUED_BYTES, NewAction};
use super::worker::Kind;
use crate::agent::ActionPhase;
use crate::clock::Clock;
use crate::web::{Memory, OwnNames, Share, check_origin, is_json};

/// How many bytes of JSON the arguments of an action may have: as many as agents of the SDK accept.
const MAX_ARGS_BYTES: usize = 2 * 1024 * 1024;

/// Bytes of a body: the arguments, and room for the other fields.
const MAX_BODY_BYTES: usize = MAX_ARGS_BYTES + 64 * 1024;

/// How many bytes of large bodies and answers are in memory at once: about ten of the largest. Further requests
/// wait their turn.
const MAX_MEMORY: usize = 64 * 1024 * 1024;

/// Bodies and answers up to this size are not counted: all connections together have at most 16 MiB of them.
const SMALL: usize = 64 * 1024;

/// A body is in memory twice: as it was received, and as it is written to the database. So is an answer: as it
/// is read from there, and as it is sent.
const COPIES: usize = 2;

/// Time until an answer begins, including the time for the body of the request and the wait for a turn. Longer
/// than engines wait.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// The most characters in the name of a kind, as the interface of steps promises.
pub(super) const MAX_KIND_CHARS: usize = 256;

/// What the handlers share.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) store: ActionStore,
    pub(super) config: Arc<AgentConfig>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) memory: Memory,
}

impl Shared {
    pub(super) fn new(store: ActionStore, config: Arc<AgentConfig>, clock: Arc<dyn Clock>) -> Self {
        Self { store, config, clock, memory: Memory::new(MAX_MEMORY) }
    }

    /// Waits until there is room for this many bytes.
    async fn room(&self, bytes: usize) -> Option<Share> {
        if bytes <= SMALL {
            return None;
        }
        Some(self.memory.take(bytes.saturating_mul(COPIES)).await)
    }
}

/// The routes. Paths have no slash at their end.
pub(super) fn router(shared: Shared) -> Router {
    Router::new()
        .route("/api/unstable/action", post(schedule))
        .route("/api/unstable/action/{id}", get(action))
        .route("/api/unstable/actions/queue", get(queue))
        .route("/api/unstable/actions/finished", get(finished))
        .route("/api/unstable/info/node", get(info_node))
        .route("/api/unstable/info/store", get(info_store))
        .route("/api/unstable/info/shards", get(info_shards))
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(from_fn_with_state(Arc::clone(&shared.config), guard))
        .with_state(shared)
}

/// Refuses requests that a web page sends, and requests to a name that is not this agent's. Otherwise any page
/// could run actions through a browser near the agent.
async fn guard(
    State(config): State<Arc<AgentConfig>>,
    request: Request,
    next: Next,
) -> Result<Response, Refusal> {
    let names = OwnNames::with(config.allow_hosts.clone());
    names
        .check(request.headers(), request.uri())
        .map_err(|stranger| format!("{stranger}, or a name of --allow-host"))
        .and_then(|()| {
            check_origin(request.headers(), false).map_err(|stranger| stranger.to_string())
        })
        .map_err(|message| Refusal::new(StatusCode::FORBIDDEN, message))?;
    match tokio::time::timeout(REQUEST_TIMEOUT, next.run(request)).await {
        Ok(response) => Ok(response),
        Err(_) => {
            let message = format!("the request took longer than {} s", REQUEST_TIMEOUT.as_secs());
            Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, message))
        }
    }
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

async fn schedule(
    State(shared): State<Shared>,
    headers: HeaderMap,
    request: Request,
) -> Result<Response, Refusal> {
    check_type(&headers)?;
    let declared = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok());
    let declared = declared.and_then(|length| length.parse().ok()).unwrap_or(MAX_BODY_BYTES);
    if declared > MAX_BODY_BYTES {
        let message =
            format!("the body: found {declared} bytes, expected at most {MAX_BODY_BYTES}");
        return Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, message));
    }
    let _room = shared.room(declared).await;
    let body = Bytes::from_request(request, &shared).await;
    let body = body.map_err(|rejection| Refusal::new(rejection.status(), rejection.body_text()))?;
    let action = read(&shared, &body)?;
    drop(body);
    let (id, kind) = (action.id, action.kind.clone());
    // A known identifier is reported before an unknown kind: whoever repeats a request after this agent got
    // another configuration must learn that the first one had arrived.
    if shared.store.knows(id).await? {
        return Err(known());
    }
    if Kind::of(&shared.config, &kind).is_none() {
        return Err(Refusal::bad(format!("metadata for action {kind} not found")));
    }
    match shared.store.add(action, shared.clock.now()).await? {
        Added::Queued => Ok(Json(json!({ "id": id })).into_response()),
        Added::Known => Err(known()),
        Added::QueueFull => {
            let message = format!(
                "the queue is full: found {MAX_QUEUED} actions or {MAX_QUEUED_BYTES} bytes of \
                 arguments that wait; try again later"
            );
            Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, message))
        }
    }
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

fn read(shared: &Shared, body: &[u8]) -> Result<NewAction, Refusal> {
    let body: ScheduleBody<'_> =
        serde_json::from_slice(body).map_err(|error| deserialize(&error))?;
    let chars = body.kind.chars().count();
    if chars > MAX_KIND_CHARS {
        let message = format!("kind: found {chars} characters, expected at most {MAX_KIND_CHARS}");
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
        None => shared.clock.now().to_string(),
        Some(text) => created_time(&text)?,
    };
    let metadata = serde_json::to_string(&body.metadata).map_err(|error| deserialize(&error))?;
    Ok(NewAction {
        id: body.id.unwrap_or_else(Uuid::new_v4),
        kind: body.kind,
        args: args.to_owned(),
        metadata,
        created_time,
    })
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

async fn action(State(shared): State<Shared>, Path(id): Path<String>) -> Result<Response, Refusal> {
    let Ok(id) = Uuid::parse_str(&id) else {
        return Ok(text(StatusCode::NOT_FOUND, "UUID parsing failed".to_owned()));
    };
    let not_found = || StatusCode::NOT_FOUND.into_response();
    let Some(bytes) = shared.store.weight(id).await? else { return Ok(not_found()) };
    let room = shared.room(bytes).await;
    let Some(action) = shared.store.get(id).await? else { return Ok(not_found()) };
    let body = view(&action)?;
    let body = match room {
        Some(room) => room.around(body),
        None => Bytes::from(body),
    };
    Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response())
}

/// An action as answers show it. `executions`, the number of times it was started, is a field that only this
/// agent has.
#[derive(Serialize)]
struct View<'a> {
    args: &'a RawValue,
    created_time: &'a str,
    finished_time: Option<&'a str>,
    id: Uuid,
    kind: &'a str,
    metadata: &'a RawValue,
    scheduled_time: &'a str,
    state: ViewState<'a>,
    executions: u32,
}

#[derive(Serialize)]
struct ViewState<'a> {
    error: Option<ViewError<'a>>,
    payload: &'a RawValue,
    phase: &'static str,
}

#[derive(Serialize)]
struct ViewError<'a> {
    error_backtrace: Option<&'a str>,
    error_msg: &'a str,
}

fn view(action: &Action) -> Result<Vec<u8>, Refusal> {
    let written = || -> serde_json::Result<Vec<u8>> {
        let error = action.error.as_deref();
        serde_json::to_vec(&View {
            args: serde_json::from_str(&action.args)?,
            created_time: &action.created_time,
            finished_time: action.finished_time.as_deref(),
            id: action.id,
            kind: &action.kind,
            metadata: serde_json::from_str(&action.metadata)?,
            scheduled_time: &action.scheduled_time,
            state: ViewState {
                error: error.map(|error_msg| ViewError { error_backtrace: None, error_msg }),
                payload: serde_json::from_str(&action.payload)?,
                phase: phase(action.phase),
            },
            executions: action.executions,
        })
    };
    written().map_err(|error| {
        let message = format!("failed to read the action from the agent's database: {error}");
        Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, message)
    })
}

fn phase(phase: ActionPhase) -> &'static str {
    match phase {
        ActionPhase::New => "NEW",
        ActionPhase::Running => "RUNNING",
        ActionPhase::Done => "DONE",
        ActionPhase::Failed => "FAILED",
    }
}

async fn queue(State(shared): State<Shared>) -> Result<Json<Value>, Refusal> {
    Ok(list(&shared.store.queue().await?))
}

async fn finished(State(shared): State<Shared>) -> Result<Json<Value>, Refusal> {
    Ok(list(&shared.store.finished().await?))
}

fn list(actions: &[Listed]) -> Json<Value> {
    let item =
        |action: &Listed| json!({ "id": action.id, "kind": action.kind, "phase": action.phase });
    Json(json!({ "actions": actions.iter().map(item).collect::<Vec<_>>() }))
}

async fn info_node(State(shared): State<Shared>) -> Json<Value> {
    Json(node::node(&shared.config))
}

async fn info_store(State(shared): State<Shared>) -> Json<Value> {
    Json(node::store(&shared.config))
}

async fn info_shards(State(shared): State<Shared>) -> Json<Value> {
    Json(node::shards(&shared.config))
}

/// Why a request is refused.
struct Refusal {
    status: StatusCode,
    body: RefusalBody,
}

enum RefusalBody {
    Json(String),
    Text(String),
}

impl Refusal {
    fn new(status: StatusCode, message: String) -> Self {
        Self { status, body: RefusalBody::Json(message) }
    }

    fn bad(message: String) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }
}

fn known() -> Refusal {
    let message = "The action ID is already used by another action".to_owned();
    Refusal::new(StatusCode::CONFLICT, message)
}

fn deserialize(error: &dyn std::fmt::Display) -> Refusal {
    let body = RefusalBody::Text(format!("Json deserialize error: {error}"));
    Refusal { status: StatusCode::BAD_REQUEST, body }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        tracing::error!(error = &error as &dyn Error, "failed to serve a request");
        let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}{cause}"))
    }
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

fn text(status: StatusCode, message: String) -> Response {
    (status, [(header::CONTENT_TYPE, "text/plain; charset=utf-8")], message).into_response()
}
