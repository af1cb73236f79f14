//! Agents in memory that follow a script: for tests of the engine and for the simulator.
//!
//! They are deterministic: what they do depends only on the script, the requests and the clock. They also keep
//! account: they count each execution of an action and notice two simultaneous POSTs of one action, so that a
//! test can prove what the engine promises.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::client::{
    ActionPhase, ActionRequest, ActionStatus, AgentClient, AgentError, QueuedAction, Scheduled,
};
use super::door::Coming;
use super::fake_script::{Asked, FakeQueue, Fault, KnownId, Script, When, garbled, no_answer};
use crate::clock::Clock;
use crate::run::{Datastore, Millis, NodeInfo, Timestamp};

/// Requests that are remembered for each agent; the oldest go first, so that a simulation of days does not fill
/// the memory.
const MAX_REMEMBERED: usize = 10_000;

/// Agents in memory, named by address. Cheap to clone; clones are the same agents.
#[derive(Clone)]
pub struct FakeAgents {
    clock: Arc<dyn Clock>,
    agents: Arc<Mutex<BTreeMap<String, FakeAgent>>>,
}

struct FakeAgent {
    script: Script,
    known_id: KnownId,
    latency: Millis,
    slow: Millis,
    unreachable_until: Option<Timestamp>,
    garbled_until: Option<Timestamp>,
    refuses: Option<u16>,
    proxied_until: Option<Timestamp>,
    faults: VecDeque<Fault>,
    node_id: Option<String>,
    status: String,
    attributes: Map<String, Value>,
    store: Option<Value>,
    shards: Option<Value>,
    actions: BTreeMap<Uuid, FakeAction>,
    executions: BTreeMap<Uuid, u32>,
    posting: BTreeMap<Uuid, u32>,
    overlaps: u32,
    asked: VecDeque<(Timestamp, Asked)>,
    busy_until: Option<Timestamp>,
    queue: FakeQueue,
}

struct FakeAction {
    /// Nobody knows the action before this moment.
    from: Timestamp,
    looks: u32,
    end: Option<ActionStatus>,
}

