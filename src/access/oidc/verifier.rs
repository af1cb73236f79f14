//! Who a token is about: the one way from a text that somebody sends to an identity.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Semaphore;
use url::Url;

use super::bounds::{MAX_EXCHANGING, MAX_KNOWN, OidcBounds};
use super::claims::{self, Claims};
use super::error::{IssuerError, TokenError};
use super::issuer::KnownIssuer;
use super::jws::Unchecked;
use super::provider::{Description, Provider};
use super::text::shown;
use super::tokens::{Refusal, Tokens};
use crate::access::Identity;
use crate::clock::Clock;
use crate::playbook::access::OidcIssuer;
use crate::run::Timestamp;

/// Checks tokens of issuers. Cheap to clone; clones share what is known of the issuers.
#[derive(Clone)]
pub struct Oidc {
    inner: Arc<Inner>,
}

struct Inner {
    clock: Arc<dyn Clock>,
    bounds: OidcBounds,
    /// By the identifier of the issuer: short names may come to stand for others when the operator's file changes.
    known: Mutex<BTreeMap<String, Arc<KnownIssuer>>>,
    exchanging: Semaphore,
}

impl fmt::Debug for Oidc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Oidc").finish_non_exhaustive()
    }
}

impl Oidc {
    /// Knows no issuer yet. `clock` is the machine's clock.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self::within(OidcBounds::default(), clock)
    }

    /// Like [`new`](Self::new), with other times.
    pub fn within(bounds: OidcBounds, clock: Arc<dyn Clock>) -> Self {
        Self {
            inner: Arc::new(Inner {
                clock,
                bounds,
                known: Mutex::default(),
                exchanging: Semaphore::new(MAX_EXCHANGING),
            }),
        }
    }

    /// Who sends a request with this token, by what one of these issuers says.
    ///
    /// # Flow
    /// The token is taken apart; the issuer that it names has to be one of `issuers`, and its keys are fetched unless they
    /// are known; one of them has to have signed the token; only then is read what the token says.
    ///
    /// # Errors
    /// [`TokenError`]. One that is [retryable](TokenError::retryable) says nothing about the token.
    pub async fn identity(
        &self,
        issuers: &[OidcIssuer],
        token: &str,
    ) -> Result<Identity, TokenError> {
        let unchecked = Unchecked::read(token)?;
        let named = unchecked.issuer();
        let issuer = issuers.iter().find(|issuer| named == Some(issuer.issuer.as_str()));
        let Some(issuer) = issuer else {
            let found = named.map_or_else(|| "nothing".to_owned(), shown);
            return Err(TokenError::UnknownIssuer { found });
        };
        let claims = self.signed(issuers, issuer, unchecked).await?;
        let until = claims::check(&claims, issuer, &issuer.audience, self.now())?;
        claims::identity(&claims, issuer, until)
    }

    /// Who has logged in by a browser: the token was made for `client`, for the login with this nonce. What the issuer says
    /// counts until `until`.
    pub(super) async fn logged_in(
        &self,
        issuer: &OidcIssuer,
        (client, nonce): (&str, &str),
        token: &str,
        until: Timestamp,
    ) -> Result<Identity, TokenError> {
        let unchecked = Unchecked::read(token)?;
        let claims = self.signed(std::slice::from_ref(issuer), issuer, unchecked).await?;
        claims::check(&claims, issuer, client, self.now())?;
        claims::check_login(&claims, client, nonce)?;
        claims::identity(&claims, issuer, until)
    }

    /// What a token says, once it is known that the issuer signed it.
    async fn signed(
        &self,
        issuers: &[OidcIssuer],
        issuer: &OidcIssuer,
        token: Unchecked,
    ) -> Result<Claims, TokenError> {
        self.known(issuers, issuer)?.check(&token, &issuer.name).await?;
        Ok(token.into_claims())
    }

    /// What an issuer says about itself.
    pub(super) async fn described(
        &self,
        issuer: &OidcIssuer,
    ) -> Result<Arc<Description>, IssuerError> {
        self.known(std::slice::from_ref(issuer), issuer)?.described(&issuer.name).await
    }

    /// Asks an issuer for tokens. Anybody can have us do that, so it is not done for many at once.
    pub(super) async fn exchanged(
        &self,
        issuer: &OidcIssuer,
        to: &Url,
        form: &[(&str, &str)],
    ) -> Result<Result<Tokens, Refusal>, IssuerError> {
        let error =
            |message: String| IssuerError { issuer: issuer.name.clone(), what: "tokens", message };
        let place = self.inner.exchanging.try_acquire();
        let _place =
            place.map_err(|_| error("too many people log in at this moment".to_owned()))?;
        let known = self.known(std::slice::from_ref(issuer), issuer)?;
        known.provider.tokens(to, form).await.map_err(error)
    }

    fn known(
        &self,
        issuers: &[OidcIssuer],
        issuer: &OidcIssuer,
    ) -> Result<Arc<KnownIssuer>, IssuerError> {
        let mut known = self.inner.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = known.get(&issuer.issuer) {
            return Ok(found.clone());
        }
        let bounds = self.inner.bounds.clone();
        let provider = Provider::new(&issuer.issuer, bounds.clone()).map_err(|message| {
            IssuerError { issuer: issuer.name.clone(), what: "the address", message }
        })?;
        if known.len() >= MAX_KNOWN {
            // Those that were in the operator's file before.
            known.retain(|identifier, _| issuers.iter().any(|one| one.issuer == *identifier));
        }
        let made = Arc::new(KnownIssuer::new(provider, self.inner.clock.clone(), bounds));
        known.insert(issuer.issuer.clone(), made.clone());
        Ok(made)
    }

    pub(super) fn now(&self) -> Timestamp {
        self.inner.clock.now()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;

    fn issuer(number: usize) -> OidcIssuer {
        OidcIssuer {
            name: "id".to_owned(),
            issuer: format!("http://127.0.0.1:{}", 1_024 + number),
            audience: "replibook".to_owned(),
            user: "sub".to_owned(),
            groups: None,
            client: None,
        }
    }

    #[test]
    fn issuers_that_were_taken_out_of_the_file_are_forgotten() {
        let oidc = Oidc::new(Arc::new(SystemClock));
        let known = || oidc.inner.known.lock().unwrap().keys().cloned().collect::<Vec<_>>();
        // The file has one issuer after the other.
        for number in 0..MAX_KNOWN {
            let one = issuer(number);
            oidc.known(std::slice::from_ref(&one), &one).unwrap();
        }
        assert_eq!(known().len(), MAX_KNOWN);
        let present = [issuer(0), issuer(MAX_KNOWN)];
        let kept = oidc.known(&present, &present[0]).unwrap();
        oidc.known(&present, &present[1]).unwrap();
        let mut expected = present.clone().map(|one| one.issuer);
        expected.sort();
        assert_eq!(known(), expected);
        // What is known of an issuer that is still there stays.
        assert!(Arc::ptr_eq(&kept, &oidc.known(&present, &present[0]).unwrap()));
    }
}
