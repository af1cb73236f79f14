//! Reads bytes as a JSON value: YAML 1.2 (of which JSON is a part), within limits.
//!
//! A text is one document in UTF-8, without custom tags, without merge keys, and without keys that are not
//! strings.

use std::borrow::Cow;
use std::sync::Arc;

use serde_json::Value;

use super::document::Kind;
use super::problem::{Problem, Problems, code};
use super::spans::{self, MERGE_KEY, Position};
use super::suspects::Suspects;
use super::unquoted;
use super::values;

/// The largest text of a playbook. No person can read a larger one, and every run keeps its playbook.
pub const MAX_PLAYBOOK_BYTES: usize = 1024 * 1024;

/// The largest text of a cluster: 100,000 agents with an address and some attributes each.
pub const MAX_CLUSTER_BYTES: usize = 16 * 1024 * 1024;

/// Reads a text that is no document, such as the parameters of a run. The text is one value, and reading changes
/// nothing in it.
///
/// # Errors
/// [`Problems`]: everything that is wrong with the text, each with its place.
///
/// # Example
/// ```
/// use replibook_core::playbook::{code, read_value};
/// use serde_json::json;
///
/// assert_eq!(read_value(b"batch: 2\nzones: [a, b]")?, json!({ "batch": 2, "zones": ["a", "b"] }));
/// let problem = &read_value(b"batch: 2\nbatch: 3").unwrap_err().0[0];
/// assert_eq!((problem.code.as_str(), problem.line), (code::DUPLICATE_KEY, Some(2)));
/// # Ok::<(), replibook_core::playbook::Problems>(())
/// ```
pub fn read_value(text: &[u8]) -> Result<Value, Problems> {
    let text = Text::read(text, Limits::PLAYBOOK)?;
    text.check(text.problems.clone())?;
    Ok(text.value)
}

/// Limits of a text.
#[derive(Clone, Copy)]
pub struct Limits {
    bytes: usize,
    nodes: u64,
}

impl Limits {
    /// The limits of a playbook. The number of values bounds what aliases can make of the text.
    pub(super) const PLAYBOOK: Self = Self { bytes: MAX_PLAYBOOK_BYTES, nodes: 50_000 };

    /// The limits of a cluster.
    pub const CLUSTER: Self = Self { bytes: MAX_CLUSTER_BYTES, nodes: 2_000_000 };
}

/// A text, with the value that it stands for.
#[derive(Clone, Debug)]
pub struct Text {
    /// The text, in which problems are placed.
    text: Arc<str>,
    /// The value of the text.
    pub value: Value,
    /// What is wrong with the text although a value could be read.
    pub problems: Vec<Problem>,
    /// The places of those problems.
    pub(super) suspects: Suspects,
}

impl Text {
    /// Reads a text. Problems that still leave a value to look at are kept with the value; all others are the
    /// error.
    ///
    /// # Errors
    /// [`Problems`] that leave no value: the text is not UTF-8 or not YAML, is too large, or has too many values.
    pub fn read(bytes: &[u8], limits: Limits) -> Result<Self, Problems> {
        if bytes.len() > limits.bytes {
            let expected = format!("at most {} bytes", limits.bytes);
            let problem = Problem::new(code::TOO_LARGE, "", "the document is too large");
            return Err(problem.found(format!("{} bytes", bytes.len())).expected(expected).into());
        }
        let text = decode(bytes)?;
        let walkable = walkable(text);
        let mut walked = spans::walk(&walkable, limits.nodes, &mut |_, _, _| {});
        unquoted::explain(text, &mut walked.problems);
        if !walked.is_readable {
            return Err(Problems::of(walked.problems));
        }
        let read = values::read(text, is_json(text)).map_err(|mut problems| {
            unquoted::explain(text, &mut problems.0);
            problems
        });
        let values::Values { value, problems, suspects } = read?;
        let mut read = Self { text: walkable.into(), value, problems, suspects };
        for problem in &walked.problems {
            if let Some(around) = read.suspects.of_text(problem)
                && let Some(Value::Object(object)) = read.value.pointer_mut(around)
            {
                object.shift_remove(MERGE_KEY);
            }
        }
        read.problems.extend(walked.problems);
        Ok(read)
    }

    /// Gives the problems their line and column. `Ok` if there are no problems.
    ///
    /// # Errors
    /// [`Problems`], if there are any.
    pub fn check(&self, mut problems: Vec<Problem>) -> Result<(), Problems> {
        self.locate(&mut problems);
        Problems::check(problems)
    }

    /// What is wrong with applying a document of a kind that is a file of a program, with the place of the problem where
    /// the text can be read.
    pub(super) fn refused(bytes: &[u8], kind: Kind, message: &str, expected: &str) -> Problems {
        let problem = Problem::new(code::UNKNOWN_KIND, "/kind", message);
        let problem = problem.found(kind).expected(expected);
        match Self::read(bytes, Limits::CLUSTER).and_then(|text| text.check(vec![problem.clone()]))
        {
            Err(problems) => problems,
            Ok(()) => problem.into(),
        }
    }

    /// Gives the problems their line and column.
    pub(super) fn locate(&self, problems: &mut [Problem]) {
        spans::locate(&self.text, problems);
        unquoted::explain_cut(&self.text, problems);
    }
}

