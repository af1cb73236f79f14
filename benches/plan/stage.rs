//! The run that `plan.rs` measures: one stage with the strategy `rolling`, over any number of agents.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use replibook::playbook::{
    Amount, Approval, Approvers, Budget, BudgetScope, Concurrency, Grants, Membership, OnAdded,
    OnError, OnExceeded, OnRemoved, Playbook, PluginInfo, PluginPin, Retry, Stage, Step,
    StrategyUse, Template,
};
use replibook::plugin::PluginHost;
use replibook::run::{
    Activation, ActivationEnd, AgentId, AgentRecord, AgentSeq, AgentState, Effect, Input, Loaded,
    Machine, Progress, Roster, Run, RunId, RunStatus, Snapshot, StageProgress, Timestamp,
    Transition,
};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::support::Sample;

/// Agents that a decision starts.
pub(crate) const STARTED: usize = 10;

/// The moment at which everything happens: only real time is measured.
pub(crate) const NOW: Timestamp = Timestamp::from_millis(1_763_802_000_000);

/// How long the parts of decisions took: the question, the plugin, and obeying its answer.
#[derive(Default)]
pub(crate) struct Times {
    pub(crate) ask: Sample,
    pub(crate) plugin: Sample,
    pub(crate) obey: Sample,
}

/// The snapshot of the run, with the built-in plugins of the host.
pub(crate) fn snapshot(host: &PluginHost) -> Arc<Snapshot> {
    let find = |name| &host.builtins().iter().find(|plugin| plugin.info.name == name).unwrap().info;
    Arc::new(snapshot_of(find("rolling"), find("action")))
}

/// Asks the strategy, and carries out its decision.
pub(crate) async fn decide(
    host: &PluginHost,
    mut machine: Machine,
    times: &mut Times,
) -> (Machine, Transition) {
    let asked = times.ask.time(|| machine.settle(NOW).unwrap());
    let question = asked.effects.into_iter().find_map(|effect| {
        let Effect::Plan { plugin, input } = effect else { return None };
        Some((plugin, input))
    });
    let (plugin, input) = question.unwrap();
    let machine = Arc::new(machine);
    let roster: Arc<dyn Roster> = Arc::clone(&machine) as Arc<dyn Roster>;
    let start = Instant::now();
    let outcome = host.plan(&plugin, input, roster).await;
    times.plugin.push(start.elapsed());
    let mut machine = alone(machine).await;
    let result = Ok(outcome.result.unwrap());
    let input = Input::Planned { result, logs: outcome.logs };
    let transition = times.obey.time(|| machine.apply(input, NOW).unwrap());
    assert_eq!(transition.writes.records.len(), STARTED, "{:?}", transition.writes.progress);
    (machine, transition)
}

/// The machine, once the thread that ran the plugin has dropped the roster.
pub(crate) async fn alone(mut lent: Arc<Machine>) -> Machine {
    loop {
        match Arc::try_unwrap(lent) {
            Ok(machine) => return machine,
            Err(shared) => lent = shared,
        }
        tokio::task::yield_now().await;
    }
}

fn snapshot_of(rolling: &PluginInfo, action: &PluginInfo) -> Snapshot {
    let pin = |info: &PluginInfo| PluginPin {
        source: format!("builtin:{}", info.name),
        digest: info.digest.clone(),
        kind: info.kind,
        name: info.name.clone(),
        version: info.version.clone(),
        grants: Grants::default(),
        provenance: None,
        signers: Vec::new(),
    };
    let plugins = [rolling, action].map(|info| (info.name.clone(), pin(info)));
    let playbook = Playbook {
        name: "bench".to_owned(),
        version: "1.0.0".parse().unwrap(),
        summary: None,
        vcs: None,
        approval: Approval::Granted,
        approvers: Approvers::default(),
        concurrency: Concurrency::Allow,
        params: json!({"type": "object"}),
        plugins: plugins.into_iter().collect(),
        stages: vec![stage()],
    };
    Snapshot {
        id: RunId(Uuid::from_u128(7)),
        playbook,
        params: Map::new(),
        cluster: "bench".to_owned(),
        retry_of: None,
        narrowed: Default::default(),
        started_by: None,
        created_at: NOW,
        seed: None,
    }
}

