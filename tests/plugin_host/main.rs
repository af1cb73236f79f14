//! The plugin host with real components: what they may do, and what happens when they do more. `compiling.rs`
//! needs the program that compiles, so it belongs to `tests/programs.rs`.

// Helpers of tests may panic, as tests do.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::wildcard_enum_match_arm)]

mod activations;
#[allow(dead_code, reason = "compiling.rs uses the rest")]
mod bytes;
mod canary;
#[path = "../conformance/main.rs"]
mod conformance;
mod drafts;
mod examples;
mod fixtures;
mod grouped;
mod hostile;
mod imports;
mod limits;
mod outside;
#[path = "../support/plugins.rs"]
mod plugins;
mod stage;
mod strategies;
mod toolchains;
mod wasi_http;
