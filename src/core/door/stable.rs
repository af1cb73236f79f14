//! Reads what agents of the released generation answer: those of ZooKeeper, Kafka and MongoDB that were built on
//! Replicante's agent SDK 0.5, whose specification is called `stable`. What leaves here has the form that the answers
//! of the [other agents](super) have, so nothing further in has to know which generation an agent is of.

use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::action::{
    ActionPhase, ActionStatus, PHASES, check_id, no_value_around, phase_of, take_error,
    take_payload, take_phase,
};
use super::bounds::{ACTION_BYTES, NODE, PAYLOAD, QUEUE, SCHEDULED_BYTES, STORE, WORD};
use super::json::{Malformed, read_list, read_members, read_object};
use super::message::quote;
use super::queue::QueuedAction;
use crate::run::{Datastore, NodeInfo};

/// The status of a node whose agent answers, and says what it has asked of its store.
const ANSWERS: &str = "HEALTHY";

/// The status of a node whose agent answers, and gets no answer of its store.
const SILENT: &str = "UNAVAILABLE";

/// Reads the answer to `GET actions/info/ID`. What the action was like before, its `history`, is passed over, and so
/// are its arguments, headers and times.
///
/// The `state_payload` is the result of an action that is DONE, and the error of one that FAILED. A payload that is
/// over its bounds is left out, and [`ActionStatus::unread`] says what is wrong with it.
///
/// # Errors
/// [`Malformed`] when the answer can't be read or is about another action. Nothing is known of `id` then.
pub fn read_stable_action(body: &[u8], id: Uuid) -> Result<ActionStatus, Malformed> {
    let wanted =
        [("/action/id", WORD), ("/action/state", WORD), ("/action/state_payload", PAYLOAD)];
    let mut answer = read_members(body, ACTION_BYTES, &wanted)?;
    no_value_around(&mut answer, "/action")?;
    check_id(&mut answer, "/action/id", id)?;
    let phase = take_phase(&mut answer, "/action/state")?;
    let payload = answer.remove("/action/state_payload");
    if phase == ActionPhase::Failed {
        let error = take_error(payload);
        return Ok(ActionStatus { phase, payload: Value::Null.into(), unread: None, error });
    }
    let (payload, unread) = take_payload(payload);
    Ok(ActionStatus { phase, payload: payload.into(), unread, error: None })
}

/// Reads an agent's queue, a list of actions.
///
/// # Errors
/// [`Malformed`], also for a queue that is over [`QUEUE`].
pub fn read_stable_queue(body: &[u8]) -> Result<Vec<QueuedAction>, Malformed> {
    read_list(body, &QUEUE)?.iter().map(queued).collect()
}

fn queued(action: &Value) -> Result<QueuedAction, Malformed> {
    let text = |name| action.get(name).and_then(Value::as_str);
    let wrong = |name: &str, expected| {
        Malformed::unexpected(&format!("/*/{name}"), action.get(name), expected)
    };
    let id = text("id").and_then(|id| Uuid::parse_str(id).ok());
    let id = id.ok_or_else(|| wrong("id", "an identifier"))?;
    let phase = phase_of(text("state")).ok_or_else(|| wrong("state", PHASES))?;
    // The specification lets agents leave the kind out.
    Ok(QueuedAction { id, kind: quote(text("kind").unwrap_or_default()), phase })
}

/// Reads what an agent says about itself (`info/agent`): its version.
///
/// # Errors
/// [`Malformed`] when that is no answer of such an agent.
pub fn read_stable_agent(body: &[u8]) -> Result<Value, Malformed> {
    let mut answer = read_object(body, &NODE)?;
    match answer.remove("version") {
        Some(version @ Value::Object(_)) => Ok(version),
        other => Err(Malformed::unexpected("/version", other.as_ref(), "an object")),
    }
}

/// What an agent says about its store (`info/datastore`).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StableStore {
    node_id: Value,
    kind: Value,
    version: Value,
    cluster_id: Value,
    display_name: Value,
}

/// Reads what an agent says about its store. The identifier of its node is `node_id`, or `id` as the specification
/// calls it.
///
/// # Errors
/// [`Malformed`] when the answer is over its bounds, or when a field that is understood has the wrong shape.
pub fn read_stable_store(body: &[u8]) -> Result<StableStore, Malformed> {
    let mut answer = read_object(body, &STORE)?;
    let mut text = |name: &str| match answer.remove(name) {
        None | Some(Value::Null) => Ok(Value::Null),
        Some(text @ Value::String(_)) => Ok(text),
        other => Err(Malformed::unexpected(&format!("/{name}"), other.as_ref(), "a text")),
    };
    let (node_id, id) = (text("node_id")?, text("id")?);
    Ok(StableStore {
        node_id: if node_id.is_null() { id } else { node_id },
        kind: text("kind")?,
        version: text("version")?,
        cluster_id: text("cluster_id")?,
        display_name: text("cluster_display_name")?,
    })
}

impl StableStore {
    /// The store, as `info/store` tells it.
    pub fn store(&self) -> Value {
        let mut attributes = Map::new();
        if !self.display_name.is_null() {
            attributes.insert("cluster_display_name".to_owned(), self.display_name.clone());
        }
        json!({ "cluster_id": self.cluster_id, "attributes": attributes })
    }
}

/// The node of an agent, as `info/node` tells it: of these agents nobody says how a node is, so it is HEALTHY if its
/// agent could ask the store about it, and UNAVAILABLE if that failed (`None`). Then its identifier is not known either.
pub fn stable_node(version: Value, store: Option<&StableStore>) -> NodeInfo {
    let status = if store.is_some() { ANSWERS } else { SILENT };
    let StableStore { node_id, kind, version: number, .. } = store.cloned().unwrap_or_default();
    let raw = json!({
        "agent_version": version,
        "attributes": {},
        "node_id": node_id,
        "node_status": status,
        "store_id": kind,
        "store_version": { "checkout": null, "number": number, "extra": null },
    });
    let datastore = Datastore::default();
    NodeInfo { status: status.to_owned(), attributes: Map::new(), raw, datastore }
}

/// Whether an agent says that its actions are switched off (`GET actions`).
pub fn says_actions_are_off(body: &[u8]) -> bool {
    let answer = read_members(body, SCHEDULED_BYTES, &[("/actions", WORD)]);
    let actions = answer.ok().and_then(|mut answer| answer.remove("/actions"));
    actions.and_then(|found| found.value("/actions").ok()) == Some(Value::Bool(false))
}

#[cfg(test)]
#[path = "stable_tests.rs"]
mod tests;
