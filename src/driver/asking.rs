//! The members of a cluster, with what their agents say about themselves. The platform and the `Cluster` object
//! only name the agents; strategies and selections also need to know what each agent is.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::StreamExt as _;
use serde_json::{Map, Value, json};
use tokio::sync::{mpsc, watch};

use super::World;
use super::discovery::Following;
use super::guards::Gate;
use crate::agent::door::begun_within;
use crate::agent::{AgentError, AgentLimits, ask_store};
use crate::playbook::json_depth_ok;
use crate::run::{
    AgentId, Datastore, FailureReason, Gone, Input, KnownAgent, Looked, Member, Members,
    Membership, Millis, NodeInfo, Refusal, RetryOf, Selection, Snapshot, Source, Timestamp,
    Unanswered, Wanted, declared_over, in_order,
};
use crate::store::StoreError;
use replibook_core::mutant;

/// How many agents are asked at the same time: few enough that a large cluster doesn't open all its connections at
/// once, but enough that 5,000 agents which are all down are asked within a minute.
pub(super) const ASKED_AT_ONCE: usize = 256;

/// How soon an agent's answer must begin. An agent that doesn't answer in time takes part with only the attributes
/// from the Cluster object and the platform: its steps will say what is wrong with it.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(3);

/// How long to wait after the store did not answer.
const STORE_WAIT: std::time::Duration = std::time::Duration::from_millis(500);

/// The most bytes, as JSON, of the attributes and the node information of one agent together. They are part of its
/// record, and one commit writes hundreds of records.
const MAX_ABOUT_BYTES: usize = 8 * 1024;

/// How many characters of a node's identifier are kept when the agent says too much: one more than an identifier
/// may have, so that a shortened identifier never equals another.
const MAX_NODE_ID_CHARS: usize = 257;

/// Works out the members of a run's cluster at the start of a stage: all of them, or, if the run retries agents of
/// another run, only those. `knows` has the members that a run which has begun knows already; such a run takes in
/// no other doubtful members.
pub(super) async fn load(
    world: &World,
    following: Following,
    snapshot: &Snapshot,
    knows: Option<Members>,
    asking: Asking,
) -> Input {
    match members(world, following, snapshot, knows, asking).await {
        Ok((members, None)) => Input::Members(members),
        Ok((members, Some((gone, bystanders)))) => {
            Input::MembersOfRetry { members, gone, bystanders }
        }
        Err(message) => Input::MembersFailed(message),
    }
}