impl FakeAgents {
    /// No agents yet.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, agents: Arc::default() }
    }

    /// Adds an agent, whose node is HEALTHY.
    pub fn add(&self, address: &str, script: Script) {
        let agent = FakeAgent {
            script,
            known_id: KnownId::default(),
            latency: Millis(0),
            slow: Millis(0),
            unreachable_until: None,
            garbled_until: None,
            refuses: None,
            proxied_until: None,
            faults: VecDeque::new(),
            node_id: None,
            status: "HEALTHY".to_owned(),
            attributes: Map::new(),
            store: None,
            shards: None,
            actions: BTreeMap::new(),
            executions: BTreeMap::new(),
            posting: BTreeMap::new(),
            overlaps: 0,
            asked: VecDeque::new(),
            busy_until: None,
            queue: FakeQueue::default(),
        };
        self.lock().insert(address.to_owned(), agent);
    }

    /// Changes what an agent does with its actions, including those that have not ended.
    pub fn set_script(&self, address: &str, script: Script) {
        self.change(address, |agent| agent.script = script);
    }

    /// Changes what an agent does with a POST of an action that it already knows.
    pub fn set_known_id(&self, address: &str, known_id: KnownId) {
        self.change(address, |agent| agent.known_id = known_id);
    }

    /// Makes each request take this long; half of it passes before the request arrives.
    pub fn set_latency(&self, address: &str, latency: Millis) {
        self.change(address, |agent| agent.latency = latency);
    }

    /// Makes each answer take this long from its first byte to its last.
    pub fn set_slow(&self, address: &str, slow: Millis) {
        self.change(address, |agent| agent.slow = slow);
    }

    /// Lets no connection through until that moment.
    pub fn set_unreachable_until(&self, address: &str, until: Timestamp) {
        self.change(address, |agent| agent.unreachable_until = Some(until));
    }

    /// Keeps the agent from beginning any action before that moment: its actions stay NEW.
    pub fn set_busy_until(&self, address: &str, until: Timestamp) {
        self.change(address, |agent| agent.busy_until = Some(until));
    }

    /// Changes what the agent says when it is asked for its queue.
    pub fn set_queue(&self, address: &str, queue: FakeQueue) {
        self.change(address, |agent| agent.queue = queue);
    }

    /// Until that moment, answers to looks and about the node can't be read.
    pub fn set_garbled_until(&self, address: &str, until: Timestamp) {
        self.change(address, |agent| agent.garbled_until = Some(until));
    }

    /// Refuses to say anything about the node, with this HTTP status; `None` ends the refusal.
    pub fn set_refuses(&self, address: &str, status: Option<u16>) {
        self.change(address, |agent| agent.refuses = status);
    }

    /// Until that moment, a proxy that has lost its way to the agent answers 404 to everything.
    pub fn set_proxied_until(&self, address: &str, until: Timestamp) {
        self.change(address, |agent| agent.proxied_until = Some(until));
    }

    /// Changes which node the agent says it is; without this it names no node.
    pub fn set_node_id(&self, address: &str, id: &str) {
        self.change(address, |agent| agent.node_id = Some(id.to_owned()));
    }

    /// Changes the status of the node.
    pub fn set_status(&self, address: &str, status: &str) {
        self.change(address, |agent| status.clone_into(&mut agent.status));
    }

    /// Changes the attributes of the node.
    pub fn set_attributes(&self, address: &str, attributes: Map<String, Value>) {
        self.change(address, |agent| agent.attributes = attributes);
    }

    /// Changes what the agent says about its store; without this it has no such call.
    pub fn set_store(&self, address: &str, store: Value) {
        self.change(address, |agent| agent.store = Some(store));
    }

    /// Changes which shards the agent says it has; without this it has no such call.
    pub fn set_shards(&self, address: &str, shards: Value) {
        self.change(address, |agent| agent.shards = Some(shards));
    }

    /// Adds a fault. Each fault spoils one POST, in the order in which they were added.
    pub fn add_fault(&self, address: &str, fault: Fault) {
        self.change(address, |agent| agent.faults.push_back(fault));
    }

    /// How often each action was executed.
    pub fn executions(&self, address: &str) -> BTreeMap<Uuid, u32> {
        self.lock().get(address).map(|agent| agent.executions.clone()).unwrap_or_default()
    }

    /// The highest number of executions of one action, over all agents.
    pub fn most_executions(&self) -> u32 {
        let agents = self.lock();
        agents.values().flat_map(|agent| agent.executions.values()).max().copied().unwrap_or(0)
    }

    /// How often a POST arrived while another one of the same action was on its way, over all agents.
    pub fn overlaps(&self) -> u32 {
        self.lock().values().map(|agent| agent.overlaps).sum()
    }

    /// The requests that reached an agent, oldest first; only the last ones if there were many.
    pub fn asked(&self, address: &str) -> Vec<(Timestamp, Asked)> {
        self.lock()
            .get(address)
            .map(|agent| agent.asked.iter().copied().collect())
            .unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, FakeAgent>> {
        self.agents.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, address: &str, change: impl FnOnce(&mut FakeAgent)) {
        if let Some(agent) = self.lock().get_mut(address) {
            change(agent);
        }
    }

    /// Lets a request through to the agent, and remembers it.
    async fn reach(&self, address: &str, asked: Asked) -> Result<(), AgentError> {
        let half = self.half_latency(address)?;
        self.clock.sleep(half.to_std()).await;
        let now = self.clock.now();
        self.change(address, |agent| {
            if agent.asked.len() == MAX_REMEMBERED {
                agent.asked.pop_front();
            }
            agent.asked.push_back((now, asked));
        });
        Ok(())
    }

    fn half_latency(&self, address: &str) -> Result<Millis, AgentError> {
        let now = self.clock.now();
        let connect = |message: &str| AgentError::Connect {
            address: address.to_owned(),
            message: message.to_owned(),
        };
        let agents = self.lock();
        let agent = agents.get(address).ok_or_else(|| connect("no such agent"))?;
        match agent.unreachable_until {
            Some(until) if now < until => Err(connect("connection refused")),
            Some(_) | None => Ok(Millis(agent.latency.0 / 2)),
        }
    }

    async fn answer(&self, address: &str) -> Result<(), AgentError> {
        let half = self.half_latency(address).map_err(|_| no_answer(address))?;
        self.clock.sleep(half.to_std()).await;
        let _coming = Coming::begins();
        let slow = self.ask(address, |agent| agent.slow)?;
        self.clock.sleep(slow.to_std()).await;
        Ok(())
    }

    /// Fails while the answers of the agent to looks can't be read.
    fn readable(&self, address: &str) -> Result<(), AgentError> {
        let now = self.clock.now();
        let until = self.ask(address, |agent| agent.garbled_until)?;
        if until.is_some_and(|until| now < until) { Err(garbled(address)) } else { Ok(()) }
    }

    /// What the agent says to a call that it may not have (`None`: 404); null makes the call fail.
    async fn said(
        &self,
        address: &str,
        asked: Asked,
        says: impl FnOnce(&FakeAgent) -> Option<Value> + Send,
    ) -> Result<Value, AgentError> {
        self.reach(address, asked).await?;
        let said = self.ask(address, |agent| says(agent))?;
        self.answer(address).await?;
        self.readable(address)?;
        let (address, message) = (address.to_owned(), "no such store".to_owned());
        match said {
            None => Err(AgentError::Refused { address, status: 404, message }),
            Some(Value::Null) => Err(AgentError::Broken { address, status: 500, message }),
            Some(said) => Ok(said),
        }
    }

    /// Fails while a proxy answers in place of the agent.
    fn through_proxy(&self, address: &str) -> Result<(), AgentError> {
        let now = self.clock.now();
        let until = self.ask(address, |agent| agent.proxied_until)?;
        if until.is_none_or(|until| now >= until) {
            return Ok(());
        }
        let (address, message) = (address.to_owned(), "no such route".to_owned());
        Err(AgentError::Refused { address, status: 404, message })
    }

    /// Runs `ask` on the agent at `address`.
    fn ask<T>(
        &self,
        address: &str,
        ask: impl FnOnce(&mut FakeAgent) -> T,
    ) -> Result<T, AgentError> {
        self.lock().get_mut(address).map(ask).ok_or_else(|| no_answer(address))
    }
}

