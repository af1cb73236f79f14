//! The primary store: one trait that promises behaviour, and its back ends.

mod contract;
mod documents;
mod error;

pub use contract::{Lease, MAX_COMMIT_BYTES, MAX_COMMIT_DOCUMENTS, MAX_PAGE, Result, Store};
pub use documents::{
    Cluster, Created, LogCursor, NewRun, Page, Plugin, Put, RunFilter, StoredPlaybook,
};
pub use error::StoreError;
