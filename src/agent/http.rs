//! Speaks to agents over HTTP.

use std::error::Error as _;
use std::time::Duration;

use async_trait::async_trait;
use reqwest::{Response, StatusCode};
use uuid::Uuid;

use super::client::{
    ActionRequest, ActionStatus, AgentClient, AgentError, QueuedAction, Scheduled,
};
use super::tls::{AgentHttpError, client_config};
use super::wire;
use crate::playbook::Tls;
use crate::run::NodeInfo;

/// Until a connection must stand. Shorter than [`REQUEST_TIMEOUT`], so that a node that is down is
/// told apart from one that does not answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Until the whole answer must be there. Agents answer from memory or their own store.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);

/// How long an unused connection is kept: longer than the longest wait between two looks at an
/// action, so that following one uses one connection.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// Unused connections kept for each host. An agent has one call in flight in a run, but many agents may
/// be behind one address, and a connection that is not kept is made anew for each call.
const IDLE_CONNECTIONS: usize = 1_024;

/// Bytes of an answer that are read: a payload of 1 MiB, as much again for arguments, and room for
/// the backtraces that agents put in.
const MAX_RESPONSE_BYTES: usize = 4 * 1024 * 1024;

/// Settings of [`HttpAgents`].
#[derive(Clone, Debug)]
pub struct AgentHttpConfig {
    /// Until a connection must stand.
    pub connect_timeout: Duration,
    /// Until the whole answer must be there, from the start of the request.
    pub request_timeout: Duration,
    /// How connections to `https` addresses are secured. Without it none of those can be reached.
    pub tls: Option<Tls>,
}

impl Default for AgentHttpConfig {
    fn default() -> Self {
        Self { connect_timeout: CONNECT_TIMEOUT, request_timeout: REQUEST_TIMEOUT, tls: None }
    }
}

/// The [`AgentClient`] over HTTP. It keeps connections, follows no redirects, uses no proxy, and
/// never sends a request twice by itself. Cheap to clone.
#[derive(Clone, Debug)]
pub struct HttpAgents {
    client: reqwest::Client,
}

impl HttpAgents {
    /// Makes a client. Reads the files that `config.tls` names; they are not read again.
    pub fn new(config: &AgentHttpConfig) -> Result<Self, AgentHttpError> {
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(client_config(config.tls.as_ref())?)
            .user_agent(concat!("replibook/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(config.connect_timeout)
            .timeout(config.request_timeout)
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(IDLE_CONNECTIONS)
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .no_proxy()
            .build()?;
        Ok(Self { client })
    }

    async fn get(&self, address: &str, path: &str) -> Result<(StatusCode, Vec<u8>), AgentError> {
        let request = self.client.get(url(address, path));
        let response = request.send().await.map_err(|error| transport(address, error))?;
        let status = response.status();
        Ok((status, read_body(address, response).await?))
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
        let post = self.client.post(url(address, "action")).json(&body);
        let response = post.send().await.map_err(|error| transport(address, error))?;
        let status = response.status();
        let answer = read_body(address, response).await?;
        if status == StatusCode::CONFLICT {
            return Ok(Scheduled::Known);
        }
        if !status.is_success() {
            return Err(failure(address, status, &answer));
        }
        wire::read_scheduled(&answer, request.id)
            .map(|()| Scheduled::Accepted)
            .map_err(|message| malformed(address, message))
    }

    async fn action(&self, address: &str, id: Uuid) -> Result<Option<ActionStatus>, AgentError> {
        let (status, answer) = self.get(address, &format!("action/{id}")).await?;
        if status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        if !status.is_success() {
            return Err(failure(address, status, &answer));
        }
        wire::read_action(&answer, id).map(Some).map_err(|message| malformed(address, message))
    }

    async fn queue(&self, address: &str) -> Result<Vec<QueuedAction>, AgentError> {
        let (status, answer) = self.get(address, "actions/queue").await?;
        if !status.is_success() {
            return Err(failure(address, status, &answer));
        }
        wire::read_queue(&answer).map_err(|message| malformed(address, message))
    }

    async fn node(&self, address: &str) -> Result<NodeInfo, AgentError> {
        let (status, answer) = self.get(address, "info/node").await?;
        if !status.is_success() {
            return Err(failure(address, status, &answer));
        }
        wire::read_node(&answer).map_err(|message| malformed(address, message))
    }
}

/// The agents answer 404 to paths with a slash at their end.
fn url(address: &str, path: &str) -> String {
    format!("{}/api/unstable/{path}", address.trim_end_matches('/'))
}

/// Reads the body, and no more of it than the limit.
async fn read_body(address: &str, mut response: Response) -> Result<Vec<u8>, AgentError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| no_answer(address, &error))? {
        if body.len() + chunk.len() > MAX_RESPONSE_BYTES {
            let message =
                format!("the body: found more than {MAX_RESPONSE_BYTES} bytes, expected less");
            return Err(malformed(address, message));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// What an answer without success means.
fn failure(address: &str, status: StatusCode, body: &[u8]) -> AgentError {
    // These three are refusals by number, but say that the same request may go well later.
    let passing =
        [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_EARLY, StatusCode::TOO_MANY_REQUESTS];
    let address = address.to_owned();
    let message = wire::error_message(body);
    if status.is_server_error() || passing.contains(&status) {
        AgentError::Broken { address, status: status.as_u16(), message }
    } else if status.is_client_error() {
        AgentError::Refused { address, status: status.as_u16(), message }
    } else {
        let message = format!("found status {}, expected 200", status.as_u16());
        AgentError::Malformed { address, message }
    }
}

/// Tells a request that was never sent from one that may have been.
fn transport(address: &str, error: reqwest::Error) -> AgentError {
    if error.is_connect() || error.is_builder() {
        AgentError::Connect { address: address.to_owned(), message: describe(&error) }
    } else {
        no_answer(address, &error)
    }
}

fn no_answer(address: &str, error: &reqwest::Error) -> AgentError {
    AgentError::NoAnswer { address: address.to_owned(), message: describe(error) }
}

fn malformed(address: &str, message: String) -> AgentError {
    AgentError::Malformed { address: address.to_owned(), message }
}

/// The causes of an error, which say more than the error itself ("error sending request").
pub(super) fn describe(error: &reqwest::Error) -> String {
    let mut causes = Vec::new();
    let mut source = error.source();
    while let Some(cause) = source {
        causes.push(cause.to_string());
        source = cause.source();
    }
    if causes.is_empty() { error.to_string() } else { causes.join(": ") }
}
