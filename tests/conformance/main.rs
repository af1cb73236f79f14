//! One step and one strategy in four languages: whatever they are given, all of them make the same calls,
//! write the same lines, and end in the same way. So the WIT package means the same in all of them.

// Helpers of tests may panic, as tests do.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::wildcard_enum_match_arm)]

mod health;
mod languages;
mod notify;
mod step;
mod strategy;
