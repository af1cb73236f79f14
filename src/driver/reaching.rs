//! Reaches the agents of a run as the Cluster object of the moment says: with its credentials.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use serde_json::Value;
use uuid::Uuid;

use super::discovery::{Following, Ways};
use crate::agent::{ActionRequest, ActionStatus, AgentClient, AgentError, QueuedAction, Scheduled};
use crate::playbook::Reach;
use crate::run::NodeInfo;

/// Calls the agents of one cluster. Before the Cluster object was looked at for the first time nothing is sent.
pub(super) struct ClusterAgents {
    all: Arc<dyn AgentClient>,
    cluster: Following,
    /// The client that was used last, and for which way.
    last: Mutex<Option<(Reach, Arc<dyn AgentClient>)>>,
}

impl ClusterAgents {
    pub(super) fn new(all: Arc<dyn AgentClient>, cluster: Following) -> Self {
        Self { all, cluster, last: Mutex::default() }
    }

    /// The client for an agent at this moment.
    async fn client(&self, address: &str) -> Result<Arc<dyn AgentClient>, AgentError> {
        match self.cluster.ways().await {
            Ways::By(reach) => Ok(self.reaching_by(reach)),
            // Agents that need no credentials go on. Others would only refuse what is sent without.
            Ways::Unknown | Ways::Unreadable if !address.starts_with("https:") => {
                Ok(Arc::clone(&self.all))
            }
            Ways::Unknown | Ways::Unreadable => {
                let message = "it can't be read how the agents of the cluster are reached";
                Err(AgentError::Short { address: address.to_owned(), message: message.to_owned() })
            }
        }
    }

    fn reaching_by(&self, reach: Reach) -> Arc<dyn AgentClient> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, client)) = &*last
            && *of == reach
        {
            return Arc::clone(client);
        }
        let client = self.all.reaching(&reach).unwrap_or_else(|| Arc::clone(&self.all));
        *last = Some((reach, Arc::clone(&client)));
        client
    }
}

#[async_trait]
impl AgentClient for ClusterAgents {
    async fn schedule(
        &self,
        address: &str,
        request: &ActionRequest,
    ) -> Result<Scheduled, AgentError> {
        self.client(address).await?.schedule(address, request).await
    }

    async fn action(&self, address: &str, id: Uuid) -> Result<Option<ActionStatus>, AgentError> {
        self.client(address).await?.action(address, id).await
    }

    async fn queue(&self, address: &str) -> Result<Vec<QueuedAction>, AgentError> {
        self.client(address).await?.queue(address).await
    }

    async fn node(&self, address: &str) -> Result<NodeInfo, AgentError> {
        self.client(address).await?.node(address).await
    }

    async fn store(&self, address: &str) -> Result<Value, AgentError> {
        self.client(address).await?.store(address).await
    }

    async fn shards(&self, address: &str) -> Result<Value, AgentError> {
        self.client(address).await?.shards(address).await
    }
}
