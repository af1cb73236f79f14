//! Reads JSON from agents and platforms within bounds. What is over a bound is skipped or dropped, so the memory
//! that an answer takes depends on its bounds and not on its sender.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;

use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::bounds::Bounds;
use super::message::{cut, quote, unexpected};
use crate::run::integer_beyond_64_bits;

/// An answer that can't be read, or that is over a bound. The message says where, what was found and what was
/// expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(String);

impl Malformed {
    /// Takes `message` as the explanation, cut to the length that messages may have.
    pub fn new(message: impl AsRef<str>) -> Self {
        Self(cut(message.as_ref()))
    }

    /// Says that `found` is at `place`, where `expected` should be. `None` means that nothing is there.
    pub fn unexpected(place: &str, found: Option<&Value>, expected: &str) -> Self {
        Self(unexpected(place, found, expected))
    }
}

/// A member of an answer, as it was found.
#[derive(Clone, Debug, PartialEq)]
pub enum Found {
    /// The member is within its bounds.
    Value(Value),
    /// The member is JSON, but over a bound. The text says what was found and what was expected.
    TooMuch(String),
}

impl Found {
    /// The value that was found. `place` names the member in the error.
    ///
    /// # Errors
    /// [`Malformed`] when the member was over a bound.
    pub fn value(self, place: &str) -> Result<Value, Malformed> {
        match self {
            Self::Value(value) => Ok(value),
            Self::TooMuch(what) => Err(Malformed::new(format!("{place}: {what}"))),
        }
    }
}

/// Reads an answer that is one JSON object, and keeps all of it.
///
/// # Errors
/// [`Malformed`] for what is not UTF-8, not JSON, not an object, or over `bounds`.
pub fn read_object(body: &[u8], bounds: &Bounds) -> Result<Map<String, Value>, Malformed> {
    let value = read_value(body, bounds, OBJECT)?;
    let Value::Object(map) = value else {
        return Err(Malformed::unexpected("the body", Some(&value), OBJECT));
    };
    Ok(map)
}

/// Reads an answer that is one JSON list, and keeps all of it.
///
/// # Errors
/// [`Malformed`] for what is not UTF-8, not JSON, not a list, or over `bounds`.
pub fn read_list(body: &[u8], bounds: &Bounds) -> Result<Vec<Value>, Malformed> {
    let value = read_value(body, bounds, LIST)?;
    let Value::Array(list) = value else {
        return Err(Malformed::unexpected("the body", Some(&value), LIST));
    };
    Ok(list)
}

/// What an answer has to be, as error messages say it.
const OBJECT: &str = "a JSON object";
const LIST: &str = "a JSON list";

fn read_value(body: &[u8], bounds: &Bounds, expected: &str) -> Result<Value, Malformed> {
    let text = text_of(body, bounds.bytes)?;
    parse(text, Bounded { bounds, has_long: has_long(text) }, expected)?.value("the body")
}

/// Reads those members of an answer that are `wanted`, each within its own bounds. All other members are ignored,
/// however large they are, and nothing of them is kept. A pointer such as `/state/phase` names a member. If the
/// value around a wanted member is not an object, the result has that value under its own pointer (`/state`). A
/// wanted member that the answer lacks is not in the result.
///
/// # Errors
/// [`Malformed`] for an answer of more than `bytes`, for what is not UTF-8, not JSON or not an object, and for a
/// wanted member that is there twice.
pub fn read_members(
    body: &[u8],
    bytes: usize,
    wanted: &[(&str, Bounds)],
) -> Result<BTreeMap<String, Found>, Malformed> {
    let text = text_of(body, bytes)?;
    let mut found = BTreeMap::new();
    let has_long = has_long(text);
    parse(text, Members { wanted, at: String::new(), found: &mut found, has_long }, OBJECT)?;
    if let Some(other) = found.remove("") {
        return Err(Malformed::unexpected("the body", Some(&other.value("the body")?), OBJECT));
    }
    Ok(found)
}

/// The body as text, if it has at most `bytes`.
fn text_of(body: &[u8], bytes: usize) -> Result<&str, Malformed> {
    if body.len() > bytes {
        return Err(Malformed::new(format!(
            "the body: found {} bytes, expected at most {bytes}",
            body.len()
        )));
    }
    if body.starts_with(b"\xef\xbb\xbf") {
        return Err(Malformed::new("the body: found a byte order mark, expected JSON"));
    }
    std::str::from_utf8(body).map_err(|error| {
        let at = error.valid_up_to();
        Malformed::new(format!("the body: found bytes that are not UTF-8 at {at}, expected JSON"))
    })
}

