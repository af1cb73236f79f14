//! Measures JSON without keeping it: whether a reader of whole values would accept it, how deeply it is nested,
//! and how many values it has.
//!
//! As values, JSON takes up to forty times as much memory as it does as text. So JSON that this agent only
//! passes on stays text, and is checked here.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;
use std::hash::{BuildHasher as _, RandomState};

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// What a JSON text contains.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Measure {
    /// How deep arrays and objects are nested.
    pub(super) depth: usize,
    /// How many values there are, including those inside others.
    pub(super) values: usize,
    /// The longest key of an object, in bytes.
    pub(super) key: usize,
    /// Whether an object has the same key twice. Readers differ in how they treat that.
    pub(super) twice: bool,
}

/// Measures a JSON text.
///
/// # Errors
/// The errors of reading the text into a value: it is not JSON, is nested too deeply, or has half of a
/// surrogate pair.
pub(super) fn measure(text: &str) -> Result<Measure, serde_json::Error> {
    let mut measure = Measure::default();
    let mut reader = serde_json::Deserializer::from_str(text);
    Walk { measure: &mut measure, depth: 0 }.deserialize(&mut reader)?;
    reader.end()?;
    Ok(measure)
}

struct Walk<'m> {
    measure: &'m mut Measure,
    depth: usize,
}

impl Walk<'_> {
    /// Goes one level deeper.
    fn enter(&mut self) {
        self.depth += 1;
        self.measure.depth = self.measure.depth.max(self.depth);
    }

    fn inner(&mut self) -> Walk<'_> {
        Walk { measure: self.measure, depth: self.depth }
    }
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        self.measure.values += 1;
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<(), A::Error> {
        self.enter();
        while items.next_element_seed(self.inner())?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut entries: A) -> Result<(), A::Error> {
        self.enter();
        let mut seen = HashSet::new();
        let state = RandomState::new();
        while let Some(Key(key)) = entries.next_key()? {
            self.measure.key = self.measure.key.max(key.len());
            // A hash takes less memory than the key. If two different keys have the same hash, the output merely
            // counts as text; that is no error.
            self.measure.twice |= !seen.insert(state.hash_one(key.as_ref()));
            entries.next_value_seed(self.inner())?;
        }
        Ok(())
    }
}

/// A key of an object, which is always a string.
#[derive(Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn values_are_counted_and_their_depth() {
        for (text, depth, values, key, twice) in [
            ("null", 0, 1, 0, false),
            (" 1 ", 0, 1, 0, false),
            ("[]", 1, 1, 0, false),
            ("{}", 1, 1, 0, false),
            ("[1,[2]]", 2, 4, 0, false),
            (r#"{"a":{"bb":"\u00e4"},"c":[true,1.5,-1]}"#, 2, 7, 2, false),
            (r#"[{"a":1},{"a":1}]"#, 2, 5, 1, false),
            (r#"{"a":1,"\u0061":1}"#, 1, 3, 1, true),
        ] {
            let expected = Measure { depth, values, key, twice };
            assert_eq!(measure(text).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_value_is_none_here_either() {
        let deep = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        let (most, more) = (deep(127), deep(128));
        for text in [
            &most,
            &more,
            "",
            "[1",
            "1 2",
            "nan",
            "1e999",
            r#""\ud800""#,
            r#"{"\ud800":1}"#,
            "{1:2}",
        ] {
            let read = serde_json::from_str::<Value>(text).is_ok();
            assert_eq!(measure(text).is_ok(), read, "{text}");
        }
        assert!(measure(&most).is_ok() && measure(&more).is_err());
    }
}