fn stage() -> Stage {
    let with = |value| Template::parse(value).unwrap();
    Stage {
        name: "all".to_owned(),
        on: Default::default(),
        always: false,
        select: None,
        strategy: StrategyUse {
            plugin: "rolling".to_owned(),
            with: with(json!({"batch": STARTED})),
        },
        budget: Budget {
            max_failed: Amount::Count(0),
            scope: BudgetScope::Stage,
            on_exceeded: OnExceeded::Pause,
        },
        membership: Membership { added: OnAdded::Include, removed: OnRemoved::Ignore },
        steps: vec![Step {
            name: "act".to_owned(),
            role: Default::default(),
            plugin: "action".to_owned(),
            with: with(json!({"kind": "bench.example.com/act"})),
            grants: Grants::default(),
            when: None,
            require: None,
            timeout: None,
            retry: Retry::NONE,
            on_error: OnError::Fail,
        }],
    }
}

/// A run over `agents` agents, none of which has started.
pub(crate) fn load(snapshot: &Arc<Snapshot>, agents: u32) -> Machine {
    let records = (0..agents).map(|seq| record(snapshot.id, seq)).collect();
    machine(snapshot, records)
}

/// The same, in three zones and 2,500 racks, with nodes that are well.
pub(crate) fn load_racks(snapshot: &Arc<Snapshot>, agents: u32) -> Machine {
    let node = Arc::new(json!({"node_status": "HEALTHY"}));
    let racked = |seq: u32| {
        let zone = ["a", "b", "c"][seq as usize % 3];
        let attributes = [
            ("zone".to_owned(), json!(zone)),
            ("rack".to_owned(), json!(format!("r{}", seq % 2_500))),
        ];
        let (attributes, node) = (Arc::new(Map::from_iter(attributes)), Arc::clone(&node));
        AgentRecord { attributes, node, ..record(snapshot.id, seq) }
    };
    machine(snapshot, (0..agents).map(racked).collect())
}

/// Has all started agents end, so that the next decision can start as many.
pub(crate) fn finish(machine: &mut Machine) {
    let begun = machine.apply(Input::Continue, NOW).unwrap();
    for effect in begun.effects {
        let Effect::Activate(activate) = effect else { continue };
        let activation =
            Activation { end: ActivationEnd::Done(Value::Null.into()), logs: Vec::new() };
        machine.apply(Input::Activated { key: activate.key, activation }, NOW).unwrap();
    }
    assert_eq!(machine.in_flight(), 0);
}

fn machine(snapshot: &Arc<Snapshot>, records: Vec<AgentRecord>) -> Machine {
    let agents = u32::try_from(records.len()).unwrap();
    let progress = Progress {
        counts: BTreeMap::from([(AgentState::Pending, agents)]),
        next_event: 2,
        stage: StageProgress { selected: agents, ..StageProgress::default() },
        ..Progress::new(RunStatus::Running, NOW)
    };
    let run = Run { snapshot: Arc::clone(snapshot), progress };
    Machine::load(Loaded { run, records, journals: Vec::new() }, NOW).unwrap().0
}

fn record(run: RunId, seq: u32) -> AgentRecord {
    AgentRecord {
        attributes: Arc::new(Map::from_iter([("zone".to_owned(), json!("a"))])),
        // As of every agent when a stage begins. Others would be looked at before their steps.
        identified_at: Some(NOW),
        ..AgentRecord::new(run, AgentSeq(seq), id(seq), address(seq), 1)
    }
}

/// The identifier of an agent.
pub(crate) fn id(seq: u32) -> AgentId {
    AgentId(format!("node-{seq:06}"))
}

/// The address of agent `seq`. From a million on, addresses belong to no agent.
pub(crate) fn address(seq: u32) -> String {
    let [_, a, b, c] = seq.to_be_bytes();
    format!("http://10.{a}.{b}.{c}:8000")
}
