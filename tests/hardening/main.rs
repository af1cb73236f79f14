//! What keeps strangers out around the programs: the rights of their files, and the examples of how to run them.

// Clippy's configuration allows these in test functions only, not in their helpers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod examples;
mod files;
mod scene;
mod syscalls;
