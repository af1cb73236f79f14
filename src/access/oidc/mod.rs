//! People, as issuers of OpenID Connect vouch for them.
//!
//! [`Oidc`] tells who a token is about. `jws` takes a token apart, `keys` checks its signature by ring, and `claims` reads
//! what it says; all of that is pure. `provider` asks an issuer, and `issuer` keeps its keys. `login` has browsers log in, and
//! `sessions` knows those that have.
//!
//! The algorithm of a signature is that of the key, which comes from the issuer over TLS; a token that names another one is
//! refused, and so is one that says where its key is. A library for tokens would bring all algorithms and let the token
//! choose among them, which has been the fault of most of them; what is needed here is a page of checks over ring, which is
//! there for TLS anyway.

mod algorithm;
mod bounds;
mod claims;
mod error;
mod issuer;
mod jws;
mod keys;
mod login;
mod provider;
mod random;
mod sessions;
mod text;
mod tokens;
mod verifier;

pub use bounds::{LEEWAY, MAX_TOKEN, OidcBounds};
pub use error::{IssuerError, TokenError};
pub use login::{Begun, BroughtBack, LOGIN_SECONDS, LoggedIn, LoginError, MAX_NEXT};
pub use provider::{Description, Provider};
pub use sessions::{MAX_SESSIONS, MAX_SESSIONS_EACH, NoRandom, SESSION, Sessions};
pub use tokens::{Refusal, Tokens};
pub use verifier::Oidc;
