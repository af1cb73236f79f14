//! Asks agents of a cluster how they are, for people who look at it. Only this and `output` send requests to agents
//! from the API, and all of them only ask.

use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt as _, stream};
use serde_json::{Map, Value};
use tokio::time::timeout;

use super::state::ApiState;
use super::wire::{AgentNow, ClusterAgentView};
use crate::agent::AgentClient;
use crate::driver::Ways;
use crate::playbook::Identity;
use crate::run::{Millis, NodeInfo, Timestamp};

/// How long to wait for an agent: as long as at the beginning of a stage.
const PATIENCE: Duration = Duration::from_secs(3);

/// How many agents one request asks at most. Even if none of them answers, asking them all takes less time than
/// a client waits.
pub(super) const MAX_ASKED_PAGE: u32 = 200;

/// An agent that was asked.
pub(super) struct Asked {
    /// The agent, with its answer in `now`.
    pub(super) agent: ClusterAgentView,
    /// All that `info/node` says; null if there is no good answer.
    pub(super) node: Value,
}

/// Asks each agent. The order stays.
pub(super) async fn ask_all(
    state: &ApiState,
    ways: &Ways,
    agents: Vec<(ClusterAgentView, Identity)>,
) -> Vec<Asked> {
    let Some(client) = state.agents.clone().map(|all| reaching(all, ways)) else {
        let unasked = |(agent, _)| Asked { agent, node: Value::Null };
        return agents.into_iter().map(unasked).collect();
    };
    let client = client.as_ref();
    let asked = stream::iter(agents).map(|(agent, identity)| async move {
        // The semaphore is never closed.
        let _turn = state.asking.acquire().await;
        let (now, node) = ask(state, client, &agent, identity).await;
        Asked { agent: ClusterAgentView { now: Some(now), ..agent }, node }
    });
    let mut all: Vec<_> = asked.buffered(super::limits::MAX_ASKED).collect().await;
    let answered = state.clock.now();
    for now in all.iter_mut().filter_map(|asked| asked.agent.now.as_mut()) {
        now.age = answered.since(now.asked_at);
    }
    all
}

/// The client for a cluster that is reached in this way.
pub(super) fn reaching(all: Arc<dyn AgentClient>, ways: &Ways) -> Arc<dyn AgentClient> {
    match ways {
        Ways::By(reach) => all.reaching(reach).unwrap_or(all),
        Ways::Unknown | Ways::Unreadable => all,
    }
}

async fn ask(
    state: &ApiState,
    client: &dyn AgentClient,
    agent: &ClusterAgentView,
    identity: Identity,
) -> (AgentNow, Value) {
    let said = timeout(PATIENCE, client.node(&agent.address)).await;
    let at = state.clock.now();
    let why = match said {
        Ok(Ok(node)) => match other_name(&node, agent.id.as_str(), &identity) {
            None => return (now_of(&node, at), node.raw),
            Some(other) => format!("the node there says that it is {other:?}"),
        },
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("no answer within {PATIENCE:?}"),
    };
    (no_answer(why, at), Value::Null)
}

/// The name that the node gives itself, if the agent's identity is checked and the name is not the agent's.
fn other_name<'n>(node: &'n NodeInfo, id: &str, identity: &Identity) -> Option<&'n str> {
    let name = node.raw.get("node_id").and_then(Value::as_str);
    match identity {
        Identity::Check | Identity::In(_) => name.filter(|name| *name != id),
        Identity::Ignore => None,
    }
}

fn now_of(node: &NodeInfo, asked_at: Timestamp) -> AgentNow {
    let text = |pointer: &str| node.raw.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    let (store, version) = (text("/store_id"), text("/store_version/number"));
    AgentNow {
        asked_at,
        age: Millis(0),
        status: Some(node.status.clone()),
        agent_version: text("/agent_version/number"),
        store: store.map(|store| match version {
            Some(version) => format!("{store} {version}"),
            None => store,
        }),
        attributes: node.attributes.clone(),
        error: None,
    }
}

fn no_answer(error: String, asked_at: Timestamp) -> AgentNow {
    AgentNow {
        asked_at,
        age: Millis(0),
        status: None,
        agent_version: None,
        store: None,
        attributes: Map::new(),
        error: Some(error),
    }
}
