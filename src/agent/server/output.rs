//! Turns what a command wrote into the result of its action.
//!
//! A command that ended well has done its work, whatever it wrote. JSON becomes the result unchanged, any other
//! text becomes `{"stdout": text}`, and no output becomes null. JSON that an engine could not accept counts as
//! text: it is too long or too deep, or has too many values or too long numbers. So every command that ended
//! well gives a payload that engines accept.

use std::borrow::Cow;
use std::process::ExitStatus;

use serde_json::{Value, json};

use super::json::{Measure, measure};
use crate::agent::door::bounds::PAYLOAD;
use crate::run::{MAX_SECRET_BYTES, Scrubber, integer_beyond_64_bits};

/// Bytes of JSON that a command may write: the largest payload that engines accept.
pub(super) const MAX_JSON_BYTES: usize = PAYLOAD.bytes;

/// How many bytes of any other text are kept, from its beginning. One byte may take six in JSON, and the result
/// is kept in the journal of each agent of a run.
pub(super) const MAX_TEXT_BYTES: usize = 64 * 1024;

/// How many bytes of standard error are kept, from its end: that is where programs say why they failed.
pub(super) const STDERR_BYTES: usize = 2_048;

/// How many more bytes of standard error are looked through for secrets: one of the largest, escaped more than once.
const SECRET_BYTES: usize = 16 * MAX_SECRET_BYTES;

/// What a command wrote to standard output. Bytes beyond the limit are read, so that the command can go on, but
/// not kept.
#[derive(Default)]
pub(in crate::agent) struct Output {
    kept: Vec<u8>,
    written: usize,
}

impl Output {
    pub(in crate::agent) fn add(&mut self, bytes: &[u8]) {
        self.written = self.written.saturating_add(bytes.len());
        let room = MAX_JSON_BYTES.saturating_sub(self.kept.len());
        self.kept.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
    }

    /// Notes that there was more than was added.
    pub(in crate::agent) fn cut(&mut self) {
        self.written = self.written.saturating_add(1);
    }

    /// The payload of the action, in JSON, without the secrets that the command was given.
    pub(in crate::agent) fn payload(&self, scrubber: Option<&Scrubber>) -> String {
        let Some(payload) = self.json() else { return self.text(scrubber) };
        let Some(scrubber) = scrubber else { return payload.to_owned() };
        match serde_json::from_str::<Value>(payload) {
            Ok(mut value) => match scrubber.value(&mut value) {
                true => value.to_string(),
                false => payload.to_owned(),
            },
            Err(_) => "null".to_owned(),
        }
    }

    fn is_whole(&self) -> bool {
        self.written == self.kept.len()
    }

    /// What was written, if it becomes the result unchanged.
    fn json(&self) -> Option<&str> {
        if !self.is_whole() {
            return None;
        }
        if self.kept.trim_ascii().is_empty() {
            return Some("null");
        }
        let text = std::str::from_utf8(&self.kept).ok()?;
        let fits = measure(text).is_ok_and(is_taken) && integer_beyond_64_bits(text).is_none();
        fits.then(|| text.trim())
    }

    /// What was written, as text. It is cut after it was scrubbed: what is left of a secret could not be found.
    fn text(&self, scrubber: Option<&Scrubber>) -> String {
        let kept =
            scrubber.map_or(Cow::Borrowed(&*self.kept), |scrubber| scrubber.bytes(&self.kept));
        if self.is_whole() && kept.len() <= MAX_TEXT_BYTES {
            return json!({ "stdout": readable(&kept) }).to_string();
        }
        let start = kept.get(..MAX_TEXT_BYTES).unwrap_or(&kept);
        let text = readable(without_half_a_character(start));
        json!({ "stdout": text, "cut": true, "bytes": self.written }).to_string()
    }
}

/// Whether engines accept such JSON unchanged.
fn is_taken(found: Measure) -> bool {
    found.depth <= PAYLOAD.depth
        && found.values <= PAYLOAD.values
        && found.key <= PAYLOAD.key
        && !found.twice
}

/// Text without the line breaks at its end, like a shell's `$(…)`. Bytes that are not UTF-8 become U+FFFD.
fn readable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.trim_end_matches(['\n', '\r']).to_owned()
}

