//! What the command at work has written so far, for whoever wants to see it before the command ends. It is in memory
//! alone until then, so that a command that writes much costs no writes to the database.

use std::collections::VecDeque;
use std::process::ExitStatus;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use uuid::Uuid;

use super::output::MAX_JSON_BYTES;
use crate::agent::{OUTPUT_BYTES, OutputPiece, OutputQuery, OutputStream};
use crate::run::{LONGEST_SPELLING, Scrubber};

/// How many bytes of each stream are kept, from its end: whoever follows sees all of it, and who comes late wants to
/// know how it goes now. As much as a result may have, so nothing is missing where the output is the result.
pub(super) const MAX_KEPT_BYTES: usize = MAX_JSON_BYTES;

/// What the command at work has written. All clones are the same; there is one command at a time.
#[derive(Clone, Debug, Default)]
pub(super) struct LiveOutput(Arc<Mutex<Option<Live>>>);

#[derive(Debug)]
struct Live {
    action: Uuid,
    written: Written,
}

/// What a command has written.
#[derive(Clone, Debug, Default)]
pub(super) struct Written {
    streams: [Stream; OutputStream::ALL.len()],
    /// How it ended; `None` while it is at work.
    ended: Option<Option<u8>>,
}

/// The end of what was written to one stream.
#[derive(Clone, Debug, Default)]
pub(super) struct Stream {
    kept: VecDeque<u8>,
    /// How many bytes came before those that are kept.
    gone: u64,
}

impl Stream {
    fn add(&mut self, bytes: &[u8]) {
        self.kept.extend(bytes);
        let excess = self.kept.len().saturating_sub(MAX_KEPT_BYTES);
        self.kept.drain(..excess);
        self.gone = self.gone.saturating_add(excess as u64);
    }

    /// The bytes that are kept, and how many came before them.
    pub(super) fn into_parts(self) -> (Vec<u8>, u64) {
        (self.kept.into(), self.gone)
    }

    fn piece(&self, from: u64, ended: Option<Option<u8>>) -> OutputPiece {
        let end = self.gone.saturating_add(self.kept.len() as u64);
        let from = from.clamp(self.gone, end);
        let skipped = usize::try_from(from - self.gone).unwrap_or(usize::MAX);
        let bytes: Bytes = self.kept.iter().skip(skipped).take(OUTPUT_BYTES).copied().collect();
        let next = from.saturating_add(bytes.len() as u64);
        OutputPiece {
            from,
            next,
            ended: ended.is_some() && next == end,
            exit: ended.flatten(),
            bytes,
        }
    }
}

impl Written {
    /// Each stream with its bytes.
    pub(super) fn into_streams(self) -> impl Iterator<Item = (OutputStream, Stream)> {
        OutputStream::ALL.into_iter().zip(self.streams)
    }

    /// The exit code of the command, if it has ended and has one.
    pub(super) fn exit(&self) -> Option<u8> {
        self.ended.flatten()
    }
}

impl LiveOutput {
    /// A command begins.
    pub(super) fn begin(&self, action: Uuid) {
        *self.lock() = Some(Live { action, written: Written::default() });
    }

    /// The command has ended, and nothing more comes.
    fn end(&self, exit: Option<u8>) {
        if let Some(live) = self.lock().as_mut() {
            live.written.ended = Some(exit);
        }
    }

    /// What the command has written is kept elsewhere. Until then it is shown from here.
    pub(super) fn kept_elsewhere(&self) {
        self.lock().take();
    }

    /// A copy of what the command has written.
    pub(super) fn copy(&self) -> Option<Written> {
        self.lock().as_ref().map(|live| live.written.clone())
    }

    /// A piece of what an action has written; `None` if it is not the one whose command is at work.
    pub(super) fn piece(&self, action: Uuid, query: OutputQuery) -> Option<OutputPiece> {
        let live = self.lock();
        let live = live.as_ref().filter(|live| live.action == action)?;
        let stream = live.written.streams.get(index(query.stream))?;
        Some(stream.piece(query.from, live.written.ended))
    }

