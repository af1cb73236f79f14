//! Reads an agent's queue, which is only shown to people: the engine decides nothing from it.

use serde_json::Value;
use uuid::Uuid;

use super::action::{ActionPhase, PHASES, phase_of};
use super::bounds::QUEUE;
use super::json::{Malformed, read_members};
use super::message::quote;

/// An action in an agent's queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueuedAction {
    /// The action's identifier.
    pub id: Uuid,
    /// The action's kind, cut to the length in which it is shown.
    pub kind: String,
    /// How far the action is.
    pub phase: ActionPhase,
}

/// Reads an agent's queue. Unknown fields of an action are ignored, and its kind is cut to the length in which it
/// is shown.
///
/// # Errors
/// [`Malformed`], also for a queue that is over [`QUEUE`].
pub fn read_queue(body: &[u8]) -> Result<Vec<QueuedAction>, Malformed> {
    let mut answer = read_members(body, QUEUE.bytes, &[("/actions", QUEUE)])?;
    let actions = match answer.remove("/actions") {
        Some(found) => Some(found.value("/actions")?),
        None => None,
    };
    match actions {
        Some(Value::Array(actions)) => actions.iter().map(read).collect(),
        other => Err(Malformed::unexpected("/actions", other.as_ref(), "a list of actions")),
    }
}

fn read(action: &Value) -> Result<QueuedAction, Malformed> {
    let text = |name| action.get(name).and_then(Value::as_str);
    let wrong = |name: &str, expected| {
        Malformed::unexpected(&format!("/actions/*/{name}"), action.get(name), expected)
    };
    let id = text("id").and_then(|id| Uuid::parse_str(id).ok());
    let id = id.ok_or_else(|| wrong("id", "an identifier"))?;
    let kind = text("kind").ok_or_else(|| wrong("kind", "a text"))?;
    let phase = phase_of(text("phase")).ok_or_else(|| wrong("phase", PHASES))?;
    Ok(QueuedAction { id, kind: quote(kind), phase })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(actions: &str) -> Result<Vec<QueuedAction>, String> {
        let body = format!(r#"{{"more":[1],"actions":{actions}}}"#);
        read_queue(body.as_bytes()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_queue_is_read_and_what_is_none_is_refused() {
        let id = Uuid::from_u128(7);
        let action =
            |phase: &str| format!(r#"{{"id":"{id}","kind":"a/b","phase":"{phase}","x":1}}"#);
        let read = queue(&format!("[{},{}]", action("RUNNING"), action("NEW"))).unwrap();
        assert_eq!((read[0].phase, read[1].phase), (ActionPhase::Running, ActionPhase::New));
        assert_eq!((read[0].id, read[0].kind.as_str()), (id, "a/b"));
        assert_eq!(queue("[]").unwrap(), []);
        for (actions, told) in [
            (r#"{}"#.to_owned(), "/actions: found {}, expected a list of actions"),
            ("[7]".to_owned(), "/actions/*/id: found nothing, expected an identifier"),
            (
                format!("[{}]", action("PAUSED")),
                "/actions/*/phase: found \"PAUSED\", expected NEW,",
            ),
            (format!(r#"[{{"id":"{id}"}}]"#), "/actions/*/kind: found nothing, expected a text"),
            (
                format!("[{}1]", "0,".repeat(50_000)),
                "/actions: found more than 20000 values, expected at most that",
            ),
        ] {
            let found = queue(&actions).unwrap_err();
            assert!(found.starts_with(told), "{found}");
        }
        assert!(read_queue(b"{}").unwrap_err().to_string().starts_with("/actions: found nothing"));
    }
}
