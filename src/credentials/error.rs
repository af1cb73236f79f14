//! Why credentials can't be used.

use std::io;
use std::path::Path;

/// Why credentials can't be used. No message has anything of what is secret.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// A file or folder can't be read.
    #[error("failed to read {path}: {source}")]
    File {
        /// Its path.
        path: String,
        /// The error of the system.
        source: io::Error,
    },
    /// A file holds something else than expected.
    #[error("failed to use {path}: {message}")]
    Bad {
        /// Its path.
        path: String,
        /// What was found and what was expected.
        message: String,
    },
}

impl CredentialsError {
    /// A file that can't be read.
    pub(crate) fn file(path: &Path, source: io::Error) -> Self {
        Self::File { path: path.display().to_string(), source }
    }

    /// A file that holds something else than expected.
    pub(crate) fn bad(path: &Path, message: impl Into<String>) -> Self {
        Self::Bad { path: path.display().to_string(), message: message.into() }
    }
}
