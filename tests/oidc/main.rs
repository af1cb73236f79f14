//! Tokens of issuers of OpenID Connect: those that somebody forged, and issuers that are slow, wrong or gone.

mod attacks;
mod callbacks;
mod fetching;
mod issuer;
mod signer;
