//! Keys that change, and issuers that don't answer as they should.

use std::time::Duration;

use replibook::access::oidc::{Oidc, OidcBounds, Provider, TokenError};
use replibook::run::Millis;
use serde_json::json;

use super::issuer::{FakeIssuer, NOW, identity, verifier};
use super::signer::{Signer, encode};
use crate::registry::liar::{Liar, Reply};
use crate::wait::until;

fn token(issuer: &FakeIssuer, signer: &Signer, name: &str) -> String {
    let mut claims = issuer.claims();
    claims["exp"] = json!(NOW + 1_000_000);
    signer.token(&json!({"alg": signer.algorithm(), "kid": name}), &claims)
}

#[tokio::test]
async fn keys_are_fetched_once_and_a_new_one_is_found() {
    let (old, new) = (Signer::es256(), Signer::ed());
    let issuer = FakeIssuer::start("id", vec![old.published("old")]).await;
    let (oidc, clock) = verifier();
    for _ in 0..3 {
        identity(&oidc, &issuer, &token(&issuer, &old, "old")).await.unwrap();
    }
    assert_eq!(issuer.asked(), 1);
    issuer.has(vec![old.published("old"), new.published("new")]);
    // Anybody can send a token with an unknown key, so that alone does not make the server ask all the time.
    for _ in 0..3 {
        let error = identity(&oidc, &issuer, &token(&issuer, &new, "new")).await.unwrap_err();
        assert!(matches!(error, TokenError::UnknownKey { .. }), "{error}");
    }
    assert_eq!(issuer.asked(), 1);
    clock.move_on(OidcBounds::default().again);
    identity(&oidc, &issuer, &token(&issuer, &new, "new")).await.unwrap();
    identity(&oidc, &issuer, &token(&issuer, &old, "old")).await.unwrap();
    assert_eq!(issuer.asked(), 2);
}

#[tokio::test]
async fn a_key_that_is_taken_back_counts_no_more_soon() {
    let (old, new) = (Signer::es256(), Signer::ed());
    let issuer = FakeIssuer::start("id", vec![old.published("old")]).await;
    let (oidc, clock) = verifier();
    let stolen = token(&issuer, &old, "old");
    identity(&oidc, &issuer, &stolen).await.unwrap();
    issuer.has(vec![new.published("new")]);
    clock.move_on(OidcBounds::default().fresh);
    // The first request after that time finds out, and need not wait for it.
    let _ = identity(&oidc, &issuer, &stolen).await;
    until("the key to be refused", Duration::from_secs(60), async || {
        identity(&oidc, &issuer, &stolen).await.err()
    })
    .await;
}

#[tokio::test]
async fn many_who_ask_at_once_are_one_fetch() {
    let signer = Signer::es256();
    let issuer = FakeIssuer::start("id", vec![signer.published("k")]).await;
    let (oidc, _) = verifier();
    let token = token(&issuer, &signer, "k");
    let all = (0..50).map(|_| identity(&oidc, &issuer, &token));
    for found in futures::future::join_all(all).await {
        assert!(found.is_ok(), "{found:?}");
    }
    assert_eq!(issuer.asked(), 1);
}

#[tokio::test]
async fn known_keys_count_for_a_while_when_an_issuer_is_gone() {
    let signer = Signer::es256();
    let issuer = FakeIssuer::start("id", vec![signer.published("k")]).await;
    let (oidc, clock) = verifier();
    let token = token(&issuer, &signer, "k");
    identity(&oidc, &issuer, &token).await.unwrap();
    issuer.answers(|| Reply::status(503, ""));
    let bounds = OidcBounds::default();
    clock.move_on(Millis(bounds.count.0 - 1));
    identity(&oidc, &issuer, &token).await.unwrap();
    clock.move_on(Millis(1));
    // The fetch beside the last request may be going on, or have failed just now.
    let error = identity(&oidc, &issuer, &token).await.unwrap_err();
    assert!(error.retryable(), "{error}");
    assert!(error.to_string().contains("found status 503"), "{error}");
    issuer.has(vec![signer.published("k")]);
    clock.move_on(bounds.retry);
    identity(&oidc, &issuer, &token).await.unwrap();
}

