//! The requests of one pull or push: which server each goes to and with what, redirects, repetitions, tokens.

use bytes::Bytes;
use reqwest::dns::Resolve;
use reqwest::header::{AUTHORIZATION, HeaderName, HeaderValue, LOCATION, WWW_AUTHENTICATE};
use reqwest::{Method, Response, StatusCode, Url};
use serde::Deserialize;
use tokio::time::timeout;

use super::body::{self, Expected};
use super::bounds::{Bounds, MAX_REDIRECTS, MAX_TOKEN, MAX_TOKEN_ANSWER, MAX_TRIES, SMALL_BODY};
use super::challenge::{self, Challenge};
use super::error::RegistryError;
use super::login::{Login, Secret, basic, bearer};
use super::manifest::shown;
use super::origin::Origin;
use super::reach::{CheckedNames, Reach, RefusedAddress};
use super::waiting;
use crate::outbound::{client_builder, innermost};

/// One pull or push.
pub(super) struct Session {
    pub(super) registry: Origin,
    pub(super) bounds: Bounds,
    pub(super) repository: String,
    /// Servers that need no encryption, beside those on this machine: `HOST` or `HOST:PORT`.
    pub(super) plain: Vec<String>,
    pub(super) login: Login,
    /// What a token has to allow: `pull` or `pull,push`. It never follows from what a registry says.
    pub(super) actions: &'static str,
    named: reqwest::Client,
    elsewhere: Option<reqwest::Client>,
    authorization: Option<HeaderValue>,
    has_logged_in: bool,
}

/// A request.
#[derive(Clone)]
pub(super) struct Ask {
    pub(super) method: Method,
    pub(super) url: Url,
    /// What is asked for, for messages.
    pub(super) what: String,
    pub(super) headers: Vec<(HeaderName, &'static str)>,
    pub(super) body: Option<Bytes>,
}

impl Session {
    pub(super) fn new(
        registry: Origin,
        repository: String,
        actions: &'static str,
        login: Login,
        plain: Vec<String>,
        bounds: Bounds,
    ) -> Result<Self, RegistryError> {
        let named = client(Reach::Named, &registry, &login, &bounds)?;
        let authorization = match &login.secret {
            Some(Secret::Token(token)) => {
                let header = bearer(token).ok_or_else(|| unusable(&registry, &login))?;
                Some(header)
            }
            Some(Secret::Password { .. }) | None => None,
        };
        let (elsewhere, has_logged_in) = (None, false);
        Ok(Self {
            registry,
            bounds,
            repository,
            plain,
            login,
            actions,
            named,
            elsewhere,
            authorization,
            has_logged_in,
        })
    }

    /// An address in the repository.
    pub(super) fn url(&self, path: &str) -> Result<Url, RegistryError> {
        let text = format!("{}/v2/{}/{path}", self.registry, self.repository);
        Url::parse(&text).map_err(|error| RegistryError::Reference(format!("{text}: {error}")))
    }

    /// Sends a request until it is answered for good: logs in once, and comes again when it is asked to. Returns who
    /// answered, too.
    pub(super) async fn send(&mut self, ask: &Ask) -> Result<(Response, Origin), RegistryError> {
        let mut tried = 1;
        loop {
            let (response, origin) = self.follow(ask).await?;
            let status = response.status();
            let may_log_in = !self.has_logged_in && self.authorization.is_none();
            if status == StatusCode::UNAUTHORIZED && origin == self.registry && may_log_in {
                self.has_logged_in = true;
                self.log_in(&response).await?;
                continue;
            }
            if !waiting::is_passing(status) {
                return Ok((response, origin));
            }
            let wait = waiting::before(tried, response.headers(), &self.bounds);
            let wait = wait.filter(|_| tried < MAX_TRIES);
            let Some(wait) = wait else {
                return match waiting::is_failure(status) {
                    true => Ok((response, origin)),
                    false => Err(busy(&response, origin)),
                };
            };
            drop(response);
            waiting::wait(wait).await;
            tried += 1;
        }
    }

