//! Creates runs, and reads them.

use async_trait::async_trait;
use mongodb::ClientSession;
use mongodb::bson::{Bson, Document, RawDocumentBuf, doc};
use uuid::Uuid;

use super::base::{Base, live, uuid};
use super::batch::Batch;
use super::bodies;
use super::commit::add_events;
use super::locks::lock_at_once;
use super::objects::touch_cluster;
use super::pins::touch;
use super::rows::Question;
use super::time::date;
use super::transaction::{self, Failure, Transaction};
use crate::contract::{MAX_PAGE, Result};
use crate::damage::KeptRun;
use crate::documents::{Created, Head, NewRun, RunFilter};
use crate::error::StoreError;
use crate::options::Moment;
use replibook_core::playbook::access::Sight;
use replibook_core::run::{Digest, Run, RunId};

const RUN: &str = "a run";

/// The field of a run with the name of its playbook.
pub(super) const PLAYBOOK: &str = "snapshot.playbook.name";

/// The field of a run with the version of its playbook.
pub(super) const VERSION: &str = "snapshot.playbook.version";

struct CreateRun<'a> {
    new: &'a NewRun,
    document: Document,
    at: &'a Moment,
}

pub(super) async fn create_run(base: &Base, new: &NewRun, at: &Moment) -> Result<Created> {
    let document = bodies::new_run(new)?;
    transaction::make(base, &CreateRun { new, document, at }).await
}

#[async_trait]
impl Transaction for CreateRun<'_> {
    type Output = Created;

    const DOING: &'static str = "create a run";

    async fn attempt(
        &self,
        base: &Base,
        session: &mut ClientSession,
    ) -> std::result::Result<Created, Failure> {
        let Self { new, document, at } = self;
        let id = new.run.id();
        if let Some((before, request)) = known(base, new, at, session).await? {
            return if request == new.request.as_str() {
                Ok(Created::Before(before))
            } else {
                Err(StoreError::of_another_request(before).into())
            };
        }
        touch(base, &new.run.snapshot.pins(), session).await?;
        touch_cluster(base, &new.run.snapshot.cluster, session).await?;
        lock_at_once(base, &new.run, session).await?;
        // An expired run does not exist, even before the server has removed it.
        let mut taken = vec![doc! { "_id": uuid(id.0) }];
        taken.extend(new.idempotency_key.as_ref().map(|key| doc! { "idempotency_key": key }));
        for mut taken in taken {
            taken.insert("finish_ts", doc! { "$lt": date(at.cutoff) });
            base.runs.delete_one(taken).session(&mut *session).await?;
        }
        let mut batch = Batch::default();
        batch.replace(&base.runs, doc! { "_id": uuid(id.0) }, document.clone());
        add_events(&mut batch, base, &uuid(id.0), &new.events)?;
        batch.send(base, session).await?;
        Ok(Created::New(id))
    }
}

/// The unexpired run that was created with this key, or else with this identifier, and its request.
async fn known(
    base: &Base,
    new: &NewRun,
    at: &Moment,
    session: &mut ClientSession,
) -> mongodb::error::Result<Option<(RunId, String)>> {
    let by_key = new.idempotency_key.as_ref().map(|key| doc! { "idempotency_key": key });
    let by_id = doc! { "_id": uuid(new.run.id().0) };
    for mut filter in by_key.into_iter().chain([by_id]) {
        filter.insert("finish_ts", live(at.cutoff));
        let found = base.runs.find_one(filter).projection(doc! { "request": 1 });
        if let Some(found) = found.session(&mut *session).await? {
            let id = found.get("_id").and_then(bodies::read_uuid).map(RunId);
            let request = found.get_str("request").unwrap_or_default().to_owned();
            return Ok(id.map(|id| (id, request)));
        }
    }
    Ok(None)
}

pub(super) async fn run_of_request(
    base: &Base,
    key: &str,
    request: &Digest,
    at: &Moment,
) -> Result<Option<Run>> {
    let filter = doc! { "idempotency_key": key, "finish_ts": live(at.cutoff) };
    let (collection, order) = (&base.runs, doc! {});
    let question = Question { collection, what: RUN, filter, order, limit: 1 };
    let Some(found) = question.raw(None).await?.pop() else { return Ok(None) };
    let is_same = found.get_str("request").is_ok_and(|known| known == request.as_str());
    let run = bodies::read_run(&found).map_err(|damaged| damaged.damage)?;
    if is_same { Ok(Some(run)) } else { Err(StoreError::of_another_request(run.id())) }
}

pub(super) async fn run(base: &Base, id: RunId, at: &Moment) -> Result<Option<KeptRun>> {
    let filter = doc! { "_id": uuid(id.0), "finish_ts": live(at.cutoff) };
    Ok(list(base, filter, 1).await?.pop())
}

