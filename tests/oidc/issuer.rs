//! An issuer that a test makes, and a clock that it moves.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use replibook::access::Identity;
use replibook::access::oidc::{Oidc, OidcBounds, TokenError};
use replibook::clock::Clock;
use replibook::playbook::access::OidcIssuer;
use replibook::run::{Millis, Timestamp};
use serde_json::{Value, json};

use crate::registry::liar::{Asked, Liar, Reply};

/// When the tests happen, in seconds.
pub(crate) const NOW: i64 = 1_800_000_000;

/// A clock that stands still until a test moves it.
#[derive(Default)]
pub(crate) struct MovedClock(AtomicI64);

impl MovedClock {
    pub(crate) fn move_on(&self, by: Millis) {
        self.0.fetch_add(i64::try_from(by.0).unwrap(), Ordering::SeqCst);
    }
}

#[async_trait]
impl Clock for MovedClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(NOW * 1_000 + self.0.load(Ordering::SeqCst))
    }

    async fn sleep(&self, _: Duration) {
        std::future::pending().await
    }
}

/// How an issuer answers to who asks for its keys.
pub(crate) type Answer = Arc<Mutex<Box<dyn Fn() -> Reply + Send>>>;

/// An issuer with a server of its own.
pub(crate) struct FakeIssuer {
    pub(crate) server: Liar,
    pub(crate) spec: OidcIssuer,
    keys: Answer,
}

impl FakeIssuer {
    /// An issuer with this short name and these keys.
    pub(crate) async fn start(name: &str, keys: Vec<Value>) -> Self {
        let answer: Answer = Arc::new(Mutex::new(Box::new(move || listed(&keys))));
        let (keys, host) = (answer.clone(), Arc::new(Mutex::new(String::new())));
        let own = host.clone();
        let server = Liar::start(move |asked: &Asked| {
            let issuer = format!("http://{}", own.lock().unwrap());
            match asked.line.as_str() {
                "GET /.well-known/openid-configuration HTTP/1.1" => Reply::json(&json!({
                    "issuer": issuer, "jwks_uri": format!("{issuer}/keys"),
                })),
                "GET /keys HTTP/1.1" => answer.lock().unwrap()(),
                _ => Reply::status(404, ""),
            }
        })
        .await;
        *host.lock().unwrap() = server.host.clone();
        let spec = OidcIssuer {
            name: name.to_owned(),
            issuer: format!("http://{}", server.host),
            audience: "replibook".to_owned(),
            user: "email".to_owned(),
            groups: Some("groups".to_owned()),
            client: None,
        };
        Self { server, spec, keys }
    }

    /// Has the issuer answer in another way from now on.
    pub(crate) fn answers(&self, answer: impl Fn() -> Reply + Send + 'static) {
        *self.keys.lock().unwrap() = Box::new(answer);
    }

    /// Has the issuer publish these keys from now on.
    pub(crate) fn has(&self, keys: Vec<Value>) {
        self.answers(move || listed(&keys));
    }

    /// How often it was asked for its keys.
    pub(crate) fn asked(&self) -> usize {
        self.server.asked().iter().filter(|asked| asked.is_for("/keys")).count()
    }

    /// What a good token of it says.
    pub(crate) fn claims(&self) -> Value {
        json!({
            "iss": self.spec.issuer, "aud": "replibook", "sub": "7", "exp": NOW + 300, "iat": NOW,
            "email": "alice@example.com", "email_verified": true, "groups": ["dba", "sre"],
        })
    }
}

fn listed(keys: &[Value]) -> Reply {
    Reply::json(&json!({ "keys": keys }))
}

/// Whoever checks tokens, with short times for issuers.
pub(crate) fn verifier() -> (Oidc, Arc<MovedClock>) {
    let clock = Arc::new(MovedClock::default());
    let bounds = OidcBounds { request: Duration::from_millis(300), ..OidcBounds::default() };
    (Oidc::within(bounds, clock.clone()), clock)
}

/// One that waits for issuers for longer than any test goes on.
pub(crate) fn patient_verifier() -> Oidc {
    let bounds = OidcBounds { request: Duration::from_secs(600), ..OidcBounds::default() };
    Oidc::within(bounds, Arc::new(MovedClock::default()))
}

pub(crate) async fn identity(
    oidc: &Oidc,
    issuer: &FakeIssuer,
    token: &str,
) -> Result<Identity, TokenError> {
    oidc.identity(std::slice::from_ref(&issuer.spec), token).await
}
