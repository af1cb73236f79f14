//! The HTTP interface of the gateway: the agent API of each node, and what a platform tells of them.

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
use tokio::sync::watch;
use uuid::Uuid;

use super::actions::Order;
use super::discover;
use super::facts::{self, FreshFacts};
use super::inventory::KnownNodes;
use super::nodes::{self, Job, JobState, MAX_PIECE, Node, Started, Stream};
use super::old::Old;
use super::output::{self, Veiled};
use super::reach::Nodes;
use super::secrets::{Plain, Secrets};
use super::shown;
use super::troubles::{not_answered, not_started};
use crate::agent::server::{
    Hidden, Kept, MAX_BODY_BYTES, Refusal, Sent, body, check_stranger, declared, text,
};
use crate::agent::{OutputPiece, OutputQuery, OutputStream};
use crate::clock::Clock;
use crate::playbook::inventory::InventoryNode;
use crate::run::{Millis, SECRET_PLACES, Timestamp};
use crate::web::{Memory, OwnNames, Share};

/// How many bytes of large bodies and answers are in memory at once: about ten of the largest. Further requests wait their
/// turn.
const MAX_MEMORY: usize = 64 * 1024 * 1024;

/// Bodies and answers up to this size are not counted.
const SMALL: usize = 64 * 1024;

/// A body is in memory as it was received, as it was read, and as it goes to the node.
const COPIES: usize = 3;

/// How long a request may take until its answer begins. Less than engines wait (15 s): so they learn what is wrong with a node,
/// and no request reaches a node after its sender gave it up.
const ANSWER_WITHIN: Duration = Duration::from_secs(13);

/// The most actions in a list.
const MAX_LISTED: usize = 1_000;

/// What the handlers share.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) known: watch::Receiver<Arc<KnownNodes>>,
    pub(super) nodes: Arc<dyn Nodes>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) names: Arc<OwnNames>,
    /// Where engines reach the gateway; `None`: where they ask it.
    pub(super) url: Option<String>,
    pub(super) scheme: &'static str,
    memory: Memory,
    secrets: Secrets,
    plain: Plain,
    facts: FreshFacts,
    old: Old,
}

/// The node that a request is about.
struct Target {
    known: Arc<InventoryNode>,
    node: Node,
}

