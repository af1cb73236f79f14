//! The embedded back end: one SQLite file in a data directory, used by one engine.
//!
//! One thread does all writes (`writer.rs`). It puts everything that is waiting into one transaction, so that many
//! commits share one write to the disk; if one of them fails half way, all are made again with a savepoint for
//! each. Reads use a few separate connections (`readers.rs`). Documents are stored as JSON, with columns for what
//! they are found by (`schema_1.sql` and the later ones). The data directory is locked (`directory.rs`), so once
//! it is open, the leases of earlier engines are void.
//!
//! Plugins that nothing pins are removed in parts (`upkeep.rs`).
//!
//! What can be read of a damaged database is still read: `broken.rs` remembers the damage, `check.rs` finds all of
//! it, and `salvage.rs` and `salvage_objects.rs` find in indexes what the tables have lost.

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
mod upkeep;
mod writer;
#[cfg(test)]
mod writer_tests;

pub use directory::{DATABASE_FILE, LOCK_FILE};
pub use store::SqliteStore;
