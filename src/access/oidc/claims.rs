//! What a token says, once it is known who signed it: whether that is meant for us and counts now, and who it is about.

use serde_json::{Map, Value};

use super::bounds::LEEWAY;
use super::error::TokenError;
use super::text::shown;
use crate::access::Identity;
use crate::playbook::access::OidcIssuer;
use crate::run::{Millis, Timestamp};

/// The claim with an address that issuers may or may not have checked.
const EMAIL: &str = "email";

/// What a token says.
pub(super) type Claims = Map<String, Value>;

/// Checks that a token with these claims is of this issuer, meant for this audience, and counts now. Returns until when it
/// does.
pub(super) fn check(
    claims: &Claims,
    issuer: &OidcIssuer,
    audience: &str,
    now: Timestamp,
) -> Result<Timestamp, TokenError> {
    check_issuer(claims, &issuer.issuer)?;
    check_audience(claims, audience)?;
    check_times(claims, now)
}

/// Checks that a token was made for a login that we began, and for this client. Both are what OpenID Connect has identity
/// tokens for.
pub(super) fn check_login(claims: &Claims, client: &str, nonce: &str) -> Result<(), TokenError> {
    if claims.get("nonce").and_then(Value::as_str) != Some(nonce) {
        return Err(TokenError::claim("nonce", "expected the one of this login"));
    }
    match claims.get("azp") {
        None => Ok(()),
        Some(Value::String(party)) if party == client => Ok(()),
        found => Err(TokenError::claim("azp", unexpected(found, client))),
    }
}

/// Who a token with these claims is about. What the issuer says counts until `until`.
pub(super) fn identity(
    claims: &Claims,
    issuer: &OidcIssuer,
    until: Timestamp,
) -> Result<Identity, TokenError> {
    let name = user(claims, issuer)?;
    let groups = issuer.groups.as_deref().map(|claim| groups(claims, claim)).transpose()?;
    let who = Identity::user(&issuer.name, name, groups.unwrap_or_default(), until);
    who.ok_or_else(|| {
        let message = format!("found {}, expected a short name without white space", shown(name));
        TokenError::claim(&issuer.user, message)
    })
}

/// The issuer of the token is exactly this one: no slash more or less.
fn check_issuer(claims: &Claims, expected: &str) -> Result<(), TokenError> {
    match claims.get("iss") {
        Some(Value::String(found)) if found == expected => Ok(()),
        found => Err(TokenError::claim("iss", unexpected(found, expected))),
    }
}

fn check_audience(claims: &Claims, expected: &str) -> Result<(), TokenError> {
    let found = claims.get("aud");
    let is_meant = match found {
        Some(Value::String(one)) => one == expected,
        Some(Value::Array(all)) => all.iter().any(|one| one.as_str() == Some(expected)),
        Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_)) | None => false,
    };
    match is_meant {
        true => Ok(()),
        false => Err(TokenError::claim("aud", unexpected(found, expected))),
    }
}

/// Checks that the token counts now, and returns until when.
fn check_times(claims: &Claims, now: Timestamp) -> Result<Timestamp, TokenError> {
    let until = moment(claims, "exp")?;
    let until =
        until.ok_or_else(|| TokenError::claim("exp", "found nothing, expected when it ends"))?;
    if until.plus(LEEWAY) <= now {
        return Err(TokenError::Expired { until });
    }
    for claim in ["nbf", "iat"] {
        let found = moment(claims, claim)?;
        if let Some(found) = found.filter(|found| *found > now.plus(LEEWAY)) {
            return Err(TokenError::Early { claim, found });
        }
    }
    Ok(until.plus(LEEWAY))
}

/// A moment as tokens have them: seconds, perhaps with parts of them.
fn moment(claims: &Claims, claim: &'static str) -> Result<Option<Timestamp>, TokenError> {
    let Some(found) = claims.get(claim) else { return Ok(None) };
    let seconds = found.as_f64().filter(|seconds| seconds.is_finite() && *seconds >= 0.0);
    match seconds {
        // A number that is too large becomes the last moment that there is.
        Some(seconds) => Ok(Some(Timestamp::default().plus(Millis((seconds * 1_000.0) as u64)))),
        None => Err(TokenError::claim(claim, unexpected(Some(found), "seconds since 1970"))),
    }
}

fn user<'a>(claims: &'a Claims, issuer: &OidcIssuer) -> Result<&'a str, TokenError> {
    let Some(Value::String(name)) = claims.get(&issuer.user) else {
        let message = unexpected(claims.get(&issuer.user), "the name of the user");
        return Err(TokenError::claim(&issuer.user, message));
    };
    // Anybody may write anybody's address into their account at some issuers.
    let is_verified = claims.get("email_verified") == Some(&Value::Bool(true));
    match issuer.user == EMAIL && !is_verified {
        true => Err(TokenError::Unverified { issuer: issuer.name.clone() }),
        false => Ok(name),
    }
}

/// The groups that a token says; one that says nothing of them is in none.
fn groups(claims: &Claims, claim: &str) -> Result<Vec<String>, TokenError> {
    let odd = |found: &Value| TokenError::claim(claim, unexpected(Some(found), "names of groups"));
    match claims.get(claim) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::String(one)) => Ok(vec![one.clone()]),
        Some(Value::Array(all)) => {
            let name = |group: &Value| group.as_str().map(str::to_owned).ok_or_else(|| odd(group));
            all.iter().map(name).collect()
        }
        Some(other @ (Value::Bool(_) | Value::Number(_) | Value::Object(_))) => Err(odd(other)),
    }
}

fn unexpected(found: Option<&Value>, expected: &str) -> String {
    let found = match found {
        None => "nothing".to_owned(),
        Some(Value::String(text)) => shown(text),
        Some(other) => shown(&other.to_string()),
    };
    format!("found {found}, expected {expected}")
}
