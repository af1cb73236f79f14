//! The JSON of the agent API: what is sent, and what is understood of the answers.
//!
//! Fields that are not needed are not looked at, since agents add their own. What is needed is
//! checked; the error says where, what was found and what was expected.

use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::client::{ActionPhase, ActionRequest, ActionStatus, QueuedAction};
use crate::run::NodeInfo;

/// Characters of a foreign value that an error quotes: enough for a person to recognise it.
const MAX_QUOTED_CHARS: usize = 200;

/// Characters of an agent's message that are kept: it is stored with the journal of each attempt.
const MAX_MESSAGE_CHARS: usize = 4_096;

/// The body of a request to schedule.
pub(super) fn schedule_body(request: &ActionRequest) -> Value {
    json!({
        "kind": request.kind,
        "args": request.args,
        "id": request.id,
        "created_time": request.created_time,
        "metadata": request.metadata,
    })
}

/// Checks the answer to a request to schedule `id`.
pub(super) fn read_scheduled(body: &[u8], id: Uuid) -> Result<(), String> {
    let answer = read_object(body)?;
    check_id(&answer, id)
}

/// What the phase of an action may be.
const PHASES: &str = "NEW, RUNNING, DONE or FAILED";

fn phase_of(word: Option<&str>) -> Option<ActionPhase> {
    match word {
        Some("NEW") => Some(ActionPhase::New),
        Some("RUNNING") => Some(ActionPhase::Running),
        Some("DONE") => Some(ActionPhase::Done),
        Some("FAILED") => Some(ActionPhase::Failed),
        Some(_) | None => None,
    }
}

/// Reads an action.
pub(super) fn read_action(body: &[u8], id: Uuid) -> Result<ActionStatus, String> {
    let mut answer = read_object(body)?;
    check_id(&answer, id)?;
    let mut state = match answer.remove("state") {
        Some(Value::Object(state)) => state,
        other => return Err(unexpected("/state", other.as_ref(), "an object")),
    };
    let phase = match phase_of(state.get("phase").and_then(Value::as_str)) {
        Some(phase) => phase,
        None => return Err(unexpected("/state/phase", state.get("phase"), PHASES)),
    };
    let error = match state.get("error") {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) => Some(shorten(text, MAX_MESSAGE_CHARS)),
        Some(error) => match error.get("error_msg").and_then(Value::as_str) {
            Some(text) => Some(shorten(text, MAX_MESSAGE_CHARS)),
            None => Some(shorten(&error.to_string(), MAX_MESSAGE_CHARS)),
        },
    };
    let payload = state.remove("payload").unwrap_or(Value::Null);
    Ok(ActionStatus { phase, payload, error })
}

/// Reads an agent's queue.
pub(super) fn read_queue(body: &[u8]) -> Result<Vec<QueuedAction>, String> {
    #[derive(serde::Deserialize)]
    struct Queue {
        actions: Vec<Item>,
    }
    #[derive(serde::Deserialize)]
    struct Item {
        id: Uuid,
        kind: String,
        phase: String,
    }
    let expected = "{\"actions\": [{\"id\", \"kind\", \"phase\"}, …]}";
    let queue: Queue = serde_json::from_slice(body).map_err(|error| {
        let found = quote(&String::from_utf8_lossy(body));
        format!("the body: found {found:?}, expected {expected} ({error})")
    })?;
    let read = |Item { id, kind, phase }| {
        let found = phase_of(Some(&phase));
        let phase = found.ok_or_else(|| {
            let found = quote(&phase);
            format!("/actions/*/phase: found {found:?}, expected {PHASES}")
        })?;
        Ok(QueuedAction { id, kind: quote(&kind), phase })
    };
    queue.actions.into_iter().map(read).collect()
}

/// Reads what an agent says about its node.
pub(super) fn read_node(body: &[u8]) -> Result<NodeInfo, String> {
    let answer = read_object(body)?;
    let status = match answer.get("node_status") {
        Some(Value::String(word)) if is_status_word(word) => word.clone(),
        Some(Value::Object(map)) if map.len() == 1 && map.contains_key("UNKNOWN") => {
            "UNKNOWN".to_owned()
        }
        other => {
            let expected = "a word in capitals or {\"UNKNOWN\": reason}";
            return Err(unexpected("/node_status", other, expected));
        }
    };
    let attributes = match answer.get("attributes") {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(map)) => map.clone(),
        other => return Err(unexpected("/attributes", other, "an object")),
    };
    for (name, value) in &attributes {
        if value.is_object() || value.is_array() {
            let expected = "a string, a number, a boolean or null";
            return Err(unexpected(&format!("/attributes/{name}"), Some(value), expected));
        }
    }
    Ok(NodeInfo { status, attributes, raw: Value::Object(answer) })
}

