//! What the engine needs of a platform, whatever carries it there.

use async_trait::async_trait;

use crate::run::PlatformNode;

/// Why a platform gave no answer that can be read.
#[derive(Debug, thiserror::Error)]
pub enum PlatformError {
    /// No client could be made.
    #[error("failed to make a client for platforms: {message}")]
    Client {
        /// What happened.
        message: String,
    },
    /// This process or its system has too little of something to make a connection: nothing was sent, and this says
    /// nothing about the platform.
    #[error("{message}, so nothing was sent to {url}")]
    Short {
        /// Base URL of the platform.
        url: String,
        /// What there is too little of.
        message: String,
    },
    /// There was no connection, or no whole answer in time.
    #[error("failed to get an answer from {url}: {message}")]
    NoAnswer {
        /// Base URL of the platform.
        url: String,
        /// What happened.
        message: String,
    },
    /// It answered with another status than 200.
    #[error("{url} answered {status}: {message}")]
    Status {
        /// Base URL of the platform.
        url: String,
        /// HTTP status.
        status: u16,
        /// The beginning of the body.
        message: String,
    },
    /// The answer is larger than what is read.
    #[error("{url} answered with more than {limit} {unit}")]
    TooLarge {
        /// Base URL of the platform.
        url: String,
        /// How many are read.
        limit: usize,
        /// Of what.
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
    /// Whether the same question may go well later. A platform is mended while runs wait for it, so
    /// all do but one that can't even be asked.
    pub const fn retryable(&self) -> bool {
        match self {
            Self::Short { .. }
            | Self::NoAnswer { .. }
            | Self::Status { .. }
            | Self::TooLarge { .. }
            | Self::Malformed { .. } => true,
            Self::Client { .. } => false,
        }
    }
}

/// Speaks to platforms. One client serves all of them; a platform is named by its base URL.
#[async_trait]
pub trait Platform: Send + Sync + 'static {
    /// The nodes of `cluster`, unchecked and in no order; none when the platform does not know such a
    /// cluster. Never repeated by the client itself.
    async fn discover(
        &self,
        url: &str,
        cluster: &str,
    ) -> Result<Option<Vec<PlatformNode>>, PlatformError>;
}
