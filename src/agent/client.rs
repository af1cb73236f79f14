//! What the engine needs of an agent, whatever carries it there.

use async_trait::async_trait;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::run::{Datastore, JsonText, NodeInfo, Timestamp, Wanted, WrongNode};

pub use replibook_core::door::{ActionPhase, ActionStatus, QueuedAction};

/// An action to schedule.
#[derive(Clone, Debug, PartialEq)]
pub struct ActionRequest {
    /// Identifier, made by the engine.
    pub id: Uuid,
    /// Kind of the action.
    pub kind: String,
    /// Its arguments.
    pub args: JsonText,
    /// When the engine decided on it.
    pub created_time: Timestamp,
    /// Labels that the agent keeps with it.
    pub metadata: Map<String, Value>,
}

/// The answer to a request to schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheduled {
    /// The agent accepted it.
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
        /// What happened.
        message: String,
    },
    /// This process or its system has too little of something to make a connection: the request was not sent, and
    /// this says nothing about the agent.
    #[error("{message}, so nothing was sent to {address}")]
    Short {
        /// Base URL of the agent.
        address: String,
        /// What there is too little of.
        message: String,
    },
    /// The request may have been sent, and no whole answer came.
    #[error("failed to get an answer from {address}: {message}")]
    NoAnswer {
        /// Base URL of the agent.
        address: String,
        /// What happened.
        message: String,
    },
    /// The agent answered with an error of its own (5xx) that may pass.
    #[error("{address} answered {status}: {message}")]
    Broken {
        /// Base URL of the agent.
        address: String,
        /// HTTP status.
        status: u16,
        /// The agent's message.
        message: String,
    },
    /// The request was refused (4xx, or a redirect) and had no effect; the same request will be refused
    /// again.
    #[error("{address} answered {status}: {message}")]
    Refused {
        /// Base URL of the agent.
        address: String,
        /// HTTP status.
        status: u16,
        /// The agent's message.
        message: String,
    },
    /// Another node answers there.
    #[error(transparent)]
    WrongNode(WrongNode),
    /// The answer does not follow the specification, or is more than may come in. Asking again would give
    /// the same.
    #[error("{address} answered something unexpected: {message}")]
    Malformed {
        /// Base URL of the agent.
        address: String,
        /// What was found and what was expected.
        message: String,
    },
}

impl AgentError {
    /// Whether the same request may go well later.
    pub const fn retryable(&self) -> bool {
        match self {
            Self::Connect { .. }
            | Self::Short { .. }
            | Self::NoAnswer { .. }
            | Self::Broken { .. }
            | Self::WrongNode(_) => true,
            Self::Refused { .. } | Self::Malformed { .. } => false,
        }
    }

    /// Whether whoever answers does not let us in (401, 403). No restart of a node mends that: what stands
    /// before one answers otherwise meanwhile.
    pub const fn is_denial(&self) -> bool {
        matches!(self, Self::Refused { status: 401 | 403, .. })
    }

    /// Whether it is for want of something of our own, and so nothing that counts against the agent.
    pub const fn is_ours(&self) -> bool {
        matches!(self, Self::Short { .. })
    }

    /// Whether the request may have reached the agent and taken effect.
    pub const fn may_have_taken_effect(&self) -> bool {
        match self {
            Self::NoAnswer { .. } | Self::Malformed { .. } => true,
            // 425 and 429 pass, but are refusals.
            Self::Broken { status, .. } => !matches!(*status, 425 | 429),
            Self::Connect { .. }
            | Self::Short { .. }
            | Self::Refused { .. }
            | Self::WrongNode(_) => false,
        }
    }
}

/// Speaks to agents. One client serves all of them; an agent is named by the base URL of its API.
#[async_trait]
pub trait AgentClient: Send + Sync + 'static {
    /// Asks the agent to perform an action. Never repeated by the client itself.
    async fn schedule(
        &self,
        address: &str,
        request: &ActionRequest,
    ) -> Result<Scheduled, AgentError>;

    /// How far an action is; none when the agent does not know it.
    async fn action(&self, address: &str, id: Uuid) -> Result<Option<ActionStatus>, AgentError>;

    /// The actions that have not ended, in the order in which the agent works on them. Only for telling
    /// people what is waited for: an agent may have no answer to it.
    async fn queue(&self, address: &str) -> Result<Vec<QueuedAction>, AgentError>;

    /// What the agent says about its node.
    async fn node(&self, address: &str) -> Result<NodeInfo, AgentError>;

    /// What the agent says about its store: an object.
    async fn store(&self, address: &str) -> Result<Value, AgentError>;

    /// The shards that the agent has: a list of objects with `id`, `role`, `commit_offset` and `lag`.
    async fn shards(&self, address: &str) -> Result<Value, AgentError>;
}

/// What an agent says about itself.
#[derive(Debug)]
pub struct Said {
    /// What it answered.
    pub info: NodeInfo,
    /// Why some of what was wanted is not in it.
    pub missing: Option<AgentError>,
}

/// What the agent says about its node, and of the rest what is wanted.
///
/// # Errors
/// It said nothing about its node.
pub async fn ask(
    client: &dyn AgentClient,
    address: &str,
    wanted: Wanted,
) -> Result<Said, AgentError> {
    let mut info = client.node(address).await?;
    let missing = ask_store(client, address, wanted, &mut info.datastore).await;
    Ok(Said { info, missing })
}

/// What the agent says about its store, as far as it is wanted, and why some of that is missing.
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
            // What says nothing contradicts nobody.
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

/// Whether it says that the agent does not know what it was asked for. It was told so by who just said
/// what its node is, so it is no wrong address.
fn has_no_such_call(error: &AgentError) -> bool {
    matches!(error, AgentError::Refused { status: 404 | 405, .. })
        || matches!(error, AgentError::Broken { status: 501, .. })
}
