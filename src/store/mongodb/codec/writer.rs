//! Serializes the parts of lists and documents.

use mongodb::bson::{Bson, Document};
use serde::Serialize;
use serde::ser::{
    Error as _, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant,
    SerializeTuple, SerializeTupleStruct, SerializeTupleVariant,
};

use super::error::CodecError;
use super::escape::escape;
use super::write::Writer;

type Result<T> = std::result::Result<T, CodecError>;

/// A list that is being written.
pub(super) struct ListWriter {
    writer: Writer,
    variant: Option<&'static str>,
    items: Vec<Bson>,
}

impl ListWriter {
    pub(super) fn new(writer: Writer, variant: Option<&'static str>, len: Option<usize>) -> Self {
        Self { writer, variant, items: Vec::with_capacity(len.unwrap_or_default()) }
    }

    fn push(&mut self, value: &(impl Serialize + ?Sized)) -> Result<()> {
        let item = self.writer.inner(value)?.unwrap_or(Bson::Null);
        self.items.push(item);
        Ok(())
    }

    fn finish(self) -> Result<Option<Bson>> {
        let items = Bson::Array(self.items);
        Ok(match self.variant {
            Some(variant) => Writer::variant(variant, items),
            None => Some(items),
        })
    }
}

macro_rules! list {
    ($($trait:ident::$method:ident),*) => {
        $(impl $trait for ListWriter {
            type Ok = Option<Bson>;
            type Error = CodecError;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
                self.push(value)
            }

            fn end(self) -> Result<Option<Bson>> {
                self.finish()
            }
        })*
    };
}

list!(
    SerializeSeq::serialize_element,
    SerializeTuple::serialize_element,
    SerializeTupleStruct::serialize_field,
    SerializeTupleVariant::serialize_field
);

/// A document that is being written.
pub(super) struct DocumentWriter {
    writer: Writer,
    variant: Option<&'static str>,
    document: Document,
    key: Option<String>,
}

impl DocumentWriter {
    pub(super) fn new(writer: Writer, variant: Option<&'static str>) -> Self {
        Self { writer, variant, document: Document::new(), key: None }
    }

    fn field(&mut self, name: &'static str, value: &(impl Serialize + ?Sized)) -> Result<()> {
        if let Some(value) = self.writer.inner(value)? {
            self.document.insert(name, value);
        } else if self.writer.nulls {
            self.document.insert(name, Bson::Null);
        }
        Ok(())
    }

    fn finish(self) -> Result<Option<Bson>> {
        let document = Bson::Document(self.document);
        Ok(match self.variant {
            Some(variant) => Writer::variant(variant, document),
            None => Some(document),
        })
    }
}

impl SerializeMap for DocumentWriter {
    type Ok = Option<Bson>;
    type Error = CodecError;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<()> {
        self.key = Some(match key.serialize(Writer { depth: 0, nulls: false })? {
            Some(Bson::String(key)) => escape(&key).into_owned(),
            Some(_) | None => return Err(CodecError::custom("found a key that is no text")),
        });
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
        let key = self.key.take().unwrap_or_default();
        let value = self.writer.inner(value)?.unwrap_or(Bson::Null);
        self.document.insert(key, value);
        Ok(())
    }

    fn end(self) -> Result<Option<Bson>> {
        self.finish()
    }
}

macro_rules! fields {
    ($($trait:ident),*) => {
        $(impl $trait for DocumentWriter {
            type Ok = Option<Bson>;
            type Error = CodecError;

            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                name: &'static str,
                value: &T,
            ) -> Result<()> {
                self.field(name, value)
            }

            fn end(self) -> Result<Option<Bson>> {
                self.finish()
            }
        })*
    };
}

fields!(SerializeStruct, SerializeStructVariant);
