//! Looking whether everything in the database is as it should be.

use futures::TryStreamExt as _;
use mongodb::bson::{Bson, doc};

use super::base::{Base, call, uuid};
use super::bodies::read_uuid;
use super::time::ServerTime;
use super::{files, indexes, locks, schema, survey};
use crate::checked::Checked;
use crate::contract::Result;
use replibook_core::run::RunId;

/// What [`MongoStore::check`](super::MongoStore::check) found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreReport {
    /// Version of the documents' shape; none in a database that was never used.
    pub schema: Option<u32>,
    /// Indexes that are missing, as `collection.index`.
    pub missing_indexes: Vec<String>,
    /// Records without a `finish_ts` whose run is finished or gone: they would stay for ever.
    pub orphans: Vec<Orphans>,
    /// Runs that go on without the lock that they need: another run may go on beside them.
    pub unlocked: Vec<RunId>,
    /// Files with bytes that no plugin names.
    pub files_left_behind: usize,
    /// What all documents are like.
    pub documents: Checked,
}

/// Records of one kind that would stay for ever.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Orphans {
    /// The collection.
    pub collection: String,
    /// Their run.
    pub run: RunId,
    /// How many there are.
    pub records: u64,
}

impl StoreReport {
    /// Whether nothing needs to be done.
    pub fn is_fine(&self) -> bool {
        self.schema.is_some()
            && self.missing_indexes.is_empty()
            && self.orphans.is_empty()
            && self.unlocked.is_empty()
            && self.documents.is_fine()
    }
}

/// Looks at everything, beside engines that go on: what does not fit is looked at again before it is said.
pub(super) async fn check(base: &Base, time: &ServerTime) -> Result<StoreReport> {
    let mut orphans = Vec::new();
    for collection in base.of_runs() {
        let name = collection.name();
        let unfinished =
            [doc! { "$match": { "finish_ts": Bson::Null } }, doc! { "$group": { "_id": "$run" } }];
        let doing = format!("look for orphans in {name}");
        let mut runs = call(&doing, collection.aggregate(unfinished)).await?;
        while let Some(group) = call(&doing, runs.try_next()).await? {
            let Some(run) = group.get("_id").and_then(read_uuid) else { continue };
            let going = doc! { "_id": uuid(run), "finish_ts": Bson::Null };
            let going = base.runs.find_one(going).projection(doc! { "_id": 1 });
            if call(&doing, going).await?.is_some() {
                continue;
            }
            // It may have ended since they were counted: its records had their `finish_ts` before it had its own.
            let left = doc! { "run": uuid(run), "finish_ts": Bson::Null };
            let records = call(&doing, collection.count_documents(left)).await?;
            if records > 0 {
                orphans.push(Orphans { collection: name.to_owned(), run: RunId(run), records });
            }
        }
    }
    Ok(StoreReport {
        schema: schema::version(base).await?,
        missing_indexes: indexes::missing(base).await?,
        orphans,
        unlocked: locks::unlocked(base).await?,
        files_left_behind: files::left_behind(base, time).await?.len(),
        documents: survey::survey(base).await?,
    })
}
