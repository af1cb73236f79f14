//! Moments and lengths of time, as plain numbers. They know no clock: whoever needs the present moment gets it as
//! an argument.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A moment: whole milliseconds since the Unix epoch, in UTC.
///
/// It is written as RFC 3339 with milliseconds (`2026-11-22T09:00:00.000Z`).
///
/// # Example
/// ```
/// use replibook_core::time::{Millis, Timestamp};
///
/// let start: Timestamp = "2026-11-22T10:00:00+01:00".parse()?;
/// let end = start.plus(Millis::from_secs(90));
/// assert_eq!(end.to_string(), "2026-11-22T09:01:30.000Z");
/// assert_eq!(end.since(start), Millis(90_000));
/// assert_eq!(start.since(end), Millis(0), "it is not later");
/// # Ok::<(), replibook_core::time::TimestampError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

/// The text is not a moment in RFC 3339.
#[derive(Debug, thiserror::Error)]
#[error(
    "failed to read {found:?} as a moment; expected RFC 3339, for example 2026-11-22T09:00:00Z"
)]
pub struct TimestampError {
    found: String,
}

impl Timestamp {
    /// The name of the type in serialization formats that tell types apart.
    pub const NAME: &'static str = "Timestamp";

    /// The first moment that can be written: the start of the year 1.
    pub const MIN: Self = Self(-62_135_596_800_000);

    /// The last moment that can be written, at the end of the year 9999.
    pub const MAX: Self = Self(253_402_207_200_000);

    /// The moment `millis` milliseconds after the Unix epoch. A moment that is too far away becomes the nearest
    /// one that can be written.
    ///
    /// # Example
    /// ```
    /// use replibook_core::time::Timestamp;
    ///
    /// assert_eq!(Timestamp::from_millis(1_500).to_string(), "1970-01-01T00:00:01.500Z");
    /// assert_eq!(Timestamp::from_millis(i64::MAX), Timestamp::MAX);
    /// ```
    pub const fn from_millis(millis: i64) -> Self {
        if millis < Self::MIN.0 {
            Self::MIN
        } else if millis > Self::MAX.0 {
            Self::MAX
        } else {
            Self(millis)
        }
    }

    /// Milliseconds since the Unix epoch.
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// The moment `length` later, or [`Timestamp::MAX`] if that is too far away.
    pub const fn plus(self, length: Millis) -> Self {
        Self::from_millis(self.0.saturating_add_unsigned(length.0))
    }

    /// The time from `earlier` until this moment. It is zero if `earlier` is not earlier.
    pub const fn since(self, earlier: Self) -> Millis {
        let difference = self.0.saturating_sub(earlier.0);
        Millis(if difference > 0 { difference as u64 } else { 0 })
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(moment) => write!(f, "{moment:.3}"),
            Err(_) => write!(f, "{}ms", self.0),
        }
    }
}

impl FromStr for Timestamp {
    type Err = TimestampError;

    fn from_str(text: &str) -> Result<Self, TimestampError> {
        match text.parse::<jiff::Timestamp>() {
            Ok(moment) => Ok(Self::from_millis(moment.as_millisecond())),
            Err(_) => Err(TimestampError { found: text.to_owned() }),
        }
    }
}

impl schemars::JsonSchema for Timestamp {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Timestamp".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "string", "format": "date-time"})
    }
}

/// A moment stays a type of its own in formats that tell types apart. A format that is not human-readable gets a
/// newtype named [`Timestamp::NAME`] with milliseconds, and may keep it as a date.
impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            serializer.serialize_newtype_struct(Self::NAME, &self.0)
        }
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if !deserializer.is_human_readable() {
            return i64::deserialize(deserializer).map(Self::from_millis);
        }
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A length of time in whole milliseconds.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    schemars::JsonSchema,
)]
#[serde(transparent)]
pub struct Millis(pub u64);

impl Millis {
    /// `seconds` seconds.
    pub const fn from_secs(seconds: u64) -> Self {
        Self(seconds * 1000)
    }

    /// The sum of both lengths.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// How much longer this is than `other`, or zero if it is not longer.
    ///
    /// # Example
    /// ```
    /// use replibook_core::time::Millis;
    ///
    /// let limit = Millis::from_secs(60);
    /// assert_eq!(Millis(61_500).beyond(limit), Millis(1_500));
    /// assert_eq!(Millis(30_000).beyond(limit), Millis(0));
    /// ```
    #[must_use]
    pub const fn beyond(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// The same length as a type of the standard library.
    pub const fn to_std(self) -> std::time::Duration {
        std::time::Duration::from_millis(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_written_with_milliseconds_and_read_back() {
        let moment = Timestamp::from_millis(1_763_802_000_123);
        assert_eq!(moment.to_string(), "2025-11-22T09:00:00.123Z");
        assert_eq!(moment.to_string().parse::<Timestamp>().unwrap(), moment);
        assert!("yesterday".parse::<Timestamp>().is_err());
    }

    proptest::proptest! {
        #[test]
        fn every_moment_is_read_back(millis: i64, length: u64) {
            let moment = Timestamp::from_millis(millis).plus(Millis(length));
            proptest::prop_assert_eq!(moment.to_string().parse::<Timestamp>().unwrap(), moment);
        }
    }

    #[test]
    fn moments_that_can_not_be_written_become_the_nearest_that_can() {
        for (far, expected) in [(i64::MIN, Timestamp::MIN), (i64::MAX, Timestamp::MAX)] {
            let moment = Timestamp::from_millis(far);
            assert_eq!(moment, expected);
            assert_eq!(moment.to_string().parse::<Timestamp>().unwrap(), moment);
        }
    }
}
