//! The calls of a step whose answers are journaled, and the answers. A call with its arguments is an effect; of the
//! arguments only a hash is kept.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::agent_record::FailureReason;
use super::http::{HttpError, HttpRequest, HttpResponse};
use super::json_text::JsonText;
use super::node_info::KeptNode;
use super::signal::Received;
use crate::time::Millis;

/// The functions of the host whose answers are journaled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CallName {
    /// `agent.info`
    Info,
    /// `agent.run-action`
    RunAction,
    /// `agent.wait-status`
    WaitStatus,
    /// `timer.sleep`
    Sleep,
    /// `http.send`
    HttpSend,
    /// `signal.wait`
    WaitSignal,
}

impl CallName {
    /// The name by which the authors of plugins know the function.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Info => "agent.info",
            Self::RunAction => "agent.run-action",
            Self::WaitStatus => "agent.wait-status",
            Self::Sleep => "timer.sleep",
            Self::HttpSend => "http.send",
            Self::WaitSignal => "signal.wait",
        }
    }
}

/// A call with its arguments. The host performs it as an effect.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "call")]
pub enum Call {
    /// Ask the agent about its node.
    Info,
    /// Have the agent perform an action.
    RunAction {
        /// Kind of the action.
        kind: String,
        /// Its arguments.
        arguments: JsonText,
    },
    /// Wait until the node has one of these statuses.
    WaitStatus {
        /// Words such as `HEALTHY`.
        statuses: Vec<String>,
        /// How long to wait, from [`Pending::at`](super::Pending::at).
        timeout: Millis,
    },
    /// Wait for a length of time, from [`Pending::at`](super::Pending::at).
    Sleep {
        /// How long to wait.
        length: Millis,
    },
    /// Send an HTTP request.
    HttpSend {
        /// The request, which was checked.
        request: HttpRequest,
    },
    /// Wait for a signal to the run or to the agent.
    WaitSignal {
        /// Name of the signal.
        name: String,
        /// How long to wait, from [`Pending::at`](super::Pending::at).
        timeout: Millis,
    },
}

impl Call {
    /// The function that is called.
    pub const fn name(&self) -> CallName {
        match self {
            Self::Info => CallName::Info,
            Self::RunAction { .. } => CallName::RunAction,
            Self::WaitStatus { .. } => CallName::WaitStatus,
            Self::Sleep { .. } => CallName::Sleep,
            Self::HttpSend { .. } => CallName::HttpSend,
            Self::WaitSignal { .. } => CallName::WaitSignal,
        }
    }

    /// Bytes of the arguments of an action; `None` for other calls.
    pub fn argument_bytes(&self) -> Option<u32> {
        match self {
            Self::RunAction { arguments, .. } => {
                Some(u32::try_from(arguments.bytes()).unwrap_or(u32::MAX))
            }
            Self::Info
            | Self::WaitStatus { .. }
            | Self::Sleep { .. }
            | Self::HttpSend { .. }
            | Self::WaitSignal { .. } => None,
        }
    }

    /// What the call asks for, as far as people are told: the name of a signal, or where a request goes.
    pub fn asks_for(&self) -> Option<String> {
        match self {
            Self::WaitSignal { name, .. } => Some(name.clone()),
            Self::HttpSend { request } => Some(request.in_words()),
            Self::Info | Self::RunAction { .. } | Self::WaitStatus { .. } | Self::Sleep { .. } => {
                None
            }
        }
    }

    /// The sha256 of the arguments, in hex. A later activation must make the same call with the same hash.
    pub fn arguments_hash(&self) -> String {
        let text = match self {
            Self::Info => String::new(),
            Self::RunAction { kind, arguments } => {
                let mut text = format!("{kind}\n");
                write_canonical(&arguments.value(), &mut text);
                text
            }
            Self::WaitStatus { statuses, timeout } => format!("{timeout:?}\n{statuses:?}"),
            Self::Sleep { length } => format!("{length:?}"),
            Self::HttpSend { request } => return request.hash(),
            Self::WaitSignal { name, timeout } => format!("{timeout:?}\n{name}"),
        };
        hex::encode(Sha256::digest(text.as_bytes()))
    }
}

/// The JSON text of `value` with the keys of objects in order, so that equal values have equal texts.
pub fn canonical(value: &Value) -> String {
    let mut text = String::new();
    write_canonical(value, &mut text);
    text
}

