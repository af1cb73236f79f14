//! The credentials that a server has for others: folders that the operator fills, one for each name. A document
//! names none of their paths, and each says itself what it is for and which servers may be told it.

mod error;
mod folder;
mod sum;

pub use error::CredentialsError;
pub use folder::{Credential, Credentials, Use};
pub use sum::CredentialsSum;
