//! Reads JSON that guests send, within limits that give errors of their own.

use serde_json::Value;

use super::limits::NESTING;
use replibook_core::run::{Unambiguous, integer_beyond_64_bits, json_text_depth};

/// Why a text from a guest is refused.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refused {
    #[error("of {found} bytes, expected at most {most}")]
    TooLong { found: usize, most: usize },
    #[error("nested {found} deep, expected at most {NESTING}")]
    TooDeep { found: usize },
    #[error("with the number {number}, expected whole numbers of at most 64 bits")]
    TooLarge { number: String },
    #[error("that is not JSON, or is ambiguous: {0}")]
    NotJson(#[from] serde_json::Error),
}

/// How many characters of a number that is too large are shown.
const SHOWN_DIGITS: usize = 80;

/// Reads a text of at most `most` bytes, nested at most [`NESTING`] deep.
pub(super) fn read(text: &str, most: usize) -> Result<Value, Refused> {
    let found = text.len();
    if found > most {
        return Err(Refused::TooLong { found, most });
    }
    // Check the depth before parsing: the parser has its own limit, and would say that the text is not JSON.
    let found = json_text_depth(text);
    if found > NESTING {
        return Err(Refused::TooDeep { found });
    }
    if let Some(number) = integer_beyond_64_bits(text) {
        return Err(Refused::TooLarge { number: number.chars().take(SHOWN_DIGITS).collect() });
    }
    let Unambiguous(value) = serde_json::from_str(text)?;
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nested(depth: usize) -> String {
        format!("{}{}", "[".repeat(depth), "]".repeat(depth))
    }

    #[test]
    fn brackets_count_outside_of_strings_only() {
        let cases = [
            ("7", 0),
            ("[]", 1),
            (r#"{"a": [1], "b": [[2]]}"#, 3),
            (r#"["[[[", "\"[[", "\\", [] ]"#, 2),
        ];
        for (text, expected) in cases {
            assert_eq!(json_text_depth(text), expected, "{text}");
            assert!(read(text, 100).is_ok(), "{text}");
        }
    }

    #[test]
    fn a_text_has_a_size_and_a_depth_and_is_json() {
        assert!(read("1234", 4).is_ok());
        assert!(matches!(read("12345", 4), Err(Refused::TooLong { found: 5, most: 4 })));
        assert!(read(&nested(NESTING), 1_000).is_ok());
        // The last one is deeper than the parser itself allows.
        for found in [NESTING + 1, 200] {
            let error = read(&nested(found), 1_000).unwrap_err();
            assert!(matches!(error, Refused::TooDeep { found: it } if it == found), "{error}");
        }
        assert!(matches!(read("{", 4), Err(Refused::NotJson(_))));
    }

    #[test]
    fn nothing_is_changed_by_being_read() {
        let read = |text| read(text, 100).unwrap_err().to_string();
        let error = read(r#"{"lsn": 18446744073709551616}"#);
        assert_eq!(
            error,
            "with the number 18446744073709551616, expected whole numbers of at most 64 bits"
        );
        let error = read(r#"{"a": 1, "a": 2}"#);
        assert!(error.contains("found the key \"a\" twice"), "{error}");
    }

    #[test]
    fn what_is_accepted_can_be_read_back_from_where_it_is_kept() {
        let mut kept = read(&nested(NESTING), 1_000).unwrap();
        // More levels than any document puts around a result, an argument or a schema.
        for _ in 0..32 {
            kept = serde_json::json!({ "kept": kept });
        }
        let text = kept.to_string();
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), kept);
    }
}
