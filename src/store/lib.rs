//! The primary store: one trait that promises behaviour, and the back ends that keep the promise.
//!
//! [`Store`] is the promise, [`memory`] its reference model, [`sqlite`] the embedded back end for one engine, and
//! [`mongodb`] the one that several engines can share. `tests/store_conformance/` holds every back end to the same
//! list of cases.

mod bounds;
mod came;
mod checked;
mod contract;
mod damage;
mod documents;
mod engines;
mod error;
mod finish;
mod heard;
mod keys;
pub mod memory;
pub mod mongodb;
mod options;
mod retention;
mod size;
pub mod sqlite;
mod time;
mod troubled;
mod upkeep;

pub use self::mongodb::MongoStore;
pub use came::{Came, UPLOADED};
pub use checked::{Checked, Flaw, MAX_FLAWS};
pub use contract::{
    Lease, MAX_COMMIT_BYTES, MAX_COMMIT_DOCUMENTS, MAX_PAGE, MAX_PUT, MAX_QUEUED,
    MAX_SWEPT_PLUGINS, Result, Store,
};
pub use damage::{Damage, DamagedRun, Found, Glance, KeptRun, MAX_WHY, RunPage};
pub use documents::{
    Abandon, Abandonment, Claim, Cluster, Created, Ending, Failed, Head, Holder, Locked, LogCursor,
    MAX_PROVENANCE, NewRun, Object, Page, Plugin, PluginSignature, Put, Queue, RunFilter,
    StoredPlaybook, SweptPlugins,
};
pub use engines::{
    ACCESS_FILE, CREDENTIALS_FOLDER, Draining, ENGINE_KEPT, Engine, EngineReport, POLICY_FILE,
    SECRETS_FOLDER,
};
pub use error::StoreError;
pub use heard::{CallsHeard, GIVEN_UP, HeardStore};
pub use memory::MemoryStore;
pub use options::{DEFAULT_LEASE, DEFAULT_RETENTION, RENEWAL, StoreOptions};
pub use retention::Keeping;
pub use size::commit_bytes;
pub use sqlite::SqliteStore;
pub use time::{Skew, StoreClock};
pub use upkeep::{DEFAULT_PLUGIN_RETENTION, MIN_PLUGIN_RETENTION, PLUGIN_SWEEP};
