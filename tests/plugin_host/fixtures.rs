//! One host and its guests for all tests, and helpers to make activations and plans.

use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

use replibook_core::playbook::{Expr, ExprError, Grants, PluginInfo, Scope};
use replibook_core::run::{
    Activate, Activation, ActivationEnd, AgentId, AgentRecord, AgentSeq, AgentState, Answer,
    Answered, AttemptKey, Call, Digest, FailureReason, Journal, Pending, PlanInput, Roster, RunId,
    Timestamp,
};
use replibook_host::{HostConfig, PlanOutcome, PluginHost};
use serde_json::{Map, Value, json};

use crate::plugins;

/// The moment at which attempts start and strategies are asked.
pub(crate) const START: Timestamp = Timestamp::from_millis(1_763_802_000_000);

static HOST: LazyLock<PluginHost> = LazyLock::new(|| {
    PluginHost::start(HostConfig { threads: Some(2), ..HostConfig::default() }).unwrap()
});

static GUESTS: LazyLock<PathBuf> = LazyLock::new(|| plugins::build("tests/plugins"));

static EXAMPLES: LazyLock<PathBuf> = LazyLock::new(|| plugins::build("examples/plugins/rust"));

pub(crate) fn host() -> &'static PluginHost {
    &HOST
}

/// Digest of a built-in plugin.
pub(crate) fn builtin(name: &str) -> Digest {
    let plugin = host().builtins().iter().find(|plugin| plugin.info.name == name);
    plugin.unwrap().info.digest.clone()
}

/// The component of a guest in `tests/plugins`.
pub(crate) fn guest(name: &str) -> bytes::Bytes {
    plugins::component(&GUESTS, name)
}

/// Imports a guest, and returns its digest.
pub(crate) async fn imported(name: &str) -> Digest {
    host().import(guest(name)).await.unwrap().digest
}

/// A plugin of `examples/plugins/rust`, imported.
pub(crate) async fn example(name: &str) -> PluginInfo {
    host().import(plugins::component(&EXAMPLES, name)).await.unwrap()
}

/// A component that is kept in `tests/fixtures/toolchains`.
pub(crate) fn made_elsewhere(name: &str) -> bytes::Bytes {
    let file = plugins::root().join(format!("tests/fixtures/toolchains/{name}.wasm.zst"));
    let packed = std::fs::read(&file);
    let packed =
        packed.unwrap_or_else(|error| panic!("failed to read {}: {error}", file.display()));
    zstd::stream::decode_all(packed.as_slice()).unwrap().into()
}

/// The first attempt on node-1, with nothing granted and an empty journal.
pub(crate) fn activate(plugin: &Digest, arguments: Value) -> Activate {
    let key = AttemptKey { agent: AgentSeq(0), stage: 0, step: 0, attempt: 1 };
    let agent = AgentId::from("node-1");
    let journal = Journal::new(
        RunId(uuid::Uuid::from_u128(7)),
        key,
        agent.clone(),
        "restart".to_owned(),
        START,
        arguments,
    );
    Activate {
        key,
        plugin: plugin.clone(),
        grants: Grants::default(),
        journal,
        agent,
        attributes: object(json!({ "zone": "a" })).into(),
        cluster: "demo".to_owned(),
        stage: "all".to_owned(),
    }
}

pub(crate) fn object(value: Value) -> Map<String, Value> {
    let Value::Object(map) = value else { panic!("found {value}, expected an object") };
    map
}

pub(crate) fn grants(actions: &[&str]) -> Grants {
    let actions = actions.iter().map(|action| (*action).to_owned()).collect();
    Grants::of_actions(actions)
}

/// An answer as the engine records it. Each comes a second after the one before.
pub(crate) fn answered(number: i64, call: &Call, answer: Answer) -> Answered {
    let at = Timestamp::from_millis(START.as_millis() + 1_000 * (number + 1));
    Answered { name: call.name(), arguments_hash: call.arguments_hash(), at, answer, bytes: None }
}

pub(crate) fn pending(call: &Call) -> Pending {
    Pending::new(call, START)
}

/// Activates a step again and again, with the answers that `answer` gives, until the attempt ends. Returns
/// the calls, all lines of the log, and the end.
pub(crate) async fn drive(
    mut activate: Activate,
    mut answer: impl FnMut(&Call) -> Answer,
) -> (Vec<Call>, Vec<String>, ActivationEnd) {
    let (mut calls, mut lines) = (Vec::new(), Vec::new());
    loop {
        let Activation { end, logs } = host().activate(activate.clone()).await;
        lines.extend(logs.into_iter().map(|line| line.message));
        let ActivationEnd::Blocked(call) = end else { return (calls, lines, end) };
        let answers = &mut activate.journal.answers;
        answers.push(answered(answers.len() as i64, &call, answer(&call)));
        calls.push(call);
    }
}

/// Makes one activation of a guest, which must fail.
pub(crate) async fn failure(activate: Activate) -> (FailureReason, String) {
    match host().activate(activate).await.end {
        ActivationEnd::Failed { reason, message, .. } => (reason, message),
        end => panic!("found {end:?}, expected a failure"),
    }
}