impl Shared {
    pub(super) fn new(
        known: watch::Receiver<Arc<KnownNodes>>,
        nodes: Arc<dyn Nodes>,
        clock: Arc<dyn Clock>,
        names: OwnNames,
        (url, scheme): (Option<String>, &'static str),
        retention: Millis,
    ) -> Self {
        Self {
            known,
            nodes,
            clock,
            names: Arc::new(names),
            url,
            scheme,
            memory: Memory::new(MAX_MEMORY),
            secrets: Secrets::default(),
            plain: Plain::default(),
            facts: FreshFacts::default(),
            old: Old::kept_for(retention),
        }
    }

    /// Waits until there is room for this many bytes.
    async fn room(&self, bytes: usize) -> Option<Share> {
        if bytes <= SMALL {
            return None;
        }
        Some(self.memory.take(bytes.saturating_mul(COPIES)).await)
    }

    /// The node of this identifier. One that is not known is no agent that does not know an action: so this is never a 404,
    /// by which engines would take its actions for lost.
    fn target(&self, id: &str) -> Result<Target, Refusal> {
        let known = self.known.borrow().get(id);
        let known = known.ok_or_else(|| {
            let shown: String = id.chars().take(256).collect();
            let message = format!("there is no node {shown:?} in the inventory of this gateway");
            Refusal::new(StatusCode::GONE, message)
        })?;
        let node = discover::node(&known);
        Ok(Target { known, node })
    }
}

/// The routes. Paths have no slash at their end.
pub(super) fn router(shared: Shared) -> Router {
    let of_node = Router::new()
        .route("/action", post(schedule))
        .route("/action/{id}", get(action))
        .route("/action/{id}/output", get(live_output))
        .route("/actions/queue", get(queue))
        .route("/actions/finished", get(finished))
        .route("/info/node", get(info_node))
        .route("/info/store", get(info_store))
        .route("/info/shards", get(info_shards));
    Router::new()
        .route("/discover", get(discovered))
        .nest("/nodes/{node}/api/unstable", of_node)
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(from_fn_with_state(shared.clone(), guard))
        .with_state(shared)
}

/// Refuses strangers, and ends what takes too long. A handler that is dropped ends its exchange with the node.
async fn guard(
    State(shared): State<Shared>,
    request: Request,
    next: Next,
) -> Result<Response, Refusal> {
    check_stranger(&shared.names, request.headers(), request.uri())?;
    match tokio::time::timeout(ANSWER_WITHIN, next.run(request)).await {
        Ok(response) => Ok(response),
        Err(_) => {
            let message = format!("the node did not answer within {} s", ANSWER_WITHIN.as_secs());
            Err(Refusal::new(StatusCode::GATEWAY_TIMEOUT, message))
        }
    }
}

async fn schedule(
    State(shared): State<Shared>,
    Path(node): Path<String>,
    headers: HeaderMap,
    request: Request,
) -> Result<Response, Refusal> {
    let Target { known, node } = shared.target(&node)?;
    let _room = shared.room(declared(&headers)?).await;
    let body = body(request, &shared).await?;
    let Sent { id, kind, args, metadata, created_time } = Sent::read(&body, shared.clock.now())?;
    drop(body);
    let created = created_time.parse().unwrap_or_else(|_| shared.clock.now());
    let (kept, hidden) = Hidden::of(args, json!(metadata).to_string());
    let args = hidden.as_ref().map_or(kept.args.as_str(), |hidden| hidden.args.as_str());
    let order = Order { node: &known, id, kind: &kind, args, hidden: hidden.as_ref() };
    let asked = match order.read() {
        Ok(asked) => asked,
        Err(message) => return Err(refused(&shared, &node, id, message).await),
    };
    let job = job((id, kind, created), &kept, asked, hidden.is_some())?;
    let now = shared.clock.passed();
    let hidden = hidden.is_some_and(|hidden| shared.secrets.put(id, Arc::new(hidden), now));
    let started = shared.nodes.start(&node, &job).await;
    shared.facts.forget(&known.id, shared.clock.passed());
    match started {
        Ok(Started::Begun(_)) => {
            shared.old.look_at(&known.id, &node, &shared.nodes, shared.clock.as_ref());
            Ok(Json(json!({ "id": id })).into_response())
        }
        Ok(Started::Known) => Err(Refusal::known()),
        Err(error) => {
            if hidden && !error.may_have_begun() {
                shared.secrets.forget(id);
            }
            Err(not_started(&error))
        }
    }
}

/// Why an action is refused that can't be one now. A known identifier is reported before that: whoever repeats a request after
/// the inventory changed must learn that the first one had arrived.
async fn refused(shared: &Shared, node: &Node, id: Uuid, message: String) -> Refusal {
    match shared.nodes.look(node, id).await {
        Ok(Some(seen)) if seen.state != JobState::NotStarted => Refusal::known(),
        Ok(Some(_) | None) => Refusal::bad(message),
        Err(error) => not_answered(&error),
    }
}

/// The job that an action is.
fn job(
    (id, kind, created): (Uuid, String, Timestamp),
    kept: &Kept,
    asked: super::actions::Asked,
    secret: bool,
) -> Result<Job, Refusal> {
    let unreadable = |error: serde_json::Error| Refusal::bad(format!("the action: {error}"));
    Ok(Job {
        id,
        kind,
        args: serde_json::from_str(&kept.args).map_err(unreadable)?,
        metadata: serde_json::from_str(&kept.metadata).map_err(unreadable)?,
        created,
        work: asked.work,
        secret,
        become_user: asked.become_user,
        timeout: Some(asked.timeout),
    })
}

fn not_an_id() -> Response {
    text(StatusCode::NOT_FOUND, "UUID parsing failed".to_owned())
}

async fn action(
    State(shared): State<Shared>,
    Path((node, id)): Path<(String, String)>,
) -> Result<Response, Refusal> {
    let Target { known, node } = shared.target(&node)?;
    let Ok(id) = Uuid::parse_str(&id) else { return Ok(not_an_id()) };
    let Some(seen) = look(&shared, &node, id).await? else {
        return Ok(StatusCode::NOT_FOUND.into_response());
    };
    let shown = shown::action(id, &seen, shared.secrets.get(id).as_ref())?;
    drop(seen);
    let Some(shown) = shown else { return Ok(StatusCode::NOT_FOUND.into_response()) };
    if shown.has_ended {
        let now = shared.clock.passed();
        shared.secrets.told(id, now);
        shared.facts.forget(&known.id, now);
    }
    let body = match shared.room(shown.body.len()).await {
        Some(room) => room.around(shown.body),
        None => Bytes::from(shown.body),
    };
    Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response())
}

