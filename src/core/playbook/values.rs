//! Makes a JSON value from a text that the walk has passed. What JSON does not have, or what is refused on
//! purpose, is reported as a problem at its place; the rest of the text is read all the same.

use std::fmt;

use serde::Deserializer;
use serde::de::{DeserializeSeed, EnumAccess, Error, MapAccess, SeqAccess, VariantAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::problem::{MAX_PROBLEMS, Problem, Problems, code};
use super::spans::{NO_NUMBER, NUMBER_EXPECTED, Position, push_segment};
use super::suspects::Suspects;

/// The value of a text, and what is wrong with the text.
#[derive(Default)]
pub(super) struct Values {
    pub(super) value: Value,
    pub(super) problems: Vec<Problem>,
    pub(super) suspects: Suspects,
}

/// Reads the first document of a text. The walk has bounded its nesting, and with it the recursion here.
pub(super) fn read(text: &str, is_json: bool) -> Result<Values, Problems> {
    if is_json {
        let mut json = serde_json::Deserializer::from_str(text);
        let mut values = Values::default();
        if let Ok(value) = values.read(&mut json)
            && json.end().is_ok()
        {
            return Ok(Values { value, ..values });
        }
    }
    let mut values = Values::default();
    // The iterator is used only for several documents: it gives null for a text without any document.
    let whole = values.read(serde_yaml::Deserializer::from_str(text));
    let value = match whole {
        Err(error) if error.to_string().contains("more than one document") => {
            values = Values::default();
            match serde_yaml::Deserializer::from_str(text).next() {
                Some(first) => values.read(first),
                None => Err(error),
            }
        }
        whole => whole,
    };
    match value {
        Ok(value) => Ok(Values { value, ..values }),
        Err(error) => Err(syntax(&error).into()),
    }
}

fn syntax(error: &serde_yaml::Error) -> Problem {
    let problem = Problem::new(code::SYNTAX, "", error.to_string());
    match error.location() {
        Some(at) => {
            let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
            problem.at(Position { line: number(at.line()), column: number(at.column()) })
        }
        None => problem,
    }
}

impl Values {
    fn read<'de, D: Deserializer<'de>>(&mut self, from: D) -> Result<Value, D::Error> {
        Reader { path: &mut String::new(), values: self }.deserialize(from)
    }

    /// Whether there are so many problems that no further ones are kept. Each of a million values could have a
    /// problem, with its path.
    fn is_full(&self) -> bool {
        self.problems.len() > MAX_PROBLEMS
    }
}

struct Reader<'a> {
    path: &'a mut String,
    values: &'a mut Values,
}

impl Reader<'_> {
    fn within<T>(&mut self, segment: &str, read: impl FnOnce(Reader<'_>) -> T) -> T {
        let length = self.path.len();
        push_segment(self.path, segment);
        let result = read(Reader { path: self.path, values: self.values });
        self.path.truncate(length);
        result
    }

    /// Reports a number that JSON does not have. Null stands in for it.
    fn no_number(self, found: impl fmt::Display) -> Value {
        if !self.values.is_full() {
            let problem = Problem::new(code::NOT_JSON, self.path.clone(), NO_NUMBER);
            let problem = problem.found(found).expected(NUMBER_EXPECTED);
            self.values.problems.push(problem);
            self.values.suspects.add(self.path.clone());
        }
        Value::Null
    }

    /// Reports a key that is not a string. The key is left out.
    fn odd_key(&mut self, key: &serde_yaml::Value) {
        if self.values.is_full() {
            return;
        }
        let key = serde_yaml::to_string(key).unwrap_or_default();
        self.within(key.trim(), |reader| {
            let problem =
                Problem::new(code::NOT_JSON, reader.path.clone(), "a key is not a string");
            let problem = problem.found(key.trim()).expected("a string: put it in quotes");
            reader.values.problems.push(problem);
        });
        self.values.suspects.open(self.path.clone());
    }
}

impl<'de> DeserializeSeed<'de> for Reader<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Value, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Reader<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, from: D) -> Result<Value, D::Error> {
        from.deserialize_any(self)
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

    fn visit_i128<E: Error>(self, value: i128) -> Result<Value, E> {
        Ok(self.no_number(value))
    }

    fn visit_u128<E: Error>(self, value: u128) -> Result<Value, E> {
        Ok(self.no_number(value))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        match Number::from_f64(value) {
            Some(number) => Ok(Value::Number(number)),
            None => Ok(self.no_number(value)),
        }
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Value, E> {
        Ok(text.into())
    }

    fn visit_string<E: Error>(self, text: String) -> Result<Value, E> {
        Ok(text.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<Value, A::Error> {
        let mut array = Vec::new();
        loop {
            let next = |reader: Reader<'_>| items.next_element_seed(reader);
            match self.within(&array.len().to_string(), next)? {
                Some(item) => array.push(item),
                None => return Ok(Value::Array(array)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut entries: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(key) = entries.next_key::<serde_yaml::Value>()? {
            let Some(key) = key.as_str() else {
                self.odd_key(&key);
                entries.next_value::<serde::de::IgnoredAny>()?;
                continue;
            };
            let value = self.within(key, |reader| entries.next_value_seed(reader))?;
            // If a key has several values, the first is used.
            if !object.contains_key(key) {
                object.insert(key.to_owned(), value);
            }
        }
        Ok(Value::Object(object))
    }

    /// Reads a value with a tag. The walk has already reported the tag.
    fn visit_enum<A: EnumAccess<'de>>(self, tagged: A) -> Result<Value, A::Error> {
        let (_, value) = tagged.variant::<String>()?;
        value.newtype_variant_seed(self)
    }
}
