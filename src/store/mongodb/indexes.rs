//! The indexes that the store needs. They are created at every start; indexes that others created are left alone.

use std::time::Duration;

use futures::TryStreamExt as _;
use mongodb::IndexModel;
use mongodb::bson::{Document, doc};
use mongodb::options::IndexOptions;

use super::base::{Base, LIMIT, call, whole, within};
use super::failure::{Said, failed, is_lacking, unfit, unfit_because};
use super::locks::CONCURRENCY;
use super::probe;
use super::runs::{PLAYBOOK, VERSION};
use super::sessions::{KEPT, SEEN};
use super::time::TimeSource;
use crate::contract::Result;
use replibook_core::run::{Millis, RunStatus};

/// Name of the indexes by which the server removes expired documents.
const EXPIRY: &str = "expiry";

/// The longest time, in seconds, that a server can be told to keep a document.
const MAX_EXPIRY: u64 = i32::MAX as u64;

/// How long a start waits for one index, which takes minutes over millions of documents. After that the server
/// goes on by itself, and the next start finds the index.
const BUILD: Duration = Duration::from_secs(600);

/// An index: its collection, name and keys, and the documents to which it is limited.
struct Index {
    collection: &'static str,
    name: &'static str,
    keys: Document,
    unique: bool,
    only: Option<Document>,
    expires: Option<Duration>,
}

fn index(collection: &'static str, name: &'static str, keys: Document) -> Index {
    Index { collection, name, keys, unique: false, only: None, expires: None }
}

impl Index {
    fn unique(self) -> Self {
        Self { unique: true, ..self }
    }

    fn only(self, only: Document) -> Self {
        Self { only: Some(only), ..self }
    }

    /// The server removes a document this many seconds after the time in it.
    fn expires(self, seconds: u64) -> Self {
        Self { expires: Some(Duration::from_secs(seconds)), ..self }
    }
}

/// All indexes except those for expiry.
fn indexes() -> Vec<Index> {
    let unfinished = || doc! { "finish_ts": null };
    let mut all = vec![
        index("meta", "sessions_seen", doc! { SEEN: 1 }).expires(KEPT),
        index("playbooks", "name_version", doc! { "name": 1, "version_key": 1 }).unique(),
        index("playbooks", "pins", doc! { "pins": 1 }),
        index(
            "plugins",
            "name_version",
            doc! { "info.name": 1, "info.version": 1, "added_at": -1, "_id": -1 },
        ),
        index("plugins", "file", doc! { "file": 1 }),
        // The indexes of GridFS have the names that drivers give them.
        index("plugins.files", "filename_1_uploadDate_1", doc! { "filename": 1, "uploadDate": 1 }),
        index("plugins.chunks", "files_id_1_n_1", doc! { "files_id": 1, "n": 1 }),
        index("runs", "cluster", doc! { "cluster": 1, "_id": -1 }),
        index("runs", "cluster_status", doc! { "cluster": 1, "status": 1, "_id": -1 }),
        index("runs", "status", doc! { "status": 1, "_id": -1 }),
        // One for each combination of filters: a page then reads only the runs that fit.
        index("runs", "playbook", doc! { PLAYBOOK: 1, "_id": -1 }),
        index("runs", "playbook_status", doc! { PLAYBOOK: 1, "status": 1, "_id": -1 }),
        index("runs", "playbook_cluster", doc! { PLAYBOOK: 1, "cluster": 1, "_id": -1 }),
        index(
            "runs",
            "playbook_cluster_status",
            doc! { PLAYBOOK: 1, "cluster": 1, "status": 1, "_id": -1 },
        ),
        index("runs", "version", doc! { PLAYBOOK: 1, VERSION: 1, "_id": -1 }),
        index("runs", "version_status", doc! { PLAYBOOK: 1, VERSION: 1, "status": 1, "_id": -1 }),
        index("runs", "version_cluster", doc! { PLAYBOOK: 1, VERSION: 1, "cluster": 1, "_id": -1 }),
        index(
            "runs",
            "version_cluster_status",
            doc! { PLAYBOOK: 1, VERSION: 1, "cluster": 1, "status": 1, "_id": -1 },
        ),
        index("runs", "lease", doc! { "lease.until": 1, "_id": 1 }).only(unfinished()),
        index("runs", "engine", doc! { "lease.engine": 1 }).only(unfinished()),
        // Contains everything that a question about the queue of a cluster needs, so that no run has to be read.
        index("runs", "queue", doc! { "cluster": 1, "status": 1, CONCURRENCY: 1, "_id": 1 })
            .only(doc! { "status": RunStatus::Pending.as_str() }),
        index("runs", "pins", doc! { "pins": 1, "_id": 1 }),
        index("runs", "idempotency_key", doc! { "idempotency_key": 1 })
            .unique()
            .only(doc! { "idempotency_key": { "$exists": true } }),
        index("agent_records", "seq", doc! { "run": 1, "seq": 1 }).unique(),
        index("agent_records", "agent", doc! { "run": 1, "agent": 1, "seq": 1 }),
        index("agent_records", "state", doc! { "run": 1, "state": 1, "seq": 1 }),
        index(
            "journals",
            "key",
            doc! { "run": 1, "key.agent": 1, "key.stage": 1, "key.step": 1, "key.attempt": 1 },
        )
        .unique(),
        index("logs", "place", doc! { "run": 1, "event": 1, "agent": 1, "line": 1 }).unique(),
        index("logs", "agent", doc! { "run": 1, "agent": 1, "event": 1, "line": 1 }),
        index("events", "seq", doc! { "run": 1, "seq": 1 }).unique(),
        index("commands", "waiting", doc! { "at": 1, "_id": 1 }).only(doc! { "outcome": null }),
    ];
    for collection in EXPIRING.into_iter().filter(|name| *name != "runs") {
        all.push(index(collection, "unfinished", doc! { "run": 1 }).only(unfinished()));
    }
    all
}