#[async_trait]
impl AgentClient for FakeAgents {
    async fn schedule(
        &self,
        address: &str,
        request: &ActionRequest,
    ) -> Result<Scheduled, AgentError> {
        let id = request.id;
        self.change(address, |agent| agent.post_begins(id));
        let ended = PostEnds { agents: self, address, id };
        self.reach(address, Asked::Post(id)).await?;
        self.through_proxy(address)?;
        let now = self.clock.now();
        let held = self.ask(address, |agent| {
            let next = agent.faults.front();
            if let Some(Fault::Hold(length)) = next { *length } else { Millis(0) }
        })?;
        let scheduled = self.ask(address, |agent| agent.schedule(address, id, now))??;
        self.clock.sleep(held.to_std()).await;
        self.answer(address).await?;
        drop(ended);
        Ok(scheduled)
    }

    async fn action(&self, address: &str, id: Uuid) -> Result<Option<ActionStatus>, AgentError> {
        self.reach(address, Asked::Look(id)).await?;
        if self.through_proxy(address).is_err() {
            return Ok(None);
        }
        let now = self.clock.now();
        let found = self.ask(address, |agent| agent.look(id, now))?;
        self.answer(address).await?;
        self.readable(address)?;
        Ok(found)
    }

    async fn queue(&self, address: &str) -> Result<Vec<QueuedAction>, AgentError> {
        self.reach(address, Asked::Queue).await?;
        let queue = self.ask(address, |agent| agent.queue(address))?;
        if queue.is_none() {
            std::future::pending::<()>().await;
        }
        self.answer(address).await?;
        queue.unwrap_or(Ok(Vec::new()))
    }

    async fn node(&self, address: &str) -> Result<NodeInfo, AgentError> {
        self.reach(address, Asked::Node).await?;
        self.through_proxy(address)?;
        if let Some(status) = self.ask(address, |agent| agent.refuses)? {
            let (address, message) = (address.to_owned(), "not for you".to_owned());
            return Err(AgentError::Refused { address, status, message });
        }
        let node = self.ask(address, |agent| NodeInfo {
            status: agent.status.clone(),
            attributes: agent.attributes.clone(),
            raw: json!({
                "node_id": agent.node_id,
                "node_status": agent.status,
                "attributes": agent.attributes,
            }),
            datastore: Datastore::default(),
        })?;
        self.answer(address).await?;
        self.readable(address)?;
        Ok(node)
    }

    async fn store(&self, address: &str) -> Result<Value, AgentError> {
        self.said(address, Asked::Store, |agent| agent.store.clone()).await
    }

    async fn shards(&self, address: &str) -> Result<Value, AgentError> {
        self.said(address, Asked::Shards, |agent| agent.shards.clone()).await
    }
}

