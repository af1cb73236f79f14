//! Errors of a store.

use super::damage::Damage;
use replibook_core::run::{Digest, RunId};

/// Why a store did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The store does not answer, or not now.
    #[error("failed to reach the store: {message}")]
    Unavailable {
        /// What happened.
        message: String,
        /// Its cause, where there is one.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// The store can't be used before its settings, or the store itself, are changed; said when it is
    /// opened.
    #[error("failed to use the store: {message}")]
    Unfit {
        /// What was found, and what was expected.
        message: String,
        /// Its cause, where there is one.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// The engine has lost the run to another.
    #[error("failed to commit to run {run}: epoch {epoch} is no longer the run's lease")]
    Fenced {
        /// The run.
        run: RunId,
        /// The epoch of the commit.
        epoch: u64,
    },
    /// The key exists with different content.
    #[error("{what} already exists with different content")]
    Conflict {
        /// What was put, for example `playbook restart version 1.4.0`.
        what: String,
    },
    /// The playbook rejects a busy cluster, and it is.
    #[error("cluster {cluster:?} is held or queued for by run {run}")]
    ClusterBusy {
        /// The cluster.
        cluster: String,
        /// The run that holds its lock, or else the oldest one that is queued for it.
        run: RunId,
    },
    /// A digest that is to be pinned is not in the store.
    #[error("plugin {digest} is not in the store")]
    MissingPlugin {
        /// The digest.
        digest: Digest,
    },
    /// The cluster of the run to create is not in the store.
    #[error("cluster {cluster:?} is not in the store")]
    MissingCluster {
        /// The cluster.
        cluster: String,
    },
    /// The cluster is in use.
    #[error(
        "failed to delete cluster {cluster:?}: run {run} on it has not ended; wait for it, or cancel it"
    )]
    ClusterInUse {
        /// The cluster.
        cluster: String,
        /// The oldest such run.
        run: RunId,
    },
    /// The plugin is in use.
    #[error("failed to delete plugin {digest}: it is pinned by {by}")]
    Pinned {
        /// The plugin.
        digest: Digest,
        /// What pins it, for people.
        by: String,
    },
    /// The key after which a page was asked for is none.
    #[error("failed to go on after {found:?}: expected {expected}")]
    BadCursor {
        /// What was given.
        found: String,
        /// What such a key looks like.
        expected: &'static str,
    },
    /// The commit is larger than a commit may be.
    #[error("failed to commit {found} {unit}: at most {limit} are allowed")]
    TooLarge {
        /// How many, as far as was counted.
        found: usize,
        /// Of what: `documents` or `bytes`.
        unit: &'static str,
        /// How many at most.
        limit: usize,
    },
    /// A document in the store can't be read.
    #[error(transparent)]
    Damaged(#[from] Damage),
    /// The database itself is damaged: pages of its file can't be read, or it is none at all.
    #[error("failed to {doing}: the database is damaged")]
    Broken {
        /// What was being done.
        doing: String,
        /// How that was noticed.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The store can't hold such a document.
    #[error("failed to read or write {what} in the store")]
    Corrupt {
        /// Which.
        what: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The store was made by a newer version.
    #[error("the store has schema version {found}; this version knows at most {known}")]
    NewerSchema {
        /// The version found.
        found: u32,
        /// The newest version known.
        known: u32,
    },
}

impl StoreError {
    /// The key of the request belongs to another request, which made `run`.
    pub(super) fn of_another_request(run: RunId) -> Self {
        Self::Conflict { what: format!("the request that made run {run}") }
    }

    /// The kind of the error, in a word for monitoring.
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

    /// Whether the same call may go well later.
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