fn decode(bytes: &[u8]) -> Result<&str, Problems> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let before = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        let at = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let byte = bytes.get(error.valid_up_to()).copied().unwrap_or_default();
        let problem = Problem::new(code::ENCODING, "", "the document is not UTF-8");
        let problem =
            problem.found(format!("the byte 0x{byte:02x}")).expected("a document in UTF-8");
        Problems::from(problem.at(Position { line: at(line), column: at(column) }))
    })?;
    Ok(text.strip_prefix('\u{feff}').unwrap_or(text))
}

fn is_json(text: &str) -> bool {
    text.trim_start().starts_with('{')
}

/// The text in a form that the walk can read. JSON allows two things that the walk does not: tabs as white space,
/// and escapes of half a character (two of them make one character). They are replaced by text of the same length,
/// so that every place stays where it is.
fn walkable(text: &str) -> Cow<'_, str> {
    if !is_json(text) || !text.contains(['\t', '\\']) {
        return Cow::Borrowed(text);
    }
    let mut rest = text;
    let mut walkable = String::with_capacity(text.len());
    while let Some(at) = rest.find(['\t', '\\']) {
        walkable.push_str(&rest[..at]);
        rest = &rest[at..];
        let half = rest.get(2..6).is_some_and(|hex| {
            let code = u32::from_str_radix(hex, 16).unwrap_or(0);
            rest.starts_with("\\u") && (0xd800..0xe000).contains(&code)
        });
        let (taken, instead) = match rest.as_bytes() {
            [b'\t', ..] => (1, " "),
            _ if half => (6, "\\ufffd"),
            // The character after a backslash does not begin an escape of its own.
            _ => {
                let taken = 1 + rest[1..].chars().next().map_or(0, char::len_utf8);
                (taken, &rest[..taken])
            }
        };
        walkable.push_str(instead);
        rest = &rest[taken..];
    }
    walkable.push_str(rest);
    Cow::Owned(walkable)
}

#[cfg(test)]
mod tests {
    use super::super::problem::MAX_PROBLEMS;
    use super::*;
    use serde_json::json;

    type Read = Result<Value, Vec<(String, Option<u32>, Option<u32>)>>;

    fn read(text: impl AsRef<[u8]>) -> Read {
        let text = Text::read(text.as_ref(), Limits::PLAYBOOK);
        match text.and_then(|text| text.check(text.problems.clone()).map(|()| text.value)) {
            Ok(value) => Ok(value),
            Err(Problems(all)) => {
                Err(all.into_iter().map(|p| (p.code, p.line, p.column)).collect())
            }
        }
    }

    fn one(code: &str, line: u32, column: u32) -> Read {
        Err(vec![(code.to_owned(), Some(line), Some(column))])
    }

    #[test]
    fn yaml_and_json_give_the_same() {
        let value = json!({"a": [1, 2.5, true, null, "x"], "b": {"c": "é"}, "d": "no", "e": "😀"});
        let yaml = "\u{feff}a: [1, 2.5, true, ~, x]\nb: {c: é}\nd: no\ne: \"😀\"\n";
        assert_eq!(read(yaml).unwrap(), value);
        let text = serde_json::to_string_pretty(&value).unwrap();
        let escaped = text.replace('😀', "\\ud83d\\ude00").replace("  ", "\t");
        assert_eq!(read(escaped).unwrap(), value);
    }

    #[test]
    fn what_is_not_one_document_in_utf_8_is_refused_with_its_place() {
        assert_eq!(read(b"a: 1\nb: \xff\n"), one(code::ENCODING, 2, 4));
        assert_eq!(read(b"\xff\xfea\0"), one(code::ENCODING, 1, 1));
        assert_eq!(read("a: 1\n---\nb: 2\n"), one(code::SYNTAX, 2, 1));
        assert_eq!(read("a: [1\nb: 2\n").unwrap_err()[0].0, code::SYNTAX);
        assert_eq!(read("a: 1\nb:\n  a: 2\n  a: 3\n"), one(code::DUPLICATE_KEY, 4, 3));
        assert_eq!(read("{\"a\": 1, \"a\": 2}"), one(code::DUPLICATE_KEY, 1, 10));
        assert_eq!(read("a: &a {b: 1}\nc:\n  <<: *a\n"), one(code::SYNTAX, 3, 3));
        assert_eq!(read("a: !ruby/object x\n"), one(code::SYNTAX, 1, 4));
        assert_eq!(read("a: {1: x}\n"), one(code::NOT_JSON, 1, 8));
        assert_eq!(read("a: .nan\n"), one(code::NOT_JSON, 1, 4));
        assert_eq!(read("[a]: 1\n").unwrap_err()[0].0, code::NOT_JSON);
    }

    #[test]
    fn a_text_has_a_largest_size() {
        let fill = |size: usize| format!("a: {}", "x".repeat(size - 3));
        assert!(read(fill(MAX_PLAYBOOK_BYTES)).is_ok());
        let error = Text::read(fill(MAX_PLAYBOOK_BYTES + 1).as_bytes(), Limits::PLAYBOOK);
        let message = error.unwrap_err().to_string();
        assert!(
            message.ends_with("found 1048577 bytes; expected at most 1048576 bytes"),
            "{message}"
        );
        let many = "- 1\n".repeat(60_000);
        assert_eq!(read(many).unwrap_err()[0].0, code::TOO_LARGE);
        let wrong = read("- .nan\n".repeat(1_000)).unwrap_err();
        assert_eq!(wrong.len(), MAX_PROBLEMS + 1);
    }
}
