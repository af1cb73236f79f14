//! Sends requests to agents over HTTP. All that is particular to HTTP (statuses, time-outs, bodies,
//! connections) ends here: what leaves is an answer or an [`AgentError`].

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use reqwest::header::{CONNECTION, CONTENT_ENCODING, CONTENT_TYPE, LOCATION};
use reqwest::{RequestBuilder, Response, StatusCode};
use serde_json::Value;
use tokio::time::timeout;
use uuid::Uuid;

use super::client::{
    ActionRequest, ActionStatus, AgentClient, AgentError, QueuedAction, Scheduled,
};
use super::connections::{Connections, Shortage, TooLittle, Turn, why_no_address};
use super::door::bounds::{
    ACTION_BYTES, NODE, PASSED_OVER_BYTES, PASSED_OVER_TIME, QUEUE, REFUSAL_BYTES, REFUSAL_TIME,
    SCHEDULED_BYTES, SHARDS, STORE,
};
use super::door::{
    Bodies, Body, NoBody, Pace, Seat, cut, describe, error_message, is_known_already, is_not_http,
    read_action, read_node, read_queue, read_scheduled, read_shards, read_store,
};
use super::inside::Inside;
use super::output_call::{OUTPUT_BYTES, OutputPiece, OutputQuery};
use super::tls::{self, AgentHttpError, Clients, builder, without_credentials};
use super::wire;
use crate::credentials::{KeptCredentials, Use};
use crate::playbook::Reach;
use crate::run::NodeInfo;

/// Time within which a connection must be established. Shorter than [`REQUEST_TIMEOUT`], so that a node that is
/// down can be told from one that does not answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Time within which the answer must begin. Agents answer from memory or their own store.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);

/// Time within which the next piece of an answer must arrive.
const IDLE_TIMEOUT: Duration = Duration::from_secs(15);

/// The fewest bytes per second of an answer. The slowest lines to nodes carry several times that. At this pace
/// the largest answer about an action takes at most four and a half hours, and the one about a node 17 minutes.
const MIN_RATE: u32 = 256;

/// How long a large answer keeps its place the first time while others wait for one. Nearly all arrive sooner.
const TURN: Duration = Duration::from_secs(30);

/// How long an unused connection is kept. Longer than the longest wait between two looks at an action, so that
/// one connection is enough to follow the action.
const CONNECTION_KEPT: Duration = Duration::from_secs(30);

/// Unused connections kept for each host. An agent has one call in flight per run, but many agents may be
/// behind one address, and without a kept connection each call has to make a new one.
const IDLE_CONNECTIONS: usize = 1_024;

/// Connections open at once, unless the caller knows how many descriptors there are for them.
const CONNECTIONS: usize = 512;

/// Settings of [`HttpAgents`]; the default is for real agents.
#[derive(Clone, Debug)]
pub struct AgentHttpConfig {
    /// Time within which a connection must be established.
    pub connect_timeout: Duration,
    /// Time from the start of the request until the answer must begin; longer for a large request.
    pub request_timeout: Duration,
    /// How slowly the rest of an answer may come.
    pub pace: Pace,
    /// Connections open at once; requests beyond that wait.
    pub connections: usize,
    /// The credentials that clusters may name. Without those no `https` address can be reached.
    pub credentials: KeptCredentials,
    /// The gateway within this server.
    pub inside: Option<Inside>,
}

impl Default for AgentHttpConfig {
    fn default() -> Self {
        Self {
            connect_timeout: CONNECT_TIMEOUT,
            request_timeout: REQUEST_TIMEOUT,
            pace: Pace { idle: IDLE_TIMEOUT, rate: MIN_RATE, turn: TURN },
            connections: CONNECTIONS,
            credentials: KeptCredentials::default(),
            inside: None,
        }
    }
}

/// The [`AgentClient`] over HTTP. It keeps connections, follows no redirects, uses no proxy, and
/// never sends a POST twice by itself. Cheap to clone.
#[derive(Clone, Debug)]
pub struct HttpAgents {
    clients: Clients,
    reach: Reach,
    client: reqwest::Client,
    request_timeout: Duration,
    bodies: Bodies,
    connections: Connections,
}

