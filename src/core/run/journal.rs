//! The journal of an attempt: the calls that its step made, and the answers that they got. A step is activated
//! from its start after each answer, so the journal is all that an attempt has to remember.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use super::agent_record::FailureReason;
use super::json_text::JsonText;
use super::late::Taken;
use super::node_info::KeptNode;
use crate::ids::{AgentId, AttemptKey, RunId, SentAction};
use crate::time::{Millis, Timestamp};

/// The journal of one attempt, in one document. With the attempt's arguments and seed it determines each
/// activation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Journal {
    /// The run that the attempt belongs to.
    pub run: RunId,
    /// Which attempt of which step on which agent record.
    pub key: AttemptKey,
    /// Identifier of the agent.
    pub agent: AgentId,
    /// Name of the step.
    pub step_name: String,
    /// When the attempt started: the logical time until the first answer.
    pub started_at: Timestamp,
    /// The step's arguments with the expressions filled in.
    pub arguments: JsonText,
    /// The answers so far; the index is the number of the call.
    pub answers: Vec<Answered>,
    /// The call that is being performed, if one is.
    pub pending: Option<Pending>,
    /// How the pending call ended, if it ended after the attempt was over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub late: Option<Answered>,
    /// Number of the call that `late` answers, if the attempt had already got an answer for it. That answer only
    /// said that the agent did not tell how the action went on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub late_of: Option<u32>,
    /// What was taken over from an earlier attempt whose action ended well, but after that attempt was over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taken: Option<Taken>,
    /// How long the run had been on hold (`pause --now`) when the attempt began. The step's timeout does not count
    /// what is added later.
    #[serde(default)]
    pub held: Millis,
    /// The attributes that the step sees, if the agent did not have them when the attempt started, or no longer
    /// has them. All activations of an attempt must see the same attributes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attributes: Option<Arc<Map<String, Value>>>,
    /// Whether the host ended the attempt before it came to an end by itself: its time was over, the run was
    /// cancelled, or an answer was larger than what is kept.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cut_off: bool,
    /// Number of lines that the attempt has logged so far.
    pub log_lines: u32,
    /// When the run finished, once it has.
    pub finish_ts: Option<Timestamp>,
}

impl Journal {
    /// The journal of an attempt that has made no call yet.
    pub fn new(
        run: RunId,
        key: AttemptKey,
        agent: AgentId,
        step_name: String,
        started_at: Timestamp,
        arguments: impl Into<JsonText>,
    ) -> Self {
        Self {
            run,
            key,
            agent,
            step_name,
            started_at,
            arguments: arguments.into(),
            answers: Vec::new(),
            pending: None,
            late: None,
            late_of: None,
            taken: None,
            held: Millis(0),
            attributes: None,
            cut_off: false,
            log_lines: 0,
            finish_ts: None,
        }
    }

    /// The moment from which the time limit of the attempt counts.
    pub fn counts_from(&self) -> Timestamp {
        self.taken.map_or(self.started_at, |taken| taken.at)
    }

    /// The attempt whose seed gives the step its random bytes. A step that goes on from an earlier attempt must
    /// see the same bytes.
    pub fn seed_key(&self) -> AttemptKey {
        let attempt = self.taken.map_or(self.key.attempt, |taken| taken.seed_of);
        AttemptKey { attempt, ..self.key }
    }

    /// The answers with which the next attempt can go on from here: those before the call that ended late, and how
    /// that call ended. `None` if no call ended late.
    pub fn with_late(&self) -> Option<Vec<Answered>> {
        let late = self.late.clone()?;
        let call = self.late_of.and_then(|call| usize::try_from(call).ok());
        let before = self.answers.get(..call.unwrap_or(self.answers.len()))?;
        Some(before.iter().cloned().chain([late]).collect())
    }

    /// The journal of the next attempt, which goes on from this one. Its step sees everything that this attempt
    /// saw, and sees the action that ended late as if it had been waited for.
    pub(super) fn go_on(&self, key: AttemptKey, now: Timestamp, held: Millis) -> Option<Self> {
        let answers = self.with_late()?;
        let taken = Taken {
            from: Some(self.key.attempt),
            seed_of: self.seed_key().attempt,
            at: now,
            answers: u32::try_from(answers.len()).unwrap_or(u32::MAX),
        };
        Some(Self {
            key,
            answers,
            taken: Some(taken),
            held,
            pending: None,
            late: None,
            late_of: None,
            cut_off: false,
            log_lines: 0,
            finish_ts: None,
            ..self.clone()
        })
    }
}

