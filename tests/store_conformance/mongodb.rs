//! What only MongoDB promises when a store is opened, and what its server must be able to do so that these
//! tests mean something.

use std::sync::Arc;

use mongodb::bson::spec::{BinarySubtype, ElementType};
use mongodb::bson::{Binary, Bson, Document, doc};
use mongodb::error::TRANSIENT_TRANSACTION_ERROR;
use replibook_base::clock::SystemClock;
use replibook_core::playbook::Concurrency;
use replibook_core::run::{EngineId, Millis, RunStatus};
use replibook_store::mongodb::{MongoOptions, TimeSource};
use replibook_store::{Keeping, Locked, MAX_PAGE, MongoStore, Store, StoreError, StoreOptions};

use crate::backends::{ManualClock, options};
use crate::samples::{
    self, command, finished, finishing, new_run, new_run_on, one_of_each, only, playbook, plugin,
    progress, put_clusters, run_id,
};
use crate::server::{Database, TestServer};

/// Opens a store on the server's own time.
pub(crate) async fn open(
    database: &Database,
    options: StoreOptions,
) -> Result<MongoStore, StoreError> {
    MongoStore::open(&MongoOptions::new(database.address()), options, Arc::new(SystemClock)).await
}

/// If this failed, the other tests here would mean little.
#[tokio::test]
async fn two_transactions_that_write_one_document_conflict() {
    let database = Database::new();
    let database = database.open().await;
    let things = database.collection::<Document>("things");
    things.insert_one(doc! { "_id": 1, "n": 0 }).await.unwrap();
    let client = database.client();
    let (mut first, mut second) =
        (client.start_session().await.unwrap(), client.start_session().await.unwrap());
    first.start_transaction().await.unwrap();
    second.start_transaction().await.unwrap();
    // Both transactions see the document as it is now.
    for session in [&mut first, &mut second] {
        things.find_one(doc! { "_id": 1 }).session(session).await.unwrap().unwrap();
    }
    let add = doc! { "$inc": { "n": 1 } };
    things.update_one(doc! { "_id": 1 }, add.clone()).session(&mut first).await.unwrap();
    let late = async {
        things.update_one(doc! { "_id": 1 }, add).session(&mut second).await?;
        second.commit_transaction().await
    };
    let error = late.await.unwrap_err();
    assert!(error.contains_label(TRANSIENT_TRANSACTION_ERROR), "{error}");
    first.commit_transaction().await.unwrap();
    let found = things.find_one(doc! { "_id": 1 }).await.unwrap().unwrap();
    assert_eq!(found.get_i32("n").unwrap(), 1);
}

#[tokio::test]
async fn a_standalone_server_is_refused_with_what_to_do() {
    let server = TestServer::start(&["--standalone"]);
    let mongo = MongoOptions::new(server.address());
    let opened = MongoStore::open(&mongo, options(), Arc::new(SystemClock)).await;
    let error = opened.err().unwrap();
    assert!(!error.retryable());
    let error = error.to_string();
    assert!(error.contains("standalone") && error.contains("rs.initiate()"), "{error}");
}

#[tokio::test]
async fn a_server_that_is_not_there_is_said_in_time() {
    let address = "mongodb://127.0.0.1:1/?serverSelectionTimeoutMS=200";
    let opened =
        MongoStore::open(&MongoOptions::new(address), options(), Arc::new(SystemClock)).await;
    let error = opened.err().unwrap();
    assert!(error.retryable() && error.to_string().contains("reach the server"), "{error}");
}

#[tokio::test]
async fn a_database_of_a_newer_version_is_refused_and_left_alone() {
    let database = Database::new();
    drop(open(&database, options()).await.unwrap());
    let meta = database.open().await.collection::<Document>("meta");
    let newer = doc! { "$set": { "version": 99_i64 } };
    meta.update_one(doc! { "_id": "schema" }, newer).await.unwrap();
    for _ in 0..2 {
        let error = open(&database, options()).await.err().unwrap();
        assert!(matches!(error, StoreError::NewerSchema { found: 99, .. }), "{error}");
    }
}

/// The retention of a collection, as the server knows it.
async fn expiry(database: &mongodb::Database, collection: &str) -> u64 {
    use futures::TryStreamExt as _;
    let indexes = database.collection::<Document>(collection).list_indexes().await.unwrap();
    let indexes: Vec<_> = indexes.try_collect().await.unwrap();
    let after = indexes.into_iter().find_map(|index| index.options?.expire_after);
    after.unwrap().as_secs()
}