async fn live_output(
    State(shared): State<Shared>,
    Path((node, id)): Path<(String, String)>,
    RawQuery(query): RawQuery,
) -> Result<Response, Refusal> {
    let Target { node, .. } = shared.target(&node)?;
    let OutputQuery { from, stream } = OutputQuery::read(query.as_deref()).map_err(Refusal::bad)?;
    let Ok(id) = Uuid::parse_str(&id) else { return Ok(not_an_id()) };
    let stream = match stream {
        OutputStream::Stdout => Stream::Out,
        OutputStream::Stderr => Stream::Err,
    };
    let _room = shared.room(MAX_PIECE).await;
    let hidden = shared.secrets.get(id);
    let veiled = match &hidden {
        Some(hidden) => Veiled::By(hidden),
        None if shared.plain.has(id) => Veiled::Not,
        None => match look(&shared, &node, id).await? {
            // It may have had secrets before the gateway was started again.
            Some(seen) if seen.metadata.contains_key(SECRET_PLACES) => Veiled::Whole,
            Some(_) => {
                shared.plain.put(id);
                Veiled::Not
            }
            None => return Ok(StatusCode::NOT_FOUND.into_response()),
        },
    };
    let piece = output::piece(shared.nodes.as_ref(), &node, (id, stream, from), &veiled).await;
    let Some(piece) = piece.map_err(|error| not_answered(&error))? else {
        return Ok(StatusCode::NOT_FOUND.into_response());
    };
    let nodes::Piece { bytes, next, ended } = piece;
    let exit = match ended {
        true => look(&shared, &node, id).await?.and_then(|seen| shown::exit_code(&seen.state)),
        false => None,
    };
    let piece = OutputPiece { from: from.min(next), next, ended, exit, bytes };
    Ok(piece.into_response())
}

async fn look(shared: &Shared, node: &Node, id: Uuid) -> Result<Option<nodes::Seen>, Refusal> {
    shared.nodes.look(node, id).await.map_err(|error| not_answered(&error))
}

async fn queue(
    State(shared): State<Shared>,
    Path(node): Path<String>,
) -> Result<Json<Value>, Refusal> {
    list(&shared, &node, false).await
}

async fn finished(
    State(shared): State<Shared>,
    Path(node): Path<String>,
) -> Result<Json<Value>, Refusal> {
    list(&shared, &node, true).await
}

async fn list(shared: &Shared, node: &str, are_over: bool) -> Result<Json<Value>, Refusal> {
    let Target { node, .. } = shared.target(node)?;
    let listed = shared.nodes.list(&node).await.map_err(|error| not_answered(&error))?;
    Ok(Json(shown::list(&listed, are_over, MAX_LISTED)))
}

async fn info_node(
    State(shared): State<Shared>,
    Path(node): Path<String>,
) -> Result<Json<Value>, Refusal> {
    let Target { known, node } = shared.target(&node)?;
    let asked = shared.clock.passed();
    let (facts, age) = match shared.facts.get(&known.id, asked) {
        Some(fresh) => fresh,
        None => {
            let facts = shared.nodes.facts(&node, known.node_status.as_deref()).await;
            let facts = Arc::new(facts.map_err(|error| not_answered(&error))?);
            shared.facts.put(&known.id, asked, Arc::clone(&facts));
            let age = shared.clock.passed().0.saturating_sub(asked.0);
            (facts, Millis(age))
        }
    };
    Ok(Json(facts::node(&known, &facts, age)))
}

/// The cluster is that of the inventory: no node has to be asked.
async fn info_store(
    State(shared): State<Shared>,
    Path(node): Path<String>,
) -> Result<Json<Value>, Refusal> {
    shared.target(&node)?;
    let cluster = shared.known.borrow().cluster().to_owned();
    Ok(Json(json!({ "cluster_id": cluster, "attributes": {} })))
}

async fn info_shards(
    State(shared): State<Shared>,
    Path(node): Path<String>,
) -> Result<Json<Value>, Refusal> {
    shared.target(&node)?;
    Ok(Json(json!({ "shards": [] })))
}

async fn discovered(State(shared): State<Shared>, headers: HeaderMap) -> Result<Response, Refusal> {
    let base = match &shared.url {
        Some(url) => url.clone(),
        None => discover::base(shared.scheme, &headers).ok_or_else(|| {
            Refusal::bad(
                "host: found none, expected the host under which engines reach this gateway"
                    .to_owned(),
            )
        })?,
    };
    let known = Arc::clone(&shared.known.borrow());
    let body = discover::body(&known, &base);
    let body = match shared.room(body.len()).await {
        Some(room) => room.around(body),
        None => Bytes::from(body),
    };
    Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response())
}

#[cfg(test)]
#[path = "router_tests.rs"]
mod tests;