/// Makes one activation of a guest, which must end with a result.
pub(crate) async fn result(activate: Activate) -> Value {
    match host().activate(activate).await.end {
        ActivationEnd::Done(result) => result.value(),
        end => panic!("found {end:?}, expected a result"),
    }
}

/// The agents of a stage, in memory.
#[derive(Clone, Default)]
pub(crate) struct Agents {
    records: Vec<AgentRecord>,
    /// How many agents there were when the stage started.
    selected: u32,
    /// Agents that a guard held when they were named last.
    pub(crate) held: Vec<AgentId>,
}

impl Agents {
    /// Agents `node-0` and so on, all waiting, in the zones a, b and c by turns.
    pub(crate) fn waiting(number: u32) -> Self {
        let records = (0..number).map(record).collect();
        Self { records, selected: number, held: Vec::new() }
    }

    /// Agents `node-0` and so on, all waiting, with these attributes.
    pub(crate) fn with(attributes: Vec<Value>) -> Self {
        let mut agents = Self::waiting(attributes.len() as u32);
        for (record, attributes) in agents.records.iter_mut().zip(attributes) {
            record.attributes = object(attributes).into();
        }
        agents
    }

    pub(crate) fn set(&mut self, agent: &AgentId, state: AgentState) {
        self.record_mut(agent.as_str()).state = state;
    }

    /// Starts an agent, as decision number `batch` would.
    pub(crate) fn start(&mut self, agent: &AgentId, batch: u32) {
        let record = self.record_mut(agent.as_str());
        (record.state, record.batch) = (AgentState::Running, Some(batch));
    }

    /// Adds an agent that waits.
    pub(crate) fn join(&mut self, attributes: Value) {
        let mut record = record(self.records.len() as u32);
        record.attributes = object(attributes).into();
        self.records.push(record);
    }

    fn record_mut(&mut self, agent: &str) -> &mut AgentRecord {
        let place = self.place(agent).unwrap();
        &mut self.records[place]
    }

    /// The place of an agent in the roster, which its name gives.
    fn place(&self, agent: &str) -> Option<usize> {
        let place = agent.strip_prefix("node-")?.parse().ok()?;
        (place < self.records.len()).then_some(place)
    }

    /// Sets what an agent said about its node, and when it was asked.
    pub(crate) fn say(&mut self, agent: &str, node: Value, at: Option<Timestamp>) {
        let record = self.record_mut(agent);
        (record.node, record.node_seen_at) = (node.into(), at);
    }

    pub(crate) fn zone(&self, agent: &AgentId) -> String {
        self.record(agent).unwrap().attributes["zone"].as_str().unwrap().to_owned()
    }

    pub(crate) fn in_state(&self, state: AgentState) -> Vec<AgentId> {
        self.page(state, None, u32::MAX)
    }
}

impl Roster for Agents {
    fn count(&self, state: AgentState) -> u32 {
        self.records.iter().filter(|record| record.state == state).count() as u32
    }

    fn selected(&self) -> u32 {
        self.selected
    }

    fn page(&self, state: AgentState, after: Option<&AgentId>, limit: u32) -> Vec<AgentId> {
        let skip = match after {
            None => 0,
            Some(after) => self.place(after.as_str()).map_or(self.records.len(), |it| it + 1),
        };
        let records = self.records[skip..].iter().filter(|record| record.state == state);
        records.take(limit as usize).map(|record| record.agent.clone()).collect()
    }

    fn record(&self, id: &AgentId) -> Option<&AgentRecord> {
        self.place(id.as_str()).map(|place| &self.records[place])
    }

    fn held(&self, after: Option<&AgentId>, limit: u32) -> Vec<AgentId> {
        let held = self.held.iter().skip_while(|id| after.is_some_and(|after| *id != after));
        held.skip(usize::from(after.is_some())).take(limit as usize).cloned().collect()
    }

    fn matches(&self, id: &AgentId, expression: &Expr) -> Option<Result<bool, ExprError>> {
        let record = self.record(id)?;
        let agent = json!({ "id": id, "attributes": *record.attributes, "node": *record.node });
        let (params, steps, run, cluster) = (json!({}), json!({}), json!({}), json!({}));
        let scope =
            Scope { params: &params, agent: &agent, steps: &steps, run: &run, cluster: &cluster };
        Some(expression.eval_bool(&scope))
    }
}

fn record(number: u32) -> AgentRecord {
    let zone = ["a", "b", "c"][number as usize % 3];
    AgentRecord {
        attributes: object(json!({ "zone": zone })).into(),
        ..AgentRecord::new(
            RunId(uuid::Uuid::from_u128(7)),
            AgentSeq(number),
            AgentId(format!("node-{number}")),
            String::new(),
            1,
        )
    }
}

/// Asks a strategy for a decision.
pub(crate) async fn plan(
    plugin: &Digest,
    arguments: Value,
    memo: &str,
    max_start: u32,
    agents: &Agents,
) -> PlanOutcome {
    let (stage, memo) = ("all".to_owned(), memo.to_owned());
    let input = PlanInput { stage, arguments, memo, now: START, max_start };
    host().plan(plugin, input, Arc::new(agents.clone())).await
}