    fn add(&self, stream: OutputStream, bytes: &[u8]) {
        if let Some(live) = self.lock().as_mut()
            && let Some(stream) = live.written.streams.get_mut(index(stream))
        {
            stream.add(bytes);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Live>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const fn index(stream: OutputStream) -> usize {
    match stream {
        OutputStream::Stdout => 0,
        OutputStream::Stderr => 1,
    }
}

/// What there is to know about the secrets that a command was given.
#[derive(Clone, Copy)]
pub(super) struct Secrets<'a> {
    pub(super) scrubber: &'a Scrubber,
    /// How many bytes the longest has. `None` if it is not known what is secret.
    pub(super) longest: Option<usize>,
}

/// Shows one stream of a command, without secrets. What may be the beginning of a secret is held back until it is known
/// what follows, at the latest when this is dropped.
pub(super) struct Showing<'a> {
    live: &'a LiveOutput,
    stream: OutputStream,
    secrets: Option<Secrets<'a>>,
    /// The last bytes, as they were written. It begins with what was shown before, in case a secret goes on there.
    raw: Vec<u8>,
    /// How many of them were shown.
    shown: usize,
}

impl<'a> Showing<'a> {
    pub(super) fn new(
        live: &'a LiveOutput,
        stream: OutputStream,
        secrets: Option<Secrets<'a>>,
    ) -> Self {
        Self { live, stream, secrets, raw: Vec::new(), shown: 0 }
    }

    pub(super) fn add(&mut self, bytes: &[u8]) {
        let Some(secrets) = self.secrets else { return self.live.add(self.stream, bytes) };
        let Some(longest) = secrets.longest else {
            // Whatever it is, it is shown as one secret.
            if self.raw.is_empty() {
                self.raw.extend_from_slice(bytes);
            }
            return;
        };
        self.raw.extend_from_slice(bytes);
        let spelled = longest.saturating_mul(LONGEST_SPELLING);
        self.show(secrets, self.raw.len().saturating_sub(spelled));
        let past = self.shown.saturating_sub(spelled);
        self.raw.drain(..past);
        self.shown -= past;
    }

    fn show(&mut self, secrets: Secrets<'_>, end: usize) {
        if end > self.shown {
            let (piece, end) = secrets.scrubber.piece(&self.raw, self.shown..end);
            self.live.add(self.stream, &piece);
            self.shown = end;
        }
    }
}

impl Drop for Showing<'_> {
    /// Nothing more comes.
    fn drop(&mut self) {
        if let Some(secrets) = self.secrets {
            self.show(secrets, self.raw.len());
        }
    }
}

/// Says when it is dropped how the command ended.
pub(super) struct Ending<'a> {
    live: &'a LiveOutput,
    pub(super) exit: Option<u8>,
}

impl<'a> Ending<'a> {
    pub(super) const fn of(live: &'a LiveOutput) -> Self {
        Self { live, exit: None }
    }
}

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.live.end(self.exit);
    }
}

