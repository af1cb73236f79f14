//! Translates the errors of SQLite into those of the store.

use rusqlite::{ErrorCode, ffi};

use crate::damage::Damage;
use crate::error::StoreError;

/// The error for a call that SQLite refused while `doing` something. A value of another type than the one that was
/// written is not a failure of SQLite but damage, and trying again does not help.
pub(super) fn failed(doing: &str, error: rusqlite::Error) -> StoreError {
    if is_damage(&error) {
        let what = ["read ", "write "].iter().find_map(|verb| doing.strip_prefix(verb));
        return Damage::new(what.unwrap_or(doing), String::new(), &error).into();
    }
    let message = match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            return StoreError::Broken { doing: doing.to_owned(), source: Box::new(error) };
        }
        Some(ErrorCode::SystemIoFailure) if is_unreadable(&error) => {
            return StoreError::Broken { doing: doing.to_owned(), source: Box::new(error) };
        }
        Some(ErrorCode::DiskFull) => {
            format!("failed to {doing}: the store is full, since the disk is full")
        }
        Some(ErrorCode::SystemIoFailure) if takes_no_more(&error) => format!(
            "failed to {doing}: the store is full, since the disk takes no more: is it full, or at a \
             quota, or a file as large as the process may make it?"
        ),
        Some(ErrorCode::ReadOnly) => format!("failed to {doing}: the database is read-only"),
        Some(ErrorCode::CannotOpen) => format!("failed to {doing}: the database can't be opened"),
        Some(_) | None => format!("failed to {doing}"),
    };
    StoreError::Unavailable { message, source: Some(Box::new(error)) }
}

fn is_damage(error: &rusqlite::Error) -> bool {
    use rusqlite::Error;
    matches!(
        error,
        Error::FromSqlConversionFailure(..)
            | Error::IntegralValueOutOfRange(..)
            | Error::Utf8Error(..)
            | Error::InvalidColumnType(..)
    )
}

/// Whether the disk or the file system returned less than was written, or nothing. Trying again does not bring it
/// back.
fn is_unreadable(error: &rusqlite::Error) -> bool {
    let code = error.sqlite_error().map(|error| error.extended_code);
    matches!(
        code,
        Some(
            ffi::SQLITE_IOERR_READ
                | ffi::SQLITE_IOERR_SHORT_READ
                | ffi::SQLITE_IOERR_CORRUPTFS
                | ffi::SQLITE_IOERR_DATA
        )
    )
}

/// Whether a write failed as it does for want of room other than on the disk itself. SQLite calls only a full disk
/// "full"; for it, quotas and limits on files are I/O errors.
fn takes_no_more(error: &rusqlite::Error) -> bool {
    let code = error.sqlite_error().map(|error| error.extended_code);
    matches!(code, Some(ffi::SQLITE_IOERR_WRITE | ffi::SQLITE_IOERR_SHMSIZE))
}

/// The error for something that is out of order for now, without a cause in SQLite.
pub(super) fn unavailable(message: impl Into<String>) -> StoreError {
    StoreError::Unavailable { message: message.into(), source: None }
}

/// The error for a document that can't be written.
pub(super) fn corrupt(what: &str, error: serde_json::Error) -> StoreError {
    StoreError::Corrupt { what: what.to_owned(), source: Box::new(error) }
}

/// An error and its causes in one line, in the form of the message of a [`StoreError::Unavailable`].
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
        | StoreError::Damaged(_)
        | StoreError::Broken { .. }
        | StoreError::Corrupt { .. }
        | StoreError::MissingCluster { .. }
        | StoreError::ClusterInUse { .. }
        | StoreError::NewerSchema { .. } => error.to_string(),
    };
    if let Some(cause) = std::error::Error::source(error) {
        line.push_str(": ");
        line.push_str(&causes(cause));
    }
    line
}

/// A cause and its own causes in one line.
pub(super) fn causes(first: &dyn std::error::Error) -> String {
    let mut line = first.to_string();
    let mut source = first.source();
    while let Some(cause) = source {
        line.push_str(": ");
        line.push_str(&cause.to_string());
        source = cause.source();
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_that_takes_no_more_is_told_from_one_that_fails() {
        let said = |code| {
            let error = rusqlite::Error::SqliteFailure(ffi::Error::new(code), None);
            let error = failed("write", error);
            assert!(error.retryable(), "{error}");
            error.to_string()
        };
        for full in [ffi::SQLITE_FULL, ffi::SQLITE_IOERR_WRITE, ffi::SQLITE_IOERR_SHMSIZE] {
            assert!(said(full).contains("the store is full"), "{full}");
        }
        for other in [ffi::SQLITE_IOERR_LOCK, ffi::SQLITE_IOERR_FSYNC, ffi::SQLITE_BUSY] {
            assert!(!said(other).contains("the store is full"), "{other}");
        }
    }

    #[test]
    fn what_the_disk_does_not_give_back_is_damage() {
        for code in [
            ffi::SQLITE_CORRUPT,
            ffi::SQLITE_NOTADB,
            ffi::SQLITE_IOERR_READ,
            ffi::SQLITE_IOERR_SHORT_READ,
            ffi::SQLITE_IOERR_CORRUPTFS,
            ffi::SQLITE_IOERR_DATA,
        ] {
            let error = rusqlite::Error::SqliteFailure(ffi::Error::new(code), None);
            let error = failed("read a run", error);
            assert!(matches!(error, StoreError::Broken { .. }), "{code}: {error}");
        }
    }
}
