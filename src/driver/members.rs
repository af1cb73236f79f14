//! The members of a cluster, with what their agents say about themselves.

use futures::StreamExt as _;
use serde_json::{Map, Value};

use super::World;
use crate::playbook::ClusterAgent;
use crate::run::{Input, Member};

/// Agents that are asked at the same time, so that a large cluster doesn't open all its
/// connections at once.
const ASKED_AT_ONCE: usize = 64;

/// How long one agent may take. One that doesn't answer in time takes part with the attributes of
/// the Cluster object alone: its steps will say what is wrong with it.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(3);

/// Works out the members of a cluster.
pub(super) async fn load(world: &World, cluster: &str) -> Input {
    let stored = match world.store.cluster(cluster).await {
        Ok(Some(stored)) => stored,
        Ok(None) => return Input::MembersFailed(format!("cluster {cluster} does not exist")),
        Err(error) => return Input::MembersFailed(error.to_string()),
    };
    let asked = futures::stream::iter(stored.spec.agents).map(|agent| ask(world, agent));
    Input::Members(asked.buffered(ASKED_AT_ONCE).collect().await)
}

async fn ask(world: &World, agent: ClusterAgent) -> Member {
    let answer = tokio::select! {
        answer = world.agents.node(&agent.address) => answer.ok(),
        () = world.clock.sleep(PATIENCE) => None,
    };
    let (reported, node) = match answer {
        Some(info) => (info.attributes, info.raw),
        None => (Map::new(), Value::Null),
    };
    let mut attributes = reported;
    attributes.extend(agent.attributes);
    Member { agent: agent.id, address: agent.address, attributes, node }
}
