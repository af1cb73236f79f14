//! The locks of clusters. Each cluster has one document, with the run that last got the lock. That run holds the
//! lock while it exists and is unfinished.
//!
//! Whoever gets the lock writes to that document. So of two simultaneous transactions one is repeated, and then
//! sees what the other did. Nothing else that is read needs such a conflict: a run that is finished or gone stays
//! so, and a run that is queued meanwhile might just as well have been queued a moment later.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use futures::TryStreamExt as _;
use mongodb::ClientSession;
use mongodb::bson::{Bson, Document, RawDocumentBuf, doc};
use uuid::Uuid;

use super::base::{Base, call, uuid};
use super::bodies::read_uuid;
use super::commit::fence;
use super::failure::is_duplicate;
use super::rows::Question;
use super::transaction::{self, Failure, Transaction};
use crate::contract::{MAX_PAGE, Result};
use crate::damage::Damage;
use crate::documents::{
    GOING_KNOWN, Locked, QUEUED_KNOWN, Queue, going_statuses, locked_with_guards,
};
use crate::error::StoreError;
use crate::options::Moment;
use replibook_core::playbook::Concurrency;
use replibook_core::run::{Run, RunId, RunStatus};

const LOCK: &str = "the lock of a cluster";

struct Lock<'a> {
    run: RunId,
    epoch: u64,
    at: &'a Moment,
}

/// Gives the lock of its cluster to a run, or says which run comes first.
pub(super) async fn lock_cluster(
    base: &Base,
    run: RunId,
    epoch: u64,
    at: &Moment,
) -> Result<Locked> {
    transaction::make(base, &Lock { run, epoch, at }).await
}

#[async_trait]
impl Transaction for Lock<'_> {
    type Output = Locked;

    const DOING: &'static str = "lock a cluster";

    async fn attempt(
        &self,
        base: &Base,
        session: &mut ClientSession,
    ) -> std::result::Result<Locked, Failure> {
        let Self { run, epoch, at } = *self;
        // No write is needed here: if the run changes hands meanwhile, the lock still belongs to the run.
        let found = base.runs.find_one(fence(run, epoch, at)).projection(doc! { "cluster": 1 });
        let Some(found) = found.session(&mut *session).await? else {
            return Err(StoreError::Fenced { run, epoch }.into());
        };
        let cluster = found.get_str("cluster").map_err(|error| {
            StoreError::from(Damage::new("the cluster of a run", run.to_string(), &error))
        })?;
        let holder = holder(base, cluster, session).await?;
        if holder == Some(run) {
            return Ok(Locked::Held);
        }
        let before = queued(base, cluster, Some(run), QUEUED_KNOWN, session).await?;
        let answer = Locked::behind(holder, &before);
        match answer {
            Locked::Held => give(base, cluster, run, session).await?,
            Locked::Waits { .. } => {}
        }
        Ok(answer)
    }
}

/// Refuses a new run that rejects a busy cluster, if it is busy; otherwise gives such a run the lock.
pub(super) async fn lock_at_once(
    base: &Base,
    run: &Run,
    session: &mut ClientSession,
) -> std::result::Result<(), Failure> {
    match run.snapshot.playbook.concurrency {
        Concurrency::Queue | Concurrency::Allow => return Ok(()),
        Concurrency::Reject => {}
    }
    let cluster = &run.snapshot.cluster;
    let before = match holder(base, cluster, session).await? {
        Some(holder) => Some(holder),
        None => queued(base, cluster, None, 1, session).await?.pop(),
    };
    if let Some(run) = before {
        return Err(StoreError::ClusterBusy { cluster: cluster.clone(), run }.into());
    }
    if run.progress.status == RunStatus::Pending {
        give(base, cluster, run.id(), session).await?;
    }
    Ok(())
}