#[tokio::test]
async fn retention_follows_the_settings_and_indexes_of_others_stay() {
    let database = Database::new();
    let raw = database.open().await;
    let kept = |seconds, keeping| {
        let retention = Millis::from_secs(seconds);
        StoreOptions { retention, keeping, ..options() }
    };
    let lasting = |seconds| kept(seconds, Keeping::Asked);
    drop(open(&database, lasting(60)).await.unwrap());
    let mine = mongodb::IndexModel::builder().keys(doc! { "address": 1 }).build();
    let records = raw.collection::<Document>("agent_records");
    records.create_index(mine).await.unwrap();
    for (seconds, keeping) in
        [(3_600, Keeping::Asked), (3_600, Keeping::Asked), (1, Keeping::Changed)]
    {
        drop(open(&database, kept(seconds, keeping)).await.unwrap());
        for collection in ["runs", "agent_records", "journals", "logs", "events", "commands"] {
            assert_eq!(expiry(&raw, collection).await, seconds, "{collection}");
        }
    }
    let names = records.list_index_names().await.unwrap();
    assert!(names.contains(&"address_1".to_owned()), "{names:?}");
}

#[tokio::test]
async fn a_database_of_an_earlier_version_has_its_retention_in_its_indexes() {
    let database = Database::new();
    let kept = |seconds, keeping| {
        let retention = Millis::from_secs(seconds);
        StoreOptions { retention, keeping, ..options() }
    };
    drop(open(&database, kept(3_600, Keeping::Asked)).await.unwrap());
    let raw = database.open().await;
    let meta = raw.collection::<Document>("meta");
    let by_id = doc! { "_id": "retention" };
    assert_eq!(meta.delete_one(by_id.clone()).await.unwrap().deleted_count, 1);
    let error = open(&database, kept(1, Keeping::Asked)).await.err().unwrap();
    assert!(error.to_string().contains("found a retention of 1s"), "{error}");
    assert_eq!(expiry(&raw, "runs").await, 3_600);
    let found = open(&database, kept(1, Keeping::Unsaid)).await.unwrap();
    assert_eq!(found.retention(), Millis::from_secs(3_600));

    // Several engines start at once: in the end the longest of their retentions counts.
    let opened = (1..=4).map(|hours| open(&database, kept(hours * 3_600, Keeping::Asked)));
    drop(futures::future::join_all(opened).await);
    assert_eq!(expiry(&raw, "runs").await, 4 * 3_600);
    assert_eq!(expiry(&raw, "troubles").await, 4 * 3_600);

    let damaged = doc! { "$set": { "millis": "long" } };
    meta.update_one(by_id, damaged).await.unwrap();
    let error = open(&database, kept(1, Keeping::Asked)).await.err().unwrap();
    assert!(error.to_string().contains("`replibook store migrate --retention TIME`"), "{error}");
    let mended = open(&database, kept(60, Keeping::Changed)).await.unwrap();
    assert_eq!((mended.retention(), expiry(&raw, "runs").await), (Millis::from_secs(60), 60));
}

#[tokio::test]
async fn an_index_that_stands_in_the_way_is_named_and_left_alone() {
    let lasting = std::time::Duration::from_secs(77);
    for (collection, name, expires) in
        [("events", "seq", None), ("runs", "expiry", None), ("logs", "expiry", Some(lasting))]
    {
        let database = Database::new();
        let raw = database.open().await.collection::<Document>(collection);
        let named = mongodb::options::IndexOptions::builder()
            .name(name.to_owned())
            .expire_after(expires)
            .build();
        let other = mongodb::IndexModel::builder().keys(doc! { "something": 1 }).options(named);
        raw.create_index(other.build()).await.unwrap();
        let error = open(&database, options()).await.err().unwrap();
        assert!(matches!(error, StoreError::Unfit { .. }), "{error}");
        let error = error.to_string();
        assert!(error.contains(collection) && error.contains(&format!("{name:?}")), "{error}");
        use futures::TryStreamExt as _;
        let found: Vec<_> = raw.list_indexes().await.unwrap().try_collect().await.unwrap();
        let mine = found.iter().find(|index| index.keys == doc! { "something": 1 }).unwrap();
        assert_eq!(mine.options.as_ref().unwrap().expire_after, expires, "{collection}");
    }
}