impl HttpAgents {
    /// Makes a client for agents that are reached without credentials. [`reaching`](AgentClient::reaching) gives others.
    pub fn new(config: &AgentHttpConfig) -> Result<Self, AgentHttpError> {
        let connect = config.connect_timeout;
        let made = move || builder(connect, CONNECTION_KEPT, IDLE_CONNECTIONS);
        let client = made().tls_backend_preconfigured(without_credentials()?).build()?;
        let clients = Clients::new(Use::Agent, client.clone(), made);
        Ok(Self {
            clients: clients
                .with_credentials(config.credentials.clone())
                .with_inside(config.inside.clone()),
            reach: Reach::default(),
            client,
            request_timeout: config.request_timeout,
            bodies: Bodies::new(config.pace),
            connections: Connections::new(config.connections, CONNECTION_KEPT),
        })
    }

    /// The same client, for agents that are reached in this way.
    pub fn by(&self, reach: &Reach) -> Self {
        Self { reach: reach.clone(), ..self.clone() }
    }

    /// The connections of this client, which other clients may share.
    pub(super) fn connections(&self) -> &Connections {
        &self.connections
    }

    /// What the requests of this client are short of.
    pub fn shortage(&self) -> Shortage {
        self.connections.shortage().clone()
    }

    /// A request to schedule that goes to `url`.
    pub(super) fn post(&self, url: String) -> RequestBuilder {
        self.client.post(url)
    }

    pub(super) async fn turn(&self, address: &str) -> Result<Turn, AgentError> {
        // Connections with credentials are kept apart, even to the same host.
        let turn = match &self.reach.credentials {
            Some(name) => self.connections.turn(&format!("{name}+{address}")).await,
            None => self.connections.turn(address).await,
        };
        turn.map_err(|short| too_little(address, short))
    }

    /// Sends a request whose body has `bytes` bytes, and waits until the answer begins.
    pub(super) async fn send(
        &self,
        address: &str,
        turn: &Turn,
        request: RequestBuilder,
        bytes: usize,
    ) -> Result<Response, AgentError> {
        let limit = self.request_timeout + wire::sending_time(bytes);
        let request = if turn.keeps() { request } else { request.header(CONNECTION, "close") };
        let with = tls::with(&self.clients, &self.reach, address)?;
        match timeout(limit, with.send(request)).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(self.not_sent(address, &error)),
            Err(_) => {
                let message = format!("no answer began within {limit:.1?}");
                Err(AgentError::NoAnswer { address: address.to_owned(), message })
            }
        }
    }

    /// The error of a request that got no answer.
    fn not_sent(&self, address: &str, error: &reqwest::Error) -> AgentError {
        let ours = error.is_connect().then(|| self.connections.shortage().notice(address, error));
        ours.flatten().map_or_else(|| transport(address, error), |short| too_little(address, short))
    }

    async fn get(&self, address: &str, turn: &Turn, path: &str) -> Result<Response, AgentError> {
        self.send(address, turn, self.client.get(url(address, path)), 0).await
    }

    /// Asks for what is at `path`, at most `limit` bytes. Repeats the request as long as reading the answer
    /// fails because of us. The answer gets more time with each repetition, so there are few.
    pub(super) async fn ask(
        &self,
        address: &str,
        turn: &Turn,
        path: &str,
        limit: usize,
    ) -> Result<Told, AgentError> {
        let mut seat = self.bodies.seat();
        loop {
            let response = self.get(address, turn, path).await?;
            if !response.status().is_success() {
                return Ok(Told::Not(response));
            }
            match self.read(address, &mut seat, response, limit).await? {
                Err(error) if error.is_ours() => {}
                read => return read.map(Told::Body).map_err(|error| no_body(address, &error)),
            }
        }
    }

    /// Like `ask`, but an answer without success is an error.
    pub(super) async fn said(
        &self,
        address: &str,
        path: &str,
        limit: usize,
    ) -> Result<Body, AgentError> {
        let turn = self.turn(address).await?;
        match self.ask(address, &turn, path, limit).await? {
            Told::Body(body) => Ok(body),
            Told::Not(response) => Err(self.failure(address, response).await),
        }
    }

    /// Reads the body of a successful answer.
    async fn read(
        &self,
        address: &str,
        seat: &mut Seat,
        response: Response,
        limit: usize,
    ) -> Result<Result<Body, NoBody>, AgentError> {
        if let Some(encoding) = response.headers().get(CONTENT_ENCODING)
            && encoding.as_bytes() != b"identity"
        {
            let encoding = cut(&String::from_utf8_lossy(encoding.as_bytes()));
            let message =
                format!("the body: found the encoding {encoding:?}, expected JSON without one");
            return Err(malformed(address, message));
        }
        Ok(self.bodies.read(seat, response, limit).await)
    }

    /// Reads the body of a successful answer that can't be asked for again.
    pub(super) async fn whole(
        &self,
        address: &str,
        response: Response,
        limit: usize,
    ) -> Result<Body, AgentError> {
        let body = self.read(address, &mut self.bodies.seat(), response, limit).await?;
        body.map_err(|error| no_body(address, &error))
    }

    /// Ends an answer whose status is enough. If the rest does not come soon, the connection is closed.
    pub(super) async fn pass_over(&self, response: Response) {
        self.bodies.beginning(response, PASSED_OVER_BYTES, PASSED_OVER_TIME).await;
    }

    /// The error that an answer without success means.
    pub(super) async fn failure(&self, address: &str, response: Response) -> AgentError {
        let status = response.status();
        let location = response.headers().get(LOCATION).cloned();
        let body = self.bodies.beginning(response, REFUSAL_BYTES, REFUSAL_TIME).await;
        let mut message = error_message(&body);
        if let Some(location) = location.filter(|_| status.is_redirection()) {
            let to = String::from_utf8_lossy(location.as_bytes()).into_owned();
            message = cut(&format!("redirects to {to}, which is not followed"));
        }
        if status == StatusCode::NOT_FOUND {
            message.push_str(" (is the path in the address right?)");
        }
        let (address, number) = (address.to_owned(), status.as_u16());
        match Meaning::of(status) {
            Meaning::Broken => AgentError::Broken { address, status: number, message },
            Meaning::Refused => AgentError::Refused { address, status: number, message },
            Meaning::Nothing => {
                let message = format!("found status {number}, expected 200");
                AgentError::Malformed { address, message }
            }
        }
    }
}

