//! Searches a text for the spellings of secrets: for whole ones, and for the beginning of one where the text was cut. What
//! an agent says about a failure is cut before it is scrubbed, and the cut may be in the middle of a secret.

use std::collections::BTreeSet;
use std::ops::Range;

use aho_corasick::automaton::{Automaton as _, StateID};
use aho_corasick::nfa::contiguous::NFA;
use aho_corasick::{Anchored, BuildError};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

use super::fill::{Written, write};
use super::scrub_spelling::{Spelled, without_plus};
use super::secret::{MIN_SECRET_BYTES, SecretText, TOKEN_PREFIX};

/// The fewest bytes of a secret that are taken for its beginning: with fewer, the end of many texts would be one by
/// chance. It is also what a secret has at least.
const MIN_BEGINNING: usize = MIN_SECRET_BYTES;

/// What a text that was cut has at the place.
const CUT: &[u8] = "…".as_bytes();

/// The most bytes of escapes that were cut: the first half of a character, all but one of the second, and the rest of an
/// escape of one of these.
const MAX_PART: usize = 16;

/// What is searched for.
#[derive(Default)]
pub(super) struct Patterns {
    texts: Vec<Vec<u8>>,
    edges: Vec<(bool, bool)>,
}

impl Patterns {
    pub(super) fn add(&mut self, text: &str) {
        self.add_within(text, (false, false));
    }

    /// All that a secret is compared with as it is: its value, as messages about failures have it, and base64.
    pub(super) fn add_spellings(&mut self, secret: &SecretText) {
        for value in shown(secret.expose()) {
            self.add_within(&value, (false, false));
        }
        for value in escaped(secret.expose()) {
            self.add_base64(&value);
        }
    }

    /// A secret in hex.
    pub(super) fn add_hex(&mut self, secret: &SecretText) {
        for value in escaped(secret.expose()) {
            self.add(&hex::encode(value));
        }
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
            both.into_iter().for_each(|text| self.add_within(text, edges));
        }
    }

    fn add_within(&mut self, text: &str, edges: (bool, bool)) {
        for text in BTreeSet::from([text.to_owned(), without_plus(text)]) {
            self.texts.push(text.into_bytes());
            self.edges.push(edges);
        }
    }

    pub(super) fn search(self, any_case: bool) -> Result<Search, BuildError> {
        let machine = NFA::builder().ascii_case_insensitive(any_case).build(&self.texts)?;
        Ok(Search { machine, edges: self.edges })
    }
}

/// A value as it is shown: headers and messages have no white space around it, and messages no control characters.
fn shown(value: &str) -> BTreeSet<String> {
    let all = [value, value.trim()].into_iter();
    let all = all.flat_map(|text| [text.to_owned(), crate::shown::without_controls(text)]);
    all.filter(|text| text.len() >= MIN_SECRET_BYTES).collect()
}

/// A value as it is in a text of JSON, in a URL or in a form, which may be encoded as a whole.
fn escaped(value: &str) -> BTreeSet<String> {
    [Written::AsIs, Written::InJson, Written::InForm].map(|written| write(value, written)).into()
}

/// Finds patterns.
pub(super) struct Search {
    machine: NFA,
    /// For each pattern, whether a character before it and one after it have a part of the secret, too.
    edges: Vec<(bool, bool)>,
}

impl Search {
    /// Adds the places of all patterns, also of those that overlap: what is left of a secret beside another one is still
    /// a part of it.
    pub(super) fn find(&self, spelled: &Spelled<'_>, found: &mut Vec<Range<usize>>) {
        let text = spelled.bytes();
        let Some(mut state) = self.start() else {
            found.push(spelled.place(0..text.len()));
            return;
        };
        for (at, byte) in text.iter().enumerate() {
            self.find_beginning(spelled, (at, state), found);
            state = self.machine.next_state(Anchored::No, state, *byte);
            if !self.machine.is_match(state) {
                continue;
            }
            for index in 0..self.machine.match_len(state) {
                let pattern = self.machine.match_pattern(state, index);
                let start = (at + 1).saturating_sub(self.machine.pattern_len(pattern));
                let edges = self.edges.get(pattern.as_usize()).copied().unwrap_or_default();
                found.push(spelled.place(with_edges(spelled, start..at + 1, edges)));
            }
        }
        self.find_beginning(spelled, (text.len(), state), found);
    }

    fn start(&self) -> Option<StateID> {
        self.machine.start_state(Anchored::No).ok()
    }

    /// Adds the beginning of a pattern with which the text before `at` ends, if it may have been cut there. `state` is
    /// where the machine is by then.
    fn find_beginning(
        &self,
        spelled: &Spelled<'_>,
        (at, state): (usize, StateID),
        found: &mut Vec<Range<usize>>,
    ) {
        let (before, rest) = spelled.bytes().split_at(at);
        let Some(part) = cut_here(rest) else { return };
        let Some(length) = self.depth(before, state) else { return };
        // Nothing but the beginning of a secret, and no mark of a cut: it is a name or a number.
        if rest.is_empty() && length == at {
            return;
        }
        let begun = &before[before.len() - length..];
        // The beginning of a token is of no use, and a word that servers may say.
        let token = TOKEN_PREFIX.as_bytes().get(..length);
        if !token.is_some_and(|token| token.eq_ignore_ascii_case(begun)) {
            found.push(spelled.place(at - length..at + part));
        }
    }

