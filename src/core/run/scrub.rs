//! Takes the values of secrets out of what comes from outside, so that nothing that is kept has them.
//!
//! A server or an agent may return what it was sent: as it is, or escaped for JSON, in base64 (both alphabets, also in the
//! middle of something longer), in hex or percent-encoded. What is only spelled in another way is found by reading it:
//! the text is searched as it is, without its JSON escapes, without its percent escapes, and without both.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::ops::Range;

use aho_corasick::{AhoCorasick, AhoCorasickKind, BuildError};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use serde_json::{Map, Value};

use super::scrub_spelling::{Spelled, spellings};
use super::secret::{MIN_SECRET_BYTES, SecretText, TOKEN_PREFIX};

/// What is put in the place of a secret. It needs no escaping anywhere, and is not longer than the shortest secret, so
/// that nothing grows.
pub const SCRUBBED: &str = "[secret]";

const _: () = assert!(SCRUBBED.len() <= MIN_SECRET_BYTES && SCRUBBED.len() <= TOKEN_PREFIX.len());

/// Finds the values of secrets, and what begins like a token.
pub struct Scrubber {
    /// What is compared as it is, and what is compared without regard to case. `None` if a search could not be made: then
    /// nothing is let through.
    searches: Option<[Search; 2]>,
}

struct Search {
    machine: AhoCorasick,
    /// For each pattern, whether a character before it and one after it have a part of the secret, too.
    edges: Vec<(bool, bool)>,
}

#[derive(Default)]
struct Patterns {
    texts: Vec<Vec<u8>>,
    edges: Vec<(bool, bool)>,
}

impl Patterns {
    fn add(&mut self, text: impl Into<Vec<u8>>, edges: (bool, bool)) {
        self.texts.push(text.into());
        self.edges.push(edges);
    }

    /// All parts of base64 that a value has, wherever it begins in what is encoded.
    fn add_base64(&mut self, value: &str) {
        for shift in 0..3 {
            let bytes = [&[0; 2][..shift], value.as_bytes()].concat();
            // Whole characters: those that have bits of nothing else.
            let first = (8 * shift).div_ceil(6);
            let last = 8 * bytes.len() / 6;
            let edges = (shift != 0, !(8 * bytes.len()).is_multiple_of(6));
            let [standard, url] = [STANDARD_NO_PAD.encode(&bytes), URL_SAFE_NO_PAD.encode(&bytes)];
            let both = BTreeSet::from([&standard[first..last], &url[first..last]]);
            both.into_iter().for_each(|text| self.add(text, edges));
        }
    }

    fn search(self, any_case: bool) -> Result<Search, BuildError> {
        let machine = AhoCorasick::builder()
            .kind(Some(AhoCorasickKind::ContiguousNFA))
            .ascii_case_insensitive(any_case)
            .build(&self.texts)?;
        Ok(Search { machine, edges: self.edges })
    }
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
        exact.add(TOKEN_PREFIX, (false, false));
        any_case.add(TOKEN_PREFIX, (false, false));
        for secret in secrets {
            let value = secret.expose();
            exact.add(value, (false, false));
            exact.add_base64(value);
            any_case.add(hex::encode(value), (false, false));
        }
        let searches = exact.search(false).and_then(|exact| Ok([exact, any_case.search(true)?]));
        Self { searches: searches.ok() }
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
        let (mut scrubbed, mut from) = (Vec::with_capacity(bytes.len()), 0);
        for range in found {
            scrubbed.extend_from_slice(bytes.get(from..range.start).unwrap_or_default());
            scrubbed.extend_from_slice(SCRUBBED.as_bytes());
            from = range.end;
        }
        scrubbed.extend_from_slice(bytes.get(from..).unwrap_or_default());
        Cow::Owned(scrubbed)
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
        for spelled in spellings(bytes) {
            for search in searches {
                search.find(&spelled, &mut found);
            }
        }
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

impl Search {
    fn find(&self, spelled: &Spelled<'_>, found: &mut Vec<Range<usize>>) {
        let text = spelled.bytes();
        let is_base64 = |at: usize| {
            let byte = text.get(at).copied().unwrap_or_default();
            byte.is_ascii_alphanumeric() || b"+/-_".contains(&byte)
        };
        // Overlapping ones, too: what is left of a secret beside another one is still a part of it.
        for hit in self.machine.find_overlapping_iter(text) {
            let (mut start, mut end) = (hit.start(), hit.end());
            let (before, after) =
                self.edges.get(hit.pattern().as_usize()).copied().unwrap_or_default();
            if before && start > 0 && is_base64(start - 1) {
                start -= 1;
            }
            if after && is_base64(end) {
                end += 1;
            }
            found.push(spelled.place(start..end));
        }
    }
}

#[cfg(test)]
#[path = "scrub_tests.rs"]
mod tests;