/// Gives the lock of a cluster that gets guards to the only run that goes on it. A run that gets the lock at the same time
/// writes to the same document, so one of the two transactions has to start again.
pub(super) async fn lock_with_guards(
    base: &Base,
    cluster: &str,
    session: &mut ClientSession,
) -> std::result::Result<(), Failure> {
    let statuses = RunStatus::ALL.into_iter().filter(|status| status.holds_cluster());
    let statuses: Vec<_> = statuses.map(RunStatus::as_str).collect();
    let filter =
        doc! { "cluster": cluster, "status": { "$in": statuses }, "finish_ts": Bson::Null };
    let found = base.runs.find(filter).sort(doc! { "_id": 1 }).projection(doc! { "_id": 1 });
    let found = found.limit(i64::from(GOING_KNOWN)).batch_size(GOING_KNOWN);
    let mut found = found.session(&mut *session).await?;
    let mut going = Vec::new();
    while let Some(run) = found.next(session).await.transpose()? {
        going.extend(run.get("_id").and_then(read_uuid).map(RunId));
    }
    let holder = holder(base, cluster, session).await?;
    match locked_with_guards(cluster, holder, &going)? {
        Some(run) => Ok(give(base, cluster, run, session).await?),
        None => Ok(()),
    }
}

/// The unfinished run that holds the lock of a cluster, if any.
async fn holder(
    base: &Base,
    cluster: &str,
    session: &mut ClientSession,
) -> mongodb::error::Result<Option<RunId>> {
    let locks = base.locks.clone_with_type::<RawDocumentBuf>();
    let lock = locks.find_one(doc! { "_id": cluster }).session(&mut *session).await?;
    let Some(lock) = lock else { return Ok(None) };
    let id = lock.get_binary("run").ok().and_then(|id| Uuid::from_slice(id.bytes).ok());
    let Some(id) = id else {
        // The lock can't be read. It belongs to the run that goes on.
        return going_on(base, cluster, session).await;
    };
    let runs = base.runs.clone_with_type::<RawDocumentBuf>();
    let run = runs.find_one(doc! { "_id": uuid(id), "finish_ts": Bson::Null });
    let run = run.projection(doc! { "_id": 1 }).session(session).await?;
    Ok(run.map(|_| RunId(id)))
}

/// The run on a cluster that goes on and needs its lock.
async fn going_on(
    base: &Base,
    cluster: &str,
    session: &mut ClientSession,
) -> mongodb::error::Result<Option<RunId>> {
    let statuses: Vec<_> = going_statuses().map(RunStatus::as_str).collect();
    let mut filter = needs_lock();
    filter.extend(doc! {
        "cluster": cluster, "status": { "$in": statuses }, "finish_ts": Bson::Null,
    });
    let run = base.runs.find_one(filter).sort(doc! { "_id": 1 }).projection(doc! { "_id": 1 });
    let run = run.session(session).await?;
    Ok(run.as_ref().and_then(|run| run.get("_id")).and_then(read_uuid).map(RunId))
}

/// Removes locks of clusters that are gone, if no run holds them. Today a cluster's lock is removed together with
/// the cluster; this is for those that earlier versions left.
pub(super) async fn remove_gone(base: &Base) -> Result<()> {
    let (collection, order) = (&base.locks, doc! { "_id": 1 });
    let mut after = Bson::MinKey;
    loop {
        let filter = doc! { "_id": { "$gt": &after } };
        let question =
            Question { collection, what: LOCK, filter, order: order.clone(), limit: MAX_PAGE };
        let locks = question.documents(doc! { "run": 1 }).await?;
        let Some(last) = locks.last().and_then(|lock| lock.get("_id")) else { return Ok(()) };
        after = last.clone();
        let names: Vec<_> = locks.iter().filter_map(|lock| lock.get("_id")).collect();
        let clusters = Question {
            collection: &base.clusters,
            what: "a cluster",
            filter: doc! { "_id": { "$in": &names } },
            order: doc! {},
            limit: MAX_PAGE,
        };
        let there = clusters.ids().await?;
        for lock in
            locks.iter().filter(|lock| lock.get("_id").is_some_and(|id| !there.contains(id)))
        {
            let run = lock.get("run").cloned().unwrap_or(Bson::Null);
            let going = base.runs.find_one(doc! { "_id": &run, "finish_ts": Bson::Null });
            let going = call("read a run", going.projection(doc! { "_id": 1 })).await?;
            if going.is_none() {
                // Meanwhile another run may have got the lock of a new cluster of that name.
                let this = doc! { "_id": lock.get("_id").cloned(), "run": run };
                call("remove the lock of a cluster", base.locks.delete_one(this)).await?;
            }
        }
    }
}