impl Journal {
    /// The earlier attempt that something was taken over from.
    pub fn taken_from(&self) -> Option<AttemptKey> {
        let from = self.taken?.from;
        let attempt = from.unwrap_or_else(|| self.key.attempt.saturating_sub(1));
        Some(AttemptKey { attempt, ..self.key })
    }

    /// The actions that the attempt had the agent do, in the order of the calls.
    pub fn actions(&self) -> Vec<SentAction> {
        let answered = self.answers.iter().map(|answered| answered.name);
        // The late end of a pending call is the end of the call after the last answer.
        let open = self.pending.as_ref().map(|pending| pending.name);
        let late = self.late.as_ref().filter(|_| self.late_of.is_none());
        let open = open.or(late.map(|late| late.name));
        // Another attempt had the agent do what was taken over.
        let taken = self.taken.map_or(0, |taken| taken.answers);
        let calls = (0..).zip(answered.chain(open)).filter(|(call, _)| *call >= taken);
        let actions = calls.filter(|(_, name)| *name == CallName::RunAction);
        let sent = |(call, _)| SentAction::of(self.run, &self.agent, self.key, call);
        actions.map(sent).collect()
    }
}

/// A call that has got its answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Answered {
    /// Which function was called.
    pub name: CallName,
    /// sha256 of the call's arguments, in hex.
    pub arguments_hash: String,
    /// When the answer came. It is the logical time of the step from then on.
    pub at: Timestamp,
    /// The answer to the call.
    pub answer: Answer,
    /// Bytes of the action's arguments, if the answer leaves open how the action ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u32>,
}

/// A call that was committed and waits for its answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Pending {
    /// Which function was called.
    pub name: CallName,
    /// sha256 of the call's arguments, in hex.
    pub arguments_hash: String,
    /// When the call was committed. Sleeps and timeouts count from this moment.
    pub at: Timestamp,
    /// Whether the agent is known to have accepted the action. If it does not know it later, the action is lost.
    pub accepted: bool,
    /// Bytes of an action's arguments: a large request may be on its way for longer. `None` for other calls, and
    /// for an action whose call an earlier version wrote: its size is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u32>,
}

impl Pending {
    /// Makes an answered call of the pending one.
    pub(super) fn answered(self, at: Timestamp, answer: Answer) -> Answered {
        let open = answer.error().is_some_and(CallError::leaves_open);
        let bytes = self.bytes.filter(|_| open);
        Answered { name: self.name, arguments_hash: self.arguments_hash, at, answer, bytes }
    }
}

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
}

impl CallName {
    /// The name by which the authors of plugins know the function.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Info => "agent.info",
            Self::RunAction => "agent.run-action",
            Self::WaitStatus => "agent.wait-status",
            Self::Sleep => "timer.sleep",
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
        /// How long to wait, from [`Pending::at`].
        timeout: Millis,
    },
    /// Wait for a length of time, from [`Pending::at`].
    Sleep {
        /// How long to wait.
        length: Millis,
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
        }
    }

    /// Bytes of the arguments of an action; `None` for other calls.
    pub fn argument_bytes(&self) -> Option<u32> {
        match self {
            Self::RunAction { arguments, .. } => {
                Some(u32::try_from(arguments.bytes()).unwrap_or(u32::MAX))
            }
            Self::Info | Self::WaitStatus { .. } | Self::Sleep { .. } => None,
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
}

impl CallError {
    /// Whether the error says nothing about how the action ended: the action may still be going on.
    pub const fn leaves_open(&self) -> bool {
        match self {
            Self::Unreachable(_) | Self::Malformed(_) => true,
            Self::Failed(_)
            | Self::Refused(_)
            | Self::NotTaken(_)
            | Self::Lost(_)
            | Self::TimedOut(_)
            | Self::WrongNode(_) => false,
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
            | Self::WrongNode(_) => false,
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
        }
    }

    /// The error in the answer, if the call failed.
    pub const fn error(&self) -> Option<&CallError> {
        match self {
            Self::Info(Err(error)) | Self::RunAction(Err(error)) | Self::WaitStatus(Err(error)) => {
                Some(error)
            }
            Self::Info(Ok(_)) | Self::RunAction(Ok(_)) | Self::WaitStatus(Ok(_)) | Self::Sleep => {
                None
            }
        }
    }
}

/// Why a call to an agent gave no result.
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
        ] {
            let text = serde_json::to_string(&answer).unwrap();
            assert_eq!(serde_json::from_str::<Answer>(&text).unwrap(), answer, "{text}");
        }
    }
}
