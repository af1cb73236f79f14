//! What is tried with tokens, as a table: each has its own error, and none of them is anybody.

use std::collections::BTreeSet;

use base64::Engine as _;
use replibook::access::Identity;
use replibook::access::oidc::{LEEWAY, MAX_TOKEN, TokenError};
use replibook::run::Millis;
use serde_json::{Value, json};

use super::issuer::{FakeIssuer, NOW, identity, verifier};
use super::signer::{Signer, encode, signed};

/// A token, and a part of the error that it gets.
type Case = (&'static str, String, &'static str);

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

fn hmac(secret: &[u8], message: &[u8]) -> Vec<u8> {
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret);
    ring::hmac::sign(&key, message).as_ref().to_vec()
}

/// The issuer of the table, with a key for each kind, and the signers of those keys.
async fn issuer() -> (FakeIssuer, Signer, Signer) {
    let (rsa, ec) = (Signer::rsa("RS256"), Signer::es256());
    let mut small = rsa.published("small");
    small["n"] = json!(encode([0xff; 128]));
    let mut for_secrets = rsa.published("for-secrets");
    for_secrets["use"] = json!("enc");
    let shared = json!({"kty": "oct", "kid": "shared", "alg": "HS256", "k": encode("secret")});
    let mut confused = ec.published("confused");
    confused["alg"] = json!("RS256");
    let keys = vec![rsa.published("rsa"), ec.published("ec"), small, for_secrets, shared, confused];
    (FakeIssuer::start("id", keys).await, rsa, ec)
}

fn of_header(issuer: &FakeIssuer, rsa: &Signer, ec: &Signer) -> Vec<Case> {
    let good = json!({"alg": "RS256", "kid": "rsa", "typ": "JWT"});
    let claims = issuer.claims();
    let header = |changes: Value| rsa.token(&with(&good, changes), &claims);
    let unsigned = |header: Value| signed(&header, &claims, |_| Vec::new());
    let public = rsa.published("rsa")["n"].as_str().unwrap().to_owned();
    let secret = |key: &'static [u8], kid: &str| {
        signed(&json!({"alg": "HS256", "kid": kid}), &claims, |message| hmac(key, message))
    };
    let with_public_key = signed(&json!({"alg": "HS256", "kid": "rsa"}), &claims, |message| {
        hmac(public.as_bytes(), message)
    });
    let stranger = Signer::es256();
    let own_key = stranger.published("ec");
    let twice = format!(
        "{}.{}.x",
        encode(r#"{"alg":"RS256","alg":"none","kid":"rsa"}"#),
        encode(claims.to_string())
    );
    vec![
        (
            "alg none",
            unsigned(json!({"alg": "none", "kid": "rsa"})),
            "is signed with \"none\", expected RS256",
        ),
        ("alg None", unsigned(json!({"alg": "nOnE", "kid": "rsa"})), "expected RS256"),
        ("no alg", unsigned(json!({"kid": "rsa"})), "with `alg`"),
        ("alg is no text", unsigned(json!({"alg": ["RS256"], "kid": "rsa"})), "with `alg`"),
        ("alg twice", twice, "nothing twice"),
        ("HS256 with the public key", with_public_key, "is signed with \"HS256\", expected RS256"),
        ("HS256 with a published secret", secret(b"secret", "shared"), "a key of the kind \"oct\""),
        ("RS256 for PS256", header(json!({"alg": "PS256"})), "expected RS256"),
        ("lower case", header(json!({"alg": "rs256"})), "expected RS256"),
        ("a key for secrets", header(json!({"kid": "for-secrets"})), "`use`: found \"enc\""),
        ("a small key", header(json!({"kid": "small"})), "an RSA key of 1024 bits"),
        ("a key that is confused", header(json!({"kid": "confused"})), "`alg`: found \"RS256\""),
        ("no kid among several", header(json!({"kid": null})), "a token without `kid`"),
        ("kid is a path", header(json!({"kid": "../../../../dev/null"})), "has no key"),
        ("kid is a query", header(json!({"kid": "rsa' OR '1'='1"})), "has no key"),
        ("kid is an address", header(json!({"kid": "https://evil.example/keys"})), "has no key"),
        ("kid is empty", header(json!({"kid": ""})), "has no key"),
        ("kid is long", header(json!({"kid": "k".repeat(300)})), "`kid`: found 300 bytes"),
        ("jku", header(json!({"jku": "https://evil.example/keys"})), "found `jku`"),
        (
            "jwk",
            stranger.token(&json!({"alg": "ES256", "kid": "ec", "jwk": own_key}), &claims),
            "found `jwk`",
        ),
        ("x5u", header(json!({"x5u": "https://evil.example/chain"})), "found `x5u`"),
        ("x5c", header(json!({"x5c": ["MIIB"]})), "found `x5c`"),
        ("crit", header(json!({"crit": ["exp"]})), "found `crit`"),
        ("b64", header(json!({"b64": false})), "found `b64`"),
        ("compressed", header(json!({"zip": "DEF"})), "found `zip`"),
        ("a token in a token", header(json!({"cty": "JWT"})), "found `cty`"),
        ("who logged out", header(json!({"typ": "logout+jwt"})), "`typ`: found \"logout+jwt\""),
        (
            "a long header",
            header(json!({"x": "y".repeat(2_048)})),
            "the header of the token: found",
        ),
        ("a huge header", header(json!({"x": "y".repeat(1 << 20)})), "expected at most 16384"),
        (
            "another's key of that name",
            stranger.token(&json!({"alg": "ES256", "kid": "ec"}), &claims),
            "does not fit",
        ),
        ("another key's signature", ec.token(&good, &claims), "does not fit"),
    ]
}

