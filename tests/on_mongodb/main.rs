//! The whole of Replibook on MongoDB: runs while its server fails and loses answers, runs of many agents
//! whose engine dies, secured connections, servers that can't do enough, two servers with different files, and the command
//! line of `replibook store`.
//!
//! `REPLIBOOK_SEED` repeats the faults of an earlier test run.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod capabilities;
mod command_line;
mod fail_points;
mod many_agents;
mod scene;
mod secured;
mod two_servers;

use crate::mongodb;

/// The address of a new database, on the server that the tests of this program share.
fn database() -> String {
    let name = format!("replibook_test_{}", uuid::Uuid::new_v4().simple());
    mongodb::with_database(mongodb::shared(), &name)
}

/// The seed of everything random. It is printed so that it can be repeated.
fn seed() -> u64 {
    let seed = std::env::var("REPLIBOOK_SEED").ok().map(|text| text.parse().unwrap());
    let seed = seed.unwrap_or_else(rand::random::<u64>);
    println!("to run this again: REPLIBOOK_SEED={seed}");
    seed
}