/// The collections whose documents expire.
const EXPIRING: [&str; 7] =
    ["runs", "agent_records", "journals", "logs", "events", "commands", "troubles"];

/// Creates the indexes that are missing, and makes the server remove documents that have been finished for
/// `retention`.
///
/// # Errors
/// [`StoreError::Unfit`](crate::StoreError::Unfit) when somebody else's index is in the way of one of ours.
pub(super) async fn ensure(base: &Base, retention: Millis, time: TimeSource) -> Result<()> {
    for collection in COLLECTIONS {
        make_collection(base, collection).await?;
    }
    for Index { collection, name, keys, unique, only, expires } in indexes() {
        let options = IndexOptions::builder()
            .name(name.to_owned())
            .unique(unique.then_some(true))
            .partial_filter_expression(only)
            .expire_after(expires)
            .build();
        create(base, collection, IndexModel::builder().keys(keys).options(options).build()).await?;
    }
    let seconds = match time {
        TimeSource::Server => retention.0.div_ceil(1_000).min(MAX_EXPIRY),
        TimeSource::Clock => MAX_EXPIRY,
    };
    for collection in EXPIRING {
        expire(base, collection, seconds).await?;
    }
    Ok(())
}

/// All collections. They are created beforehand, so that no transaction has to.
const COLLECTIONS: [&str; 15] = [
    "meta",
    "playbooks",
    "clusters",
    "plugins",
    "plugins.files",
    "plugins.chunks",
    "runs",
    "agent_records",
    "journals",
    "logs",
    "events",
    "commands",
    "locks",
    "troubles",
    "engines",
];

async fn make_collection(base: &Base, name: &str) -> Result<()> {
    /// The code for a collection that exists already.
    const EXISTS: i32 = 48;
    let doing = format!("make the collection {name}");
    match within(LIMIT, &doing, base.database.create_collection(name)).await? {
        Err(error) if code(&error) == Some(EXISTS) => Ok(()),
        made => made.map_err(|error| failed(&doing, error)),
    }
}

async fn create(base: &Base, collection: &str, index: IndexModel) -> Result<()> {
    /// The codes for a different index that has this name, or these keys.
    const CONFLICTS: [i32; 2] = [85, 86];
    let name = index.options.as_ref().and_then(|options| options.name.clone()).unwrap_or_default();
    let doing = format!("make the index {name} of {collection}");
    let documents = base.database.collection::<Document>(collection);
    match within(BUILD, &doing, documents.create_index(index)).await? {
        Err(error) if code(&error).is_some_and(|code| CONFLICTS.contains(&code)) => {
            Err(unfit_because(in_the_way(collection, &name), Said::by(&error)))
        }
        Err(error) if is_lacking(&error) => Err(probe::without_index(&name, &error)),
        created => created.map(drop).map_err(|error| failed(&doing, error)),
    }
}

