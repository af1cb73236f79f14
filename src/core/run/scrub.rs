//! Takes the values of secrets out of what comes from outside, so that nothing that is kept has them.
//!
//! A server or an agent may return what it was sent: as it is, or escaped for JSON, in base64 (both alphabets, also in the
//! middle of something longer), in hex or percent-encoded. What is only spelled in another way is found by reading it:
//! the text is searched as it is, and without its JSON escapes and its percent escapes, in either order and more than
//! once. Base64 and hex may be of the value with such escapes, too, and may be broken into lines.

use std::borrow::Cow;
use std::ops::Range;

use serde_json::{Map, Value};

use super::scrub_search::{Patterns, Search};
use super::scrub_spelling::spellings;
use super::secret::{MIN_SECRET_BYTES, SecretText, TOKEN_PREFIX};

/// What is put in the place of a secret. It needs no escaping anywhere, and is not longer than the shortest secret, so
/// that no text grows. A number becomes a text, which has two quotation marks more.
pub const SCRUBBED: &str = "[secret]";

/// How many times longer than the secret itself the longest of its spellings may be: escaped more than once, or in hex.
pub const LONGEST_SPELLING: usize = 16;

const _: () = assert!(SCRUBBED.len() <= MIN_SECRET_BYTES && SCRUBBED.len() <= TOKEN_PREFIX.len());

/// Finds the values of secrets, and what begins like a token.
pub struct Scrubber {
    /// What is compared as it is, and what is compared without regard to case. `None` if a search could not be made: then
    /// nothing is let through.
    searches: Option<[Search; 2]>,
}

