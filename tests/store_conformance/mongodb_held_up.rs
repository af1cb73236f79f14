//! Runs that are locked by a transaction which nobody ends: they hold up no other run.

use std::sync::Arc;
use std::time::{Duration, Instant};

use mongodb::bson::{Document, doc};
use mongodb::{Client, ClientSession};
use replibook_base::clock::SystemClock;
use replibook_core::run::{EngineId, RunId};
use replibook_store::mongodb::MongoOptions;
use replibook_store::{Lease, MongoStore, Store, StoreOptions};

use crate::samples::{new_run, one_of_each, put_clusters, run_id};
use crate::server::{Database, TestServer};
use crate::wait;

/// Far less than the minute for which a server keeps a transaction that nobody ends. Without the store's
/// care, a call would wait that long for the run.
const SOON: Duration = Duration::from_secs(20);

fn engine(name: &str) -> EngineId {
    EngineId(name.to_owned())
}

fn runs(leases: &[Lease]) -> Vec<RunId> {
    leases.iter().map(|lease| lease.run).collect()
}

/// A store on this server, with four runs, in a database of its own.
async fn with_four_runs(server: &TestServer) -> (Database, MongoStore) {
    let database = Database::on(server.address());
    let mongo = MongoOptions::new(database.address());
    let clock = Arc::new(SystemClock);
    let store = MongoStore::open(&mongo, StoreOptions::default(), clock).await.unwrap();
    put_clusters(&store).await;
    for n in 1..=4 {
        store.create_run(&new_run(n)).await.unwrap();
    }
    (database, store)
}

/// A transaction of a client that no store knows. It has written to the run.
async fn foreign(database: &Database, run: RunId) -> (Client, ClientSession) {
    let client = Client::with_uri_str(database.address()).await.unwrap();
    let runs = client.default_database().unwrap().collection::<Document>("runs");
    let mut session = client.start_session().await.unwrap();
    session.start_transaction().await.unwrap();
    let id = mongodb::bson::Uuid::from_bytes(run.0.into_bytes());
    let write = runs.update_one(doc! { "_id": id }, doc! { "$inc": { "foreign": 1 } });
    assert_eq!(write.session(&mut session).await.unwrap().matched_count, 1);
    (client, session)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_a_transaction_has_is_passed_by_until_that_ends() {
    let server = TestServer::start(&[]);
    let (database, store) = with_four_runs(&server).await;
    let (_client, mut session) = foreign(&database, run_id(1)).await;
    let start = Instant::now();
    let leases = store.claim(&engine("a"), 9).await.unwrap();
    assert_eq!(runs(&leases), [2, 3, 4].map(run_id));
    // Claims while the run is held up are answered at once, too.
    for _ in 0..3 {
        assert_eq!(store.claim(&engine("a"), 9).await.unwrap(), []);
    }
    assert_eq!(store.renew(&engine("a")).await.unwrap().len(), 3);
    assert!(start.elapsed() < SOON, "{:?}", start.elapsed());

    session.abort_transaction().await.unwrap();
    let taken = wait::until("the run to be taken", SOON, async || {
        store.claim(&engine("a"), 9).await.unwrap().pop()
    })
    .await;
    assert_eq!(taken.run, run_id(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_runs_are_given_back_though_a_commit_was_left_in_the_middle() {
    /// Longer than anybody waits here.
    const NEVER: i32 = 60_000;
    let server = TestServer::start(&["--enable-test-commands"]);
    let (_database, store) = with_four_runs(&server).await;
    let leases = store.claim(&engine("a"), 9).await.unwrap();
    let admin = Client::with_uri_str(server.address()).await.unwrap().database("admin");
    let fail = doc! {
        "configureFailPoint": "failCommand", "mode": { "times": 1 },
        "data": { "failCommands": ["commitTransaction"], "blockConnection": true, "blockTimeMS": NEVER },
    };
    admin.run_command(fail).await.unwrap();
    let Lease { run, epoch, .. } = leases[1];
    let writes = one_of_each(run);
    let commit = store.commit(run, epoch, &writes);
    assert!(tokio::time::timeout(Duration::from_millis(500), commit).await.is_err(), "it was left");
    let start = Instant::now();
    store.release_all(&engine("a")).await.unwrap();
    assert!(start.elapsed() < SOON / 2, "{:?}", start.elapsed());
    let again = store.claim(&engine("b"), 9).await.unwrap();
    assert_eq!(runs(&again), [1, 2, 3, 4].map(run_id));
}