fn of_shape(issuer: &FakeIssuer, rsa: &Signer, ec: &Signer) -> Vec<Case> {
    let claims = issuer.claims();
    let (rs, es) = (json!({"alg": "RS256", "kid": "rsa"}), json!({"alg": "ES256", "kid": "ec"}));
    let good = rsa.token(&rs, &claims);
    let parts: Vec<&str> = good.split('.').collect();
    let admin = encode(with(&claims, json!({"email": "root@example.com"})).to_string());
    let ec_with =
        |sign: &dyn Fn(Vec<u8>) -> Vec<u8>| signed(&es, &claims, |message| sign(ec.sign(message)));
    let as_json = json!({"payload": parts[1], "protected": parts[0], "signature": parts[2]});
    let long = rsa.token(&rs, &with(&claims, json!({"x": "y".repeat(MAX_TOKEN)})));
    let deep = format!("{}{}", "[".repeat(4_000), "]".repeat(4_000));
    vec![
        ("nothing", String::new(), "three parts"),
        ("no token", "0123456789abcdef".to_owned(), "three parts"),
        ("two parts", format!("{}.{}", parts[0], parts[1]), "three parts"),
        ("five parts", format!("{good}.a.b"), "three parts"),
        ("no signature", format!("{}.{}.", parts[0], parts[1]), "does not fit"),
        ("a cut signature", good[..good.len() - 2].to_owned(), "does not fit"),
        ("other claims", format!("{}.{admin}.{}", parts[0], parts[2]), "does not fit"),
        ("padding", format!("{good}=="), "base64url"),
        ("another base64", format!("{}.{}.+/+/", parts[0], parts[1]), "base64url"),
        ("a blank", format!("{good} "), "base64url"),
        ("as JSON", as_json.to_string(), "three parts"),
        ("encrypted", format!("{}.a.b.c.d", parts[0]), "three parts"),
        ("too long", long, "expected at most 16384"),
        ("nested endlessly", format!("{}.{}.x", parts[0], encode(deep)), "a JSON object"),
        ("no object", signed(&rs, &json!(["a"]), |message| rsa.sign(message)), "a JSON object"),
        (
            "ES256 one byte short",
            ec_with(&|mut s| {
                s.pop();
                s
            }),
            "does not fit",
        ),
        (
            "ES256 one byte more",
            ec_with(&|mut s| {
                s.push(0);
                s
            }),
            "does not fit",
        ),
        ("ES256 of nothing but zeros", ec_with(&|s| vec![0; s.len()]), "does not fit"),
        ("ES256 in DER", ec_with(&|s| der(&s)), "does not fit"),
    ]
}

/// The same signature as certificates have it.
fn der(fixed: &[u8]) -> Vec<u8> {
    let number = |half: &[u8]| {
        let mut number = vec![2, u8::try_from(half.len()).unwrap() + 1, 0];
        number.extend(half);
        number
    };
    let (r, s) = fixed.split_at(fixed.len() / 2);
    let both = [number(r), number(s)].concat();
    [vec![0x30, u8::try_from(both.len()).unwrap()], both].concat()
}

