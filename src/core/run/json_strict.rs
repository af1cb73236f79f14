//! Finds JSON that reading would change, or that readers understand differently. Answers and documents with such
//! JSON are refused, so that everyone who reads them later sees the same value.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::playbook::is_too_long;

/// The first whole number of more than 64 bits in a JSON text. A parser would make a floating-point number of it,
/// which is a different number.
///
/// # Example
/// ```
/// use replibook_core::run::integer_beyond_64_bits;
///
/// assert_eq!(integer_beyond_64_bits(r#"{"offset": 18446744073709551615}"#), None);
/// let large = r#"{"offset": 18446744073709551616}"#;
/// assert_eq!(integer_beyond_64_bits(large), Some("18446744073709551616"));
/// ```
pub fn integer_beyond_64_bits(json: &str) -> Option<&str> {
    let bytes = json.as_bytes();
    let is_of_number = |byte: &u8| byte.is_ascii_digit() || b"+-.eE".contains(byte);
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => at = end_of_text(bytes, at + 1),
            b'-' | b'0'..=b'9' => {
                let rest = bytes.get(at..).unwrap_or_default();
                let length = rest.iter().take_while(|byte| is_of_number(byte)).count();
                let number = json.get(at..at + length).unwrap_or_default();
                if is_too_long(number) {
                    return Some(number);
                }
                at += length;
            }
            _ => at += 1,
        }
    }
    None
}

/// The place after the quotation mark that ends a text, which begins at `at`.
fn end_of_text(bytes: &[u8], mut at: usize) -> usize {
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    at
}

/// A JSON value in which no object has the same key twice. Readers differ in which of the two values they take.
///
/// # Example
/// ```
/// use replibook_core::run::Unambiguous;
///
/// let Unambiguous(value) = serde_json::from_str(r#"{"state": "DONE"}"#)?;
/// assert_eq!(value["state"], "DONE");
/// let twice = serde_json::from_str::<Unambiguous>(r#"{"state": "DONE", "state": "FAILED"}"#);
/// assert!(twice.unwrap_err().to_string().starts_with("found the key \"state\" twice"));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Unambiguous(pub Value);

impl<'de> Deserialize<'de> for Unambiguous {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Reader).map(Self)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Value, E> {
        Ok(text.into())
    }

    fn visit_string<E: Error>(self, text: String) -> Result<Value, E> {
        Ok(text.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut array = Vec::new();
        while let Some(Unambiguous(item)) = items.next_element()? {
            array.push(item);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            let Unambiguous(value) = entries.next_value()?;
            if object.contains_key(&key) {
                let shown: String = key.chars().take(SHOWN_KEY).collect();
                return Err(A::Error::custom(format!(
                    "found the key {shown:?} twice, expected it once"
                )));
            }
            object.insert(key, value);
        }
        Ok(Value::Object(object))
    }
}

/// How many characters of a key an error shows.
const SHOWN_KEY: usize = 80;

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn whole_numbers_have_64_bits_at_most() {
        for fits in [
            "0",
            "-9223372036854775808",
            "18446744073709551615",
            "1e300",
            "123456789012345678901.5",
            r#""123456789012345678901""#,
            r#"{"\"123456789012345678901": "\\"}"#,
            "[1, -2, 3.5, true]",
            "",
            "\"",
        ] {
            assert_eq!(integer_beyond_64_bits(fits), None, "{fits}");
        }
        for (text, found) in [
            ("18446744073709551616", "18446744073709551616"),
            ("-9223372036854775809", "-9223372036854775809"),
            (r#"{"a": [1, {"b": 123456789012345678901234}]}"#, "123456789012345678901234"),
            (r#"["\\", 99999999999999999999]"#, "99999999999999999999"),
        ] {
            assert_eq!(integer_beyond_64_bits(text), Some(found), "{text}");
        }
    }

    #[test]
    fn a_key_that_is_there_twice_is_an_error_at_every_depth() {
        let read = |text: &str| serde_json::from_str::<Unambiguous>(text);
        let value = json!({"a": [1, -2, 1.5, "x", null, true], "b": {"a": {}}});
        assert_eq!(read(&value.to_string()).unwrap().0, value);
        for twice in [r#"{"a": 1, "a": 1}"#, r#"[{"b": {"a": 1, "\u0061": 2}}]"#] {
            let error = read(twice).unwrap_err().to_string();
            assert!(error.contains("found the key \"a\" twice"), "{error}");
        }
    }
}
