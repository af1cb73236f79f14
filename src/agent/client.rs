//! What the engine needs from an agent, whatever the transport. Clients implement [`AgentClient`] and sort
//! every failure into an [`AgentError`], so that the code that follows calls decides by the kind of a failure
//! and never by HTTP details.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::output_call::{OutputPiece, OutputQuery};
use crate::credentials::NotUsed;
use crate::playbook::Reach;
use crate::run::{Datastore, JsonText, NodeInfo, Timestamp, Wanted, WrongNode};

pub use replibook_core::door::{ActionPhase, ActionStatus, QueuedAction};

/// An action to schedule, as the agent is asked to perform it.
#[derive(Clone, Debug, PartialEq)]
pub struct ActionRequest {
    /// Chosen by the engine: a UUIDv5 of where the call stands in the run, so that the same call has the same
    /// identifier after a crash.
    pub id: Uuid,
    /// Kind of the action, which the agent has to know.
    pub kind: String,
    /// Arguments of the action: a JSON text.
    pub args: JsonText,
    /// When the engine decided on the action.
    pub created_time: Timestamp,
    /// Labels that the agent keeps with the action.
    pub metadata: Map<String, Value>,
}

/// The agent's answer to a request to schedule an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheduled {
    /// The agent accepted the action.
    Accepted,
    /// The agent knew the identifier already (409).
    Known,
}

/// Why a call to an agent failed.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// No connection could be made: the request was not sent.
    #[error("failed to connect to {address}: {message}")]
    Connect {
        /// Base URL of the agent.
        address: String,
        /// What happened, as human-readable text.
        message: String,
    },
    /// This process or its system lacks a resource that a connection needs. The request was not sent, and this
    /// says nothing about the agent.
    #[error("{message}, so nothing was sent to {address}")]
    Short {
        /// Base URL of the agent.
        address: String,
        /// What is short, as human-readable text.
        message: String,
    },
    /// The request may have been sent, and no complete answer came.
    #[error("failed to get an answer from {address}: {message}")]
    NoAnswer {
        /// Base URL of the agent.
        address: String,
        /// What happened, as human-readable text.
        message: String,
    },
    /// The agent answered with an error of its own (5xx) that may pass.
    #[error("{address} answered {status}: {message}")]
    Broken {
        /// Base URL of the agent.
        address: String,
        /// The status of the answer.
        status: u16,
        /// What the agent said, as human-readable text.
        message: String,
    },
    /// The request was refused (4xx, or a redirect) and had no effect; the same request will be refused
    /// again.
    #[error("{address} answered {status}: {message}")]
    Refused {
        /// Base URL of the agent.
        address: String,
        /// The status of the answer.
        status: u16,
        /// What the agent said, as human-readable text.
        message: String,
    },
    /// Another node answers at the address.
    #[error(transparent)]
    WrongNode(WrongNode),
    /// What is known of the cluster forbids to send anything there. The request was not sent, and nothing was connected.
    #[error("nothing was sent to {address}: {why}")]
    Barred {
        /// Base URL of the agent.
        address: String,
        /// Why it may not be sent.
        why: NotUsed,
    },
    /// The answer does not follow the specification, or exceeds what may come in. Asking again would give the
    /// same answer.
    #[error("{address} answered something unexpected: {message}")]
    Malformed {
        /// Base URL of the agent.
        address: String,
        /// What was found and what was expected.
        message: String,
    },
}

impl AgentError {
    /// Whether the same request may succeed later.
    pub const fn retryable(&self) -> bool {
        match self {
            Self::Connect { .. }
            | Self::Short { .. }
            | Self::NoAnswer { .. }
            | Self::Broken { .. }
            | Self::WrongNode(_) => true,
            Self::Refused { .. } | Self::Barred { .. } | Self::Malformed { .. } => false,
        }
    }

    /// Whether whoever answers denies us access (401, 403). A restart of the node does not change that: while a
    /// node restarts, what stands before it answers with other statuses.
    pub const fn is_denial(&self) -> bool {
        matches!(self, Self::Refused { status: 401 | 403, .. })
    }

    /// Whether the cause is a shortage on our side, which must not count against the agent.
    pub const fn is_ours(&self) -> bool {
        matches!(self, Self::Short { .. })
    }