/// Appends the canonical text of `value`. Every activation does this for each call that it repeats.
fn write_canonical(value: &Value, text: &mut String) {
    match value {
        Value::Object(map) => {
            let mut members: Vec<_> = map.iter().collect();
            members.sort_unstable_by_key(|(key, _)| key.as_str());
            let mut before = '{';
            for (key, value) in members {
                text.push(before);
                write_string(key, text);
                text.push(':');
                write_canonical(value, text);
                before = ',';
            }
            text.push_str(if map.is_empty() { "{}" } else { "}" });
        }
        Value::Array(items) => {
            let mut before = '[';
            for item in items {
                text.push(before);
                write_canonical(item, text);
                before = ',';
            }
            text.push_str(if items.is_empty() { "[]" } else { "]" });
        }
        Value::String(string) => write_string(string, text),
        Value::Null | Value::Bool(_) | Value::Number(_) => text.push_str(&value.to_string()),
    }
}

fn write_string(string: &str, text: &mut String) {
    // Most strings have nothing to escape, and only need quotes around them.
    if string.bytes().all(|byte| byte >= b' ' && byte != b'"' && byte != b'\\') {
        text.push('"');
        text.push_str(string);
        text.push('"');
    } else {
        text.push_str(&Value::from(string).to_string());
    }
}

/// The answer to a call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// The answer to [`Call::Info`].
    Info(Result<KeptNode, CallError>),
    /// The answer to [`Call::RunAction`]: the action's payload.
    RunAction(Result<JsonText, CallError>),
    /// The answer to [`Call::WaitStatus`]: the status that was found.
    WaitStatus(Result<String, CallError>),
    /// The answer to [`Call::Sleep`].
    Sleep,
    /// The answer to [`Call::HttpSend`].
    HttpSend(Result<HttpResponse, HttpError>),
    /// The answer to [`Call::WaitSignal`].
    WaitSignal(Result<Received, CallError>),
}

impl CallError {
    /// The same error with another message.
    #[must_use]
    pub fn map_message(self, map: impl FnOnce(String) -> String) -> Self {
        match self {
            Self::Failed(message) => Self::Failed(map(message)),
            Self::Refused(message) => Self::Refused(map(message)),
            Self::Malformed(message) => Self::Malformed(map(message)),
            Self::Unreachable(message) => Self::Unreachable(map(message)),
            Self::NotTaken(message) => Self::NotTaken(map(message)),
            Self::Lost(message) => Self::Lost(map(message)),
            Self::TimedOut(message) => Self::TimedOut(map(message)),
            Self::WrongNode(message) => Self::WrongNode(map(message)),
            Self::NotGranted(message) => Self::NotGranted(map(message)),
            Self::Secret(message) => Self::Secret(map(message)),
        }
    }

    /// Whether the error says nothing about how the action ended: the action may still be going on.
    pub const fn leaves_open(&self) -> bool {
        match self {
            Self::Unreachable(_) | Self::Malformed(_) => true,
            Self::Failed(_)
            | Self::Refused(_)
            | Self::NotTaken(_)
            | Self::Lost(_)
            | Self::TimedOut(_)
            | Self::WrongNode(_)
            | Self::NotGranted(_)
            | Self::Secret(_) => false,
        }
    }

    /// Whether the error says that nothing answered at the agent's address until the deadline.
    pub const fn is_silence(&self) -> bool {
        match self {
            Self::Unreachable(_) | Self::NotTaken(_) => true,
            Self::Failed(_)
            | Self::Refused(_)
            | Self::Malformed(_)
            | Self::Lost(_)
            | Self::TimedOut(_)
            | Self::WrongNode(_)
            | Self::NotGranted(_)
            | Self::Secret(_) => false,
        }
    }

    /// Why an attempt fails that ends with this error.
    pub const fn reason(&self) -> FailureReason {
        match self {
            Self::Failed(_) => FailureReason::ActionFailed,
            Self::Refused(_) => FailureReason::Refused,
            Self::Malformed(_) => FailureReason::Malformed,
            Self::Unreachable(_) | Self::NotTaken(_) => FailureReason::Unreachable,
            Self::Lost(_) => FailureReason::ActionLost,
            Self::TimedOut(_) => FailureReason::TimedOut,
            Self::WrongNode(_) => FailureReason::WrongNode,
            Self::NotGranted(_) => FailureReason::NotGranted,
            Self::Secret(_) => FailureReason::SecretUnavailable,
        }
    }
}

impl Answer {
    /// The function that this answers.
    pub const fn name(&self) -> CallName {
        match self {
            Self::Info(_) => CallName::Info,
            Self::RunAction(_) => CallName::RunAction,
            Self::WaitStatus(_) => CallName::WaitStatus,
            Self::Sleep => CallName::Sleep,
            Self::HttpSend(_) => CallName::HttpSend,
            Self::WaitSignal(_) => CallName::WaitSignal,
        }
    }

