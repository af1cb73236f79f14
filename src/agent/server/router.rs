//! The HTTP interface of the reference agent: the routes of the agent API, and limits on memory, since anybody
//! who reaches the agent may send large requests.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{DefaultBodyLimit, Path, RawQuery, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use bytes::Bytes;
use serde_json::{Value, json};
use uuid::Uuid;

use super::config::AgentConfig;
use super::error::StoreError;
use super::kept_output::{Kept, nothing};
use super::live::LiveOutput;
use super::node;
use super::request::{MAX_BODY_BYTES, Refusal, Sent, body, check_stranger, declared, text};
use super::shown_action::{ShownAction, ShownState};
use super::store::{Action, ActionStore, Added, Listed, MAX_QUEUED, MAX_QUEUED_BYTES, NewAction};
use super::worker::Kind;
use crate::agent::OutputQuery;
use crate::clock::Clock;
use crate::web::{Memory, OwnNames, Share};

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

/// What the handlers share.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) store: ActionStore,
    pub(super) live: LiveOutput,
    pub(super) config: Arc<AgentConfig>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) memory: Memory,
}

impl Shared {
    pub(super) fn new(
        store: ActionStore,
        live: LiveOutput,
        config: Arc<AgentConfig>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self { store, live, config, clock, memory: Memory::new(MAX_MEMORY) }
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
        .route("/api/unstable/action/{id}/output", get(output))
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
    check_stranger(&names, request.headers(), request.uri())?;
    match tokio::time::timeout(REQUEST_TIMEOUT, next.run(request)).await {
        Ok(response) => Ok(response),
        Err(_) => {
            let message = format!("the request took longer than {} s", REQUEST_TIMEOUT.as_secs());
            Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, message))
        }
    }
}

async fn schedule(
    State(shared): State<Shared>,
    headers: HeaderMap,
    request: Request,
) -> Result<Response, Refusal> {
    let _room = shared.room(declared(&headers)?).await;
    let body = body(request, &shared).await?;
    let action = read(&shared, &body)?;
    drop(body);
    let (id, kind) = (action.id, action.kind.clone());
    // A known identifier is reported before an unknown kind: whoever repeats a request after this agent got
    // another configuration must learn that the first one had arrived.
    if shared.store.knows(id).await? {
        return Err(Refusal::known());
    }
    if Kind::of(&shared.config, &kind).is_none() {
        return Err(Refusal::bad(format!("metadata for action {kind} not found")));
    }
    match shared.store.add(action, shared.clock.now()).await? {
        Added::Queued => Ok(Json(json!({ "id": id })).into_response()),
        Added::Known => Err(Refusal::known()),
        Added::QueueFull => {
            let message = format!(
                "the queue is full: found {MAX_QUEUED} actions or {MAX_QUEUED_BYTES} bytes of \
                 arguments that wait; try again later"
            );
            Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, message))
        }
    }
}

fn read(shared: &Shared, body: &[u8]) -> Result<NewAction, Refusal> {
    let Sent { id, kind, args, metadata, created_time } = Sent::read(body, shared.clock.now())?;
    let metadata = serde_json::to_string(&metadata).map_err(|error| unreadable(&error))?;
    Ok(NewAction { id, kind, args, metadata, created_time })
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

async fn output(
    State(shared): State<Shared>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, Refusal> {
    let query = OutputQuery::read(query.as_deref()).map_err(Refusal::bad)?;
    let Ok(id) = Uuid::parse_str(&id) else {
        return Ok(text(StatusCode::NOT_FOUND, "UUID parsing failed".to_owned()));
    };
    if let Some(piece) = shared.live.piece(id, query) {
        return Ok(piece.into_response());
    }
    Ok(match shared.store.output(id, query).await? {
        Kept::Piece(piece) => piece.into_response(),
        Kept::NotYet => nothing(query.from, false).into_response(),
        Kept::NoMore => {
            let message = "what the action has written is not kept any more".to_owned();
            Refusal::new(StatusCode::GONE, message).into_response()
        }
        Kept::Unknown => StatusCode::NOT_FOUND.into_response(),
    })
}

fn view(action: &Action) -> Result<Vec<u8>, Refusal> {
    let written = || -> serde_json::Result<Vec<u8>> {
        let payload = serde_json::from_str(&action.payload)?;
        serde_json::to_vec(&ShownAction {
            args: serde_json::from_str(&action.args)?,
            created_time: &action.created_time,
            finished_time: action.finished_time.as_deref(),
            id: action.id,
            kind: &action.kind,
            metadata: serde_json::from_str(&action.metadata)?,
            scheduled_time: &action.scheduled_time,
            state: ShownState::new(action.phase, payload, action.error.as_deref()),
            executions: action.executions,
        })
    };
    written().map_err(|error| unreadable(&error))
}

fn unreadable(error: &serde_json::Error) -> Refusal {
    let message = format!("failed to read the action from the agent's database: {error}");
    Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, message)
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

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        tracing::error!(error = &error as &dyn Error, "failed to serve a request");
        let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}{cause}"))
    }
}
