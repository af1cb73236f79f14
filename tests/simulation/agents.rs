//! The agents of a history and the network between them and the engines, and what the simulator checks of
//! both.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use replibook::agent::{
    ActionPhase, ActionRequest, ActionStatus, AgentClient, AgentError, QueuedAction, Scheduled,
};
use replibook::clock::Clock;
use replibook::run::{AgentId, Datastore, Millis, NodeInfo, Timestamp};
use serde_json::{Map, Value, json};
use tokio::sync::oneshot;
use uuid::Uuid;

use crate::behind::{Cut, UNKNOWN};
use crate::documents::{STORE, compares_stores, role};
use crate::gate::{Gate, lock};
use crate::ledger::SharedLedger;
use crate::plan::{AgentPlan, CALM, End, Point, STEPS, Side};
use crate::post_fault::PostFault;
use crate::unanswered::{garbled, no_answer, refused_connection, unreached};

/// All agents. They live as long as the history, whatever happens to engines.
pub(crate) struct Agents {
    clock: Arc<dyn Clock>,
    start: Timestamp,
    plans: Vec<AgentPlan>,
    /// Whether agents compare the clusters that stores are in.
    compares: bool,
    known: Mutex<BTreeMap<Uuid, Action>>,
    posts: Mutex<BTreeMap<Uuid, usize>>,
    /// What nodes behind a gateway know and have not begun.
    claims: Mutex<BTreeMap<Uuid, (String, To)>>,
    ledger: SharedLedger,
}

/// An action that an agent knows.
struct Action {
    agent: usize,
    step: usize,
    /// How it ends.
    end: End,
    /// Until this moment nobody can know of the action.
    from: Timestamp,
    /// Until this moment other actions come first.
    begins: Timestamp,
    ends: Timestamp,
}

/// Number of a step among the steps of all stages.
pub(crate) fn place(stage: usize, step: usize) -> usize {
    stage * STEPS + step
}

/// What is asked of which agent, and how it will end.
#[derive(Clone, Copy)]
struct To {
    agent: usize,
    step: usize,
    end: End,
}

/// Kind of the action of a step. The step's number is that among the steps of all stages.
pub(crate) fn kind(step: usize) -> String {
    format!("sim.example.com/step-{step}")
}

/// Address of an agent: it has another one in each of its homes.
pub(crate) fn address(agent: usize, home: usize) -> String {
    format!("http://sim.example.com/{home}/{agent}")
}

/// Number of the agent with this name; none for an agent of another cluster.
pub(crate) fn number(agent: &AgentId) -> Option<usize> {
    agent.as_str().strip_prefix("node-")?.parse().ok()
}

/// How many bytes of the slowest request arrive in a second.
const SLOWEST: usize = 16 * 1024;

/// How many milliseconds longer than a second it takes to send a request that something holds.
fn sending(request: &ActionRequest) -> u64 {
    let beyond = request.args.bytes().saturating_sub(SLOWEST);
    u64::try_from(beyond * 1_000 / SLOWEST).unwrap()
}

/// What the action of a step returns if it ends well.
pub(crate) fn payload(agent: usize, step: usize) -> Value {
    json!({"agent": agent, "step": step})
}

/// Number of the agent that has this address at some time.
pub(crate) fn whose(address: &str) -> Option<usize> {
    address.strip_prefix("http://sim.example.com/")?.split('/').nth(1)?.parse().ok()
}

fn step_of(kind: &str) -> usize {
    kind.rsplit('-').next().unwrap().parse().unwrap()
}

impl Agents {
    pub(crate) fn new(
        plans: &[AgentPlan],
        clock: Arc<dyn Clock>,
        start: Timestamp,
        ledger: SharedLedger,
    ) -> Arc<Self> {
        let (plans, compares) = (plans.to_vec(), compares_stores(plans));
        let (known, posts, claims) = (Mutex::default(), Mutex::default(), Mutex::default());
        Arc::new(Self { clock, start, plans, compares, known, posts, claims, ledger })
    }

    fn at(&self) -> u64 {
        self.clock.now().since(self.start).0
    }

