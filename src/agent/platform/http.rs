//! Speaks to platforms over HTTP.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use reqwest::{Response, StatusCode};

use super::client::{Platform, PlatformError};
use super::wire::{MAX_NODES, Unread, read};
use crate::agent::http::describe;
use crate::run::PlatformNode;

/// Until a connection must stand.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Until the whole answer must be there: tens of MiB over a slow line. Who asks may have less patience.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// Bytes of an answer that are read: it holds all clusters of the platform, and 100,000 nodes take
/// some 20 MiB.
const MAX_RESPONSE_BYTES: usize = 64 * 1024 * 1024;

/// Answers above this are read beside the event loop, which they would hold up for longer than a
/// millisecond or so.
const INLINE_BYTES: usize = 128 * 1024;

/// Characters of the body of an error that are shown.
const SHOWN_CHARS: usize = 200;

/// Settings of [`HttpPlatforms`].
#[derive(Clone, Debug)]
pub struct PlatformHttpConfig {
    /// Until a connection must stand.
    pub connect_timeout: Duration,
    /// Until the whole answer must be there, from the start of the request.
    pub request_timeout: Duration,
}

impl Default for PlatformHttpConfig {
    fn default() -> Self {
        Self { connect_timeout: CONNECT_TIMEOUT, request_timeout: REQUEST_TIMEOUT }
    }
}

/// The [`Platform`] over HTTP. It follows no redirects, uses no proxy, and never sends a request twice
/// by itself. The certificates of `https` platforms are checked against those that the system trusts,
/// or the files that `SSL_CERT_FILE` and `SSL_CERT_DIR` name. Cheap to clone.
#[derive(Clone, Debug)]
pub struct HttpPlatforms {
    config: PlatformHttpConfig,
    plain: reqwest::Client,
    secured: Arc<OnceLock<reqwest::Client>>,
}

impl HttpPlatforms {
    /// Makes a client.
    ///
    /// # Errors
    /// [`PlatformError::Client`].
    pub fn new(config: PlatformHttpConfig) -> Result<Self, PlatformError> {
        // Another part of the process may have done this; the first one counts, and it is the same.
        let _ = rustls::crypto::ring::default_provider().install_default();
        // No certificate is needed, so that a machine without any is no obstacle.
        let plain = builder(&config).tls_certs_only([]).build().map_err(|error| client(&error))?;
        Ok(Self { config, plain, secured: Arc::default() })
    }

    /// The client for `url`. The one for `https` is made when it is needed: it reads the certificates of
    /// the system, which may have none.
    fn client_for(&self, url: &str) -> Result<reqwest::Client, PlatformError> {
        if !url.starts_with("https:") {
            return Ok(self.plain.clone());
        }
        if let Some(secured) = self.secured.get() {
            return Ok(secured.clone());
        }
        let made = builder(&self.config).build().map_err(|error| client(&error))?;
        Ok(self.secured.get_or_init(|| made).clone())
    }
}

fn builder(config: &PlatformHttpConfig) -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .user_agent(concat!("replibook/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(config.connect_timeout)
        .timeout(config.request_timeout)
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .no_proxy()
}

#[async_trait]
impl Platform for HttpPlatforms {
    async fn discover(
        &self,
        url: &str,
        cluster: &str,
    ) -> Result<Option<Vec<PlatformNode>>, PlatformError> {
        let request = self.client_for(url)?.get(format!("{}/discover", url.trim_end_matches('/')));
        let response = request.send().await.map_err(|error| no_answer(url, &error))?;
        let status = response.status();
        let body = read_body(url, response).await?;
        if status != StatusCode::OK {
            let text = String::from_utf8_lossy(&body);
            let message = text.trim().chars().take(SHOWN_CHARS).collect();
            return Err(PlatformError::Status {
                url: url.to_owned(),
                status: status.as_u16(),
                message,
            });
        }
        let found = match body.len() {
            ..=INLINE_BYTES => read(&body, cluster),
            _ => {
                let cluster = cluster.to_owned();
                let read = tokio::task::spawn_blocking(move || read(&body, &cluster)).await;
                read.map_err(|error| malformed(url, error.to_string()))?
            }
        };
        found.map_err(|unread| match unread {
            Unread::Malformed(message) => malformed(url, message),
            Unread::TooManyNodes => too_large(url, MAX_NODES, "nodes in one cluster"),
        })
    }
}

/// Reads the body, and no more of it than the limit.
async fn read_body(url: &str, mut response: Response) -> Result<Vec<u8>, PlatformError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| no_answer(url, &error))? {
        if body.len() + chunk.len() > MAX_RESPONSE_BYTES {
            return Err(too_large(url, MAX_RESPONSE_BYTES, "bytes"));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn client(error: &reqwest::Error) -> PlatformError {
    PlatformError::Client { message: describe(error) }
}

fn no_answer(url: &str, error: &reqwest::Error) -> PlatformError {
    PlatformError::NoAnswer { url: url.to_owned(), message: describe(error) }
}

fn malformed(url: &str, message: String) -> PlatformError {
    PlatformError::Malformed { url: url.to_owned(), message }
}

fn too_large(url: &str, limit: usize, unit: &'static str) -> PlatformError {
    PlatformError::TooLarge { url: url.to_owned(), limit, unit }
}
