//! What happens to real processes in the middle of a run: servers and agents are killed again and again; the
//! store goes away, comes late, is full or read-only; clocks are off; and agents answer with as much as may
//! come in. The run goes on if it can, and says what it waits for if it can't. No agent does anything twice.
//!
//! `REPLIBOOK_SEED` repeats the moments of an earlier test run.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod agents;
mod agents_die;
mod clock_back;
mod clock_off;
mod damaged;
mod descriptors;
mod earlier;
mod full;
mod gone;
mod idle;
mod large_payloads;
mod moments;
mod notify;
mod outage;
mod pages;
mod read_only;
pub(crate) mod server;
mod stages;
mod stopping;
mod store_comes_late;
mod unpinned;
mod waiting;

use std::path::Path;

use replibook::cli::demo::{Fleet, plan};
use replibook::run::{AgentState, RunStatus};

use crate::{mongodb, wait};
use moments::{moments, twenty};
use server::{Client, LIMIT, Server, assert_done_once, assert_loaded, start_run};
use stages::Scene;

/// How many agents the run has.
const AGENTS: u16 = 12;

/// The seed in the environment, or a new one.
fn seed() -> u64 {
    let seed = std::env::var("REPLIBOOK_SEED").ok().map(|text| text.parse().unwrap());
    seed.unwrap_or_else(rand::random::<u64>)
}

/// The address of a new database, on the server that the tests of this program share.
fn database() -> String {
    let name = format!("replibook_test_{}", uuid::Uuid::new_v4().simple());
    mongodb::with_database(mongodb::shared(), &name)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_twenty_times_finishes_three_stages_and_does_nothing_twice() {
    let seed = seed();
    let moments = twenty(seed);
    println!("REPLIBOOK_SEED={seed}: {moments:?}");
    let begun = std::time::Instant::now();
    let scene = Scene::new(usize::from(AGENTS)).await;
    let mut server = Server::start(scene.path(), None, Some(&moments[0])).await;
    let run = stages::start_run(&scene.client, &server, &scene.agents, str::to_owned).await;
    for (index, moment) in moments.iter().enumerate() {
        let remains = server.die(moment, &scene.client, &run).await;
        println!("{:?}: died {} times; the last was {moment:?}", begun.elapsed(), index + 1);
        server = Server::again(remains, moments.get(index + 1)).await;
    }
    scene.end_well(server, &run).await;
}

/// Each server has to wait until the lease of its predecessor has run out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_on_mongodb_that_is_killed_ten_times_finishes_the_run_and_does_nothing_twice() {
    let store = Some(database());
    let seed = seed();
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
