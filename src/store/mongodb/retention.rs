//! The retention that all servers of one database have in common.

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

/// What the document with the retention is known by, in the collection `meta`.
const RETENTION: &str = "retention";

/// Where that document has it.
const MILLIS: &str = "millis";

/// Rounds in which a start agrees with others that say another retention at the same moment: each further
/// one is caused by a start of another server.
const ROUNDS: u32 = 10;

/// The retention that counts from now on. It is kept, and the server removes by it what has expired.
///
/// # Errors
/// [`StoreError::Unfit`](crate::StoreError::Unfit) when it is shorter than what is kept, or what is
/// kept is no length of time.
pub(super) async fn settle(
    base: &Base,
    options: &StoreOptions,
    time: TimeSource,
) -> Result<Millis> {
    let mut counts = match options.keeping {
        Keeping::Changed => set(base, options.retention).await?,
        Keeping::Asked | Keeping::Unsaid => {
            let before = before(base, time).await?;
            at_least(base, options.retention_over(before)?).await?
        }
    };
    for _ in 0..ROUNDS {
        indexes::ensure(base, counts, time).await?;
        match stored(base).await? {
            Some(kept) if kept != counts => counts = kept,
            Some(_) | None => break,
        }
    }
    Ok(counts)
}

/// The retention that counts without this start.
pub(super) async fn before(base: &Base, time: TimeSource) -> Result<Option<Millis>> {
    match (stored(base).await?, time) {
        (Some(stored), _) => Ok(Some(stored)),
        // A database of an earlier version has it in its indexes alone.
        (None, TimeSource::Server) => indexes::retention(base).await,
        (None, TimeSource::Clock) => Ok(None),
    }
}

async fn stored(base: &Base) -> Result<Option<Millis>> {
    let found = base.meta.find_one(doc! { "_id": RETENTION });
    let found = call("read the retention", found).await?;
    found.as_ref().map(read).transpose()
}

fn read(kept: &Document) -> Result<Millis> {
    let millis = kept.get(MILLIS).and_then(whole).and_then(|millis| u64::try_from(millis).ok());
    millis.map(Millis).ok_or_else(|| {
        unfit(format!(
            "found no whole number under {MILLIS:?} in the document {RETENTION:?} of the collection \"meta\"; \
             `replibook store migrate --retention TIME` writes it again"
        ))
    })
}

async fn set(base: &Base, retention: Millis) -> Result<Millis> {
    write(base, doc! { "$set": { MILLIS: integer(retention.0) } }).await
}

/// Keeps it unless a longer one is kept, and returns what is.
async fn at_least(base: &Base, retention: Millis) -> Result<Millis> {
    write(base, doc! { "$max": { MILLIS: integer(retention.0) } }).await
}

async fn write(base: &Base, change: Document) -> Result<Millis> {
    const DOING: &str = "keep the retention";
    let change = || {
        let kept = base.meta.find_one_and_update(doc! { "_id": RETENTION }, change.clone());
        within(LIMIT, DOING, kept.upsert(true).return_document(ReturnDocument::After))
    };
    let kept = match change().await? {
        // Another engine was faster to make it.
        Err(error) if is_duplicate(&error) => change().await?,
        kept => kept,
    };
    let kept = kept.map_err(|error| failed(DOING, error))?;
    read(&kept.unwrap_or_default())
}
