//! Errors of a store. They are the same for all back ends, so that callers can act on them without knowing the
//! back end.

use super::damage::Damage;
use replibook_core::run::{Digest, RunId};

/// Why a store did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The store does not answer at the moment, or can't be reached.
    #[error("failed to reach the store: {message}")]
    Unavailable {
        /// What failed, as human-readable text.
        message: String,
        /// The error of the back end, if there is one.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// The store can't be used until its settings or the store itself are changed. Only opening a store, or
    /// reading credentials for it, fails like this.
    #[error("failed to use the store: {message}")]
    Unfit {
        /// What was found, and what was expected.
        message: String,
        /// The error of the back end, if there is one.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// The engine has lost the run to another engine.
    #[error("failed to commit to run {run}: epoch {epoch} is no longer the run's lease")]
    Fenced {
        /// The run that was to be written to.
        run: RunId,
        /// The epoch under which it was to be written.
        epoch: u64,
    },
    /// The key exists already, with different content.
    #[error("{what} already exists with different content")]
    Conflict {
        /// What was put, for example `playbook restart version 1.4.0`.
        what: String,
    },
    /// The playbook rejects a busy cluster, and the cluster is busy.
    #[error("cluster {cluster:?} is held or queued for by run {run}")]
    ClusterBusy {
        /// Name of the busy cluster.
        cluster: String,
        /// The run that holds the cluster's lock or, if none does, the oldest run that is queued for it.
        run: RunId,
    },
    /// A digest that was to be pinned is not in the store.
    #[error("plugin {digest} is not in the store")]
    MissingPlugin {
        /// The missing digest; if there are several, the lowest.
        digest: Digest,
    },
    /// The cluster of the run that was to be created is not in the store.
    #[error("cluster {cluster:?} is not in the store")]
    MissingCluster {
        /// Name of the missing cluster.
        cluster: String,
    },
    /// The cluster can't be deleted because a run on it has not ended, or can't be given guards because several have not.
    #[error(
        "cluster {cluster:?} is in use: run {run} on it has not ended; wait for it, or cancel it"
    )]
    ClusterInUse {
        /// Name of the cluster.
        cluster: String,
        /// The oldest such run.
        run: RunId,
    },
    /// The plugin can't be deleted because something pins it.
    #[error("failed to delete plugin {digest}: it is pinned by {by}")]
    Pinned {
        /// Digest of the plugin.
        digest: Digest,
        /// What pins the plugin, as human-readable text.
        by: String,
    },
    /// The key after which a page was asked for is not valid.
    #[error("failed to go on after {found:?}: expected {expected}")]
    BadCursor {
        /// The key as it was given.
        found: String,
        /// What such a key looks like, as human-readable text.
        expected: &'static str,
    },
    /// A call would write more than one transaction may.
    #[error("failed to commit {found} {unit}: at most {limit} are allowed")]
    TooLarge {
        /// How many there are, as far as they were counted.
        found: usize,
        /// What is counted: `documents`, `bytes` or `signatures`.
        unit: &'static str,
        /// The most that are allowed.
        limit: usize,
    },
    /// A document in the store can't be read.
    #[error(transparent)]
    Damaged(#[from] Damage),
    /// The database itself is damaged: pages of its file can't be read, or the file is not a database at all.
    #[error("failed to {doing}: the database is damaged")]
    Broken {
        /// What was being done.
        doing: String,
        /// The error that showed it.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The store can't hold this document.
    #[error("failed to read or write {what} in the store")]
    Corrupt {
        /// Which document.
        what: String,
        /// Why it can't be held.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The store was made by a newer version of the program.
    #[error("the store has schema version {found}; this version knows at most {known}")]
    NewerSchema {
        /// The version of the schema that was found.
        found: u32,
        /// The newest version that this program knows.
        known: u32,
    },
}

impl StoreError {
    /// The request's idempotency key or identifier belongs to another request, which created `run`.
    pub(super) fn of_another_request(run: RunId) -> Self {
        Self::Conflict { what: format!("the request that made run {run}") }
    }

    /// The kind of the error as one word, for monitoring.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Unavailable { .. } => "unavailable",
            Self::Unfit { .. } => "unfit",
            Self::Fenced { .. } => "fenced",
            Self::Conflict { .. } => "conflict",
            Self::ClusterBusy { .. } => "cluster-busy",
            Self::MissingPlugin { .. } => "missing-plugin",
            Self::MissingCluster { .. } => "missing-cluster",
            Self::ClusterInUse { .. } => "cluster-in-use",
            Self::Pinned { .. } => "pinned",
            Self::BadCursor { .. } => "bad-cursor",
            Self::TooLarge { .. } => "too-large",
            Self::Damaged(_) => "damaged",
            Self::Broken { .. } => "broken",
            Self::Corrupt { .. } => "corrupt",
            Self::NewerSchema { .. } => "newer-schema",
        }
    }

    /// Whether the same call may succeed later.
    pub const fn retryable(&self) -> bool {
        match self {
            Self::Unavailable { .. } => true,
            Self::Unfit { .. }
            | Self::Fenced { .. }
            | Self::Conflict { .. }
            | Self::ClusterBusy { .. }
            | Self::MissingPlugin { .. }
            | Self::MissingCluster { .. }
            | Self::ClusterInUse { .. }
            | Self::Pinned { .. }
            | Self::BadCursor { .. }
            | Self::TooLarge { .. }
            | Self::Damaged(_)
            | Self::Broken { .. }
            | Self::Corrupt { .. }
            | Self::NewerSchema { .. } => false,
        }
    }
}
