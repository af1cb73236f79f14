//! Sends requests of steps over the network.

use std::collections::BTreeMap;
use std::error::Error;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use reqwest::{Client, Response};
use rustls::{ClientConfig, RootCertStore};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use url::{Host, Url};

use super::client::{Caller, Outbound, Sending};
use super::networks::Networks;
use super::resolver::{Lookup, NotReachable, Resolver, SystemLookup, reachable};
use super::settings::client_builder;
use crate::playbook::HttpMethod;
use crate::run::{
    HttpError, HttpRequest, HttpResponse, MAX_HTTP_BODY, MAX_HTTP_HEADER_BYTES, MAX_HTTP_HEADERS,
};

/// The most requests in progress at once; further ones wait. Each takes a descriptor, and may take two bodies of
/// memory.
pub const MAX_SENDING: usize = 256;

/// Time within which a connection must be established: whoever is not there is told from whoever is slow.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long an unused connection is kept.
const KEPT: Duration = Duration::from_secs(30);

/// Unused connections that are kept for each host: as many as may be in use.
const KEPT_CONNECTIONS: usize = MAX_SENDING;

/// How many clients are kept. There is one for each list of networks that a policy has, because a connection that
/// one plugin may use need not be for another.
const CLIENTS: usize = 64;

/// Says which networks a plugin may reach.
#[async_trait]
pub trait Reachable: Send + Sync {
    /// The networks beside the public Internet that requests on behalf of `caller` may go to.
    ///
    /// # Errors
    /// [`HttpError::Failed`] if that can't be found out now.
    async fn networks(&self, caller: &Caller) -> Result<Networks, HttpError>;
}

/// The same networks for everybody.
#[async_trait]
impl Reachable for Networks {
    async fn networks(&self, _: &Caller) -> Result<Networks, HttpError> {
        Ok(self.clone())
    }
}

/// Why requests can't be sent at all.
#[derive(Debug, thiserror::Error)]
pub enum OutboundError {
    /// TLS can't be set up.
    #[error("failed to set up TLS for requests of steps")]
    Tls(#[from] rustls::Error),
    /// The HTTP client could not be made.
    #[error("failed to make the HTTP client for requests of steps")]
    Client(#[from] reqwest::Error),
}

/// The [`Outbound`] over the network. It uses no proxy and follows no redirects. Servers are checked against the
/// certificates that the system trusts (`SSL_CERT_FILE` names others).
pub struct HttpOutbound {
    tls: ClientConfig,
    lookup: Arc<dyn Lookup>,
    reachable: Arc<dyn Reachable>,
    clients: Mutex<BTreeMap<Networks, Client>>,
    places: Semaphore,
}

impl HttpOutbound {
    /// A client for requests. Reads the certificates that the system trusts.
    ///
    /// # Errors
    /// [`OutboundError`] when TLS can't be set up.
    pub fn new(reachable: Arc<dyn Reachable>) -> Result<Self, OutboundError> {
        Self::with_lookup(reachable, Arc::new(SystemLookup))
    }

    fn with_lookup(
        reachable: Arc<dyn Reachable>,
        lookup: Arc<dyn Lookup>,
    ) -> Result<Self, OutboundError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(trusted())
            .with_no_client_auth();
        let outbound = Self {
            tls,
            lookup,
            reachable,
            clients: Mutex::default(),
            places: Semaphore::new(MAX_SENDING),
        };
        outbound.client(&Networks::default())?;
        Ok(outbound)
    }

    /// The client that connects to these networks alone.
    fn client(&self, networks: &Networks) -> Result<Client, OutboundError> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(networks) {
            return Ok(client.clone());
        }
        if clients.len() >= CLIENTS {
            // Their connections are closed, and made again where they are needed.
            clients.clear();
        }
        let resolver = Resolver { lookup: Arc::clone(&self.lookup), networks: networks.clone() };
        let client = client_builder(CONNECT_TIMEOUT)
            .tls_backend_preconfigured(self.tls.clone())
            .dns_resolver(Arc::new(resolver))
            .pool_idle_timeout(KEPT)
            .pool_max_idle_per_host(KEPT_CONNECTIONS)
            .build()?;
        clients.insert(networks.clone(), client.clone());
        Ok(client)
    }
}

/// The certificates that the system trusts. A system without any can reach no `https` origin.
fn trusted() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::warn!(%error, "failed to read a certificate that the system trusts");
    }
    let (_, unusable) = roots.add_parsable_certificates(found.certs);
    if unusable > 0 {
        tracing::warn!(unusable, "some certificates that the system trusts can't be read");
    }
    roots
}

