//! Leases: who may commit to a run. The server decides by its own clock and within the update itself, so that
//! engines need not agree on the time.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures::{StreamExt as _, stream};
use mongodb::ClientSession;
use mongodb::bson::{Bson, Document, RawDocument, doc};
use uuid::Uuid;

use super::base::{Base, LIMIT, MAJORITY_LIMIT, call, integer, uuid, whole, within};
use super::bodies::{FREE, NEEDS, read_uuid};
use super::failure::failed;
use super::rows::Question;
use super::sessions::PATIENCE;
use super::time::{ServerTime, date};
use super::transaction::{self, Failure, Transaction};
use crate::contract::{Lease, MAX_PAGE, Result};
use crate::documents::Claim;
use crate::keys::page_limit;
use crate::options::{DEFAULT_LEASE, RENEWAL};
use replibook_core::run::{EngineId, KNOWN_FORMAT, Millis, RunId, RunStatus, Timestamp};

const LEASE: &str = "a lease";

const WRITE: &str = "write a lease";

/// Rounds of one claim. In each round other engines may be faster; what is left after the last one goes with the
/// next claim.
const ROUNDS: u32 = 10;

/// How many runs are claimed one by one at the same time, each in its own transaction: half of the connections, so
/// that commits can go on beside them.
const ONE_BY_ONE: usize = 16;

/// How long the renewal of leases may take. It writes to several runs, and waits for transactions that have
/// written to one of them: those take milliseconds, unless their engine is gone. This is longer than the server
/// waits for a majority, so that a majority which lags reports that in time, and is not taken for a transaction.
const WRITING: Duration = Duration::from_secs(6);

/// How long the renewal may take when it is repeated: by then there is nothing left to wait for.
const WRITING_AGAIN: Duration = Duration::from_secs(2);

const _: () = assert!(WRITING.as_millis() > MAJORITY_LIMIT.as_millis());

// A renewal that is held up by a transaction must be made before the lease is over.
const _: () = assert!(
    RENEWAL.to_std().as_millis()
        + WRITING.as_millis()
        + PATIENCE.as_millis()
        + WRITING_AGAIN.as_millis()
        < DEFAULT_LEASE.to_std().as_millis()
);

// So must one that follows a claim which waits for a majority, and for sessions to end.
const _: () = assert!(
    RENEWAL.to_std().as_millis() + WRITING.as_millis() + 2 * PATIENCE.as_millis()
        < DEFAULT_LEASE.to_std().as_millis()
);

/// How long the write that gives back all leases may take at first. It can only be waiting for transactions of our
/// own, which are no longer of use.
const RELEASING: Duration = Duration::from_millis(200);

/// The longest lease, in milliseconds: the server's dates have an end.
const MAX_LEASE: u64 = 100 * 366 * 24 * 3_600 * 1_000;

pub(super) async fn claim(
    base: &Base,
    time: &ServerTime,
    length: Millis,
    engine: &EngineId,
    claim: &Claim,
) -> Result<Vec<Lease>> {
    let claimed = claim_free(base, time, length, engine, claim);
    tokio::join!(claimed, base.sessions.tidy(base)).0
}

async fn claim_free(
    base: &Base,
    time: &ServerTime,
    length: Millis,
    engine: &EngineId,
    claim: &Claim,
) -> Result<Vec<Lease>> {
    let limit = page_limit(claim.limit) as usize;
    let mut leases = Vec::new();
    let mut passed = base.held_up.resting(Instant::now());
    passed.extend(claim.passed.iter().map(|run| run.0));
    for _ in 0..ROUNDS {
        let wanted = u32::try_from(limit - leases.len()).unwrap_or(MAX_PAGE);
        let found = candidates(base, time, claim, wanted, &passed).await?;
        let Candidates { runs, stores, known } = found;
        if runs.is_empty() {
            break;
        }
        // The engines that let these leases run out may have died in the middle of a commit.
        base.sessions.end_of(base, &stores).await;
        let take = Take { runs, length, engine, time, until: time.here().plus(length) };
        let Taken { taken, held_up } = take.all(base).await?;
        base.held_up.note(&held_up, Instant::now());
        passed.extend(held_up);
        leases.extend(taken.into_iter().map(|lease| {
            let (cluster, from) = known.get(&lease.run).cloned().unwrap_or_default();
            Lease { cluster, from, ..lease }
        }));
        if leases.len() == limit {
            break;
        }
    }
    if base.held_up.is_long(Instant::now()) {
        base.sessions.end_of_all_others(base, time).await;
    }
    leases.sort_by_key(|lease| lease.run);
    Ok(leases)
}

