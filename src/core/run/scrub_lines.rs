//! Base64 and hex are often broken into lines. A reading is searched without these line breaks as well.

use super::scrub_search::cut_here;
use super::scrub_spelling::Spelled;

/// The reading without line breaks where base64 goes on in the next line, or was cut at the line break. `None` if there are
/// none.
pub(super) fn joined(reading: &Spelled<'_>) -> Option<Spelled<'static>> {
    if !reading.bytes().iter().copied().any(is_break) {
        return None;
    }
    // In other readings a space may stand for a plus, which base64 has.
    let is_plain = reading.is_plain();
    let goes_on = |byte: u8| {
        byte.is_ascii_alphanumeric() || b"+/-_".contains(&byte) || byte == b' ' && !is_plain
    };
    reading.without(|last, next| {
        if !goes_on(last) {
            return 0;
        }
        let breaks = next.iter().take_while(|byte| is_break(**byte)).count();
        let after = next.get(breaks..).unwrap_or_default();
        let indent = after.iter().take_while(|byte| is_plain && is_blank(**byte)).count();
        let after = after.get(indent..).unwrap_or_default();
        let is_inside = breaks > 0
            && (after.first().is_some_and(|byte| goes_on(*byte)) || cut_here(after).is_some());
        if is_inside { breaks + indent } else { 0 }
    })
}

const fn is_break(byte: u8) -> bool {
    matches!(byte, b'\n' | b'\r')
}

const fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

#[cfg(test)]
mod tests {
    use super::super::scrub_spelling::spellings;

    /// The last reading of a text, and where a part of that is in the text.
    fn last(text: &str, part: &str) -> (String, String) {
        let mut found = (String::new(), String::new());
        spellings(text.as_bytes(), &mut |one| {
            let read = String::from_utf8_lossy(one.bytes()).into_owned();
            let at = read.find(part);
            let place = at.map(|at| one.place(at..at + part.len()));
            found = (read, place.map(|place| text[place].to_owned()).unwrap_or_default());
        });
        found
    }

    #[test]
    fn lines_are_joined_where_base64_goes_on() {
        for (text, joined, part, place) in [
            ("ab\ncd\nef", "abcdef", "bc", "b\nc"),
            ("ab\r\ncd\n", "abcd", "abcd", "ab\r\ncd"),
            ("x: |\n  ab\n  cd\n", "x: |\n  abcd", "bcd", "b\n  cd"),
            (r"ab\ncd\n", "abcd", "bc", r"b\nc"),
            ("ab%0d%0Acd", "abcd", "abcd", "ab%0d%0Acd"),
            ("ab\n…", "ab…", "ab", "ab"),
        ] {
            let (read, found) = last(text, part);
            assert_eq!((read.as_str(), found.as_str()), (joined, place), "{text}");
        }
        for text in ["ab:\ncd", "ab\n\"cd", "ab \ncd", "\nab", "abcd", ""] {
            assert_eq!(last(text, "").0, text);
        }
    }
}