/// Creates the index by which documents are removed, or changes its retention.
async fn expire(base: &Base, collection: &str, seconds: u64) -> Result<()> {
    match expiry(base, collection).await? {
        Some(found) if found == seconds => Ok(()),
        Some(_) => {
            let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
            let change = doc! {
                "collMod": collection,
                "index": { "name": EXPIRY, "expireAfterSeconds": seconds },
            };
            let doing = format!("change the retention of {collection}");
            call(&doing, base.database.run_command(change)).await.map(drop)
        }
        None => {
            let options = IndexOptions::builder()
                .name(EXPIRY.to_owned())
                .expire_after(Duration::from_secs(seconds))
                .partial_filter_expression(doc! { "finish_ts": { "$type": "date" } })
                .build();
            let index = IndexModel::builder().keys(expiry_keys()).options(options).build();
            create(base, collection, index).await
        }
    }
}

/// The retention by which the server removes runs, if we have set one.
pub(super) async fn retention(base: &Base) -> Result<Option<Millis>> {
    Ok(expiry(base, "runs").await?.map(Millis::from_secs))
}

/// The message about somebody else's index.
fn in_the_way(collection: &str, name: &str) -> String {
    format!(
        "found an index in {collection} that stands in the way of our index {name:?}; drop or rename \
         it, and start again"
    )
}

/// The retention of a collection, in seconds. None if we have not set one.
async fn expiry(base: &Base, collection: &str) -> Result<Option<u64>> {
    let found = found(base, collection).await?;
    let Some(index) = found.into_iter().find(|index| name(index) == EXPIRY) else {
        return Ok(None);
    };
    match index.options.as_ref().and_then(|options| options.expire_after) {
        Some(after) if same_keys(&index.keys, &expiry_keys()) => Ok(Some(after.as_secs())),
        Some(_) | None => Err(unfit(in_the_way(collection, EXPIRY))),
    }
}

fn expiry_keys() -> Document {
    doc! { "finish_ts": 1 }
}

/// Which of our indexes are missing, as `collection.name`. An index of the same name with other keys does not
/// count.
pub(super) async fn missing(base: &Base) -> Result<Vec<String>> {
    let mut missing = Vec::new();
    for collection in COLLECTIONS {
        let found = found(base, collection).await?;
        let wanted = indexes().into_iter().filter(|index| index.collection == collection);
        let mut wanted: Vec<_> = wanted.map(|index| (index.name, index.keys)).collect();
        if EXPIRING.contains(&collection) {
            wanted.push((EXPIRY, expiry_keys()));
        }
        for (wanted, keys) in wanted {
            if !found.iter().any(|index| name(index) == wanted && same_keys(&index.keys, &keys)) {
                missing.push(format!("{collection}.{wanted}"));
            }
        }
    }
    Ok(missing)
}

/// Whether two indexes have the same fields in the same order and directions. Shells write the number of a
/// direction with another type than we do.
fn same_keys(one: &Document, other: &Document) -> bool {
    let keys = |keys: &Document| -> Vec<_> {
        keys.iter()
            .map(|(field, way)| (field.clone(), whole(way).or(way.as_f64().map(|way| way as i64))))
            .collect()
    };
    keys(one) == keys(other)
}

fn name(index: &IndexModel) -> &str {
    index.options.as_ref().and_then(|options| options.name.as_deref()).unwrap_or_default()
}

async fn found(base: &Base, collection: &str) -> Result<Vec<IndexModel>> {
    /// The code for a collection that does not exist.
    const MISSING: i32 = 26;
    let collection = base.database.collection::<Document>(collection);
    call(&format!("list the indexes of {}", collection.name()), async {
        match collection.list_indexes().await {
            Ok(indexes) => indexes.try_collect().await,
            Err(error) if code(&error) == Some(MISSING) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    })
    .await
}

#[allow(clippy::wildcard_enum_match_arm, reason = "the driver may add kinds")]
fn code(error: &mongodb::error::Error) -> Option<i32> {
    match error.kind.as_ref() {
        mongodb::error::ErrorKind::Command(error) => Some(error.code),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indexes_have_a_name_of_their_own_in_a_collection_that_is_made() {
        let mut names: Vec<_> = indexes().iter().map(|i| (i.collection, i.name)).collect();
        assert!(names.iter().all(|(collection, _)| COLLECTIONS.contains(collection)));
        assert!(names.iter().all(|(_, name)| *name != EXPIRY));
        names.sort_unstable();
        let all = names.len();
        names.dedup();
        assert_eq!(names.len(), all);
    }
}
