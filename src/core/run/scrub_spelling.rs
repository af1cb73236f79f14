//! Reads a text in the ways in which it may be meant: as it is, with JSON escapes, with percent escapes, with both, and with
//! escapes that are escaped once more; and each of these without the line breaks in base64. What is found in one of them has a
//! place in the text itself.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;

use sha2::{Digest as _, Sha256};

use super::scrub_lines::joined;

/// How often a text is read anew, each time in all ways. A server that returns a form in a text of JSON, which is in
/// another text of JSON, is read in three. Each of two ways makes a reading of each reading, so a text has 15 at most, and as
/// many without line breaks.
const DEPTH: usize = 3;

/// A way to read a text: the bytes without which there is nothing to read, and what a text begins with.
type Way = (&'static [u8], fn(&[u8]) -> Unit);

const WAYS: [Way; 2] = [(b"\\", json), (b"%+", form)];

/// One reading of a text.
pub(super) struct Spelled<'t> {
    bytes: Cow<'t, [u8]>,
    /// Where each byte of the reading begins in the text, and at last where the text ends. `None` if it is the text itself.
    /// Texts are much shorter than 4 GiB.
    places: Option<Vec<u32>>,
    /// Where each byte of the reading ends in the text, if something is passed over between some of them.
    ends: Option<Vec<u32>>,
    /// Whether its bytes are those of the text.
    is_plain: bool,
}

impl Spelled<'_> {
    /// What is read.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether its bytes are those of the text, so that none of them was escaped.
    pub(super) const fn is_plain(&self) -> bool {
        self.is_plain
    }

    /// Where a part of the reading is in the text.
    pub(super) fn place(&self, part: Range<usize>) -> Range<usize> {
        let last = part.end.checked_sub(1).filter(|last| *last >= part.start);
        let end = self.ends.as_ref().zip(last).and_then(|(ends, last)| ends.get(last));
        let end = end.map(|end| usize::try_from(*end).unwrap_or(usize::MAX));
        self.at(part.start)..end.unwrap_or_else(|| self.at(part.end))
    }

    fn at(&self, index: usize) -> usize {
        let Some(places) = &self.places else { return index };
        let place = places.get(index).or(places.last()).copied().unwrap_or_default();
        usize::try_from(place).unwrap_or(usize::MAX)
    }

    /// Reads the reading once more. `unit` reads what a text begins with: how many bytes it takes, and what they mean.
    /// `None` if nothing in it means anything but itself.
    fn read(&self, unit: fn(&[u8]) -> Unit) -> Option<Spelled<'static>> {
        let (mut bytes, mut places) = (Vec::with_capacity(self.bytes.len()), Vec::new());
        let (mut at, mut is_new) = (0, false);
        while let Some(rest) = self.bytes.get(at..).filter(|rest| !rest.is_empty()) {
            let place = u32::try_from(self.at(at)).unwrap_or(u32::MAX);
            let Unit { length, means, count } = unit(rest);
            is_new |= length != count || means.first() != rest.first();
            for byte in means.into_iter().take(count) {
                bytes.push(byte);
                places.push(place);
            }
            at += length.max(1);
        }
        places.push(u32::try_from(self.at(at)).unwrap_or(u32::MAX));
        let (bytes, places) = (Cow::Owned(bytes), Some(places));
        is_new.then_some(Spelled { bytes, places, ends: None, is_plain: false })
    }

    /// The reading without what is passed over: `passes` tells how many of the next bytes are, after the last one that is
    /// not. `None` if none are.
    pub(super) fn without(&self, passes: impl Fn(u8, &[u8]) -> usize) -> Option<Spelled<'static>> {
        let place = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        let (mut bytes, mut places, mut ends) = (Vec::new(), Vec::new(), Vec::new());
        let mut at = 0;
        while let Some(rest @ [first, ..]) = self.bytes.get(at..) {
            let passed = bytes.last().map_or(0, |last| passes(*last, rest));
            if passed > 0 {
                at += passed;
                continue;
            }
            let Range { start, end } = self.place(at..at + 1);
            bytes.push(*first);
            places.push(place(start));
            ends.push(place(end));
            at += 1;
        }
        places.push(place(self.at(at)));
        let is_new = bytes.len() < self.bytes.len();
        let (bytes, places, ends) = (Cow::Owned(bytes), Some(places), Some(ends));
        is_new.then_some(Spelled { bytes, places, ends, is_plain: self.is_plain })
    }
}

