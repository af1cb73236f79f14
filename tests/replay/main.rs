//! Runs that are played again: in virtual time with scripted agents, and with the real programs.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::wildcard_enum_match_arm)]

mod archives;
mod earlier;
#[allow(dead_code, reason = "each test binary uses a part of it")]
#[path = "../support/engine.rs"]
mod engine;
#[path = "../support/examples.rs"]
mod examples;
#[path = "../support/exports.rs"]
mod exports;
mod fetched;
mod large;
mod late;
mod members;
mod playing;
mod programs;
mod recorded;
#[allow(dead_code, reason = "each test binary uses a part of it")]
#[path = "../driver/scene.rs"]
mod scene;
#[path = "../support/wait.rs"]
mod wait;
