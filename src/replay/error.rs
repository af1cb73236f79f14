//! Why a run can't be recorded, read or replayed: one error for all of it, which names the file or the member
//! where something was wrong.

use std::io;
use std::path::PathBuf;

use crate::plugin::PluginError;

/// Why a recording could not be written, read or played.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// A file could not be read or written.
    #[error("failed to {what} {path}")]
    File {
        /// What was tried: `read`, `write` or `make`.
        what: &'static str,
        /// Path of the file.
        path: PathBuf,
        /// The error of the system.
        #[source]
        source: io::Error,
    },
    /// The file is not an export of a run.
    #[error("{path} is no export of a run: {message}")]
    NotAnExport {
        /// Path of the file.
        path: PathBuf,
        /// What was found and what was expected.
        message: String,
    },
    /// The archive exceeds a limit.
    #[error("{path} is too large: {message}")]
    TooLarge {
        /// Path of the file.
        path: PathBuf,
        /// What was found and what was expected.
        message: String,
    },
    /// A member of the recording can't be read.
    #[error("{member}{}: {message}", line.map(|line| format!(" line {line}")).unwrap_or_default())]
    Malformed {
        /// Name of the member.
        member: String,
        /// The line in the member, from 1; `None` if the error is not about one line.
        line: Option<u64>,
        /// What was found and what was expected.
        message: String,
    },
    /// Something that was asked for is not in the recording.
    #[error("{0}")]
    NotFound(String),
    /// The other strategy could not be loaded.
    #[error("failed to use the strategy: {0}")]
    Plugin(#[source] PluginError),
}

impl ReplayError {
    pub(super) fn file(what: &'static str, path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self::File { what, path: path.into(), source }
    }

    /// A member of the recording can't be read, for a reason that is not about one line.
    pub fn malformed(member: impl ToString, message: impl ToString) -> Self {
        let (member, message) = (member.to_string(), message.to_string());
        Self::Malformed { member, line: None, message }
    }
}