/// What some bytes at the beginning of a text mean.
struct Unit {
    /// How many bytes.
    length: usize,
    /// What they mean, and how many bytes of it count: at most a character of UTF-8.
    means: [u8; 4],
    count: usize,
}

impl Unit {
    const fn byte(length: usize, byte: u8) -> Self {
        Self { length, means: [byte, 0, 0, 0], count: 1 }
    }

    fn char(length: usize, char: char) -> Self {
        let mut means = [0; 4];
        let count = char.encode_utf8(&mut means).len();
        Self { length, means, count }
    }

    /// The first byte, which means itself.
    fn itself(text: &[u8]) -> Self {
        Self::byte(1, text.first().copied().unwrap_or_default())
    }
}

/// Shows all readings of a text, each once. No more than one beyond [`DEPTH`] are in memory at a time, since a body may be
/// large.
pub(super) fn spellings(text: &[u8], show: &mut impl FnMut(&Spelled<'_>)) {
    let text = Spelled { bytes: Cow::Borrowed(text), places: None, ends: None, is_plain: true };
    let show = &mut |reading: &Spelled<'_>| {
        show(reading);
        if let Some(joined) = joined(reading) {
            show(&joined);
        }
    };
    show(&text);
    let mut seen = BTreeMap::from([(hash(&text), DEPTH)]);
    read_on(&text, DEPTH, &mut seen, show);
}