#[async_trait]
impl Outbound for HttpOutbound {
    async fn send(&self, sending: Sending) -> Result<HttpResponse, HttpError> {
        // The semaphore is never closed.
        let _place = self.places.acquire().await.map_err(|error| failed(&error))?;
        let networks = self.reachable.networks(&sending.caller).await?;
        check_literal(sending.request.url(), &networks)?;
        let client = self.client(&networks).map_err(|error| failed(&error))?;
        let limit = Duration::from_millis(sending.request.timeout().0);
        match timeout(limit, exchange(&client, &sending)).await {
            Ok(answer) => answer,
            Err(_) => {
                let millis = sending.request.timeout().0;
                let asked = sending.request.in_words();
                Err(HttpError::TimedOut(format!("{asked} had no whole answer within {millis} ms")))
            }
        }
    }
}

/// A host that is written as an address needs no resolver, and so is checked here.
fn check_literal(url: &str, networks: &Networks) -> Result<(), HttpError> {
    let url = Url::parse(url).map_err(|error| failed(&error))?;
    let address = match url.host() {
        Some(Host::Ipv4(address)) => IpAddr::V4(address),
        Some(Host::Ipv6(address)) => IpAddr::V6(address),
        Some(Host::Domain(_)) | None => return Ok(()),
    };
    let host = url.host_str().unwrap_or_default();
    reachable(host, &[address], networks)
        .map(drop)
        .map_err(|error| HttpError::NotGranted(error.to_string()))
}

async fn exchange(
    client: &Client,
    Sending { request, key, .. }: &Sending,
) -> Result<HttpResponse, HttpError> {
    let mut building = client.request(method(request), request.url());
    for (name, value) in request.headers() {
        building = building.header(name, value);
    }
    building = building.header("idempotency-key", key.to_string());
    let body = request.body().bytes();
    if !body.is_empty() {
        building = building.body(body.to_vec());
    }
    let response = building.send().await.map_err(|error| not_sent(request, error))?;
    let status = response.status().as_u16();
    let headers = headers(&response)?;
    let body = body_of(response).await?;
    Ok(HttpResponse { status, headers, body: body.into() })
}

fn method(request: &HttpRequest) -> reqwest::Method {
    match request.method() {
        HttpMethod::Get => reqwest::Method::GET,
        HttpMethod::Post => reqwest::Method::POST,
        HttpMethod::Put => reqwest::Method::PUT,
        HttpMethod::Patch => reqwest::Method::PATCH,
        HttpMethod::Delete => reqwest::Method::DELETE,
        HttpMethod::Head => reqwest::Method::HEAD,
    }
}

fn headers(response: &Response) -> Result<Vec<(String, String)>, HttpError> {
    let all = response.headers();
    let bytes: usize = all.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    let count = all.len();
    if count > MAX_HTTP_HEADERS || bytes > MAX_HTTP_HEADER_BYTES {
        return Err(HttpError::Failed(format!(
            "the answer has {count} headers of {bytes} bytes, expected at most {MAX_HTTP_HEADERS} headers of \
             {MAX_HTTP_HEADER_BYTES} bytes"
        )));
    }
    let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
    Ok(all.iter().map(|(name, value)| (name.as_str().to_owned(), text(value.as_bytes()))).collect())
}

async fn body_of(mut response: Response) -> Result<Vec<u8>, HttpError> {
    let too_large =
        || HttpError::Failed(format!("the body of the answer has more than {MAX_HTTP_BODY} bytes"));
    if response.content_length().is_some_and(|length| length > MAX_HTTP_BODY as u64) {
        return Err(too_large());
    }
    let mut body = Vec::new();
    while let Some(piece) = response.chunk().await.map_err(|error| failed(&error.without_url()))? {
        if body.len() + piece.len() > MAX_HTTP_BODY {
            return Err(too_large());
        }
        body.extend_from_slice(&piece);
    }
    Ok(body)
}

/// Why a request got no answer. The URL stays out of it: its query may not be for everybody.
fn not_sent(request: &HttpRequest, error: reqwest::Error) -> HttpError {
    let error = error.without_url();
    let mut cause = error.source();
    while let Some(at) = cause {
        if let Some(not_reachable) = at.downcast_ref::<NotReachable>() {
            return HttpError::NotGranted(not_reachable.to_string());
        }
        cause = at.source();
    }
    let asked = request.in_words();
    HttpError::Failed(format!("{asked}: {}", with_causes(&error)))
}

fn failed(error: &dyn Error) -> HttpError {
    HttpError::Failed(with_causes(error))
}

/// The error with its causes, each once: some of them repeat the next one.
fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(at) = cause {
        let said = at.to_string();
        if !text.ends_with(&said) {
            text = format!("{text}: {said}");
        }
        cause = at.source();
    }
    text
}

#[cfg(test)]
#[path = "http_tests.rs"]
mod tests;