fn parse<'de, S: DeserializeSeed<'de>>(
    text: &'de str,
    seed: S,
    expected: &str,
) -> Result<S::Value, Malformed> {
    let mut json = serde_json::Deserializer::from_str(text);
    let read = seed.deserialize(&mut json).and_then(|read| json.end().map(|()| read));
    read.map_err(|error| {
        let found = match text.trim() {
            "" => "nothing".to_owned(),
            text => format!("{:?}", quote(text)),
        };
        Malformed::new(format!("the body: found {found}, expected {expected} ({error})"))
    })
}

/// Builds a value as long as it is within its bounds, and skips the rest of it once it is not.
struct Bounded<'b> {
    bounds: &'b Bounds,
    has_long: bool,
}

/// Whether the text has a whole number of more than 64 bits. The parser hands such a number on as a float, which
/// can't be told from a float in the text.
fn has_long(text: &str) -> bool {
    integer_beyond_64_bits(text).is_some()
}

/// From here on, a whole float may stand for an integer of more than 64 bits.
const LONG: f64 = 9_223_372_036_854_775_808.0;

impl<'de> DeserializeSeed<'de> for Bounded<'_> {
    type Value = Found;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Found, D::Error> {
        let Self { bounds, has_long } = self;
        let mut state = State { bounds, has_long, values: 0, over: None };
        let value = Part { state: &mut state, depth: bounds.depth }.deserialize(deserializer)?;
        if let Some(over) = state.over {
            return Ok(Found::TooMuch(over));
        }
        let bytes = json_bytes(&value);
        if bytes > bounds.bytes {
            let limit = bounds.bytes;
            return Ok(Found::TooMuch(format!("found {bytes} bytes, expected at most {limit}")));
        }
        Ok(Found::Value(value))
    }
}

struct State<'b> {
    bounds: &'b Bounds,
    has_long: bool,
    values: usize,
    /// Which bound was exceeded first; `None` while none was.
    over: Option<String>,
}

impl State<'_> {
    fn too_much(&mut self, what: impl FnOnce() -> String) {
        if self.over.is_none() {
            self.over = Some(what());
        }
    }

    fn text(&mut self, text: &str) -> Value {
        let limit = self.bounds.text;
        if text.len() > limit {
            let found = text.len();
            self.too_much(|| format!("found a text of {found} bytes, expected at most {limit}"));
            return Value::Null;
        }
        Value::String(text.to_owned())
    }
}

/// Reads one value, which may be nested in another.
struct Part<'s, 'b> {
    state: &'s mut State<'b>,
    /// How many levels of nesting are still allowed below this value.
    depth: usize,
}

