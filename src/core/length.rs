//! Lengths of time as people write them. There is one grammar for documents, command lines and plugins.
//!
//! jiff reads them: `300ms`, `5m`, `1h30m`, `1d`, also with spaces and words (`2 hours 5 minutes`), and ISO 8601
//! (`PT1H30M`). A day has 24 hours and a week 7 days. Months and years are refused, because their length varies,
//! and so are negative lengths and fractions of a millisecond.

use std::fmt;
use std::str::FromStr;

use crate::time::Millis;

// The source is shared with the SDK: plugins are built apart from the core, but must read and write the same
// lengths.
#[path = "../../plugins/sdk/src/span.rs"]
mod span;

/// The longest length of time that may be written anywhere: ten years. A longer one is taken for a slip.
pub const MAX_LENGTH: Millis = Millis::from_secs(3_660 * 24 * 3_600);

/// The JSON Schema format of lengths of time: `{ "type": "string", "format": "length-of-time" }`.
pub const LENGTH_FORMAT: &str = "length-of-time";

/// How messages describe what a length of time looks like.
pub const LENGTH_EXPECTED: &str = "a length of time such as 300ms, 5m, 1h30m, 1d or PT1H30M";

/// The text is not a length of time, or the length is over [`MAX_LENGTH`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("found {found:?}, expected {expected}, of at most {most}", expected = LENGTH_EXPECTED, most = MAX_LENGTH)]
pub struct LengthError {
    found: String,
}

/// Reads a length of time of at most [`MAX_LENGTH`].
impl FromStr for Millis {
    type Err = LengthError;

    fn from_str(text: &str) -> Result<Self, LengthError> {
        let length = span::read(text).map(Self).filter(|length| *length <= MAX_LENGTH);
        length.ok_or_else(|| LengthError { found: text.to_owned() })
    }
}

/// The one form in which a length is written back: `1h30m`, without the units that are zero, the largest unit
/// first.
impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        span::write(f, self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Texts and the lengths that they mean. The SDK of plugins is tested with the same file.
    const TABLE: &str = include_str!("../../plugins/sdk/src/lengths.txt");

    #[test]
    fn the_table_is_read_as_it_says() {
        let mut lines = 0;
        for line in TABLE.lines().filter(|line| !line.starts_with('#')) {
            let (text, expected) = line.rsplit_once(" = ").unwrap();
            lines += 1;
            match text.trim_matches('"').parse::<Millis>() {
                Ok(length) => assert_eq!(length.0.to_string(), expected, "{line}"),
                Err(error) => {
                    assert_eq!(expected, "refused", "{line}: {error}");
                    assert!(error.to_string().contains("expected a length of time"), "{error}");
                }
            }
        }
        assert!(lines > 30, "{lines}");
    }

    #[test]
    fn a_length_has_one_form() {
        for (millis, text) in [
            (0, "0s"),
            (300, "300ms"),
            (90_000, "1m30s"),
            (5_400_000, "1h30m"),
            (86_400_000, "1d"),
            (90_061_001, "1d1h1m1s1ms"),
        ] {
            assert_eq!(Millis(millis).to_string(), text);
        }
    }

    #[test]
    fn what_is_too_long_is_refused_with_the_longest() {
        let error = "3661d".parse::<Millis>().unwrap_err().to_string();
        assert_eq!(error, format!("found \"3661d\", expected {LENGTH_EXPECTED}, of at most 3660d"));
    }

    proptest::proptest! {
        #[test]
        fn what_is_written_is_read_back(millis in 0..=MAX_LENGTH.0) {
            proptest::prop_assert_eq!(Millis(millis).to_string().parse::<Millis>(), Ok(Millis(millis)));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "P?T?([0-9]{1,3}[.,: ]{0,2}(ms|s|m|h|d|w| hours|M|H|D){0,1}){1,4}") {
            if let Ok(length) = text.parse::<Millis>() {
                proptest::prop_assert_eq!(length.to_string().parse::<Millis>(), Ok(length));
            }
        }
    }
}
