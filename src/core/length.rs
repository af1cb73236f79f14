//! Lengths of time as people write them: one grammar for documents, command lines and plugins.
//!
//! It is what jiff reads: `300ms`, `5m`, `1h30m`, `1d`, also with spaces and words (`2 hours 5 minutes`), and
//! ISO 8601 (`PT1H30M`). A day has 24 hours and a week 7 days. Months and years have no length of their own, and
//! nothing that is told here goes back in time or is shorter than a millisecond.

use std::fmt;
use std::str::FromStr;

use crate::time::Millis;

// Plugins are built apart from the core, and read and write the same.
#[path = "../../plugins/sdk/src/span.rs"]
mod span;

/// The longest length of time that is written anywhere: ten years. More is a slip.
pub const MAX_LENGTH: Millis = Millis::from_secs(3_660 * 24 * 3_600);

/// The name of lengths of time among the formats of a JSON Schema: `{ "type": "string", "format": "length-of-time" }`.
pub const LENGTH_FORMAT: &str = "length-of-time";

/// What people are shown as such.
pub const LENGTH_EXPECTED: &str = "a length of time such as 300ms, 5m, 1h30m, 1d or PT1H30M";

/// The text is no length of time.
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

/// The one form in which a length is written back: `1h30m`, each unit that it has, the largest first.
impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        span::write(f, self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The texts and their lengths, which the SDK of plugins reads too.
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
