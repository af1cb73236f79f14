//! The requests to an issuer, and what it says about itself. An issuer is asked over TLS, or, for tests, on this machine;
//! nothing that it says leads us to ask anybody without TLS, and no redirect is followed.

use std::net::IpAddr;

use bytes::{Bytes, BytesMut};
use reqwest::header::{ACCEPT, CONTENT_TYPE};
use reqwest::{RequestBuilder, StatusCode};
use serde::Deserialize;
use tokio::time::timeout;
use url::{Host, Url, form_urlencoded};

use super::bounds::{MAX_DESCRIPTION, MAX_KEYS_BYTES, MAX_TOKENS_ANSWER, OidcBounds};
use super::keys::Keys;
use super::text::shown;
use crate::outbound::{client_builder, innermost};

/// Where an issuer describes itself (OpenID Connect Discovery).
const DESCRIPTION_PATH: &str = "/.well-known/openid-configuration";

/// Asks one issuer.
#[derive(Clone, Debug)]
pub struct Provider {
    issuer: String,
    is_plain: bool,
    http: reqwest::Client,
    bounds: OidcBounds,
}

/// What an issuer says about itself. Every address is one that may be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    pub(super) keys: Url,
    /// Where browsers are sent to log in.
    pub(super) authorization: Option<Url>,
    /// Where codes become tokens.
    pub token: Option<Url>,
    /// Where programs without a browser begin.
    pub device: Option<Url>,
    /// Whether it says in its answers to browsers who it is (RFC 9207).
    pub(super) names_itself: bool,
    /// What may be asked for; `None` if it does not say.
    scopes: Option<Vec<String>>,
}

impl Description {
    /// What to ask for in order to learn who somebody is, and with `lasting` for a token that makes further ones. Issuers
    /// refuse what they don't know, so only what they say to know is asked for.
    pub fn scopes(&self, lasting: bool) -> String {
        let wanted = ["openid", "email", "profile", "groups", "offline_access"];
        let wanted = wanted.into_iter().filter(|scope| lasting || *scope != "offline_access");
        let usual = ["openid", "email", "profile"];
        let is_known = |scope: &&str| match &self.scopes {
            Some(known) => *scope == "openid" || known.iter().any(|one| one == scope),
            None => usual.contains(scope),
        };
        wanted.filter(is_known).collect::<Vec<_>>().join(" ")
    }
}

#[derive(Deserialize)]
struct Said {
    issuer: String,
    jwks_uri: String,
    authorization_endpoint: Option<String>,
    token_endpoint: Option<String>,
    device_authorization_endpoint: Option<String>,
    #[serde(default)]
    authorization_response_iss_parameter_supported: bool,
    scopes_supported: Option<Vec<String>>,
}

impl Provider {
    /// A client of the issuer with this identifier. Nothing is sent yet.
    ///
    /// # Errors
    /// The identifier is no address that may be asked, or TLS can't be set up. The text says which.
    pub fn new(issuer: &str, bounds: OidcBounds) -> Result<Self, String> {
        let url =
            Url::parse(issuer).map_err(|error| format!("found {}: {error}", shown(issuer)))?;
        let is_plain = url.scheme() == "http";
        check(&url, is_plain)?;
        // Another part of the process may have installed the provider before; the first one stays, and it is the same.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = client_builder(bounds.connect).referer(false);
        if is_plain {
            // Plain HTTP needs no certificates, so a machine that has none is no obstacle.
            builder = builder.tls_certs_only([]);
        }
        let http = builder.build().map_err(|error| innermost(&error))?;
        Ok(Self { issuer: issuer.to_owned(), is_plain, http, bounds })
    }

    /// Whether the issuer is on this machine and asked without TLS, as tests do.
    pub fn is_plain(&self) -> bool {
        self.is_plain
    }

    pub(super) fn issuer(&self) -> &str {
        &self.issuer
    }

    /// What the issuer says about itself. It has to be the issuer that was asked.
    ///
    /// # Errors
    /// It does not answer in time, or not in the way of an issuer; the text says what was found.
    pub async fn describe(&self) -> Result<Description, String> {
        let address = format!("{}{DESCRIPTION_PATH}", self.issuer.trim_end_matches('/'));
        let url =
            Url::parse(&address).map_err(|error| format!("found {}: {error}", shown(&address)))?;
        let body = self.asked(self.http.get(url), MAX_DESCRIPTION).await?;
        self.read(&body).map_err(|message| format!("{DESCRIPTION_PATH}: {message}"))
    }

    fn read(&self, body: &[u8]) -> Result<Description, String> {
        let said: Said = serde_json::from_slice(body).map_err(|error| {
            format!("expected a JSON object with `issuer` and `jwks_uri`: {error}")
        })?;
        if said.issuer != self.issuer {
            return Err(format!(
                "`issuer`: found {}, expected {}",
                shown(&said.issuer),
                self.issuer
            ));
        }
        let address = |name: &str, text: &str| -> Result<Url, String> {
            let url = Url::parse(text).map_err(|error| format!("found {}: {error}", shown(text)));
            let url = url.and_then(|url| check(&url, self.is_plain).map(|()| url));
            url.map_err(|message| format!("`{name}`: {message}"))
        };
        let optional = |name: &str, text: &Option<String>| {
            text.as_deref().map(|text| address(name, text)).transpose()
        };
        Ok(Description {
            keys: address("jwks_uri", &said.jwks_uri)?,
            authorization: optional("authorization_endpoint", &said.authorization_endpoint)?,
            token: optional("token_endpoint", &said.token_endpoint)?,
            device: optional("device_authorization_endpoint", &said.device_authorization_endpoint)?,
            names_itself: said.authorization_response_iss_parameter_supported,
            scopes: said.scopes_supported,
        })
    }

