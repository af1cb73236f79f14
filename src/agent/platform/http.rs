//! Asks platforms over HTTP. Unlike the client of agents, this trusts the certificates of the system, and reads
//! much larger answers, few of which may be in memory at once.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use reqwest::header::CONNECTION;
use reqwest::{Response, StatusCode};
use tokio::time::timeout;

use super::client::{Platform, PlatformError};
use super::wire::{MAX_NODES, Unread, read};
use crate::agent::HttpAgents;
use crate::agent::Inside;
use crate::agent::connections::{Connections, TooLittle, Turn, why_no_address};
use crate::agent::door::bounds::REFUSAL_TIME;
use crate::agent::door::{Bodies, Body, NoBody, Pace, cut, describe, is_not_http};
use crate::agent::tls::{Clients, With};
use crate::credentials::{KeptCredentials, Use};
use crate::outbound::client_builder;
use crate::playbook::Discovery;
use crate::run::PlatformNode;

/// Time within which a connection must be established.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Time within which the answer must begin: a platform may ask others first. The caller may have less patience.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// How long an unused connection is kept: longer than the usual interval between two questions, and shorter than
/// servers keep them.
const CONNECTION_KEPT: Duration = Duration::from_secs(30);

/// Connections open at once, unless they are shared with those to agents: there are few platforms.
const CONNECTIONS: usize = 64;

/// Time within which the next piece of an answer must arrive.
const IDLE_TIMEOUT: Duration = Duration::from_secs(15);

/// The fewest bytes per second of an answer: at this pace the largest one takes at most half an hour.
const MIN_RATE: u32 = 32 * 1024;

/// How long a large answer keeps its place while that of another platform waits for one: the time that the
/// largest takes at half a megabyte per second.
const TURN: Duration = Duration::from_secs(120);

/// Bytes of an answer that are read at most: it holds all clusters of the platform, and 100,000 nodes take some
/// 20 MiB.
const MAX_RESPONSE_BYTES: usize = 64 * 1024 * 1024;

/// Bytes of large answers that are in memory at once: two of the largest.
const LARGE_BYTES: usize = 2 * MAX_RESPONSE_BYTES;

/// Answers above this size are parsed on a blocking thread, since parsing them would hold up the event loop for
/// longer than a millisecond or so.
const INLINE_BYTES: usize = 128 * 1024;

/// Bytes of the body that are shown if the answer is an error.
const SHOWN_BYTES: usize = 1_024;

/// Settings of [`HttpPlatforms`].
#[derive(Clone, Debug)]
pub struct PlatformHttpConfig {
    /// Time within which a connection must be established.
    pub connect_timeout: Duration,
    /// Time from the start of the request until the answer must begin.
    pub request_timeout: Duration,
    /// How slowly the rest of an answer may come.
    pub pace: Pace,
}

impl Default for PlatformHttpConfig {
    fn default() -> Self {
        Self {
            connect_timeout: CONNECT_TIMEOUT,
            request_timeout: REQUEST_TIMEOUT,
            pace: Pace { idle: IDLE_TIMEOUT, rate: MIN_RATE, turn: TURN },
        }
    }
}

/// The [`Platform`] over HTTP. It follows no redirects and uses no proxy. It asks again by itself only if an
/// answer failed because of us: it had to give way to others, or there was no room for it in time. The
/// certificates of `https` platforms are checked against those that the system trusts, or the files that
/// `SSL_CERT_FILE` and `SSL_CERT_DIR` name. Cheap to clone.
#[derive(Clone, Debug)]
pub struct HttpPlatforms {
    config: PlatformHttpConfig,
    plain: reqwest::Client,
    secured: Arc<OnceLock<reqwest::Client>>,
    named: Clients,
    bodies: Bodies,
    connections: Connections,
}

impl HttpPlatforms {
    /// Makes a client; it connects when it is first used.
    ///
    /// # Errors
    /// [`PlatformError::Client`]: the HTTP client could not be made.
    pub fn new(config: PlatformHttpConfig) -> Result<Self, PlatformError> {
        // Another part of the process may have installed the provider before; the first one stays, and it is
        // the same.
        let _ = rustls::crypto::ring::default_provider().install_default();
        // Plain HTTP needs no certificates, so a machine that has none is no obstacle.
        let plain = builder(&config).tls_certs_only([]).build().map_err(|error| client(&error))?;
        let bodies = Bodies::with_room(config.pace, LARGE_BYTES);
        let connections = Connections::new(CONNECTIONS, CONNECTION_KEPT);
        let made = config.clone();
        let named = Clients::new(Use::Platform, plain.clone(), move || builder(&made));
        Ok(Self { config, plain, secured: Arc::default(), named, bodies, connections })
    }

    /// Limits its connections together with those of `agents`, and reports shortages together with them.
    #[must_use]
    pub fn sharing_connections(self, agents: &HttpAgents) -> Self {
        Self { connections: agents.connections().clone(), ..self }
    }

    /// Uses the credentials that clusters name.
    #[must_use]
    pub fn with_credentials(self, credentials: KeptCredentials) -> Self {
        Self { named: self.named.clone().with_credentials(credentials), ..self }
    }

