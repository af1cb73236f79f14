//! Reads what the last action of an agent writes to one stream, piece by piece, also across actions.

use uuid::Uuid;

use crate::agent::OutputStream;
use crate::api::Code;
use crate::api::wire::OutputView;
use crate::cli::client::Client;
use crate::cli::error::ClientError;
use crate::run::{AgentId, RunId};

/// The most bytes of a line that is held back until its end is there.
const MAX_HELD: usize = 64 * 1024;

/// How far the output of an agent has been read.
#[derive(Debug)]
pub(crate) struct Tail {
    run: RunId,
    agent: AgentId,
    stream: OutputStream,
    action: Option<Uuid>,
    /// Whether no piece of that action has been read.
    is_new: bool,
    next: u64,
}

/// A piece that has not been read before.
#[derive(Debug)]
pub(crate) struct Piece {
    pub(crate) view: OutputView,
    /// Whether it is the first of its action.
    pub(crate) begins: bool,
    /// How many bytes before it are not kept any more, and were not read.
    pub(crate) skipped: u64,
}

/// What came of a look.
#[derive(Debug)]
pub(crate) enum Looked {
    /// There was more; there may be still more.
    Piece(Piece),
    /// Nothing more has been written. This is what is known of the action.
    Nothing(OutputView),
    /// The agent has been sent no action yet.
    NoAction(ClientError),
    /// The agent can't tell.
    Unknown(ClientError),
    /// The agent does not answer now.
    Away(ClientError),
}

impl Tail {
    pub(crate) fn new(run: RunId, agent: AgentId, stream: OutputStream) -> Self {
        Self { run, agent, stream, action: None, is_new: true, next: 0 }
    }

    pub(crate) fn agent(&self) -> &AgentId {
        &self.agent
    }

    pub(crate) fn run(&self) -> RunId {
        self.run
    }

    pub(crate) fn stream(&self) -> OutputStream {
        self.stream
    }

    /// Looks for more.
    ///
    /// # Errors
    /// Those of every request. What the agent can't tell is none.
    pub(crate) async fn look(&mut self, client: &Client) -> Result<Looked, ClientError> {
        let at = (self.action, self.next);
        match client.output((self.run, &self.agent), self.stream, at).await {
            Ok(view) => Ok(self.read(view)),
            Err(error) => match code_of(&error) {
                Some(code) if code == Code::NoAction.as_str() => Ok(Looked::NoAction(error)),
                Some(code) if code == Code::NoOutput.as_str() => Ok(Looked::Unknown(error)),
                Some(code) if code == Code::AgentUnavailable.as_str() => Ok(Looked::Away(error)),
                Some(_) | None => Err(error),
            },
        }
    }

    fn read(&mut self, view: OutputView) -> Looked {
        if self.action != Some(view.action_id) {
            (self.action, self.is_new, self.next) = (Some(view.action_id), true, 0);
        }
        let expected = self.next;
        let skipped = view.from.saturating_sub(expected);
        self.next = view.next;
        match view.next == view.from && skipped == 0 {
            true => Looked::Nothing(view),
            false => {
                let begins = std::mem::replace(&mut self.is_new, false);
                Looked::Piece(Piece { view, begins, skipped })
            }
        }
    }
}

fn code_of(error: &ClientError) -> Option<&str> {
    match error {
        ClientError::Refused(problem) => Some(&problem.code),
        ClientError::Address { .. }
        | ClientError::Unreachable { .. }
        | ClientError::Malformed { .. }
        | ClientError::TooLarge { .. } => None,
    }
}

/// Makes whole lines of pieces.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    held: Vec<u8>,
}

impl Lines {
    /// The whole lines, with these bytes, that were not returned before.
    pub(crate) fn add(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.held.extend_from_slice(bytes);
        let end = self.held.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let end = if self.held.len() - end > MAX_HELD { self.held.len() } else { end };
        self.held.drain(..end).collect()
    }

    /// The last line, which has no end.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.held)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(action: u128, from: u64, text: &str) -> OutputView {
        OutputView {
            action_id: Uuid::from_u128(action),
            step: "command".to_owned(),
            attempt: 1,
            stream: "stdout".to_owned(),
            from,
            next: from + text.len() as u64,
            ended: false,
            exit: None,
            text: Some(text.to_owned()),
            base64: None,
        }
    }

    #[test]
    fn a_tail_goes_on_where_it_was_and_begins_anew_with_the_next_action() {
        let run = RunId(Uuid::from_u128(1));
        let mut tail = Tail::new(run, AgentId("node-1".to_owned()), OutputStream::Stdout);
        for (found, expected) in [
            (view(1, 0, ""), None),
            (view(1, 0, "ab"), Some((true, 0))),
            (view(1, 2, ""), None),
            (view(1, 7, "c"), Some((false, 5))),
            (view(2, 0, ""), None),
            // What is left of the next one.
            (view(2, 3, "d"), Some((true, 3))),
        ] {
            let looked = if let Looked::Piece(piece) = tail.read(found) {
                Some((piece.begins, piece.skipped))
            } else {
                None
            };
            assert_eq!(looked, expected);
        }
        assert_eq!((tail.action, tail.next), (Some(Uuid::from_u128(2)), 4));
    }

    #[test]
    fn lines_are_whole_unless_they_are_too_long() {
        let mut lines = Lines::default();
        assert_eq!(lines.add(b"a"), b"");
        assert_eq!(lines.add(b"b\nc\nd"), b"ab\nc\n");
        assert_eq!(lines.rest(), b"d");
        assert_eq!(lines.add(&vec![b'x'; MAX_HELD]).len(), 0);
        assert_eq!(lines.add(b"x").len(), MAX_HELD + 1);
        assert_eq!(lines.rest(), b"");
    }
}
