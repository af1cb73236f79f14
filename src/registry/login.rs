//! Who a registry is told that we are. A password goes to the origin that it belongs to and nowhere else, except to
//! a token server that the operator named or that has the same origin.

use std::fmt;

use reqwest::header::HeaderValue;

use super::origin::Origin;
use crate::credentials::{Credential, CredentialsError, Use};

/// Docker writes its passwords for this address, while it asks another one.
pub(super) const DOCKER_HUB: &str = "registry-1.docker.io";

/// The token server of Docker Hub: the only one that may be elsewhere without being named.
const DOCKER_HUB_TOKENS: &str = "auth.docker.io";

/// A password or token.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Secret {
    /// Name and password, for the registry or its token server.
    Password { user: String, password: String },
    /// A token, for the registry itself.
    Token(String),
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Password { .. } => "Password(…)",
            Self::Token(_) => "Token(…)",
        })
    }
}

/// How requests to one registry are made: nothing of it goes elsewhere.
#[derive(Clone, Debug, Default)]
pub(super) struct Login {
    /// What these credentials are called, for messages; empty if there are none.
    pub(super) name: String,
    pub(super) secret: Option<Secret>,
    /// The origins that the operator named together with the registry's.
    pub(super) origins: Vec<Origin>,
    /// Certificates that are trusted beside those of the system, in PEM.
    pub(super) ca: Option<Vec<u8>>,
    /// Certificates and key that prove who we are, in PEM.
    pub(super) identity: Option<Vec<u8>>,
}

impl Login {
    /// The login that a folder of credentials holds.
    pub(super) fn of_folder(found: &Credential) -> Result<Self, CredentialsError> {
        let secret = found.token.as_ref().map(|text| match text.split_once(':') {
            Some((user, password)) => {
                Secret::Password { user: user.to_owned(), password: password.to_owned() }
            }
            None => Secret::Token(text.clone()),
        });
        let origins = found.origins_as::<Origin>(Use::Registry)?;
        let name = format!("{:?}", found.name);
        Ok(Self { name, secret, origins, ca: found.ca.clone(), identity: found.identity.clone() })
    }

    /// Whether the token server at `realm` may be told the password for `registry`.
    pub(super) fn may_tell(&self, registry: &Origin, realm: &Origin) -> bool {
        let is_hub = registry.host() == DOCKER_HUB && realm.host() == DOCKER_HUB_TOKENS;
        realm == registry || self.origins.contains(realm) || (is_hub && realm.is_secure())
    }

    /// As whom a registry is asked, for messages.
    pub(super) fn who(&self) -> String {
        match &self.secret {
            Some(_) => format!("with the credentials {}", self.name),
            None => "without credentials".to_owned(),
        }
    }
}

/// A header that is never shown; `None` if the secret has characters that a header can't have.
pub(super) fn bearer(token: &str) -> Option<HeaderValue> {
    sensitive(&format!("Bearer {token}"))
}

/// The same with name and password.
pub(super) fn basic(user: &str, password: &str) -> Option<HeaderValue> {
    use base64::Engine as _;
    let encoded = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
    sensitive(&format!("Basic {encoded}"))
}

fn sensitive(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_named_token_servers_are_told_a_password() {
        let origin = |text: &str| text.parse::<Origin>().unwrap();
        let registry = origin("https://registry.example.com");
        let login =
            Login { origins: vec![origin("https://tokens.example.com")], ..Login::default() };
        assert!(login.may_tell(&registry, &registry));
        assert!(login.may_tell(&registry, &origin("https://tokens.example.com")));
        for other in [
            "https://auth.example.com",
            "http://tokens.example.com",
            "https://tokens.example.com:8443",
            "https://auth.docker.io",
            "https://registry.example.com.evil.example",
        ] {
            assert!(!login.may_tell(&registry, &origin(other)), "{other}");
        }
        let hub = origin("https://registry-1.docker.io");
        assert!(Login::default().may_tell(&hub, &origin("https://auth.docker.io")));
        assert!(!Login::default().may_tell(&hub, &origin("http://auth.docker.io")));
    }

    #[test]
    fn secrets_are_never_shown() {
        let secret = Secret::Password { user: "ada".to_owned(), password: "hunter2".to_owned() };
        let login = Login { secret: Some(secret), ..Login::default() };
        assert!(!format!("{login:?}").contains("hunter2"));
        assert!(!format!("{:?}", basic("ada", "hunter2")).contains("YWRh"));
        assert_eq!(bearer("a\nb"), None);
    }
}