pub(super) async fn runs(
    base: &Base,
    filter: &RunFilter,
    after: Option<RunId>,
    limit: u32,
    at: &Moment,
) -> Result<Vec<KeptRun>> {
    let RunFilter { cluster, statuses, playbook, version, from, seen } = filter;
    let mut filter = doc! { "finish_ts": live(at.cutoff) };
    let mut between = doc! {};
    between.extend(after.map(|after| ("$lt".to_owned(), uuid(after.0))));
    between.extend(from.map(|from| ("$gte".to_owned(), uuid(from.0))));
    if !between.is_empty() {
        filter.insert("_id", between);
    }
    if let Some(playbook) = playbook {
        filter.insert(PLAYBOOK, playbook);
        filter.extend(version.as_ref().map(|v| (VERSION.to_owned(), Bson::String(v.to_string()))));
    }
    if let Some(cluster) = cluster {
        filter.insert("cluster", cluster);
    }
    if !statuses.is_empty() {
        let words = statuses.iter().map(|status| Bson::String(status.as_str().to_owned()));
        filter.insert("status", doc! { "$in": words.collect::<Vec<_>>() });
    }
    if let Some(seen) = seen {
        filter.extend(seen_by(seen));
    }
    list(base, filter, limit).await
}

/// The condition that one of these has a run. Patterns have no signs that regular expressions know, but for the `*` at
/// their end.
fn seen_by(seen: &[Sight]) -> Document {
    let pattern = |pattern: &String| match pattern.strip_suffix('*') {
        Some(prefix) => doc! { "$regex": format!("^{prefix}") },
        None => doc! { "$eq": pattern },
    };
    let either = seen.iter().map(|Sight { playbooks, clusters }| {
        let mut both = Vec::new();
        for (field, patterns) in [(PLAYBOOK, playbooks), ("cluster", clusters)] {
            let Some(patterns) = patterns else { continue };
            let any: Vec<_> = patterns.iter().map(|one| doc! { field: pattern(one) }).collect();
            both.push(doc! { "$or": any });
        }
        // Without any condition it has all.
        if both.is_empty() {
            doc! {}
        } else {
            doc! { "$and": both }
        }
    });
    let either: Vec<_> = either.collect();
    // An empty list of alternatives is an error.
    if either.is_empty() {
        doc! { "_id": { "$in": [] } }
    } else {
        doc! { "$or": either }
    }
}

/// The identifiers of the newest runs of those that are seen.
pub(super) async fn newest(
    base: &Base,
    seen: Option<&[Sight]>,
    limit: u32,
    at: &Moment,
) -> Result<Vec<RunId>> {
    let (collection, order) = (&base.runs, doc! { "_id": -1 });
    let mut filter = doc! { "finish_ts": live(at.cutoff) };
    filter.extend(seen.map(seen_by).unwrap_or_default());
    let ids = Question { collection, what: RUN, filter, order, limit }.ids().await?;
    Ok(ids.iter().filter_map(bodies::read_uuid).map(RunId).collect())
}

/// How far these runs are.
pub(super) async fn heads(base: &Base, runs: &[RunId], at: &Moment) -> Result<Vec<Head>> {
    let runs = runs.iter().take(MAX_PAGE as usize);
    let ids: Vec<_> = runs.map(|run| uuid(run.0)).collect();
    let filter = doc! { "_id": { "$in": ids }, "finish_ts": live(at.cutoff) };
    let (collection, order) = (&base.runs, doc! { "_id": 1 });
    let question = Question { collection, what: RUN, filter, order, limit: MAX_PAGE };
    let found = question.raw(Some(doc! { "status": 1, "next_event": 1 })).await?;
    let head = |raw: &RawDocumentBuf| {
        let run = raw.get_binary("_id").ok().and_then(|id| Uuid::from_slice(id.bytes).ok())?;
        // A damaged document may contain anything.
        let status = raw.get_str("status").ok().and_then(|word| word.parse().ok());
        let short = raw.get_i32("next_event").ok().map(i64::from);
        let next_event = short.or(raw.get_i64("next_event").ok()).map(i64::unsigned_abs);
        Some(Head { run: RunId(run), status, next_event })
    };
    Ok(found.iter().filter_map(head).collect())
}

async fn list(base: &Base, filter: Document, limit: u32) -> Result<Vec<KeptRun>> {
    let (collection, order) = (&base.runs, doc! { "_id": -1 });
    let found = Question { collection, what: RUN, filter, order, limit }.raw(None).await?;
    Ok(found.iter().map(|raw| bodies::read_run(raw)).collect())
}
