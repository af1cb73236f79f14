//! What the driver says went wrong, in the words of the store.

use mongodb::error::{
    Error, ErrorKind, GridFsErrorKind, RETRYABLE_WRITE_ERROR, TRANSIENT_TRANSACTION_ERROR,
    WriteFailure,
};

use super::codec::CodecError;
use crate::damage::Damage;
use crate::error::StoreError;

/// A document with this key is there already.
const DUPLICATE_KEY: i32 = 11_000;

/// Another transaction wrote to the document.
const WRITE_CONFLICT: i32 = 112;

/// Somebody ended the operation, mostly by ending its session.
const INTERRUPTED: i32 = 11_601;

/// A document is larger than the server holds: BSONObjectTooLarge, then the numbers for an update and for an upsert;
/// the last number has replaced the one for an upsert.
const TOO_LARGE: [i32; 4] = [10_334, 17_419, 17_420, 7_655_103];

/// The server does not let us: too few roles (Unauthorized), or wrong credentials (AuthenticationFailed).
const FORBIDDEN: [i32; 2] = [13, 18];

/// What a server says that doesn't know a command, an option, an operator, a variable or a kind of index, or that
/// has no transactions, as MongoDB numbers it in its `error_codes.yml` and beside it. Whatever else it says may be
/// over later: its disk is full, or the quota of its provider used up.
const LACKING: [i32; 16] = [
    2,      // BadValue
    9,      // FailedToParse
    14,     // TypeMismatch
    20,     // IllegalOperation: transactions without a replica set
    59,     // CommandNotFound
    67,     // CannotCreateIndex
    72,     // InvalidOptions
    115,    // CommandNotSupported
    168,    // InvalidPipelineOperator
    197,    // InvalidIndexSpecificationOption
    224,    // QueryFeatureNotAllowed
    238,    // NotImplemented
    263,    // OperationNotSupportedInTransaction
    17_276, // a variable that is not defined
    40_324, // a stage of a pipeline that is not known
    40_415, // IDLUnknownField
];

/// What Amazon DocumentDB says of features, stages and operators that it does not have. To MongoDB the first of these
/// numbers means something else, which is soon over: the names of its hosts have changed (SplitHorizonChange). So the
/// words count as well.
const NOT_SUPPORTED: [i32; 3] = [303, 304, 305];

/// What an update adds to, or works with, is of another type than was written (TypeMismatch, and what older servers
/// say of `$add`).
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
#[error("{text}")]
pub(super) struct Said {
    text: String,
    /// It knows nobody by that name and password, or does not let us do this.
    forbids: bool,
}

impl Said {
    pub(super) fn by(error: &Error) -> Self {
        let forbids = matches!(*error.kind, ErrorKind::Authentication { .. })
            || codes(error).iter().any(|code| FORBIDDEN.contains(code));
        Self { text: error.kind.to_string(), forbids }
    }
}

/// The error of a store that is opened. What the server forbids is not mended by another try.
pub(super) fn of_opening(error: StoreError) -> StoreError {
    let StoreError::Unavailable { message, source } = error else { return error };
    match source.as_ref().and_then(|source| source.downcast_ref::<Said>()) {
        Some(said) if said.forbids => StoreError::Unfit { message, source },
        Some(_) | None => StoreError::Unavailable { message, source },
    }
}

/// Whether the server says that it can't do this at all, and not only now.
pub(super) fn is_lacking(error: &Error) -> bool {
    let labels = [TRANSIENT_TRANSACTION_ERROR, RETRYABLE_WRITE_ERROR];
    let codes = codes(error);
    let says_so = || match error.get_custom::<Refused>() {
        Some(refused) => refused.message.contains("not supported"),
        None => error.to_string().contains("not supported"),
    };
    let lacks = |code| LACKING.contains(code) || NOT_SUPPORTED.contains(code) && says_so();
    !codes.is_empty() && codes.iter().all(lacks) && !labels.iter().any(|l| error.contains_label(l))
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

/// Whether the server answered, and refused.
pub(super) fn is_refused(error: &Error) -> bool {
    !codes(error).is_empty()
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

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(code: i32) -> Error {
        Error::custom(Refused { code, message: String::new() })
    }

    #[test]
    fn only_what_a_server_does_not_know_is_lacking() {
        assert!([9, 20, 59, 115, 224, 263, 17_276].map(refused).iter().all(is_lacking));
        // A full disk, a server that shuts down, a provider's quota, a server that steps down, or whose hosts get
        // other names, or that lets nobody write.
        for code in [14_031, 91, 8_000, 10_107, 13, 1, 303, 304, 371] {
            assert!(!is_lacking(&refused(code)), "{code}");
        }
        let message = "Aggregation stage not supported: '$lookup'".to_owned();
        assert!(is_lacking(&Error::custom(Refused { code: 304, message })));
    }

    #[test]
    fn a_document_that_is_too_large_is_known_however_it_came_to_be() {
        assert!([10_334, 17_419, 17_420].map(refused).iter().all(is_too_large));
        // A capped collection, a key of an index.
        assert!(![10_003, 17_280, 2].map(refused).iter().any(is_too_large));
    }
}
