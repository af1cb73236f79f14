//! Makes text safe to show: it keeps characters away from terminals and log lines that must not get there.
//!
//! Names, messages and results come from agents, platforms, plugins and files. None of them may move a cursor,
//! begin a new line, reverse the order in which text is read, or look like another name.

use std::fmt::Write as _;

/// Characters that no readable text needs, in order: marks that hide, join or reverse letters, and characters
/// without a width. In addition to the control characters, they are those that Unicode calls "default ignorable",
/// the line separators, and the marks of interlinear annotations.
const UNSEEN: [(char, char); 19] = [
    ('\u{ad}', '\u{ad}'),
    ('\u{34f}', '\u{34f}'),
    ('\u{61c}', '\u{61c}'),
    ('\u{70f}', '\u{70f}'),
    ('\u{115f}', '\u{1160}'),
    ('\u{17b4}', '\u{17b5}'),
    ('\u{180b}', '\u{180f}'),
    ('\u{200b}', '\u{200f}'),
    ('\u{2028}', '\u{202e}'),
    ('\u{2060}', '\u{206f}'),
    ('\u{3164}', '\u{3164}'),
    ('\u{fe00}', '\u{fe0f}'),
    ('\u{feff}', '\u{feff}'),
    ('\u{ffa0}', '\u{ffa0}'),
    ('\u{fff0}', '\u{fffb}'),
    ('\u{13430}', '\u{1345f}'),
    ('\u{1bca0}', '\u{1bca3}'),
    ('\u{1d173}', '\u{1d17a}'),
    ('\u{e0000}', '\u{e0fff}'),
];

/// Whether a person can't see a character, or sees other characters because of it: control characters, characters
/// that set the direction of text, and characters without a width.
pub fn is_unseen(c: char) -> bool {
    if c.is_ascii() {
        return c.is_ascii_control();
    }
    c.is_control() || UNSEEN.iter().any(|(first, last)| (*first..=*last).contains(&c))
}

/// A text with another character in the place of each control character but line feeds and tabs: they would affect a
/// terminal, and JSON writes each with six bytes.
///
/// # Example
/// ```
/// assert_eq!(replibook_core::shown::without_controls("a\r\n\tb"), "a\u{fffd}\n\tb");
/// ```
pub fn without_controls(text: &str) -> String {
    let is_shown = |c: char| !c.is_control() || c == '\n' || c == '\t';
    text.chars().map(|c| if is_shown(c) { c } else { char::REPLACEMENT_CHARACTER }).collect()
}

/// Whether a character must not be in a name: characters that [are not seen](is_unseen), white space, and the
/// blank Braille pattern, which is not white space but looks like it.
///
/// # Example
/// ```
/// use replibook_core::shown::is_unseen_in_name;
///
/// assert!(!"näme-1".chars().any(is_unseen_in_name));
/// assert!("two words".chars().any(is_unseen_in_name));
/// assert!("no\u{200b}de".chars().any(is_unseen_in_name), "it has a space without a width");
/// ```
pub fn is_unseen_in_name(c: char) -> bool {
    is_unseen(c) || c.is_whitespace() || c == '\u{2800}'
}

/// The characters of a text, each with whether it is seen at its place. Some characters without a width belong to
/// their neighbours in scripts other than Latin, and in emoji. They count as seen only there, so that no name
/// looks like another.
fn seen(text: &str) -> impl Iterator<Item = (char, bool)> {
    let mut chars = text.chars().peekable();
    // The previous character, if it is seen.
    let mut before = None;
    std::iter::from_fn(move || {
        let c = chars.next()?;
        let is_seen = !is_unseen(c) || belongs(before, c, chars.peek().copied());
        before = is_seen.then_some(c);
        Some((c, is_seen))
    })
}