/// Unfinished runs that may be free, oldest first.
struct Candidates {
    runs: Vec<Uuid>,
    /// The stores through which engines let a lease run out.
    stores: Vec<Bson>,
    /// For each run its cluster, and the engine whose lease ran out.
    known: HashMap<RunId, (Option<String>, Option<EngineId>)>,
}

/// The runs that may be free and that this version can drive, except for those in `passed`.
async fn candidates(
    base: &Base,
    time: &ServerTime,
    Claim { full, only_woken, .. }: &Claim,
    limit: u32,
    passed: &[Uuid],
) -> Result<Candidates> {
    // Other leases can't be read: see `mend`.
    let mut free = doc! {
        "finish_ts": Bson::Null,
        "lease.until": { "$lte": date(time.there()) },
        "lease.epoch": { "$type": WHOLE.to_vec() },
        NEEDS: { "$not": { "$gt": integer(KNOWN_FORMAT.into()) } },
    };
    if !passed.is_empty() {
        let passed: Vec<_> = passed.iter().copied().map(uuid).collect();
        free.insert("_id", doc! { "$nin": passed });
    }
    if *only_woken {
        free.insert("lease.woken", true);
    }
    if !full.is_empty() {
        let started = doc! { "status": { "$ne": RunStatus::Pending.as_str() } };
        free.insert("$or", vec![started, doc! { "cluster": { "$nin": full } }]);
    }
    let (collection, order) = (&base.runs, doc! { "_id": 1 });
    let question = Question { collection, what: LEASE, filter: free, order, limit };
    let found = question.raw(Some(doc! { "lease": 1, "cluster": 1 })).await?;
    let mut known = HashMap::new();
    for run in &found {
        let Some(id) = run.get_binary("_id").ok().and_then(|id| Uuid::from_slice(id.bytes).ok())
        else {
            continue;
        };
        let cluster = run.get_str("cluster").ok().map(str::to_owned);
        let lease = run.get_document("lease").ok();
        let from = lease.and_then(|lease| lease.get_str("engine").ok());
        known.insert(RunId(id), (cluster, from.map(|engine| EngineId(engine.to_owned()))));
    }
    // A lease that can't be read must not keep other runs from being claimed: it is mended later.
    let found: Vec<_> = found.iter().filter_map(|run| only_lease(run)).collect();
    let mut stores: Vec<Bson> = Vec::new();
    for lease in found.iter().filter_map(|run| run.get_document("lease").ok()) {
        let held = lease.get("engine").is_some_and(|engine| *engine != Bson::Null);
        if let (true, Some(store)) = (held, lease.get("store"))
            && !stores.contains(store)
        {
            stores.push(store.clone());
        }
    }
    let runs = found.iter().filter_map(|run| run.get("_id").and_then(read_uuid)).collect();
    Ok(Candidates { runs, stores, known })
}

/// The fields that the store itself needs of a run, if they can be read. The other fields may be damaged.
fn only_lease(run: &RawDocument) -> Option<Document> {
    let read = |field| Bson::try_from(run.get(field).ok()??).ok();
    Some(doc! { "_id": read("_id")?, "lease": read("lease")? })
}

/// The types that an epoch may have.
const WHOLE: [&str; 2] = ["int", "long"];

/// How many leases are mended at once. A failing disk damages few at a time, and further ones are mended with the
/// next call.
const MENDED: u32 = 100;

/// Mends leases that can't be read, and returns how many. An engine that has such a lease keeps the run for as
/// long as any lease lasts, but can't prolong it. After that the run can be claimed.
pub(super) async fn mend(base: &Base, time: &ServerTime, length: Millis) -> Result<u64> {
    let not = |kinds: &[&str]| doc! { "$not": { "$type": kinds.to_vec() } };
    let damaged = doc! {
        "finish_ts": Bson::Null,
        "$or": [{ "lease.until": not(&["date"]) }, { "lease.epoch": not(&WHOLE) }],
    };
    // The order of an index that only has unfinished runs.
    let (collection, order) = (&base.runs, doc! { "lease.until": 1, "_id": 1 });
    let question =
        Question { collection, what: LEASE, filter: damaged.clone(), order, limit: MENDED };
    let runs = question.ids().await?;
    if runs.is_empty() {
        return Ok(0);
    }
    for run in runs.iter().filter_map(read_uuid) {
        tracing::warn!(%run, "the lease of a run can't be read: nobody has the run for as long as a lease lasts");
    }
    let mut these = doc! { "_id": { "$in": runs } };
    these.extend(damaged);
    let lease = doc! {
        "engine": Bson::Null,
        // Larger than any epoch that was counted up to.
        "epoch": { "$toLong": time.now() },
        "until": until(time, length),
        "token": Bson::Null,
        "store": Bson::Null,
    };
    // A pipeline would merge a new document into the old one field by field, so the old one is removed first.
    let change = vec![doc! { "$unset": "lease" }, doc! { "$set": { "lease": lease } }];
    Ok(call(WRITE, base.runs.update_many(these, change)).await?.matched_count)
}

