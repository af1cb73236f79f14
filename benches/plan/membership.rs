//! What it costs when members join, leave and move while a stage goes.

use std::time::Instant;

use replibook::plugin::PluginHost;
use replibook::run::{Effect, Input, Machine, Member, MembershipChange, Transition};
use serde_json::{Map, json};

use crate::AGENTS;
use crate::stage::{self, NOW, Times, address, id};
use crate::support::{Sample, Table, note, us};

/// How many agents change: together 1 % of the largest roster.
const LEFT: u32 = 400;
const MOVED: u32 = 200;
const JOINED: u32 = 400;
const CHANGES: u32 = LEFT + MOVED + JOINED;

const ROUNDS: usize = 21;

/// Decisions that are made before the changes, to warm up.
const WARMING: usize = 8;

/// Prints the table.
pub(crate) fn measure(host: &PluginHost) {
    let snapshot = stage::snapshot(host);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut table = Table::new([
        "agents",
        "changes",
        "all of them",
        "one change",
        "decision after them",
        "taking in one who joined",
    ]);
    for agents in AGENTS {
        let (mut changing, mut deciding) = (Sample::default(), Sample::default());
        let (mut admitting, mut times) = (Sample::default(), Times::default());
        for round in 0..ROUNDS {
            let mut machine = stage::load(&snapshot, agents);
            // Making the roster has pushed everything else out of the processor's caches. A run that is under
            // way has decided before, on any thread of the host.
            for _ in 0..WARMING {
                let mut warming = Times::default();
                machine = runtime.block_on(stage::decide(host, machine, &mut warming)).0;
                stage::finish(&mut machine);
            }
            let parts = changes(agents).split();
            let start = Instant::now();
            // What the driver would commit in between is dropped after the clock has stopped.
            let changed: Vec<_> =
                parts.into_iter().flat_map(|part| apply(&mut machine, part)).collect();
            let changed_in = start.elapsed();
            let records: usize = changed.iter().map(|done| done.writes.records.len()).sum();
            assert_eq!(records, CHANGES as usize);
            drop(changed);
            let start = Instant::now();
            let decided;
            (machine, decided) = runtime.block_on(stage::decide(host, machine, &mut times));
            let decided_in = start.elapsed();
            assert!(decided.effects.iter().any(is_continue), "those who joined are to be taken in");
            drop(decided);
            let start = Instant::now();
            let admitted = go_on(&mut machine);
            let admitted_in = start.elapsed();
            drop(admitted);
            // The first round only warms everything up.
            if round > 0 {
                changing.push(changed_in);
                deciding.push(decided_in);
                admitting.push(admitted_in);
            }
        }
        table.row([
            agents.to_string(),
            CHANGES.to_string(),
            us(changing.median()),
            us(changing.median() / CHANGES),
            us(deciding.median()),
            us(admitting.median() / JOINED),
        ]);
    }
    table.print();
    note(&format!(
        "{LEFT} leave, {MOVED} move and {JOINED} join; the decision starts 10 agents; medians of {} times",
        ROUNDS - 1
    ));
}

/// The changes that are measured. Agents that leave or move are spread over the whole roster.
fn changes(agents: u32) -> MembershipChange {
    let every = agents / (LEFT + MOVED);
    let (left, moved): (Vec<_>, Vec<_>) = (0..LEFT + MOVED).partition(|number| number % 3 < 2);
    let joined = (0..JOINED).map(|number| joins(agents + number)).collect();
    MembershipChange {
        left: left.into_iter().map(|number| id(number * every)).collect(),
        moved: moved
            .into_iter()
            .map(|number| (id(number * every), address(1_000_000 + number)))
            .collect(),
        joined,
        mass_absence: None,
    }
}

fn joins(seq: u32) -> Member {
    let attributes = Map::from_iter([("zone".to_owned(), json!("a"))]);
    Member {
        datastore: Default::default(),
        refusal: None,
        agent: id(seq),
        address: address(seq),
        attributes: attributes.clone(),
        declared: attributes,
        node: json!({"node_status": "HEALTHY"}),
        asked_at: None,
        identity: replibook::playbook::Identity::Check,
    }
}

fn apply(machine: &mut Machine, part: MembershipChange) -> Vec<Transition> {
    let mut done = vec![machine.apply(Input::Membership(part), NOW).unwrap()];
    while done.last().unwrap().effects.iter().any(is_continue) {
        done.push(machine.apply(Input::Continue, NOW).unwrap());
    }
    done
}

/// Carries out a decision: takes in the agents that joined, and begins with those that start.
fn go_on(machine: &mut Machine) -> Vec<Transition> {
    let mut done = vec![machine.apply(Input::Continue, NOW).unwrap()];
    while done.last().unwrap().effects.iter().any(is_continue) {
        done.push(machine.apply(Input::Continue, NOW).unwrap());
    }
    done
}

fn is_continue(effect: &Effect) -> bool {
    matches!(effect, Effect::Continue)
}