fn of_claims(issuer: &FakeIssuer, rsa: &Signer) -> Vec<Case> {
    let header = json!({"alg": "RS256", "kid": "rsa"});
    let claims = issuer.claims();
    let says = |changes: Value| rsa.token(&header, &with(&claims, changes));
    let leeway = i64::try_from(LEEWAY.0 / 1_000).unwrap();
    let slash = format!("{}/", issuer.spec.issuer);
    vec![
        ("expired", says(json!({"exp": NOW - leeway})), "the token counted until"),
        ("expired long ago", says(json!({"exp": 0})), "the token counted until 1970"),
        ("no end", says(json!({"exp": null})), "`exp` of the token: found nothing"),
        ("an end that is a text", says(json!({"exp": "2100-01-01"})), "seconds since 1970"),
        ("an end before time began", says(json!({"exp": -1})), "seconds since 1970"),
        ("from the future", says(json!({"nbf": NOW + leeway + 1})), "`nbf` of the token is"),
        ("made in the future", says(json!({"iat": NOW + leeway + 1})), "`iat` of the token is"),
        ("another audience", says(json!({"aud": "other"})), "found \"other\", expected replibook"),
        ("a part of the audience", says(json!({"aud": "replibook2"})), "`aud` of the token"),
        ("another case of the audience", says(json!({"aud": "Replibook"})), "`aud` of the token"),
        ("other audiences", says(json!({"aud": ["a", ["replibook"], 7]})), "`aud` of the token"),
        ("an audience that is a key", says(json!({"aud": {"replibook": 1}})), "`aud` of the token"),
        ("no audience", says(json!({"aud": null})), "`aud` of the token: found nothing"),
        (
            "another issuer",
            says(json!({"iss": "https://evil.example"})),
            "of the issuer \"https://evil.example\"",
        ),
        (
            "the issuer with a slash",
            says(json!({"iss": slash})),
            "expected one that this server knows",
        ),
        ("no issuer", says(json!({"iss": null})), "of the issuer nothing"),
        ("two issuers", says(json!({"iss": [issuer.spec.issuer]})), "of the issuer nothing"),
        (
            "an unverified address",
            says(json!({"email_verified": false})),
            "has not verified the email",
        ),
        (
            "an address of which nobody says",
            says(json!({"email_verified": null})),
            "has not verified",
        ),
        (
            "an address that is almost verified",
            says(json!({"email_verified": "true"})),
            "has not verified",
        ),
        ("nobody", says(json!({"email": null})), "`email` of the token: found nothing"),
        ("two people", says(json!({"email": ["a@b", "c@d"]})), "`email` of the token"),
        ("an empty name", says(json!({"email": ""})), "expected a short name"),
        ("a name with a line break", says(json!({"email": "a@b\nroot"})), "expected a short name"),
        (
            "a name that reads backwards",
            says(json!({"email": "a\u{202e}b"})),
            "expected a short name",
        ),
        ("a name without an end", says(json!({"email": "a".repeat(500)})), "expected a short name"),
        ("groups that are numbers", says(json!({"groups": [1]})), "expected names of groups"),
        (
            "groups that are a key",
            says(json!({"groups": {"dba": true}})),
            "expected names of groups",
        ),
    ]
}

#[tokio::test]
async fn no_token_of_the_table_is_anybody() {
    let (issuer, rsa, ec) = issuer().await;
    let (oidc, _) = verifier();
    let good = rsa.token(&json!({"alg": "RS256", "kid": "rsa"}), &issuer.claims());
    assert!(identity(&oidc, &issuer, &good).await.is_ok());
    let mut cases = of_header(&issuer, &rsa, &ec);
    cases.extend(of_shape(&issuer, &rsa, &ec));
    cases.extend(of_claims(&issuer, &rsa));
    let names: BTreeSet<_> = cases.iter().map(|(name, _, _)| *name).collect();
    assert_eq!(names.len(), cases.len());
    for (name, token, says) in cases {
        let error = identity(&oidc, &issuer, &token).await.unwrap_err();
        let text = error.to_string();
        assert!(text.contains(says), "{name}: {text}");
        assert!(!error.retryable(), "{name}: {text}");
        // Nothing of the token that counts for anything is repeated.
        let signature = token.rsplit('.').next().unwrap_or_default();
        assert!(signature.len() < 8 || !text.contains(signature), "{name}: {text}");
    }
}

