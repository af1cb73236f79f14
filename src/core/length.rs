//! Lengths of time as people write them: one grammar for documents, command lines and plugins.
//!
//! It is what jiff reads: `300ms`, `5m`, `1h30m`, `1d`, also with spaces and words (`2 hours 5 minutes`), and
//! ISO 8601 (`PT1H30M`). A day has 24 hours and a week 7 days. Months and years have no length of their own, and
//! nothing that is told here goes back in time or is shorter than a millisecond.

use std::fmt;
use std::str::FromStr;

use crate::time::Millis;

/// The longest length of time that is written anywhere: ten years. More is a slip.
pub const MAX_LENGTH: Millis = Millis::from_secs(3_660 * 24 * 3_600);

/// The name of lengths of time among the formats of a JSON Schema: `{ "type": "string", "format": "length-of-time" }`.
pub const LENGTH_FORMAT: &str = "length-of-time";

/// What people are shown as such.
pub const LENGTH_EXPECTED: &str = "a length of time such as 300ms, 5m, 1h30m, 1d or PT1H30M";

/// The units in which a length is written, largest first.
const UNITS: [(u64, &str); 5] =
    [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s"), (1, "ms")];

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
        let span = text.parse::<jiff::Span>().ok().filter(|_| !is_ambiguous(text));
        let length = span.as_ref().and_then(whole_millis).filter(|length| *length <= MAX_LENGTH);
        length.ok_or_else(|| LengthError { found: text.to_owned() })
    }
}

/// Whether people may mean something else: `10:30` a time of day, and `1,500s` fifteen hundred seconds.
fn is_ambiguous(text: &str) -> bool {
    let mut pairs = text.as_bytes().windows(2);
    text.contains(':') || pairs.any(|pair| pair[0] == b',' && pair[1].is_ascii_digit())
}

/// The milliseconds of a span whose units all have a length, and that does not go back.
fn whole_millis(span: &jiff::Span) -> Option<Millis> {
    let unknown = span.get_years() != 0 || span.get_months() != 0;
    let finer = span.get_microseconds() != 0 || span.get_nanoseconds() != 0;
    if unknown || finer || span.is_negative() {
        return None;
    }
    let parts = [
        (i64::from(span.get_weeks()), 7 * 86_400_000),
        (i64::from(span.get_days()), 86_400_000),
        (i64::from(span.get_hours()), 3_600_000),
        (span.get_minutes(), 60_000),
        (span.get_seconds(), 1_000),
        (span.get_milliseconds(), 1),
    ];
    let sum = parts
        .iter()
        .try_fold(0_i64, |sum, (number, unit)| sum.checked_add(number.checked_mul(*unit)?));
    u64::try_from(sum?).ok().map(Millis)
}

/// The one form in which a length is written back: `1h30m`, each unit that it has, the largest first.
impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self(0) {
            return f.write_str("0s");
        }
        let mut rest = self.0;
        for (unit, name) in UNITS {
            if rest >= unit {
                write!(f, "{}{name}", rest / unit)?;
                rest %= unit;
            }
        }
        Ok(())
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
