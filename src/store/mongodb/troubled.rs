//! Runs that can't go on, and how they end. Their documents are read as bytes and only single fields are set, so
//! that whatever can't be read stays as it is.

use async_trait::async_trait;
use mongodb::ClientSession;
use mongodb::bson::{Bson, DateTime, Document, RawDocument, RawDocumentBuf, doc};

use super::base::{Base, call, integer, live, uuid, whole};
use super::bodies::{self, FREE};
use super::codec::from_document;
use super::commit::{counted, fence};
use super::finishing::stamp_some;
use super::rows::{Question, decode};
use super::time::date;
use super::transaction::{Failure, Transaction};
use crate::contract::{MAX_PAGE, Result};
use crate::documents::{Abandon, Abandonment, Ending, Failed};
use crate::error::StoreError;
use crate::keys::page_limit;
use crate::options::Moment;
use crate::troubled;
use replibook_core::run::{EngineId, Progress, RunEvent, RunId, RunStatus, Timestamp, Trouble};

const TROUBLE: &str = "the trouble of a run";

/// A moment that never comes: until then nobody may claim an abandoned run.
const NEVER: DateTime = DateTime::from_millis(Timestamp::MAX.as_millis());

/// The result of one attempt of a transaction.
type Tried<T> = std::result::Result<T, Failure>;

pub(super) struct SetAside<'a> {
    pub(super) run: RunId,
    pub(super) epoch: u64,
    pub(super) engine: &'a EngineId,
    pub(super) failure: &'a Failed,
    pub(super) at: &'a Moment,
}

#[async_trait]
impl Transaction for SetAside<'_> {
    type Output = Trouble;

    const DOING: &'static str = "set a run aside";

    async fn attempt(&self, base: &Base, session: &mut ClientSession) -> Tried<Trouble> {
        let Self { run, epoch, engine, failure, at } = *self;
        let Some(kept) = raw_run(base, fence(run, epoch, at), session).await? else {
            return Err(StoreError::Fenced { run, epoch }.into());
        };
        let before = trouble(base, run, session).await?;
        let trouble = troubled::failed(before, (run, cluster_of(&kept)), engine, failure, at);
        let until = date(troubled::rests_until(&trouble, at));
        let change = doc! { "$set": { "lease": set_free(&kept, until) }, "$inc": counted() };
        base.runs.update_one(by_id(run), change).session(&mut *session).await?;
        keep(base, &trouble, session).await?;
        Ok(trouble)
    }
}

pub(super) struct Recover<'a> {
    pub(super) run: RunId,
    pub(super) epoch: u64,
    pub(super) at: &'a Moment,
}

#[async_trait]
impl Transaction for Recover<'_> {
    type Output = ();

    const DOING: &'static str = "forget the trouble of a run";

    async fn attempt(&self, base: &Base, session: &mut ClientSession) -> Tried<()> {
        let Self { run, epoch, at } = *self;
        let held = base.runs.update_one(fence(run, epoch, at), doc! { "$inc": counted() });
        if held.session(&mut *session).await?.matched_count == 0 {
            return Err(StoreError::Fenced { run, epoch }.into());
        }
        base.troubles.delete_one(by_id(run)).session(session).await?;
        Ok(())
    }
}

pub(super) async fn troubles(
    base: &Base,
    after: Option<RunId>,
    limit: u32,
) -> Result<Vec<Trouble>> {
    let limit = page_limit(limit) as usize;
    let (mut troubles, mut after) = (Vec::new(), after);
    while troubles.len() < limit {
        let mut filter = doc! { "finish_ts": Bson::Null };
        if let Some(after) = after {
            filter.insert("_id", doc! { "$gt": uuid(after.0) });
        }
        let found = read(base, filter).await?;
        let ids: Vec<_> = found.iter().map(|trouble| uuid(trouble.run.0)).collect();
        let going = doc! { "_id": { "$in": ids }, "finish_ts": Bson::Null };
        let (collection, order) = (&base.runs, doc! { "_id": 1 });
        let question =
            Question { collection, what: TROUBLE, filter: going, order, limit: MAX_PAGE };
        let going = question.ids().await?;
        after = found.last().map(|trouble| trouble.run);
        let is_last = found.len() < MAX_PAGE as usize;
        let going = found.into_iter().filter(|trouble| going.contains(&uuid(trouble.run.0)));
        troubles.extend(going.take(limit - troubles.len()));
        if is_last {
            break;
        }
    }
    Ok(troubles)
}

