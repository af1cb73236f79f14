//! Makes short and harmless text for people: of what agents say about a failure, and about answers that can't be
//! read. It bounds the length and replaces control characters, since the text goes to terminals and into the
//! store.

use std::fmt::Write as _;

use serde_json::{Map, Value};

use super::bounds::{ERROR, REFUSAL_BYTES};
use super::json::read_object;
use crate::shown::without_controls;

/// Bytes that are kept of a message. It is written to the journal, the record and several events of each attempt.
pub(super) const MESSAGE_BYTES: usize = 8 * 1024;

/// Bytes that a message quotes of a value that an agent sent: enough for a person to recognise it.
const QUOTED_BYTES: usize = 200;

/// How many causes of a failure are kept. [`CAUSE_BYTES`] are kept of each.
const CAUSES: usize = 16;
const CAUSE_BYTES: usize = 512;

/// The start of `text`, at most 8 KiB of it, followed by `…` if there was more. Control characters other than line
/// feeds and tabs are replaced: they would affect a terminal, and JSON writes each with six bytes.
pub fn cut(text: &str) -> String {
    shorten(text, MESSAGE_BYTES)
}

pub(super) fn quote(text: &str) -> String {
    shorten(text, QUOTED_BYTES)
}

fn shorten(text: &str, bytes: usize) -> String {
    let end = text.floor_char_boundary(bytes);
    let start = text.get(..end).unwrap_or_default();
    let mut short = without_controls(start);
    if end < text.len() {
        short.push('…');
    }
    short
}

/// Says where something is not as expected, what was found and what was expected.
pub(super) fn unexpected(place: &str, found: Option<&Value>, expected: &str) -> String {
    match found {
        Some(value) => {
            format!("{}: found {}, expected {expected}", quote(place), quote(&value.to_string()))
        }
        None => format!("{}: found nothing, expected {expected}", quote(place)),
    }
}

/// What the body of a refusal or a failure says: the agent's message and causes, or else the body as text.
pub fn error_message(body: &[u8]) -> String {
    let body = body.get(..REFUSAL_BYTES).unwrap_or(body);
    if let Ok(answer) = read_object(body, &ERROR)
        && let Some(message) = of_object(&answer)
    {
        return message;
    }
    match String::from_utf8_lossy(body).trim() {
        "" => "(no message)".to_owned(),
        // No more than that is read, so there may have been more.
        text if body.len() == REFUSAL_BYTES && text.len() <= MESSAGE_BYTES => cut(text) + "…",
        text => cut(text),
    }
}

/// What an agent says about an action that failed, as one text: the message and the causes. Backtraces are for the
/// authors of agents, and are left out.
pub fn told_error(error: &Value) -> String {
    match error {
        Value::String(text) => cut(text),
        Value::Object(error) => of_object(error).unwrap_or_else(|| without_traces(error)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => {
            cut(&error.to_string())
        }
    }
}

/// Message and causes of `{error_msg, error_cause, error_trail}`, or of `{error, layers}`, which older agents
/// send.
fn of_object(error: &Map<String, Value>) -> Option<String> {
    let text = |name| error.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    let message = text("error_msg").or_else(|| text("error"))?;
    let trail = ["error_cause", "error_trail", "layers"].into_iter();
    let causes = trail.filter_map(|name| error.get(name)).flat_map(texts);
    let mut told = vec![message];
    for cause in causes {
        // `error_trail` begins with the cause, and `layers` with the message.
        if told.len() <= CAUSES && !told.contains(&cause) {
            told.push(cause);
        }
    }
    let mut whole = cut(message);
    for cause in told.into_iter().skip(1) {
        let _ = write!(whole, ": {}", shorten(cause, CAUSE_BYTES));
    }
    Some(cut(&whole))
}

/// The texts in a cause, or in a list of causes.
fn texts(causes: &Value) -> Vec<&str> {
    match causes {
        Value::String(text) => vec![text],
        Value::Array(items) => items.iter().filter_map(of_cause).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => Vec::new(),
    }
}

fn of_cause(cause: &Value) -> Option<&str> {
    cause.as_str().or_else(|| cause.get("error_msg")?.as_str())
}

fn without_traces(error: &Map<String, Value>) -> String {
    let mut error = error.clone();
    for trace in ["error_backtrace", "trace", "backtrace"] {
        error.remove(trace);
    }
    cut(&Value::Object(error).to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_message_of_an_error_is_found() {
        let known = br#"{"error":true,"error_msg":"metadata for action nope/x not found"}"#;
        assert_eq!(error_message(known), "metadata for action nope/x not found");
        assert_eq!(error_message(b" plain text\n"), "plain text");
        assert_eq!(error_message(b""), "(no message)");
        assert_eq!(error_message(b"\xff\x1b[2Jx"), "\u{fffd}\u{fffd}[2Jx");
        let spaces = format!("{}said", " ".repeat(REFUSAL_BYTES - 3));
        assert_eq!(error_message(spaces.as_bytes()), "sai…");
        let long = error_message("ä".repeat(100_000).as_bytes());
        assert_eq!((long.len(), long.ends_with("ä…")), (MESSAGE_BYTES + 3, true));
        let long = json!({"error_msg": "x".repeat(50_000), "error_cause": "y"}).to_string();
        assert_eq!(error_message(long.as_bytes()).len(), MESSAGE_BYTES + 3);
    }

    #[test]
    fn causes_are_kept_and_backtraces_are_not() {
        let trace = "   0: anyhow::error::…";
        for (error, told) in [
            (json!("plain"), "plain"),
            (json!({"error_msg": "a", "error_backtrace": trace}), "a"),
            (json!({"error_msg": "a", "error_cause": "b", "error_trail": ["b", "c"]}), "a: b: c"),
            (json!({"error": "a", "layers": ["a", "b"], "trace": trace}), "a: b"),
            (
                json!({"error": true, "error_msg": "a", "error_trail": [{"error_msg": "b"}, 7]}),
                "a: b",
            ),
            (json!({"code": 7, "trace": trace}), r#"{"code":7}"#),
            (json!(["a"]), r#"["a"]"#),
        ] {
            assert_eq!(told_error(&error), told, "{error}");
        }
    }

    #[test]
    fn many_long_causes_are_cut() {
        let trail: Vec<String> = (0..500).map(|n| format!("{n}{}", "x".repeat(5_000))).collect();
        let told = told_error(&json!({"error_msg": "a", "error_trail": trail}));
        assert!(told.len() <= MESSAGE_BYTES + 3 && told.starts_with("a: 0xxx"), "{}", told.len());
        assert_eq!(told.matches(": ").count(), CAUSES);
    }
}