#[tokio::test]
async fn a_database_of_an_earlier_version_is_brought_forward_with_all_that_is_in_it() {
    let database = Database::new();
    let store = open(&database, options()).await.unwrap();
    put_clusters(&store).await;
    store.create_run(&new_run(1)).await.unwrap();
    let current = store.check().await.unwrap().schema.unwrap();
    let raw = database.open().await;
    let meta = raw.collection::<Document>("meta");
    raw.collection::<Document>("events").drop_index("seq").await.unwrap();
    let before = store.run(run_id(1)).await.unwrap();
    for earlier in [Some(0_i64), None] {
        meta.delete_many(doc! {}).await.unwrap();
        if let Some(version) = earlier {
            meta.insert_one(doc! { "_id": "schema", "version": version }).await.unwrap();
        }
        // Several engines start at once.
        let opened = futures::future::join_all((0..4).map(|_| open(&database, options()))).await;
        for store in opened {
            let report = store.unwrap().check().await.unwrap();
            assert!(report.is_fine() && report.schema == Some(current), "{report:?}");
        }
        assert_eq!(store.run(run_id(1)).await.unwrap(), before);
    }
}

#[tokio::test]
async fn documents_are_pleasant_in_a_shell() {
    let database = Database::new();
    let store = open(&database, options()).await.unwrap();
    put_clusters(&store).await;
    let (plugin, bytes) = plugin(1);
    store.put_plugin(&plugin, bytes).await.unwrap();
    store.put_playbook(&playbook("restart", "1.0.0", &[&plugin])).await.unwrap();
    store.create_run(&new_run(1)).await.unwrap();
    let engine = replibook_core::run::EngineId("e".to_owned());
    let lease = store.claim(&engine, 1).await.unwrap().remove(0);
    store.commit(lease.run, lease.epoch, &one_of_each(lease.run)).await.unwrap();

    let raw = database.open().await;
    let types = |document: &Document, path: &str| {
        let mut value = Bson::Document(document.clone());
        for key in path.split('.') {
            value =
                value.as_document().and_then(|d| d.get(key)).cloned().unwrap_or(Bson::Undefined);
        }
        value.element_type()
    };
    use ElementType::{Binary, DateTime, Int32, String as Text};
    for (collection, path, expected) in [
        ("runs", "_id", Binary),
        ("runs", "status", Text),
        ("runs", "since", DateTime),
        ("runs", "lease.until", DateTime),
        ("runs", "snapshot.created_at", DateTime),
        ("agent_records", "run", Binary),
        ("agent_records", "seq", Int32),
        ("agent_records", "state", Text),
        ("agent_records", "started_at", DateTime),
        ("journals", "pending.at", DateTime),
        ("logs", "at", DateTime),
        ("logs", "level", Text),
        ("events", "at", DateTime),
        ("events", "to", Text),
        ("commands", "_id", Binary),
        ("commands", "verb", Text),
        ("plugins", "added_at", DateTime),
        ("playbooks", "applied_at", DateTime),
    ] {
        let found = raw.collection::<Document>(collection).find_one(doc! {}).await.unwrap();
        let found = found.unwrap();
        assert_eq!(types(&found, path), expected, "{collection}.{path}: {found}");
    }
}

