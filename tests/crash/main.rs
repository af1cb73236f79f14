//! A server that is killed again and again in the middle of a run, and a store that goes away: the run
//! finishes, and no agent did anything twice.
//!
//! `REPLIBOOK_SEED` repeats the moments of an earlier run of these tests.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

#[path = "../support/examples.rs"]
mod examples;
mod moments;
#[allow(dead_code, reason = "each test binary uses a part of it")]
#[path = "../support/mongodb.rs"]
mod mongodb;
mod outage;
mod server;
#[path = "../support/wait.rs"]
mod wait;

use std::path::Path;

use replibook::cli::demo::{Fleet, plan};
use replibook::run::{AgentState, RunStatus};

use moments::moments;
use server::{Client, LIMIT, Server, assert_done_once, assert_loaded, start_run};

/// Agents of the run.
const AGENTS: u16 = 12;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_ten_times_finishes_the_run_and_does_nothing_twice() {
    killed_ten_times(None).await;
}

/// Each server has to wait until the lease of the one before has run out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_on_mongodb() {
    let database = format!("replibook_test_{}", uuid::Uuid::new_v4().simple());
    killed_ten_times(Some(mongodb::with_database(mongodb::shared(), &database))).await;
}

async fn killed_ten_times(store: Option<String>) {
    let seed = std::env::var("REPLIBOOK_SEED").ok().map(|text| text.parse().unwrap());
    let seed = seed.unwrap_or_else(rand::random::<u64>);
    let moments = moments(seed);
    println!("REPLIBOOK_SEED={seed}: {moments:?}");

    let dir = tempfile::tempdir().unwrap();
    let client = Client::new();
    let program = Path::new(env!("CARGO_BIN_EXE_replibook"));
    let fleet = Fleet::start(program, dir.path(), plan(AGENTS, 0).unwrap()).await.unwrap();
    let mut server = Server::start(dir.path(), store.as_deref(), Some(&moments[0])).await;
    let id = start_run(&client, &server, &fleet, dir.path()).await;

    for (index, moment) in moments.iter().enumerate() {
        let remains = server.die(moment, &client, &id).await;
        println!("died {} times; the last was {moment:?}", index + 1);
        server = Server::again(remains, moments.get(index + 1)).await;
    }
    let run = client.run(&server.address, &id).await;
    assert!(!run.status.is_final(), "the run ended before the last kill: not enough was tested");

    let run = wait::until("the run to end", LIMIT, async || {
        let run = client.run(&server.address, &id).await;
        run.status.is_final().then_some(run)
    })
    .await;
    assert_eq!(run.status, RunStatus::Done, "{run:?}");
    assert_eq!(run.counts.get(&AgentState::Done), Some(&u32::from(AGENTS)), "{run:?}");
    assert!(run.finish_ts.is_some());
    assert_done_once(&client, &fleet).await;
    assert_loaded(&client, &server).await;

    server.process.stop().await;
    fleet.stop().await;
}
