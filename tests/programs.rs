//! The programs themselves: as a person types them, killed in the middle of a run, on MongoDB, and compiling what
//! strangers send.
//!
//! All of them are one binary, as those of `tests/inside.rs` are, since each that has all of Replibook is large and
//! takes long to link. So what a test does to its process, it does to all of these: its environment, its folder
//! and its limits are not changed here, but only given to those that a test starts.

// The configuration of clippy allows these inside test functions only, not in their helpers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]
// What is shared with the tests of the host has this.
#![allow(clippy::wildcard_enum_match_arm)]

mod cli;
#[path = "plugin_host/compiling.rs"]
mod compiling;
#[path = "crash/main.rs"]
mod crash;
mod demo;
#[path = "on_mongodb/main.rs"]
mod on_mongodb;

// What they share.
#[allow(dead_code, reason = "shared with the tests of the host, which use the rest")]
#[path = "plugin_host/bytes.rs"]
mod bytes;
#[path = "support/engine.rs"]
mod engine;
#[path = "support/examples.rs"]
mod examples;
#[path = "support/exports.rs"]
mod exports;
#[allow(dead_code, reason = "shared with the tests of the host, which use the rest")]
#[path = "plugin_host/fixtures.rs"]
mod fixtures;
#[path = "support/mongodb.rs"]
mod mongodb;
#[path = "support/noise.rs"]
mod noise;
#[path = "support/plugins.rs"]
mod plugins;
#[path = "support/proxy.rs"]
mod proxy;
#[path = "support/wait.rs"]
mod wait;