/// At most `limit` of the runs that are queued for a cluster, oldest first. If `before` is given, only runs before
/// it.
async fn queued(
    base: &Base,
    cluster: &str,
    before: Option<RunId>,
    limit: u32,
    session: &mut ClientSession,
) -> mongodb::error::Result<Vec<RunId>> {
    let mut filter = needs_lock();
    filter.extend(doc! { "cluster": cluster, "status": RunStatus::Pending.as_str() });
    if let Some(before) = before {
        filter.insert("_id", doc! { "$lt": uuid(before.0) });
    }
    let found = base.runs.find(filter).sort(doc! { "_id": 1 }).projection(doc! { "_id": 1 });
    let found = found.limit(i64::from(limit)).batch_size(limit);
    let mut found = found.session(&mut *session).await?;
    let mut runs = Vec::new();
    while let Some(run) = found.next(session).await.transpose()? {
        runs.extend(run.get("_id").and_then(read_uuid).map(RunId));
    }
    Ok(runs)
}

/// Which runs come first on these clusters.
pub(super) async fn queues(base: &Base, clusters: &[String]) -> Result<Vec<Queue>> {
    let clusters: Vec<_> = clusters.iter().take(MAX_PAGE as usize).cloned().collect();
    let holders = holders(base, &clusters).await?;
    let mut all = queued_on(base, &clusters).await?;
    let queue = |cluster: String| {
        let mut queued = all.remove(&cluster).unwrap_or_default();
        queued.truncate(QUEUED_KNOWN as usize);
        Queue { holder: holders.get(&cluster).copied(), cluster, queued }
    };
    Ok(clusters.into_iter().map(queue).collect())
}

/// The unfinished runs that hold the locks of these clusters, by cluster.
async fn holders(base: &Base, clusters: &[String]) -> Result<BTreeMap<String, RunId>> {
    let locks: Vec<Document> = call("read the locks of clusters", async {
        base.locks.find(doc! { "_id": { "$in": clusters } }).await?.try_collect().await
    })
    .await?;
    let holder = |lock: &Document| {
        let run = lock.get("run").and_then(read_uuid)?;
        Some((lock.get_str("_id").ok()?.to_owned(), RunId(run)))
    };
    let mut holders: BTreeMap<_, _> = locks.iter().filter_map(holder).collect();
    let ids: Vec<_> = holders.values().map(|run| uuid(run.0)).collect();
    let going = doc! { "_id": { "$in": ids }, "finish_ts": Bson::Null };
    let going: Vec<Document> = call("read the runs that hold a cluster", async {
        base.runs.find(going).projection(doc! { "_id": 1 }).await?.try_collect().await
    })
    .await?;
    let going = going.iter().filter_map(|run| run.get("_id").and_then(read_uuid).map(RunId));
    let going: BTreeSet<_> = going.collect();
    holders.retain(|_, run| going.contains(run));
    Ok(holders)
}

/// The oldest runs that are queued for any of these clusters, by cluster. They are read in pages, and a cluster of
/// which enough runs are known is left out of the next page. So a long queue costs one more question, and not one
/// for each of the other clusters.
async fn queued_on(base: &Base, clusters: &[String]) -> Result<BTreeMap<String, Vec<RunId>>> {
    let mut queued: BTreeMap<String, Vec<RunId>> = BTreeMap::new();
    let (mut unknown, mut after) = (clusters.to_vec(), None);
    while !unknown.is_empty() {
        let mut filter = needs_lock();
        filter.extend(doc! {
            "cluster": { "$in": &unknown },
            "status": RunStatus::Pending.as_str(),
        });
        if let Some(after) = after.take() {
            filter.insert("_id", doc! { "$gt": after });
        }
        let (collection, order) = (&base.runs, doc! { "_id": 1 });
        let what = "the queue of a cluster";
        let question = Question { collection, what, filter, order, limit: MAX_PAGE };
        let page = question.raw(Some(doc! { "_id": 1, "cluster": 1 })).await?;
        let is_last = page.len() < MAX_PAGE as usize;
        for run in page.iter().filter_map(|raw| Document::try_from(raw).ok()) {
            after = run.get("_id").cloned();
            let id = after.as_ref().and_then(read_uuid).map(RunId);
            if let (Some(id), Ok(cluster)) = (id, run.get_str("cluster")) {
                queued.entry(cluster.to_owned()).or_default().push(id);
            }
        }
        // Without an identifier there is no next page.
        if is_last || after.is_none() {
            break;
        }
        let is_known = |runs: &Vec<RunId>| runs.len() >= QUEUED_KNOWN as usize;
        unknown.retain(|cluster| !queued.get(cluster).is_some_and(is_known));
    }
    Ok(queued)
}

