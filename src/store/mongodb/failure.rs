//! Translates the errors of the driver and the server into those of the store. No other module looks at error
//! codes of MongoDB, except where it expects a certain one.

use mongodb::error::{
    Error, ErrorKind, GridFsErrorKind, RETRYABLE_WRITE_ERROR, TRANSIENT_TRANSACTION_ERROR,
    WriteFailure,
};

use super::codec::CodecError;
use crate::damage::Damage;
use crate::error::StoreError;

/// A document with this key exists already.
const DUPLICATE_KEY: i32 = 11_000;

/// Another transaction wrote to the document.
const WRITE_CONFLICT: i32 = 112;

/// Somebody ended the operation, mostly by ending its session.
const INTERRUPTED: i32 = 11_601;

/// A document is larger than the server stores: BSONObjectTooLarge, then the codes for an update and for an
/// upsert. The last code has replaced the one for an upsert.
const TOO_LARGE: [i32; 4] = [10_334, 17_419, 17_420, 7_655_103];

/// The server refuses us: the user has too few roles (Unauthorized), or the credentials are wrong
/// (AuthenticationFailed).
const FORBIDDEN: [i32; 2] = [13, 18];

/// The codes of a server that does not know a command, an option, an operator, a variable or a kind of index, or
/// that has no transactions, as MongoDB numbers them in its `error_codes.yml` and elsewhere. Any other refusal may
/// be over later: a full disk, or a provider's quota that is used up.
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

/// The codes of Amazon DocumentDB for features, stages and operators that it does not have. In MongoDB the first
/// of these codes means something else, which is soon over: the names of its hosts have changed
/// (SplitHorizonChange). So the message counts as well.
const NOT_SUPPORTED: [i32; 3] = [303, 304, 305];

/// A value in the document has another type than the one that was written, so an update can't work with it
/// (TypeMismatch, and what older servers say about `$add`).
const WRONG_TYPE: [i32; 3] = [14, 16_554, 16_612];

/// The error for a call that the server refused, or did not answer, while `doing` something. If a document is
/// damaged, this is [`StoreError::Damaged`], since asking again does not help.
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

/// Whether one of our documents is damaged: the driver can't decode it, or the server can't update it.
fn is_damage(error: &Error) -> bool {
    use GridFsErrorKind::{MissingChunk, WrongNumberOfChunks, WrongSizeChunk};
    let incomplete = |kind: &GridFsErrorKind| {
        matches!(kind, MissingChunk { .. } | WrongNumberOfChunks { .. } | WrongSizeChunk { .. })
    };
    matches!(error.kind.as_ref(), ErrorKind::BsonDeserialization(_))
        || matches!(error.kind.as_ref(), ErrorKind::GridFs(kind) if incomplete(kind))
        || codes(error).iter().any(|code| WRONG_TYPE.contains(code))
}

/// What the driver or the server said, as human-readable text. The rest of the driver's error, down to the bytes
/// of the answer, would not help anybody.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub(super) struct Said {
    text: String,
    /// Whether the server does not know the user and password, or does not let the user do this.
    forbids: bool,
}

impl Said {
    pub(super) fn by(error: &Error) -> Self {
        let forbids = matches!(*error.kind, ErrorKind::Authentication { .. })
            || codes(error).iter().any(|code| FORBIDDEN.contains(code));
        Self { text: error.kind.to_string(), forbids }
    }
}

/// The error for a failure to open the store. What the server forbids is not worth another try.
pub(super) fn of_opening(error: StoreError) -> StoreError {
    let StoreError::Unavailable { message, source } = error else { return error };
    match source.as_ref().and_then(|source| source.downcast_ref::<Said>()) {
        Some(said) if said.forbids => StoreError::Unfit { message, source },
        Some(_) | None => StoreError::Unavailable { message, source },
    }
}

/// Whether the server says that it can't do this at all, rather than not at the moment.
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

/// The error for something that is out of order for now, without a cause in the driver.
pub(super) fn unavailable(message: impl Into<String>) -> StoreError {
    StoreError::Unavailable { message: message.into(), source: None }
}

/// The error for settings, or a server, that have to be changed before the store can be used.
pub(super) fn unfit(message: impl Into<String>) -> StoreError {
    StoreError::Unfit { message: message.into(), source: None }
}

/// The same, with a cause.
pub(super) fn unfit_because(
    message: impl Into<String>,
    cause: impl std::error::Error + Send + Sync + 'static,
) -> StoreError {
    StoreError::Unfit { message: message.into(), source: Some(Box::new(cause)) }
}

/// The error for a document that can't be written.
pub(super) fn corrupt(what: &str, error: CodecError) -> StoreError {
    StoreError::Corrupt { what: what.to_owned(), source: Box::new(error) }
}

/// Whether a document could not be created because one with its key exists.
pub(super) fn is_duplicate(error: &Error) -> bool {
    codes(error).contains(&DUPLICATE_KEY)
}

/// Whether another transaction was faster. Mostly a label says so, but there is no label when the server answers
/// each write separately.
pub(super) fn is_conflict(error: &Error) -> bool {
    codes(error).contains(&WRITE_CONFLICT)
}

/// Whether somebody ended the operation. It may have taken effect, and no label says so.
pub(super) fn is_interrupted(error: &Error) -> bool {
    codes(error).contains(&INTERRUPTED)
}

/// Whether the server answered, with a refusal.
pub(super) fn is_refused(error: &Error) -> bool {
    !codes(error).is_empty()
}

/// A write that the server refused in its answer to a raw command.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) code: i32,
    pub(super) message: String,
}

/// Whether a document is too large for the server.
pub(super) fn is_too_large(error: &Error) -> bool {
    codes(error).iter().any(|code| TOO_LARGE.contains(code))
}

/// The server's error codes. Empty if it refused nothing, for example because it did not answer.
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
        // A full disk, a server that shuts down, a provider's quota, a server that steps down, one whose hosts get
        // other names, and one that lets nobody write.
        for code in [14_031, 91, 8_000, 10_107, 13, 1, 303, 304, 371] {
            assert!(!is_lacking(&refused(code)), "{code}");
        }
        let message = "Aggregation stage not supported: '$lookup'".to_owned();
        assert!(is_lacking(&Error::custom(Refused { code: 304, message })));
    }

    #[test]
    fn a_document_that_is_too_large_is_known_however_it_came_to_be() {
        assert!([10_334, 17_419, 17_420].map(refused).iter().all(is_too_large));
        // A document in a capped collection, and a key of an index.
        assert!(![10_003, 17_280, 2].map(refused).iter().any(is_too_large));
    }
}