/// A name, what an issuer answers, and what is expected.
type Case<E> = (&'static str, fn() -> Reply, E);

/// What the endpoint of the keys may do, and the error of it.
fn lies() -> Vec<Case<&'static str>> {
    vec![
        ("down", || Reply::status(500, ""), "found status 500"),
        ("slow", || Reply::Silence, "found no whole answer in 0.3 s"),
        (
            "a drip",
            || Reply::Endless(b" ".to_vec(), Duration::from_millis(10)),
            "found no whole answer in 0.3 s",
        ),
        (
            "huge",
            || Reply::Endless(vec![b' '; 64 * 1024], Duration::ZERO),
            "found more than 524288 bytes",
        ),
        ("a redirect", || Reply::status(302, "location: /other"), "no redirect is followed"),
        (
            "a redirect elsewhere",
            || Reply::status(307, "location: http://169.254.169.254/"),
            "no redirect is followed",
        ),
        ("cut off", || Reply::CutOff(1_000, b"{".to_vec()), "/keys: "),
        (
            "no JSON",
            || Reply::Whole(200, Vec::new(), b"<html>".to_vec()),
            "expected a JSON object with `keys`",
        ),
        (
            "no list",
            || Reply::json(&json!({"keys": {"a": 1}})),
            "expected a JSON object with `keys`",
        ),
        (
            "too many",
            || Reply::json(&json!({"keys": vec![json!({}); 65]})),
            "found 65 keys, expected at most 64",
        ),
        ("no HTTP", || Reply::Raw(b"hello\r\n\r\n".to_vec()), "/keys: "),
    ]
}

#[tokio::test]
async fn an_issuer_that_answers_in_other_ways_is_told_from_a_bad_token() {
    let signer = Signer::es256();
    for (name, reply, says) in lies() {
        let issuer = FakeIssuer::start("id", Vec::new()).await;
        issuer.answers(reply);
        let (oidc, _) = verifier();
        let token = token(&issuer, &signer, "k");
        let error = identity(&oidc, &issuer, &token).await.unwrap_err();
        assert!(error.retryable(), "{name}: {error}");
        assert!(error.to_string().contains(says), "{name}: {error}");
        assert!(
            error.to_string().starts_with("failed to get the keys of the issuer id: "),
            "{error}"
        );
        // It is not asked again at once, and the same is said.
        let asked = issuer.asked();
        assert_eq!(identity(&oidc, &issuer, &token).await, Err(error), "{name}");
        assert_eq!(issuer.asked(), asked, "{name}");
    }
}

#[tokio::test]
async fn keys_that_can_not_be_used_are_passed_over() {
    let signer = Signer::es256();
    let issuer = FakeIssuer::start("id", Vec::new()).await;
    let mut odd = vec![
        json!({}),
        json!({"kty": "EC", "crv": "secp256k1", "kid": "a", "x": "AA", "y": "AA"}),
        json!({"kty": "EC", "crv": "P-256", "kid": "b", "x": "AA", "y": "AA"}),
        json!({"kty": "EC", "crv": "P-256", "kid": "c", "x": encode([0; 32]), "y": encode([0; 32])}),
        json!({"kty": "RSA", "kid": "d", "n": encode([0xff; 2048]), "e": "AQAB"}),
        json!({"kty": "RSA", "kid": "e", "n": 7, "e": "AQAB"}),
        json!({"kty": "OKP", "crv": "X25519", "kid": "f", "x": encode([0; 32])}),
        json!("key"),
    ];
    odd.push(signer.published("good"));
    issuer.has(odd);
    let (oidc, _) = verifier();
    identity(&oidc, &issuer, &token(&issuer, &signer, "good")).await.unwrap();
    for (name, says) in [
        ("a", "a key of the kind \"EC\" with the curve \"secp256k1\""),
        ("b", "`x`: found 1 bytes, expected 32"),
        ("c", "the signature of the token does not fit"),
        ("d", "an RSA key of 16384 bits"),
        ("e", "invalid type"),
        ("f", "with the curve \"X25519\""),
    ] {
        let error = identity(&oidc, &issuer, &token(&issuer, &signer, name)).await.unwrap_err();
        assert!(error.to_string().contains(says), "{name}: {error}");
    }
}