    /// The error in the answer, if a call to the agent or a wait failed.
    pub const fn error(&self) -> Option<&CallError> {
        match self {
            Self::Info(Err(error))
            | Self::RunAction(Err(error))
            | Self::WaitStatus(Err(error))
            | Self::WaitSignal(Err(error)) => Some(error),
            Self::Info(Ok(_))
            | Self::RunAction(Ok(_))
            | Self::WaitStatus(Ok(_))
            | Self::WaitSignal(Ok(_))
            | Self::HttpSend(_)
            | Self::Sleep => None,
        }
    }

    /// Why an attempt fails that ends with this answer. `None` if the call succeeded.
    pub const fn trouble(&self) -> Option<FailureReason> {
        match self {
            Self::HttpSend(Err(error)) => Some(error.reason()),
            Self::Info(_)
            | Self::RunAction(_)
            | Self::WaitStatus(_)
            | Self::WaitSignal(_)
            | Self::HttpSend(Ok(_))
            | Self::Sleep => match self.error() {
                Some(error) => Some(error.reason()),
                None => None,
            },
        }
    }
}

/// Why a call to an agent, or a wait for a signal, gave no result.
#[derive(
    Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema, thiserror::Error,
)]
#[serde(rename_all = "kebab-case", tag = "error", content = "message")]
pub enum CallError {
    /// The action ended in FAILED.
    #[error("action failed: {0}")]
    Failed(String),
    /// The agent, or something in front of it, refused the call.
    #[error("agent refused the call: {0}")]
    Refused(String),
    /// An answer can't be read, or is over its bounds. The action that it is about may still be going on.
    #[error("agent answered something unexpected: {0}")]
    Malformed(String),
    /// The agent could not be reached before the deadline.
    #[error("agent unreachable: {0}")]
    Unreachable(String),
    /// The agent could not be reached before the deadline, and never took the request for the action.
    #[error("agent unreachable, and no action is out: {0}")]
    NotTaken(String),
    /// The agent had accepted the action and no longer knows it.
    #[error("action lost: {0}")]
    Lost(String),
    /// The time of the call ran out.
    #[error("timed out: {0}")]
    TimedOut(String),
    /// What answers at the agent's address says that it is another node, and nothing was sent to it. No step sees
    /// this error: the host fails the agent.
    #[error("wrong node: {0}")]
    WrongNode(String),
    /// The arguments have a secret that may not go to the agent. Nothing was sent.
    #[error("not granted: {0}")]
    NotGranted(String),
    /// The arguments have a secret that can't be used. Nothing was sent, or it is not known any more what to take out of
    /// the action's result.
    #[error("secret not usable: {0}")]
    Secret(String),
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_hash_is_of_the_arguments_and_not_of_their_order() {
        let hash = |arguments: Value| {
            let arguments = arguments.into();
            Call::RunAction { kind: "k".to_owned(), arguments }.arguments_hash()
        };
        assert_eq!(hash(json!({"a": 1, "b": [2]})), hash(json!({"b": [2], "a": 1})));
        assert_ne!(hash(json!({"a": 1})), hash(json!({"a": 1.0})));
        assert_ne!(
            Call::Sleep { length: Millis(1) }.arguments_hash(),
            Call::Sleep { length: Millis(2) }.arguments_hash()
        );
    }

    #[test]
    fn the_canonical_text_is_json_with_its_keys_in_order() {
        let text =
            r#"{"":{},"a\"b":[],"a\u0001":["\\",null,1.5,{"a":1,"b":[true,"\u007fä"]}],"z":"\n"}"#;
        let value: Value = serde_json::from_str(text).unwrap();
        let sorted: std::collections::BTreeMap<String, Value> = serde_json::from_str(text).unwrap();
        assert_eq!(canonical(&value), serde_json::to_string(&sorted).unwrap());
        assert_eq!(serde_json::from_str::<Value>(&canonical(&value)).unwrap(), value);
    }

    #[test]
    fn answers_survive_json() {
        for answer in [
            Answer::Sleep,
            Answer::RunAction(Ok(Value::Null.into())),
            Answer::RunAction(Err(CallError::Lost("gone".to_owned()))),
            Answer::WaitStatus(Ok("HEALTHY".to_owned())),
            Answer::WaitSignal(Ok(Received { number: 3, payload: json!({"go": true}).into() })),
            Answer::WaitSignal(Err(CallError::TimedOut("no signal".to_owned()))),
            Answer::HttpSend(Err(HttpError::Failed("connection refused".to_owned()))),
        ] {
            let text = serde_json::to_string(&answer).unwrap();
            assert_eq!(serde_json::from_str::<Answer>(&text).unwrap(), answer, "{text}");
        }
    }
}
