//! The primary back end: MongoDB, a replica set, since a commit is a transaction.
//!
//! Documents are typed and meant to be read in a shell: dates are dates, identifiers UUIDs, states
//! the words that are used everywhere (`codec/`, `bodies.rs`). What a run is made of is in a
//! collection of its own for each kind, and removed by the server itself some time after
//! `finish_ts` (`indexes.rs`).
//!
//! - Every write that depends on something is a transaction, tried again while the server says so
//!   (`transaction.rs`). Each writes to the document that it depends on, since transactions that only
//!   read it would not meet: a commit to its run (`commit.rs`), a pin to its plugin (`pins.rs`), a
//!   command to its run (`commands.rs`), who gets a cluster to its lock (`locks.rs`).
//!   What a transaction leaves open whose engine is gone is ended by others (`sessions.rs`, `pool.rs`).
//! - A run that somebody's transaction has is passed by when runs are claimed (`held_up.rs`).
//! - Leases are decided by the server's clock (`leases.rs`, `time.rs`).
//! - The bytes of plugins are in GridFS, which knows no transactions (`files.rs`).

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
mod store;
mod survey;
mod time;
mod tls;
mod transaction;
mod troubled;

pub use check::{Orphans, StoreReport};
pub use credentials::MongoCredentials;
pub use options::{MongoOptions, Watch};
pub use store::MongoStore;
pub use time::TimeSource;
