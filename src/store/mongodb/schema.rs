//! The version of the database's schema, and how a database of an earlier version is brought up to date.

use mongodb::bson::{Document, doc};

use super::base::{Base, LIMIT, call, whole, within};
use super::failure::{failed, is_duplicate, unavailable};
use super::locks;
use crate::contract::Result;
use crate::error::StoreError;

/// The version that this program writes. A change of the schema adds one, and a step in [`step`].
const VERSION: u32 = 2;

/// The `_id` of the document with the version, in the collection `meta`.
const SCHEMA: &str = "schema";

/// The version of the database. None if the database was never used.
///
/// # Errors
/// [`StoreError::NewerSchema`] if a newer program made the database.
pub(super) async fn version(base: &Base) -> Result<Option<u32>> {
    let found = call("read the schema version", base.meta.find_one(doc! { "_id": SCHEMA })).await?;
    let Some(found) = found else { return Ok(None) };
    let number = number(&found).ok_or_else(|| {
        unavailable("found a document without a version where the schema version is kept")
    })?;
    if number > VERSION {
        return Err(StoreError::NewerSchema { found: number, known: VERSION });
    }
    Ok(Some(number))
}

fn number(schema: &Document) -> Option<u32> {
    schema.get("version").and_then(whole).and_then(|version| u32::try_from(version).ok())
}

/// Brings the database to the newest version, one step at a time. Several engines may start at once, so each step
/// can be repeated without harm.
pub(super) async fn migrate(base: &Base) -> Result<()> {
    let mut at = version(base).await?.unwrap_or(0);
    while at < VERSION {
        step(base, at).await?;
        let next = doc! { "$max": { "version": i64::from(at + 1) } };
        let update = base.meta.update_one(doc! { "_id": SCHEMA }, next).upsert(true);
        const DOING: &str = "write the schema version";
        match within(LIMIT, DOING, update).await? {
            // Another engine was faster to create the document.
            Err(error) if is_duplicate(&error) => {}
            other => drop(other.map_err(|error| failed(DOING, error))?),
        }
        at += 1;
    }
    Ok(())
}

/// The step from version `from` to the next one.
async fn step(base: &Base, from: u32) -> Result<()> {
    match from {
        // Collections and indexes are created at every start.
        0 => Ok(()),
        1 => locks::give_to_going(base).await,
        other => Err(unavailable(format!("found no step from schema version {other}"))),
    }
}
