//! The embedded back end: one SQLite file in a data directory, used by one engine.
//!
//! Writes go through one thread (`writer.rs`), which puts what is waiting into one transaction, so
//! that many commits share one write to the disk; within it each has a savepoint of its own, so
//! that one that is refused leaves the others alone. Reads go to a few connections beside it
//! (`readers.rs`). Documents are kept as JSON, with what they are found by in columns beside it
//! (`schema_1.sql`). The data directory is locked (`directory.rs`), so an earlier engine's leases
//! are void once it is open.

mod broken;
mod calls;
mod check;
mod check_pins;
mod commands;
mod commit;
mod create;
mod directory;
mod engines;
mod failure;
mod finishing;
mod history;
mod leases;
mod left_log;
mod locks;
mod log_bounds;
mod objects;
mod open;
mod plugins;
#[cfg(unix)]
mod private;
mod readers;
mod rows;
mod run_lists;
mod runs;
mod salvage;
mod salvage_objects;
mod schema;
mod settings;
mod starting;
mod store;
mod troubled;
mod writer;
#[cfg(test)]
mod writer_tests;

pub use directory::{DATABASE_FILE, LOCK_FILE};
pub use store::SqliteStore;
