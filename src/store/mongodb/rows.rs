//! Reading documents.

use futures::TryStreamExt as _;
use mongodb::bson::{Bson, Document, doc};
use mongodb::options::FindOptions;
use mongodb::{ClientSession, Collection};
use serde::de::DeserializeOwned;

use super::base::call;
use super::codec::from_document;
use super::failure::corrupt;
use crate::store::contract::Result;
use crate::store::keys::page_limit;

/// A question for documents of one kind.
pub(super) struct Question<'a> {
    pub(super) collection: &'a Collection<Document>,
    /// What the documents are, for errors.
    pub(super) what: &'static str,
    pub(super) filter: Document,
    pub(super) order: Document,
    pub(super) limit: u32,
}

impl Question<'_> {
    /// The documents that fit, as the server has them.
    pub(super) async fn documents(self, only: Option<Document>) -> Result<Vec<Document>> {
        let limit = page_limit(self.limit);
        // The server takes a limit of zero for none at all.
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
            self.collection.find(self.filter).with_options(options).await?.try_collect().await
        })
        .await
    }

    /// The documents that fit.
    pub(super) async fn all<T: DeserializeOwned>(self) -> Result<Vec<T>> {
        let what = self.what;
        let found = self.documents(None).await?;
        found.into_iter().map(|document| read(what, document)).collect()
    }

    /// The first document that fits.
    pub(super) async fn first<T: DeserializeOwned>(self) -> Result<Option<T>> {
        Ok(Self { limit: 1, ..self }.all().await?.pop())
    }

    /// The `_id`s of the documents that fit.
    pub(super) async fn ids(self) -> Result<Vec<Bson>> {
        let found = self.documents(Some(doc! { "_id": 1 })).await?;
        Ok(found.into_iter().filter_map(|mut document| document.remove("_id")).collect())
    }
}

/// The `_id`s of at most `limit` documents, as a transaction sees them.
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

/// A document as it is kept, as what it is.
pub(super) fn read<T: DeserializeOwned>(what: &str, document: Document) -> Result<T> {
    from_document(document).map_err(|error| corrupt(what, error))
}
