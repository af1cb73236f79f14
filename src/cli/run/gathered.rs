//! What the last actions of agents have written, gathered at the end of a run.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use super::tail::{Looked, Tail};
use crate::agent::OutputStream;
use crate::cli::client::Client;
use crate::cli::error::ClientError;
use crate::cli::output::{EMPTY, Row};
use crate::cli::table::Narrower;
use crate::cli::text::Paint;
use crate::run::{AgentId, AgentRecord, AgentState};

/// The most bytes of a stream of one agent that are gathered: what the reference agent keeps of it.
const MAX_GATHERED: usize = 1024 * 1024;

/// What a piece counts as at least: an agent whose offsets grow without bytes must not be asked without end.
const LEAST_PIECE: usize = 1024;

/// What the last action of an agent has written, and how it ended.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct AgentOutput {
    pub(crate) agent: AgentId,
    pub(crate) state: AgentState,
    /// The exit code, if the agent tells it.
    pub(crate) exit: Option<u8>,
    pub(crate) action_id: Option<Uuid>,
    pub(crate) stdout: Written,
    pub(crate) stderr: Written,
    /// Whether there was more than is gathered or kept.
    pub(crate) cut: bool,
    /// Why the agent failed.
    pub(crate) error: Option<String>,
    /// Why the agent could not tell what was written; what is shown then is from the result of its step.
    pub(crate) not_told: Option<String>,
}

/// Text; anything else in base64.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub(crate) enum Written {
    Text(String),
    Bytes { base64: String },
}

impl Written {
    fn of(bytes: Vec<u8>) -> Self {
        match String::from_utf8(bytes) {
            Ok(text) => Self::Text(text),
            Err(error) => Self::Bytes { base64: STANDARD.encode(error.as_bytes()) },
        }
    }

    /// The text that people see.
    pub(crate) fn shown(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Bytes { base64 } => {
                String::from_utf8_lossy(&STANDARD.decode(base64).unwrap_or_default()).into_owned()
            }
        }
    }

    /// How many bytes it takes.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Bytes { base64 } => base64.len(),
        }
    }
}

impl AgentOutput {
    /// What is known of an agent that was not asked.
    pub(crate) fn of(record: &AgentRecord) -> Self {
        let action = record.last_action();
        Self {
            agent: record.agent.clone(),
            state: record.state,
            exit: None,
            action_id: action.map(|action| action.action_id),
            stdout: Written::Text(result_of(record)),
            stderr: Written::Text(String::new()),
            cut: false,
            error: record.error.as_ref().map(|failure| failure.message.clone()),
            not_told: None,
        }
    }

    /// The lines of its output, if there are more than its row shows.
    pub(crate) fn more_lines(&self) -> Vec<String> {
        let (out, errors) = (self.stdout.shown(), self.stderr.shown());
        let lines: Vec<String> = out.lines().chain(errors.lines()).map(str::to_owned).collect();
        if lines.len() > 1 { lines } else { Vec::new() }
    }

    /// The line that tells most: the first of the output, or of a failure the last of its errors.
    fn telling(&self) -> String {
        let (out, errors) = (self.stdout.shown(), self.stderr.shown());
        let last =
            |text: &str| text.lines().rfind(|line| !line.trim().is_empty()).map(str::to_owned);
        let first = |text: &str| text.lines().next().map(str::to_owned);
        let failed = self.state == AgentState::Failed;
        let line = match failed {
            true => last(&errors).or_else(|| self.error.clone()).or_else(|| last(&out)),
            false => first(&out).or_else(|| first(&errors)),
        };
        let line = line.unwrap_or_default();
        match self.more_lines().len() {
            0 | 1 => line,
            lines => format!("{line} (+{} lines)", lines - 1),
        }
    }
}

/// What the step returned, as its command wrote it.
fn result_of(record: &AgentRecord) -> String {
    let Some(result) = record.results.values().next_back() else { return String::new() };
    match serde_json::from_str::<Value>(result.as_str()) {
        Ok(Value::Null) => String::new(),
        Ok(value) => match value.get("stdout").and_then(Value::as_str) {
            Some(text) => text.to_owned(),
            None => value.to_string(),
        },
        Err(_) => String::new(),
    }
}