    /// Asks the gateway within this server, if there is one, for the nodes of its inventory.
    #[must_use]
    pub fn with_inside(self, inside: Option<Inside>) -> Self {
        Self { named: self.named.clone().with_inside(inside), ..self }
    }

    /// With what to ask a platform.
    fn with(&self, url: &str, credentials: Option<&str>) -> Result<With, PlatformError> {
        if let Some(inside) = self.named.inside(url).map_err(|short| too_little(url, short))? {
            return Ok(inside);
        }
        let Some(name) = credentials else { return Ok(With::client(self.client_for(url)?)) };
        let barred = |why| PlatformError::Barred { url: url.to_owned(), why };
        self.named.named(name, url).map_err(barred)
    }

    /// The client for `url`. The one for `https` is made when it is first needed: it reads the certificates of
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

impl HttpPlatforms {
    /// What a platform answers. It is asked again if reading the answer fails because of us; the answer gets
    /// more time with each repetition.
    async fn ask(&self, url: &str, credentials: Option<&str>) -> Result<Body, PlatformError> {
        let mut seat = self.bodies.seat();
        // Connections to agents are separate ones, even to the same host.
        let turn = self
            .connections
            .turn(&format!("platform-{}+{url}", credentials.unwrap_or_default()))
            .await;
        let turn = turn.map_err(|short| too_little(url, short))?;
        loop {
            let response = self.get(url, credentials, &turn).await?;
            let status = response.status();
            if status != StatusCode::OK {
                let body = self.bodies.beginning(response, SHOWN_BYTES, REFUSAL_TIME).await;
                let message = cut(String::from_utf8_lossy(&body).trim());
                let (url, status) = (url.to_owned(), status.as_u16());
                return Err(PlatformError::Status { url, status, message });
            }
            match self.bodies.read(&mut seat, response, MAX_RESPONSE_BYTES).await {
                Err(error) if error.is_ours() => {}
                read => return read.map_err(|error| no_body(url, error)),
            }
        }
    }

    async fn get(
        &self,
        url: &str,
        credentials: Option<&str>,
        turn: &Turn,
    ) -> Result<Response, PlatformError> {
        let with = self.with(url, credentials)?;
        let request = with.client.get(format!("{}/discover", url.trim_end_matches('/')));
        let request = if turn.keeps() { request } else { request.header(CONNECTION, "close") };
        match timeout(self.config.request_timeout, with.send(request)).await {
            Ok(response) => response.map_err(|error| self.not_sent(url, &error)),
            Err(_) => {
                let message = format!("no answer began within {:.1?}", self.config.request_timeout);
                Err(PlatformError::NoAnswer { url: url.to_owned(), message })
            }
        }
    }
}

impl HttpPlatforms {
    /// The error of a request that got no answer.
    fn not_sent(&self, url: &str, error: &reqwest::Error) -> PlatformError {
        let ours = error.is_connect().then(|| self.connections.shortage().notice(url, error));
        ours.flatten().map_or_else(|| transport(url, error), |short| too_little(url, short))
    }
}

fn builder(config: &PlatformHttpConfig) -> reqwest::ClientBuilder {
    client_builder(config.connect_timeout).pool_idle_timeout(CONNECTION_KEPT)
}

#[async_trait]
impl Platform for HttpPlatforms {
    async fn discover(
        &self,
        url: &str,
        cluster: &str,
    ) -> Result<Option<Vec<PlatformNode>>, PlatformError> {
        self.found(url, cluster, None).await
    }

    async fn discover_as(
        &self,
        from: &Discovery,
    ) -> Result<Option<Vec<PlatformNode>>, PlatformError> {
        self.found(&from.url, &from.cluster, from.credentials.as_deref()).await
    }
}

impl HttpPlatforms {
    async fn found(
        &self,
        url: &str,
        cluster: &str,
        credentials: Option<&str>,
    ) -> Result<Option<Vec<PlatformNode>>, PlatformError> {
        let body = self.ask(url, credentials).await?;
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

fn no_body(url: &str, error: NoBody) -> PlatformError {
    match error {
        NoBody::TooLarge { limit } => too_large(url, limit, "bytes"),
        NoBody::Broken(error) => transport(url, &error),
        NoBody::TooSlow { .. } | NoBody::GaveWay { .. } | NoBody::CutOff(_) => {
            PlatformError::NoAnswer { url: url.to_owned(), message: error.to_string() }
        }
    }
}

fn client(error: &reqwest::Error) -> PlatformError {
    PlatformError::Client { message: describe(error) }
}

fn transport(url: &str, error: &reqwest::Error) -> PlatformError {
    let message = describe(error);
    if is_not_http(error) {
        return malformed(
            url,
            format!(
                "found something that is not HTTP ({message}), expected the answer of a platform"
            ),
        );
    }
    let message = format!("{message}{}", why_no_address(error));
    PlatformError::NoAnswer { url: url.to_owned(), message }
}

fn too_little(url: &str, TooLittle(message): TooLittle) -> PlatformError {
    PlatformError::Short { url: url.to_owned(), message }
}

fn malformed(url: &str, message: String) -> PlatformError {
    PlatformError::Malformed { url: url.to_owned(), message: cut(&message) }
}

fn too_large(url: &str, limit: usize, unit: &'static str) -> PlatformError {
    PlatformError::TooLarge { url: url.to_owned(), limit, unit }
}
