//! JSON values that are kept as text.
//!
//! A payload of an agent, the result of a step and the arguments of a call may be 1 MiB each. Mostly they are only
//! handed on: from the agent to the journal, and from there to the guest and to the store. As values in memory
//! they could take some hundred times as much as their text, in every place that has them.

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use schemars::{Schema, SchemaGenerator};
use serde::de::Deserializer;
use serde::ser::{Error as _, SerializeMap as _, SerializeSeq as _, Serializer};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A JSON value, kept as text without spaces. Clones share the text. It is serialized and deserialized as the
/// value, and two texts are equal if their values are.
///
/// # Example
/// ```
/// use replibook_core::run::JsonText;
/// use serde_json::json;
///
/// let text = JsonText::from(json!({ "moved": 3, "ok": true }));
/// assert_eq!(text.as_str(), r#"{"moved":3,"ok":true}"#);
/// assert_eq!(text, JsonText::from(json!({ "ok": true, "moved": 3 })), "the order plays no part");
/// assert_eq!(text.value()["moved"], 3);
/// ```
#[derive(Clone)]
pub struct JsonText {
    /// The text, or a larger text of which this is a part.
    all: Arc<str>,
    part: Range<usize>,
}

impl JsonText {
    /// The text of the value.
    pub fn as_str(&self) -> &str {
        self.all.get(self.part.clone()).unwrap_or_default()
    }

    /// Length of the text in bytes.
    pub fn bytes(&self) -> usize {
        self.part.len()
    }

    /// Whether the value is null.
    pub fn is_null(&self) -> bool {
        self.as_str() == "null"
    }

    /// The parsed value. It may take some hundred times as much memory as the text, so it should not be kept.
    pub fn value(&self) -> Value {
        // The text was made from a value, so this can't fail.
        serde_json::to_value(self).unwrap_or(Value::Null)
    }

    /// Whether both are the same text in memory, or parts of one text. Equal texts need not be.
    pub fn is_shared_with(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.all, &other.all)
    }

    /// The same value as a part of `object`, if one of its members is equal to it. It then takes no memory of its
    /// own.
    ///
    /// # Example
    /// ```
    /// use replibook_core::run::JsonText;
    /// use serde_json::json;
    ///
    /// let node = JsonText::from(json!({ "node_status": "HEALTHY", "attributes": { "zone": "a" } }));
    /// let attributes = JsonText::from(json!({ "zone": "a" })).as_member_of(&node);
    /// assert_eq!(attributes, json!({ "zone": "a" }));
    /// assert!(attributes.is_shared_with(&node));
    /// ```
    #[must_use]
    pub fn as_member_of(self, object: &Self) -> Self {
        match object.member_like(self.as_str()) {
            Some(part) => Self { all: Arc::clone(&object.all), part },
            None => self,
        }
    }

    /// Where the value of the first member is whose text is `text`.
    fn member_like(&self, text: &str) -> Option<Range<usize>> {
        let cursor = Cursor { text: self.as_str(), at: Cell::new(0) };
        if text.len() > self.bytes() || !cursor.takes(b'{') {
            return None;
        }
        while !cursor.rest().is_empty() && !cursor.takes(b'}') {
            cursor.takes(b',');
            cursor.string().ok()?;
            cursor.takes(b':');
            let from = cursor.at.get();
            cursor.pass_value();
            let to = cursor.at.get();
            if cursor.text.get(from..to) == Some(text) {
                return Some(self.part.start + from..self.part.start + to);
            }
        }
        None
    }
}

impl From<&Value> for JsonText {
    fn from(value: &Value) -> Self {
        let all: Arc<str> = value.to_string().into();
        Self { part: 0..all.len(), all }
    }
}

impl From<Value> for JsonText {
    fn from(value: Value) -> Self {
        Self::from(&value)
    }
}

impl PartialEq for JsonText {
    fn eq(&self, other: &Self) -> bool {
        // Equal values differ only in the order of their members.
        let may_be = self.bytes() == other.bytes();
        self.as_str() == other.as_str() || (may_be && self.value() == other.value())
    }
}

impl Eq for JsonText {}

impl PartialEq<Value> for JsonText {
    fn eq(&self, other: &Value) -> bool {
        self.value() == *other
    }
}

impl fmt::Display for JsonText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for JsonText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for JsonText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let cursor = Cursor { text: self.as_str(), at: Cell::new(0) };
        Part { cursor: &cursor, from: 0 }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for JsonText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Value::deserialize(deserializer).map(Self::from)
    }
}

impl schemars::JsonSchema for JsonText {
    fn inline_schema() -> bool {
        Value::inline_schema()
    }

    fn schema_name() -> Cow<'static, str> {
        Value::schema_name()
    }

    fn schema_id() -> Cow<'static, str> {
        Value::schema_id()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        Value::json_schema(generator)
    }
}

/// Bytes of a text as JSON has it, without the quotes. A byte that has to be escaped takes up to six.
///
/// # Example
/// ```
/// use replibook_core::run::escaped_bytes;
///
/// for text in ["plain", "two\nlines", "\u{1b}[2J", "é"] {
///     let json = serde_json::to_string(text)?;
///     assert_eq!(escaped_bytes(text), json.len() - 2, "{json}");
/// }
/// # Ok::<(), serde_json::Error>(())
/// ```
pub fn escaped_bytes(text: &str) -> usize {
    let escaped = |byte: u8| match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 0x08 | 0x0c => 2,
        0..0x20 => 6,
        0x20.. => 1,
    };
    text.bytes().map(escaped).sum()
}