    /// The agent that has this address now.
    fn at_home(&self, at: &str) -> Result<usize, AgentError> {
        let now = self.at();
        let here = whose(at).filter(|agent| {
            let plan = self.plans.get(*agent);
            plan.is_some_and(|plan| address(*agent, plan.home(now)) == at)
        });
        let away = |agent: &usize| self.plans[*agent].away.is_some_and(|away| away.holds(now));
        here.filter(|agent| !away(agent)).ok_or_else(|| refused_connection(at))
    }

    /// One way of a request or its answer. Returns whether it gets through.
    async fn travel(&self, agent: usize) -> bool {
        let plan = &self.plans[agent];
        if plan.latency > 0 {
            self.clock.sleep(Millis(plan.latency / 2).to_std()).await;
        }
        !plan.away.is_some_and(|away| away.holds(self.at()))
    }

    async fn post(&self, address: &str, request: &ActionRequest) -> Result<Scheduled, AgentError> {
        let (agent, step) = (self.at_home(address)?, step_of(&request.kind));
        self.through_proxy(agent, address)?;
        self.through_gateway(agent, address, Cut::Before.status())?;
        let attempt = request.metadata["replibook.attempt"].as_str().unwrap().parse().unwrap();
        let to = To { agent, step, end: self.plans[agent].actions[step].end_of(attempt) };
        let plan = &self.plans[agent];
        if !self.travel(agent).await {
            return Err(no_answer(address));
        }
        let nth = {
            let mut posts = lock(&self.posts);
            let count = posts.entry(request.id).or_default();
            *count += 1;
            *count - 1
        };
        let fault = plan.actions[step].posts.get(nth);
        let sending = sending(request);
        if let Some(PostFault::Held(length)) = fault {
            self.clock.sleep(Millis(length + sending).to_std()).await;
            if self.at_home(address).is_err() {
                return Err(no_answer(address));
            }
        }
        let now = self.clock.now();
        let scheduled = match fault {
            None | Some(PostFault::Held(_)) => self.effect(address, to, request.id, now)?,
            Some(PostFault::Doubled) => {
                self.effect(address, to, request.id, now)?;
                self.effect(address, to, request.id, now)?
            }
            Some(PostFault::AnswerLost) => {
                self.effect(address, to, request.id, now)?;
                return Err(no_answer(address));
            }
            Some(PostFault::Late(late)) => {
                self.effect(address, to, request.id, now.plus(Millis(late + sending)))?;
                return Err(no_answer(address));
            }
            Some(PostFault::Lost) => return Err(no_answer(address)),
            Some(PostFault::Garbled) => {
                self.effect(address, to, request.id, now)?;
                return Err(garbled(address));
            }
            Some(PostFault::Stray) => return Err(garbled(address)),
            Some(PostFault::Cut(cut)) => {
                match cut {
                    Cut::Before => {}
                    Cut::Claimed if to.end != End::Refused => {
                        lock(&self.claims).insert(request.id, (address.to_owned(), to));
                    }
                    Cut::Claimed | Cut::Begun => {
                        self.effect(address, to, request.id, now)?;
                    }
                }
                return Err(unreached(address, cut.status()));
            }
            Some(PostFault::Broken) => {
                let (address, message) = (address.to_owned(), "the queue is full".to_owned());
                return Err(AgentError::Broken { address, status: 503, message });
            }
        };
        self.answered(agent, address, scheduled).await
    }

    /// The way of an answer back to the engine.
    async fn answered<T>(&self, agent: usize, address: &str, answer: T) -> Result<T, AgentError> {
        let garbles = self.plans[agent].garbles.is_some_and(|garbles| garbles.holds(self.at()));
        match self.travel(agent).await {
            true if garbles => Err(garbled(address)),
            true => Ok(answer),
            false => Err(no_answer(address)),
        }
    }

