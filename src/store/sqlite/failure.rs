//! What SQLite says went wrong, in the words of the store.

use rusqlite::ErrorCode;

use crate::store::error::StoreError;

/// The error for a call that SQLite refused while `doing` something.
pub(super) fn failed(doing: &str, error: rusqlite::Error) -> StoreError {
    let message = match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            return StoreError::Corrupt {
                what: "the database file".to_owned(),
                source: Box::new(error),
            };
        }
        Some(ErrorCode::DiskFull) => format!("failed to {doing}: the disk is full"),
        Some(ErrorCode::ReadOnly) => format!("failed to {doing}: the database is read-only"),
        Some(ErrorCode::CannotOpen) => format!("failed to {doing}: the database can't be opened"),
        Some(_) | None => format!("failed to {doing}"),
    };
    StoreError::Unavailable { message, source: Some(Box::new(error)) }
}

/// The error of something that is out of order for now and has no cause in SQLite.
pub(super) fn unavailable(message: impl Into<String>) -> StoreError {
    StoreError::Unavailable { message: message.into(), source: None }
}

/// The error of a document that can't be read, or, on its way in, written.
pub(super) fn corrupt(what: &str, error: serde_json::Error) -> StoreError {
    StoreError::Corrupt { what: what.to_owned(), source: Box::new(error) }
}

/// An error with its causes in one line, as the message of a [`StoreError::Unavailable`].
pub(super) fn reason(error: &StoreError) -> String {
    let mut line = match error {
        StoreError::Unavailable { message, .. } | StoreError::Unfit { message, .. } => {
            message.clone()
        }
        StoreError::Fenced { .. }
        | StoreError::Conflict { .. }
        | StoreError::ClusterBusy { .. }
        | StoreError::MissingPlugin { .. }
        | StoreError::Pinned { .. }
        | StoreError::BadCursor { .. }
        | StoreError::TooLarge { .. }
        | StoreError::Corrupt { .. }
        | StoreError::NewerSchema { .. } => error.to_string(),
    };
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        line.push_str(": ");
        line.push_str(&cause.to_string());
        source = cause.source();
    }
    line
}