#[tokio::test]
async fn every_algorithm_is_taken_and_says_who_it_is() {
    let rsa = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"].map(Signer::rsa);
    let others = [Signer::es256(), Signer::es384(), Signer::ed()];
    for signer in rsa.into_iter().chain(others) {
        let name = signer.algorithm();
        let issuer = FakeIssuer::start("id", vec![signer.published(name)]).await;
        let (oidc, _) = verifier();
        for header in [
            json!({"alg": name, "kid": name, "typ": "JWT"}),
            json!({"alg": name, "kid": name, "typ": "application/at+jwt", "x5t": "thumb"}),
            json!({"alg": name}),
        ] {
            let token = signer.token(&header, &issuer.claims());
            let found = identity(&oidc, &issuer, &token).await.unwrap();
            assert_eq!(found.actor().as_deref(), Some("user:id/alice@example.com"), "{name}");
            assert!(found.is_in("id", "dba") && found.is_in("id", "sre"), "{name}");
        }
    }
}

#[tokio::test]
async fn a_token_counts_a_little_longer_for_another_clock_and_no_more() {
    let (issuer, rsa, _) = issuer().await;
    let (oidc, clock) = verifier();
    let header = json!({"alg": "RS256", "kid": "rsa"});
    let claims = with(&issuer.claims(), json!({"aud": ["other", "replibook"], "nbf": NOW + 59}));
    let token = rsa.token(&header, &claims);
    let found = identity(&oidc, &issuer, &token).await.unwrap();
    assert_eq!(found.expires().unwrap().as_millis(), (NOW + 360) * 1_000);
    clock.move_on(Millis::from_secs(359));
    assert!(identity(&oidc, &issuer, &token).await.is_ok());
    clock.move_on(Millis::from_secs(1));
    let error = identity(&oidc, &issuer, &token).await.unwrap_err();
    assert!(matches!(error, TokenError::Expired { .. }), "{error}");
}

#[tokio::test]
async fn two_issuers_that_say_the_same_address_mean_two_people() {
    let (here, there) = (Signer::es256(), Signer::es256());
    let first = FakeIssuer::start("id", vec![here.published("k")]).await;
    let second = FakeIssuer::start("corp", vec![there.published("k")]).await;
    let (oidc, _) = verifier();
    let both = [first.spec.clone(), second.spec.clone()];
    let header = json!({"alg": "ES256", "kid": "k"});
    let one = oidc.identity(&both, &here.token(&header, &first.claims())).await.unwrap();
    let other = oidc.identity(&both, &there.token(&header, &second.claims())).await.unwrap();
    assert_ne!(one, other);
    assert_eq!(one.actor().as_deref(), Some("user:id/alice@example.com"));
    assert_eq!(other.actor().as_deref(), Some("user:corp/alice@example.com"));
    assert!(one.is_in("id", "dba") && !one.is_in("corp", "dba") && !other.is_in("id", "dba"));
    // One signs what the other one would say.
    let forged = oidc.identity(&both, &there.token(&header, &first.claims())).await;
    assert_eq!(forged, Err(TokenError::Signature));
}

#[tokio::test]
async fn nobody_is_named_as_a_token_or_as_somebody_of_another_issuer() {
    let signer = Signer::es256();
    let mut issuer = FakeIssuer::start("id", vec![signer.published("k")]).await;
    issuer.spec.user = "sub".to_owned();
    let (oidc, _) = verifier();
    let ci = Identity::token("ci", None);
    for name in ["token:ci", "ci", "user:corp/alice", "../token:ci", "corp/alice", "group:id/dba"] {
        let claims = with(&issuer.claims(), json!({"sub": name, "groups": [name, "token:ci"]}));
        let token = signer.token(&json!({"alg": "ES256", "kid": "k"}), &claims);
        let found = identity(&oidc, &issuer, &token).await.unwrap();
        assert_eq!(found.actor(), Some(format!("user:id/{name}")));
        assert_ne!(found.actor(), ci.actor());
        assert!(!found.is_in("corp", "alice"));
    }
}

#[test]
fn the_tokens_of_the_table_are_read_in_one_way() {
    // Signatures with bits that count for nothing would be two spellings of one token.
    let engine = base64::engine::general_purpose::URL_SAFE_NO_PAD;
    assert!(engine.decode("AB").is_err() && engine.decode("AA").is_ok());
}