    fn effect(
        &self,
        address: &str,
        to: To,
        id: Uuid,
        from: Timestamp,
    ) -> Result<Scheduled, AgentError> {
        let To { agent, step, end } = to;
        let plan = &self.plans[agent];
        let action = &plan.actions[step];
        if end == End::Refused {
            let (address, message) = (address.to_owned(), "not here".to_owned());
            return Err(AgentError::Refused { address, status: 400, message });
        }
        self.forget(id);
        lock(&self.claims).remove(&id);
        let mut known = lock(&self.known);
        if known.contains_key(&id) && !plan.runs_again {
            return Ok(Scheduled::Known);
        }
        let calm = self.start.plus(Millis(CALM));
        let goes_on = if end == End::Stalled { from.max(calm) } else { from };
        let (begins, ends) =
            (from.plus(Millis(action.takes / 2)), goes_on.plus(Millis(action.takes)));
        known.insert(id, Action { agent, step, end, from, begins, ends });
        self.ledger.executed(id);
        Ok(Scheduled::Accepted)
    }

    /// Drops an action that its agent no longer knows.
    fn forget(&self, id: Uuid) {
        let now = self.clock.now();
        let mut known = lock(&self.known);
        let Some(action) = known.get(&id) else { return };
        let plan = &self.plans[action.agent];
        let kept = if action.end == End::Forgotten { Some(0) } else { plan.purges };
        let later = known.values().filter(|other| {
            other.agent == action.agent && other.ends > action.ends && now >= other.ends
        });
        let crowded_out = plan.keeps.is_some_and(|keeps| later.count() >= keeps);
        if kept.is_some_and(|kept| now >= action.ends.plus(Millis(kept)))
            || crowded_out && now >= action.ends
        {
            known.remove(&id);
            self.ledger.forgot(id);
        }
    }

    fn look(&self, id: Uuid) -> Option<ActionStatus> {
        self.forget(id);
        let now = self.clock.now();
        let claim = lock(&self.claims).remove(&id);
        if let Some((address, to)) = claim {
            // It was not refused when it was claimed.
            let _ = self.effect(&address, to, id, now);
        }
        let known = lock(&self.known);
        let action = known.get(&id).filter(|action| now >= action.from)?;
        let status = |phase, payload: Value, error| {
            let payload = payload.into();
            Some(ActionStatus { phase, payload, unread: None, error })
        };
        if now < action.begins {
            return status(ActionPhase::New, Value::Null, None);
        }
        if now < action.ends {
            return status(ActionPhase::Running, Value::Null, None);
        }
        match action.end {
            End::Failed => status(ActionPhase::Failed, Value::Null, Some("broken".to_owned())),
            End::Done | End::Stalled | End::Refused | End::Forgotten => {
                status(ActionPhase::Done, payload(action.agent, action.step), None)
            }
        }
    }

    /// Whether the agent still works on an action.
    pub(crate) fn goes_on(&self, id: Uuid) -> bool {
        self.forget(id);
        let now = self.clock.now();
        lock(&self.known).get(&id).is_some_and(|action| now < action.ends)
    }

    /// Whether the agent with this address is of the released generation.
    pub(crate) fn is_stable(&self, address: &str) -> bool {
        whose(address).and_then(|agent| self.plans.get(agent)).is_some_and(|plan| plan.stable)
    }

    /// Fails if a proxy keeps requests from the agent at this moment.
    fn through_proxy(&self, agent: usize, address: &str) -> Result<(), AgentError> {
        if !self.plans[agent].proxied.is_some_and(|proxied| proxied.holds(self.at())) {
            return Ok(());
        }
        let (address, message) = (address.to_owned(), "no such route".to_owned());
        Err(AgentError::Refused { address, status: 404, message })
    }

    /// Fails if a gateway can't reach the agent at this moment.
    fn through_gateway(&self, agent: usize, address: &str, status: u16) -> Result<(), AgentError> {
        match self.plans[agent].behind.is_some_and(|behind| behind.holds(self.at())) {
            true => Err(unreached(address, status)),
            false => Ok(()),
        }
    }

