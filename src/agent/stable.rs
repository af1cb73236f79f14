//! Asks agents of the released generation ([`Dialect::Stable`](crate::playbook::Dialect)) over HTTP. Only what they are
//! asked differs, and how that is written: requests are sent by [`HttpAgents`], and what failures mean is decided there.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{RequestBuilder, StatusCode};
use serde_json::{Map, Value};
use tokio::time::timeout;
use uuid::Uuid;

use super::client::{
    ActionRequest, ActionStatus, AgentClient, AgentError, QueuedAction, Scheduled,
};
use super::connections::Turn;
use super::door::bounds::{ACTION_BYTES, NODE, QUEUE, SCHEDULED_BYTES, SHARDS, STORE};
use super::door::{
    Malformed, StableStore, is_known_already, read_scheduled, read_shards, read_stable_action,
    read_stable_agent, read_stable_queue, read_stable_store, says_actions_are_off, stable_node,
};
use super::http::{HttpAgents, Told, malformed, url};
use super::wire;
use crate::playbook::Reach;
use crate::run::NodeInfo;

/// The longest label that is sent with an action. These agents take labels as headers of the request, and refuse
/// requests with long headers.
const LABEL_BYTES: usize = 1_024;

/// How long an agent that has just answered may take to ask its store. Whoever asks many agents at once waits a little longer
/// than this for each of them, so a node whose store hangs counts as unavailable, and its agent not as silent.
const STORE_PATIENCE: Duration = Duration::from_millis(2_500);

/// What is said of an agent that takes no actions.
const SWITCHED_OFF: &str = "its actions are switched off. Such an agent does actions only for clients that show a \
     certificate: it needs `api.tls.clients_ca_bundle` in its configuration, and its Cluster `credentials:` with a \
     certificate of that authority";

/// The [`AgentClient`] for agents of the released generation. Cheap to clone.
#[derive(Clone, Debug)]
pub struct StableAgents {
    http: HttpAgents,
}

impl StableAgents {
    /// A client that shares the connections of `http`.
    pub fn over(http: HttpAgents) -> Self {
        Self { http }
    }

    /// The error of an answer without success. An agent whose actions are switched off has none of their routes, and so
    /// would seem not to know an action.
    async fn off(&self, address: &str, turn: &Turn) -> Result<(), AgentError> {
        match self.http.ask(address, turn, "actions", SCHEDULED_BYTES).await? {
            Told::Body(body) if says_actions_are_off(&body) => Err(AgentError::Refused {
                address: address.to_owned(),
                status: StatusCode::NOT_FOUND.as_u16(),
                message: SWITCHED_OFF.to_owned(),
            }),
            Told::Body(_) => Ok(()),
            Told::Not(response) if has_no_such_route(response.status()) => {
                self.http.pass_over(response).await;
                Ok(())
            }
            // What stands before the agent may answer so. Whether its actions are on is still unknown.
            Told::Not(response) => Err(self.http.failure(address, response).await),
        }
    }

    /// What the agent, which has just answered, says about its store; `None` if it asks the store in vain.
    async fn datastore(&self, address: &str) -> Result<Option<StableStore>, AgentError> {
        // That we are short of connections says nothing about the store.
        let turn = self.http.turn(address).await?;
        let asked = self.http.ask(address, &turn, "info/datastore", STORE.bytes);
        // A store that hangs is as silent as one that is down.
        let Ok(told) = timeout(STORE_PATIENCE, asked).await else { return Ok(None) };
        match told? {
            Told::Body(body) => read_stable_store(&body).map(Some).map_err(unread(address)),
            Told::Not(response) => match self.http.failure(address, response).await {
                // The agent itself answers so. What stands before it has other statuses.
                AgentError::Broken { status: 500, .. } => Ok(None),
                error @ (AgentError::Connect { .. }
                | AgentError::Short { .. }
                | AgentError::NoAnswer { .. }
                | AgentError::Broken { .. }
                | AgentError::Refused { .. }
                | AgentError::WrongNode(_)
                | AgentError::Barred { .. }
                | AgentError::Malformed { .. }) => Err(error),
            },
        }
    }

    fn post(&self, address: &str, request: &ActionRequest) -> Result<RequestBuilder, AgentError> {
        let Some(kind) = path_of(&request.kind) else {
            // Nothing is sent, since the address would be another one than that of the kind.
            return Err(AgentError::Refused {
                address: address.to_owned(),
                status: StatusCode::BAD_REQUEST.as_u16(),
                message: format!("no agent of this dialect has an action {:?}", request.kind),
            });
        };
        let post = self.http.post(url(address, &format!("actions/schedule/{kind}")));
        Ok(post.headers(labels(&request.metadata)).header(CONTENT_TYPE, "application/json"))
    }
}

