//! One step and one strategy in four languages: whatever they are asked with, all of them make the
//! same calls, write the same lines, and come to the same end.

// What tests share may give up as tests do.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::wildcard_enum_match_arm)]

mod health;
mod languages;
mod step;
mod strategy;
