//! Why a token proves nothing, and why an issuer could not be asked.

use super::bounds::{LEEWAY, MAX_TOKEN};
use crate::run::Timestamp;

/// Why a token is refused. No text has a part of the token that could be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It is longer than any token.
    #[error("found a token of {found} bytes, expected at most {MAX_TOKEN}")]
    TooLong {
        /// Bytes of the token.
        found: usize,
    },
    /// It is no signed JSON web token.
    #[error("found something that is no signed JSON web token: {0}")]
    Malformed(String),
    /// Its header has something that is not taken.
    #[error("the header of the token: {0}")]
    Header(String),
    /// No issuer of this server made it.
    #[error("found a token of the issuer {found}, expected one that this server knows")]
    UnknownIssuer {
        /// The issuer that the token names, or what is in its place.
        found: String,
    },
    /// The issuer has no such key.
    #[error("the issuer {issuer} has no key {key}")]
    UnknownKey {
        /// Short name of the issuer.
        issuer: String,
        /// The key that the token names, or why there is none.
        key: String,
    },
    /// The key is for another algorithm.
    #[error(
        "the token says that it is signed with {found}, expected {expected}, which its key is for"
    )]
    Algorithm {
        /// The algorithm that the token names.
        found: String,
        /// The algorithms of the keys of that name.
        expected: String,
    },
    /// The signature does not fit.
    #[error("the signature of the token does not fit")]
    Signature,
    /// What the token says of itself does not fit.
    #[error("`{claim}` of the token: {message}")]
    Claim {
        /// The claim.
        claim: String,
        /// What was found, and what was expected.
        message: String,
    },
    /// It is too old.
    #[error("the token counted until {until}")]
    Expired {
        /// When it ended.
        until: Timestamp,
    },
    /// It comes from the future.
    #[error("`{claim}` of the token is {found}, which is more than {} s from now", LEEWAY.0 / 1_000)]
    Early {
        /// The claim.
        claim: &'static str,
        /// The moment.
        found: Timestamp,
    },
    /// The issuer does not know whether the address belongs to the person.
    #[error(
        "the issuer {issuer} has not verified the email address: expected `email_verified` to be true"
    )]
    Unverified {
        /// Short name of the issuer.
        issuer: String,
    },
    /// The issuer could not be asked, so nobody knows.
    #[error(transparent)]
    Issuer(#[from] IssuerError),
}

impl TokenError {
    /// Whether the same token may be taken later: it was not the token that was not good.
    pub const fn retryable(&self) -> bool {
        matches!(self, Self::Issuer(_))
    }

    pub(super) fn claim(claim: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Claim { claim: claim.into(), message: message.into() }
    }
}

/// Why an issuer could not be asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("failed to get {what} of the issuer {issuer}: {message}")]
pub struct IssuerError {
    /// Its short name.
    pub issuer: String,
    /// What was asked for.
    pub what: &'static str,
    /// What was found, and what was expected.
    pub message: String,
}