/// The exit code as shells have it: 128 and more stand for a signal.
pub(super) fn exit_code(status: ExitStatus) -> Option<u8> {
    use std::os::unix::process::ExitStatusExt as _;

    let signal = || status.signal().map(|signal| signal.saturating_add(128));
    status.code().or_else(signal).and_then(|code| u8::try_from(code).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::SecretText;

    const ID: Uuid = Uuid::from_u128(1);

    fn ask(live: &LiveOutput, from: u64) -> OutputPiece {
        live.piece(ID, OutputQuery { from, stream: OutputStream::Stdout }).unwrap()
    }

    /// All that is shown, in as many pieces as it takes.
    fn all(live: &LiveOutput) -> (u64, Vec<u8>) {
        let (mut from, mut found) = (ask(live, 0).from, Vec::new());
        let first = from;
        loop {
            let piece = ask(live, from);
            found.extend_from_slice(&piece.bytes);
            if piece.next == from {
                return (first, found);
            }
            from = piece.next;
        }
    }

    #[test]
    fn pieces_come_one_after_the_other_and_the_last_says_so() {
        let live = LiveOutput::default();
        assert_eq!(live.piece(ID, OutputQuery::default()), None);
        live.begin(ID);
        assert_eq!(live.piece(Uuid::nil(), OutputQuery::default()), None);
        let mut showing = Showing::new(&live, OutputStream::Stdout, None);
        showing.add(b"caf\xE9\xFF");
        let piece = ask(&live, 0);
        assert_eq!((&piece.bytes[..], piece.next, piece.ended), (&b"caf\xE9\xFF"[..], 5, false));
        assert!(ask(&live, 5).bytes.is_empty());
        showing.add(&vec![b'x'; OUTPUT_BYTES]);
        drop(showing);
        Ending { live: &live, exit: Some(3) };
        let piece = ask(&live, 4);
        assert_eq!((piece.bytes.len(), piece.ended), (OUTPUT_BYTES, false));
        let piece = ask(&live, piece.next);
        assert_eq!((piece.bytes.len(), piece.ended, piece.exit), (1, true, Some(3)));
        // Past the end is the end.
        let piece = ask(&live, 1_000_000);
        assert_eq!((piece.from, piece.next, piece.ended), (piece.from, piece.from, true));
        assert_eq!(piece.from, OUTPUT_BYTES as u64 + 5);
    }

    #[test]
    fn the_end_is_kept_and_what_is_gone_is_said() {
        let live = LiveOutput::default();
        live.begin(ID);
        let mut showing = Showing::new(&live, OutputStream::Stdout, None);
        showing.add(b"old");
        showing.add(&vec![b'x'; MAX_KEPT_BYTES - 1]);
        let (from, kept) = all(&live);
        assert_eq!((from, kept.len(), &kept[..2]), (2, MAX_KEPT_BYTES, &b"dx"[..]));
        let (kept, gone) = live.copy().unwrap().into_streams().next().unwrap().1.into_parts();
        assert_eq!((kept.len(), gone), (MAX_KEPT_BYTES, 2));
    }

    #[test]
    fn no_secret_is_shown_however_it_comes() {
        let secret = SecretText::read("", b"correct horse").unwrap();
        let scrubber = Scrubber::new([&secret]);
        let secrets = Secrets { scrubber: &scrubber, longest: Some(13) };
        let text =
            format!("{}correct horse, {}Y29ycmVjdCBob3JzZQ==", "a".repeat(700), "b".repeat(900));
        let expected = format!("{}[secret], {}[secret]==", "a".repeat(700), "b".repeat(900));
        for size in [1, 3, 13, 250, 4_000] {
            let live = LiveOutput::default();
            live.begin(ID);
            let mut showing = Showing::new(&live, OutputStream::Stdout, Some(secrets));
            for piece in text.as_bytes().chunks(size) {
                showing.add(piece);
                let (_, so_far) = all(&live);
                assert!(expected.as_bytes().starts_with(&so_far), "{size}");
            }
            let before = all(&live).1.len();
            assert!(size == 4_000 || before > 1_000, "only what may be a secret is held back");
            drop(showing);
            assert_eq!(String::from_utf8(all(&live).1).unwrap(), expected, "{size}");
        }
    }

    #[test]
    fn nothing_is_shown_if_it_is_not_known_what_is_secret() {
        let live = LiveOutput::default();
        live.begin(ID);
        let scrubber = Scrubber::of_unknown();
        let secrets = Secrets { scrubber: &scrubber, longest: None };
        let mut showing = Showing::new(&live, OutputStream::Stdout, Some(secrets));
        showing.add(b"correct");
        showing.add(b" horse");
        assert!(all(&live).1.is_empty());
        drop(showing);
        assert_eq!(all(&live).1, b"[secret]");
    }

    #[test]
    fn a_signal_is_a_code_too() {
        use std::os::unix::process::ExitStatusExt as _;

        for (raw, code) in [(0, 0), (3 << 8, 3), (255 << 8, 255), (9, 137)] {
            assert_eq!(exit_code(ExitStatus::from_raw(raw)), Some(code), "{raw}");
        }
    }
}
