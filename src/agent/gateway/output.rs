//! What a job has written so far, without the secrets that it was given.
//!
//! Offsets are those of what the node has. Of a job with secrets the last bytes are held back while it is at work: they may
//! be the beginning of a secret. What comes before a piece is read with it, as a secret may have begun there.

use bytes::Bytes;
use uuid::Uuid;

use super::nodes::{Node, NodeError, Piece, Stream};
use super::reach::Nodes;
use crate::agent::server::Hidden;
use crate::run::LONGEST_SPELLING;

/// The longest secret of a job whose output is shown while it is at work. With a longer one, what is read around a piece would
/// be more than the piece.
const MAX_SECRET: usize = 1_024;

/// What of a job's secrets matters for its output.
pub(super) enum Veiled<'h> {
    /// It has none.
    Not,
    /// These.
    By(&'h Hidden),
    /// It has some, and they are not known any more.
    Whole,
}

/// Reads a piece from a byte on; `None` if the node does not know the job.
pub(super) async fn piece(
    nodes: &dyn Nodes,
    node: &Node,
    (id, stream, from): (Uuid, Stream, u64),
    veiled: &Veiled<'_>,
) -> Result<Option<Piece>, NodeError> {
    let Some(longest) = longest(veiled) else {
        let piece = nodes.output(node, id, stream, from).await?;
        return Ok(piece.map(|piece| Piece { bytes: Bytes::new(), ..piece }));
    };
    let around = longest.saturating_mul(LONGEST_SPELLING);
    let before = around.min(usize::try_from(from).unwrap_or(usize::MAX));
    let begin = from.saturating_sub(u64::try_from(before).unwrap_or(u64::MAX));
    let Some(piece) = nodes.output(node, id, stream, begin).await? else { return Ok(None) };
    let Veiled::By(hidden) = veiled else { return Ok(Some(piece)) };
    let whole = piece.bytes.len();
    let end = if piece.ended { whole } else { whole.saturating_sub(around) };
    if end <= before {
        // Nothing new that is certain.
        let ended = piece.ended;
        return Ok(Some(Piece { bytes: Bytes::new(), next: from.min(piece.next), ended }));
    }
    let bytes = Bytes::from(hidden.scrubber().part(&piece.bytes, before..end));
    let next = begin.saturating_add(u64::try_from(end).unwrap_or(u64::MAX));
    Ok(Some(Piece { bytes, next, ended: piece.ended }))
}

/// How long the longest secret is; `None` if nothing may be shown.
fn longest(veiled: &Veiled<'_>) -> Option<usize> {
    match veiled {
        Veiled::Not => Some(0),
        Veiled::By(hidden) => hidden.longest().filter(|longest| *longest <= MAX_SECRET),
        Veiled::Whole => None,
    }
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use serde_json::json;

    use super::super::nodes::{Facts, Job, Listed, Place, Seen, Started};
    use super::*;
    use crate::run::{SECRET_PLACES, Timestamp};

    const ID: Uuid = Uuid::from_u128(1);

    /// A node with one job, whose output comes in pieces of at most so many bytes.
    struct Writes {
        bytes: Vec<u8>,
        ended: bool,
        most: usize,
    }

    #[async_trait]
    impl Nodes for Writes {
        async fn start(&self, _: &Node, _: &Job) -> Result<Started, NodeError> {
            Ok(Started::Known)
        }

        async fn look(&self, _: &Node, _: Uuid) -> Result<Option<Seen>, NodeError> {
            Ok(None)
        }

        async fn list(&self, _: &Node) -> Result<Vec<Listed>, NodeError> {
            Ok(Vec::new())
        }

        async fn output(
            &self,
            _: &Node,
            _: Uuid,
            _: Stream,
            from: u64,
        ) -> Result<Option<Piece>, NodeError> {
            let from = usize::try_from(from).unwrap().min(self.bytes.len());
            let end = self.bytes.len().min(from + self.most);
            Ok(Some(Piece {
                bytes: Bytes::copy_from_slice(&self.bytes[from..end]),
                next: end as u64,
                ended: self.ended && end == self.bytes.len(),
            }))
        }

        async fn facts(&self, _: &Node, _: Option<&[String]>) -> Result<Facts, NodeError> {
            Ok(Facts::default())
        }

        async fn purge(&self, _: &Node, _: Timestamp) -> Result<u64, NodeError> {
            Ok(0)
        }
    }

    fn hidden(secret: &str) -> Hidden {
        let metadata = json!({ SECRET_PLACES: r#"[{"at": "/a"}]"# }).to_string();
        Hidden::of(json!({ "a": secret }).to_string(), metadata).1.unwrap()
    }

    async fn read(writes: &Writes, veiled: &Veiled<'_>) -> (String, u64) {
        let (node, mut all, mut from) = (Node::at(Place::Local), Vec::new(), 0);
        loop {
            let asked = (ID, Stream::Out, from);
            let piece = piece(writes, &node, asked, veiled).await.unwrap().unwrap();
            all.extend_from_slice(&piece.bytes);
            if piece.ended || piece.next == from {
                return (String::from_utf8(all).unwrap(), piece.next);
            }
            from = piece.next;
        }
    }

    #[tokio::test]
    async fn pieces_make_the_whole() {
        let text = "0123456789".repeat(100);
        let writes = Writes { bytes: text.clone().into_bytes(), ended: true, most: 64 };
        assert_eq!(read(&writes, &Veiled::Not).await, (text, 1_000));
    }

    #[tokio::test]
    async fn no_piece_has_a_part_of_a_secret() {
        let hidden = hidden("correct horse");
        for before in 0..40 {
            let text = format!("{}correct horse{}", "x".repeat(before), "y".repeat(3_000));
            let mut writes = Writes { bytes: text.clone().into_bytes(), ended: true, most: 1_000 };
            let (found, _) = read(&writes, &Veiled::By(&hidden)).await;
            let rest = found.replace("[secret]", "");
            assert_eq!(rest, text.replace("correct horse", ""), "{found}");
            assert!(found.contains("x[secret]y") || before == 0, "{found}");
            // Half of it is there, and the other half may come.
            writes.bytes.truncate(before + 600);
            writes.bytes.extend_from_slice(b"correct h");
            writes.ended = false;
            let (found, next) = read(&writes, &Veiled::By(&hidden)).await;
            assert!(!found.contains("corr") && next <= (before + 600) as u64, "{found}");
        }
    }

    #[tokio::test]
    async fn what_is_not_known_or_too_long_shows_nothing() {
        let writes = Writes { bytes: b"correct horse".to_vec(), ended: true, most: 300 };
        let long = hidden(&"x".repeat(MAX_SECRET + 1));
        for veiled in [Veiled::Whole, Veiled::By(&long)] {
            assert_eq!(read(&writes, &veiled).await, (String::new(), 13));
        }
    }
}
