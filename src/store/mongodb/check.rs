//! Checks whether everything in the database is as it should be. It changes nothing.

use futures::TryStreamExt as _;
use mongodb::bson::{Bson, doc};

use super::base::{Base, call, uuid};
use super::bodies::read_uuid;
use super::time::ServerTime;
use super::{files, indexes, locks, schema, survey};
use crate::checked::Checked;
use crate::contract::Result;
use replibook_core::run::RunId;

/// The result of [`MongoStore::check`](super::MongoStore::check).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreReport {
    /// Version of the schema. None if the database was never used.
    pub schema: Option<u32>,
    /// Indexes that are missing, as `collection.index`.
    pub missing_indexes: Vec<String>,
    /// Records without a `finish_ts` whose run has finished or is gone: they would never be removed.
    pub orphans: Vec<Orphans>,
    /// Runs that go on without the lock that they need, so that another run may go on beside them.
    pub unlocked: Vec<RunId>,
    /// How many files there are with bytes that no plugin refers to.
    pub files_left_behind: usize,
    /// The result of reading every document.
    pub documents: Checked,
}

/// Records of one kind that would never be removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Orphans {
    /// Name of the collection.
    pub collection: String,
    /// The run to which they belong.
    pub run: RunId,
    /// The number of these records.
    pub records: u64,
}

impl StoreReport {
    /// Whether nothing needs to be repaired. Files that were left behind do no harm.
    pub fn is_fine(&self) -> bool {
        self.schema.is_some()
            && self.missing_indexes.is_empty()
            && self.orphans.is_empty()
            && self.unlocked.is_empty()
            && self.documents.is_fine()
    }
}

/// Checks everything while engines may be at work: what does not fit is looked at a second time before it is
/// reported.
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
            // The run may have ended since the records were found. It gives them their `finish_ts` before it gets
            // its own.
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
