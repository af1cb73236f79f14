//! The plugin host with real components: what they may do, and what happens when they do not.

// What tests share may give up as tests do.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::wildcard_enum_match_arm)]

mod activations;
mod bytes;
mod canary;
mod compiling;
mod examples;
#[allow(dead_code, reason = "the conformance suite uses them too")]
mod fixtures;
mod grouped;
mod hostile;
mod imports;
mod limits;
#[path = "../support/plugins.rs"]
mod plugins;
mod stage;
mod strategies;