/// Asks the agent. If it can't tell, what is known without it has to do.
///
/// # Errors
/// Those of every request to the server.
pub(crate) async fn gather(
    client: &Client,
    record: &AgentRecord,
) -> Result<AgentOutput, ClientError> {
    let mut found = AgentOutput::of(record);
    if found.action_id.is_none() {
        return Ok(found);
    }
    let mut told = [Vec::new(), Vec::new()];
    for (stream, bytes) in OutputStream::ALL.into_iter().zip(&mut told) {
        let mut tail = Tail::new(record.run, record.agent.clone(), stream);
        let mut counted: usize = 0;
        loop {
            match tail.look(client).await? {
                Looked::Piece(piece) => {
                    found.exit = piece.view.exit.or(found.exit);
                    found.cut |= piece.skipped > 0;
                    let new = piece.view.bytes();
                    counted = counted.saturating_add(new.len().max(LEAST_PIECE));
                    bytes.extend(new);
                    if bytes.len() > MAX_GATHERED || counted > MAX_GATHERED + LEAST_PIECE {
                        bytes.truncate(MAX_GATHERED);
                        found.cut = true;
                        break;
                    }
                    if piece.view.ended {
                        break;
                    }
                }
                Looked::Nothing(view) => {
                    found.exit = view.exit.or(found.exit);
                    break;
                }
                Looked::NoAction(error) | Looked::Unknown(error) | Looked::Away(error) => {
                    found.not_told = Some(error.to_string());
                    return Ok(found);
                }
            }
        }
    }
    let [stdout, stderr] = told;
    (found.stdout, found.stderr) = (Written::of(stdout), Written::of(stderr));
    Ok(found)
}

impl Row for AgentOutput {
    fn headings(_wide: bool) -> Vec<&'static str> {
        vec!["AGENT", "STATE", "EXIT", "OUTPUT"]
    }

    fn cells(&self, _wide: bool) -> Vec<String> {
        let or_empty = |text: String| if text.is_empty() { EMPTY.to_owned() } else { text };
        let exit = self.exit.map(|exit| exit.to_string()).unwrap_or_default();
        vec![
            self.agent.to_string(),
            self.state.as_str().to_owned(),
            or_empty(exit),
            or_empty(self.telling()),
        ]
    }

    fn narrower() -> &'static [Narrower] {
        &[Narrower::Cut]
    }

    fn paint(&self) -> (&str, Paint) {
        let paint = match self.state {
            AgentState::Done => Paint::Good,
            AgentState::Failed => Paint::Bad,
            AgentState::Running => Paint::Busy,
            AgentState::Added | AgentState::Pending | AgentState::Skipped | AgentState::Removed => {
                Paint::Plain
            }
        };
        (self.state.as_str(), paint)
    }

    fn name(&self) -> String {
        self.agent.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(state: AgentState, stdout: &[u8], stderr: &str) -> AgentOutput {
        AgentOutput {
            agent: AgentId("node-1".to_owned()),
            state,
            exit: Some(0),
            action_id: None,
            stdout: Written::of(stdout.to_vec()),
            stderr: Written::Text(stderr.to_owned()),
            cut: false,
            error: Some("the command ended with exit status: 3".to_owned()),
            not_told: None,
        }
    }

    #[test]
    fn a_row_has_the_line_that_tells_most() {
        use AgentState::{Done, Failed};
        for (state, stdout, stderr, expected, more) in [
            (Done, &b"up 3 days\n"[..], "", "up 3 days", 0),
            (Done, b"", "", "-", 0),
            (Done, b"a\nb\nc\n", "", "a (+2 lines)", 3),
            (Done, b"", "warning\n", "warning", 0),
            (Failed, b"a\n", "b\nc: no such file\n", "c: no such file (+2 lines)", 3),
            (Failed, b"", "", "the command ended with exit status: 3", 0),
            (Done, b"caf\xFF", "", "caf\u{fffd}", 0),
        ] {
            let output = output(state, stdout, stderr);
            assert_eq!(output.cells(false)[3], expected);
            assert_eq!(output.more_lines().len(), more, "{expected}");
        }
    }

    #[test]
    fn what_is_no_text_is_in_base64() {
        let json = serde_json::to_value(output(AgentState::Done, b"\xFF", "x")).unwrap();
        assert_eq!(json["stdout"], serde_json::json!({ "base64": "/w==" }));
        assert_eq!(json["stderr"], "x");
    }
}