/// Notes the end of a POST, even when its future is dropped.
struct PostEnds<'a> {
    agents: &'a FakeAgents,
    address: &'a str,
    id: Uuid,
}

impl Drop for PostEnds<'_> {
    fn drop(&mut self) {
        self.agents.change(self.address, |agent| {
            if let Some(count) = agent.posting.get_mut(&self.id) {
                *count = count.saturating_sub(1);
            }
        });
    }
}

impl FakeAgent {
    fn post_begins(&mut self, id: Uuid) {
        let count = self.posting.entry(id).or_default();
        *count += 1;
        if *count > 1 {
            self.overlaps += 1;
        }
    }

    fn schedule(
        &mut self,
        address: &str,
        id: Uuid,
        now: Timestamp,
    ) -> Result<Scheduled, AgentError> {
        match self.faults.pop_front() {
            None => self.effect(address, id, now),
            Some(Fault::DropAnswer) => {
                self.effect(address, id, now)?;
                Err(no_answer(address))
            }
            Some(Fault::LateEffect(late)) => {
                self.effect(address, id, now.plus(late))?;
                Err(no_answer(address))
            }
            Some(Fault::Hold(length)) => self.effect(address, id, now.plus(length)),
            Some(Fault::DropRequest) => Err(no_answer(address)),
            Some(Fault::GarbleAnswer) => {
                self.effect(address, id, now)?;
                Err(garbled(address))
            }
            Some(Fault::GarbleRequest) => Err(garbled(address)),
            Some(Fault::Break) => Err(AgentError::Broken {
                address: address.to_owned(),
                status: 503,
                message: "the queue is full".to_owned(),
            }),
        }
    }

    fn effect(
        &mut self,
        address: &str,
        id: Uuid,
        from: Timestamp,
    ) -> Result<Scheduled, AgentError> {
        if let Script::Refuse { message } = &self.script {
            let (address, message) = (address.to_owned(), message.clone());
            return Err(AgentError::Refused { address, status: 400, message });
        }
        if self.actions.contains_key(&id) && self.known_id == KnownId::Conflict {
            return Ok(Scheduled::Known);
        }
        *self.executions.entry(id).or_default() += 1;
        self.actions.insert(id, FakeAction { from, looks: 0, end: None });
        Ok(Scheduled::Accepted)
    }

    /// What the agent says of its queue; `None` if it never answers.
    fn queue(&self, address: &str) -> Option<Result<Vec<QueuedAction>, AgentError>> {
        let open = self.actions.iter().filter(|(_, action)| action.end.is_none());
        self.queue.says(address, open.map(|(id, _)| *id))
    }

    fn look(&mut self, id: Uuid, now: Timestamp) -> Option<ActionStatus> {
        let busy = self.busy_until.is_some_and(|until| now < until);
        let action = self.actions.get_mut(&id)?;
        if now < action.from {
            return None;
        }
        if let Some(end) = &action.end {
            return Some(end.clone());
        }
        if busy {
            let (phase, payload) = (ActionPhase::New, Value::Null.into());
            return Some(ActionStatus { phase, payload, unread: None, error: None });
        }
        let ended = |when: &When, looks: u32, from: Timestamp| match when {
            When::Looks(count) => looks >= *count,
            When::After(length) => now >= from.plus(*length),
        };
        let status = |phase, payload: Value, error| {
            let payload = payload.into();
            ActionStatus { phase, payload, unread: None, error }
        };
        match &self.script {
            Script::Succeed { when, payload } if ended(when, action.looks, action.from) => {
                action.end = Some(status(ActionPhase::Done, payload.clone(), None));
            }
            Script::Fail { when, message } if ended(when, action.looks, action.from) => {
                action.end = Some(status(ActionPhase::Failed, Value::Null, Some(message.clone())));
            }
            Script::Forget { when } if ended(when, action.looks, action.from) => {
                self.actions.remove(&id);
                return None;
            }
            Script::Succeed { .. }
            | Script::Fail { .. }
            | Script::Forget { .. }
            | Script::Stall
            | Script::Refuse { .. } => {}
        }
        if action.end.is_some() {
            return action.end.clone();
        }
        let phase = if action.looks == 0 { ActionPhase::New } else { ActionPhase::Running };
        action.looks = action.looks.saturating_add(1);
        Some(status(phase, Value::Null, None))
    }
}
