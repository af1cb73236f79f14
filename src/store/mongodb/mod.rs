//! The primary back end: MongoDB. It needs a replica set, because a commit is a transaction.
//!
//! Documents are typed and meant to be read in a shell: dates are dates, identifiers are UUIDs, states are the
//! words that are used everywhere (`codec/`, `bodies.rs`). Each kind of document of a run has its own collection.
//! The server itself removes them some time after `finish_ts` (`indexes.rs`).
//!
//! - Every write that depends on something is a transaction, which is repeated while the server asks for that
//!   (`transaction.rs`). Each one writes to the document that it depends on, because transactions that only read
//!   it would not conflict: a commit writes to its run (`commit.rs`), a pin to its plugin (`pins.rs`), a command
//!   to its run (`commands.rs`), and whoever gets a cluster to its lock (`locks.rs`). If an engine disappears,
//!   others end the transactions that it left open (`sessions.rs`, `pool.rs`).
//! - A run that another transaction has just written to is passed over when runs are claimed (`held_up.rs`).
//! - The server's clock decides about leases (`leases.rs`, `time.rs`).
//! - The bytes of plugins are in GridFS, which does not take part in transactions (`files.rs`). Engines remove those that
//!   nothing pins, one engine at a time (`upkeep.rs`).

mod base;
mod batch;
mod bodies;
mod check;
mod codec;
mod commands;
mod commit;
mod connect;
mod credentials;
mod engines;
mod failure;
mod files;
mod finishing;
mod held_up;
mod history;
mod indexes;
mod leases;
mod locks;
mod objects;
mod options;
mod parking;
mod pins;
mod plugins;
mod pool;
mod probe;
mod retention;
mod rows;
mod runs;
mod schema;
mod sessions;
mod signing;
mod store;
mod survey;
mod time;
mod tls;
mod transaction;
mod troubled;
mod upkeep;

pub use check::{Orphans, StoreReport};
pub use credentials::MongoCredentials;
pub use options::{MongoOptions, Watch};
pub use store::MongoStore;
pub use time::TimeSource;
