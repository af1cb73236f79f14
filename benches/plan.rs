//! What one decision costs over many agents: `make bench BENCHES=plan`.
//!
//! The strategy `rolling` starts 10 of them. The whole path is timed as the driver goes it: the
//! machine's question, the plugin's answer with the roster lent to it, on a thread of the host, and
//! the check, the change of state and the documents to write that follow.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use replibook::playbook::{
    Amount, Approval, Budget, BudgetScope, Concurrency, Grants, Membership, OnAdded, OnError,
    OnExceeded, OnRemoved, Playbook, PluginInfo, PluginPin, Retry, Stage, Step, StrategyUse,
    Template,
};
use replibook::plugin::{HostConfig, PluginHost};
use replibook::run::{
    Activation, ActivationEnd, AgentId, AgentRecord, AgentSeq, AgentState, Effect, Input, Loaded,
    Machine, Progress, Roster, Run, RunId, RunStatus, Snapshot, StageProgress, Timestamp,
};
use serde_json::{Map, Value, json};
use support::{Sample, Table, heading, note, us};
use uuid::Uuid;

const AGENTS: [u32; 3] = [1_000, 10_000, 100_000];
const STARTED: usize = 10;
const ROUNDS: usize = 60;
const NOW: Timestamp = Timestamp::from_millis(1_763_802_000_000);

/// The parts of one decision.
#[derive(Default)]
struct Times {
    whole: Sample,
    ask: Sample,
    plugin: Sample,
    obey: Sample,
}

fn main() {
    heading("plan");
    let host = PluginHost::start(HostConfig::default()).unwrap();
    let find = |name| host.builtins().iter().find(|plugin| plugin.info.name == name).unwrap();
    let snapshot = Arc::new(snapshot(&find("rolling").info, &find("action").info));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut table =
        Table::new(["agents", "decision", "p99", "question", "plugin", "check and change"]);
    for agents in AGENTS {
        let mut machine = load(&snapshot, agents);
        let mut times = Times::default();
        for round in 0..ROUNDS {
            let whole = Instant::now();
            let decided;
            (machine, decided) = runtime.block_on(decide(&host, machine, &mut times));
            // The first warms everything up.
            if round > 0 {
                times.whole.push(whole.elapsed());
            }
            drop(decided);
            finish(&mut machine);
        }
        table.row([
            agents.to_string(),
            us(times.whole.median()),
            us(times.whole.p99()),
            us(times.ask.median()),
            us(times.plugin.median()),
            us(times.obey.median()),
        ]);
    }
    table.print();
    note(&format!("each decision starts {STARTED} agents; medians of {ROUNDS} decisions"));
}

async fn decide(
    host: &PluginHost,
    mut machine: Machine,
    times: &mut Times,
) -> (Machine, replibook::run::Transition) {
    let asked = times.ask.time(|| machine.settle(NOW));
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

/// The machine, once the thread that ran the plugin has let go of it.
async fn alone(mut lent: Arc<Machine>) -> Machine {
    loop {
        match Arc::try_unwrap(lent) {
            Ok(machine) => return machine,
            Err(shared) => lent = shared,
        }
        tokio::task::yield_now().await;
    }
}

fn snapshot(rolling: &PluginInfo, action: &PluginInfo) -> Snapshot {
    let pin = |info: &PluginInfo| PluginPin {
        source: format!("builtin:{}", info.name),
        digest: info.digest.clone(),
        kind: info.kind,
        name: info.name.clone(),
        version: info.version.clone(),
        grants: Grants::default(),
    };
    let plugins = [rolling, action].map(|info| (info.name.clone(), pin(info)));
    let playbook = Playbook {
        name: "bench".to_owned(),
        version: "1.0.0".parse().unwrap(),
        summary: None,
        vcs: None,
        approval: Approval::Granted,
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
        started_by: None,
        created_at: NOW,
    }
}

fn stage() -> Stage {
    let with = |value| Template::parse(value).unwrap();
    Stage {
        name: "all".to_owned(),
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

/// A run over so many agents, none of which has started.
fn load(snapshot: &Arc<Snapshot>, agents: u32) -> Machine {
    let records = (0..agents).map(|seq| record(snapshot.id, seq)).collect();
    machine(snapshot, records)
}

/// Has the agents that were started end: the next decision starts as many.
fn finish(machine: &mut Machine) {
    let begun = machine.apply(Input::Continue, NOW).unwrap();
    for effect in begun.effects {
        let Effect::Activate(activate) = effect else { continue };
        let activation = Activation { end: ActivationEnd::Done(Value::Null), logs: Vec::new() };
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
    Machine::load(Loaded { run, records, journals: Vec::new() }, NOW).0
}

fn record(run: RunId, seq: u32) -> AgentRecord {
    AgentRecord {
        attributes: Arc::new(Map::from_iter([("zone".to_owned(), json!("a"))])),
        ..AgentRecord::new(
            run,
            AgentSeq(seq),
            AgentId(format!("node-{seq:06}")),
            format!("http://10.0.0.1:{seq}"),
            1,
        )
    }
}
