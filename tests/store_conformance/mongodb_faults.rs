//! Commits while the server closes connections, refuses writes and loses answers: nothing is lost, and
//! nothing is written twice.
//!
//! `REPLIBOOK_SEED` repeats the faults of an earlier test run.

use std::sync::Arc;
use std::time::Duration;

use mongodb::Client;
use mongodb::bson::{Document, doc};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};
use replibook_core::run::{AgentState, EngineId, Millis, RunStatus, Writes};
use replibook_store::{MongoStore, Store, StoreOptions};

use crate::backends::options;
use crate::mongodb::open;
use crate::samples::{event, new_run, one_of_each, progress, put_clusters, record};
use crate::server::{Database, TestServer};
use crate::wait;

/// Runs that go at once, and commits to each of them.
const RUNS: u128 = 4;
const COMMITS: u32 = 25;

/// How long it may take on a busy machine until a lease of one second has run out and was taken over.
const TAKE_OVER: Duration = Duration::from_secs(40);

/// Far more attempts than the faults of one test last for.
const TRIES: u32 = 200;

/// A fault for the next few commands, in the form of `configureFailPoint`.
fn fault(random: &mut StdRng) -> Document {
    let (closed, conflict, not_primary) = (
        doc! { "closeConnection": true },
        doc! { "errorCode": 112, "errorLabels": ["TransientTransactionError"] },
        doc! { "errorCode": 10_107 },
    );
    let unknown = doc! { "errorCode": 91, "errorLabels": ["UnknownTransactionCommitResult"] };
    // Writes and commits that never arrive, or commits whose answer says that their outcome is unknown.
    let mut data = [closed, conflict, not_primary].choose(random).unwrap().clone();
    let commands = *[&["bulkWrite", "update"][..], &["commitTransaction"], &["find", "update"]]
        .choose(random)
        .unwrap();
    if commands == ["commitTransaction"] && random.random() {
        data = unknown;
    }
    data.insert("failCommands", commands.to_vec());
    let times: i32 = random.random_range(1..=3);
    doc! { "configureFailPoint": "failCommand", "mode": { "times": times }, "data": data }
}

async fn commit_until_it_is_made(store: &MongoStore, run: replibook_core::run::RunId, seq: u32) {
    let mut writes = Writes {
        progress: Some(progress(RunStatus::Running, crate::backends::START)),
        records: vec![record(run, seq % 3, AgentState::Running)],
        events: vec![event(run, u64::from(seq) + 2)],
        ..Writes::default()
    };
    writes.records[0].attempts = vec![seq];
    for _ in 0..TRIES {
        // The lease may have run out meanwhile; no other engine takes it.
        match store.commit(run, 1, &writes).await {
            Ok(()) => return,
            Err(error) => assert!(error.retryable(), "{error}"),
        }
    }
    panic!("commit {seq} was never made");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_and_nothing_is_there_twice_whatever_fails() {
    let seed = std::env::var("REPLIBOOK_SEED").ok().map(|seed| seed.parse().unwrap());
    let seed = seed.unwrap_or_else(rand::random::<u64>);
    eprintln!("to run this again: REPLIBOOK_SEED={seed}");
    // Fail points apply to the whole server, so this test has a server of its own.
    let server = TestServer::start(&["--enable-test-commands"]);
    let admin = Client::with_uri_str(server.address()).await.unwrap().database("admin");
    // A real server reports at once that it is the primary again; after a fail point the client only notices
    // it at the next heartbeat.
    let database = Database::on(&format!("{}&heartbeatFrequencyMS=500", server.address()));
    let store = Arc::new(open(&database, options()).await.unwrap());
    put_clusters(store.as_ref()).await;
    for n in 0..RUNS {
        store.create_run(&new_run(n)).await.unwrap();
    }
    let leases = store.claim(&EngineId("e".to_owned()), 100).await.unwrap();

    let commits = leases.iter().map(|lease| {
        let (store, run) = (store.clone(), lease.run);
        tokio::spawn(async move {
            for seq in 0..COMMITS {
                commit_until_it_is_made(&store, run, seq).await;
            }
        })
    });
    let mut commits = futures::future::join_all(commits.collect::<Vec<_>>());
    let mut random = StdRng::seed_from_u64(seed);
    let mut faults = 0_u32;
    let results = loop {
        let pause = Duration::from_millis(random.random_range(1..40));
        match tokio::time::timeout(pause, &mut commits).await {
            Ok(results) => break results,
            // The fail point may close the very connection that sets the next one.
            Err(_) => faults += u32::from(admin.run_command(fault(&mut random)).await.is_ok()),
        }
    };
    results.into_iter().for_each(|result| result.unwrap());
    let off = doc! { "configureFailPoint": "failCommand", "mode": "off" };
    let _ = admin.run_command(off).await;
    assert!(faults > 0, "no fault was set");

    for lease in &leases {
        let events = store.events(lease.run, 0, 1_000).await.unwrap();
        let found: Vec<_> = events.iter().map(|event| event.seq).collect();
        assert_eq!(found, (1..=u64::from(COMMITS) + 1).collect::<Vec<_>>());
        let records = store.records(lease.run, None, None, 1_000).await.unwrap();
        let last: Vec<_> = records.iter().map(|record| record.attempts[0]).collect();
        let expected = |n: u32| (0..COMMITS).rfind(|seq| seq % 3 == n).unwrap();
        assert_eq!(last, [expected(0), expected(1), expected(2)]);
    }
    let raw = database.open().await;
    for (collection, expected) in
        [("events", u64::from(COMMITS + 1)), ("agent_records", 3), ("runs", 1)]
    {
        let documents = raw.collection::<Document>(collection).count_documents(doc! {}).await;
        assert_eq!(documents.unwrap(), expected * u64::try_from(RUNS).unwrap(), "{collection}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_is_taken_over_also_where_the_server_refuses_to_end_sessions() {
    const UNAUTHORIZED: i32 = 13;
    let server = TestServer::start(&["--enable-test-commands"]);
    let admin = Client::with_uri_str(server.address()).await.unwrap().database("admin");
    let database = Database::on(server.address());
    let brief = StoreOptions { lease: Millis::from_secs(1), ..options() };
    let first = open(&database, brief).await.unwrap();
    put_clusters(&first).await;
    first.create_run(&new_run(1)).await.unwrap();
    let held = first.claim(&EngineId("first".to_owned()), 1).await.unwrap().remove(0);
    // From here on its session is known.
    first.commit(held.run, held.epoch, &one_of_each(held.run)).await.unwrap();
    // Some services that speak the protocol refuse this command.
    let data = doc! { "failCommands": ["killSessions"], "errorCode": UNAUTHORIZED };
    let refuse = doc! { "configureFailPoint": "failCommand", "mode": "alwaysOn", "data": data };
    admin.run_command(refuse).await.unwrap();
    assert!(admin.run_command(doc! { "killSessions": [] }).await.is_err(), "it is refused");

    let second = open(&database, brief).await.unwrap();
    let engine = EngineId("second".to_owned());
    let taken = wait::until("the run to be taken over", TAKE_OVER, async || {
        second.claim(&engine, 1).await.unwrap().pop()
    })
    .await;
    assert_eq!((taken.run, taken.epoch), (held.run, held.epoch + 1));
}
