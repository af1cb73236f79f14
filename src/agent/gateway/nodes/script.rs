//! The script that runs on nodes, and how words get there unharmed.

use std::fmt::Write as _;
use std::sync::LazyLock;

use super::limits::{MAX_STATUS_SECONDS, STATUS_TURNS};
use super::{MAX_KEPT, MAX_LISTED, MAX_OWN_FACTS, MAX_PIECE, MAX_STDERR, MAX_STDOUT};

/// The size of the blocks in which `find` counts, in bytes.
const BLOCK: u64 = 512;

/// The script, as it is sent: without comments, indentation and empty lines, since all of it goes over with each exchange.
pub(super) static SCRIPT: LazyLock<String> = LazyLock::new(|| {
    let lines = include_str!("job.sh").lines().map(str::trim_start);
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    let mut script = lines.fold(String::new(), |mut script, line| {
        script.push_str(line);
        script.push('\n');
        script
    });
    for (name, value) in [
        // One more shows that there is more.
        ("MAX_STDOUT", (MAX_STDOUT + 1) as u64),
        ("MAX_STDERR", MAX_STDERR as u64),
        ("MAX_BLOCKS", MAX_KEPT / BLOCK),
        ("MAX_PIECE", MAX_PIECE as u64),
        ("MAX_LISTED", MAX_LISTED as u64),
        ("MAX_OWN", MAX_OWN_FACTS as u64),
        ("STATUS_TURNS", STATUS_TURNS),
        ("STATUS_SECONDS", MAX_STATUS_SECONDS),
    ] {
        script = script.replace(name, &value.to_string());
    }
    script
});

/// Text as one word of printable ASCII, from which `printf %b` makes the same bytes. No bytes at all are `-`.
pub(super) fn encode(bytes: &[u8]) -> String {
    if bytes.is_empty() {
        return "-".to_owned();
    }
    let mut word = String::with_capacity(bytes.len() + bytes.len() / 2);
    for byte in bytes {
        match byte {
            b'\\' => word.push_str("\\0134"),
            b'-' if bytes.len() == 1 => word.push_str("\\0055"),
            0x21..=0x7e => word.push(char::from(*byte)),
            other => {
                let _ = write!(word, "\\0{other:03o}");
            }
        }
    }
    word
}

/// What `printf %b` would make of a word that [`encode`] made. Nothing if it did not.
pub(super) fn decode(word: &[u8]) -> Option<Vec<u8>> {
    if word == b"-" {
        return Some(Vec::new());
    }
    let mut bytes = Vec::with_capacity(word.len());
    let mut rest = word;
    while let Some((first, after)) = rest.split_first() {
        if *first != b'\\' {
            bytes.push(*first);
            rest = after;
            continue;
        }
        let digits = after.strip_prefix(b"0")?;
        let (digits, after) = (digits.get(..3)?, digits.get(3..)?);
        let digits = std::str::from_utf8(digits).ok()?;
        bytes.push(u8::from_str_radix(digits, 8).ok()?);
        rest = after;
    }
    Some(bytes)
}

/// A word as shells read it, whatever it has. Words that need no quotes get none, so that people can read them.
pub(super) fn quote(word: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_./:@%+,-".contains(&byte);
    if !word.is_empty() && word.bytes().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_login_shell_hands_the_script_on_unchanged() {
        // fish knows two escapes between single quotes.
        assert!(!SCRIPT.contains('\'') && !SCRIPT.contains(r"\\"), "{}", *SCRIPT);
        assert!(!SCRIPT.contains("MAX_") && SCRIPT.is_ascii());
        // Linux takes arguments of up to 128 KiB, and packets of SSH are no larger than 256 KiB.
        assert!(SCRIPT.len() < 16 * 1024, "{}", SCRIPT.len());
    }

    #[test]
    fn words_come_back_as_they_were() {
        let all: Vec<u8> = (0..=255).collect();
        for bytes in
            [b"".as_slice(), b"-", b"--", b"a b", br"\0101\n", b"\n", "ä1".as_bytes(), &all]
        {
            let word = encode(bytes);
            assert!(word.bytes().all(|byte| byte.is_ascii_graphic()), "{word}");
            assert_eq!(decode(word.as_bytes()).as_deref(), Some(bytes), "{word}");
        }
        for bad in [r"\", r"\n", r"\09", r"\0999", r"\0400"] {
            assert_eq!(decode(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn only_words_that_need_quotes_get_them() {
        for (word, expected) in [
            ("/bin/true", "/bin/true"),
            ("", "''"),
            ("a b", "'a b'"),
            ("it's", r"'it'\''s'"),
            ("$HOME", "'$HOME'"),
            ("~", "'~'"),
            ("A=b", "'A=b'"),
        ] {
            assert_eq!(quote(word), expected);
        }
    }
}
