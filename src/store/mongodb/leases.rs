//! Leases: who may commit to a run. The server decides, by its own clock, in the update itself.

use std::time::Duration;

use mongodb::bson::{Bson, Document, doc};
use uuid::Uuid;

use super::base::{Base, call, integer, uuid, whole, within};
use super::bodies::{FREE, read_uuid};
use super::failure::{failed, unavailable};
use super::rows::Question;
use super::time::{ServerTime, date};
use crate::run::{EngineId, Millis, RunId, Timestamp};
use crate::store::contract::{Lease, MAX_PAGE, Result};
use crate::store::keys::page_limit;

const LEASE: &str = "a lease";

/// Rounds of one claim. In each round other engines may be faster; what is left then goes with the
/// next claim.
const ROUNDS: u32 = 10;

/// How long the write of a lease may take. It writes to several runs, and waits for transactions that
/// have one of them: those take milliseconds, unless their engine is gone. Short enough that all is well
/// again before the leases of others run out.
const WRITING: Duration = Duration::from_secs(5);

/// The longest lease, in milliseconds: a server's dates end somewhere.
const MAX_LEASE: u64 = 100 * 366 * 24 * 3_600 * 1_000;

pub(super) async fn claim(
    base: &Base,
    time: &ServerTime,
    length: Millis,
    engine: &EngineId,
    limit: u32,
) -> Result<Vec<Lease>> {
    base.sessions.tidy(base).await?;
    let limit = page_limit(limit) as usize;
    let mut leases = Vec::new();
    for _ in 0..ROUNDS {
        let wanted = u32::try_from(limit - leases.len()).unwrap_or(MAX_PAGE);
        let Candidates { runs: candidates, stores } = candidates(base, time, wanted).await?;
        if candidates.is_empty() {
            break;
        }
        // Their engines may have died in the middle of a commit.
        base.sessions.end_of(base, &stores).await?;
        leases.extend(take(base, time, length, engine, candidates).await?);
        if leases.len() == limit {
            break;
        }
    }
    leases.sort_by_key(|lease| lease.run);
    Ok(leases)
}

/// Unfinished runs that may be free, oldest first.
struct Candidates {
    runs: Vec<Bson>,
    /// Stores of those who let a lease run out.
    stores: Vec<Bson>,
}

async fn candidates(base: &Base, time: &ServerTime, limit: u32) -> Result<Candidates> {
    let free = doc! { "finish_ts": Bson::Null, "lease.until": { "$lte": date(time.there()) } };
    let (collection, order) = (&base.runs, doc! { "_id": 1 });
    let question = Question { collection, what: LEASE, filter: free, order, limit };
    let found = question.documents(Some(doc! { "lease": 1 })).await?;
    let mut stores: Vec<Bson> = Vec::new();
    for lease in found.iter().filter_map(|run| run.get_document("lease").ok()) {
        let held = lease.get("engine").is_some_and(|engine| *engine != Bson::Null);
        if let (true, Some(store)) = (held, lease.get("store"))
            && !stores.contains(store)
        {
            stores.push(store.clone());
        }
    }
    let runs = found.into_iter().filter_map(|mut run| run.remove("_id")).collect();
    Ok(Candidates { runs, stores })
}

/// Takes the leases of those that are free indeed.
async fn take(
    base: &Base,
    time: &ServerTime,
    length: Millis,
    engine: &EngineId,
    candidates: Vec<Bson>,
) -> Result<Vec<Lease>> {
    let free = doc! { "$or": [
        { "$eq": ["$lease.engine", Bson::Null] },
        { "$lte": ["$lease.until", time.now()] },
    ] };
    let token = Uuid::new_v4();
    let taken = doc! {
        "engine": { "$literal": &engine.0 },
        "epoch": { "$add": ["$lease.epoch", 1_i64] },
        "until": until(time, length),
        "token": uuid(token),
        "store": uuid(base.sessions.store),
    };
    let runs = doc! { "_id": { "$in": &candidates }, "finish_ts": Bson::Null };
    let these = doc! { "_id": { "$in": candidates }, "lease.token": uuid(token) };
    change(base, time, length, (runs, free, taken), these).await
}

pub(super) async fn renew(
    base: &Base,
    time: &ServerTime,
    length: Millis,
    engine: &EngineId,
) -> Result<Vec<Lease>> {
    base.sessions.tidy(base).await?;
    let held = doc! { "$gt": ["$lease.until", time.now()] };
    let token = Uuid::new_v4();
    let renewed = doc! {
        "engine": "$lease.engine",
        "epoch": "$lease.epoch",
        "until": until(time, length),
        "token": uuid(token),
        "store": uuid(base.sessions.store),
    };
    let runs = doc! { "lease.engine": &engine.0, "finish_ts": Bson::Null };
    let mut these = runs.clone();
    these.insert("lease.token", uuid(token));
    change(base, time, length, (runs, held, renewed), these).await
}

/// Gives `runs` the lease `new` where `condition` holds by then, and returns those that have it:
/// `these`.
async fn change(
    base: &Base,
    time: &ServerTime,
    length: Millis,
    (runs, condition, new): (Document, Document, Document),
    these: Document,
) -> Result<Vec<Lease>> {
    // The server's clock says when it ends. We count from before we asked, by our own clock, so that
    // we never think that we hold a lease that another engine may take.
    let until = time.here().plus(length);
    let set = doc! { "$set": { "lease": { "$cond": [condition, new, "$lease"] } } };
    let changed = base.runs.update_many(runs, vec![set]);
    let Ok(changed) = within(WRITING, "write a lease", changed).await else {
        base.sessions.end_of_all_others(base).await?;
        return Err(unavailable(format!(
            "failed to write a lease within {} s, and ended transactions of others",
            WRITING.as_secs()
        )));
    };
    let changed = changed.map_err(|error| failed("write a lease", error))?;
    if changed.matched_count == 0 {
        return Ok(Vec::new());
    }
    let mut leases = Vec::new();
    let mut after: Option<Bson> = None;
    loop {
        let mut filter = these.clone();
        if let Some(after) = &after {
            filter = doc! { "$and": [filter, { "_id": { "$gt": after } }] };
        }
        let (collection, order) = (&base.runs, doc! { "_id": 1 });
        let question = Question { collection, what: LEASE, filter, order, limit: MAX_PAGE };
        let found = question.documents(Some(doc! { "lease.epoch": 1 })).await?;
        after = found.last().and_then(|document| document.get("_id").cloned());
        leases.extend(found.iter().filter_map(|document| lease(document, until)));
        if found.len() < MAX_PAGE as usize {
            return Ok(leases);
        }
    }
}

fn lease(document: &Document, until: Timestamp) -> Option<Lease> {
    let run = document.get("_id").and_then(read_uuid).map(RunId)?;
    let epoch = document.get_document("lease").ok()?.get("epoch").and_then(whole)?;
    Some(Lease { run, epoch: epoch.unsigned_abs(), until })
}

fn until(time: &ServerTime, length: Millis) -> Document {
    let length = integer(length.0.min(MAX_LEASE));
    doc! { "$dateAdd": { "startDate": time.now(), "unit": "millisecond", "amount": length } }
}

pub(super) async fn release(base: &Base, run: RunId, epoch: u64) -> Result<()> {
    let ours = doc! { "_id": uuid(run.0), "lease.epoch": integer(epoch) };
    let free = doc! { "$set": { "lease.engine": Bson::Null, "lease.until": FREE } };
    call("write a lease", base.runs.update_one(ours, free)).await.map(drop)
}