async fn members(
    world: &World,
    following: Following,
    snapshot: &Snapshot,
    knows: Option<Members>,
    asking: Asking,
) -> Result<(Vec<Member>, Option<(Gone, Vec<Member>)>), String> {
    let mut cluster = following.clone();
    let membership = following.members().await?;
    // Nothing may start before the run knows them.
    asking.gate.tell(&asking.inbox).await;
    let guards = cluster.now().guards;
    let mut agents = in_order(&membership.members);
    let mut rest = None;
    match (knows, &snapshot.retry_of) {
        (Some(knows), _) => {
            // A retry takes in no further agents, so don't wait for others.
            if snapshot.retry_of.is_some() {
                agents.retain(|(id, _)| knows.contains_key(id));
            }
            stay_where_known(&mut agents, &membership, &knows);
        }
        (None, Some(of)) => {
            let mut wanted = agents_of(world, of).await?;
            let others = agents.extract_if(.., |(id, _)| !wanted.remove(id)).collect();
            rest = Some((Gone::of(wanted), others));
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
    let members = asking.all(world, agents).await;
    // Guards count the other members, too.
    let is_guarded = guards.is_some_and(|guards| !guards.guard_nothing());
    let rest = match rest {
        Some((gone, others)) if is_guarded => Some((gone, asking.once(world, others).await)),
        Some((gone, _)) => Some((gone, Vec::new())),
        None => None,
    };
    Ok((members, rest))
}

/// Leaves out the doubtful agents that the run does not know. Those that it does know keep the address that it
/// knows, if nobody else is there: the membership's address may come from another run, whose records are older.
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

/// Asks agents about themselves when a stage begins.
pub(super) struct Asking {
    /// Decides which agents have to answer before the stage knows whom it selects.
    pub(super) selection: Selection,
    /// Where agents that do not answer are reported, and the guards of the cluster.
    pub(super) inbox: mpsc::Sender<Input>,
    /// Tells the run those guards.
    pub(super) gate: Gate,
}

impl Asking {
    /// Asks each agent at least once. Agents that have to answer and do not are asked again until the patience
    /// with agents, which counts once for all of them, is over. Keeps the order.
    async fn all(&self, world: &World, agents: Vec<(AgentId, Arc<KnownAgent>)>) -> Vec<Member> {
        let limits = &world.agent_limits;
        let until = world.clock.now().plus(limits.unreachable_after);
        let mut members = self.once(world, agents.clone()).await;
        let mut silent: Vec<usize> = (0..members.len()).collect();
        let mut told = 0;
        let mut wait = limits.retry_initial;
        loop {
            silent.retain(|index| {
                members.get(*index).is_some_and(|member| self.selection.needs_answer(member))
            });
            let rest = until.since(world.clock.now());
            if silent.is_empty() || rest == Millis(0) {
                return members;
            }
            if silent.len() != told {
                told = silent.len();
                self.tell(&silent, &members, until).await;
            }
            world.clock.sleep(wait.min(rest).to_std()).await;
            wait = twice(wait).min(limits.retry_max);
            let again =
                silent.iter().filter_map(|index| Some((*index, agents.get(*index)?.clone())));
            let again = futures::stream::iter(again.collect::<Vec<_>>());
            let again = again.map(|(index, agent)| self.ask_before(world, until, index, agent));
            let answers: Vec<_> = again.buffered(ASKED_AT_ONCE).collect().await;
            for (index, answer) in answers.into_iter().flatten() {
                if let Some(member) = members.get_mut(index) {
                    *member = answer;
                }
            }
        }
    }

    /// Asks each agent once, and keeps the order.
    async fn once(&self, world: &World, agents: Vec<(AgentId, Arc<KnownAgent>)>) -> Vec<Member> {
        let asked = futures::stream::iter(agents);
        let asked = asked.map(|(id, agent)| ask(world, id, agent, &self.selection));
        asked.buffered(ASKED_AT_ONCE).collect().await
    }

    async fn tell(&self, silent: &[usize], members: &[Member], until: Timestamp) {
        let named = silent.iter().filter_map(|index| members.get(*index)).take(Unanswered::NAMED);
        let unanswered = Unanswered {
            agents: u32::try_from(silent.len()).unwrap_or(u32::MAX),
            first: named.map(|member| member.agent.clone()).collect(),
            until,
        };
        // If nobody receives this, the driver is gone.
        let _ = self.inbox.send(Input::MembersUnanswered(unanswered)).await;
    }

    /// Asks an agent, unless the time for that is over.
    async fn ask_before(
        &self,
        world: &World,
        until: Timestamp,
        index: usize,
        (id, agent): (AgentId, Arc<KnownAgent>),
    ) -> Option<(usize, Member)> {
        // An agent is asked one last time at the deadline itself.
        match world.clock.now() <= until {
            true => Some((index, ask(world, id, agent, &self.selection).await)),
            false => None,
        }
    }
}

/// Asks a joining agent about itself, again and again if it has to answer and does not.
pub(super) async fn ask_patiently(
    world: &World,
    id: AgentId,
    agent: Arc<KnownAgent>,
    selection: &Selection,
) -> Member {
    let limits = &world.agent_limits;
    let until = world.clock.now().plus(limits.unreachable_after);
    let mut wait = limits.retry_initial;
    loop {
        let member = ask(world, id.clone(), Arc::clone(&agent), selection).await;
        let rest = until.since(world.clock.now());
        if rest == Millis(0) || !selection.needs_answer(&member) {
            return member;
        }
        world.clock.sleep(wait.min(rest).to_std()).await;
        wait = twice(wait).min(limits.retry_max);
    }
}

fn twice(wait: Millis) -> Millis {
    Millis(wait.0.max(1).saturating_mul(2))
}

/// How many records of the old run are in memory at once: each may have results of a megabyte.
const RECORDS_AT_ONCE: u32 = 50;

/// The agents of a finished run that this run goes over again.
async fn agents_of(world: &World, of: &RetryOf) -> Result<BTreeSet<AgentId>, String> {
    let Some(run) = answered(world, || world.store.run(of.run)).await? else {
        return Err(format!("run {}, whose agents it goes over again, is gone", of.run));
    };
    let came_to = run.came_to();
    let mut wanted = BTreeSet::new();
    let mut after = None;
    loop {
        let page =
            answered(world, || world.store.records(of.run, None, after, RECORDS_AT_ONCE)).await?;
        after = page.last().map(|record| record.seq);
        let is_last = page.len() < RECORDS_AT_ONCE as usize;
        let taken = page.into_iter().filter(|record| of.takes(record, &came_to));
        wanted.extend(taken.map(|record| record.agent));
        if is_last {
            return Ok(wanted);
        }
    }
}

/// Calls the store until it answers.
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

/// Asks an agent about itself, and for what the stage's selection and steps look at.
async fn ask(world: &World, id: AgentId, agent: Arc<KnownAgent>, selection: &Selection) -> Member {
    // Take the time before asking: an engine that stood still must not take an old answer for a new one.
    let (asked_at, identity) = (Some(world.clock.now()), agent.identity.clone());
    let (address, declared) = (agent.address.clone(), agent.attributes.clone());
    let wanted = selection.wanted(&identity);
    let Heard { looked, refusal } = hear(world, &id, &address, wanted, &declared).await;
    let (reported, node, datastore) = match looked {
        Looked::Says(info) => (info.attributes, info.raw, info.datastore),
        Looked::Refused(_) | Looked::Silent(_) => (Map::new(), Value::Null, Datastore::default()),
    };
    let attributes = declared_over(reported, &declared);
    Member {
        agent: id,
        address,
        attributes,
        declared,
        node,
        datastore,
        asked_at,
        identity,
        refusal,
    }
}

/// What came of asking an agent once.
pub(super) struct Heard {
    pub(super) looked: Looked,
    /// Why something it was asked for is unknown, where asking again would end the same way.
    pub(super) refusal: Option<Refusal>,
}

/// What the agent at `address` says about its node, and whatever else is wanted, if it answers in time. Contains
/// no more of its answer than is kept.
pub(super) async fn look(world: &World, id: &AgentId, address: &str, wanted: Wanted) -> Looked {
    hear(world, id, address, wanted, &Map::new()).await.looked
}

/// The result of `calls` to the agent at `address`, if each answer begins soon and all of them end before the
/// patience with agents is over, so that an agent behind a slow line can answer too. Otherwise the reason as
/// human-readable text.
async fn in_time<T>(
    world: &World,
    address: &str,
    calls: impl Future<Output = T>,
) -> Result<T, String> {
    let whole = whole_patience(&world.agent_limits);
    let calls = begun_within(&*world.clock, PATIENCE, watch::Sender::new(false), calls);
    tokio::select! {
        biased;
        answer = calls => {
            answer.ok_or_else(|| format!("{address} did not answer within {} s", PATIENCE.as_secs()))
        }
        () = world.clock.sleep(whole) => {
            Err(format!("{address} did not finish its answer within {} s", whole.as_secs()))
        }
    }
}

/// How long a whole answer may take: as long as the patience with agents, or, if that is shorter, as long as an
/// answer may take to begin.
fn whole_patience(limits: &AgentLimits) -> std::time::Duration {
    limits.unreachable_after.to_std().max(PATIENCE)
}

/// Asks an agent about its node, and for whatever else is wanted.
pub(super) async fn hear(
    world: &World,
    id: &AgentId,
    address: &str,
    wanted: Wanted,
    declared: &Map<String, Value>,
) -> Heard {
    let answer = loop {
        match in_time(world, address, world.agents.node(address)).await {
            Ok(Err(error)) if error.is_ours() => again(world).await,
            Ok(answer) => break answer,
            Err(message) => return Heard { looked: Looked::Silent(message), refusal: None },
        }
    };
    let mut info = match answer {
        Ok(info) => info,
        Err(error) => {
            let looked = not_said(&error);
            return Heard { refusal: looked.refusal().cloned(), looked };
        }
    };
    // A store that hangs must not hide what the node is. What is missing stays null.
    let missing = loop {
        let asked = ask_store(world.agents.as_ref(), address, wanted, &mut info.datastore);
        match in_time(world, address, asked).await.unwrap_or(None) {
            Some(error) if error.is_ours() => again(world).await,
            missing => break missing,
        }
    };
    let refusal = missing.and_then(|error| not_said(&error).refusal().cloned());
    let refusal = refusal.or(leave_out_too_much(id, address, &mut info, declared));
    Heard { looked: Looked::Says(Box::new(info)), refusal }
}

/// Waits before an agent is asked again, because a resource of our own was lacking and nothing was asked. That is
/// repeated without end, and the agent then has its full time to answer.
async fn again(world: &World) {
    world.clock.sleep(world.agent_limits.retry_initial.to_std()).await;
}

/// What a failed look says about the agent. If it would be refused again, or can't be read, that is an answer too.
fn not_said(error: &AgentError) -> Looked {
    let message = error.to_string();
    let refused = |reason, message| Looked::Refused(Refusal { reason, message });
    match error {
        AgentError::Refused { .. } if mutant!(RefusalIsSilence) => Looked::Silent(message),
        AgentError::Refused { .. } | AgentError::Barred { .. } => {
            refused(FailureReason::Refused, message)
        }
        AgentError::Malformed { .. } => refused(FailureReason::Malformed, message),
        AgentError::Connect { .. }
        | AgentError::Short { .. }
        | AgentError::NoAnswer { .. }
        | AgentError::Broken { .. }
        | AgentError::WrongNode(_) => Looked::Silent(message),
    }
}

/// Whether this is no more than is kept of one agent.
fn fits(attributes: &Map<String, Value>, node: &Value) -> bool {
    let readable = json_depth_ok(node) && attributes.values().all(json_depth_ok);
    readable && json_bytes(attributes) + json_bytes(node) <= MAX_ABOUT_BYTES
}

/// Leaves out what exceeds the limit for one agent, and returns a refusal that says so. The node information goes
/// first, then the attributes.
fn leave_out_too_much(
    agent: &AgentId,
    address: &str,
    info: &mut NodeInfo,
    declared: &Map<String, Value>,
) -> Option<Refusal> {
    let attributes = declared_over(info.attributes.clone(), declared);
    if fits(&attributes, &info.raw) {
        return None;
    }
    let bytes = json_bytes(&attributes) + json_bytes(&info.raw);
    info.raw = status_alone(agent, &info.raw);
    if !fits(&attributes, &info.raw) {
        info.attributes = Map::new();
    }
    let message = format!(
        "{address} answered something unexpected: found {bytes} bytes about its node, expected at most \
         {MAX_ABOUT_BYTES} where that is looked at"
    );
    Some(Refusal { reason: FailureReason::Malformed, message })
}

/// What is kept of the node information of an agent that says too much.
fn status_alone(agent: &AgentId, node: &Value) -> Value {
    tracing::warn!(%agent, "the agent says more about its node than is kept");
    let mut kept = Map::new();
    match node.get("node_status") {
        Some(Value::String(word)) => drop(kept.insert("node_status".to_owned(), json!(word))),
        Some(_) => {
            let unknown = json!({"UNKNOWN": "the agent says too much to keep it"});
            kept.insert("node_status".to_owned(), unknown);
        }
        None => {}
    }
    // Its identity must still be compared.
    if let Some(Value::String(id)) = node.get("node_id") {
        let id: String = id.chars().take(MAX_NODE_ID_CHARS).collect();
        kept.insert("node_id".to_owned(), json!(id));
    }
    Value::Object(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_begins_in_time_has_time_to_end() {
        let whole = |seconds| {
            let unreachable_after = Millis::from_secs(seconds);
            whole_patience(&AgentLimits { unreachable_after, ..AgentLimits::default() })
        };
        assert_eq!((whole(1), whole(120).as_secs()), (PATIENCE, 120));
    }
}