    /// The error of an answer that is not what was asked for.
    pub(super) async fn refused(
        &self,
        response: Response,
        origin: Origin,
        what: &str,
    ) -> RegistryError {
        let status = response.status();
        let codes = body::codes(response, &self.bounds).await;
        let (what, status) = (what.to_owned(), status.as_u16());
        match status {
            401 | 403 => {
                let (repository, login) = (self.repository.clone(), self.login.who());
                RegistryError::Denied { origin, repository, status, codes, login }
            }
            404 => RegistryError::NotFound { origin, what, codes },
            _ => RegistryError::Status { origin, what, status, codes },
        }
    }

    /// Sends a request, and follows redirects of a reading one.
    async fn follow(&mut self, ask: &Ask) -> Result<(Response, Origin), RegistryError> {
        let mut url = ask.url.clone();
        let mut from: Option<Origin> = None;
        for _ in 0..=MAX_REDIRECTS {
            let sent = self.once(ask, &url).await;
            let (response, origin) =
                sent.map_err(|error| redirected(from.as_ref(), &url, error))?;
            let is_redirect = matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308);
            if !is_redirect {
                return Ok((response, origin));
            }
            let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
            let next = location.and_then(|location| url.join(location).ok());
            let to = next.as_ref().and_then(Origin::of);
            let to = to.map_or_else(|| "no address".to_owned(), |to| to.to_string());
            let redirect = |why: &str| {
                let why = why.to_owned();
                RegistryError::Redirect { origin: origin.clone(), to: to.clone(), why }
            };
            if ask.method != Method::GET && ask.method != Method::HEAD {
                return Err(redirect("what is sent is not sent elsewhere"));
            }
            url = next.ok_or_else(|| redirect("expected an address of http or https"))?;
            from = Some(origin);
        }
        let why = format!("expected at most {MAX_REDIRECTS} redirects");
        let (origin, to) = (from.unwrap_or_else(|| self.registry.clone()), "further".to_owned());
        Err(RegistryError::Redirect { origin, to, why })
    }

    /// Sends one request. Only the registry itself is told who asks.
    async fn once(&mut self, ask: &Ask, url: &Url) -> Result<(Response, Origin), RegistryError> {
        let (origin, reach) = self.check(url)?;
        let mut request = self.client(reach)?.request(ask.method.clone(), url.clone());
        for (name, value) in &ask.headers {
            request = request.header(name, *value);
        }
        if let Some(authorization) = self.authorization.clone().filter(|_| origin == self.registry)
        {
            request = request.header(AUTHORIZATION, authorization);
        }
        if let Some(body) = ask.body.clone() {
            request = request.body(body);
        }
        let is_large = ask.body.as_ref().is_some_and(|body| body.len() > SMALL_BODY);
        let response = self.answer(request, &origin, is_large).await?;
        Ok((response, origin))
    }

    /// Waits until the answer to a request begins. With a large body that is sent first, only the time in all counts.
    async fn answer(
        &self,
        request: reqwest::RequestBuilder,
        origin: &Origin,
        is_large: bool,
    ) -> Result<Response, RegistryError> {
        let silence = if is_large { self.bounds.in_all } else { self.bounds.silence };
        let Ok(sent) = timeout(silence, request.send()).await else {
            let message = format!("found no answer for {} s", silence.as_secs_f32());
            return Err(RegistryError::Slow {
                origin: origin.clone(),
                what: "its answer".to_owned(),
                message,
            });
        };
        sent.map_err(|error| unreachable_at(origin, &error.without_url()))
    }