    async fn ask<T>(&self, address: &str, ask: impl FnOnce(usize) -> T) -> Result<T, AgentError> {
        let agent = self.at_home(address)?;
        if !self.travel(agent).await {
            return Err(no_answer(address));
        }
        self.through_proxy(agent, address)?;
        self.through_gateway(agent, address, UNKNOWN)?;
        let answer = ask(agent);
        self.answered(agent, address, answer).await
    }

    /// What an agent says about its queue. Some agents have no such route, or answer something else, or
    /// nothing.
    fn queue(&self, address: &str, agent: usize) -> Option<Result<Vec<QueuedAction>, AgentError>> {
        let address = address.to_owned();
        let message = "no queue".to_owned();
        match agent % 5 {
            0 => Some(Err(AgentError::Refused { address, status: 404, message })),
            1 => Some(Err(AgentError::Malformed { address, message })),
            2 => None,
            _ => {
                let now = self.clock.now();
                let others = [(Uuid::nil(), "sim.example.com/other".to_owned(), now)];
                let known = lock(&self.known);
                let open = known.iter().filter(|(_, a)| a.agent == agent && now < a.ends);
                let open = open.map(|(id, action)| (*id, kind(action.step), action.begins));
                let queued = |(id, kind, begins): (Uuid, String, Timestamp)| {
                    let phase = if begins <= now { ActionPhase::Running } else { ActionPhase::New };
                    QueuedAction { id, kind, phase }
                };
                Some(Ok(others.into_iter().chain(open).map(queued).collect()))
            }
        }
    }

    fn node(&self, address: &str, agent: usize) -> Result<NodeInfo, AgentError> {
        if self.plans[agent].denies.is_some_and(|denies| denies.holds(self.at())) {
            let (address, message) = (address.to_owned(), "who are you?".to_owned());
            return Err(AgentError::Refused { address, status: 401, message });
        }
        let ill = self.plans[agent].ill.is_some_and(|ill| ill.holds(self.at()));
        let status = if ill { "UNAVAILABLE" } else { "HEALTHY" };
        let plan = &self.plans[agent];
        let is_other = plan.other.is_some_and(|other| other.holds(self.at()));
        let is_named = is_other && !self.is_in_other_cluster(agent);
        let name = if is_named { format!("other-{agent}") } else { format!("node-{agent}") };
        let attributes = Map::from_iter([("role".to_owned(), json!(self.role_at(agent)))]);
        let raw = json!({"node_id": name, "node_status": status, "attributes": attributes});
        let datastore = Datastore::default();
        Ok(NodeInfo { status: status.to_owned(), attributes, raw, datastore })
    }

    /// Whether the other node at this agent's address has the agent's name, and a store in another cluster.
    fn is_in_other_cluster(&self, agent: usize) -> bool {
        self.compares && agent % 2 == 1
    }

    /// What an agent says about its shards; nothing while its node is ill.
    fn shards(&self, agent: usize) -> Option<Value> {
        let ill = self.plans[agent].ill.is_some_and(|ill| ill.holds(self.at()));
        let shard = json!({"id": "shard", "role": self.role_at(agent), "lag": null});
        (!ill).then(|| json!([shard]))
    }

    /// The role of the node at an agent's address.
    fn role_at(&self, agent: usize) -> String {
        let plan = &self.plans[agent];
        let is_other = plan.other.is_some_and(|other| other.holds(self.at()));
        // The other node has the other role of the two.
        role(if is_other { 1 - plan.role } else { plan.role })
    }

    fn store(&self, agent: usize) -> Value {
        let is_other = self.plans[agent].other.is_some_and(|other| other.holds(self.at()));
        let is_elsewhere = is_other && self.is_in_other_cluster(agent);
        json!({"cluster_id": if is_elsewhere { "another" } else { STORE }, "attributes": {}})
    }

