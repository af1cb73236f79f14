//! Runs that are replayed: in virtual time with scripted agents, and with the real programs.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::wildcard_enum_match_arm)]

mod archives;
mod earlier;
mod fetched;
mod large;
mod late;
mod members;
mod playing;
mod programs;
mod recorded;
