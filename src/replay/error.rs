//! Why a run can't be replayed.

use std::io;
use std::path::PathBuf;

use crate::plugin::PluginError;

/// Why a recording could not be written, read or played.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// A file could not be read or written.
    #[error("failed to {what} {path}")]
    File {
        /// What was tried, for example `read`.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file is no archive of a run.
    #[error("{path} is no export of a run: {message}")]
    NotAnExport {
        /// The file.
        path: PathBuf,
        /// What was found and what was expected.
        message: String,
    },
    /// The archive goes past a limit.
    #[error("{path} is too large: {message}")]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// What was found and what was expected.
        message: String,
    },
    /// A part of the recording can't be read.
    #[error("{member}{}: {message}", line.map(|line| format!(" line {line}")).unwrap_or_default())]
    Malformed {
        /// The member.
        member: String,
        /// The line in it, from 1.
        line: Option<u64>,
        /// What was found and what was expected.
        message: String,
    },
    /// What was asked for is not in the recording.
    #[error("{0}")]
    NotFound(String),
    /// A plugin could not be used.
    #[error("failed to use the strategy: {0}")]
    Plugin(#[source] PluginError),
}

impl ReplayError {
    pub(super) fn file(what: &'static str, path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self::File { what, path: path.into(), source }
    }

    /// A part of the recording that can't be read.
    pub fn malformed(member: impl ToString, message: impl ToString) -> Self {
        let (member, message) = (member.to_string(), message.to_string());
        Self::Malformed { member, line: None, message }
    }
}