pub(super) async fn troubles_of(base: &Base, runs: &[RunId], at: &Moment) -> Result<Vec<Trouble>> {
    let ids: Vec<_> = runs.iter().map(|run| uuid(run.0)).collect();
    read(base, doc! { "_id": { "$in": ids }, "finish_ts": live(at.cutoff) }).await
}

async fn read(base: &Base, filter: Document) -> Result<Vec<Trouble>> {
    let (collection, order) = (&base.troubles, doc! { "_id": 1 });
    let question = Question { collection, what: TROUBLE, filter, order, limit: MAX_PAGE };
    Ok(question.found(&["_id"], from_document).await?.into_iter().flatten().collect())
}

pub(super) async fn rouse(base: &Base) -> Result<u64> {
    let all = read(base, doc! { "finish_ts": Bson::Null, "abandoned": Bson::Null }).await?;
    let ids: Vec<_> = all.iter().map(|trouble| uuid(trouble.run.0)).collect();
    let resting = doc! {
        "_id": { "$in": ids },
        "finish_ts": Bson::Null,
        "lease.engine": Bson::Null,
        "lease.parked": { "$ne": true },
        "lease.until": { "$lt": NEVER },
    };
    let free = doc! { "$set": { "lease.until": FREE } };
    let roused = call("rouse runs", base.runs.update_many(resting, free)).await?;
    Ok(roused.matched_count)
}

pub(super) struct Give<'a> {
    pub(super) run: RunId,
    pub(super) request: &'a Abandon,
    pub(super) at: &'a Moment,
}

#[async_trait]
impl Transaction for Give<'_> {
    type Output = Abandonment;

    const DOING: &'static str = "abandon a run";

    async fn attempt(&self, base: &Base, session: &mut ClientSession) -> Tried<Abandonment> {
        let Self { run, request, at } = *self;
        let Some(kept) = raw_run(base, shown(run, at), session).await? else {
            return Ok(Abandonment::Unknown);
        };
        let before = trouble(base, run, session).await?;
        match before {
            Some(known) if known.abandoned.is_some() => return Ok(Abandonment::Begun(known)),
            _ if moment(&kept, "finish_ts").is_some() => return Ok(Abandonment::Finished),
            None if !request.force => return Ok(Abandonment::NotTroubled),
            Some(_) | None => {}
        }
        let of = (run, cluster_of(&kept));
        let finishing_at = moment(&kept, "finishing_at");
        let trouble =
            troubled::abandoned(before, of, request, lease_until(&kept), finishing_at, at);
        let Some(abandoned) = &trouble.abandoned else { return Ok(Abandonment::Unknown) };
        let status = kept.get_str("status").ok().and_then(|word| word.parse().ok());
        let mut progress = progress_of(&kept);
        let seq = next_event(base, run, session).await?;
        let begun = abandoned.begin(run, status, progress.as_mut(), seq);
        let mut set = doc! {
            "status": RunStatus::Finishing.as_str(),
            "finishing_at": date(abandoned.at),
        };
        extend(&mut set, progress.as_ref())?;
        set.insert("lease", set_free(&kept, Bson::DateTime(NEVER)));
        write(base, run, set, begun.as_ref(), session).await?;
        keep(base, &trouble, session).await?;
        Ok(Abandonment::Begun(trouble))
    }
}

pub(super) struct End<'a> {
    pub(super) run: RunId,
    pub(super) at: &'a Moment,
}

#[async_trait]
impl Transaction for End<'_> {
    type Output = Ending;

    const DOING: &'static str = "end an abandoned run";

    async fn attempt(&self, base: &Base, session: &mut ClientSession) -> Tried<Ending> {
        let Self { run, at } = *self;
        let known = trouble(base, run, session).await?;
        let abandoned = known.as_ref().and_then(|trouble| trouble.abandoned.clone());
        let kept = raw_run(base, shown(run, at), session).await?;
        let (Some(known), Some(abandoned), Some(kept)) = (known, abandoned, kept) else {
            return Ok(Ending::Ended);
        };
        if moment(&kept, "finish_ts").is_some() {
            return Ok(Ending::Ended);
        }
        if stamp_some(base, run, abandoned.at, session).await? > 0 {
            return Ok(Ending::Going);
        }
        if at.now < abandoned.not_before {
            return Ok(Ending::Waits(abandoned.not_before));
        }
        let mut progress = progress_of(&kept);
        let seq = next_event(base, run, session).await?;
        let ended = abandoned.end(run, progress.as_mut(), seq);
        let mut set =
            doc! { "status": RunStatus::Failed.as_str(), "finish_ts": date(abandoned.at) };
        extend(&mut set, progress.as_ref())?;
        write(base, run, set, Some(&ended), session).await?;
        keep(base, &Trouble { finish_ts: Some(abandoned.at), ..known }, session).await?;
        Ok(Ending::Ended)
    }
}