    /// How many bytes of a pattern the text ends with, if they are enough to tell. The machine is in the same state
    /// after them alone as after the whole text, and in another one after fewer.
    fn depth(&self, text: &[u8], state: StateID) -> Option<usize> {
        let start = self.start()?;
        let next = |state, byte: &u8| self.machine.next_state(Anchored::No, state, *byte);
        let is_enough =
            |length: usize| text[text.len() - length..].iter().fold(start, next) == state;
        let mut few = text.len().min(MIN_BEGINNING - 1);
        if is_enough(few) {
            return None;
        }
        let mut enough = text.len().min(2 * MIN_BEGINNING);
        while !is_enough(enough) {
            (few, enough) = (enough, text.len().min(2 * enough));
        }
        while enough - few > 1 {
            let middle = few.midpoint(enough);
            match is_enough(middle) {
                true => enough = middle,
                false => few = middle,
            }
        }
        Some(enough)
    }
}

/// A place with the characters of base64 around it that have bits of the secret.
fn with_edges(
    spelled: &Spelled<'_>,
    part: Range<usize>,
    (before, after): (bool, bool),
) -> Range<usize> {
    let is_base64 = |at: usize| {
        let byte = spelled.bytes().get(at).copied().unwrap_or_default();
        byte.is_ascii_alphanumeric()
            || b"+/-_".contains(&byte)
            || byte == b' ' && !spelled.is_plain()
    };
    let Range { mut start, mut end } = part;
    if before && start > 0 && is_base64(start - 1) {
        start -= 1;
    }
    if after && is_base64(end) {
        end += 1;
    }
    start..end
}

/// If a text with this rest may have been cut before it: how many bytes of the rest are what was left of an escape or of
/// a character.
pub(super) fn cut_here(rest: &[u8]) -> Option<usize> {
    match rest.first() {
        None => return Some(0),
        Some(b'\\' | b'%' | 0xe2 | 0xef) => {}
        Some(_) => return None,
    }
    let is_end = |rest: &[u8]| rest.is_empty() || rest.starts_with(CUT);
    let mut parts = (0..=rest.len().min(MAX_PART)).map(|length| rest.split_at(length));
    parts.find(|(part, rest)| is_end(rest) && is_part(part)).map(|(part, _)| part.len())
}

/// Whether this is what is left of an escape, or of some, since what is escaped may have been escaped before.
fn is_part(part: &[u8]) -> bool {
    let mut parts = (1..=part.len()).map(|length| part.split_at(length));
    part.is_empty() || parts.any(|(first, rest)| is_incomplete(first) && is_part(rest))
}

/// Whether this is what is left of an escape of JSON or of a URL, or of a character.
fn is_incomplete(escape: &[u8]) -> bool {
    match escape {
        [b'\\' | b'%'] => true,
        [b'%', digit] => digit.is_ascii_hexdigit(),
        [b'\\', b'u', digits @ ..] if digits.len() < 4 => digits.iter().all(u8::is_ascii_hexdigit),
        // The first half of a character.
        [b'\\', b'u', b'd' | b'D', _, _, _] => true,
        _ => escape == char::REPLACEMENT_CHARACTER.to_string().as_bytes(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_may_be_cut_at_its_end_and_before_an_ellipsis() {
        for (rest, part) in [
            ("", Some(0)),
            ("…, expected", Some(0)),
            ("\\", Some(1)),
            ("\\u00…", Some(4)),
            ("\\ud83d", Some(6)),
            ("\\ud83d\\ude0…: b", Some(11)),
            ("%", Some(1)),
            ("%4…", Some(2)),
            ("\u{fffd}…", Some(3)),
            ("\\%5", Some(3)),
            ("%%2…", Some(3)),
            ("%41", None),
            ("\\n…", None),
            ("\\u0041", None),
            ("x…", None),
            (" …", None),
        ] {
            assert_eq!(cut_here(rest.as_bytes()), part, "{rest}");
        }
    }

    #[test]
    fn the_longest_beginning_of_a_pattern_is_found() {
        let mut patterns = Patterns::default();
        patterns.add("abcabcabcabd");
        patterns.add(&format!("{}!", "x".repeat(100)));
        let search = patterns.search(false).unwrap();
        let depth = |text: &str| {
            let start = search.start().unwrap();
            let next = |state, byte| search.machine.next_state(Anchored::No, state, byte);
            search.depth(text.as_bytes(), text.bytes().fold(start, next))
        };
        assert_eq!(depth(""), None);
        assert_eq!(depth("abcabca"), None);
        assert_eq!(depth("abcabcab"), Some(8));
        assert_eq!(depth("- abcabcabcab"), Some(11));
        assert_eq!(depth("abcabcabcabcabcab"), Some(11));
        for length in 8..=100 {
            assert_eq!(depth(&"x".repeat(length)), Some(length));
            assert_eq!(depth(&format!("-{}", "x".repeat(length))), Some(length));
        }
        assert_eq!(depth(&"x".repeat(1_000)), Some(100));
    }
}