#[async_trait]
impl AgentClient for StableAgents {
    async fn schedule(
        &self,
        address: &str,
        request: &ActionRequest,
    ) -> Result<Scheduled, AgentError> {
        let body = wire::stable_schedule_body(request);
        let bytes = body.len();
        let post = self.post(address, request)?.body(body);
        let turn = self.http.turn(address).await?;
        let response = self.http.send(address, &turn, post, bytes).await?;
        if is_known_already(response.status().as_u16()) {
            self.http.pass_over(response).await;
            return Ok(Scheduled::Known);
        }
        if response.status() == StatusCode::NOT_FOUND {
            let failure = self.http.failure(address, response).await;
            return match self.off(address, &turn).await {
                Err(off @ AgentError::Refused { .. }) => Err(off),
                // The request was refused, whatever became of the question why.
                Ok(()) | Err(_) => Err(failure),
            };
        }
        if !response.status().is_success() {
            return Err(self.http.failure(address, response).await);
        }
        let body = self.http.whole(address, response, SCHEDULED_BYTES).await?;
        read_scheduled(&body, request.id).map(|()| Scheduled::Accepted).map_err(unread(address))
    }

    async fn action(&self, address: &str, id: Uuid) -> Result<Option<ActionStatus>, AgentError> {
        let turn = self.http.turn(address).await?;
        let path = format!("actions/info/{id}");
        let body = match self.http.ask(address, &turn, &path, ACTION_BYTES).await? {
            Told::Body(body) => body,
            Told::Not(response) if response.status() == StatusCode::NOT_FOUND => {
                self.http.pass_over(response).await;
                return self.off(address, &turn).await.map(|()| None);
            }
            Told::Not(response) => return Err(self.http.failure(address, response).await),
        };
        read_stable_action(&body, id).map(Some).map_err(unread(address))
    }

    async fn queue(&self, address: &str) -> Result<Vec<QueuedAction>, AgentError> {
        let body = self.http.said(address, "actions/queue", QUEUE.bytes).await?;
        read_stable_queue(&body).map_err(unread(address))
    }

    async fn node(&self, address: &str) -> Result<NodeInfo, AgentError> {
        let body = self.http.said(address, "info/agent", NODE.bytes).await?;
        let version = read_stable_agent(&body).map_err(unread(address))?;
        let store = self.datastore(address).await?;
        Ok(stable_node(version, store.as_ref()))
    }

    async fn store(&self, address: &str) -> Result<Value, AgentError> {
        let body = self.http.said(address, "info/datastore", STORE.bytes).await?;
        read_stable_store(&body).map(|store| store.store()).map_err(unread(address))
    }

    async fn shards(&self, address: &str) -> Result<Value, AgentError> {
        let body = self.http.said(address, "shards", SHARDS.bytes).await?;
        read_shards(&body).map_err(unread(address))
    }

    fn reaching(&self, reach: &Reach) -> Option<Arc<dyn AgentClient>> {
        Some(Arc::new(Self::over(self.http.by(reach))))
    }
}

fn unread(address: &str) -> impl Fn(Malformed) -> AgentError + '_ {
    move |error| malformed(address, error.to_string())
}

/// A kind as a part of the address. `None` for a kind that would lead elsewhere: whoever reads an address takes `..`
/// for a way up.
fn path_of(kind: &str) -> Option<String> {
    let leads = |part: &str| !matches!(part, "" | "." | "..");
    kind.split('/').all(leads).then(|| {
        let mut path = String::with_capacity(kind.len());
        for byte in kind.bytes() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'/' => {
                    path.push(char::from(byte));
                }
                other => path.push_str(&format!("%{other:02X}")),
            }
        }
        path
    })
}

/// The labels of an action as headers: these agents keep all headers of the request with the action. They refuse those
/// that are not ASCII, so such labels are left out.
fn labels(metadata: &Map<String, Value>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in metadata {
        let Some(text) = value.as_str().filter(|text| text.len() <= LABEL_BYTES) else { continue };
        let is_plain = text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic());
        if let (true, Ok(name), Ok(value)) =
            (is_plain, HeaderName::try_from(name.as_str()), HeaderValue::from_str(text))
        {
            headers.insert(name, value);
        }
    }
    headers
}

/// Whether an agent answers so where it has no such route.
fn has_no_such_route(status: StatusCode) -> bool {
    matches!(status, StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_kind_is_a_part_of_the_address_and_leads_nowhere_else() {
        for (kind, path) in [
            ("agent.replicante.io/test.ping", Some("agent.replicante.io/test.ping")),
            (
                "external.agent.replicante.io/a b?c#d%e",
                Some("external.agent.replicante.io/a%20b%3Fc%23d%25e"),
            ),
            ("café", Some("caf%C3%A9")),
            ("a/../../info/agent", None),
            ("./a", None),
            ("a//b", None),
            ("/a", None),
            ("", None),
        ] {
            assert_eq!(path_of(kind).as_deref(), path, "{kind}");
        }
    }

    #[test]
    fn labels_are_headers_unless_they_can_be_none() {
        let metadata = json!({
            "replibook.run": "r1", "replibook.agent": "knoten-ä", "replibook.x": "a\r\nhost: evil",
            "replibook.long": "x".repeat(2_000), "a b": "c", "number": 7,
        });
        let headers = labels(metadata.as_object().unwrap());
        assert_eq!(headers.iter().count(), 1, "{headers:?}");
        assert_eq!(headers["replibook.run"], "r1");
    }
}
