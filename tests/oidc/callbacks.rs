//! What may come back from an issuer by a browser, and how much of it there may be.

use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use replibook::access::oidc::{BroughtBack, LoggedIn, LoginError, Oidc};
use replibook::playbook::access::OidcIssuer;
use serde_json::{Value, json};

use super::issuer::{NOW, patient_verifier, verifier};
use super::signer::Signer;
use crate::registry::liar::{Asked, Liar, Reply};

/// The client with which browsers log in.
const CLIENT: &str = "replictl";

/// Where the issuer sends browsers.
const BACK: &str = "https://replibook.example.com/auth/callback";

/// An issuer at which browsers log in.
struct Browsed {
    server: Liar,
    spec: OidcIssuer,
    /// What it says of whoever has logged in; nothing: it does not answer.
    claims: Arc<Mutex<Option<Value>>>,
}

impl Browsed {
    /// An issuer that says in its answers to browsers who it is, or does not.
    async fn start(names_itself: bool) -> Self {
        let signs = Signer::es256();
        let (claims, host) = (Arc::new(Mutex::new(None)), Arc::new(Mutex::new(String::new())));
        let (own, said) = (host.clone(), claims.clone());
        let server = Liar::start(move |asked: &Asked| {
            let issuer = format!("http://{}", own.lock().unwrap());
            let said = said.lock().unwrap().clone();
            match asked.line.split_whitespace().nth(1).unwrap_or_default() {
                "/.well-known/openid-configuration" => Reply::json(&json!({
                    "issuer": issuer, "jwks_uri": format!("{issuer}/keys"),
                    "authorization_endpoint": format!("{issuer}/authorize"),
                    "token_endpoint": format!("{issuer}/token"),
                    "authorization_response_iss_parameter_supported": names_itself,
                })),
                "/keys" => Reply::json(&json!({ "keys": [signs.published("k")] })),
                "/token" => match said {
                    Some(claims) => {
                        let token = signs.token(&json!({"alg": "ES256", "kid": "k"}), &claims);
                        Reply::json(&json!({ "id_token": token }))
                    }
                    None => Reply::Silence,
                },
                _ => Reply::status(404, ""),
            }
        })
        .await;
        *host.lock().unwrap() = server.host.clone();
        let spec = OidcIssuer {
            name: "id".to_owned(),
            issuer: format!("http://{}", server.host),
            audience: "replibook".to_owned(),
            user: "email".to_owned(),
            groups: None,
            client: Some(CLIENT.to_owned()),
        };
        Self { server, spec, claims }
    }

    /// What a good identity token for this login says.
    fn good(&self, nonce: &str) -> Value {
        json!({
            "iss": self.spec.issuer, "aud": CLIENT, "sub": "7", "exp": NOW + 300, "iat": NOW, "nonce": nonce,
            "email": "alice@example.com", "email_verified": true,
        })
    }

    fn says(&self, claims: Value) {
        *self.claims.lock().unwrap() = Some(claims);
    }

    /// How often it was asked for tokens.
    fn exchanges(&self) -> usize {
        self.server.asked().iter().filter(|asked| asked.is_for("/token")).count()
    }

    /// Sends a browser away. Returns its cookie, and what it was sent away with.
    async fn begin(&self, oidc: &Oidc) -> Begun {
        let begun = oidc.begin(&self.spec, BACK, None).await.unwrap();
        let sent = |name: &str| {
            let found = begun.to.query_pairs().find(|(key, _)| key == name);
            found.map(|(_, value)| value.into_owned()).unwrap()
        };
        Begun { state: sent("state"), nonce: sent("nonce"), cookie: begun.cookie.clone() }
    }

    async fn end(
        &self,
        oidc: &Oidc,
        begun: &Begun,
        brought: &BroughtBack,
    ) -> Result<LoggedIn, LoginError> {
        oidc.end(std::slice::from_ref(&self.spec), Some(&begun.cookie), brought, BACK).await
    }
}

/// A login that a browser has begun.
struct Begun {
    state: String,
    nonce: String,
    cookie: String,
}

impl Begun {
    /// What a good issuer has the browser bring back.
    fn brought(&self) -> BroughtBack {
        let (code, state) = (Some("code".to_owned()), Some(self.state.clone()));
        BroughtBack { code, state, ..BroughtBack::default() }
    }
}

fn with(claims: &Value, changes: Value) -> Value {
    let mut changed = claims.clone();
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => changed.as_object_mut().unwrap().remove(name),
            value => changed.as_object_mut().unwrap().insert(name.clone(), value.clone()),
        };
    }
    changed
}

#[tokio::test]
async fn an_identity_token_counts_for_the_login_that_it_was_made_for() {
    let issuer = Browsed::start(false).await;
    let (oidc, _) = verifier();
    let begun = issuer.begin(&oidc).await;
    let another = issuer.begin(&oidc).await;
    let good = issuer.good(&begun.nonce);
    for (changes, expected) in [
        (json!({}), Ok(())),
        (json!({"azp": CLIENT}), Ok(())),
        (json!({"aud": ["other", CLIENT], "azp": CLIENT}), Ok(())),
        (json!({"nonce": null}), Err("`nonce` of the token: expected the one of this login")),
        (json!({"nonce": ""}), Err("`nonce` of the token")),
        (json!({"nonce": [begun.nonce]}), Err("`nonce` of the token")),
        (json!({"nonce": another.nonce}), Err("`nonce` of the token")),
        (json!({"azp": "other"}), Err("`azp` of the token: found \"other\", expected replictl")),
        (json!({"azp": [CLIENT]}), Err("`azp` of the token")),
        (json!({"azp": null, "aud": "replibook"}), Err("`aud` of the token: found \"replibook\"")),
        (json!({"iss": "https://evil.example"}), Err("`iss` of the token")),
        (json!({"exp": NOW - 3_600}), Err("the token counted until")),
        (json!({"email_verified": false}), Err("has not verified the email")),
    ] {
        issuer.says(with(&good, changes.clone()));
        let found = issuer.end(&oidc, &begun, &begun.brought()).await;
        match (found, expected) {
            (Ok(found), Ok(())) => {
                let actor = found.identity.actor();
                assert_eq!(actor.as_deref(), Some("user:id/alice@example.com"), "{changes}");
            }
            (Err(error), Err(says)) => {
                assert!(error.to_string().contains(says), "{changes}: {error}");
            }
            (found, expected) => panic!("{changes}: found {found:?}, expected {expected:?}"),
        }
    }
}