impl Scrubber {
    /// Finds these secrets.
    ///
    /// # Example
    /// ```
    /// use replibook_core::run::{Scrubber, SecretText};
    ///
    /// let pager = SecretText::read("pager", b"correct horse")?;
    /// let scrubber = Scrubber::new([&pager]);
    /// assert_eq!(scrubber.text("got correct%20horse, thanks"), "got [secret], thanks");
    /// assert_eq!(scrubber.text("got Y29ycmVjdCBob3JzZQ=="), "got [secret]==");
    /// # Ok::<(), replibook_core::run::SecretError>(())
    /// ```
    pub fn new<'s>(secrets: impl IntoIterator<Item = &'s SecretText>) -> Self {
        let (mut exact, mut any_case) = (Patterns::default(), Patterns::default());
        any_case.add(TOKEN_PREFIX);
        for secret in secrets {
            exact.add_spellings(secret);
            any_case.add_hex(secret);
        }
        let searches = exact.search(false).and_then(|exact| Ok([exact, any_case.search(true)?]));
        Self { searches: searches.ok() }
    }

    /// Takes all texts and numbers for secrets: for an engine that does not know them.
    pub const fn of_unknown() -> Self {
        Self { searches: None }
    }

    /// The text without secrets.
    pub fn text<'t>(&self, text: &'t str) -> Cow<'t, str> {
        match self.bytes(text.as_bytes()) {
            Cow::Borrowed(_) => Cow::Borrowed(text),
            // Secrets begin and end where characters do.
            Cow::Owned(scrubbed) => Cow::Owned(String::from_utf8_lossy(&scrubbed).into_owned()),
        }
    }

    /// The bytes without secrets.
    pub fn bytes<'b>(&self, bytes: &'b [u8]) -> Cow<'b, [u8]> {
        let found = self.find(bytes);
        if found.is_empty() {
            return Cow::Borrowed(bytes);
        }
        Cow::Owned(without(bytes, 0, found))
    }

    /// What comes from a byte on, without secrets, also without such as begin before.
    pub fn end(&self, bytes: &[u8], from: usize) -> Vec<u8> {
        without(bytes, from, self.find(bytes))
    }

    /// What is between two bytes, without secrets, also without such as begin before or end after.
    pub fn part(&self, bytes: &[u8], part: Range<usize>) -> Vec<u8> {
        let end = part.end.min(bytes.len());
        let found = self.find(bytes).into_iter().filter(|range| range.start < end);
        let found = found.map(|range| range.start..range.end.min(end)).collect();
        without(bytes.get(..end).unwrap_or_default(), part.start, found)
    }

    /// The next piece of what comes bit by bit: what is between two bytes, and the whole of a secret that begins there. A
    /// secret that began before was taken out with the piece before. Returns also where the piece ends.
    pub fn piece(&self, bytes: &[u8], part: Range<usize>) -> (Vec<u8>, usize) {
        let found = self.find(bytes);
        let around = |at: usize| found.iter().find(|range| range.start < at && at < range.end);
        let end = around(part.end).map_or(part.end, |range| range.end).min(bytes.len());
        let from = around(part.start).map_or(part.start, |range| range.end).min(end);
        let here = found.iter().filter(|range| (from..end).contains(&range.start));
        let here = here.cloned().collect();
        (without(bytes.get(..end).unwrap_or_default(), from, here), end)
    }

    /// Takes secrets out of all texts, keys and numbers in a value. Returns whether there were any.
    pub fn value(&self, value: &mut Value) -> bool {
        match value {
            Value::Null | Value::Bool(_) => false,
            Value::Number(number) => match self.text(&number.to_string()) {
                Cow::Borrowed(_) => false,
                Cow::Owned(scrubbed) => {
                    *value = Value::String(scrubbed);
                    true
                }
            },
            Value::String(text) => self.string(text),
            Value::Array(items) => {
                items.iter_mut().fold(false, |found, item| self.value(item) | found)
            }
            Value::Object(map) => self.object(map),
        }
    }

    /// The same for an object.
    pub fn object(&self, map: &mut Map<String, Value>) -> bool {
        let mut found = map.values_mut().fold(false, |found, value| self.value(value) | found);
        if map.keys().any(|key| matches!(self.text(key), Cow::Owned(_))) {
            let all = std::mem::take(map).into_iter();
            *map = all.map(|(key, value)| (self.text(&key).into_owned(), value)).collect();
            found = true;
        }
        found
    }

    /// The same for a text that is kept where it is.
    pub(super) fn string(&self, text: &mut String) -> bool {
        let scrubbed = match self.text(text) {
            Cow::Borrowed(_) => return false,
            Cow::Owned(scrubbed) => scrubbed,
        };
        *text = scrubbed;
        true
    }

    /// Where secrets are, in order and apart from each other.
    fn find(&self, bytes: &[u8]) -> Vec<Range<usize>> {
        let all = 0..bytes.len();
        let Some(searches) = &self.searches else {
            return if bytes.is_empty() { Vec::new() } else { vec![all] };
        };
        let mut found: Vec<Range<usize>> = Vec::new();
        spellings(bytes, &mut |spelled| {
            for search in searches {
                search.find(spelled, &mut found);
            }
        });
        found.sort_unstable_by_key(|range| range.start);
        let mut apart: Vec<Range<usize>> = Vec::new();
        for range in found {
            match apart.last_mut() {
                Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
                Some(_) | None => apart.push(range),
            }
        }
        apart
    }
}

/// The bytes from one on, without those that were found. Those are in order and apart from each other.
fn without(bytes: &[u8], mut from: usize, found: Vec<Range<usize>>) -> Vec<u8> {
    let mut kept = Vec::with_capacity(bytes.len().saturating_sub(from));
    for range in found {
        if range.end <= from {
            continue;
        }
        kept.extend_from_slice(bytes.get(from..range.start).unwrap_or_default());
        kept.extend_from_slice(SCRUBBED.as_bytes());
        from = range.end;
    }
    kept.extend_from_slice(bytes.get(from..).unwrap_or_default());
    kept
}

#[cfg(test)]
#[path = "scrub_tests.rs"]
mod tests;
