//! The members of a cluster, with what their agents say about themselves.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::StreamExt as _;
use serde_json::{Map, Value, json};

use super::World;
use super::discovery::Following;
use crate::playbook::json_depth_ok;
use crate::run::{
    About, AgentId, AskAgain, Gone, Input, KnownAgent, Member, Members, Membership, NodeInfo,
    Refreshed, RetryOf, Snapshot, Source, in_order,
};
use crate::store::{MAX_PAGE, StoreError};

/// Agents that are asked at the same time, so that a large cluster doesn't open all its
/// connections at once.
pub(super) const ASKED_AT_ONCE: usize = 64;

/// How long one agent may take. One that doesn't answer in time takes part with the attributes of
/// the Cluster object and the platform alone: its steps will say what is wrong with it.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(3);

/// How long a store that does not answer is left alone.
const STORE_WAIT: std::time::Duration = std::time::Duration::from_millis(500);

/// The most bytes, as JSON, of the attributes and the node information of one agent: they are part
/// of its record, hundreds of which are written by one commit.
const MAX_ABOUT_BYTES: usize = 8 * 1024;

/// Works out the members of a run's cluster at the start of a stage: all of them, or, where the run goes
/// over agents of another one again, those. A run that has begun, and so knows members, takes no other
/// doubtful ones.
pub(super) async fn load(
    world: &World,
    following: Following,
    snapshot: &Snapshot,
    knows: Option<Members>,
) -> Input {
    match members(world, following, snapshot, knows).await {
        Ok((members, None)) => Input::Members(members),
        Ok((members, Some(gone))) => Input::MembersOfRetry { members, gone },
        Err(message) => Input::MembersFailed(message),
    }
}

async fn members(
    world: &World,
    following: Following,
    snapshot: &Snapshot,
    knows: Option<Members>,
) -> Result<(Vec<Member>, Option<Gone>), String> {
    let membership = following.members().await?;
    let mut agents = in_order(&membership.members);
    let mut gone = None;
    match (knows, &snapshot.retry_of) {
        (Some(knows), _) => stay_where_known(&mut agents, &membership, &knows),
        (None, Some(of)) => {
            let mut wanted = agents_of(world, of).await?;
            agents.retain(|(id, _)| wanted.remove(id));
            gone = Some(Gone::of(wanted));
        }
        (None, None) => {}
    }
    for (id, agent) in agents.iter().filter(|(_, agent)| agent.source == Source::Declared) {
        let bytes = json_bytes(&agent.attributes);
        if bytes > MAX_ABOUT_BYTES {
            return Err(format!(
                "the attributes of agent {id} have {bytes} bytes, at most {MAX_ABOUT_BYTES}"
            ));
        }
    }
    Ok((ask_all(world, agents).await, gone))
}

/// Leaves out the doubtful ones that a run does not know. Those that it does know stay where it knows them,
/// if nobody else is there: another run, whose records are older, may have told where they are.
fn stay_where_known(
    agents: &mut Vec<(AgentId, Arc<KnownAgent>)>,
    membership: &Membership,
    knows: &Members,
) {
    if membership.doubtful.is_empty() {
        return;
    }
    let homes = membership.addresses();
    agents.retain_mut(|(id, agent)| {
        if !membership.doubtful.contains(id) {
            return true;
        }
        let Some(known) = knows.get(id) else { return false };
        if !homes.contains(known.address.as_str()) {
            Arc::make_mut(agent).address.clone_from(&known.address);
        }
        true
    });
}

/// Asks agents about themselves. The order stays.
pub(super) async fn ask_all(world: &World, agents: Vec<(AgentId, Arc<KnownAgent>)>) -> Vec<Member> {
    let asked = futures::stream::iter(agents).map(|(id, agent)| ask(world, id, agent));
    asked.buffered(ASKED_AT_ONCE).collect().await
}