async fn give(
    base: &Base,
    cluster: &str,
    run: RunId,
    session: &mut ClientSession,
) -> mongodb::error::Result<()> {
    let set = doc! { "$set": { "run": uuid(run.0) } };
    let given = base.locks.update_one(doc! { "_id": cluster }, set).upsert(true);
    given.session(session).await.map(drop)
}

/// The field of a run that says whether it needs the lock.
pub(super) const CONCURRENCY: &str = "snapshot.playbook.concurrency";

/// Matches runs that need the lock of their cluster.
fn needs_lock() -> Document {
    doc! { CONCURRENCY: { "$in": ["queue", "reject"] } }
}

/// Reads the runs that have one of these statuses and need their cluster's lock, by identifier and in pages.
struct Going<'a> {
    statuses: &'a [RunStatus],
    after: Bson,
}

impl<'a> Going<'a> {
    const fn with(statuses: &'a [RunStatus]) -> Self {
        Self { statuses, after: Bson::MinKey }
    }

    /// The next page, without snapshots. None if there are no more runs.
    async fn next(&mut self, base: &Base) -> Result<Option<Vec<Document>>> {
        let statuses: Vec<_> = self.statuses.iter().map(|status| status.as_str()).collect();
        let mut filter = needs_lock();
        filter.extend(doc! {
            "_id": { "$gt": &self.after }, "status": { "$in": statuses }, "finish_ts": Bson::Null,
        });
        let (collection, order) = (&base.runs, doc! { "_id": 1 });
        let what = "the runs that hold a cluster";
        let question = Question { collection, what, filter, order, limit: MAX_PAGE };
        let page = question.documents(doc! { "cluster": 1, "status": 1 }).await?;
        let Some(last) = page.last().and_then(|run| run.get("_id")) else { return Ok(None) };
        self.after = last.clone();
        Ok(Some(page))
    }
}

/// Gives the locks of clusters to runs that were going on before there were locks. May be repeated.
pub(super) async fn give_to_going(base: &Base) -> Result<()> {
    // Runs that are finishing come last, because they may never have started.
    let others: Vec<_> = going_statuses().collect();
    for statuses in [&others[..], &[RunStatus::Finishing]] {
        let mut going = Going::with(statuses);
        while let Some(page) = going.next(base).await? {
            for run in &page {
                give_first(base, run).await?;
            }
        }
    }
    Ok(())
}

/// Gives a run the lock of its cluster, if nobody has it.
async fn give_first(base: &Base, run: &Document) -> Result<()> {
    let (Ok(cluster), Some(id)) = (run.get_str("cluster"), run.get("_id")) else { return Ok(()) };
    let first = doc! { "$setOnInsert": { "run": id } };
    match base.locks.update_one(doc! { "_id": cluster }, first).upsert(true).await {
        // Another engine was faster.
        Err(error) if is_duplicate(&error) => Ok(()),
        other => call("write the lock of a cluster", async { other }).await.map(drop),
    }
}

/// The runs that go on without the lock that they need.
pub(super) async fn unlocked(base: &Base) -> Result<Vec<RunId>> {
    // Runs that are finishing are left out, because they may never have started.
    let statuses: Vec<_> = going_statuses().collect();
    let (mut unlocked, mut going) = (Vec::new(), Going::with(&statuses));
    while let Some(page) = going.next(base).await? {
        for run in &page {
            if is_unlocked(base, run).await? {
                unlocked.extend(run.get("_id").and_then(read_uuid).map(RunId));
            }
        }
    }
    Ok(unlocked)
}

/// Whether a run that was seen to go on has no lock, and still goes on. If it has ended, others may have the lock
/// by now.
async fn is_unlocked(base: &Base, run: &Document) -> Result<bool> {
    let (Ok(cluster), Some(id)) = (run.get_str("cluster"), run.get("_id")) else {
        return Ok(false);
    };
    let lock = base.locks.find_one(doc! { "_id": cluster, "run": id });
    if call("read the lock of a cluster", lock).await?.is_some() {
        return Ok(false);
    }
    let statuses: Vec<_> = going_statuses().map(RunStatus::as_str).collect();
    let still = doc! { "_id": id, "status": { "$in": statuses }, "finish_ts": Bson::Null };
    let still = base.runs.find_one(still).projection(doc! { "_id": 1 });
    Ok(call("read a run again", still).await?.is_some())
}
