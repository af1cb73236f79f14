//! What is kept of a login: a token for the server, and what makes the next one.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::error::LoginFailed;
use crate::access::oidc::{OidcBounds, Provider, Tokens};
use crate::clock::Clock;
use crate::run::{Millis, Timestamp};

/// A token that ends within this time is exchanged for another one: it must not end on its way.
const SOON: Millis = Millis(30_000);

/// A login, as it is kept. It is never shown, and so has no text for debugging.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Login {
    /// The identifier of the issuer.
    pub(crate) issuer: String,
    /// The client identifier with which tokens are asked for.
    pub(crate) client: String,
    /// What the server expects tokens to be made for.
    pub(crate) audience: String,
    /// What the server is sent.
    pub(crate) token: String,
    /// Until when the token counts.
    pub(crate) until: Timestamp,
    /// What makes the next token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) refresh: Option<String>,
}

impl Login {
    /// What to keep of tokens: the one that is made for the server.
    pub(super) fn of(
        issuer: &str,
        client: &str,
        audience: &str,
        tokens: Tokens,
    ) -> Result<Self, LoginFailed> {
        let Tokens { id_token, access_token, refresh_token } = tokens;
        let all = [("the identity token", id_token), ("the access token", access_token)];
        let mut found = Vec::new();
        for (what, token) in all {
            let Some(token) = token else { continue };
            match Said::of(&token) {
                Some(said) if said.is_for(audience) => {
                    let [issuer, client, audience] = [issuer, client, audience].map(str::to_owned);
                    let until = said.until;
                    return Ok(Self {
                        issuer,
                        client,
                        audience,
                        token,
                        until,
                        refresh: refresh_token,
                    });
                }
                Some(said) => found.push(format!("{what} is for {}", said.audience)),
                None => found.push(format!("{what} is none that others can read")),
            }
        }
        let found =
            if found.is_empty() { "it made none at all".to_owned() } else { found.join(", ") };
        Err(LoginFailed::NoToken { audience: audience.to_owned(), found })
    }

    /// Whether the token ends soon, or has ended.
    pub(crate) fn ends_soon(&self, clock: &dyn Clock) -> bool {
        self.until <= clock.now().plus(SOON)
    }

    /// The login with a new token, which the issuer makes without a person.
    ///
    /// # Errors
    /// [`LoginFailed`]: the issuer can't be asked, or makes none.
    pub(crate) async fn renewed(&self) -> Result<Self, LoginFailed> {
        let ended = |why: &str| LoginFailed::Ended(why.to_owned());
        let refresh = self.refresh.as_deref().ok_or_else(|| ended("its token is too old"))?;
        let provider =
            Provider::new(&self.issuer, OidcBounds::default()).map_err(LoginFailed::Issuer)?;
        let said = provider.describe().await.map_err(LoginFailed::Issuer)?;
        let to = said.token.ok_or(LoginFailed::NoDevices)?;
        let form = [
            ("grant_type", "refresh_token"),
            ("refresh_token", refresh),
            ("client_id", &self.client),
        ];
        let tokens = provider.tokens(&to, &form).await.map_err(LoginFailed::Issuer)?;
        let mut tokens = tokens.map_err(|refusal| LoginFailed::Ended(refusal.shown))?;
        // An issuer that makes no new one lets the old one count on.
        tokens.refresh_token.get_or_insert_with(|| refresh.to_owned());
        Self::of(&self.issuer, &self.client, &self.audience, tokens)
    }
}

/// What a token says of itself. Only the server checks whether that is true.
struct Said {
    audience: Value,
    until: Timestamp,
}

impl Said {
    fn of(token: &str) -> Option<Self> {
        let mut parts = token.split('.');
        let (_, payload, _) = (parts.next()?, parts.next()?, parts.next()?);
        let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()?;
        let until = claims["exp"].as_f64().filter(|seconds| *seconds >= 0.0)?;
        let until = Timestamp::default().plus(Millis((until * 1_000.0) as u64));
        Some(Self { audience: claims["aud"].clone(), until })
    }

    fn is_for(&self, audience: &str) -> bool {
        match &self.audience {
            Value::String(one) => one == audience,
            Value::Array(all) => all.iter().any(|one| one.as_str() == Some(audience)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn token(claims: &Value) -> String {
        format!("e30.{}.sig", URL_SAFE_NO_PAD.encode(claims.to_string()))
    }

    fn kept(id_token: Option<String>, access_token: Option<String>) -> Result<Login, LoginFailed> {
        let tokens = Tokens { id_token, access_token, refresh_token: Some("r".to_owned()) };
        Login::of("https://id.example.com", "replictl", "replibook", tokens)
    }

    #[test]
    fn the_token_that_is_made_for_the_server_is_kept() {
        let here = token(&json!({"aud": ["x", "replibook"], "exp": 60}));
        let elsewhere = token(&json!({"aud": "replictl", "exp": 60}));
        let opaque = "7Fjfp0ZBr1KtDRbnfVdmIw".to_owned();
        let first = kept(Some(here.clone()), Some(elsewhere.clone())).ok().unwrap();
        assert_eq!((&first.token, first.until), (&here, Timestamp::from_millis(60_000)));
        let second = kept(Some(elsewhere.clone()), Some(here.clone())).ok().unwrap();
        assert_eq!((second.token, second.refresh.as_deref()), (here, Some("r")));
        let error = kept(Some(elsewhere), Some(opaque)).err().unwrap().to_string();
        for says in ["identity token is for \"replictl\"", "access token is none that others can"] {
            assert!(error.contains(says), "{error}");
        }
        assert!(kept(None, None).err().unwrap().to_string().ends_with("it made none at all"));
    }
}
