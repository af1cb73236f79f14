//! What must not race on MongoDB, where a transaction that only reads does not conflict with one that writes.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use futures::future::join_all;
use mongodb::bson::{Document, doc};
use replibook_base::clock::SystemClock;
use replibook_core::run::{EngineId, Millis};
use replibook_store::mongodb::MongoOptions;
use replibook_store::{Created, MongoStore, Put, Store, StoreError, StoreOptions};

use crate::backends::options;
use crate::mongodb::open;
use crate::samples::{
    asking_for, command, finished, finishing, new_run, one_of_each, only, playbook, plugin,
    put_clusters, run, run_id,
};
use crate::server::Database;
use crate::wait;

/// Rounds of each race: two calls that are made at once meet within a few rounds.
const ROUNDS: u8 = 12;

/// Well below the minute for which servers keep a transaction that nobody ends.
const KEPT_OPEN: Duration = Duration::from_secs(40);

async fn store(database: &Database) -> Arc<MongoStore> {
    Arc::new(open(database, options()).await.unwrap())
}

/// How many documents a collection has.
async fn count(database: &Database, collection: &str) -> u64 {
    let raw = database.open().await;
    raw.collection::<Document>(collection).count_documents(doc! {}).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plugin_is_never_removed_from_under_a_run_or_a_playbook() {
    let database = Database::new();
    let store = store(&database).await;
    put_clusters(store.as_ref()).await;
    let mut seen = [0, 0];
    for n in 0..ROUNDS {
        let (plugin, bytes) = plugin(n);
        let digest = plugin.info.digest.clone();
        store.put_plugin(&plugin, bytes.clone()).await.unwrap();
        let sample = playbook(&format!("book-{n}"), "1.0.0", &[&plugin]);
        let new = asking_for(run(u128::from(n), &sample));
        let by_run = n % 2 == 0;
        let pin = async {
            if by_run {
                store.create_run(&new).await.map(drop)
            } else {
                store.put_playbook(&sample).await.map(drop)
            }
        };
        let (pinned, removed) = tokio::join!(pin, store.delete_plugin(&digest));
        let is_there = store.plugin_bytes(&digest).await.unwrap();
        match (pinned, removed) {
            (Ok(()), Err(StoreError::Pinned { .. })) => assert_eq!(is_there, Some(bytes)),
            (Err(StoreError::MissingPlugin { .. }), Ok(true)) => assert_eq!(is_there, None),
            other => panic!("{other:?}"),
        }
        seen[usize::from(by_run)] += 1;
    }
    assert!(seen.iter().all(|seen| *seen > 0));
    assert_eq!(count(&database, "plugins.files").await, count(&database, "plugins").await);
}

/// Lets the next sweep over plugins be made at once.
async fn let_sweep(database: &Database) {
    let raw = database.open().await;
    let meta = raw.collection::<Document>("meta");
    meta.delete_one(doc! { "_id": "plugin_sweep" }).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plugin_that_another_engine_sweeps_away_is_pinned_or_gone() {
    let database = Database::new();
    let (store, other) = (store(&database).await, store(&database).await);
    put_clusters(store.as_ref()).await;
    for n in 0..ROUNDS {
        // By the server's clock its retention passed long ago.
        let (plugin, bytes) = plugin(n);
        let digest = plugin.info.digest.clone();
        store.put_plugin(&plugin, bytes.clone()).await.unwrap();
        let_sweep(&database).await;
        let sample = playbook(&format!("book-{n}"), "1.0.0", &[&plugin]);
        let new = asking_for(run(u128::from(n), &sample));
        let pinning = store.clone();
        let pin = tokio::spawn(async move {
            match n % 2 {
                0 => pinning.create_run(&new).await.map(drop),
                _ => pinning.put_playbook(&sample).await.map(drop),
            }
        });
        let (pinned, swept) = tokio::join!(pin, other.sweep_plugins(100));
        let removed = swept.unwrap().unwrap().removed;
        let is_there = store.plugin_bytes(&digest).await.unwrap();
        match (pinned.unwrap(), removed.contains(&digest)) {
            (Ok(()), false) => assert_eq!(is_there, Some(bytes)),
            (Err(StoreError::MissingPlugin { .. }), true) => assert_eq!(is_there, None),
            other => panic!("round {n}: {other:?}"),
        }
    }
    assert_eq!(count(&database, "plugins.files").await, count(&database, "plugins").await);
    assert!(store.check().await.unwrap().is_fine());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_engines_that_sweep_at_once_one_does_and_one_that_dies_in_its_turn_stops_nobody() {
    let database = Database::new();
    let (one, other) = (store(&database).await, store(&database).await);
    for _ in 0..ROUNDS {
        let_sweep(&database).await;
        let (a, b) = tokio::join!(one.sweep_plugins(9), other.sweep_plugins(9));
        let made = [a, b].map(|swept| swept.unwrap().is_some());
        assert_eq!(made.iter().filter(|made| **made).count(), 1, "{made:?}");
    }
    // The turn was taken by an engine that is gone, in a time to come.
    let raw = database.open().await;
    let far = mongodb::bson::DateTime::from_millis(i64::from(u32::MAX) * 1_000);
    let meta = raw.collection::<Document>("meta");
    let next = doc! { "$set": { "next": far, "after": "nonsense" } };
    meta.update_one(doc! { "_id": "plugin_sweep" }, next).await.unwrap();
    assert!(other.sweep_plugins(9).await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn uploads_and_removals_at_once_leave_a_plugin_with_its_bytes_or_none() {
    let database = Database::new();
    let store = store(&database).await;
    let (plugin, bytes) = plugin(1);
    let digest = &plugin.info.digest;
    for _ in 0..ROUNDS {
        let puts = join_all((0..3).map(|_| store.put_plugin(&plugin, bytes.clone())));
        let (puts, removed) = tokio::join!(puts, store.delete_plugin(digest));
        removed.unwrap();
        let created = puts.iter().filter(|put| matches!(put, Ok(Put::Created))).count();
        assert!(puts.iter().all(Result::is_ok) && created >= 1, "{puts:?}");
        let found = store.plugin_bytes(digest).await.unwrap();
        assert!(found.is_none() || found.as_ref() == Some(&bytes));
        assert_eq!(count(&database, "plugins.files").await, u64::from(found.is_some()));
        store.delete_plugin(digest).await.unwrap();
    }
    assert_eq!(count(&database, "plugins.chunks").await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_runs_of_one_plugin_are_created_at_once_and_each_request_once() {
    let database = Database::new();
    let store = store(&database).await;
    put_clusters(store.as_ref()).await;
    let (plugin, bytes) = plugin(1);
    store.put_plugin(&plugin, bytes).await.unwrap();
    let sample = playbook("restart", "1.0.0", &[&plugin]);
    let requests = (0..16_u128).map(|n| {
        let mut new = asking_for(run(n, &sample));
        // Two calls make the same request, each with an identifier of its own.
        let request = n / 2;
        new.idempotency_key = Some(format!("key-{request}"));
        new.request = replibook_core::run::Digest::of(request.to_string().as_bytes());
        let store = store.clone();
        async move { store.create_run(&new).await.unwrap() }
    });
    let created = join_all(requests).await;
    let new = created.iter().filter(|created| matches!(created, Created::New(_))).count();
    assert_eq!(new, 8, "{created:?}");
    assert_eq!(count(&database, "runs").await, 8);
    assert_eq!(count(&database, "events").await, 8);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_that_comes_while_a_run_finishes_is_not_left_behind() {
    let database = Database::new();
    let store = store(&database).await;
    put_clusters(store.as_ref()).await;
    for n in 0..u128::from(ROUNDS) {
        store.create_run(&new_run(n)).await.unwrap();
        let lease = store.claim(&EngineId("e".to_owned()), 1).await.unwrap().remove(0);
        let at = lease.until;
        let finish = async {
            store.commit(lease.run, lease.epoch, &only(finishing(at))).await.unwrap();
            while store.stamp(lease.run, lease.epoch, at).await.unwrap() > 0 {}
            store.commit(lease.run, lease.epoch, &only(finished(at))).await.unwrap();
        };
        let late = command(n, lease.run, at);
        let (put, ()) = tokio::join!(store.submit(&late), finish);
        assert_eq!(put.unwrap(), Put::Created);
        let kept = store.command(late.id).await.unwrap().unwrap();
        assert_eq!(kept.finish_ts, Some(at), "round {n}");
    }
    assert!(store.check().await.unwrap().is_fine());
    assert!(store.run(run_id(0)).await.unwrap().is_some());
}

/// An engine that stops right before it ends the transaction of a commit, as if it had been killed there,
/// until the test tells it to go on.
struct Stopped {
    going_on: mpsc::Sender<()>,
    thread: std::thread::JoinHandle<Result<(), StoreError>>,
}

impl Stopped {
    /// Claims the only free run, then commits and stops.
    fn within_a_commit(address: String, options: StoreOptions) -> Self {
        let (going_on, held) = mpsc::channel::<()>();
        let (stopping, stopped) = mpsc::channel();
        let held = Mutex::new(held);
        let mut mongo = MongoOptions::new(address);
        let transactions = AtomicU32::new(0);
        mongo.watch = Some(Arc::new(move |name: &str, _: &Document| {
            // The first transaction is the claim's.
            if name == "commitTransaction" && transactions.fetch_add(1, Ordering::SeqCst) == 1 {
                let _ = stopping.send(());
                let _ = held.lock().unwrap().recv();
            }
        }));
        let commit = async move {
            let store = MongoStore::open(&mongo, options, Arc::new(SystemClock)).await?;
            let lease = store.claim(&EngineId("dead".to_owned()), 1).await?.remove(0);
            store.commit(lease.run, lease.epoch, &one_of_each(lease.run)).await
        };
        let thread = std::thread::spawn(move || {
            tokio::runtime::Builder::new_multi_thread()
                .enable_all()
                .build()
                .unwrap()
                .block_on(commit)
        });
        stopped.recv().unwrap();
        Self { going_on, thread }
    }

    fn go_on(self) -> Result<(), StoreError> {
        drop(self.going_on);
        self.thread.join().unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_whose_engine_is_gone_holds_up_nobody() {
    let database = Database::new();
    let brief = StoreOptions { lease: Millis::from_secs(1), ..options() };
    let store = open(&database, brief).await.unwrap();
    put_clusters(&store).await;
    store.create_run(&new_run(1)).await.unwrap();
    let address = database.address();
    let stopped = tokio::task::spawn_blocking(move || Stopped::within_a_commit(address, brief));
    let stopped = stopped.await.unwrap();
    let start = Instant::now();
    let next = EngineId("next".to_owned());
    let lease = wait::until("the run to be another engine's", KEPT_OPEN, async || {
        store.claim(&next, 9).await.unwrap().pop()
    })
    .await;
    assert_eq!((lease.run, lease.epoch), (run_id(1), 2));
    println!("taken over after {} ms", start.elapsed().as_millis());
    let late = tokio::task::spawn_blocking(|| stopped.go_on()).await.unwrap();
    assert!(matches!(late, Err(StoreError::Fenced { .. })), "{late:?}");
    assert_eq!(store.events(lease.run, 1, 10).await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_that_holds_up_a_lease_is_ended_whoever_began_it() {
    let database = Database::new();
    let store = open(&database, options()).await.unwrap();
    put_clusters(&store).await;
    let new = new_run(1);
    store.create_run(&new).await.unwrap();
    let next = EngineId("next".to_owned());
    let lease = store.claim(&next, 9).await.unwrap().remove(0);
    // This store never held a lease: it stops while it submits a command.
    let raw = database.open().await;
    let other = open(&database, options()).await.unwrap();
    other.submit(&command(1, lease.run, lease.until)).await.unwrap();
    let mut session = raw.client().start_session().await.unwrap();
    let meta = raw.collection::<Document>("meta");
    let known = doc! { "$addToSet": { "sessions": session.id().get("id").unwrap() } };
    let written = doc! { "sessions_seen": { "$exists": true } };
    meta.update_many(written, known).await.unwrap();
    session.start_transaction().await.unwrap();
    let runs = raw.collection::<Document>("runs");
    let touch = doc! { "$inc": { "commands": 1_i64 } };
    runs.update_one(doc! {}, touch).session(&mut session).await.unwrap();
    let start = Instant::now();
    let renewed =
        wait::until("the lease to be renewed", KEPT_OPEN, async || store.renew(&next).await.ok())
            .await;
    println!("renewed after {} ms", start.elapsed().as_millis());
    assert_eq!(renewed.len(), 1);
    assert!(session.commit_transaction().await.is_err(), "it was ended");
}