#[async_trait]
impl AgentClient for HttpAgents {
    async fn schedule(
        &self,
        address: &str,
        request: &ActionRequest,
    ) -> Result<Scheduled, AgentError> {
        let body = wire::schedule_body(request);
        let (bytes, url) = (body.len(), url(address, "action"));
        let post = self.post(url).header(CONTENT_TYPE, "application/json").body(body);
        let turn = self.turn(address).await?;
        let response = self.send(address, &turn, post, bytes).await?;
        if is_known_already(response.status().as_u16()) {
            self.pass_over(response).await;
            return Ok(Scheduled::Known);
        }
        if !response.status().is_success() {
            return Err(self.failure(address, response).await);
        }
        let body = self.whole(address, response, SCHEDULED_BYTES).await?;
        read_scheduled(&body, request.id)
            .map(|()| Scheduled::Accepted)
            .map_err(|error| malformed(address, error.to_string()))
    }

    async fn action(&self, address: &str, id: Uuid) -> Result<Option<ActionStatus>, AgentError> {
        let turn = self.turn(address).await?;
        let path = format!("action/{id}");
        let body = match self.ask(address, &turn, &path, ACTION_BYTES).await? {
            Told::Body(body) => body,
            Told::Not(response) if response.status() == StatusCode::NOT_FOUND => {
                self.pass_over(response).await;
                return Ok(None);
            }
            Told::Not(response) => return Err(self.failure(address, response).await),
        };
        read_action(&body, id).map(Some).map_err(|error| malformed(address, error.to_string()))
    }

    async fn output(
        &self,
        address: &str,
        id: Uuid,
        query: OutputQuery,
    ) -> Result<Option<OutputPiece>, AgentError> {
        let turn = self.turn(address).await?;
        let path = format!("action/{id}/output?{}", query.write());
        let response = self.get(address, &turn, &path).await?;
        if !response.status().is_success() {
            if matches!(response.status().as_u16(), 404 | 405 | 410 | 501) {
                self.pass_over(response).await;
                return Ok(None);
            }
            return Err(self.failure(address, response).await);
        }
        let headers = response.headers().clone();
        let body = self.whole(address, response, OUTPUT_BYTES).await?;
        OutputPiece::read(query.from, &headers, Bytes::copy_from_slice(&body))
            .map(Some)
            .map_err(|message| malformed(address, message))
    }

    async fn queue(&self, address: &str) -> Result<Vec<QueuedAction>, AgentError> {
        let body = self.said(address, "actions/queue", QUEUE.bytes).await?;
        read_queue(&body).map_err(|error| malformed(address, error.to_string()))
    }