/// Whether a character without a width belongs to its neighbours.
fn belongs(before: Option<char>, c: char, after: Option<char>) -> bool {
    let is_letter = |c: char| !c.is_ascii() && !c.is_whitespace() && !is_unseen(c);
    let is_look = |c: char| matches!(c, '\u{fe0e}' | '\u{fe0f}');
    match c {
        // A selector that shows a picture as text or as emoji, or a digit as a keycap.
        c if is_look(c) => before.is_some_and(|before| {
            let is_key = before.is_ascii_digit() || matches!(before, '#' | '*');
            is_letter(before) || (is_key && after == Some('\u{20e3}'))
        }),
        // A joiner that makes one emoji of several, or joins letters or keeps them apart.
        '\u{200c}' | '\u{200d}' => {
            before.is_some_and(|before| is_letter(before) || is_look(before))
                && after.is_some_and(is_letter)
        }
        _ => false,
    }
}

/// `text` as one line that does nothing to a terminal. Each control character and line separator becomes a space,
/// and every other unseen character becomes `�`, so that two names that differ also look different.
///
/// # Example
/// ```
/// use replibook_core::shown::clean;
///
/// assert_eq!(clean("done\x1b[2J\nnext"), "done [2J next");
/// assert_eq!(clean("no\u{200b}de"), "no\u{fffd}de");
/// assert_eq!(clean("❤\u{fe0f} ok"), "❤\u{fe0f} ok", "a picture stays whole");
/// ```
pub fn clean(text: &str) -> String {
    let shown = |(c, is_seen): (char, bool)| match c {
        c if is_seen => c,
        c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') => ' ',
        _ => char::REPLACEMENT_CHARACTER,
    };
    seen(text).map(shown).collect()
}

/// The lines of `text`, each made safe by [`clean`].
pub fn clean_lines(text: &str) -> String {
    text.lines().map(clean).collect::<Vec<_>>().join("\n")
}

/// JSON with escapes for unseen characters in its texts. Elsewhere JSON has no such characters, except for the
/// line feeds between its values.
///
/// # Example
/// ```
/// use replibook_core::shown::escape_json;
///
/// let name = serde_json::json!({ "name": "a\u{202e}b" });
/// let shown = escape_json(name.to_string());
/// assert_eq!(shown, r#"{"name":"a\u202eb"}"#);
/// assert_eq!(serde_json::from_str::<serde_json::Value>(&shown)?, name);
/// # Ok::<(), serde_json::Error>(())
/// ```
pub fn escape_json(json: String) -> String {
    escape(json, |escaped, c| {
        for half in c.encode_utf16(&mut [0; 2]) {
            let _ = write!(escaped, "\\u{half:04x}");
        }
    })
}

/// Like [`escape_json`], for JSON that is read as YAML. YAML has one long escape where JSON needs two.
pub fn escape_json_for_yaml(json: String) -> String {
    escape(json, |escaped, c| {
        let _ = match u32::from(c) {
            code @ ..=0xffff => write!(escaped, "\\u{code:04x}"),
            code => write!(escaped, "\\U{code:08x}"),
        };
    })
}

/// Whether a text of several lines has any unseen character, apart from its line feeds.
pub fn has_unseen(lines: &str) -> bool {
    seen(lines).any(|(c, is_seen)| c != '\n' && !is_seen)
}