/// The agents of a finished run that are gone over again.
async fn agents_of(world: &World, of: &RetryOf) -> Result<BTreeSet<AgentId>, String> {
    if answered(world, || world.store.run(of.run)).await?.is_none() {
        return Err(format!("run {}, whose agents it goes over again, is gone", of.run));
    }
    let mut wanted = BTreeSet::new();
    let mut after = None;
    loop {
        let page = answered(world, || world.store.records(of.run, None, after, MAX_PAGE)).await?;
        after = page.last().map(|record| record.seq);
        let is_last = page.len() < MAX_PAGE as usize;
        wanted.extend(page.into_iter().filter(|record| of.takes(record)).map(|r| r.agent));
        if is_last {
            return Ok(wanted);
        }
    }
}

/// Asks the store until it answers.
async fn answered<T, F>(world: &World, call: impl Fn() -> F) -> Result<T, String>
where
    F: Future<Output = Result<T, StoreError>>,
{
    loop {
        match call().await {
            Ok(answer) => return Ok(answer),
            Err(error) if error.retryable() => world.clock.sleep(STORE_WAIT).await,
            Err(error) => return Err(error.to_string()),
        }
    }
}

fn json_bytes(value: &impl serde::Serialize) -> usize {
    serde_json::to_vec(value).map_or(usize::MAX, |text| text.len())
}

/// Asks an agent about itself.
pub(super) async fn ask(world: &World, id: AgentId, agent: Arc<KnownAgent>) -> Member {
    let (reported, node) = match answer(world, &agent.address).await {
        Some(info) => (info.attributes, info.raw),
        None => (Map::new(), Value::Null),
    };
    let mut attributes = reported;
    attributes.extend(agent.attributes.clone());
    let (address, declared) = (agent.address.clone(), agent.attributes.clone());
    let (attributes, node) = match fits(&attributes, &node) {
        true => (attributes, node),
        false => (declared.clone(), status_alone(&id, &node)),
    };
    Member { agent: id, address, attributes, declared, node }
}

/// What the agent at `address` says about its node, if it does so in time.
async fn answer(world: &World, address: &str) -> Option<NodeInfo> {
    tokio::select! {
        biased;
        answer = world.agents.node(address) => answer.ok(),
        () = world.clock.sleep(PATIENCE) => None,
    }
}

/// Whether this is not more than is kept of one agent.
fn fits(attributes: &Map<String, Value>, node: &Value) -> bool {
    let readable = json_depth_ok(node) && attributes.values().all(json_depth_ok);
    readable && json_bytes(attributes) + json_bytes(node) <= MAX_ABOUT_BYTES
}

/// What is kept of an agent that says more than that.
fn status_alone(agent: &AgentId, node: &Value) -> Value {
    tracing::warn!(%agent, "the agent says more about its node than is kept");
    match node.get("node_status") {
        Some(Value::String(word)) => json!({"node_status": word}),
        Some(_) => json!({"node_status": {"UNKNOWN": "the agent says too much to keep it"}}),
        None => Value::Null,
    }
}

/// Asks agents again, for a strategy.
pub(super) async fn refresh(world: &World, agents: Vec<AskAgain>) -> Input {
    let asked = futures::stream::iter(agents).map(|agent| ask_again(world, agent));
    let mut answers: Vec<_> = asked.buffer_unordered(ASKED_AT_ONCE).collect().await;
    // The same answers give the same history, whoever was quicker.
    answers.sort_by_key(|answer| answer.agent);
    Input::Refreshed(answers)
}

async fn ask_again(world: &World, asked: AskAgain) -> Refreshed {
    let AskAgain { seq: agent, agent: id, address, attributes: known, declared } = asked;
    let info = answer(world, &address).await;
    let seen_at = Some(world.clock.now());
    let Some(NodeInfo { attributes, raw, .. }) = info else {
        let about = About { attributes: known, node: Arc::default(), seen_at };
        return Refreshed { agent, about };
    };
    let mut attributes = attributes;
    attributes.extend(Map::clone(&declared));
    let about = match fits(&attributes, &raw) {
        true => About { attributes: attributes.into(), node: raw.into(), seen_at },
        false => About { attributes: known, node: status_alone(&id, &raw).into(), seen_at },
    };
    Refreshed { agent, about }
}
