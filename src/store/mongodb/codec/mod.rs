//! Converts our documents to BSON, and back.
//!
//! Documents are stored as a person expects them in a shell: moments are dates, identifiers are UUIDs, words are
//! words, and what does not exist is left out. JSON that BSON can't hold as it is still comes back unchanged: see
//! `escape.rs`.

mod error;
mod escape;
mod read;
mod reader;
mod write;
mod writer;

#[cfg(test)]
mod tests;

pub(crate) use error::CodecError;
pub(crate) use read::from_document;
pub(crate) use write::{to_document, to_fields};
