//! What arguments often have: numbers of agents and lengths of time, written as in playbooks. Their
//! errors say what was found and what was expected.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, Unexpected, Visitor};

/// How many agents at a time: a number from 1, or a share of them above 0% such as `10%` or `2.5%`.
///
/// In a JSON Schema:
/// ```json
/// { "type": ["integer", "string"], "minimum": 1, "maximum": 4294967295,
///   "pattern": "^(100(\\.0{1,2})?|(0?[1-9]|[1-9][0-9])(\\.[0-9]{1,2})?|0{1,2}\\.(0[1-9]|[1-9][0-9]?))%$" }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// So many.
    Count(u32),
    /// Hundredths of a percent.
    Share(u32),
}

impl Size {
    /// One agent.
    pub const ONE: Self = Self::Count(1);

    /// The number of agents that this is, of `all`: rounded down, but never 0, so that a run goes on.
    pub fn of(self, all: u32) -> u32 {
        let agents = match self {
            Self::Count(count) => count,
            Self::Share(hundredths) => (u64::from(all) * u64::from(hundredths) / 10_000) as u32,
        };
        agents.max(1)
    }

    /// Reads `10%` or `2.5%`.
    fn share(text: &str) -> Option<Self> {
        let percent = text.strip_suffix('%')?;
        let (whole, decimals) = percent.split_once('.').unwrap_or((percent, "0"));
        let digits = |text: &str| match text.bytes().all(|byte| byte.is_ascii_digit()) {
            true => text.parse::<u32>().ok(),
            false => None,
        };
        let decimals = match decimals.len() {
            1 => digits(decimals)? * 10,
            2 => digits(decimals)?,
            _ => return None,
        };
        let hundredths = digits(whole)?.checked_mul(100)?.checked_add(decimals)?;
        (1..=10_000).contains(&hundredths).then_some(Self::Share(hundredths))
    }
}

/// As it is written.
impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(count) => write!(f, "{count}"),
            Self::Share(hundredths) => {
                let (whole, decimals) = (hundredths / 100, hundredths % 100);
                match (decimals / 10, decimals % 10) {
                    (0, 0) => write!(f, "{whole}%"),
                    (tenths, 0) => write!(f, "{whole}.{tenths}%"),
                    (tenths, rest) => write!(f, "{whole}.{tenths}{rest}%"),
                }
            }
        }
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl Visitor<'_> for Reader {
            type Value = Size;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number of agents from 1, or a share above 0% such as \"10%\"")
            }

            fn visit_u64<E: Error>(self, count: u64) -> Result<Size, E> {
                match u32::try_from(count) {
                    Ok(count) if count > 0 => Ok(Size::Count(count)),
                    Ok(_) | Err(_) => Err(E::invalid_value(Unexpected::Unsigned(count), &self)),
                }
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Size, E> {
                Size::share(text).ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

/// A length of time in milliseconds: a whole number and its unit, `250ms`, `30s`, `5m`, `1h` or `2d`.
///
/// In a JSON Schema it has the type `string` and the pattern [`length_pattern!`](crate::length_pattern),
/// so that one which is too long is refused with the playbook:
/// ```
/// const ARGUMENTS: &str = concat!(
///     r#"{ "properties": { "soak": { "type": "string", "pattern": ""#,
///     replibook_plugin_sdk::length_pattern!(),
///     r#"" } } }"#,
/// );
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Length(pub u64);

impl Length {
    /// The longest one, as in playbooks: 49 days.
    pub const MAX: Self = Self(u32::MAX as u64);

    /// Reads a length of time of more than zero.
    fn read(text: &str) -> Option<Self> {
        let split = text.find(|c: char| !c.is_ascii_digit())?;
        let (number, unit) = text.split_at(split);
        let unit = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return None,
        };
        let length = Self(number.parse::<u64>().ok()?.checked_mul(unit)?);
        (length > Self(0) && length <= Self::MAX).then_some(length)
    }
}

/// What a [`Length`](crate::arguments::Length) looks like: as a regular expression, up to the longest one
/// in each unit. It has no character that JSON escapes. The host says in words what it means. A schema may
/// have 2 KiB of patterns: with more than three lengths, put it into `$defs` once.
#[macro_export]
macro_rules! length_pattern {
    () => {
        "^0*(([1-9][0-9]{0,8}|[1-3][0-9]{9}|4[01][0-9]{8}|42[0-8][0-9]{7}\
         |429[0-3][0-9]{6}|4294[0-8][0-9]{5}|42949[0-5][0-9]{4}|429496[0-6][0-9]{3}\
         |4294967[01][0-9]{2}|42949672[0-8][0-9]|429496729[0-5])ms\
         |([1-9][0-9]{0,5}|[1-3][0-9]{6}|4[01][0-9]{5}|42[0-8][0-9]{4}\
         |429[0-3][0-9]{3}|4294[0-8][0-9]{2}|42949[0-5][0-9]|429496[0-7])s\
         |([1-9][0-9]{0,3}|[1-6][0-9]{4}|70[0-9]{3}|71[0-4][0-9]{2}|715[0-7][0-9]|7158[0-2])m\
         |([1-9][0-9]{0,2}|10[0-9]{2}|11[0-8][0-9]|119[0-3])h|([1-9]|[1-4][0-9])d)$"
    };
}

/// As it is written, in the largest unit that fits.
impl fmt::Display for Length {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s")];
        let fits = units.iter().find(|(unit, _)| self.0 >= *unit && self.0.is_multiple_of(*unit));
        match fits {
            Some((unit, name)) => write!(f, "{}{name}", self.0 / unit),
            None => write!(f, "{}ms", self.0),
        }
    }
}

