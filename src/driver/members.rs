//! The members of a cluster, with what their agents say about themselves.

use futures::StreamExt as _;
use serde_json::{Map, Value};

use super::World;
use crate::playbook::{ClusterAgent, json_depth_ok};
use crate::run::{Input, Member};

/// Agents that are asked at the same time, so that a large cluster doesn't open all its
/// connections at once.
const ASKED_AT_ONCE: usize = 64;

/// How long one agent may take. One that doesn't answer in time takes part with the attributes of
/// the Cluster object alone: its steps will say what is wrong with it.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(3);

/// How long a store that does not answer is left alone.
const STORE_WAIT: std::time::Duration = std::time::Duration::from_millis(500);

/// The most bytes, as JSON, of the attributes and the node information of one agent: they are part
/// of its record, hundreds of which are written by one commit.
const MAX_ABOUT_BYTES: usize = 8 * 1024;

/// Works out the members of a cluster.
pub(super) async fn load(world: &World, cluster: &str) -> Input {
    let stored = loop {
        match world.store.cluster(cluster).await {
            Ok(Some(stored)) => break stored,
            Ok(None) => return Input::MembersFailed(format!("cluster {cluster} does not exist")),
            Err(error) if error.retryable() => world.clock.sleep(STORE_WAIT).await,
            Err(error) => return Input::MembersFailed(error.to_string()),
        }
    };
    for agent in &stored.spec.agents {
        let bytes = json_bytes(&agent.attributes);
        if bytes > MAX_ABOUT_BYTES {
            let id = &agent.id;
            let message = format!(
                "the attributes of agent {id} have {bytes} bytes, at most {MAX_ABOUT_BYTES}"
            );
            return Input::MembersFailed(message);
        }
    }
    let asked = futures::stream::iter(stored.spec.agents).map(|agent| ask(world, agent));
    Input::Members(asked.buffered(ASKED_AT_ONCE).collect().await)
}

fn json_bytes(value: &impl serde::Serialize) -> usize {
    serde_json::to_vec(value).map_or(usize::MAX, |text| text.len())
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
    attributes.extend(agent.attributes.clone());
    let readable = json_depth_ok(&node) && attributes.values().all(json_depth_ok);
    if readable && json_bytes(&attributes) + json_bytes(&node) <= MAX_ABOUT_BYTES {
        return Member { agent: agent.id, address: agent.address, attributes, node };
    }
    tracing::warn!(agent = %agent.id, "the agent says more about its node than is kept");
    let attributes = agent.attributes;
    Member { agent: agent.id, address: agent.address, attributes, node: Value::Null }
}
