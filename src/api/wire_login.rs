//! The types of answers that are about logging in.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// An issuer of OpenID Connect at which people log in for this server.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct IssuerView {
    /// Its short name, by which rules and actors say it.
    pub name: String,
    /// Its own identifier: an address.
    pub issuer: String,
    /// What tokens for this server have in `aud`.
    pub audience: String,
    /// The client identifier with which tokens are asked for; null if people can't log in by `replictl` or a browser.
    pub client: Option<String>,
}
