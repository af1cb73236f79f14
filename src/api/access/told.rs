//! Finds identifiers of runs, and how many wait, in what the server itself says in an answer. What people, agents and plugins wrote is theirs:
//! in documents, parameters, results and journals whatever looks like an identifier stays as it is, or it could not be
//! applied again.

use std::ops::Range;

use crate::run::RunId;

/// Characters of an identifier.
pub(super) const LENGTH: usize = 36;

/// The keys under which the server says something, and which run that is about: `reason`, `waits` and `trouble` of runs and their
/// events, the run of which one is a retry, explanations, problems, and what can't be read.
const TOLD: [&[u8]; 9] = [
    b"damaged",
    b"reason",
    b"waits",
    b"trouble",
    b"retry_of",
    b"text",
    b"next",
    b"detail",
    b"problems",
];

/// The keys that only hold things together in which some may be told.
const AROUND: [&[u8]; 1] = [b"items"];

/// What a part of an answer is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Part {
    /// Around what is told and other things.
    #[default]
    Around,
    /// Told by the server.
    Told,
    /// Somebody else's.
    Others,
}

impl Part {
    fn under(self, key: &[u8]) -> Self {
        match self {
            Self::Around if TOLD.contains(&key) => Self::Told,
            Self::Around if AROUND.contains(&key) => Self::Around,
            Self::Around | Self::Others => Self::Others,
            Self::Told => Self::Told,
        }
    }
}

/// An object or an array that is open.
#[derive(Debug)]
struct Open {
    is_object: bool,
    own: Part,
    /// That of the value whose turn it is.
    value: Part,
    /// Whether the next text is a key.
    wants_key: bool,
}

/// What tells of other runs.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Whatever looks like the identifier of a run, and where it begins.
    pub(super) identifiers: Vec<(usize, RunId)>,
    /// Where it is said how many runs wait, in order.
    pub(super) numbers: Vec<Range<usize>>,
}

/// Reads an answer piece by piece: JSON, or lines of events whose data is JSON.
#[derive(Debug, Default)]
pub(super) struct Told {
    open: Vec<Open>,
    in_text: bool,
    is_escaped: bool,
    /// Whether the text is a key.
    is_key: bool,
    /// The beginning of the key, where it matters which one it is.
    key: Option<Key>,
}

/// The longest key that is compared. None of those that matter is longer.
const MAX_KEY: usize = 16;

/// As much of a key as is compared, and one byte more if there is more. A page has thousands of keys, so it takes no memory of
/// its own.
#[derive(Debug, Default)]
struct Key {
    bytes: [u8; MAX_KEY + 1],
    length: usize,
}

impl Key {
    fn push(&mut self, bytes: &[u8]) {
        let room = self.bytes.iter_mut().skip(self.length);
        let taken = room.zip(bytes).map(|(to, from)| *to = *from).count();
        self.length += taken;
    }

    fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

impl Told {
    /// What of the next piece is told and tells of other runs.
    pub(super) fn find(&mut self, bytes: &[u8]) -> Found {
        let mut found = Found::default();
        let mut at = 0;
        while at < bytes.len() {
            let is_told = self.in_text && !self.is_key && self.part() == Part::Told;
            if !is_told {
                at += self.pass_over(&bytes[at..]);
                if at == bytes.len() {
                    break;
                }
            }
            if is_told && let Some(id) = identifier(&bytes[at..]) {
                found.identifiers.push((at, id));
                at += LENGTH;
                continue;
            }
            if is_told && let Some(length) = number_queued(&bytes[at..]) {
                found.numbers.push(at..at + length);
                at += length;
                continue;
            }
            self.read(bytes[at]);
            at += 1;
        }
        found
    }

    /// Reads bytes up to the next one at which something begins or ends, and returns how many. Nearly all of an answer is read
    /// here: a page has a hundred kilobytes, and nobody is to wait for that.
    fn pass_over(&mut self, bytes: &[u8]) -> usize {
        let next = match self.in_text {
            true if self.is_escaped => Some(0),
            true => bytes.iter().position(|byte| matches!(byte, b'"' | b'\\')),
            false => {
                let matters = |byte: &u8| matches!(byte, b'"' | b'{' | b'}' | b'[' | b']' | b',');
                bytes.iter().position(matters)
            }
        };
        let (passed, _) = bytes.split_at(next.unwrap_or(bytes.len()));
        if let Some(key) = &mut self.key {
            key.push(passed);
        }
        passed.len()
    }

    fn part(&self) -> Part {
        self.open.last().map_or(Part::Around, |open| open.value)
    }

    fn read(&mut self, byte: u8) {
        if self.in_text {
            return self.read_text(byte);
        }
        match byte {
            b'"' if !self.open.is_empty() => {
                self.in_text = true;
                let key = self.open.last().filter(|open| open.wants_key);
                self.is_key = key.is_some();
                // Below what is told, or somebody else's, everything is, whatever its key.
                self.key = key.filter(|open| open.own == Part::Around).map(|_| Key::default());
            }
            b'{' | b'[' => {
                let (is_object, own) = (byte == b'{', self.part());
                self.open.push(Open { is_object, own, value: own, wants_key: is_object });
            }
            b'}' | b']' => {
                self.open.pop();
            }
            b',' => {
                if let Some(open) = self.open.last_mut().filter(|open| open.is_object) {
                    open.wants_key = true;
                }
            }
            _ => {}
        }
    }