#[tokio::test]
async fn records_that_would_stay_for_ever_are_found() {
    let database = Database::new();
    let clock = ManualClock::new();
    let mongo = MongoOptions { time: TimeSource::Clock, ..MongoOptions::new(database.address()) };
    let empty = MongoStore::look(&mongo, options(), clock.clone()).await.unwrap();
    assert!(!empty.check().await.unwrap().is_fine(), "it was never used");

    let store = MongoStore::open(&mongo, options(), clock.clone()).await.unwrap();
    put_clusters(&store).await;
    store.create_run(&new_run(1)).await.unwrap();
    let engine = replibook_core::run::EngineId("e".to_owned());
    let lease = store.claim(&engine, 1).await.unwrap().remove(0);
    store.commit(lease.run, lease.epoch, &one_of_each(lease.run)).await.unwrap();
    // Without the lock, an engine would not start this run.
    assert_eq!(store.check().await.unwrap().unlocked, [run_id(1)]);
    assert_eq!(store.lock_cluster(lease.run, lease.epoch).await.unwrap(), Locked::Held);
    assert!(store.check().await.unwrap().is_fine());

    // An engine would stamp the documents first.
    let at = lease.until;
    store.commit(lease.run, lease.epoch, &only(finishing(at))).await.unwrap();
    store.commit(lease.run, lease.epoch, &only(finished(at))).await.unwrap();
    let report = store.check().await.unwrap();
    let found: u64 = report.orphans.iter().map(|orphans| orphans.records).sum();
    assert_eq!(found, 6, "{report:?}");
    assert!(report.orphans.iter().all(|orphans| orphans.run == run_id(1)));

    while store.stamp(lease.run, lease.epoch, at).await.unwrap() > 0 {}
    assert!(store.check().await.unwrap().is_fine());
    store.submit(&command(9, run_id(1), at)).await.unwrap();
    assert!(store.check().await.unwrap().is_fine(), "what comes late has its finish_ts");

    let raw = database.open().await;
    raw.collection::<Document>("logs").drop_index("place").await.unwrap();
    assert_eq!(store.check().await.unwrap().missing_indexes, ["logs.place"]);
}

#[tokio::test]
async fn a_run_is_woken_though_more_commands_than_a_page_has_wait_for_others() {
    let database = Database::new();
    let store = open(&database, options()).await.unwrap();
    put_clusters(&store).await;
    for n in [1, 2] {
        store.create_run(&new_run(n)).await.unwrap();
    }
    let leases = store.claim(&EngineId("e".to_owned()), 9).await.unwrap();
    let now = store.time();
    for (n, at) in [(1, now), (2, now.plus(Millis(1)))] {
        store.submit(&command(n, run_id(n), at)).await.unwrap();
    }
    store.release(leases[1].run, leases[1].epoch).await.unwrap();
    let commands = database.open().await.collection::<Document>("commands");
    let first = commands.find_one(doc! {}).sort(doc! { "at": 1 }).await.unwrap().unwrap();
    let more = (0..u128::from(MAX_PAGE)).map(|n| {
        let bytes = uuid::Uuid::from_u128(1_000 + n).into_bytes().to_vec();
        let id = Binary { subtype: BinarySubtype::Uuid, bytes };
        let mut command = first.clone();
        command.insert("_id", id);
        command
    });
    commands.insert_many(more).await.unwrap();
    assert_eq!(store.wake().await.unwrap(), 1);
    assert_eq!(store.wake().await.unwrap(), 0);
}

#[tokio::test]
async fn a_database_of_the_first_version_gives_the_runs_that_go_on_their_locks() {
    use Concurrency::{Allow, Queue};
    let database = Database::new();
    let store = open(&database, options()).await.unwrap();
    put_clusters(&store).await;
    for (cluster, n, concurrency) in [("a", 1, Queue), ("a", 2, Queue), ("b", 3, Allow)] {
        store.put_cluster(&samples::cluster(cluster, "")).await.unwrap();
        let new = new_run_on(cluster, n, concurrency, RunStatus::Pending);
        store.create_run(&new).await.unwrap();
    }
    let leases = store.claim(&EngineId("e".to_owned()), 10).await.unwrap();
    for n in [0, 2] {
        let going = only(progress(RunStatus::Running, leases[n].until));
        store.commit(leases[n].run, leases[n].epoch, &going).await.unwrap();
    }
    // The first version had no locks.
    let raw = database.open().await;
    raw.collection::<Document>("locks").drop().await.unwrap();
    let old = doc! { "$set": { "version": 1_i64 } };
    raw.collection::<Document>("meta").update_one(doc! { "_id": "schema" }, old).await.unwrap();
    for _ in 0..2 {
        let store = open(&database, options()).await.unwrap();
        let report = store.check().await.unwrap();
        assert!(report.is_fine() && report.schema == Some(2), "{report:?}");
        let waits = Locked::Waits { run: run_id(1), queued: 0 };
        assert_eq!(store.lock_cluster(run_id(2), leases[1].epoch).await.unwrap(), waits);
    }
    assert_eq!(raw.collection::<Document>("locks").count_documents(doc! {}).await.unwrap(), 1);
}