/// How deep lists and objects are nested in a JSON text: 0 for a plain value, 1 for `[]`.
///
/// # Example
/// ```
/// use replibook_core::run::json_text_depth;
///
/// assert_eq!(json_text_depth("3"), 0);
/// assert_eq!(json_text_depth(r#"{"a": [1, 2], "b": "[[["}"#), 2);
/// ```
pub fn json_text_depth(text: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let (mut in_string, mut escaped) = (false, false);
    for byte in text.bytes() {
        if in_string {
            in_string = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
        } else if byte == b'"' {
            in_string = true;
        } else if matches!(byte, b'[' | b'{') {
            depth += 1;
            deepest = deepest.max(depth);
        } else if matches!(byte, b']' | b'}') {
            depth = depth.saturating_sub(1);
        }
    }
    deepest
}

/// A place in a text.
struct Cursor<'t> {
    text: &'t str,
    at: Cell<usize>,
}

impl<'t> Cursor<'t> {
    fn rest(&self) -> &'t str {
        self.text.get(self.at.get()..).unwrap_or_default()
    }

    fn skip(&self, bytes: usize) {
        self.at.set(self.at.get() + bytes);
    }

    /// Steps over this byte, if it comes next.
    fn takes(&self, byte: u8) -> bool {
        let next = self.text.as_bytes().get(self.at.get()) == Some(&byte);
        self.skip(usize::from(next));
        next
    }

    /// Steps over the value that comes next.
    fn pass_value(&self) {
        let mut depth = 0_usize;
        while let Some(byte) = self.text.as_bytes().get(self.at.get()) {
            match byte {
                b'{' | b'[' => depth += 1,
                b'}' | b']' => depth = depth.saturating_sub(1),
                _ => {}
            }
            match byte {
                b'"' => drop(self.string()),
                b'{' | b'[' | b'}' | b']' | b',' | b':' => self.skip(1),
                _ => drop(self.word()),
            }
            if depth == 0 {
                return;
            }
        }
    }

    /// The value that comes next, to be serialized.
    fn part(&self) -> Part<'_, 't> {
        Part { cursor: self, from: self.at.get() }
    }

    /// Reads the string that comes next, and steps over it.
    fn string(&self) -> Result<Cow<'t, str>, serde_json::Error> {
        let rest = self.rest();
        let (mut end, mut is_plain, mut escaped) = (1, true, false);
        for byte in rest.bytes().skip(1) {
            end += 1;
            if byte == b'"' && !escaped {
                break;
            }
            escaped = byte == b'\\' && !escaped;
            is_plain &= byte != b'\\';
        }
        self.skip(end);
        match rest.get(1..end - 1) {
            Some(inner) if is_plain => Ok(Cow::Borrowed(inner)),
            Some(_) | None => serde_json::from_str(rest.get(..end).unwrap_or(rest)).map(Cow::Owned),
        }
    }

    /// Reads the word or number that comes next, and steps over it.
    fn word(&self) -> &'t str {
        let rest = self.rest();
        let end = rest.find([',', ']', '}']).unwrap_or(rest.len());
        self.skip(end);
        rest.get(..end).unwrap_or_default()
    }
}

/// A value within a text. Serializing it leaves the cursor behind the value.
struct Part<'c, 't> {
    cursor: &'c Cursor<'t>,
    from: usize,
}

impl Serialize for Part<'_, '_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { cursor, from } = *self;
        // The value may be serialized more than once.
        cursor.at.set(from);
        if cursor.takes(b'{') {
            let mut map = serializer.serialize_map(None)?;
            while !cursor.takes(b'}') {
                cursor.takes(b',');
                map.serialize_key(&*cursor.string().map_err(S::Error::custom)?)?;
                cursor.takes(b':');
                map.serialize_value(&cursor.part())?;
            }
            return map.end();
        }
        if cursor.takes(b'[') {
            let mut list = serializer.serialize_seq(None)?;
            while !cursor.takes(b']') {
                cursor.takes(b',');
                list.serialize_element(&cursor.part())?;
            }
            return list.end();
        }
        if cursor.rest().starts_with('"') {
            return serializer.serialize_str(&cursor.string().map_err(S::Error::custom)?);
        }
        match cursor.word() {
            "null" => serializer.serialize_unit(),
            "true" => serializer.serialize_bool(true),
            "false" => serializer.serialize_bool(false),
            number => write_number(number, serializer),
        }
    }
}

/// Writes exactly the number that the text was made from. A JSON parser may be off by the last bit.
fn write_number<S: Serializer>(text: &str, serializer: S) -> Result<S::Ok, S::Error> {
    if let Ok(number) = text.parse() {
        serializer.serialize_u64(number)
    } else if let Ok(number) = text.parse() {
        serializer.serialize_i64(number)
    } else {
        serializer.serialize_f64(text.parse().map_err(S::Error::custom)?)
    }
}

#[cfg(test)]
#[path = "json_text_tests.rs"]
mod tests;