    async fn node(&self, address: &str) -> Result<NodeInfo, AgentError> {
        let body = self.said(address, "info/node", NODE.bytes).await?;
        read_node(&body).map_err(|error| malformed(address, error.to_string()))
    }

    async fn store(&self, address: &str) -> Result<Value, AgentError> {
        let body = self.said(address, "info/store", STORE.bytes).await?;
        read_store(&body).map_err(|error| malformed(address, error.to_string()))
    }

    async fn shards(&self, address: &str) -> Result<Value, AgentError> {
        let body = self.said(address, "info/shards", SHARDS.bytes).await?;
        read_shards(&body).map_err(|error| malformed(address, error.to_string()))
    }

    fn reaching(&self, reach: &Reach) -> Option<Arc<dyn AgentClient>> {
        Some(Arc::new(self.by(reach)))
    }
}

/// The answer to a question.
pub(super) enum Told {
    Body(Body),
    /// The status says no success; the body is unread.
    Not(Response),
}

/// What a status other than success means for the request.
enum Meaning {
    /// The same request may succeed later.
    Broken,
    /// The same request will be refused again; this one had no effect.
    Refused,
    /// The specification does not define this status.
    Nothing,
}

impl Meaning {
    fn of(status: StatusCode) -> Self {
        match status {
            // By number these are refusals, but they mean that the same request may succeed later.
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS => {
                Self::Broken
            }
            // The agent is elsewhere: the request did nothing here.
            StatusCode::MOVED_PERMANENTLY
            | StatusCode::FOUND
            | StatusCode::TEMPORARY_REDIRECT
            | StatusCode::PERMANENT_REDIRECT => Self::Refused,
            _ if status.is_server_error() => Self::Broken,
            _ if status.is_client_error() => Self::Refused,
            _ => Self::Nothing,
        }
    }
}

/// The address of a path of the API. Agents answer 404 to paths with a slash at their end.
pub(super) fn url(address: &str, path: &str) -> String {
    format!("{}/api/unstable/{path}", address.trim_end_matches('/'))
}

/// Distinguishes a request that was never sent, one that may have been sent, and one that was answered by
/// something that does not speak HTTP.
fn transport(address: &str, error: &reqwest::Error) -> AgentError {
    let message = format!("{}{}", describe(error), about_certificates(error));
    let address = address.to_owned();
    if error.is_connect() || error.is_builder() {
        let message = format!("{message}{}", why_no_address(error));
        AgentError::Connect { address, message }
    } else if is_not_http(error) {
        let message = format!(
            "found something that is not HTTP ({message}), expected an answer of the agent API"
        );
        AgentError::Malformed { address, message }
    } else {
        AgentError::NoAnswer { address, message }
    }
}

/// What to do about an error if it is about certificates.
fn about_certificates(error: &reqwest::Error) -> &'static str {
    use rustls::{AlertDescription, CertificateError, Error};
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        let inner = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        let inner = inner.and_then(|inner| inner.downcast_ref::<Error>());
        if let Some(Error::AlertReceived(
            AlertDescription::CertificateRequired
            | AlertDescription::HandshakeFailure
            | AlertDescription::BadCertificate
            | AlertDescription::UnknownCA,
        )) = inner
        {
            return " (it wants a certificate of an authority of its own: see `credentials:` of the Cluster)";
        }
        if let Some(Error::InvalidCertificate(CertificateError::UnknownIssuer)) = inner {
            return " (its certificate is trusted by no `credentials:` of the Cluster)";
        }
        cause = error.source();
    }
    ""
}

pub(super) fn too_little(address: &str, TooLittle(message): TooLittle) -> AgentError {
    AgentError::Short { address: address.to_owned(), message }
}

fn no_body(address: &str, error: &NoBody) -> AgentError {
    match error {
        NoBody::TooLarge { .. } => malformed(address, error.to_string()),
        NoBody::Broken(error) => transport(address, error),
        NoBody::TooSlow { .. } | NoBody::GaveWay { .. } | NoBody::CutOff(_) => {
            AgentError::NoAnswer { address: address.to_owned(), message: error.to_string() }
        }
    }
}

pub(super) fn malformed(address: &str, message: String) -> AgentError {
    AgentError::Malformed { address: address.to_owned(), message }
}
