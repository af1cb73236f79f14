//! The retention that all servers of one database share. It is kept in the database, because the database removes
//! by it.

use mongodb::bson::{Document, doc};
use mongodb::options::ReturnDocument;

use super::base::{Base, LIMIT, call, integer, whole, within};
use super::failure::{failed, is_duplicate, unfit};
use super::indexes;
use super::time::TimeSource;
use crate::contract::Result;
use crate::options::StoreOptions;
use crate::retention::Keeping;
use replibook_core::run::Millis;

/// The `_id` of the document with the retention, in the collection `meta`.
const RETENTION: &str = "retention";

/// The same for plugins that nothing pins.
const PLUGINS: &str = "plugin_retention";

/// The field of that document with the retention, in milliseconds.
const MILLIS: &str = "millis";

/// The most rounds in which a start agrees with others that set another retention at the same moment. Each further
/// round is caused by the start of another server.
const ROUNDS: u32 = 10;

/// Settles which retention counts from now on. It is stored, and the server removes expired documents by it.
///
/// # Errors
/// [`StoreError::Unfit`](crate::StoreError::Unfit) when the retention is shorter than the stored one, or when the
/// stored one is not a length of time.
pub(super) async fn settle(
    base: &Base,
    options: &StoreOptions,
    time: TimeSource,
) -> Result<Millis> {
    let mut counts = match options.keeping {
        Keeping::Changed => set(base, RETENTION, options.retention).await?,
        Keeping::Asked | Keeping::Unsaid => {
            let before = before(base, time).await?;
            at_least(base, RETENTION, options.retention_over(before)?).await?
        }
    };
    for _ in 0..ROUNDS {
        indexes::ensure(base, counts, time).await?;
        match stored(base, RETENTION).await? {
            Some(kept) if kept != counts => counts = kept,
            Some(_) | None => break,
        }
    }
    Ok(counts)
}

/// The same for the retention of plugins that nothing pins, by which engines remove them.
///
/// # Errors
/// Like [`settle`].
pub(super) async fn settle_plugins(base: &Base, options: &StoreOptions) -> Result<Millis> {
    match options.plugin_keeping {
        Keeping::Changed => set(base, PLUGINS, options.plugin_retention).await,
        Keeping::Asked | Keeping::Unsaid => {
            let before = stored(base, PLUGINS).await?;
            at_least(base, PLUGINS, options.plugin_retention_over(before)?).await
        }
    }
}

/// The present retention of plugins, which another server may have changed. None if none was ever set.
pub(super) async fn of_plugins(base: &Base) -> Result<Option<Millis>> {
    stored(base, PLUGINS).await
}

/// The retention that counted before this start, if any.
pub(super) async fn before(base: &Base, time: TimeSource) -> Result<Option<Millis>> {
    match (stored(base, RETENTION).await?, time) {
        (Some(stored), _) => Ok(Some(stored)),
        // A database of an earlier version has the retention only in its indexes.
        (None, TimeSource::Server) => indexes::retention(base).await,
        (None, TimeSource::Clock) => Ok(None),
    }
}

async fn stored(base: &Base, id: &'static str) -> Result<Option<Millis>> {
    let found = base.meta.find_one(doc! { "_id": id });
    let found = call("read the retention", found).await?;
    found.as_ref().map(|kept| read(kept, id)).transpose()
}

fn read(kept: &Document, id: &'static str) -> Result<Millis> {
    let millis = kept.get(MILLIS).and_then(whole).and_then(|millis| u64::try_from(millis).ok());
    millis.map(Millis).ok_or_else(|| {
        let option = id.replace('_', "-");
        unfit(format!(
            "found no whole number under {MILLIS:?} in the document {id:?} of the collection \"meta\"; \
             `replibook store migrate --{option} TIME` writes it again"
        ))
    })
}

async fn set(base: &Base, id: &'static str, retention: Millis) -> Result<Millis> {
    write(base, id, doc! { "$set": { MILLIS: integer(retention.0) } }).await
}

/// Stores the retention unless a longer one is stored, and returns the one that is stored then.
async fn at_least(base: &Base, id: &'static str, retention: Millis) -> Result<Millis> {
    write(base, id, doc! { "$max": { MILLIS: integer(retention.0) } }).await
}

async fn write(base: &Base, id: &'static str, change: Document) -> Result<Millis> {
    const DOING: &str = "keep the retention";
    let change = || {
        let kept = base.meta.find_one_and_update(doc! { "_id": id }, change.clone());
        within(LIMIT, DOING, kept.upsert(true).return_document(ReturnDocument::After))
    };
    let kept = match change().await? {
        // Another engine was faster to create the document.
        Err(error) if is_duplicate(&error) => change().await?,
        kept => kept,
    };
    match kept.map_err(|error| failed(DOING, error))? {
        Some(kept) => read(&kept, id),
        // Some servers return nothing when another engine creates the document at the same moment.
        None => stored(base, id).await?.map_or_else(|| read(&Document::new(), id), Ok),
    }
}
