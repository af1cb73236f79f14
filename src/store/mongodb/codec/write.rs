//! From our documents to BSON.

use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{Binary, Bson, DateTime, Decimal128, Document};
use serde::ser::Error as _;
use serde::{Serialize, Serializer};

use super::error::CodecError;
use super::escape::{MAX_DEPTH, TEXT};
use super::writer::{DocumentWriter, ListWriter};
use replibook_core::run::Timestamp;

type Result<T> = std::result::Result<T, CodecError>;

/// Converts a value to a document. Fields without a value are left out.
pub(crate) fn to_document(value: &impl Serialize) -> Result<Document> {
    document(value, false)
}

/// Converts a value to a document with all its fields. Those without a value are null, so that writing them
/// replaces an earlier value.
pub(crate) fn to_fields(value: &impl Serialize) -> Result<Document> {
    document(value, true)
}

fn document(value: &impl Serialize, nulls: bool) -> Result<Document> {
    match value.serialize(Writer { depth: 0, nulls })? {
        Some(Bson::Document(document)) => Ok(document),
        Some(_) | None => Err(CodecError("found no document".to_owned())),
    }
}

/// Serializes one value to BSON. None stands for an option without a value.
#[derive(Clone, Copy)]
pub(super) struct Writer {
    /// How many containers surround the value.
    pub(super) depth: usize,
    /// Whether fields of the outermost document are written even if they have no value.
    pub(super) nulls: bool,
}

impl Writer {
    /// Converts a value within a container to BSON.
    pub(super) fn inner(self, value: &(impl Serialize + ?Sized)) -> Result<Option<Bson>> {
        if self.depth < MAX_DEPTH {
            return value.serialize(Self { depth: self.depth + 1, nulls: false });
        }
        let text = serde_json::to_string(value).map_err(CodecError::custom)?;
        if text.starts_with(['{', '[']) {
            return Ok(Some(Bson::Document(
                [(TEXT.to_owned(), Bson::String(text))].into_iter().collect(),
            )));
        }
        value.serialize(self)
    }

    /// A document with one field, which is how variants of enums with content are stored.
    pub(super) fn variant(name: &'static str, content: Bson) -> Option<Bson> {
        Some(Bson::Document([(name.to_owned(), content)].into_iter().collect()))
    }
}

/// An integer in its shortest form, which a shell shows best.
fn integer(value: i64) -> Option<Bson> {
    Some(i32::try_from(value).map_or(Bson::Int64(value), Bson::Int32))
}

macro_rules! integers {
    ($($method:ident: $type:ty),*) => {
        $(fn $method(self, value: $type) -> Result<Option<Bson>> {
            Ok(integer(i64::from(value)))
        })*
    };
}

impl Serializer for Writer {
    type Ok = Option<Bson>;
    type Error = CodecError;
    type SerializeSeq = ListWriter;
    type SerializeTuple = ListWriter;
    type SerializeTupleStruct = ListWriter;
    type SerializeTupleVariant = ListWriter;
    type SerializeMap = DocumentWriter;
    type SerializeStruct = DocumentWriter;
    type SerializeStructVariant = DocumentWriter;

    integers!(serialize_i8: i8, serialize_i16: i16, serialize_i32: i32, serialize_i64: i64,
        serialize_u8: u8, serialize_u16: u16, serialize_u32: u32);

    fn serialize_u64(self, value: u64) -> Result<Option<Bson>> {
        match i64::try_from(value) {
            Ok(value) => Ok(integer(value)),
            Err(_) => {
                let decimal: Decimal128 = value.to_string().parse().map_err(CodecError::custom)?;
                Ok(Some(Bson::Decimal128(decimal)))
            }
        }
    }

    fn serialize_bool(self, value: bool) -> Result<Option<Bson>> {
        Ok(Some(Bson::Boolean(value)))
    }

    fn serialize_f32(self, value: f32) -> Result<Option<Bson>> {
        self.serialize_f64(f64::from(value))
    }

    fn serialize_f64(self, value: f64) -> Result<Option<Bson>> {
        Ok(Some(Bson::Double(value)))
    }

    fn serialize_char(self, value: char) -> Result<Option<Bson>> {
        Ok(Some(Bson::String(value.to_string())))
    }

    fn serialize_str(self, value: &str) -> Result<Option<Bson>> {
        Ok(Some(Bson::String(value.to_owned())))
    }

    /// A value of sixteen bytes is an identifier.
    fn serialize_bytes(self, value: &[u8]) -> Result<Option<Bson>> {
        let uuid = value.len() == 16;
        let subtype = if uuid { BinarySubtype::Uuid } else { BinarySubtype::Generic };
        Ok(Some(Bson::Binary(Binary { subtype, bytes: value.to_vec() })))
    }

    fn serialize_none(self) -> Result<Option<Bson>> {
        Ok(None)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<Option<Bson>> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<Option<Bson>> {
        Ok(Some(Bson::Null))
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<Option<Bson>> {
        Ok(Some(Bson::Null))
    }

    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
    ) -> Result<Option<Bson>> {
        self.serialize_str(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        value: &T,
    ) -> Result<Option<Bson>> {
        let written = value.serialize(self)?;
        if name != Timestamp::NAME {
            return Ok(written);
        }
        match written {
            Some(Bson::Int32(millis)) => {
                Ok(Some(Bson::DateTime(DateTime::from_millis(millis.into()))))
            }
            Some(Bson::Int64(millis)) => Ok(Some(Bson::DateTime(DateTime::from_millis(millis)))),
            Some(_) | None => Err(CodecError(format!("found a {name} that is no number"))),
        }
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<Option<Bson>> {
        let content = self.inner(value)?.unwrap_or(Bson::Null);
        Ok(Self::variant(variant, content))
    }

    fn serialize_seq(self, len: Option<usize>) -> Result<ListWriter> {
        Ok(ListWriter::new(self, None, len))
    }

    fn serialize_tuple(self, len: usize) -> Result<ListWriter> {
        Ok(ListWriter::new(self, None, Some(len)))
    }

    fn serialize_tuple_struct(self, _: &'static str, len: usize) -> Result<ListWriter> {
        Ok(ListWriter::new(self, None, Some(len)))
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<ListWriter> {
        Ok(ListWriter::new(self, Some(variant), Some(len)))
    }

    fn serialize_map(self, _: Option<usize>) -> Result<DocumentWriter> {
        Ok(DocumentWriter::new(self, None))
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<DocumentWriter> {
        Ok(DocumentWriter::new(self, None))
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<DocumentWriter> {
        Ok(DocumentWriter::new(self, Some(variant)))
    }

    fn is_human_readable(&self) -> bool {
        false
    }
}
