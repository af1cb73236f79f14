//! What the driver says went wrong, in the words of the store.

use mongodb::error::{Error, ErrorKind, GridFsErrorKind, WriteFailure};

use super::codec::CodecError;
use crate::store::damage::Damage;
use crate::store::error::StoreError;

/// A document with this key is there already.
const DUPLICATE_KEY: i32 = 11_000;

/// Another transaction wrote to the document.
const WRITE_CONFLICT: i32 = 112;

/// Somebody ended the operation, mostly by ending its session.
const INTERRUPTED: i32 = 11_601;

/// A document is larger than the server holds: when it is stored, and when it is sent.
const TOO_LARGE: [i32; 3] = [10_334, 10_003, 17_280];

/// What an update adds to, or works with, is of another type than was written.
const WRONG_TYPE: [i32; 3] = [14, 16_554, 16_612];

/// The error for a call that the server refused, or did not answer, while `doing` something. A document that is
/// damaged stays so, however often it is asked for.
pub(super) fn failed(doing: &str, error: Error) -> StoreError {
    if is_damage(&error) {
        let why = format!("failed to {doing}: {}", Said::by(&error));
        return Damage::new("a document", String::new(), &why).into();
    }
    let message = match error.get_custom::<Refused>() {
        Some(refused) => format!("failed to {doing}: {}", refused.message),
        None => format!("failed to {doing}"),
    };
    StoreError::Unavailable { message, source: Some(Box::new(Said::by(&error))) }
}

/// Whether a document of ours is damaged: the driver can't decode it, or the server can't add to it.
fn is_damage(error: &Error) -> bool {
    use GridFsErrorKind::{MissingChunk, WrongNumberOfChunks, WrongSizeChunk};
    let incomplete = |kind: &GridFsErrorKind| {
        matches!(kind, MissingChunk { .. } | WrongNumberOfChunks { .. } | WrongSizeChunk { .. })
    };
    matches!(error.kind.as_ref(), ErrorKind::BsonDeserialization(_))
        || matches!(error.kind.as_ref(), ErrorKind::GridFs(kind) if incomplete(kind))
        || codes(error).iter().any(|code| WRONG_TYPE.contains(code))
}

/// What the driver or the server said, for people. What else the driver's error holds is of no use to
/// them, down to the bytes of the answer.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Said(String);

impl Said {
    pub(super) fn by(error: &Error) -> Self {
        Self(error.kind.to_string())
    }
}

/// The error of something that is out of order for now and has no cause in the driver.
pub(super) fn unavailable(message: impl Into<String>) -> StoreError {
    StoreError::Unavailable { message: message.into(), source: None }
}

/// The error of settings, or of a server, that have to be changed before the store can be used.
pub(super) fn unfit(message: impl Into<String>) -> StoreError {
    StoreError::Unfit { message: message.into(), source: None }
}

/// The same with its cause.
pub(super) fn unfit_because(
    message: impl Into<String>,
    cause: impl std::error::Error + Send + Sync + 'static,
) -> StoreError {
    StoreError::Unfit { message: message.into(), source: Some(Box::new(cause)) }
}

/// The error of a document that can't be written.
pub(super) fn corrupt(what: &str, error: CodecError) -> StoreError {
    StoreError::Corrupt { what: what.to_owned(), source: Box::new(error) }
}

/// Whether a document could not be made because there is one with its key.
pub(super) fn is_duplicate(error: &Error) -> bool {
    codes(error).contains(&DUPLICATE_KEY)
}

/// Whether another transaction was faster. Mostly a label says so, but not where the server tells
/// of each write apart.
pub(super) fn is_conflict(error: &Error) -> bool {
    codes(error).contains(&WRITE_CONFLICT)
}

/// Whether somebody ended the operation. It may have been done, and no label says so.
pub(super) fn is_interrupted(error: &Error) -> bool {
    codes(error).contains(&INTERRUPTED)
}

/// A write that the server refused in its answer to a command of our own.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) code: i32,
    pub(super) message: String,
}

/// Whether a document is too large for the server.
pub(super) fn is_too_large(error: &Error) -> bool {
    codes(error).iter().any(|code| TOO_LARGE.contains(code))
}

/// The server's numbers for what went wrong.
#[allow(clippy::wildcard_enum_match_arm, reason = "the driver may add kinds; these have numbers")]
fn codes(error: &Error) -> Vec<i32> {
    if let Some(refused) = error.get_custom::<Refused>() {
        return vec![refused.code];
    }
    match error.kind.as_ref() {
        ErrorKind::Command(error) => vec![error.code],
        ErrorKind::Write(WriteFailure::WriteError(error)) => vec![error.code],
        ErrorKind::BulkWrite(error) => error.write_errors.values().map(|e| e.code).collect(),
        _ => vec![],
    }
}
