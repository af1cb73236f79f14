//! The size of a batch, and what is remembered of it between two decisions.

use serde::de::{Deserializer, Error, Visitor};

/// How many agents at a time.
#[derive(Clone, Copy)]
pub(crate) enum Size {
    /// So many.
    Count(u32),
    /// Hundredths of a percent of the agents of the stage.
    Share(u32),
}

impl Size {
    pub(crate) const ONE: Self = Self::Count(1);

    /// The number of agents that this is, of `selected`; never 0, so that the run goes on.
    pub(crate) fn of(self, selected: u32) -> u32 {
        let agents = match self {
            Self::Count(count) => count,
            Self::Share(hundredths) => {
                (u64::from(selected) * u64::from(hundredths) / 10_000) as u32
            }
        };
        agents.max(1)
    }

    /// Reads `10%` or `2.5%`.
    fn share(text: &str) -> Option<Self> {
        let (whole, rest) = match text.strip_suffix('%')?.split_once('.') {
            Some((whole, rest)) => (whole, rest),
            None => (text.strip_suffix('%')?, "0"),
        };
        let digits = |text: &str| match text.bytes().all(|b| b.is_ascii_digit()) {
            true => text.parse::<u32>().ok(),
            false => None,
        };
        let rest = match rest.len() {
            1 => digits(rest)? * 10,
            2 => digits(rest)?,
            _ => return None,
        };
        let hundredths = digits(whole)?.checked_mul(100)?.checked_add(rest)?;
        (hundredths <= 10_000).then_some(Self::Share(hundredths))
    }
}

impl<'de> serde::Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl Visitor<'_> for Reader {
            type Value = Size;

            fn expecting(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                f.write_str("a number of agents from 1, or a share such as \"10%\"")
            }

            fn visit_u64<E: Error>(self, count: u64) -> Result<Size, E> {
                match u32::try_from(count) {
                    Ok(count) if count > 0 => Ok(Size::Count(count)),
                    Ok(_) | Err(_) => {
                        Err(E::invalid_value(serde::de::Unexpected::Unsigned(count), &self))
                    }
                }
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Size, E> {
                Size::share(text)
                    .ok_or_else(|| E::invalid_value(serde::de::Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

/// What a decision hands to the next one.
#[derive(Clone, Copy, Default)]
pub(crate) struct Memo {
    /// Number of the last batch.
    pub(crate) number: u32,
    /// Agents that this batch may still start.
    pub(crate) left: u32,
}

impl Memo {
    pub(crate) fn read(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        let read = |(number, left): (&str, &str)| {
            Some(Self { number: number.parse().ok()?, left: left.parse().ok()? })
        };
        let memo = text.split_once(' ').and_then(read);
        memo.ok_or_else(|| format!("found the memo {text:?}, expected two numbers"))
    }

    pub(crate) fn write(self) -> String {
        format!("{} {}", self.number, self.left)
    }
}
