//! Who may do what, as it was read. It is valid by construction: only [`parse_access`](super::parse_access) makes one.

use serde::Serialize;

/// An issuer of OpenID Connect whose tokens are taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OidcIssuer {
    /// The short name by which rules and actors say the issuer: a label. No other issuer of the document has it.
    pub name: String,
    /// The issuer's own identifier, exactly as its tokens have it in `iss`: an `https` address, or an `http` one of this
    /// machine. No other issuer of the document has it.
    pub issuer: String,
    /// What its tokens must have in `aud`.
    pub audience: String,
    /// The claim that says who somebody is. An `email` counts only where `email_verified` is true.
    pub user: String,
    /// The claim that has the groups; `None`: nobody of this issuer is in a group.
    pub groups: Option<String>,
    /// The client identifier with which `replictl login` and browsers ask for tokens; `None`: they can't.
    pub client: Option<String>,
}