/// Drops the first bytes of a character whose other bytes were cut off.
fn without_half_a_character(bytes: &[u8]) -> &[u8] {
    let started = bytes.iter().rposition(|byte| byte & 0xC0 != 0x80).unwrap_or(0);
    let (before, last) = bytes.split_at(started);
    match std::str::from_utf8(last) {
        Err(error) if error.error_len().is_none() => before,
        Ok(_) | Err(_) => bytes,
    }
}

/// The last bytes that a command wrote to standard error.
#[derive(Default)]
pub(in crate::agent) struct Tail {
    kept: Vec<u8>,
    /// How many bytes before them are kept, too.
    before: usize,
}

impl Tail {
    /// If the command was given secrets, more is kept: a secret whose beginning is cut off can't be found.
    pub(in crate::agent) fn new(has_secrets: bool) -> Self {
        let before = if has_secrets { SECRET_BYTES } else { 0 };
        Self { before, ..Self::default() }
    }

    pub(in crate::agent) fn add(&mut self, bytes: &[u8]) {
        self.kept.extend_from_slice(bytes);
        let excess = self.kept.len().saturating_sub(STDERR_BYTES + self.before);
        self.kept.drain(..excess);
    }

    pub(super) fn message(&self, status: ExitStatus, scrubber: Option<&Scrubber>) -> String {
        self.said(&format!("the command ended with {status}"), scrubber)
    }

