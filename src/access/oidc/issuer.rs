//! The keys of one issuer as they are known here: fetched one time at a time, again when they get old or a token has an
//! unknown one, and used for a bounded time when the issuer does not answer.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared};

use super::bounds::OidcBounds;
use super::error::{IssuerError, TokenError};
use super::jws::Unchecked;
use super::keys::Keys;
use super::provider::{Description, Provider};
use crate::clock::Clock;
use crate::run::Millis;

/// An issuer, and what is known of its keys.
pub(super) struct KnownIssuer {
    pub(super) provider: Provider,
    clock: Arc<dyn Clock>,
    bounds: OidcBounds,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    keys: Option<Fetched>,
    /// The last fetch: when it ended, and why it failed if it did.
    last: Option<(Millis, Option<String>)>,
    running: Option<Shared<BoxFuture<'static, ()>>>,
}

#[derive(Clone)]
struct Fetched {
    said: Arc<Description>,
    keys: Arc<Keys>,
    at: Millis,
}

impl KnownIssuer {
    pub(super) fn new(provider: Provider, clock: Arc<dyn Clock>, bounds: OidcBounds) -> Self {
        Self { provider, clock, bounds, state: Mutex::default() }
    }

    /// Checks the signature of a token. `name` is the issuer's short name, for errors.
    pub(super) async fn check(
        self: &Arc<Self>,
        token: &Unchecked,
        name: &str,
    ) -> Result<(), TokenError> {
        let mut keys = self.known().await.map_err(|why| why.of(name, "the keys"))?.keys;
        if keys.lack(token) {
            keys = self.newer(keys).await;
        }
        keys.check(token, name)
    }

    /// What the issuer says about itself. `name` is its short name, for errors.
    pub(super) async fn described(
        self: &Arc<Self>,
        name: &str,
    ) -> Result<Arc<Description>, IssuerError> {
        Ok(self.known().await.map_err(|why| why.of(name, "the description"))?.said)
    }

    /// What counts now. What is old is fetched again beside that.
    async fn known(self: &Arc<Self>) -> Result<Fetched, Unknown> {
        let now = self.clock.passed();
        let known = self.counting(now);
        if let Some(known) = known {
            if age(known.at, now) >= self.bounds.fresh && self.may_fetch(now, self.bounds.retry) {
                drop(self.fetch());
            }
            return Ok(known);
        }
        if self.may_fetch(now, self.bounds.retry) {
            self.fetch().await;
        }
        match self.counting(self.clock.passed()) {
            Some(known) => Ok(known),
            None => Err(Unknown(self.why())),
        }
    }

    /// Keys that are newer than those that lack one; those, if there can be no newer ones yet.
    async fn newer(self: &Arc<Self>, keys: Arc<Keys>) -> Arc<Keys> {
        if self.may_fetch(self.clock.passed(), self.bounds.again) {
            self.fetch().await;
        }
        self.counting(self.clock.passed()).map_or(keys, |known| known.keys)
    }

    /// The keys, unless they are too old to count.
    fn counting(&self, now: Millis) -> Option<Fetched> {
        let known = self.locked().keys.clone();
        known.filter(|known| age(known.at, now) < self.bounds.count)
    }

    /// Whether to join a fetch that is going on, or to begin one since the last one is long enough ago.
    fn may_fetch(&self, now: Millis, wait: Millis) -> bool {
        let state = self.locked();
        state.running.is_some()
            || state.last.as_ref().is_none_or(|(ended, _)| age(*ended, now) >= wait)
    }

    /// The fetch that is going on, or a new one. It goes on when nobody waits for it any more: whoever goes away in the
    /// middle keeps nobody else from having the keys.
    fn fetch(self: &Arc<Self>) -> Shared<BoxFuture<'static, ()>> {
        let mut state = self.locked();
        if let Some(running) = &state.running {
            return running.clone();
        }
        let ended = Ended(Arc::clone(self));
        let task = tokio::spawn(async move {
            let found = ended.0.provider.keys().await;
            ended.0.keep(found);
        });
        let running = task.map(drop).boxed().shared();
        state.running = Some(running.clone());
        running
    }

    fn keep(&self, found: Result<(Description, Keys), String>) {
        let now = self.clock.passed();
        let mut state = self.locked();
        let before = state.last.take().and_then(|(_, failure)| failure);
        match found {
            Ok((said, keys)) => {
                state.keys = Some(Fetched { said: Arc::new(said), keys: Arc::new(keys), at: now });
                state.last = Some((now, None));
            }
            Err(error) => {
                if before.as_ref() != Some(&error) {
                    let issuer = self.provider.issuer();
                    tracing::warn!(issuer, error, "failed to get the keys of an issuer");
                }
                state.last = Some((now, Some(error)));
            }
        }
    }

    fn why(&self) -> String {
        let state = self.locked();
        let failure = state.last.as_ref().and_then(|(_, failure)| failure.clone());
        failure.unwrap_or_else(|| "they are too old, and are being fetched again".to_owned())
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends a fetch, even one that broke off.
struct Ended(Arc<KnownIssuer>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.locked().running = None;
    }
}

/// No keys, and why.
struct Unknown(String);

impl Unknown {
    fn of(self, name: &str, what: &'static str) -> IssuerError {
        IssuerError { issuer: name.to_owned(), what, message: self.0 }
    }
}

fn age(from: Millis, now: Millis) -> Millis {
    Millis(now.0.saturating_sub(from.0))
}
