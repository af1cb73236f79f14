//! Keeps the door: finds out who sends a request.

use std::sync::Arc;
use std::time::Duration;

use super::audit::AuditLog;
use super::current::CurrentAccess;
use super::identity::Identity;
use super::limits::AccessLimits;
use super::logins::{LoginPlace, Logins};
use super::oidc::{Oidc, Sessions, TokenError};
use super::proof::Proof;
use super::token::{self, TOKEN_PREFIX, TokenRefused};
use crate::clock::{Clock, SystemClock};
use crate::playbook::access::{Access, Rights};
use crate::web::Client;

/// Finds out who sends a request, what they may do, and where that is written down. Clones share everything.
#[derive(Clone, Debug)]
pub struct Keeper {
    current: CurrentAccess,
    oidc: Oidc,
    sessions: Sessions,
    limits: Arc<AccessLimits<Client>>,
    logins: Logins,
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
            logins: Logins::default(),
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

    /// Who sends a request with this bearer token. Those of ours begin with [`TOKEN_PREFIX`], always: a sum may be in the file
    /// that somebody made of a word, which is easily guessed.
    ///
    /// # Errors
    /// [`Unknown`]. No text has a part of the token.
    pub async fn who(&self, access: &Access, bearer: &str) -> Result<Identity, Unknown> {
        let wrong = |refused: TokenRefused| Unknown::Wrong(refused.to_string());
        if bearer.starts_with(TOKEN_PREFIX) {
            return token::who_has(access, bearer, self.clock.0.now()).map_err(wrong);
        }
        if access.oidc.is_empty() {
            return Err(wrong(TokenRefused::Unknown));
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

    /// By what somebody has proved who they are, once [`who`](Self::who) has found that out by the same document.
    pub(crate) fn proof(&self, access: &Access, identity: &Identity, bearer: &str) -> Proof {
        Proof::of_bearer(access, identity, bearer)
    }

    /// Whether the proof of somebody still counts: their token, or their issuer, may have been taken out of the document, and
    /// their session may have ended.
    pub fn still_knows(&self, identity: &Identity, proof: Option<&Proof>) -> bool {
        let Some(access) = self.current.now() else { return true };
        if identity.expires().is_some_and(|until| until <= self.clock.0.now()) {
            return false;
        }
        proof.is_some_and(|proof| proof.counts(identity, &access, &self.sessions))
    }

    /// Somebody asks. `Err` is how long they have to wait before they may.
    ///
    /// # Errors
    /// They have asked too often.
    pub fn ask(&self, identity: &Identity) -> Result<(), Duration> {
        self.limits.ask(identity.subject())
    }

    /// Whether the audit has room for another refusal of somebody.
    pub(crate) fn may_note_refusal(&self, identity: &Identity) -> bool {
        self.limits.may_note_refusal(identity.subject())
    }

    /// A client was wrong about who they are. `Err` is how long nothing of them is looked at any more.
    ///
    /// # Errors
    /// They were wrong too often.
    pub(crate) fn fail(&self, client: &Client) -> Result<(), Duration> {
        let failed = self.limits.fail(client);
        if let Err(wait) = failed {
            self.logins.bar(*client, self.clock.0.passed(), wait);
        }
        failed
    }

    /// A place for a login of a client that comes back from an issuer. `Err` is how long they have to wait before they may
    /// try again: they were wrong about who they are too often, or try too often at once.
    ///
    /// # Errors
    /// They have to wait.
    pub(crate) fn log_in(&self, client: &Client) -> Result<LoginPlace, Duration> {
        self.logins.enter(*client, self.clock.0.passed())
    }
}

impl Default for Keeper {
    fn default() -> Self {
        Self::new(CurrentAccess::default(), Arc::new(SystemClock))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::token_sum;
    use crate::playbook::access::parse_access;

    #[tokio::test]
    async fn a_word_is_no_token_though_its_sum_is_in_the_file() {
        let good = format!("{TOKEN_PREFIX}foo");
        let text = format!(
            "apiVersion: replicante.io/v1\nkind: Access\nmetadata: {{ name: x }}\nspec:\n  tokens: [{{ name: word, sha256: \
             {}, expires: 2099-01-01T00:00:00Z }}, {{ name: ci, sha256: {}, expires: 2099-01-01T00:00:00Z }}]\n",
            token_sum("foo"),
            token_sum(&good)
        );
        let (access, keeper) = (parse_access(text.as_bytes()).unwrap(), Keeper::default());
        let found = keeper.who(&access, "foo").await.unwrap_err().to_string();
        assert_eq!(found, "the token is not known");
        assert!(keeper.who(&access, &good).await.is_ok());
    }
}
