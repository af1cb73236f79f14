//! Lengths of time in milliseconds as people write them. The core of Replibook compiles this file too, so
//! that documents, command lines and plugins have one grammar.

use std::fmt;

/// The units in which a length is written, largest first.
const UNITS: [(u64, &str); 5] =
    [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s"), (1, "ms")];

/// Reads what jiff reads, as long as all units have a fixed length, the length is not negative, and the text
/// is not ambiguous.
pub(crate) fn read(text: &str) -> Option<u64> {
    let span = text.parse().ok().filter(|_| !is_ambiguous(text))?;
    whole_millis(&span)
}

/// Whether the text may be meant otherwise: `10:30` as a time of day, and `1,500s` as fifteen hundred
/// seconds.
fn is_ambiguous(text: &str) -> bool {
    let mut pairs = text.as_bytes().windows(2);
    text.contains(':') || pairs.any(|pair| pair[0] == b',' && pair[1].is_ascii_digit())
}

fn whole_millis(span: &jiff::Span) -> Option<u64> {
    let unknown = span.get_years() != 0 || span.get_months() != 0;
    let finer = span.get_microseconds() != 0 || span.get_nanoseconds() != 0;
    if unknown || finer {
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
    u64::try_from(sum?).ok()
}

/// Writes the normal form of a length: `1h30m`, with each unit that it has, the largest first.
pub(crate) fn write(f: &mut fmt::Formatter<'_>, millis: u64) -> fmt::Result {
    if millis == 0 {
        return f.write_str("0s");
    }
    let mut rest = millis;
    for (unit, name) in UNITS {
        if rest >= unit {
            write!(f, "{}{name}", rest / unit)?;
            rest %= unit;
        }
    }
    Ok(())
}