    /// Whether a request may go to an address, and how far its client may reach.
    fn check(&self, url: &Url) -> Result<(Origin, Reach), RegistryError> {
        let malformed = |message: &str| RegistryError::Malformed {
            origin: self.registry.clone(),
            what: "a request".to_owned(),
            message: message.to_owned(),
        };
        let origin = Origin::of(url);
        let origin =
            origin.ok_or_else(|| malformed("found an address that is not of http or https"))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(malformed("found an address with a name or password in it"));
        }
        let is_named = origin == self.registry || self.login.origins.contains(&origin);
        let reach = if is_named { Reach::Named } else { Reach::Elsewhere };
        if let Some(ip) = origin.ip() {
            reach.check(origin.host(), ip)?;
        }
        if !origin.is_secure() && !may_be_plain(&origin, &self.plain) {
            return Err(RegistryError::PlainHttp { origin });
        }
        Ok((origin, reach))
    }

    fn client(&mut self, reach: Reach) -> Result<reqwest::Client, RegistryError> {
        if reach == Reach::Named {
            return Ok(self.named.clone());
        }
        if let Some(known) = &self.elsewhere {
            return Ok(known.clone());
        }
        // No certificate of ours, and no authority that was meant for the registry.
        let made = client(reach, &self.registry, &Login::default(), &self.bounds)?;
        Ok(self.elsewhere.insert(made).clone())
    }

    /// Does what the registry asks for, so that the next request says who asks.
    async fn log_in(&mut self, response: &Response) -> Result<(), RegistryError> {
        let origin = self.registry.clone();
        let bad = |message: String| RegistryError::Challenge { origin: origin.clone(), message };
        let header = response.headers().get(WWW_AUTHENTICATE);
        let header = header.and_then(|value| value.to_str().ok()).unwrap_or_default();
        match (challenge::read(header).map_err(bad)?, &self.login.secret) {
            (Challenge::Basic, Some(Secret::Password { user, password })) => {
                let header = basic(user, password);
                self.authorization = Some(header.ok_or_else(|| unusable(&origin, &self.login))?);
                Ok(())
            }
            // The next answer refuses, and that error says as whom it was asked.
            (Challenge::Basic, Some(Secret::Token(_)) | None) => Ok(()),
            (Challenge::Bearer { realm, service }, _) => {
                let realm = Url::parse(&realm).map_err(|_| {
                    bad(format!("found the realm {}, expected an address", shown(&realm)))
                })?;
                let token = self.token(realm, service).await?;
                let header = bearer(&token);
                let header =
                    header.ok_or_else(|| bad("found a token with odd characters".to_owned()))?;
                self.authorization = Some(header);
                Ok(())
            }
        }
    }

    /// Asks a token server. It gets the password only if it may be told it, and follows from no redirect.
    async fn token(
        &mut self,
        mut realm: Url,
        service: Option<String>,
    ) -> Result<String, RegistryError> {
        let (origin, reach) = self.check(&realm)?;
        let password = match &self.login.secret {
            Some(Secret::Password { user, password }) => {
                if !self.login.may_tell(&self.registry, &origin) {
                    let (registry, credentials) = (self.registry.clone(), self.login.name.clone());
                    return Err(RegistryError::TokenServer {
                        registry,
                        realm: origin,
                        credentials,
                    });
                }
                Some(basic(user, password).ok_or_else(|| unusable(&origin, &self.login))?)
            }
            Some(Secret::Token(_)) | None => None,
        };
        realm.query_pairs_mut().extend_pairs(service.map(|service| ("service", service)));
        let scope = format!("repository:{}:{}", self.repository, self.actions);
        realm.query_pairs_mut().append_pair("scope", &scope);
        let mut request = self.client(reach)?.get(realm);
        if let Some(password) = password {
            request = request.header(AUTHORIZATION, password);
        }
        let response = self.answer(request, &origin, false).await?;
        if waiting::is_passing(response.status()) {
            return Err(busy(&response, origin));
        }
        if response.status() != StatusCode::OK {
            return Err(self.refused(response, origin, "a request for a token").await);
        }
        let expected =
            Expected { origin: &origin, what: "the answer with a token", most: MAX_TOKEN_ANSWER };
        let answer = body::read(response, &expected, &self.bounds, None).await?;
        read_token(&answer).map_err(|message| RegistryError::Malformed {
            origin,
            what: "a request for a token".to_owned(),
            message,
        })
    }
}

#[derive(Deserialize)]
struct TokenAnswer {
    token: Option<String>,
    access_token: Option<String>,
}

fn read_token(answer: &[u8]) -> Result<String, String> {
    // The parser's message may quote the answer, which holds a token.
    let read: TokenAnswer = serde_json::from_slice(answer)
        .map_err(|_| "expected JSON with `token` or `access_token`".to_owned())?;
    let found =
        [read.token, read.access_token].into_iter().flatten().find(|token| !token.is_empty());
    let token = found.ok_or("found no `token` and no `access_token`")?;
    match token.len() {
        ..=MAX_TOKEN => Ok(token),
        found => Err(format!("found a token of {found} bytes, expected at most {MAX_TOKEN}")),
    }
}