fn escape(json: String, one: impl Fn(&mut String, char)) -> String {
    if !has_unseen(&json) {
        return json;
    }
    let mut escaped = String::with_capacity(json.len() + 64);
    for (c, is_seen) in seen(&json) {
        match is_seen || c == '\n' {
            true => escaped.push(c),
            false => one(&mut escaped, c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Any text, with many more unseen characters than usual.
    fn any_text() -> impl Strategy<Value = String> {
        let range = prop::sample::select(UNSEEN.to_vec());
        let unseen = range.prop_flat_map(|(first, last)| prop::char::range(first, last));
        let odd =
            prop::sample::select(vec!['\n', '\r', '\t', '\x1b', '\u{7f}', '\u{85}', '\u{9b}']);
        let one = prop_oneof![any::<char>(), unseen, odd, prop::char::range(' ', '~')];
        prop::collection::vec(one, 0..40).prop_map(String::from_iter)
    }

    #[test]
    fn the_table_is_in_order_and_what_people_write_is_not_in_it() {
        assert!(UNSEEN.windows(2).all(|pair| pair[0].1 < pair[1].0));
        assert!(UNSEEN.iter().all(|(first, last)| first <= last));
        assert!(!"näme_1-日本 e\u{301} 🚀 … ـٌ ١٢ עברית".chars().any(is_unseen));
        for c in "\0\x1b\n\u{7f}\u{85}\u{9b}\u{200b}\u{200e}\u{202e}\u{2066}\u{feff}\u{ad}\u{e0041}"
            .chars()
        {
            assert!(is_unseen(c), "{c:?}");
        }
    }

    #[test]
    fn what_is_not_seen_is_shown_to_be_there() {
        assert_eq!(clean("a\x1b[2Jb\nc\u{9b}d"), "a [2Jb c d");
        assert_eq!(clean("no\u{200b}de\u{202e}1\u{2028}x"), "no�de�1 x");
        assert_eq!(clean_lines("a\u{7}\nb\u{feff}\n"), "a \nb�");
        assert_eq!(
            escape_json("\"\u{9b}\u{e0041}\u{202e}\"".to_owned()),
            r#""\u009b\udb40\udc41\u202e""#
        );
    }

    #[test]
    fn pictures_and_joined_letters_stay_whole() {
        for whole in [
            "❤\u{fe0f} ok",
            "👩\u{200d}🚒",
            "🏳\u{fe0f}\u{200d}🌈",
            "1\u{fe0f}\u{20e3}",
            "می\u{200c}خواهم",
        ] {
            assert_eq!(clean(whole), whole);
            assert_eq!(escape_json(format!("\"{whole}\"")), format!("\"{whole}\""));
        }
        for (odd, shown) in [
            ("no\u{200d}de", "no�de"),
            ("a\u{fe0f}", "a�"),
            ("1\u{fe0f}x", "1�x"),
            ("\u{fe0f}❤", "�❤"),
            ("é\u{200c}", "é�"),
            ("é\u{200c}\u{200d}é", "é��é"),
            ("a\u{fe0f}\u{200d}é", "a��é"),
        ] {
            assert_eq!(clean(odd), shown);
        }
        assert!(is_unseen_in_name('\u{2800}') && is_unseen_in_name('\u{200d}'));
        assert_eq!(clean("⠓\u{2800}⠊"), "⠓\u{2800}⠊", "it is a space where people read Braille");
    }

    proptest! {
        #[test]
        fn one_line_stays_one_line_in_which_everything_is_seen(text in any_text()) {
            let shown = clean(&text);
            prop_assert!(!has_unseen(&shown) && !shown.contains('\n'), "{:?}", shown);
            prop_assert!(shown.lines().count() <= 1);
            prop_assert_eq!(shown.chars().count(), text.chars().count());
            prop_assert!(!has_unseen(&clean_lines(&text)));
        }

        #[test]
        fn escaped_json_says_the_same(text in any_text()) {
            let value = serde_json::json!({ text.clone(): [text.clone()], "n": { "t": text } });
            let json = serde_json::to_string_pretty(&value).unwrap();
            let escaped = escape_json(json.clone());
            prop_assert!(!has_unseen(&escaped), "{:?}", escaped);
            prop_assert_eq!(&serde_json::from_str::<serde_json::Value>(&escaped).unwrap(), &value);
            let yaml = escape_json_for_yaml(json);
            prop_assert!(!has_unseen(&yaml), "{:?}", yaml);
            prop_assert_eq!(&serde_yaml::from_str::<serde_json::Value>(&yaml).unwrap(), &value);
        }
    }
}
