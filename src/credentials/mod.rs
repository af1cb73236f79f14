//! The credentials that a server has for others: folders that the operator fills, one for each name. A document
//! names none of their paths, and each says itself what it is for and which servers may be told it.
//!
//! [`Credentials`] reads the folders, [`KeptCredentials`] has what counts now, and reads it again when it changes. Before
//! anything is connected with credentials, [`Kept`] checks that they may go there; [`NotUsed`] says why not.
//! [`ServedTls`] is the other side: the credentials of a server of ours.

mod args;
mod error;
mod expiry;
mod folder;
mod follow;
mod kept;
mod places;
mod refused;
mod served;
mod tls;

pub use args::TlsArgs;
pub(crate) use args::{lacking, reread};
pub use error::CredentialsError;
pub(crate) use expiry::not_after;
pub use expiry::{Expiry, TOLD_BEFORE};
pub use folder::{Credential, Credentials, Use};
pub use kept::{Kept, KeptCredentials};
pub use refused::NotUsed;
pub use served::ServedTls;
pub(crate) use tls::trusting_nobody;
