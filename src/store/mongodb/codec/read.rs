//! From BSON to our documents.

// The driver defines what a value may be. Types that we never write are errors, so a new one needs no arm of its
// own.
#![allow(clippy::wildcard_enum_match_arm)]

use mongodb::bson::{Bson, Document};
use serde::de::{DeserializeOwned, Error as _, Unexpected, Visitor};
use serde::{Deserializer, forward_to_deserialize_any};

use super::error::CodecError;
use super::escape::TEXT;
use super::reader::{Items, Members, Variant};
use replibook_core::run::Timestamp;

type Result<T> = std::result::Result<T, CodecError>;

/// Reads a document. Unknown fields are ignored.
pub(crate) fn from_document<T: DeserializeOwned>(document: Document) -> Result<T> {
    T::deserialize(Reader(Bson::Document(document)))
}

/// Deserializes one value of BSON.
pub(super) struct Reader(pub(super) Bson);

impl<'de> Deserializer<'de> for Reader {
    type Error = CodecError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match self.0 {
            Bson::Double(value) => visitor.visit_f64(value),
            Bson::String(value) => visitor.visit_string(value),
            Bson::Array(items) => visitor.visit_seq(Items(items.into_iter())),
            Bson::Document(document) => read_document(document, visitor),
            Bson::Boolean(value) => visitor.visit_bool(value),
            Bson::Null => visitor.visit_unit(),
            Bson::Int32(value) => visitor.visit_i32(value),
            Bson::Int64(value) => visitor.visit_i64(value),
            Bson::DateTime(value) => {
                visitor.visit_string(Timestamp::from_millis(value.timestamp_millis()).to_string())
            }
            Bson::Binary(binary) => visitor.visit_byte_buf(binary.bytes),
            Bson::Decimal128(value) => {
                let value = value.to_string();
                let number = value.parse().map_err(|_| {
                    CodecError::invalid_value(Unexpected::Str(&value), &"a decimal of an integer")
                })?;
                visitor.visit_u64(number)
            }
            Bson::ObjectId(id) => visitor.visit_string(id.to_hex()),
            other => Err(CodecError(format!("found {:?}", other.element_type()))),
        }
    }

    fn deserialize_i64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match self.0 {
            Bson::DateTime(value) => visitor.visit_i64(value.timestamp_millis()),
            other => Self(other).deserialize_any(visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match self.0 {
            Bson::Null => visitor.visit_none(),
            other => visitor.visit_some(Self(other)),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        let expected = "a word, or a document with one field";
        match self.0 {
            Bson::String(name) => visitor.visit_enum(Variant { name, content: None }),
            Bson::Document(document) if document.len() == 1 => match document.into_iter().next() {
                Some((name, content)) => {
                    visitor.visit_enum(Variant { name, content: Some(content) })
                }
                None => Err(CodecError(format!("expected {expected}"))),
            },
            other => {
                Err(CodecError(format!("found {:?}, expected {expected}", other.element_type())))
            }
        }
    }

    fn is_human_readable(&self) -> bool {
        false
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

fn read_document<'de, V: Visitor<'de>>(document: Document, visitor: V) -> Result<V::Value> {
    match document.get(TEXT) {
        Some(Bson::String(text)) if document.len() == 1 => {
            let value: serde_json::Value =
                serde_json::from_str(text).map_err(CodecError::custom)?;
            value.deserialize_any(visitor).map_err(CodecError::custom)
        }
        Some(_) | None => visitor.visit_map(Members::new(document)),
    }
}