impl<'de> Deserialize<'de> for Length {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl Visitor<'_> for Reader {
            type Value = Length;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a length of time such as 250ms, 30s, 5m or 1h, of at most 49 days")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Length, E> {
                Length::read(text).ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_str(Reader)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(json: &str) -> Result<Size, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    fn length(text: &str) -> Result<Length, String> {
        serde_json::from_str(&format!("{text:?}")).map_err(|error| error.to_string())
    }

    #[test]
    fn a_size_is_read_and_written_as_in_playbooks() {
        for text in ["1", "4294967295"] {
            assert_eq!(size(text).unwrap().to_string(), text);
        }
        for text in ["0.01%", "5%", "2.5%", "0.05%", "12.34%", "100%"] {
            assert_eq!(size(&format!("{text:?}")).unwrap().to_string(), text);
        }
        let none = [r#""0%""#, r#""0.0%""#, r#""00.00%""#];
        let bad = ["0", "-1", "1.5", "null", r#""2""#, r#""101%""#, r#""1.234%""#, r#""%""#];
        for bad in bad.into_iter().chain(none) {
            let error = size(bad).unwrap_err();
            assert!(error.contains("a number of agents from 1"), "{error}");
        }
    }

    #[test]
    fn a_share_is_rounded_down_and_never_to_nothing() {
        assert_eq!(Size::Share(1_000).of(12), 1);
        assert_eq!(Size::Share(1_000).of(3), 1);
        assert_eq!(Size::Share(2_500).of(12), 3);
        assert_eq!(Size::Share(10_000).of(u32::MAX), u32::MAX);
        assert_eq!(Size::Count(7).of(3), 7);
    }

    #[test]
    fn a_length_is_read_and_written_as_in_playbooks() {
        for (text, millis) in
            [("250ms", 250), ("3s", 3_000), ("90s", 90_000), ("49d", 4_233_600_000)]
        {
            let length = length(text).unwrap();
            assert_eq!((length, length.to_string().as_str()), (Length(millis), text));
        }
        assert_eq!(length("60s").unwrap().to_string(), "1m");
        for bad in ["", "0s", "5", "s", "1.5h", "5 m", "1h30m", "50d", "9999999999999999d"] {
            let error = length(bad).unwrap_err();
            assert!(error.contains("a length of time such as"), "{bad}: {error}");
        }
    }
}
