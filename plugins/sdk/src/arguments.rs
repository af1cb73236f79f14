//! Types that arguments often need: numbers of agents and lengths of time, written as in playbooks. Their
//! errors say what was found and what was expected.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, Unexpected, Visitor};

use crate::span;

/// How many agents at a time: a number from 1, or a share of all agents above 0%, such as `10%` or `2.5%`.
/// The number may be text (`"2"`), as in a parameter that takes both forms.
///
/// In a JSON Schema it has both types, and the pattern [`size_pattern!`](crate::size_pattern):
/// ```
/// const ARGUMENTS: &str = concat!(
///     r#"{ "properties": { "batch": { "type": ["integer", "string"], "minimum": 1, "maximum": 4294967295,
///          "pattern": ""#,
///     replibook_plugin_sdk::size_pattern!(),
///     r#"" } } }"#,
/// );
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// This number of agents.
    Count(u32),
    /// Hundredths of a percent.
    Share(u32),
}

impl Size {
    /// One agent.
    pub const ONE: Self = Self::Count(1);

    /// How many of `all` agents this is: rounded down, but never 0, so that a run goes on.
    ///
    /// # Example
    /// ```
    /// use replibook_plugin_sdk::arguments::Size;
    ///
    /// let sizes: Vec<Size> = serde_json::from_str(r#"[3, "10%", "0.5%"]"#)?;
    /// assert_eq!(sizes.iter().map(|size| size.of(25)).collect::<Vec<_>>(), [3, 2, 1]);
    ///
    /// let error = serde_json::from_str::<Size>("0").unwrap_err();
    /// assert!(error.to_string().contains("a number of agents from 1"), "{error}");
    /// # Ok::<(), serde_json::Error>(())
    /// ```
    pub fn of(self, all: u32) -> u32 {
        let agents = match self {
            Self::Count(count) => count,
            Self::Share(hundredths) => (u64::from(all) * u64::from(hundredths) / 10_000) as u32,
        };
        agents.max(1)
    }

    /// Reads `2`, `10%` or `2.5%`.
    fn read(text: &str) -> Option<Self> {
        let Some(percent) = text.strip_suffix('%') else {
            let is_plain = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
            return text.parse().ok().filter(|_| is_plain).map(Self::Count);
        };
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

/// A regular expression for a [`Size`](crate::arguments::Size) that is written as text. It has no character
/// that JSON escapes, so it can stand in a schema as it is. If a value does not match, the host says what is
/// expected.
#[macro_export]
macro_rules! size_pattern {
    () => {
        "^((100([.]0{1,2})?|(0?[1-9]|[1-9][0-9])([.][0-9]{1,2})?|0{1,2}[.](0[1-9]|[1-9][0-9]?))%|[1-9][0-9]{0,8})$"
    };
}

/// Writes the size as in a playbook.
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
                Size::read(text).ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

/// A length of time in milliseconds, written as everywhere in Replibook: `300ms`, `5m`, `1h30m`, `1d`, or
/// `PT1H30M`.
///
/// In a JSON Schema it has the type `string` and the format `length-of-time`, so that a length that is wrong
/// or too long is refused with the playbook:
/// ```json
/// { "type": "string", "format": "length-of-time" }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Length(pub u64);

impl Length {
    /// The longest length, the same as in playbooks: 49 days.
    pub const MAX: Self = Self(u32::MAX as u64);

    /// Reads a length of time of more than zero.
    fn read(text: &str) -> Option<Self> {
        let length = span::read(text).map(Self)?;
        (length > Self(0) && length <= Self::MAX).then_some(length)
    }
}

/// Writes the length in its normal form: `1h30m`.
impl fmt::Display for Length {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        span::write(f, self.0)
    }
}

impl<'de> Deserialize<'de> for Length {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl Visitor<'_> for Reader {
            type Value = Length;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a length of time such as 300ms, 5m, 1h30m or 1d, of at most 49 days")
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
        assert_eq!(size(r#""2""#), Ok(Size::Count(2)), "as a parameter that takes both is");
        for text in ["0.01%", "5%", "2.5%", "0.05%", "12.34%", "100%"] {
            assert_eq!(size(&format!("{text:?}")).unwrap().to_string(), text);
        }
        let none = [r#""0%""#, r#""0.0%""#, r#""00.00%""#];
        let bad = ["0", "-1", "1.5", "null", r#""101%""#, r#""1.234%""#, r#""%""#];
        let no_count =
            [r#""""#, r#""0""#, r#""02""#, r#""+2""#, r#""1.5""#, r#""two""#, r#""4294967296""#];
        for bad in bad.into_iter().chain(none).chain(no_count) {
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
    fn a_length_is_read_as_everywhere() {
        let lines = include_str!("lengths.txt").lines().filter(|line| !line.starts_with('#'));
        for line in lines {
            let (text, expected) = line.rsplit_once(" = ").unwrap();
            let expected: Option<u64> = expected.parse().ok().filter(|millis| *millis > 0);
            match length(text.trim_matches('"')) {
                Ok(length) => assert_eq!(Some(length.0), expected, "{line}"),
                Err(error) => {
                    assert_eq!(expected, None, "{line}");
                    assert!(error.contains("a length of time such as"), "{line}: {error}");
                }
            }
        }
        assert_eq!(length("4294967295ms"), Ok(Length::MAX));
        assert!(length("4294967296ms").is_err() && length("50d").is_err());
    }

    #[test]
    fn a_length_has_one_form() {
        let forms = [0, 300, 90_000, 5_400_000, 4_233_600_000].map(|ms| Length(ms).to_string());
        assert_eq!(forms, ["0s", "300ms", "1m30s", "1h30m", "49d"]);
    }
}