/// Whether a server may be asked without encryption.
pub(super) fn may_be_plain(origin: &Origin, plain: &[String]) -> bool {
    let is_listed = |listed: &String| *listed == origin.authority() || listed == origin.host();
    origin.is_loopback() || plain.iter().any(is_listed)
}

fn client(
    reach: Reach,
    registry: &Origin,
    login: &Login,
    bounds: &Bounds,
) -> Result<reqwest::Client, RegistryError> {
    let failed = |error: reqwest::Error| RegistryError::Client(innermost(&error));
    // Another part of the process may have installed the provider before; the first one stays, and it is the same.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let names: std::sync::Arc<dyn Resolve> = std::sync::Arc::new(CheckedNames(reach));
    let mut builder = client_builder(bounds.connect).referer(false).dns_resolver(names);
    if let Some(ca) = &login.ca {
        let trusted = reqwest::Certificate::from_pem_bundle(ca).map_err(failed)?;
        builder = builder.tls_certs_merge(trusted);
    } else if reach == Reach::Named && !registry.is_secure() && login.origins.is_empty() {
        // Plain HTTP needs no certificates, so a machine that has none is no obstacle.
        builder = builder.tls_certs_only([]);
    }
    if let Some(identity) = &login.identity {
        builder = builder.identity(reqwest::Identity::from_pem(identity).map_err(failed)?);
    }
    builder.build().map_err(failed)
}

fn unusable(origin: &Origin, login: &Login) -> RegistryError {
    let message =
        format!("the credentials {} have characters that a header can't have", login.name);
    RegistryError::Challenge { origin: origin.clone(), message }
}

fn busy(response: &Response, origin: Origin) -> RegistryError {
    let later = match waiting::asked(response.headers()) {
        Some(time) => format!("after {} s", time.as_secs()),
        None => "later".to_owned(),
    };
    RegistryError::Busy { origin, status: response.status().as_u16(), later }
}

/// The error of a connection. A refused address is one of its causes.
fn unreachable_at(origin: &Origin, error: &reqwest::Error) -> RegistryError {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(found) = cause {
        if let Some(refused) = found.downcast_ref::<RefusedAddress>() {
            return refused.clone().into();
        }
        cause = found.source();
    }
    let message = match error.is_timeout() {
        true => "it did not answer in time".to_owned(),
        false => innermost(error),
    };
    RegistryError::Unreachable { origin: origin.clone(), message }
}

/// What is wrong with where a redirect leads is the fault of who redirects.
fn redirected(from: Option<&Origin>, url: &Url, error: RegistryError) -> RegistryError {
    let Some(from) = from else { return error };
    let why = match &error {
        RegistryError::Address(refused) => refused.to_string(),
        RegistryError::PlainHttp { .. } => "it is not encrypted".to_owned(),
        RegistryError::Malformed { message, .. } => message.clone(),
        RegistryError::Unreachable { .. }
        | RegistryError::Redirect { .. }
        | RegistryError::TokenServer { .. }
        | RegistryError::Challenge { .. }
        | RegistryError::Denied { .. }
        | RegistryError::NotFound { .. }
        | RegistryError::Busy { .. }
        | RegistryError::Status { .. }
        | RegistryError::TooLarge { .. }
        | RegistryError::Length { .. }
        | RegistryError::Slow { .. }
        | RegistryError::OutOfTime { .. }
        | RegistryError::Digest { .. }
        | RegistryError::NotPlugin { .. }
        | RegistryError::NotSignature { .. }
        | RegistryError::TooMany { .. }
        | RegistryError::Reference(_)
        | RegistryError::Credentials(_)
        | RegistryError::Client(_) => return error,
    };
    let to = Origin::of(url).map_or_else(|| url.scheme().to_owned(), |to| to.to_string());
    RegistryError::Redirect { origin: from.clone(), to, why }
}
