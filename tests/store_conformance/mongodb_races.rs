//! What must not race on MongoDB, where a transaction that only reads does not meet one that writes.

use std::sync::Arc;

use futures::future::join_all;
use mongodb::bson::{Document, doc};
use replibook::run::EngineId;
use replibook::store::{Created, MongoStore, Put, Store, StoreError};

use crate::backends::options;
use crate::mongodb::open;
use crate::samples::{
    asking_for, command, finished, finishing, new_run, only, playbook, plugin, run, run_id,
};
use crate::server::Database;

/// Rounds of each race: two calls that are made at once mostly meet within a few.
const ROUNDS: u8 = 12;

async fn store(database: &Database) -> Arc<MongoStore> {
    Arc::new(open(database, options()).await.unwrap())
}

/// Number of documents in a collection.
async fn count(database: &Database, collection: &str) -> u64 {
    let raw = database.open().await;
    raw.collection::<Document>(collection).count_documents(doc! {}).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plugin_is_never_removed_from_under_a_run_or_a_playbook() {
    let database = Database::new();
    let store = store(&database).await;
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
    let (plugin, bytes) = plugin(1);
    store.put_plugin(&plugin, bytes).await.unwrap();
    let sample = playbook("restart", "1.0.0", &[&plugin]);
    let requests = (0..16_u128).map(|n| {
        let mut new = asking_for(run(n, &sample));
        // Two ask for the same, under identifiers of their own.
        let request = n / 2;
        new.idempotency_key = Some(format!("key-{request}"));
        new.request = replibook::run::Digest::of(request.to_string().as_bytes());
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
