//! Runs without an engine: those that wait for a person, and those that wait for an engine.

use std::collections::BTreeSet;

use async_trait::async_trait;
use mongodb::ClientSession;
use mongodb::bson::{Bson, DateTime, Document, RawDocument, RawDocumentBuf, doc};

use super::base::{Base, call, integer, live, uuid};
use super::bodies::{self, FREE, NEEDS, read_uuid};
use super::commands::{COMMAND, place, waiting_page};
use super::commit::{counted, fence};
use super::rows::{Question, decode, key_of};
use super::time::date;
use super::transaction::{self, Failure, Transaction};
use super::troubled::{raw_run, set_free};
use crate::contract::{MAX_PAGE, Result};
use crate::damage::{Damage, pass_over};
use crate::documents::Holder;
use crate::error::StoreError;
use crate::options::Moment;
use replibook_core::run::{Command, EngineId, KNOWN_FORMAT, RunId, Timestamp};

const LEASE: &str = "a lease";

/// The most runs that are woken at a time. They are woken one after the other while the engine that does it waits;
/// the next ones follow within seconds.
const WOKEN_AT_ONCE: u32 = 50;

/// The most pages of commands that are searched for runs to wake. Most commands wait for an engine that is about
/// to answer them, so there hardly ever is a second page.
const PAGES: usize = 20;

/// Gives back the lease of a run until a command comes. Whoever submits a command writes to the run too, so if
/// both happen at once, one of them is repeated and then sees what the other did.
pub(super) struct Park<'a> {
    pub(super) run: RunId,
    pub(super) epoch: u64,
    pub(super) until: Timestamp,
    pub(super) at: &'a Moment,
}

#[async_trait]
impl Transaction for Park<'_> {
    type Output = bool;

    const DOING: &'static str = "park a run";

    async fn attempt(
        &self,
        base: &Base,
        session: &mut ClientSession,
    ) -> std::result::Result<bool, Failure> {
        let Self { run, epoch, until, at } = *self;
        let Some(kept) = raw_run(base, fence(run, epoch, at), session).await? else {
            return Err(StoreError::Fenced { run, epoch }.into());
        };
        if is_waited_for(base, run, at, session, pass_over).await? {
            return Ok(false);
        }
        let mut lease = set_free(&kept, date(until));
        lease.insert("parked", true);
        let change = doc! { "$set": { "lease": lease }, "$inc": counted() };
        base.runs.update_one(doc! { "_id": uuid(run.0) }, change).session(session).await?;
        Ok(true)
    }
}

/// Whether a readable command waits for the run. Calls `pass_over` for each unreadable one that it finds before
/// that.
async fn is_waited_for(
    base: &Base,
    run: RunId,
    at: &Moment,
    session: &mut ClientSession,
    pass_over: fn(RunId, &Damage),
) -> mongodb::error::Result<bool> {
    let waiting = unanswered_of(run, at);
    let commands = base.commands.clone_with_type::<RawDocumentBuf>();
    let mut found = commands.find(waiting).session(&mut *session).await?;
    while let Some(raw) = found.next(session).await.transpose()? {
        match read_waiting(&raw) {
            Ok(_) => return Ok(true),
            Err(damage) => pass_over(run, &damage),
        }
    }
    Ok(false)
}

/// Wakes runs for which a command waits that came while an engine held them that no longer does. (When a server of
/// an earlier version accepts a command, it does not wake the run at all.) Returns how many were woken, at most
/// [`WOKEN_AT_ONCE`].
pub(super) async fn wake(base: &Base, at: &Moment) -> Result<u64> {
    let mut woken = 0;
    for run in asleep(base, at).await? {
        // If somebody has a transaction on the run, it is looked at again soon.
        let made = transaction::make_at_once(base, &Wake { run, at }).await?;
        woken += u64::from(made.unwrap_or(false));
    }
    Ok(woken)
}

/// The runs to wake, beginning with those whose commands have waited longest.
async fn asleep(base: &Base, at: &Moment) -> Result<BTreeSet<RunId>> {
    let (mut asleep, mut looked_at, mut after) = (BTreeSet::new(), BTreeSet::new(), None);
    for _ in 0..PAGES {
        let waiting = waiting_page(base, after.as_ref(), at).await?;
        let is_last = waiting.len() < MAX_PAGE as usize;
        after = waiting.last().and_then(place);
        let runs = waiting.iter().filter_map(|raw| read_waiting(raw).ok()).map(|found| found.run);
        let runs: BTreeSet<_> = runs.filter(|run| looked_at.insert(*run)).collect();
        let room = WOKEN_AT_ONCE - u32::try_from(asleep.len()).unwrap_or(WOKEN_AT_ONCE);
        asleep.extend(asleep_of(base, runs, room, at).await?);
        if is_last || after.is_none() || asleep.len() >= WOKEN_AT_ONCE as usize {
            break;
        }
    }
    Ok(asleep)
}

