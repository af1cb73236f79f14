//! Deserializes the parts of lists, documents and variants.

use mongodb::bson::{Bson, Document};
use serde::Deserializer;
use serde::de::value::StringDeserializer;
use serde::de::{
    DeserializeSeed, EnumAccess, IntoDeserializer, MapAccess, SeqAccess, VariantAccess, Visitor,
};

use super::error::CodecError;
use super::escape::unescape;
use super::read::Reader;

type Result<T> = std::result::Result<T, CodecError>;

/// The items of a list.
pub(super) struct Items(pub(super) std::vec::IntoIter<Bson>);

impl<'de> SeqAccess<'de> for Items {
    type Error = CodecError;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>> {
        self.0.next().map(|item| seed.deserialize(Reader(item))).transpose()
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.0.len())
    }
}

/// The members of a document.
pub(super) struct Members {
    members: <Document as IntoIterator>::IntoIter,
    value: Option<Bson>,
}

impl Members {
    pub(super) fn new(document: Document) -> Self {
        Self { members: document.into_iter(), value: None }
    }
}

impl<'de> MapAccess<'de> for Members {
    type Error = CodecError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>> {
        let Some((key, value)) = self.members.next() else { return Ok(None) };
        self.value = Some(value);
        let key: StringDeserializer<CodecError> = unescape(key).into_deserializer();
        seed.deserialize(key).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value> {
        seed.deserialize(Reader(self.value.take().unwrap_or(Bson::Null)))
    }
}

/// A variant of an enum: its name, and its content if it has any.
pub(super) struct Variant {
    pub(super) name: String,
    pub(super) content: Option<Bson>,
}

impl<'de> EnumAccess<'de> for Variant {
    type Error = CodecError;
    type Variant = Content;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Content)> {
        let name: StringDeserializer<CodecError> = self.name.into_deserializer();
        Ok((seed.deserialize(name)?, Content(self.content)))
    }
}

/// The content of a variant.
pub(super) struct Content(Option<Bson>);

impl Content {
    fn reader(self) -> Result<Reader> {
        self.0.map(Reader).ok_or_else(|| CodecError("found a word, expected content".to_owned()))
    }
}

impl<'de> VariantAccess<'de> for Content {
    type Error = CodecError;

    fn unit_variant(self) -> Result<()> {
        match self.0 {
            None | Some(Bson::Null) => Ok(()),
            Some(_) => Err(CodecError("found content, expected a word".to_owned())),
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value> {
        seed.deserialize(self.reader()?)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value> {
        self.reader()?.deserialize_any(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        self.reader()?.deserialize_any(visitor)
    }
}
