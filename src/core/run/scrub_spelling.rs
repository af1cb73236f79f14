//! Reads a text in the ways in which it may be meant: as it is, with JSON escapes, with percent escapes, with both. What is
//! found in one of them has a place in the text itself.

use std::borrow::Cow;
use std::ops::Range;

/// One reading of a text.
pub(super) struct Spelled<'t> {
    bytes: Cow<'t, [u8]>,
    /// Where each byte of the reading begins in the text, and at last where the text ends. `None` if it is the text itself.
    places: Option<Vec<usize>>,
}

impl Spelled<'_> {
    /// What is read.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Where a part of the reading is in the text.
    pub(super) fn place(&self, part: Range<usize>) -> Range<usize> {
        let Some(places) = &self.places else { return part };
        let at = |index: usize| places.get(index).or(places.last()).copied().unwrap_or_default();
        at(part.start)..at(part.end)
    }

    /// Reads the reading once more. `unit` reads what a text begins with: how many bytes it takes, and what they mean.
    /// `None` if nothing in it means anything but itself.
    fn read(&self, unit: fn(&[u8]) -> Unit) -> Option<Spelled<'static>> {
        let (mut bytes, mut places) = (Vec::with_capacity(self.bytes.len()), Vec::new());
        let (mut at, mut is_new) = (0, false);
        while let Some(rest) = self.bytes.get(at..).filter(|rest| !rest.is_empty()) {
            let place = self.place(at..at).start;
            let Unit { length, means, count } = unit(rest);
            is_new |= length != count || means.first() != rest.first();
            for byte in means.into_iter().take(count) {
                bytes.push(byte);
                places.push(place);
            }
            at += length.max(1);
        }
        places.push(self.place(at..at).start);
        is_new.then(|| Spelled { bytes: Cow::Owned(bytes), places: Some(places) })
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

/// All readings of a text, at most six. A JSON text may hold texts that are percent-encoded.
pub(super) fn spellings(text: &[u8]) -> Vec<Spelled<'_>> {
    let plain = Spelled { bytes: Cow::Borrowed(text), places: None };
    let mut all = vec![plain];
    if text.contains(&b'\\') {
        let json = all[0].read(json);
        all.extend(json);
    }
    for index in 0..all.len() {
        if all[index].bytes.contains(&b'%') {
            let encoded = all[index].read(percent);
            all.extend(encoded);
        }
        if all[index].bytes.contains(&b'+') {
            let form = all[index].read(form);
            all.extend(form);
        }
    }
    all
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

/// Reads `%HH` and `+` as forms have them.
fn form(text: &[u8]) -> Unit {
    match text {
        [b'+', ..] => Unit::byte(1, b' '),
        _ => percent(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn readings(text: &str) -> Vec<String> {
        let all = spellings(text.as_bytes());
        all.iter().map(|one| String::from_utf8_lossy(one.bytes()).into_owned()).collect()
    }

    #[test]
    fn a_text_is_read_in_all_ways() {
        assert_eq!(readings("plain"), ["plain"]);
        assert_eq!(readings(r#"a\u0042\/\"\n"#), [r#"a\u0042\/\"\n"#, "aB/\"\n"]);
        assert_eq!(readings("a%42+%2b%zz%4"), ["a%42+%2b%zz%4", "aB++%zz%4", "aB +%zz%4"]);
        assert_eq!(readings(r"\u0025\u0034\u0031"), [r"\u0025\u0034\u0031", "%41", "A"]);
        assert_eq!(readings(r"\ud83d\ude00 \ud83d"), [r"\ud83d\ude00 \ud83d", "😀 \\ud83d"]);
        assert_eq!(readings(r"\"), [r"\"]);
        assert_eq!(readings(r"\u00zz\u12"), [r"\u00zz\u12"]);
        assert_eq!(readings(""), [""]);
    }

    #[test]
    fn what_is_found_has_its_place_in_the_text() {
        let text = r"x\u00e9\ny%41";
        let all = spellings(text.as_bytes());
        let json = &all[1];
        assert_eq!(json.bytes(), "xé\ny%41".as_bytes());
        assert_eq!(&text[json.place(1..3)], r"\u00e9");
        assert_eq!(&text[json.place(1..4)], r"\u00e9\n");
        let both = all.last().unwrap();
        assert_eq!(both.bytes(), "xé\nyA".as_bytes());
        assert_eq!(&text[both.place(4..6)], "y%41");
    }
}
