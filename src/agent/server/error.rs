//! Why the agent can't use its database.

use std::path::PathBuf;

use super::database::VERSION;

/// Why the actions could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// SQLite failed.
    #[error("failed to use the agent's database")]
    Sqlite(#[from] rusqlite::Error),
    /// Another agent has the database open.
    #[error("failed to open {}: another agent uses it", path.display())]
    InUse {
        /// Path of the database.
        path: PathBuf,
    },
    /// The database was made by a later version.
    #[error("failed to open {}: found version {found}, expected at most {VERSION}", path.display())]
    Version {
        /// Path of the database.
        path: PathBuf,
        /// The version of its tables.
        found: i64,
    },
    /// The file can't be used, or is not the agent's own.
    #[error("failed to use {}: {message}", path.display())]
    File {
        /// Path of the file.
        path: PathBuf,
        /// What is wrong with the file.
        message: String,
        /// The error of the system, if there is one.
        #[source]
        source: Option<std::io::Error>,
    },
    /// The agent is stopping, and has closed the database.
    #[error("failed to use the agent's database: it is closed, since the agent stops")]
    Closed,
    /// The thread that did the work panicked or was cancelled.
    #[error("failed to finish the work on the agent's database")]
    Thread(#[from] tokio::task::JoinError),
}
