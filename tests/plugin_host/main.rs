//! The plugin host with real components: what they may do, and what happens when they do not.
//! `compiling.rs` needs the program that compiles, and is one of `tests/programs.rs`.

// What tests share may give up as tests do.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::wildcard_enum_match_arm)]

mod activations;
#[allow(dead_code, reason = "compiling.rs uses the rest")]
mod bytes;
mod canary;
#[path = "../conformance/main.rs"]
mod conformance;
mod examples;
mod fixtures;
mod grouped;
mod hostile;
mod imports;
mod limits;
#[path = "../support/plugins.rs"]
mod plugins;
mod stage;
mod strategies;