fn by_id(run: RunId) -> Document {
    doc! { "_id": uuid(run.0) }
}

fn shown(run: RunId, at: &Moment) -> Document {
    doc! { "_id": uuid(run.0), "finish_ts": live(at.cutoff) }
}

pub(super) async fn raw_run(
    base: &Base,
    filter: Document,
    session: &mut ClientSession,
) -> mongodb::error::Result<Option<RawDocumentBuf>> {
    let runs = base.runs.clone_with_type::<RawDocumentBuf>();
    runs.find_one(filter).session(session).await
}

/// The trouble of a run. A trouble that can't be read counts as none, and is written anew.
async fn trouble(
    base: &Base,
    run: RunId,
    session: &mut ClientSession,
) -> mongodb::error::Result<Option<Trouble>> {
    let troubles = base.troubles.clone_with_type::<RawDocumentBuf>();
    let found = troubles.find_one(by_id(run)).session(session).await?;
    Ok(found.and_then(|raw| decode(&raw, from_document).ok()))
}

async fn keep(base: &Base, trouble: &Trouble, session: &mut ClientSession) -> Tried<()> {
    let mut document = by_id(trouble.run);
    document.extend(bodies::body(TROUBLE, trouble)?);
    let kept = base.troubles.replace_one(by_id(trouble.run), document).upsert(true);
    kept.session(session).await?;
    Ok(())
}

fn cluster_of(kept: &RawDocument) -> Option<String> {
    kept.get_str("cluster").ok().map(str::to_owned)
}

fn moment(kept: &RawDocument, field: &str) -> Option<Timestamp> {
    let at = kept.get_datetime(field).ok();
    at.map(|at| Timestamp::from_millis(at.timestamp_millis()))
}

fn progress_of(kept: &RawDocument) -> Option<Progress> {
    decode(kept, from_document).ok()
}

fn lease(kept: &RawDocument) -> Option<&RawDocument> {
    kept.get_document("lease").ok()
}

/// The end of the lease that an engine has. None if no engine has one.
fn lease_until(kept: &RawDocument) -> Option<Timestamp> {
    let lease = lease(kept)?;
    lease.get_str("engine").ok()?;
    moment(lease, "until")
}

/// The lease of a run that nobody has, and that nobody may claim before `until`. Its epoch fences the previous
/// holder.
pub(super) fn set_free(kept: &RawDocument, until: Bson) -> Document {
    let epoch = lease(kept).and_then(|lease| lease.get("epoch").ok().flatten());
    let epoch = epoch.and_then(|epoch| Bson::try_from(epoch).ok().as_ref().and_then(whole));
    let epoch = integer(epoch.unwrap_or_default().unsigned_abs() + 1);
    doc! { "engine": Bson::Null, "epoch": epoch, "until": until, "token": Bson::Null,
    "store": Bson::Null }
}

fn extend(set: &mut Document, progress: Option<&Progress>) -> Result<()> {
    if let Some(progress) = progress {
        set.extend(bodies::progress(progress)?);
    }
    Ok(())
}

async fn write(
    base: &Base,
    run: RunId,
    set: Document,
    event: Option<&RunEvent>,
    session: &mut ClientSession,
) -> Tried<()> {
    let change = doc! { "$set": set, "$inc": counted() };
    base.runs.update_one(by_id(run), change).session(&mut *session).await?;
    if let Some(event) = event {
        let filter = doc! { "run": uuid(run.0), "seq": integer(event.seq) };
        let body = bodies::body("an event", event)?;
        base.events.replace_one(filter, body).upsert(true).session(session).await?;
    }
    Ok(())
}

/// The sequence of the event that follows the last one of a run.
async fn next_event(
    base: &Base,
    run: RunId,
    session: &mut ClientSession,
) -> mongodb::error::Result<u64> {
    let last = base.events.find_one(doc! { "run": uuid(run.0) }).sort(doc! { "seq": -1 });
    let last = last.projection(doc! { "seq": 1 }).session(session).await?;
    let seq = last.and_then(|event| event.get("seq").and_then(whole));
    Ok(seq.map_or(1, |seq| seq.unsigned_abs() + 1))
}
