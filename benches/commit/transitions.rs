//! The documents that are committed: an attempt of a step begins, ends, and the next one begins.

use std::collections::BTreeMap;
use std::sync::Arc;

use replibook::playbook::{Playbook, parse_cluster};
use replibook::run::{
    AgentId, AgentRecord, AgentSeq, AgentState, Answer, Answered, AttemptKey, Call, Digest,
    Happened, Journal, Pending, Progress, Run, RunEvent, RunId, RunStatus, Snapshot, Timestamp,
    Writes,
};
use replibook::store::{Cluster, NewRun};
use serde_json::{Map, Value, json};
use uuid::Uuid;

const START: Timestamp = Timestamp::from_millis(1_763_802_000_000);

/// The cluster that all runs are on. It has no agents, as a store does not look into it.
pub(crate) fn cluster() -> Cluster {
    let text = r#"{"apiVersion": "replicante.io/v1", "kind": "Cluster",
        "metadata": {"name": "bench"}, "spec": {"agents": []}}"#;
    let spec = parse_cluster(text.as_bytes()).unwrap();
    Cluster { text: text.to_owned(), spec, applied_at: START }
}

/// Run number `n`. Its playbook has no stages, as a store does not look into it.
pub(crate) fn new_run(n: u32) -> NewRun {
    let playbook: Playbook = serde_json::from_value(json!({
        "name": "bench", "version": "1.0.0", "summary": null, "vcs": null, "approval": "granted",
        "concurrency": "allow", "params": {}, "plugins": {}, "stages": [],
    }))
    .unwrap();
    let snapshot = Snapshot {
        id: RunId(Uuid::from_u128(0x0194_0000_0000_7000_8000_0000_0000_0000 | u128::from(n))),
        playbook,
        params: Map::new(),
        cluster: "bench".to_owned(),
        retry_of: None,
        narrowed: Default::default(),
        started_by: None,
        created_at: START,
        seed: None,
    };
    let request = Digest::of(&n.to_le_bytes());
    let run =
        Run { snapshot: Arc::new(snapshot), progress: Progress::new(RunStatus::Pending, START) };
    NewRun { run, events: Vec::new(), idempotency_key: None, request }
}

/// What the driver commits when attempt `number / 2 + 1` of an agent begins (`number` even) or ends.
pub(crate) fn transition(run: RunId, agent: u32, number: u32, event: u64) -> Writes {
    let (attempt, ends) = (number / 2 + 1, number % 2 == 1);
    let at = START.plus(replibook::run::Millis(u64::from(number) * 60));
    let state = if ends { AgentState::Done } else { AgentState::Running };
    let progress = Progress {
        next_event: event + 1,
        counts: BTreeMap::from([(AgentState::Pending, 400), (state, 100)]),
        started_at: Some(START),
        ..Progress::new(RunStatus::Running, START)
    };
    Writes {
        progress: Some(progress),
        records: vec![record(run, agent, attempt, state)],
        journals: vec![journal(run, agent, attempt, ends, at)],
        events: vec![RunEvent {
            run,
            seq: event,
            at,
            actor: None,
            what: happened(agent, attempt, ends),
            finish_ts: None,
        }],
        ..Writes::default()
    }
}

fn name(agent: u32) -> AgentId {
    AgentId(format!("node-{agent}"))
}

fn happened(agent: u32, attempt: u32, ends: bool) -> Happened {
    let (agent, step) = (name(agent), "restart".to_owned());
    match ends {
        true => {
            let action_id = Some(Uuid::from_u128(u128::from(attempt)));
            Happened::StepEnded { agent, step, attempt, failure: None, action_id }
        }
        false => Happened::StepStarted { agent, step, attempt, takes: None },
    }
}

fn record(run: RunId, agent: u32, attempt: u32, state: AgentState) -> AgentRecord {
    let version = json!({"number": "1.0.0", "checkout": null, "extra": null});
    AgentRecord {
        attributes: Map::from_iter([("zone".to_owned(), json!("a"))]).into(),
        node: json!({
            "node_id": name(agent), "node_status": "HEALTHY", "attributes": {},
            "store_id": "bench", "agent_version": version, "store_version": version,
            "address": {"client": null, "member": null},
        })
        .into(),
        node_seen_at: Some(START),
        state,
        attempts: vec![attempt],
        batch: Some(1),
        results: BTreeMap::from([("restart".to_owned(), json!({"moved": attempt}).into())]),
        started_at: Some(START),
        ..AgentRecord::new(run, AgentSeq(agent), name(agent), format!("http://10.0.0.1:{agent}"), 1)
    }
}

fn journal(run: RunId, agent: u32, attempt: u32, ends: bool, at: Timestamp) -> Journal {
    let kind = "agent.replicante.io/test.success".to_owned();
    let arguments = json!({ "grace": 30 });
    let call = Call::RunAction { kind: kind.clone(), arguments: arguments.clone().into() };
    let (name_of_call, arguments_hash) = (call.name(), call.arguments_hash());
    let answered = Answered {
        name: name_of_call,
        arguments_hash: arguments_hash.clone(),
        at,
        answer: Answer::RunAction(Ok(json!({ "moved": 3 }).into())),
        bytes: None,
    };
    let pending = Pending {
        name: name_of_call,
        arguments_hash,
        at,
        accepted: false,
        bytes: None,
        asks_for: None,
    };
    Journal {
        answers: if ends { vec![answered] } else { Vec::new() },
        pending: (!ends).then_some(pending),
        ..Journal::new(
            run,
            AttemptKey { agent: AgentSeq(agent), stage: 0, step: 0, attempt },
            name(agent),
            "restart".to_owned(),
            at,
            json!({ "kind": kind, "args": arguments }) as Value,
        )
    }
}
