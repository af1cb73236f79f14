//! Time on MongoDB: the server's clock decides about leases, and the server removes what has expired.

use std::sync::Arc;
use std::time::Duration;

use mongodb::Client;
use mongodb::bson::{Document, doc};
use replibook_core::run::{EngineId, Millis, Timestamp};
use replibook_store::mongodb::MongoOptions;
use replibook_store::{Locked, MongoStore, Store, StoreOptions};

use crate::backends::{ManualClock, options};
use crate::mongodb::open;
use crate::samples::{
    command, finished, finishing, new_run, one_of_each, only, put_clusters, run_id,
};
use crate::server::{Database, shared};
use crate::wait;

/// More than a server takes on a busy machine that looks once a minute for what has expired.
const LIMIT: Duration = Duration::from_secs(150);

fn engine(name: &str) -> EngineId {
    EngineId(name.to_owned())
}

#[tokio::test]
async fn the_servers_clock_decides_about_leases_and_not_the_engines() {
    let database = Database::new();
    let lease = |length| StoreOptions { lease: length, ..options() };
    // The clock of one store is years behind the server's and stands still; the other one's is right.
    let behind = ManualClock::new();
    let mongo = MongoOptions::new(database.address());
    let long = lease(Millis::from_secs(3_600));
    let first = MongoStore::open(&mongo, long, behind.clone()).await.unwrap();
    put_clusters(&first).await;
    let second = open(&database, long).await.unwrap();
    for n in [1, 2] {
        first.create_run(&new_run(n)).await.unwrap();
    }
    let mut held = first.claim(&engine("a"), 1).await.unwrap();
    assert_eq!(held.len(), 1);
    // The lease ends by the engine's own clock, so that the engine can tell.
    use replibook_base::clock::Clock as _;
    assert_eq!(held[0].until, behind.now().plus(long.lease));
    let other = second.claim(&engine("b"), 9).await.unwrap();
    assert_eq!(other.iter().map(|lease| lease.run).collect::<Vec<_>>(), [run_id(2)]);
    held[0].cluster = None;
    assert_eq!(first.renew(&engine("a")).await.unwrap(), held);

    // A store whose clock is years ahead gets no run that is held.
    behind.advance(Millis::from_secs(10 * 365 * 24 * 3_600));
    assert_eq!(first.claim(&engine("c"), 9).await.unwrap(), []);

    // A short lease runs out, whatever the clocks of engines say.
    let short = MongoStore::open(&mongo, lease(Millis(200)), behind.clone()).await.unwrap();
    held = short.renew(&engine("a")).await.unwrap();
    let taken = wait::until("the lease to run out", LIMIT, async || {
        second.claim(&engine("b"), 9).await.unwrap().pop()
    })
    .await;
    assert_eq!((taken.run, taken.epoch), (held[0].run, held[0].epoch + 1));
    assert_eq!(short.renew(&engine("a")).await.unwrap(), []);
    let late = short.commit(held[0].run, held[0].epoch, &one_of_each(run_id(1))).await;
    assert!(late.is_err(), "it is another engine's");
}

/// How many documents of a run the database has, even those that readers no longer see.
async fn kept(database: &mongodb::Database, run: u128) -> u64 {
    let id = mongodb::bson::Uuid::from_bytes(run_id(run).0.into_bytes());
    let mut kept = 0;
    for collection in ["agent_records", "journals", "logs", "events", "commands"] {
        let collection = database.collection::<Document>(collection);
        kept += collection.count_documents(doc! { "run": id }).await.unwrap();
    }
    let runs = database.collection::<Document>("runs");
    kept + runs.count_documents(doc! { "_id": id }).await.unwrap()
}

#[tokio::test]
async fn finished_runs_and_all_their_records_go_and_unfinished_ones_stay() {
    let client = Client::with_uri_str(shared()).await.unwrap();
    // As often as possible; a server that does not know the parameter looks once a minute.
    let often = doc! { "setParameter": 1, "ttlMonitorSleepSecs": 1 };
    let _ = client.database("admin").run_command(often).await;

    let database = Database::new();
    let brief = StoreOptions { retention: Millis::from_secs(2), ..options() };
    let store = open(&database, brief).await.unwrap();
    put_clusters(&store).await;
    let raw = database.open().await;
    for n in [1, 2] {
        store.create_run(&new_run(n)).await.unwrap();
    }
    let now = now();
    for lease in store.claim(&engine("e"), 9).await.unwrap() {
        let mut writes = one_of_each(lease.run);
        writes.commands = vec![command(lease.run.0.as_u128(), lease.run, now)];
        // As an engine would; the second run gets the lock after the first one.
        assert_eq!(store.lock_cluster(lease.run, lease.epoch).await.unwrap(), Locked::Held);
        store.commit(lease.run, lease.epoch, &writes).await.unwrap();
        if lease.run == run_id(1) {
            store.commit(lease.run, lease.epoch, &only(finishing(now))).await.unwrap();
            while store.stamp(lease.run, lease.epoch, now).await.unwrap() > 0 {}
            store.commit(lease.run, lease.epoch, &only(finished(now))).await.unwrap();
        }
    }
    assert_eq!(kept(&raw, 2).await, 7);
    wait::until("the server to remove what has expired", LIMIT, async || {
        (kept(&raw, 1).await == 0).then_some(())
    })
    .await;
    assert_eq!(kept(&raw, 2).await, 7, "it is not finished");
    assert_eq!(store.run(run_id(1)).await.unwrap(), None);
    assert!(store.run(run_id(2)).await.unwrap().is_some());
    assert!(store.check().await.unwrap().is_fine());
}

fn now() -> Timestamp {
    use replibook_base::clock::Clock as _;
    Arc::new(replibook_base::clock::SystemClock).now()
}