/// Takes the leases of those of the runs that really are free. A write outside a transaction would wait for
/// whoever has written to one of the runs, and meanwhile keep everyone else from the runs that it has written to.
/// Within a transaction it fails at once.
struct Take<'a> {
    runs: Vec<Uuid>,
    length: Millis,
    engine: &'a EngineId,
    time: &'a ServerTime,
    /// The end of the leases by our own clock, counted from before we asked: so we never believe that we hold a
    /// lease which another engine may take.
    until: Timestamp,
}

/// The result of taking leases.
struct Taken {
    taken: Vec<Lease>,
    /// Runs to which somebody else's transaction has written.
    held_up: Vec<Uuid>,
}

impl Take<'_> {
    async fn all(&self, base: &Base) -> Result<Taken> {
        if let Some(taken) = transaction::make_at_once(base, self).await? {
            return Ok(Taken { taken, held_up: Vec::new() });
        }
        if let [only] = self.runs[..] {
            return Ok(Taken { taken: Vec::new(), held_up: vec![only] });
        }
        let mut one_by_one = Vec::new();
        for run in self.runs.iter().copied() {
            let one = Take { runs: vec![run], ..*self };
            one_by_one.push(async move { (run, transaction::make_at_once(base, &one).await) });
        }
        let one_by_one = stream::iter(one_by_one).buffer_unordered(ONE_BY_ONE);
        let all: Vec<_> = one_by_one.collect().await;
        let (mut taken, mut held_up) = (Vec::new(), Vec::new());
        for (run, leases) in all {
            match leases {
                Ok(Some(leases)) => taken.extend(leases),
                Ok(None) => held_up.push(run),
                // Leases that were taken in spite of the error are given back with the next renewal.
                Err(error) if taken.is_empty() => return Err(error),
                Err(error) => tracing::warn!(%run, %error, "failed to claim a run"),
            }
        }
        Ok(Taken { taken, held_up })
    }
}

#[async_trait]
impl Transaction for Take<'_> {
    type Output = Vec<Lease>;

    const DOING: &'static str = "claim runs";

    async fn attempt(
        &self,
        base: &Base,
        session: &mut ClientSession,
    ) -> std::result::Result<Vec<Lease>, Failure> {
        let Self { runs, length, engine, time, until: end } = self;
        // This also applies to a lease that nobody has: a run that was set aside rests until then.
        let free = doc! { "$lte": ["$lease.until", time.now()] };
        let token = uuid(Uuid::new_v4());
        let taken = doc! {
            "engine": { "$literal": &engine.0 },
            "epoch": { "$add": ["$lease.epoch", 1_i64] },
            "until": until(time, *length),
            "token": &token,
            "store": uuid(base.sessions.store),
            "since": time.now(),
        };
        let ids: Vec<_> = runs.iter().copied().map(uuid).collect();
        let these = doc! { "_id": { "$in": &ids }, "finish_ts": Bson::Null };
        let set = doc! { "$set": { "lease": { "$cond": [free, taken, "$lease"] } } };
        let written = base.runs.update_many(these, vec![set]).session(&mut *session).await?;
        if written.matched_count == 0 {
            return Ok(Vec::new());
        }
        let ours = doc! { "_id": { "$in": ids }, "lease.token": token };
        let found = base.runs.find(ours).projection(doc! { "lease.epoch": 1 });
        let mut found = found.session(&mut *session).await?;
        let mut leases = Vec::new();
        while let Some(run) = found.next(session).await.transpose()? {
            leases.extend(lease(&run, *end));
        }
        Ok(leases)
    }
}