impl Part<'_, '_> {
    /// Goes one level down, into a list or an object.
    fn enter(&mut self) {
        let limit = self.state.bounds.depth;
        match self.depth.checked_sub(1) {
            Some(depth) => self.depth = depth,
            None => self
                .state
                .too_much(|| format!("found more than {limit} levels, expected at most that")),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Part<'_, '_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        let limit = self.state.bounds.values;
        self.state.values += 1;
        if self.state.values > limit {
            self.state
                .too_much(|| format!("found more than {limit} values, expected at most that"));
        }
        if self.state.over.is_some() {
            // Skipping does not recurse, and keeps nothing.
            return deserializer.deserialize_ignored_any(IgnoredAny).map(|_| Value::Null);
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Part<'_, '_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        if self.state.has_long && value.abs() >= LONG {
            self.state.too_much(|| {
                format!("found a whole number of about {value:e}, expected at most 64 bits")
            });
            return Ok(Value::Null);
        }
        Ok(match as_read_back(value) {
            Some(number) => Value::Number(number),
            None => {
                self.state.too_much(|| format!("found the number {value:e}, which can't be kept"));
                Value::Null
            }
        })
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Value, E> {
        Ok(self.state.text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut seq: A) -> Result<Value, A::Error> {
        self.enter();
        let mut items = Vec::new();
        loop {
            if self.state.over.is_some() {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                return Ok(Value::Null);
            }
            match seq.next_element_seed(Part { state: self.state, depth: self.depth })? {
                Some(item) => items.push(item),
                None => return Ok(Value::Array(items)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Value, A::Error> {
        self.enter();
        let mut members = Map::new();
        loop {
            if self.state.over.is_some() {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                return Ok(Value::Null);
            }
            let Some(key) = map.next_key_seed(Key { longest: self.state.bounds.key })? else {
                return Ok(Value::Object(members));
            };
            let key = match key {
                Ok(key) => key,
                Err(why) => {
                    self.state.too_much(|| why);
                    String::new()
                }
            };
            if members.contains_key(&key) {
                let name = quote(&key);
                self.state.too_much(|| format!("found the key {name:?} twice, expected it once"));
            }
            let value = map.next_value_seed(Part { state: self.state, depth: self.depth })?;
            if self.state.over.is_none() {
                members.insert(key, value);
            }
        }
    }
}

/// Reads a key. A key that is too long gives the reason as an error.
struct Key {
    longest: usize,
}

impl<'de> DeserializeSeed<'de> for Key {
    type Value = Result<String, String>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Key {
    type Value = Result<String, String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: de::Error>(self, key: &str) -> Result<Self::Value, E> {
        let (found, longest) = (key.len(), self.longest);
        if found <= longest {
            return Ok(Ok(key.to_owned()));
        }
        let start = quote(key);
        Ok(Err(format!("found a key of {found} bytes ({start:?}), expected at most {longest}")))
    }
}

/// Reads an object, and keeps the members of it that are wanted.
struct Members<'m> {
    wanted: &'m [(&'m str, Bounds)],
    /// Pointer to the object: empty for the whole answer.
    at: String,
    found: &'m mut BTreeMap<String, Found>,
    has_long: bool,
}

/// Bounds of a value that is in the place of an object: enough to quote it in a message.
const QUOTED: Bounds = Bounds { bytes: 2_048, depth: 4, values: 64, text: 1_024, key: 1_024 };

impl<'de> DeserializeSeed<'de> for Members<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Members<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut seen = BTreeSet::new();
        let longest = self.wanted.iter().map(|(pointer, _)| pointer.len()).max().unwrap_or(0);
        while let Some(key) = map.next_key_seed(Key { longest })? {
            let key = key.unwrap_or_default();
            let pointer = format!("{}/{key}", self.at);
            // A key with a slash can't be part of a pointer.
            let bounds =
                self.wanted.iter().find(|(wanted, _)| !key.contains('/') && *wanted == pointer);
            let around = format!("{pointer}/");
            let is_around =
                !key.contains('/') && self.wanted.iter().any(|(w, _)| w.starts_with(&around));
            if (bounds.is_some() || is_around) && !seen.insert(key) {
                let message = format!("{pointer}: found the key twice, expected it once");
                return Err(de::Error::custom(message));
            }
            match bounds {
                Some((_, bounds)) => {
                    let has_long = self.has_long;
                    let found = map.next_value_seed(Bounded { bounds, has_long })?;
                    self.found.insert(pointer, found);
                }
                None if is_around => {
                    let (wanted, found) = (self.wanted, &mut *self.found);
                    let has_long = self.has_long;
                    map.next_value_seed(Members { wanted, at: pointer, found, has_long })?;
                }
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<(), A::Error> {
        let seq = de::value::SeqAccessDeserializer::new(seq);
        let found = Bounded { bounds: &QUOTED, has_long: false }.deserialize(seq)?;
        self.found.insert(self.at, found);
        Ok(())
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<(), E> {
        self.found.insert(self.at, Found::Value(Value::String(quote(text))));
        Ok(())
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<(), E> {
        self.found.insert(self.at, Found::Value(Value::Bool(value)));
        Ok(())
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<(), E> {
        self.found.insert(self.at, Found::Value(value.into()));
        Ok(())
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<(), E> {
        self.found.insert(self.at, Found::Value(value.into()));
        Ok(())
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<(), E> {
        self.found.insert(self.at, Found::Value(value.into()));
        Ok(())
    }

    fn visit_unit<E: de::Error>(self) -> Result<(), E> {
        self.found.insert(self.at, Found::Value(Value::Null));
        Ok(())
    }
}

/// A float that stays the same when it is written and read back. The parser is quick rather than exact, and may be
/// off by the last bit. But a step that is activated again after a restart must see the number that it saw before.
fn as_read_back(value: f64) -> Option<Number> {
    /// Numbers settle in the first or second round.
    const ROUNDS: usize = 8;
    let mut value = value;
    for _ in 0..ROUNDS {
        let number = Number::from_f64(value)?;
        let again: f64 = serde_json::from_str(&number.to_string()).ok()?;
        if again.to_bits() == value.to_bits() {
            return Some(number);
        }
        value = again;
    }
    None
}

/// The size of a value as JSON text, in bytes, without making the text.
pub(crate) fn json_bytes(value: &Value) -> usize {
    let mut bytes = 0;
    each_piece(value, |piece| bytes += piece.len());
    bytes
}

fn each_piece(value: &Value, take: impl FnMut(&[u8])) {
    struct Pieces<F>(F);
    impl<F: FnMut(&[u8])> io::Write for Pieces<F> {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            (self.0)(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    // Neither can fail: all pieces are taken, and a value is always JSON.
    let _ = serde_json::to_writer(Pieces(take), value);
}

#[cfg(test)]
#[path = "json_tests.rs"]
mod tests;
