//! Pieces of what an agent has written, without the secrets of its run, and the same wherever somebody begins to ask.
//!
//! An agent of ours hands out no secret, but it may be any other, and then a secret may lie across the border of two pieces.
//! So what comes before a piece is read with it, as a secret may have begun there, and the last bytes are held back while
//! more may follow: they may be the beginning of one.

use async_trait::async_trait;

use crate::agent::{AgentError, OUTPUT_BYTES, OutputPiece};
use crate::run::{KnownSecrets, LONGEST_SPELLING, SCRUBBED, Scrubber, TOKEN_PREFIX};

/// The most bytes that a piece is made of, so that it has no more than an agent's own, also with a secret at its end.
const MOST: usize = OUTPUT_BYTES - SCRUBBED.len();

/// The secrets of a run, as far as its output is concerned.
pub(super) struct Veil {
    scrubber: Scrubber,
    /// How many bytes before and after a place matter for what is shown there.
    around: usize,
}

impl Veil {
    /// Hides these.
    pub(super) fn of(known: &KnownSecrets) -> Self {
        let longest = known.longest().max(TOKEN_PREFIX.len());
        Self { scrubber: known.scrubber(), around: longest.saturating_mul(LONGEST_SPELLING) }
    }

    /// Hides all, since it is not known what is secret.
    pub(super) const fn of_unknown() -> Self {
        Self { scrubber: Scrubber::of_unknown(), around: 1 }
    }
}

/// What an action has written, as its agent tells it.
#[async_trait]
pub(super) trait Writes: Send + Sync {
    /// What comes from an offset on; `None` if the agent can't tell.
    async fn read(&self, from: u64) -> Result<Option<OutputPiece>, AgentError>;
}

/// What comes from an offset on, without secrets; `None` if the agent can't tell.
///
/// An agent whose offsets do not count the bytes that it returns does not show its output as it was written: such an agent
/// scrubs by itself, as our gateway does. Its pieces can't be divided, and are searched one by one.
pub(super) async fn piece(
    agent: &dyn Writes,
    from: u64,
    veil: &Veil,
) -> Result<Option<OutputPiece>, AgentError> {
    let mut window = Window::before(from, veil.around);
    while !window.is_enough(from, veil.around) {
        let Some(piece) = agent.read(window.end()).await? else { return Ok(None) };
        if piece.next.checked_sub(piece.from) != Some(length(&piece.bytes)) {
            let alone = agent.read(from).await?;
            return Ok(alone.map(|piece| {
                let bytes = veil.scrubber.bytes(&piece.bytes).into_owned().into();
                OutputPiece { bytes, ..piece }
            }));
        }
        window.add(&piece);
    }
    Ok(Some(window.shown(from, veil)))
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

/// Bytes one after the other, around a place.
struct Window {
    /// The offset of the first byte.
    from: u64,
    bytes: Vec<u8>,
    /// Whether what came before is not kept any more.
    has_gap: bool,
    /// Whether nothing more is there now.
    is_all: bool,
    ended: bool,
    exit: Option<u8>,
}

impl Window {
    fn before(from: u64, around: usize) -> Self {
        let from = from.saturating_sub(u64::try_from(around).unwrap_or(u64::MAX));
        let (bytes, has_gap, is_all, ended, exit) = (Vec::new(), false, false, false, None);
        Self { from, bytes, has_gap, is_all, ended, exit }
    }

    fn end(&self) -> u64 {
        self.from.saturating_add(length(&self.bytes))
    }

    fn add(&mut self, piece: &OutputPiece) {
        let expected = self.end();
        if piece.from != expected {
            // What is not kept any more, or an offset past the end.
            self.bytes.clear();
            self.has_gap |= piece.from > expected;
            self.from = piece.from;
        }
        self.bytes.extend_from_slice(&piece.bytes);
        self.is_all = piece.ended || piece.bytes.is_empty();
        (self.ended, self.exit) = (piece.ended, piece.exit);
    }

    /// Whether there is something to show, or nothing more comes now.
    fn is_enough(&self, from: u64, around: usize) -> bool {
        self.is_all || self.bytes.len() > self.place(from, around).saturating_add(around)
    }

    /// The first byte that may be shown. Of a secret that began where nothing is kept any more, the rest can't be found.
    fn place(&self, from: u64, around: usize) -> usize {
        let asked = usize::try_from(from.saturating_sub(self.from)).unwrap_or(usize::MAX);
        if self.has_gap { asked.max(around) } else { asked }
    }

    fn shown(self, from: u64, veil: &Veil) -> OutputPiece {
        let (at, whole, last) = (self.place(from, veil.around), self.bytes.len(), self.end());
        let end = if self.ended { whole } else { whole.saturating_sub(veil.around) };
        let end = end.min(at.saturating_add(MOST));
        let offset = |at: usize| self.from.saturating_add(u64::try_from(at).unwrap_or(u64::MAX));
        if end <= at {
            // Nothing new that is certain. Behind a gap it goes on further on, of which there may be nothing yet.
            let next = match (self.ended, self.has_gap) {
                (true, _) => last,
                (false, true) => offset(at),
                (false, false) => from,
            };
            let (ended, exit, bytes) = (self.ended, self.exit, Vec::new().into());
            return OutputPiece { from: next, next, ended, exit, bytes };
        }
        let (bytes, end) = veil.scrubber.piece(&self.bytes, at..end);
        OutputPiece {
            from: offset(at),
            next: offset(end),
            ended: self.ended && end >= whole,
            exit: self.exit,
            bytes: bytes.into(),
        }
    }
}

#[cfg(test)]
#[path = "output_pieces_tests.rs"]
mod tests;
