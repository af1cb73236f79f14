//! Gives the records of a run their `finish_ts`, from which the server counts until it removes them.

use async_trait::async_trait;
use mongodb::ClientSession;
use mongodb::bson::{Bson, doc};

use super::base::{Base, integer, uuid};
use super::commit::{counted, fence};
use super::rows::ids_within;
use super::time::date;
use super::transaction::{self, Failure, Transaction};
use crate::contract::{MAX_COMMIT_DOCUMENTS, Result};
use crate::error::StoreError;
use crate::options::Moment;
use replibook_core::run::{OldLines, RunId, Timestamp};

struct Stamp<'a> {
    run: RunId,
    epoch: u64,
    finish_ts: Timestamp,
    at: &'a Moment,
}

/// Gives `finish_ts` to a bounded number of records, and returns how many.
pub(super) async fn stamp(
    base: &Base,
    run: RunId,
    epoch: u64,
    finish_ts: Timestamp,
    at: &Moment,
) -> Result<u64> {
    transaction::make(base, &Stamp { run, epoch, finish_ts, at }).await
}

#[async_trait]
impl Transaction for Stamp<'_> {
    type Output = u64;

    const DOING: &'static str = "stamp the records of a run";

    async fn attempt(
        &self,
        base: &Base,
        session: &mut ClientSession,
    ) -> std::result::Result<u64, Failure> {
        let Self { run, epoch, finish_ts, at } = *self;
        let held = base.runs.update_one(fence(run, epoch, at), doc! { "$inc": counted() });
        if held.session(&mut *session).await?.matched_count == 0 {
            return Err(StoreError::Fenced { run, epoch }.into());
        }
        Ok(stamp_some(base, run, finish_ts, session).await?)
    }
}

/// Removes some lines from the log of a run. The result is their number.
pub(super) struct Forget<'a> {
    pub(super) run: RunId,
    pub(super) epoch: u64,
    pub(super) lines: &'a OldLines,
    pub(super) at: &'a Moment,
}

#[async_trait]
impl Transaction for Forget<'_> {
    type Output = u64;

    const DOING: &'static str = "remove lines from the log of a run";

    async fn attempt(
        &self,
        base: &Base,
        session: &mut ClientSession,
    ) -> std::result::Result<u64, Failure> {
        let Self { run, epoch, lines, at } = *self;
        let OldLines { level, from, to, last } = *lines;
        let held = base.runs.update_one(fence(run, epoch, at), doc! { "$inc": counted() });
        if held.session(&mut *session).await?.matched_count == 0 {
            return Err(StoreError::Fenced { run, epoch }.into());
        }
        let these = doc! {
            "run": uuid(run.0),
            "event": { "$gte": integer(from), "$lte": integer(to) },
            "level": level.as_str(),
            // The number is null in lines that an early version wrote.
            "$or": [{ "number": { "$lte": integer(last) } }, { "number": Bson::Null }],
        };
        let most = u32::try_from(MAX_COMMIT_DOCUMENTS).unwrap_or(u32::MAX);
        let found = ids_within(&base.logs, these, most, session).await?;
        if found.is_empty() {
            return Ok(0);
        }
        let gone = base.logs.delete_many(doc! { "_id": { "$in": found } });
        Ok(gone.session(&mut *session).await?.deleted_count)
    }
}

/// Gives `finish_ts` to some of the records that have none, whoever has the lease. Returns how many.
pub(super) async fn stamp_some(
    base: &Base,
    run: RunId,
    finish_ts: Timestamp,
    session: &mut ClientSession,
) -> mongodb::error::Result<u64> {
    let mut left = u32::try_from(MAX_COMMIT_DOCUMENTS).unwrap_or(u32::MAX);
    let mut stamped = 0;
    for collection in base.of_runs() {
        let unfinished = doc! { "run": uuid(run.0), "finish_ts": Bson::Null };
        let found = ids_within(collection, unfinished, left, session).await?;
        if found.is_empty() {
            continue;
        }
        left -= u32::try_from(found.len()).unwrap_or(left).min(left);
        let set = doc! { "$set": { "finish_ts": date(finish_ts) } };
        let changed = collection.update_many(doc! { "_id": { "$in": found } }, set);
        stamped += changed.session(&mut *session).await?.matched_count;
        // A limit of zero would mean no limit.
        if left == 0 {
            break;
        }
    }
    Ok(stamped)
}