/// Which of these runs, at most `limit`, have no engine and were not woken yet.
async fn asleep_of(
    base: &Base,
    runs: BTreeSet<RunId>,
    limit: u32,
    at: &Moment,
) -> Result<Vec<RunId>> {
    if runs.is_empty() {
        return Ok(Vec::new());
    }
    let (collection, order) = (&base.runs, doc! { "_id": 1 });
    let these = runs.into_iter().map(|run| uuid(run.0)).collect::<Vec<_>>();
    let asleep = doc! {
        "_id": { "$in": these },
        "finish_ts": Bson::Null,
        "$or": [{ "lease.parked": true }, { "lease.until": { "$lte": date(at.now) } }],
        "lease.woken": { "$ne": true },
    };
    let asleep = Question { collection, what: LEASE, filter: asleep, order, limit };
    Ok(asleep.ids().await?.iter().filter_map(read_uuid).map(RunId).collect())
}

struct Wake<'a> {
    run: RunId,
    at: &'a Moment,
}

#[async_trait]
impl Transaction for Wake<'_> {
    type Output = bool;

    const DOING: &'static str = "wake a run";

    async fn attempt(
        &self,
        base: &Base,
        session: &mut ClientSession,
    ) -> std::result::Result<bool, Failure> {
        let id = doc! { "_id": uuid(self.run.0) };
        let kept = base.runs.find_one(id.clone()).projection(doc! { "finish_ts": 1, "lease": 1 });
        let kept = kept.session(&mut *session).await?;
        let Some(wake) = kept.as_ref().and_then(|run| waking(run, self.at)) else {
            return Ok(false);
        };
        // Meanwhile an engine may have answered the command and parked the run.
        if !is_waited_for(base, self.run, self.at, session, |_, _| {}).await? {
            return Ok(false);
        }
        base.runs.update_one(id, wake).session(session).await?;
        Ok(true)
    }
}

/// The change that wakes a run for which a command has come: even engines that have no place for it may take it up
/// then. None if the run has ended, has an engine, rests, or has been woken.
pub(super) fn waking(run: &Document, at: &Moment) -> Option<Document> {
    let lease = run.get_document("lease").ok()?;
    if run.get("finish_ts").is_some_and(|finish_ts| *finish_ts != Bson::Null) {
        return None;
    }
    if lease.get_bool("parked").unwrap_or(false) {
        return Some(doc! {
            "$set": { "lease.until": FREE, "lease.parked": false, "lease.woken": true },
        });
    }
    let now = DateTime::from_millis(at.now.as_millis());
    let is_over = lease.get_datetime("until").is_ok_and(|until| *until <= now);
    let is_woken = lease.get_bool("woken").unwrap_or(false);
    (is_over && !is_woken).then(|| doc! { "$set": { "lease.woken": true } })
}

/// Matches commands without an outcome.
pub(super) fn without_outcome(at: &Moment) -> Document {
    doc! { "outcome": Bson::Null, "finish_ts": live(at.cutoff) }
}

/// Matches those that are for one run.
pub(super) fn unanswered_of(run: RunId, at: &Moment) -> Document {
    let mut of = without_outcome(at);
    of.insert("run", uuid(run.0));
    of
}

fn read_waiting(raw: &RawDocument) -> std::result::Result<Command, Damage> {
    decode(raw, bodies::read_command)
        .map_err(|why| Damage::new(COMMAND, key_of(raw, &["_id"]), &why))
}

pub(super) async fn unclaimed(base: &Base, at: &Moment) -> Result<u32> {
    let free = doc! {
        "finish_ts": Bson::Null,
        "lease.until": { "$lte": date(at.now) },
        NEEDS: { "$not": { "$gt": integer(KNOWN_FORMAT.into()) } },
    };
    let count = base.runs.count_documents(free).limit(MAX_PAGE.into());
    let count = call("count the runs that wait for an engine", count).await?;
    Ok(u32::try_from(count).unwrap_or(MAX_PAGE))
}

pub(super) async fn holders(base: &Base, runs: &[RunId], at: &Moment) -> Result<Vec<Holder>> {
    let held = doc! {
        "_id": { "$in": runs.iter().map(|run| uuid(run.0)).collect::<Vec<_>>() },
        "lease.engine": { "$ne": Bson::Null },
        "lease.until": { "$gt": date(at.now) },
        "finish_ts": Bson::Null,
    };
    let (collection, order) = (&base.runs, doc! { "_id": 1 });
    let question = Question { collection, what: LEASE, filter: held, order, limit: MAX_PAGE };
    let found = question.documents(doc! { "lease.engine": 1, "lease.since": 1 }).await?;
    Ok(found.iter().filter_map(holder).collect())
}

fn holder(run: &Document) -> Option<Holder> {
    let id = run.get("_id").and_then(read_uuid).map(RunId)?;
    let lease = run.get_document("lease").ok()?;
    let engine = EngineId(lease.get_str("engine").ok()?.to_owned());
    // A lease that an earlier version took does not say since when.
    let since = lease.get_datetime("since").map_or(0, |since| since.timestamp_millis());
    Some(Holder { run: id, engine, since: Timestamp::from_millis(since) })
}
