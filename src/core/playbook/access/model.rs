//! Who may do what, as it was read. It is valid by construction: only [`parse_access`](super::parse_access) makes one.

use serde::Serialize;

use super::verb::Verb;
use super::who::Who;
use crate::time::Timestamp;

/// Who may do what on a server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Access {
    /// What the document is called.
    pub name: String,
    /// The tokens. No two have the same name or the same sum.
    pub tokens: Vec<AccessToken>,
    /// The issuers. No two have the same name or the same identifier.
    pub oidc: Vec<OidcIssuer>,
    /// The rules.
    pub rules: Vec<AccessRule>,
}

/// A token for a program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AccessToken {
    /// The name by which rules and actors say it: a label.
    pub name: String,
    /// SHA-256 of the token, as 64 lowercase hex digits.
    pub sha256: String,
    /// From when on it is not taken.
    pub expires: Timestamp,
}

/// A rule: some may do something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AccessRule {
    /// Whom it is about.
    pub who: Vec<Who>,
    /// What they may do.
    pub may: Vec<Verb>,
    /// Patterns for the names of playbooks. `None`: all.
    pub playbooks: Option<Vec<String>>,
    /// Patterns for the names of clusters. `None`: all.
    pub clusters: Option<Vec<String>>,
}

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