pub(super) async fn renew(
    base: &Base,
    time: &ServerTime,
    length: Millis,
    engine: &EngineId,
) -> Result<Vec<Lease>> {
    let held = doc! { "$gt": ["$lease.until", time.now()] };
    let token = Uuid::new_v4();
    let renewed = doc! {
        "engine": "$lease.engine",
        "epoch": "$lease.epoch",
        "until": until(time, length),
        "token": uuid(token),
        "store": uuid(base.sessions.store),
        "since": "$lease.since",
    };
    let runs = doc! { "lease.engine": &engine.0, "finish_ts": Bson::Null };
    let mut these = runs.clone();
    these.insert("lease.token", uuid(token));
    let change = Change { runs, condition: held, new: renewed, these };
    // A transaction that this store left open may hold up the renewal, so neither waits for the other.
    tokio::join!(change.make(base, time, length), base.sessions.tidy(base)).0
}

/// Gives `runs` the lease `new` if `condition` holds at the time of the write. Afterwards `these` are the runs
/// that have it.
struct Change {
    runs: Document,
    condition: Document,
    new: Document,
    these: Document,
}

impl Change {
    /// Makes the change, and returns the new leases.
    async fn make(self, base: &Base, time: &ServerTime, length: Millis) -> Result<Vec<Lease>> {
        // The server's clock decides when the lease ends. We count from before we asked, by our own clock, so that
        // we never believe that we hold a lease which another engine may take.
        let until = time.here().plus(length);
        match self.write(base, time).await? {
            0 => Ok(Vec::new()),
            _ => changed(base, &self.these, until).await,
        }
    }

    /// Writes the leases, and returns the number of runs that matched. Ends the sessions that hold it up.
    async fn write(&self, base: &Base, time: &ServerTime) -> Result<u64> {
        let Self { runs, condition, new, .. } = self;
        let set = doc! { "$set": { "lease": { "$cond": [condition, new, "$lease"] } } };
        let write = |limit| {
            let update = base.runs.update_many(runs.clone(), vec![set.clone()]);
            within(limit, WRITE, update)
        };
        let written = match write(WRITING).await {
            Ok(written) => written,
            Err(_) => {
                base.sessions.end_of_all_others(base, time).await;
                // The first write may still take effect. Both write the same lease with the same token, and it
                // ends no earlier than we assume.
                write(WRITING_AGAIN).await?
            }
        };
        Ok(written.map_err(|error| failed(WRITE, error))?.matched_count)
    }
}

/// The new leases of `these` runs.
async fn changed(base: &Base, these: &Document, until: Timestamp) -> Result<Vec<Lease>> {
    let mut leases = Vec::new();
    let mut after: Option<Bson> = None;
    loop {
        let mut filter = these.clone();
        if let Some(after) = &after {
            filter = doc! { "$and": [filter, { "_id": { "$gt": after } }] };
        }
        let (collection, order) = (&base.runs, doc! { "_id": 1 });
        let question = Question { collection, what: LEASE, filter, order, limit: MAX_PAGE };
        let found = question.documents(doc! { "lease.epoch": 1 }).await?;
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
    Some(Lease { run, epoch: epoch.unsigned_abs(), until, cluster: None, from: None })
}

fn until(time: &ServerTime, length: Millis) -> Document {
    let length = integer(length.0.min(MAX_LEASE));
    doc! { "$dateAdd": { "startDate": time.now(), "unit": "millisecond", "amount": length } }
}

pub(super) async fn release(base: &Base, run: RunId, epoch: u64) -> Result<()> {
    let ours = doc! { "_id": uuid(run.0), "lease.epoch": integer(epoch) };
    // A transaction that the run's driver left open would hold this up.
    base.sessions.tidy(base).await;
    call(WRITE, base.runs.update_one(ours, freed())).await.map(drop)
}

pub(super) async fn release_all(base: &Base, engine: &EngineId) -> Result<()> {
    base.sessions.tidy(base).await;
    let write = |limit| {
        let ours = doc! { "lease.engine": &engine.0, "finish_ts": Bson::Null };
        within(limit, WRITE, base.runs.update_many(ours, freed()))
    };
    let written = match write(RELEASING).await {
        Ok(written) => written,
        Err(_) => {
            base.sessions.end_own(base).await;
            write(LIMIT).await?
        }
    };
    written.map_err(|error| failed(WRITE, error)).map(drop)
}

/// The change that leaves a run without a lease.
fn freed() -> Document {
    doc! { "$set": { "lease.engine": Bson::Null, "lease.until": FREE } }
}
