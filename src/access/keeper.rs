//! Keeps the door: finds out who sends a request.

use std::sync::Arc;
use std::time::Duration;

use super::audit::AuditLog;
use super::current::CurrentAccess;
use super::identity::{Identity, Subject};
use super::limits::AccessLimits;
use super::oidc::{Oidc, Sessions, TokenError};
use super::token::{self, TOKEN_PREFIX, TokenRefused};
use crate::clock::{Clock, SystemClock};
use crate::playbook::access::{Access, AccessToken, Rights};
use crate::web::Client;

/// Finds out who sends a request, what they may do, and where that is written down. Clones share everything.
#[derive(Clone, Debug)]
pub struct Keeper {
    current: CurrentAccess,
    oidc: Oidc,
    sessions: Sessions,
    limits: Arc<AccessLimits<Client>>,
    clock: Arc<ClockBox>,
    audit: Option<AuditLog>,
}

/// A clock that can be shown as text.
struct ClockBox(Arc<dyn Clock>);

impl std::fmt::Debug for ClockBox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Clock")
    }
}

/// Why it is not known who sends a request.
#[derive(Debug, thiserror::Error)]
pub enum Unknown {
    /// The request has no proof of who sends it.
    #[error("nothing says who you are")]
    Silent,
    /// Its proof is not good.
    #[error("{0}")]
    Wrong(String),
    /// It could not be found out whether its proof is good.
    #[error("{0}")]
    Unclear(String),
}

impl Keeper {
    /// Lets in whom `current` knows. `clock` is the machine's clock, by which proofs expire.
    pub fn new(current: CurrentAccess, clock: Arc<dyn Clock>) -> Self {
        Self {
            current,
            oidc: Oidc::new(clock.clone()),
            sessions: Sessions::new(clock.clone()),
            limits: Arc::new(AccessLimits::new(clock.clone())),
            clock: Arc::new(ClockBox(clock)),
            audit: None,
        }
    }

    /// Writes what is changed into this audit.
    #[must_use]
    pub fn with_audit(self, audit: Option<AuditLog>) -> Self {
        Self { audit, ..self }
    }

    /// Who may do what; without a document everybody may do everything.
    pub fn current(&self) -> &CurrentAccess {
        &self.current
    }

    /// Where changes are written down, if anywhere.
    pub fn audit(&self) -> Option<&AuditLog> {
        self.audit.as_ref()
    }

    /// The issuers that vouch for people.
    pub fn oidc(&self) -> &Oidc {
        &self.oidc
    }

    /// The browsers that have logged in.
    pub fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    /// Who sends a request with this bearer token.
    ///
    /// # Errors
    /// [`Unknown`]. No text has a part of the token.
    pub async fn who(&self, access: &Access, bearer: &str) -> Result<Identity, Unknown> {
        if bearer.starts_with(TOKEN_PREFIX) || access.oidc.is_empty() {
            let found = token::who_has(access, bearer, self.clock.0.now());
            return found.map_err(|refused: TokenRefused| Unknown::Wrong(refused.to_string()));
        }
        self.oidc.identity(&access.oidc, bearer).await.map_err(|error: TokenError| {
            match error.retryable() {
                true => Unknown::Unclear(error.to_string()),
                false => Unknown::Wrong(error.to_string()),
            }
        })
    }

    /// What somebody may do at this moment: nothing if their proof has expired.
    pub fn rights(&self, identity: &Identity) -> Rights {
        let now = self.clock.0.now();
        match identity.expires() {
            Some(until) if until <= now => Rights::default(),
            Some(_) | None => self.current.rights(identity),
        }
    }

    /// Whether the proof of somebody still counts: their token, or their issuer, may have been taken out of the document.
    /// `sum` is that of the bearer token that they sent.
    pub fn still_knows(&self, identity: &Identity, sum: Option<&str>) -> bool {
        let Some(access) = self.current.now() else { return true };
        if identity.expires().is_some_and(|until| until <= self.clock.0.now()) {
            return false;
        }
        match identity.subject() {
            Subject::User { issuer, .. } => access.oidc.iter().any(|one| one.name == *issuer),
            Subject::Token(name) => {
                let is_it =
                    |one: &AccessToken| one.name == *name && Some(one.sha256.as_str()) == sum;
                access.tokens.iter().any(is_it)
            }
            Subject::Anybody => false,
        }
    }

    /// Somebody asks. `Err` is how long they have to wait before they may.
    ///
    /// # Errors
    /// They have asked too often.
    pub fn ask(&self, identity: &Identity) -> Result<(), Duration> {
        self.limits.ask(identity.subject())
    }

    /// A client was wrong about who they are. `Err` is how long nothing of them is looked at any more.
    ///
    /// # Errors
    /// They were wrong too often.
    pub(crate) fn fail(&self, client: &Client) -> Result<(), Duration> {
        self.limits.fail(client)
    }
}

impl Default for Keeper {
    fn default() -> Self {
        Self::new(CurrentAccess::default(), Arc::new(SystemClock))
    }
}