/// Shows what is read in a reading: in all ways, as often as is left.
fn read_on(
    reading: &Spelled<'_>,
    left: usize,
    seen: &mut BTreeMap<Hash, usize>,
    show: &mut impl FnMut(&Spelled<'_>),
) {
    let Some(left) = left.checked_sub(1) else { return };
    for (needs, unit) in WAYS {
        if !reading.bytes.iter().any(|byte| needs.contains(byte)) {
            continue;
        }
        let Some(new) = reading.read(unit) else { continue };
        let hash = hash(&new);
        let before = seen.get(&hash).copied();
        if before.is_none() {
            show(&new);
        }
        // It may have been read in a longer way before. Then what is in it was not read as often as it is now.
        if before.is_none_or(|before| before < left) {
            seen.insert(hash, left);
            read_on(&new, left, seen, show);
        }
    }
}

/// Tells readings apart. Who makes a text must not be able to make two of the same hash, since one would not be searched.
type Hash = [u8; 32];

fn hash(reading: &Spelled<'_>) -> Hash {
    Sha256::digest(&reading.bytes).into()
}

/// A text in which nobody can tell what stood for a space, as [`form`] reads it.
pub(super) fn without_plus(text: &str) -> String {
    text.replace('+', " ")
}

/// Reads an escape of JSON.
fn json(text: &[u8]) -> Unit {
    let [b'\\', escaped, ..] = text else { return Unit::itself(text) };
    let byte = match escaped {
        b'"' | b'\\' | b'/' => *escaped,
        b'b' => 0x08,
        b'f' => 0x0c,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'u' => return code_unit(text),
        _ => return Unit::itself(text),
    };
    Unit::byte(2, byte)
}

/// Reads `\uHHHH`, or two of them that are one character.
fn code_unit(text: &[u8]) -> Unit {
    let unit = |at: usize| match text.get(at..at + 6) {
        Some([b'\\', b'u', digits @ ..]) => {
            let digits = std::str::from_utf8(digits).ok()?;
            let fits = digits.bytes().all(|b| b.is_ascii_hexdigit());
            fits.then(|| u16::from_str_radix(digits, 16).ok()).flatten()
        }
        Some(_) | None => None,
    };
    let Some(first) = unit(0) else { return Unit::itself(text) };
    if let Some(char) = char::from_u32(first.into()) {
        return Unit::char(6, char);
    }
    let pair = [first, unit(6).unwrap_or_default()];
    match char::decode_utf16(pair).next() {
        Some(Ok(char)) => Unit::char(12, char),
        Some(Err(_)) | None => Unit::itself(text),
    }
}

/// Reads `%HH`.
fn percent(text: &[u8]) -> Unit {
    let [b'%', high, low, ..] = text else { return Unit::itself(text) };
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    match (digit(*high), digit(*low)) {
        (Some(high), Some(low)) => Unit::byte(3, high * 16 + low),
        (Some(_) | None, _) => Unit::itself(text),
    }
}

/// Reads `%HH` and `+` as forms have them. Elsewhere a `+` means itself, so what is searched for in a form has spaces in
/// the place of all of them ([`without_plus`]).
fn form(text: &[u8]) -> Unit {
    match text {
        [b'+', ..] => Unit::byte(1, b' '),
        _ => match percent(text) {
            Unit { length, means: [b'+', ..], .. } => Unit::byte(length, b' '),
            unit => unit,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn readings(text: &str) -> Vec<String> {
        let mut all = Vec::new();
        spellings(text.as_bytes(), &mut |one| {
            all.push(String::from_utf8_lossy(one.bytes()).into_owned());
        });
        all
    }

    #[test]
    fn a_text_is_read_in_all_ways() {
        assert_eq!(readings("plain"), ["plain"]);
        assert_eq!(readings(r#"a\u0042\/\"\n"#), [r#"a\u0042\/\"\n"#, "aB/\"\n"]);
        assert_eq!(readings(r"a\nb"), [r"a\nb", "a\nb", "ab"]);
        assert_eq!(readings("a%42+%2b%zz%4"), ["a%42+%2b%zz%4", "aB  %zz%4"]);
        assert_eq!(readings(r"\u0025\u0034\u0031"), [r"\u0025\u0034\u0031", "%41", "A"]);
        assert_eq!(readings(r"\ud83d\ude00 \ud83d"), [r"\ud83d\ude00 \ud83d", "😀 \\ud83d"]);
        assert_eq!(readings(r"\"), [r"\"]);
        assert_eq!(readings(r"\u00zz\u12"), [r"\u00zz\u12"]);
        assert_eq!(readings(""), [""]);
        assert_eq!(readings("%252541"), ["%252541", "%2541", "%41", "A"]);
        assert_eq!(readings("%25252541").last().unwrap(), "%41", "no more than three times");
        assert_eq!(readings("%5Cn"), ["%5Cn", "\\n", "\n"]);
    }

    #[test]
    fn a_text_that_is_made_to_have_many_readings_has_few() {
        let text = r"%5C%5C%255C\u005c%2525u0025\\u005c%252Bu0041+".repeat(3);
        let all = readings(&text);
        assert!((8..16).contains(&all.len()), "{}", all.len());
        let once = all.iter().collect::<std::collections::BTreeSet<_>>();
        assert_eq!(once.len(), all.len());
    }

    #[test]
    fn what_is_found_has_its_place_in_the_text() {
        let text = r"x\u00e9\ny%41";
        let place = |reading: &str, part: Range<usize>| {
            let mut found = None;
            spellings(text.as_bytes(), &mut |one| {
                if one.bytes() == reading.as_bytes() {
                    found = Some(&text[one.place(part.clone())]);
                }
            });
            found.unwrap()
        };
        let json = "xé\ny%41";
        assert_eq!(place(json, 1..3), r"\u00e9");
        assert_eq!(place(json, 1..4), r"\u00e9\n");
        assert_eq!(place("xé\nyA", 4..6), "y%41");
    }
}