    /// How a command ended, with what it said last.
    pub(in crate::agent) fn said(&self, how: &str, scrubber: Option<&Scrubber>) -> String {
        // What comes before serves to find secrets, and may begin with the end of one.
        let start = self.kept.len().saturating_sub(STDERR_BYTES);
        let last = self.kept.get(start..).unwrap_or_default();
        let last = match scrubber {
            Some(scrubber) => Cow::Owned(scrubber.end(&self.kept, start)),
            None => Cow::Borrowed(last),
        };
        let text = String::from_utf8_lossy(&last);
        match text.trim() {
            "" => how.to_owned(),
            text => format!("{how}: {text}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn payload(bytes: &[u8]) -> Value {
        let mut output = Output::default();
        // In pieces, as a pipe delivers them.
        bytes.chunks(1_000).for_each(|piece| output.add(piece));
        serde_json::from_str(&output.payload(None)).unwrap()
    }

    #[test]
    fn every_output_of_a_command_that_ended_well_is_a_result() {
        let deep = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        let text = |text: &str| json!({ "stdout": text });
        for (written, expected) in [
            // JSON stays unchanged.
            (&b"{\"moved\": 3}\n"[..], json!({"moved": 3})),
            (b"5", json!(5)),
            (b" \"a\" \r\n", json!("a")),
            (b"null", Value::Null),
            // No output is null.
            (b"", Value::Null),
            (b" \n\t\n", Value::Null),
            // Everything else is text.
            (b"well\n", text("well")),
            (b"two\nlines\r\n\r\n", text("two\nlines")),
            (b"  indented", text("  indented")),
            (b"{\"a\": 1}\n{\"a\": 2}\n", text("{\"a\": 1}\n{\"a\": 2}")),
            (b"{\"a\": 1", text("{\"a\": 1")),
            (b"\xEF\xBB\xBF1", text("\u{feff}1")),
            (b"\"\\ud800\"", text("\"\\ud800\"")),
            (b"1e999", text("1e999")),
            (b"{\"a\": 1, \"a\": 2}", text("{\"a\": 1, \"a\": 2}")),
            (b"caf\xE9 \xFF\n", text("caf\u{fffd} \u{fffd}")),
            (b"a\0b", text("a\0b")),
        ] {
            let shown = String::from_utf8_lossy(written);
            assert_eq!(payload(written), expected, "{shown:?}");
        }
        let (most, more) = (deep(PAYLOAD.depth), deep(PAYLOAD.depth + 1));
        assert!(payload(most.as_bytes()).is_array());
        assert_eq!(payload(more.as_bytes()), text(&more));
    }

    #[test]
    fn json_past_its_limits_is_text() {
        let most = format!("\"{}\"", "x".repeat(MAX_JSON_BYTES - 2));
        assert!(payload(most.as_bytes()).is_string());
        let found = payload(format!("{most} ").as_bytes());
        assert_eq!((&found["cut"], &found["bytes"]), (&json!(true), &json!(MAX_JSON_BYTES + 1)));
        assert_eq!(found["stdout"].as_str().unwrap().len(), MAX_TEXT_BYTES);

        let list = |values: usize| format!("[{}0]", "0,".repeat(values - 2));
        assert!(payload(list(PAYLOAD.values).as_bytes()).is_array());
        assert!(payload(list(PAYLOAD.values + 1).as_bytes())["stdout"].is_string());
    }

    #[test]
    fn a_long_text_is_cut_where_a_character_ends_and_says_so() {
        let most = "ä".repeat(MAX_TEXT_BYTES / 2);
        assert_eq!(payload(most.as_bytes()), json!({ "stdout": most }));
        let more = format!("x{most}");
        let found = payload(more.as_bytes());
        let kept = &more[..MAX_TEXT_BYTES - 1];
        assert_eq!(found, json!({ "stdout": kept, "cut": true, "bytes": MAX_TEXT_BYTES + 1 }));
        // Bytes that never were part of a character are not half of one.
        let found = payload(&vec![0xFF; MAX_TEXT_BYTES + 1]);
        assert_eq!(found["stdout"], "\u{fffd}".repeat(MAX_TEXT_BYTES));
        // Whatever is written becomes a payload that engines accept.
        let mut output = Output::default();
        output.add(&vec![1; MAX_JSON_BYTES]);
        assert!(output.payload(None).len() < MAX_JSON_BYTES);
    }

    #[test]
    fn output_has_no_secrets_also_where_it_is_cut() {
        use std::os::unix::process::ExitStatusExt as _;

        let secret = crate::run::SecretText::read("", b"correct \"horse\" battery").unwrap();
        let scrubber = Scrubber::new([&secret]);
        let mut output = Output::default();
        output.add(br#"{"a": "correct \"hor"#);
        output.add(br#"se\" battery", "b": 1}"#);
        assert_eq!(output.payload(Some(&scrubber)), r#"{"a":"[secret]","b":1}"#);
        let mut long = Output::default();
        long.add("x".repeat(MAX_TEXT_BYTES - 10).as_bytes());
        long.add(secret.expose().as_bytes());
        let payload = long.payload(Some(&scrubber));
        assert!(payload.contains("x[secret]") && !payload.contains("correct"), "{payload}");
        // What is left of one where the text is cut would be too little to be found.
        let mut long = Output::default();
        long.add("x".repeat(MAX_TEXT_BYTES - 4).as_bytes());
        long.add(secret.expose().as_bytes());
        let payload = long.payload(Some(&scrubber));
        assert!(payload.contains("xx[sec\"") && payload.contains("\"cut\":true"), "{payload}");
        // What is not too long without its secrets is not cut.
        let mut many = Output::default();
        many.add(secret.expose().repeat(MAX_TEXT_BYTES / 20).as_bytes());
        assert_eq!(many.payload(Some(&scrubber)), r#"{"stdout":"[secret]"}"#);
        // The end of a secret is found where its beginning is, however much comes before.
        for after in STDERR_BYTES - 12..STDERR_BYTES + 12 {
            for before in [0, 2 * SECRET_BYTES] {
                let mut errors = Tail::new(true);
                errors.add("x".repeat(before).as_bytes());
                errors.add(secret.expose().as_bytes());
                errors.add("y".repeat(after).as_bytes());
                let message = errors.message(ExitStatus::from_raw(256), Some(&scrubber));
                assert!(!message.contains("attery") && message.ends_with("yy"), "{message}");
                assert!(message.len() < STDERR_BYTES + 100);
            }
        }
        // What was cut may have begun with a secret.
        let mut errors = Tail::new(true);
        errors.add(secret.expose().as_bytes());
        errors.add(secret.expose().repeat(20_000).as_bytes());
        let message = errors.message(ExitStatus::from_raw(256), Some(&scrubber));
        assert!(!message.contains("battery"), "{message}");
        errors.add(b": the disk is full");
        let message = errors.message(ExitStatus::from_raw(256), Some(&scrubber));
        assert!(message.ends_with(": [secret]: the disk is full"), "{message}");
    }
}