/// Whether this can be the status of a node.
pub(super) fn is_status_word(word: &str) -> bool {
    let mut letters = word.chars();
    letters.next().is_some_and(|first| first.is_ascii_uppercase())
        && letters.all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
}

/// The message in the body of an error; the body itself when it is not the JSON of an agent.
pub(super) fn error_message(body: &[u8]) -> String {
    if let Ok(Value::Object(answer)) = serde_json::from_slice(body)
        && let Some(text) = answer.get("error_msg").and_then(Value::as_str)
    {
        return shorten(text, MAX_MESSAGE_CHARS);
    }
    match String::from_utf8_lossy(body).trim() {
        "" => "(no message)".to_owned(),
        text => shorten(text, MAX_MESSAGE_CHARS),
    }
}

fn read_object(body: &[u8]) -> Result<Map<String, Value>, String> {
    match serde_json::from_slice(body) {
        Ok(Value::Object(map)) => Ok(map),
        Ok(other) => Err(unexpected("the body", Some(&other), "a JSON object")),
        Err(error) => {
            let found = quote(&String::from_utf8_lossy(body));
            Err(format!("the body: found {found:?}, expected a JSON object ({error})"))
        }
    }
}

fn check_id(answer: &Map<String, Value>, id: Uuid) -> Result<(), String> {
    let found = answer.get("id").and_then(Value::as_str).map(Uuid::parse_str);
    match found {
        Some(Ok(found)) if found == id => Ok(()),
        Some(_) | None => Err(unexpected("/id", answer.get("id"), &id.to_string())),
    }
}

fn unexpected(place: &str, found: Option<&Value>, expected: &str) -> String {
    match found {
        Some(value) => format!("{place}: found {}, expected {expected}", quote(&value.to_string())),
        None => format!("{place}: found nothing, expected {expected}"),
    }
}

fn quote(text: &str) -> String {
    shorten(text, MAX_QUOTED_CHARS)
}