#[tokio::test]
async fn a_browser_that_another_issuer_sent_brings_this_one_no_code() {
    for (names_itself, iss, is_good) in [
        (true, Some("own"), true),
        (true, None, false),
        (true, Some("https://evil.example"), false),
        (false, None, true),
        (false, Some("own"), true),
        (false, Some("https://evil.example"), false),
    ] {
        let issuer = Browsed::start(names_itself).await;
        let (oidc, _) = verifier();
        let begun = issuer.begin(&oidc).await;
        issuer.says(issuer.good(&begun.nonce));
        let iss = iss.map(|iss| iss.replace("own", &issuer.spec.issuer));
        let brought = BroughtBack { iss: iss.clone(), ..begun.brought() };
        let found = issuer.end(&oidc, &begun, &brought).await;
        assert_eq!(found.is_ok(), is_good, "{names_itself} {iss:?}: {found:?}");
        // The code stays here.
        assert_eq!(issuer.exchanges(), usize::from(is_good), "{names_itself} {iss:?}");
        if let Err(error) = found {
            assert!(error.to_string().contains("its answer is another issuer's"), "{error}");
        }
    }
}

#[tokio::test]
async fn nothing_is_asked_for_what_this_browser_did_not_begin_or_what_is_no_code() {
    let issuer = Browsed::start(false).await;
    let (oidc, _) = verifier();
    let (begun, other) = (issuer.begin(&oidc).await, issuer.begin(&oidc).await);
    issuer.says(issuer.good(&begun.nonce));
    // The longest code that is taken has 4 KiB.
    let long = "c".repeat(4 * 1024);
    let code = |code: &str| BroughtBack { code: Some(code.to_owned()), ..begun.brought() };
    issuer.end(&oidc, &begun, &code(&long)).await.unwrap();
    assert_eq!(issuer.exchanges(), 1);
    let elsewhere = begun.cookie.replace(".id.", ".corp.");
    let away = URL_SAFE_NO_PAD.encode("//evil.example");
    let away = format!("{}.{away}", begun.cookie.rsplit_once('.').unwrap().0);
    for (what, cookie, brought, says) in [
        ("a long code", begun.cookie.as_str(), code(&format!("{long}c")), "expected a code"),
        (
            "no code",
            begun.cookie.as_str(),
            BroughtBack { code: None, ..begun.brought() },
            "expected a code",
        ),
        (
            "another login's cookie",
            other.cookie.as_str(),
            begun.brought(),
            "has begun no such login",
        ),
        (
            "another login's state",
            begun.cookie.as_str(),
            other.brought(),
            "has begun no such login",
        ),
        (
            "no state",
            begun.cookie.as_str(),
            BroughtBack { state: None, ..begun.brought() },
            "has begun no such login",
        ),
        ("an unknown issuer", elsewhere.as_str(), begun.brought(), "has begun no such login"),
        ("a way to another site", away.as_str(), begun.brought(), "has begun no such login"),
        (
            "a refusal",
            begun.cookie.as_str(),
            BroughtBack { error: Some("access_denied\u{1b}[2J".to_owned()), ..begun.brought() },
            "lets nobody log in: \"access_denied [2J\"",
        ),
    ] {
        let issuers = std::slice::from_ref(&issuer.spec);
        let error = oidc.end(issuers, Some(cookie), &brought, BACK).await.unwrap_err();
        assert!(error.to_string().contains(says), "{what}: {error}");
    }
    assert_eq!(issuer.exchanges(), 1, "nothing more was asked");
}

/// How many browsers' codes a server exchanges at once.
const EXCHANGING: usize = 16;

#[tokio::test]
async fn an_issuer_that_does_not_answer_has_so_many_logins_wait_and_no_more() {
    let issuer = Browsed::start(false).await;
    let oidc = patient_verifier();
    let begun = issuer.begin(&oidc).await;
    let brought = begun.brought();
    let mut waiting: Vec<_> =
        (0..EXCHANGING).map(|_| Box::pin(issuer.end(&oidc, &begun, &brought))).collect();
    // Each of them waits for the issuer, which says nothing.
    let all = async {
        while issuer.exchanges() < EXCHANGING {
            for one in &mut waiting {
                assert!(futures::poll!(one).is_pending());
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), all).await.unwrap();
    let error = issuer.end(&oidc, &begun, &brought).await.unwrap_err();
    assert!(error.to_string().contains("too many people log in at this moment"), "{error}");
    assert_eq!(issuer.exchanges(), EXCHANGING, "it was not asked");
    // Whoever goes makes room.
    waiting.pop();
    issuer.says(issuer.good(&begun.nonce));
    issuer.end(&oidc, &begun, &brought).await.unwrap();
}