    /// What the issuer says about itself, and its keys.
    pub(super) async fn keys(&self) -> Result<(Description, Keys), String> {
        let said = self.describe().await?;
        let body = self.asked(self.http.get(said.keys.clone()), MAX_KEYS_BYTES).await;
        let keys = body.and_then(|body| Keys::read(&body));
        let keys = keys.map_err(|message| format!("{}: {message}", said.keys.path()))?;
        Ok((said, keys))
    }

    /// Sends a form to the issuer, and returns status and body of the answer: refusals have a body of their own.
    ///
    /// # Errors
    /// There is no answer in time, or it is too large, or the issuer is broken; the text says what was found.
    pub async fn post(&self, to: &Url, form: &[(&str, &str)]) -> Result<(bool, Bytes), String> {
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let request = self.http.post(to.clone());
        let request = request.header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        let (status, body) = self.answer(request.body(body), MAX_TOKENS_ANSWER).await?;
        match status {
            StatusCode::OK => Ok((true, body)),
            StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                Ok((false, body))
            }
            other => Err(format!("found status {other}, expected 200 or 400")),
        }
    }

    async fn asked(&self, request: RequestBuilder, most: usize) -> Result<Bytes, String> {
        match self.answer(request, most).await? {
            (StatusCode::OK, body) => Ok(body),
            (other, _) if other.is_redirection() => {
                Err(format!("found status {other}, and no redirect is followed"))
            }
            (other, _) => Err(format!("found status {other}, expected 200")),
        }
    }

    /// An answer, all of it within the time for a request.
    async fn answer(
        &self,
        request: RequestBuilder,
        most: usize,
    ) -> Result<(StatusCode, Bytes), String> {
        let exchange = async {
            let request = request.header(ACCEPT, "application/json");
            let mut response = request.send().await.map_err(failed)?;
            let mut body = BytesMut::new();
            while let Some(piece) = response.chunk().await.map_err(failed)? {
                if body.len() + piece.len() > most {
                    return Err(format!("found more than {most} bytes"));
                }
                body.extend_from_slice(&piece);
            }
            Ok((response.status(), body.freeze()))
        };
        let limit = self.bounds.request;
        let in_time = timeout(limit, exchange).await;
        in_time
            .unwrap_or_else(|_| Err(format!("found no whole answer in {} s", limit.as_secs_f32())))
    }
}

/// Whether an address may be asked: over TLS, or on this machine where the issuer itself is there without TLS.
fn check(url: &Url, is_plain: bool) -> Result<(), String> {
    let found = shown(url.as_str());
    if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
        return Err("found an address with a name, a password or a fragment".to_owned());
    }
    match url.scheme() {
        "https" => Ok(()),
        "http" if is_plain && is_loopback(url) => Ok(()),
        _ => Err(format!("found {found}, expected an https address")),
    }
}

/// Whether the host is written as one that is always this machine.
fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => IpAddr::V6(address).to_canonical().is_loopback(),
        None => false,
    }
}

fn failed(error: reqwest::Error) -> String {
    innermost(&error.without_url())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn provider(issuer: &str) -> Provider {
        Provider::new(issuer, OidcBounds::default()).unwrap()
    }

    #[test]
    fn an_issuer_is_asked_over_tls_or_on_this_machine() {
        for good in [
            "https://id.example.com",
            "https://id.example.com/realms/a",
            "http://127.0.0.1:1",
            "http://[::1]:1",
        ] {
            assert!(Provider::new(good, OidcBounds::default()).is_ok(), "{good}");
        }
        for bad in [
            "http://id.example.com",
            "ftp://id.example.com",
            "id",
            "https://a:b@id.example.com",
            "http://127.0.0.1.example.com",
        ] {
            assert!(Provider::new(bad, OidcBounds::default()).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_an_issuer_says_leads_nowhere_else() {
        let secure = provider("https://id.example.com");
        let said =
            |issuer: &str, keys: &str| format!(r#"{{"issuer": "{issuer}", "jwks_uri": "{keys}"}}"#);
        let good = said("https://id.example.com", "https://keys.example.com/1");
        assert_eq!(
            secure.read(good.as_bytes()).unwrap().keys.as_str(),
            "https://keys.example.com/1"
        );
        for (issuer, keys, says) in [
            ("https://id.example.com/", "https://id.example.com/k", "`issuer`: found"),
            ("https://evil.example", "https://id.example.com/k", "`issuer`: found"),
            ("https://id.example.com", "http://id.example.com/k", "`jwks_uri`: found"),
            ("https://id.example.com", "http://127.0.0.1/k", "expected an https address"),
            ("https://id.example.com", "file:///etc/passwd", "expected an https address"),
            ("https://id.example.com", "https://a:b@id.example.com/", "a name, a password"),
        ] {
            let error = secure.read(said(issuer, keys).as_bytes()).unwrap_err();
            assert!(error.contains(says), "{error}");
        }
        let local = provider("http://127.0.0.1:1");
        assert!(local.read(said("http://127.0.0.1:1", "http://[::1]:2/k").as_bytes()).is_ok());
        assert!(local.read(said("http://127.0.0.1:1", "http://10.0.0.1/k").as_bytes()).is_err());
    }
}