/// The start of `text`, with a sign when there was more.
fn shorten(text: &str, chars: usize) -> String {
    match text.char_indices().nth(chars) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::Timestamp;

    const ID: Uuid = Uuid::from_u128(0x1111_1111_2222_4333_8444_5555_5555_5555);

    /// As recorded from an agent.
    fn recorded(state: &str) -> String {
        format!(
            r#"{{"args":{{"target":3}},"created_time":"2026-11-22T09:00:00Z","finished_time":null,"id":"{ID}","kind":"agent.replicante.io/test.loop","metadata":{{"run":"r1"}},"scheduled_time":"2026-11-22T08:59:27.403646945Z","state":{state}}}"#
        )
    }

    #[test]
    fn recorded_actions_are_read() {
        let read = |state| read_action(recorded(state).as_bytes(), ID);
        assert_eq!(
            read(r#"{"error":null,"payload":null,"phase":"NEW"}"#).unwrap(),
            ActionStatus { phase: ActionPhase::New, payload: Value::Null, error: None }
        );
        assert_eq!(
            read(r#"{"error":null,"payload":{"count":2,"target":3},"phase":"RUNNING"}"#).unwrap(),
            ActionStatus {
                phase: ActionPhase::Running,
                payload: json!({"count": 2, "target": 3}),
                error: None
            }
        );
        let failed = r#"{"error":{"error_backtrace":"   0: anyhow::error::…","error_msg":"Test action failed as expected"},"payload":null,"phase":"FAILED"}"#;
        let failed = read(failed).unwrap();
        assert_eq!(failed.phase, ActionPhase::Failed);
        assert_eq!(failed.error.as_deref(), Some("Test action failed as expected"));
    }

    #[test]
    fn an_action_that_is_none_is_refused_with_place_found_and_expected() {
        let read = |body: &str| read_action(body.as_bytes(), ID).unwrap_err();
        assert_eq!(
            read(&recorded(r#"{"phase":"PAUSED"}"#)),
            "/state/phase: found \"PAUSED\", expected NEW, RUNNING, DONE or FAILED"
        );
        assert_eq!(
            read(&format!(r#"{{"id":"{ID}"}}"#)),
            "/state: found nothing, expected an object"
        );
        assert_eq!(
            read(&format!(r#"{{"id":"{}"}}"#, Uuid::nil())),
            format!("/id: found \"{}\", expected {ID}", Uuid::nil())
        );
        assert!(read("<html>").starts_with("the body: found \"<html>\", expected a JSON object"));
        assert_eq!(read("[]"), "the body: found [], expected a JSON object");
    }

    #[test]
    fn a_queue_is_read_in_its_order_and_anything_else_is_refused() {
        let body = format!(
            r#"{{"actions":[{{"id":"{ID}","kind":"a/b","phase":"RUNNING","x":1}},{{"id":"{}","kind":"c/d","phase":"NEW"}}]}}"#,
            Uuid::nil()
        );
        let queue = read_queue(body.as_bytes()).unwrap();
        let found: Vec<_> = queue.iter().map(|a| (a.id, a.kind.as_str(), a.phase)).collect();
        let expected = [(ID, "a/b", ActionPhase::Running), (Uuid::nil(), "c/d", ActionPhase::New)];
        assert_eq!(found, expected);
        assert_eq!(read_queue(br#"{"actions":[]}"#).unwrap(), []);
        let odd = body.replace("NEW", "LATE");
        for bad in ["", "[]", "{}", r#"{"actions":[{}]}"#, r#"{"actions":{}}"#, &odd] {
            let error = read_queue(bad.as_bytes()).unwrap_err();
            assert!(error.contains("expected"), "{bad}: {error}");
        }
    }

    #[test]
    fn a_recorded_node_is_read_whole() {
        let body = r#"{"address":{"client":"127.0.0.1:27017","member":null},"agent_version":{"checkout":"c","number":"0.1.0","taint":"not tainted"},"attributes":{"rack":null,"role":"SECONDARY"},"node_id":"node-1","node_status":"HEALTHY","store_id":"demo","store_version":{"checkout":null,"number":"1.2.3","extra":null}}"#;
        let node = read_node(body.as_bytes()).unwrap();
        assert_eq!(node.status, "HEALTHY");
        assert_eq!(
            node.attributes,
            *json!({"rack": null, "role": "SECONDARY"}).as_object().unwrap()
        );
        assert_eq!(node.raw["store_version"]["number"], "1.2.3");
    }

    #[test]
    fn the_status_of_a_node_is_a_word_or_unknown_with_a_reason() {
        let read = |status: &str| read_node(format!(r#"{{"node_status":{status}}}"#).as_bytes());
        assert_eq!(read(r#""NOT_IN_CLUSTER""#).unwrap().status, "NOT_IN_CLUSTER");
        assert_eq!(read(r#"{"UNKNOWN":"no such code"}"#).unwrap().status, "UNKNOWN");
        for bad in ["1", "null", "\"\"", "\"healthy\"", "{}", r#"{"SICK":"x"}"#, "[]"] {
            let message = read(bad).unwrap_err();
            assert!(message.starts_with("/node_status: found"), "{bad}: {message}");
        }
    }

    #[test]
    fn an_attribute_is_a_plain_value() {
        let body = br#"{"node_status":"HEALTHY","attributes":{"a":"x","b":1.5,"c":true,"d":null}}"#;
        assert_eq!(read_node(body).unwrap().attributes.len(), 4);
        let body = br#"{"node_status":"HEALTHY","attributes":{"a":[1]}}"#;
        assert_eq!(
            read_node(body).unwrap_err(),
            "/attributes/a: found [1], expected a string, a number, a boolean or null"
        );
    }

    #[test]
    fn messages_of_errors_are_found_and_bounded() {
        let known = br#"{"error":true,"error_msg":"metadata for action nope/x not found"}"#;
        assert_eq!(error_message(known), "metadata for action nope/x not found");
        assert_eq!(error_message(b" plain text\n"), "plain text");
        assert_eq!(error_message(b""), "(no message)");
        assert_eq!(error_message("ä".repeat(10_000).as_bytes()).chars().count(), 4_097);
    }

    #[test]
    fn times_are_sent_in_utc() {
        let body = schedule_body(&ActionRequest {
            id: ID,
            kind: "k".to_owned(),
            args: json!({"a": 1}),
            created_time: Timestamp::from_millis(1_763_802_000_000),
            metadata: Map::new(),
        });
        let expected = json!({
            "kind": "k", "args": {"a": 1}, "id": ID,
            "created_time": "2025-11-22T09:00:00.000Z", "metadata": {}
        });
        assert_eq!(body, expected);
    }
}
