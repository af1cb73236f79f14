//! Secrets across the pieces of an agent that does not scrub by itself.

use bytes::Bytes;

use super::*;
use crate::run::SecretText;

const SECRET: &str = "correct horse";

/// An agent that hands out at most so many bytes at once, and has forgotten some from the beginning.
struct Agent {
    bytes: Vec<u8>,
    most: usize,
    gone: usize,
    ended: bool,
    /// Whether its offsets count twice what they should.
    doubles: bool,
}

impl Agent {
    fn wrote(text: &str, most: usize) -> Self {
        Self { bytes: text.as_bytes().to_vec(), most, gone: 0, ended: true, doubles: false }
    }
}

#[async_trait]
impl Writes for Agent {
    async fn read(&self, from: u64) -> Result<Option<OutputPiece>, AgentError> {
        let times = if self.doubles { 2 } else { 1 };
        let from = usize::try_from(from).unwrap() / times;
        let from = from.clamp(self.gone, self.bytes.len());
        let end = self.bytes.len().min(from + self.most);
        Ok(Some(OutputPiece {
            from: (from * times) as u64,
            next: (end * times) as u64,
            ended: self.ended && end == self.bytes.len(),
            exit: self.ended.then_some(0),
            bytes: Bytes::copy_from_slice(&self.bytes[from..end]),
        }))
    }
}

fn veil() -> Veil {
    let mut known = KnownSecrets::default();
    known.take("pager", &SecretText::read("pager", SECRET.as_bytes()).unwrap()).unwrap();
    Veil::of(&known)
}

/// All that is shown from an offset on, and where that ends.
async fn shown(agent: &Agent, mut from: u64, veil: &Veil) -> (String, u64) {
    let mut all = Vec::new();
    loop {
        let piece = piece(agent, from, veil).await.unwrap().unwrap();
        all.extend_from_slice(&piece.bytes);
        if piece.ended || piece.next == from {
            return (String::from_utf8(all).unwrap(), piece.next);
        }
        assert!(piece.next > from, "{from} {}", piece.next);
        from = piece.next;
    }
}

/// A text with secrets in several spellings, of which what matters is far from both ends.
fn text() -> (String, usize) {
    let before = "x".repeat(1_000);
    let middle =
        format!("a {SECRET} b {SECRET}{SECRET} c correct%20horse d 636f727265637420686f727365 e ");
    (format!("{before}{middle}{}", "y".repeat(1_000)), middle.len())
}

#[tokio::test]
async fn what_is_shown_does_not_depend_on_where_one_begins() {
    let ((text, middle), veil) = (text(), veil());
    for most in [40, 700, OUTPUT_BYTES] {
        let agent = Agent::wrote(&text, most);
        let (whole, end) = shown(&agent, 0, &veil).await;
        assert_eq!(whole, veil.scrubber.text(&text));
        assert_eq!(end, text.len() as u64);
        for from in 995..1_005 + middle {
            let (part, _) = shown(&agent, from as u64, &veil).await;
            let (expected, _) = veil.scrubber.piece(text.as_bytes(), from..text.len());
            assert_eq!(part.as_bytes(), expected, "{most} {from}");
            assert!(whole.ends_with(&part), "{most} {from}");
        }
    }
}

#[tokio::test]
async fn what_may_be_the_beginning_of_a_secret_is_held_back_until_more_comes() {
    let (veil, before) = (veil(), "x".repeat(1_000));
    let mut agent = Agent { ended: false, ..Agent::wrote(&format!("{before}correct ho"), 300) };
    let (begun, next) = shown(&agent, 0, &veil).await;
    assert!(begun.starts_with('x') && !begun.contains("correct"), "{begun}");
    agent.bytes.extend_from_slice(b"rse, and more");
    agent.ended = true;
    let (rest, end) = shown(&agent, next, &veil).await;
    assert_eq!(format!("{begun}{rest}"), format!("{before}[secret], and more"));
    // At the end and past it there is nothing more.
    for from in [end, end + 1, end + 10_000] {
        let last = piece(&agent, from, &veil).await.unwrap().unwrap();
        assert!(last.ended && last.bytes.is_empty() && last.exit == Some(0), "{last:?}");
        assert_eq!((last.from, last.next), (end, end));
    }
}

#[tokio::test]
async fn the_rest_of_a_secret_whose_beginning_is_not_kept_does_not_show() {
    let ((text, _), veil) = (text(), veil());
    for (ended, text) in [(true, text.as_str()), (false, &text[..1_050])] {
        for gone in 1_001..1_020 {
            let agent = Agent { gone, ended, ..Agent::wrote(text, 300) };
            for from in [0, 999, 1_010, 1_040] {
                let (part, _) = shown(&agent, from, &veil).await;
                assert!(!part.contains("orse") && !part.contains("horse"), "{gone} {from} {part}");
                assert_eq!(part.contains('y'), ended, "{gone} {from} {part}");
            }
        }
    }
}

#[tokio::test]
async fn pieces_of_an_agent_that_does_not_count_bytes_are_searched_one_by_one() {
    let (text, _) = text();
    let agent = Agent { doubles: true, ..Agent::wrote(&text, OUTPUT_BYTES) };
    assert_eq!(shown(&agent, 0, &veil()).await.0, veil().scrubber.text(&text));
}

#[tokio::test]
async fn nothing_shows_where_the_secrets_are_not_known() {
    let (text, _) = text();
    let agent = Agent::wrote(&text, 300);
    assert_eq!(shown(&agent, 0, &Veil::of_unknown()).await.0, SCRUBBED);
    assert_eq!(shown(&agent, 500, &Veil::of_unknown()).await.0, "");
}