    /// Whether the request may have reached the agent and taken effect.
    pub const fn may_have_taken_effect(&self) -> bool {
        match self {
            Self::NoAnswer { .. } | Self::Malformed { .. } => true,
            // These two pass (425 and 429), but are refusals.
            Self::Broken { status, .. } => !matches!(*status, 425 | 429),
            Self::Connect { .. }
            | Self::Short { .. }
            | Self::Refused { .. }
            | Self::Barred { .. }
            | Self::WrongNode(_) => false,
        }
    }
}

/// Sends requests to agents. One client serves all agents; the base URL of its API names an agent.
#[async_trait]
pub trait AgentClient: Send + Sync + 'static {
    /// Asks the agent to perform an action. The client itself never repeats this request.
    async fn schedule(
        &self,
        address: &str,
        request: &ActionRequest,
    ) -> Result<Scheduled, AgentError>;

    /// How far an action is; `None` when the agent does not know the action.
    async fn action(&self, address: &str, id: Uuid) -> Result<Option<ActionStatus>, AgentError>;

    /// The actions that have not ended, in the order in which the agent works on them. It only serves to tell
    /// people what an action waits for: an agent may not support this request.
    async fn queue(&self, address: &str) -> Result<Vec<QueuedAction>, AgentError>;

    /// What the agent says about its node.
    async fn node(&self, address: &str) -> Result<NodeInfo, AgentError>;

    /// What the agent says about its store: a JSON object.
    async fn store(&self, address: &str) -> Result<Value, AgentError>;

    /// The shards that the agent has: a list of objects with `id`, `role`, `commit_offset` and `lag`.
    async fn shards(&self, address: &str) -> Result<Value, AgentError>;

    /// A piece of what an action has written so far. `None` when the agent can't tell: it has no such call, does not know
    /// the action, or has forgotten what it wrote. Only for people to look at: nothing is decided by it.
    async fn output(
        &self,
        address: &str,
        id: Uuid,
        query: OutputQuery,
    ) -> Result<Option<OutputPiece>, AgentError> {
        let _ = (address, id, query);
        Ok(None)
    }

    /// A client for agents that are reached in this way; `None` if this client reaches all agents alike.
    fn reaching(&self, _reach: &Reach) -> Option<Arc<dyn AgentClient>> {
        None
    }
}

/// What an agent said about itself.
#[derive(Debug)]
pub struct Said {
    /// The answer: the node, and as much of its store and shards as was wanted and could be had.
    pub info: NodeInfo,
    /// Why something that was wanted is missing from `info`; `None` if nothing is missing.
    pub missing: Option<AgentError>,
}

/// Asks an agent about its node, and about as much of its store and shards as `wanted` says.
///
/// # Errors
/// The agent said nothing about its node.
pub async fn ask(
    client: &dyn AgentClient,
    address: &str,
    wanted: Wanted,
) -> Result<Said, AgentError> {
    let mut info = client.node(address).await?;
    let missing = ask_store(client, address, wanted, &mut info.datastore).await;
    Ok(Said { info, missing })
}

/// Asks about the store and the shards, as far as `wanted` says, and fills in `datastore`. Returns why
/// something that was wanted is missing.
pub async fn ask_store(
    client: &dyn AgentClient,
    address: &str,
    wanted: Wanted,
    datastore: &mut Datastore,
) -> Option<AgentError> {
    let mut missing = None;
    if wanted.store || wanted.cluster {
        match client.store(address).await {
            Ok(store) => datastore.store = store,
            Err(error) if has_no_such_call(&error) => datastore.store = json!({}),
            // An agent that says nothing about its cluster contradicts nobody.
            Err(error) => missing = Some(error).filter(|_| wanted.store),
        }
    }
    if wanted.shards {
        match client.shards(address).await {
            Ok(shards) => datastore.shards = shards,
            Err(error) if has_no_such_call(&error) => datastore.shards = json!([]),
            Err(error) => missing = missing.or(Some(error)),
        }
    }
    missing
}

/// Whether the error says that the agent has no such call. The agent has just described its node at the same
/// address, so a 404 does not mean a wrong address.
fn has_no_such_call(error: &AgentError) -> bool {
    matches!(error, AgentError::Refused { status: 404 | 405, .. })
        || matches!(error, AgentError::Broken { status: 501, .. })
}