#[tokio::test]
async fn an_issuer_that_describes_another_is_not_believed() {
    let signer = Signer::es256();
    let liar = Liar::start(|_| {
        Reply::json(
            &json!({"issuer": "https://id.example.com", "jwks_uri": "https://id.example.com/"}),
        )
    })
    .await;
    let mut issuer = FakeIssuer::start("id", Vec::new()).await;
    issuer.spec.issuer = format!("http://{}", liar.host);
    let (oidc, _): (Oidc, _) = verifier();
    let error = identity(&oidc, &issuer, &token(&issuer, &signer, "k")).await.unwrap_err();
    assert!(error.to_string().contains("`issuer`: found \"https://id.example.com\""), "{error}");
}

#[tokio::test]
async fn a_description_is_bounded() {
    let signer = Signer::es256();
    let liar = Liar::start(|_| Reply::Endless(vec![b' '; 64 * 1024], Duration::ZERO)).await;
    let mut issuer = FakeIssuer::start("id", Vec::new()).await;
    issuer.spec.issuer = format!("http://{}", liar.host);
    let (oidc, _) = verifier();
    let error = identity(&oidc, &issuer, &token(&issuer, &signer, "k")).await.unwrap_err();
    assert!(error.to_string().contains("found more than 131072 bytes"), "{error}");
}

#[tokio::test]
async fn what_an_issuer_hands_out_is_bounded_and_a_refusal_is_told_apart() {
    let answers: [Case<Result<&str, &str>>; 6] = [
        ("tokens", || Reply::json(&json!({"id_token": "a.b.c", "x": 1})), Ok("a.b.c")),
        (
            "too long",
            || Reply::json(&json!({"id_token": "x".repeat(16 * 1024 + 1)})),
            Err("found a token of 16385 bytes"),
        ),
        (
            "endless",
            || Reply::Endless(vec![b' '; 64 * 1024], Duration::ZERO),
            Err("found more than 131072 bytes"),
        ),
        ("elsewhere", || Reply::status(307, "location: /other"), Err("found status 307")),
        (
            "a refusal",
            || {
                let body = json!({"error": "invalid_grant", "error_description": "no \u{1b}[2J"});
                Reply::Whole(400, Vec::new(), body.to_string().into_bytes())
            },
            Err("\"invalid_grant\": \"no  [2J\""),
        ),
        ("no JSON", || Reply::Whole(400, Vec::new(), b"<html>".to_vec()), Err("or with `error`")),
    ];
    for (name, answer, expected) in answers {
        let liar = Liar::start(move |_| answer()).await;
        let address = format!("http://{}", liar.host);
        let bounds = OidcBounds { request: Duration::from_secs(5), ..OidcBounds::default() };
        let provider = Provider::new(&address, bounds).unwrap();
        let found = provider.tokens(&address.parse().unwrap(), &[("code", "secret&x")]).await;
        let found = match found {
            Ok(Ok(tokens)) => Ok(tokens.id_token.unwrap()),
            Ok(Err(refusal)) => Err(refusal.shown),
            Err(message) => Err(message),
        };
        match (&found, expected) {
            (Ok(token), Ok(expected)) => assert_eq!(token, expected, "{name}"),
            (Err(error), Err(says)) => assert!(error.contains(says), "{name}: {error}"),
            (Ok(_), Err(_)) | (Err(_), Ok(_)) => panic!("{name}: {found:?}"),
        }
        // A proxy must not come to know the code.
        assert!(liar.asked().iter().all(|asked| !asked.is_for("secret")), "{name}");
    }
}
