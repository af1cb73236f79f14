//! What the engine needs from a platform, whatever the transport: one question, and errors that say whether to
//! ask it again.

use async_trait::async_trait;

use crate::credentials::NotUsed;
use crate::playbook::Discovery;
use crate::run::PlatformNode;

/// Why a platform gave no answer that can be used.
#[derive(Debug, thiserror::Error)]
pub enum PlatformError {
    /// No client could be made.
    #[error("failed to make a client for platforms: {message}")]
    Client {
        /// What happened, as human-readable text.
        message: String,
    },
    /// This process or its system lacks a resource that a connection needs. Nothing was sent, and this says
    /// nothing about the platform.
    #[error("{message}, so nothing was sent to {url}")]
    Short {
        /// Base URL of the platform.
        url: String,
        /// What is short, as human-readable text.
        message: String,
    },
    /// The credentials that the cluster names can't be used for the platform. Nothing was sent, and nothing was connected.
    #[error("nothing was sent to {url}: {why}")]
    Barred {
        /// Base URL of the platform.
        url: String,
        /// Why they can't be used.
        why: NotUsed,
    },
    /// There was no connection, or no complete answer in time.
    #[error("failed to get an answer from {url}: {message}")]
    NoAnswer {
        /// Base URL of the platform.
        url: String,
        /// What happened, as human-readable text.
        message: String,
    },
    /// The status of the answer was not 200.
    #[error("{url} answered {status}: {message}")]
    Status {
        /// Base URL of the platform.
        url: String,
        /// The status of the answer.
        status: u16,
        /// The beginning of the body, as text.
        message: String,
    },
    /// The answer is larger than may be read.
    #[error("{url} answered with more than {limit} {unit}")]
    TooLarge {
        /// Base URL of the platform.
        url: String,
        /// How many of `unit` are read at most.
        limit: usize,
        /// What is counted: bytes or nodes.
        unit: &'static str,
    },
    /// The answer does not have the expected shape.
    #[error("{url} answered something unexpected: {message}")]
    Malformed {
        /// Base URL of the platform.
        url: String,
        /// What was found and what was expected.
        message: String,
    },
}

impl PlatformError {
    /// Whether the same question may succeed later. Platforms are repaired while runs wait for them, so this
    /// holds for all errors except when there is no client to ask with.
    pub const fn retryable(&self) -> bool {
        match self {
            Self::Short { .. }
            | Self::Barred { .. }
            | Self::NoAnswer { .. }
            | Self::Status { .. }
            | Self::TooLarge { .. }
            | Self::Malformed { .. } => true,
            Self::Client { .. } => false,
        }
    }
}

/// Asks platforms. One client serves all of them; a platform is named by its base URL.
#[async_trait]
pub trait Platform: Send + Sync + 'static {
    /// The nodes of `cluster`, unchecked and in no order; `None` when the platform does not know such a
    /// cluster. The client itself never repeats the question because of a fault of the platform.
    async fn discover(
        &self,
        url: &str,
        cluster: &str,
    ) -> Result<Option<Vec<PlatformNode>>, PlatformError>;

    /// Like [`discover`](Self::discover), with the credentials that a cluster names for its platform.
    async fn discover_as(
        &self,
        from: &Discovery,
    ) -> Result<Option<Vec<PlatformNode>>, PlatformError> {
        self.discover(&from.url, &from.cluster).await
    }
}
