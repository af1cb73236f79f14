//! The error of converting documents to BSON, and back.

use std::fmt::Display;

/// Why a document could not be converted to BSON, or back, as human-readable text.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct CodecError(pub(super) String);

impl serde::ser::Error for CodecError {
    fn custom<T: Display>(message: T) -> Self {
        Self(message.to_string())
    }
}

impl serde::de::Error for CodecError {
    fn custom<T: Display>(message: T) -> Self {
        Self(message.to_string())
    }
}