    fn read_text(&mut self, byte: u8) {
        let ends = byte == b'"' && !self.is_escaped;
        self.is_escaped = byte == b'\\' && !self.is_escaped;
        if !ends {
            if let Some(key) = &mut self.key {
                key.push(&[byte]);
            }
            return;
        }
        self.in_text = false;
        let key = self.key.take();
        if let Some(open) = self.open.last_mut().filter(|_| std::mem::take(&mut self.is_key)) {
            open.value = key.map_or(open.own, |key| open.own.under(key.as_bytes()));
            open.wants_key = false;
        }
    }
}

/// The identifier with which these bytes begin.
fn identifier(bytes: &[u8]) -> Option<RunId> {
    let bytes = bytes.get(..LENGTH)?;
    // Most places are left by the first look.
    if bytes[8] != b'-' || bytes[13] != b'-' {
        return None;
    }
    // Identifiers of runs begin with a moment; those of other things do not.
    let id: RunId = std::str::from_utf8(bytes).ok()?.parse().ok()?;
    (id.0.get_version_num() == 7).then_some(id)
}

/// How long the part of a reason is with which these bytes begin and that says how many runs are queued:
/// `; 2 more are queued before it`, as [`StatusReason::cluster_busy`](crate::run::StatusReason::cluster_busy) writes it.
fn number_queued(bytes: &[u8]) -> Option<usize> {
    let rest = bytes.strip_prefix(b"; ")?;
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let rest = rest.get(digits..).filter(|_| digits > 0)?;
    let ends: [&[u8]; 2] = [b" more is queued before it", b" more are queued before it"];
    let end = ends.into_iter().find(|end| rest.starts_with(end))?;
    Some(2 + digits + end.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::StatusReason;

    const ID: &str = "01920000-0000-7000-8000-000000000001";

    fn found(text: &str) -> usize {
        Told::default().find(text.as_bytes()).identifiers.len()
    }

    #[test]
    fn how_many_are_queued_is_found_as_it_is_written() {
        for queued in [1, 2, 30] {
            let reason = StatusReason::cluster_busy(ID.parse().unwrap(), queued).message;
            let text = format!("{{\"reason\":{{\"message\":\"{reason}\"}}}}");
            let mut numbers = Told::default().find(text.as_bytes()).numbers;
            let number = numbers.pop().unwrap();
            assert_eq!(
                &text[..number.start],
                format!("{{\"reason\":{{\"message\":\"waits for run {ID} to end")
            );
            assert_eq!(&text[number.end..], "\"}}");
            let params = text.replace("reason", "params");
            assert!(Told::default().find(params.as_bytes()).numbers.is_empty());
        }
    }

    #[test]
    fn identifiers_are_found_in_what_the_server_says_and_nowhere_else() {
        let table = [
            (r#"{"detail":"cluster is held by run ID, and ID"}"#, 2),
            (r#"{"id":"ID","reason":{"code":"cluster-busy","message":"waits for run ID"}}"#, 1),
            (r#"{"items":[{"id":"ID","waits":"for \"ID\""},{"trouble":{"message":"ID"}}]}"#, 2),
            (r#"{"items":[{"event":"status","reason":{"message":"ID"}}],"next":"ID"}"#, 2),
            (r#"{"text":"ID","next":[{"effect":"end ID","command":"run abandon ID"}]}"#, 3),
            (r#"{"retry_of":{"run":"ID"}}"#, 1),
            // What others wrote stays as it is, whatever keys it has.
            (r#"{"document":"detail: ID"}"#, 0),
            (r#"{"params":{"reason":"ID","detail":{"text":"ID"}},"status":"DONE"}"#, 0),
            (
                r#"{"items":[{"results":{"reason":"ID"},"message":"ID","journal":{"text":["ID"]}}]}"#,
                0,
            ),
            (r#"{"ID":"x","reason":{"ID":1},"a":"reason\":ID"}"#, 0),
            (r#"["ID"]"#, 0),
            ("ID", 0),
        ];
        for (text, expected) in table {
            assert_eq!(found(&text.replace("ID", ID)), expected, "{text}");
        }
        assert_eq!(found(&format!("{{\"text\":\"{}\"}}", &ID[..35])), 0);
        assert_eq!(found("{\"text\":\"äöü-----------------------------------ß\"}"), 0);
    }

    #[test]
    fn pieces_and_lines_of_events_are_read_one_after_the_other() {
        let line = format!(
            "id: 5\nevent: status\ndata: {{\"seq\":5,\"reason\":{{\"message\":\"run {ID}\"}}}}\n\n"
        );
        assert_eq!(found(&line.repeat(3)), 3);
        for cut in 0..line.len() {
            if line.find(ID).is_some_and(|at| at < cut && cut < at + LENGTH) {
                continue;
            }
            let mut told = Told::default();
            let first = told.find(&line.as_bytes()[..cut]).identifiers.len();
            let rest = told.find(&line.as_bytes()[cut..]).identifiers.len();
            assert_eq!(first + rest, 1, "{cut}");
        }
    }
}
