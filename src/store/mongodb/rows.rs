//! Reads documents such that damage to one of them does not keep the others from being read.

use futures::TryStreamExt as _;
use mongodb::bson::{Bson, Document, RawBsonRef, RawDocument, RawDocumentBuf, doc};
use mongodb::options::FindOptions;
use mongodb::{ClientSession, Collection};

use super::base::call;
use super::codec::CodecError;
use crate::contract::Result;
use crate::damage::{Damage, Found};
use crate::keys::page_limit;

/// A query for documents of one kind.
pub(super) struct Question<'a> {
    pub(super) collection: &'a Collection<Document>,
    /// What the documents are, for error messages.
    pub(super) what: &'static str,
    pub(super) filter: Document,
    pub(super) order: Document,
    pub(super) limit: u32,
}

impl Question<'_> {
    /// The matching documents with only the fields `only`, which must be those of the store itself. A document
    /// that can't be read is left out, so that it does not hold up the others.
    pub(super) async fn documents(self, only: Document) -> Result<Vec<Document>> {
        let found = self.raw(Some(only)).await?;
        Ok(found.iter().filter_map(|raw| Document::try_from(raw).ok()).collect())
    }

    /// The matching documents as bytes, because text in them may not be UTF-8.
    pub(super) async fn raw(self, only: Option<Document>) -> Result<Vec<RawDocumentBuf>> {
        let limit = page_limit(self.limit);
        // The server takes a limit of zero for no limit.
        if limit == 0 {
            return Ok(Vec::new());
        }
        let options = FindOptions::builder()
            .sort(self.order)
            .limit(i64::from(limit))
            .batch_size(limit)
            .projection(only)
            .build();
        call(&format!("read {}", self.what), async {
            let collection = self.collection.clone_with_type::<RawDocumentBuf>();
            collection.find(self.filter).with_options(options).await?.try_collect().await
        })
        .await
    }

    /// The matching documents. Damage is identified by its key: the values of the fields `key`, with dots between
    /// them.
    pub(super) async fn found<T>(
        self,
        key: &[&str],
        read: impl Fn(Document) -> std::result::Result<T, CodecError>,
    ) -> Result<Found<T>> {
        let what = self.what;
        let read = |raw: RawDocumentBuf| {
            decode(&raw, &read).map_err(|why| Damage::new(what, key_of(&raw, key), &why))
        };
        Ok(self.raw(None).await?.into_iter().map(read).collect())
    }

    /// The first matching document. `key` identifies the damage if it can't be read.
    pub(super) async fn first<T>(
        self,
        key: &str,
        read: impl Fn(Document) -> std::result::Result<T, CodecError>,
    ) -> Result<Option<T>> {
        let what = self.what;
        let first = Self { limit: 1, ..self }.raw(None).await?.pop();
        let read = first.map(|raw| decode(&raw, &read));
        read.transpose().map_err(|why| Damage::new(what, key.to_owned(), &why).into())
    }

    /// The `_id`s of the matching documents.
    pub(super) async fn ids(self) -> Result<Vec<Bson>> {
        let found = self.documents(doc! { "_id": 1 }).await?;
        Ok(found.into_iter().filter_map(|mut document| document.remove("_id")).collect())
    }
}

/// The `_id`s of at most `limit` matching documents, as the transaction of `session` sees them.
pub(super) async fn ids_within(
    collection: &Collection<Document>,
    filter: Document,
    limit: u32,
    session: &mut ClientSession,
) -> mongodb::error::Result<Vec<Bson>> {
    let found = collection.find(filter).projection(doc! { "_id": 1 });
    let found = found.limit(i64::from(limit)).batch_size(limit);
    let mut found = found.session(&mut *session).await?;
    let mut ids = Vec::new();
    while let Some(mut document) = found.next(session).await.transpose()? {
        ids.extend(document.remove("_id"));
    }
    Ok(ids)
}

/// Reads a document from its stored form, or says why it can't be read.
pub(super) fn decode<T>(
    raw: &RawDocument,
    read: impl Fn(Document) -> std::result::Result<T, CodecError>,
) -> std::result::Result<T, String> {
    let document = Document::try_from(raw).map_err(|error| error.to_string())?;
    read(document).map_err(|error| error.to_string())
}

/// The values at these paths, with dots between them. A value that is missing, or can't be part of a key, is left
/// empty.
pub(super) fn key_of(raw: &RawDocument, paths: &[&str]) -> String {
    let text = |path: &&str| match path.split_once('.') {
        Some((outer, inner)) => raw.get_document(outer).ok().map(|d| text_at(d, inner)),
        None => Some(text_at(raw, path)),
    };
    paths.iter().map(|path| text(path).unwrap_or_default()).collect::<Vec<_>>().join(".")
}

#[allow(clippy::wildcard_enum_match_arm, reason = "the driver's kinds of value; these may be keys")]
fn text_at(raw: &RawDocument, field: &str) -> String {
    match raw.get(field).ok().flatten() {
        Some(RawBsonRef::Int32(number)) => number.to_string(),
        Some(RawBsonRef::Int64(number)) => number.to_string(),
        Some(RawBsonRef::String(text)) => text.to_owned(),
        Some(RawBsonRef::Binary(bytes)) => {
            uuid::Uuid::from_slice(bytes.bytes).map_or_else(|_| String::new(), |id| id.to_string())
        }
        _ => String::new(),
    }
}
