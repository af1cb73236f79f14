//! What the gateway asks of nodes, so that its answers can be tested without any.

use async_trait::async_trait;
use uuid::Uuid;

use super::nodes::{Facts, Job, Listed, Node, NodeError, Piece, Seen, Started, Stream};
use crate::run::Timestamp;

/// The nodes, whoever reaches them.
#[async_trait]
pub(super) trait Nodes: Send + Sync + 'static {
    /// Starts a job, once.
    async fn start(&self, node: &Node, job: &Job) -> Result<Started, NodeError>;

    /// Looks at a job; `None` if the node does not know it.
    async fn look(&self, node: &Node, id: Uuid) -> Result<Option<Seen>, NodeError>;

    /// The jobs that a node knows.
    async fn list(&self, node: &Node) -> Result<Vec<Listed>, NodeError>;

    /// What a job wrote, from a byte on; `None` if the node does not know it.
    async fn output(
        &self,
        node: &Node,
        id: Uuid,
        stream: Stream,
        from: u64,
    ) -> Result<Option<Piece>, NodeError>;

    /// What a node says of itself, and what this command prints there.
    async fn facts(&self, node: &Node, status: Option<&[String]>) -> Result<Facts, NodeError>;

    /// Forgets the jobs of a node that were sent before this moment and are over.
    async fn purge(&self, node: &Node, before: Timestamp) -> Result<u64, NodeError>;
}
