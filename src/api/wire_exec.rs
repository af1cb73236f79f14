//! The types of commands that are run on agents without a playbook of their own, and of what actions write.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::limits::{MAX_ACTOR, MAX_ARGV};

/// Runs a command on agents of a cluster: `POST /api/v1/exec`, with an `Idempotency-Key` header if it may be repeated. The
/// run has one stage with one step, the action `replicante.io/command`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExecCommand {
    /// Name of the cluster.
    pub cluster: String,
    /// The program and its arguments, as they are: no shell reads them, and `${{ … }}` has no meaning in them.
    #[schemars(length(min = 1, max = MAX_ARGV))]
    pub argv: Vec<String>,
    /// Expression: on which agents, such as `agent.attributes.zone == "a"`. Without it: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub select: Option<String>,
    /// On how many agents at a time: a number or a share such as `25%`. By default 10.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<HowMany>,
    /// How many agents may fail before no further one begins and the run fails: a number or a share. By default 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_failed: Option<HowMany>,
    /// How long the command of an agent may take, such as `5m`. Then it counts as failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub timeout: Option<String>,
    /// Who starts the run.
    #[serde(default)]
    #[schemars(length(max = MAX_ACTOR))]
    pub started_by: Option<String>,
}

/// A number of agents, or a share of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum HowMany {
    /// So many.
    Count(u32),
    /// A share of those that the run selects, such as `25%`.
    Share(String),
}

/// A piece of what the last action of an agent has written, as the agent told it just now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OutputView {
    /// The action.
    pub action_id: Uuid,
    /// Name of the step that sent it.
    pub step: String,
    /// Number of the attempt of that step.
    pub attempt: u32,
    /// `stdout` or `stderr`.
    pub stream: String,
    /// The offset of the first byte. Not the one that was asked for if what came before is not kept any more, or if the
    /// agent has another action by now.
    pub from: u64,
    /// The offset to ask with next.
    pub next: u64,
    /// Whether nothing comes after that.
    pub ended: bool,
    /// The exit code of the command, once it has ended, if it has one.
    #[serde(default)]
    pub exit: Option<u8>,
    /// The bytes, if they are UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The bytes in base64, if they are not UTF-8. The end of a piece may be in the middle of a character.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base64: Option<String>,
}

impl OutputView {
    /// The bytes as one of the two fields for them.
    pub(super) fn encode(bytes: &[u8]) -> (Option<String>, Option<String>) {
        match std::str::from_utf8(bytes) {
            Ok(text) => (Some(text.to_owned()), None),
            Err(_) => (None, Some(STANDARD.encode(bytes))),
        }
    }

    /// The bytes; nothing if they can't be read.
    pub fn bytes(&self) -> Vec<u8> {
        match (&self.text, &self.base64) {
            (Some(text), _) => text.clone().into_bytes(),
            (None, Some(encoded)) => STANDARD.decode(encoded).unwrap_or_default(),
            (None, None) => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_survive_also_where_they_are_no_text() {
        for bytes in [&b""[..], b"caf\xC3\xA9\n", b"caf\xC3", b"\0\xFF"] {
            let (text, base64) = OutputView::encode(bytes);
            let view = OutputView {
                action_id: Uuid::nil(),
                step: "command".to_owned(),
                attempt: 1,
                stream: "stdout".to_owned(),
                from: 0,
                next: 0,
                ended: false,
                exit: None,
                text,
                base64,
            };
            let sent = serde_json::to_string(&view).unwrap();
            let read: OutputView = serde_json::from_str(&sent).unwrap();
            assert_eq!(read.bytes(), bytes);
        }
    }
}