    /// Whether another node has answered at the agent's address all the time since `since`.
    pub(crate) fn was_another(&self, agent: &AgentId, since: Timestamp) -> bool {
        let since = since.since(self.start).0;
        let plan = number(agent).and_then(|agent| self.plans.get(agent));
        // An answer that can't be read or does not come contradicts nobody. A node may have said its name a
        // moment ago, and now not say its cluster.
        let says = |plan: &&AgentPlan| {
            let is_named = number(agent).is_some_and(|agent| !self.is_in_other_cluster(agent));
            let is_heard =
                plan.garbles.is_none() && plan.proxied.is_none() && plan.behind.is_none();
            is_heard && plan.denies.is_none() && (is_named || plan.away.is_none())
        };
        let other = plan.filter(says).and_then(|plan| plan.other);
        other.is_some_and(|other| other.holds(since) && other.holds(self.at()))
    }
}

/// The agents as one life of an engine reaches them.
pub(crate) struct EngineAgents {
    pub(crate) agents: Arc<Agents>,
    pub(crate) gate: Arc<Gate>,
    pub(crate) ledger: SharedLedger,
}

#[async_trait]
impl AgentClient for EngineAgents {
    /// A request that is on its way arrives, even if its sender dies meanwhile.
    async fn schedule(
        &self,
        address: &str,
        request: &ActionRequest,
    ) -> Result<Scheduled, AgentError> {
        self.gate.at(Point::Post, Side::Before).await;
        self.ledger.post_begins(self.gate.engine, address, request, &self.agents);
        let (answer, answered) = oneshot::channel();
        let (agents, ledger) = (Arc::clone(&self.agents), self.ledger.clone());
        let (to, request) = (address.to_owned(), request.clone());
        tokio::spawn(async move {
            let scheduled = agents.post(&to, &request).await;
            ledger.post_ends(request.id, &scheduled);
            // Nobody waits for the answer if the sender has died or given up.
            let _ = answer.send(scheduled);
        });
        let scheduled = answered.await.unwrap_or_else(|_| Err(no_answer(address)));
        self.gate.at(Point::Post, Side::After).await;
        scheduled
    }

    async fn action(&self, address: &str, id: Uuid) -> Result<Option<ActionStatus>, AgentError> {
        self.gate.at(Point::Look, Side::Before).await;
        let asked = self.agents.ask(address, |_| self.agents.look(id)).await;
        self.gate.at(Point::Look, Side::After).await;
        if let Ok(found) = &asked {
            self.ledger.looked(id, found.is_some());
        }
        match asked {
            // To the engine, this looks like an agent that does not know the action.
            Err(AgentError::Refused { status: 404, .. }) => Ok(None),
            asked => asked,
        }
    }

    async fn queue(&self, address: &str) -> Result<Vec<QueuedAction>, AgentError> {
        self.gate.at(Point::Other, Side::Before).await;
        let asked = self.agents.ask(address, |agent| self.agents.queue(address, agent)).await?;
        if asked.is_none() {
            std::future::pending::<()>().await;
        }
        self.gate.at(Point::Other, Side::After).await;
        asked.unwrap_or_else(|| Err(no_answer(address)))
    }

    async fn node(&self, address: &str) -> Result<NodeInfo, AgentError> {
        self.gate.at(Point::Other, Side::Before).await;
        self.ledger.asks_node(address);
        let asked = self.agents.ask(address, |agent| self.agents.node(address, agent)).await;
        self.gate.at(Point::Other, Side::After).await;
        let asked = asked.and_then(|said| said);
        if asked.as_ref().map_or_else(|error| !error.retryable(), |_| true) {
            self.ledger.told_who(address);
        }
        asked
    }

    async fn store(&self, address: &str) -> Result<Value, AgentError> {
        self.gate.at(Point::Other, Side::Before).await;
        let asked = self.agents.ask(address, |agent| self.agents.store(agent)).await;
        self.gate.at(Point::Other, Side::After).await;
        asked
    }

    async fn shards(&self, address: &str) -> Result<Value, AgentError> {
        self.gate.at(Point::Other, Side::Before).await;
        let asked = self.agents.ask(address, |agent| self.agents.shards(agent)).await;
        self.gate.at(Point::Other, Side::After).await;
        let (address, message) = (address.to_owned(), "the store is down".to_owned());
        asked?.ok_or(AgentError::Broken { address, status: 500, message })
    }
}
