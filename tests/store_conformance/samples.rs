//! Small documents that the cases keep.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use replibook_core::playbook::{
    Amount, Approval, Approvers, Budget, BudgetScope, ClusterGuards, Concurrency, Grants,
    Membership, OnAdded, OnError, OnExceeded, OnRemoved, Playbook, PluginInfo, PluginKind,
    PluginPin, Retry, SignedBy, Stage, Step, StrategyUse, Template,
};
use replibook_core::run::{
    AgentId, AgentRecord, AgentSeq, AgentState, AttemptKey, CallName, Command, CommandId, Digest,
    Happened, Journal, LogLevel, LogLine, Pending, Progress, Run, RunEvent, RunId, RunStatus,
    Snapshot, Timestamp, Verb, Writes,
};
use replibook_store::{Cluster, NewRun, Page, Plugin, PluginSignature, Store, StoredPlaybook};
use serde_json::{Map, json};
use uuid::Uuid;

use crate::backends::START;

/// A page of `limit` items after `after`.
pub(crate) fn page(after: Option<&str>, limit: u32) -> Page {
    Page { after: after.map(str::to_owned), limit }
}

/// Plugin number `n`, with its bytes.
pub(crate) fn plugin(n: u8) -> (Plugin, Bytes) {
    let bytes = Bytes::from(vec![n; 100]);
    let info = PluginInfo {
        digest: Digest::of(&bytes),
        kind: PluginKind::Step,
        name: format!("plugin-{n}"),
        version: "1.0.0".to_owned(),
        summary: "Does nothing.".to_owned(),
        arguments: json!({"type": "object"}),
        size: 100,
        calls: vec![format!("call-{n}")],
    };
    (Plugin::new(info, START), bytes)
}

/// A signature with this text, checked with a key or not.
pub(crate) fn signature(text: &str, checked: Option<&str>) -> PluginSignature {
    PluginSignature {
        text: text.to_owned(),
        key_id: "E7620F1842B4E81F".to_owned(),
        trusted_comment: "file: x\u{e9}".to_owned(),
        checked: checked.map(str::to_owned),
    }
}

/// A playbook that pins these plugins.
pub(crate) fn playbook(name: &str, version: &str, plugins: &[&Plugin]) -> StoredPlaybook {
    let pin = |plugin: &&Plugin| {
        let info = &plugin.info;
        let pin = PluginPin {
            source: format!("store:{}@{}", info.name, info.version),
            digest: info.digest.clone(),
            kind: info.kind,
            name: info.name.clone(),
            version: info.version.clone(),
            grants: Grants::default(),
            provenance: None,
            signers: vec![SignedBy { name: "ops".to_owned(), key: "RWQ/+=".to_owned() }],
        };
        (info.name.clone(), pin)
    };
    let playbook = Playbook {
        name: name.to_owned(),
        version: version.parse().unwrap(),
        summary: Some("A sample — with a dash.".to_owned()),
        vcs: None,
        approval: Approval::Granted,
        approvers: Approvers::default(),
        concurrency: Concurrency::Queue,
        params: json!({"type": "object"}),
        plugins: plugins.iter().map(pin).collect(),
        stages: vec![stage()],
    };
    let text = serde_json::to_string(&playbook).unwrap();
    let content = Digest::of(text.as_bytes());
    StoredPlaybook { text, playbook, content, applied_at: START }
}

fn stage() -> Stage {
    let with = |value| Template::parse(value).unwrap();
    Stage {
        name: "restart".to_owned(),
        on: Default::default(),
        always: false,
        select: None,
        strategy: StrategyUse { plugin: "rolling".to_owned(), with: with(json!({"batch": 1})) },
        budget: Budget {
            max_failed: Amount::Count(1),
            scope: BudgetScope::Stage,
            on_exceeded: OnExceeded::Pause,
        },
        membership: Membership { added: OnAdded::Include, removed: OnRemoved::Ignore },
        steps: vec![Step {
            name: "drain".to_owned(),
            role: Default::default(),
            plugin: "action".to_owned(),
            with: with(json!({})),
            grants: Grants::default(),
            when: None,
            require: None,
            timeout: None,
            retry: Retry::NONE,
            on_error: OnError::Fail,
        }],
    }
}

/// A cluster without agents.
pub(crate) fn cluster(name: &str, text: &str) -> Cluster {
    let spec = replibook_core::playbook::Cluster {
        name: name.to_owned(),
        agents: vec![],
        discovery: None,
        tls: None,
        credentials: None,
        dialect: None,
        cluster_id: None,
        guards: ClusterGuards::default(),
    };
    Cluster { text: text.to_owned(), spec, applied_at: START }
}

/// The clusters that runs of the samples may be on.
pub(crate) const CLUSTERS: [&str; 2] = ["mongo-eu", "other"];

/// Keeps the clusters of [`CLUSTERS`].
pub(crate) async fn put_clusters(store: &dyn Store) {
    for name in CLUSTERS {
        store.put_cluster(&cluster(name, "")).await.unwrap();
    }
}

pub(crate) fn run_id(n: u128) -> RunId {
    RunId(Uuid::from_u128(n))
}

/// A run of `playbook` that is PENDING.
pub(crate) fn run(n: u128, playbook: &StoredPlaybook) -> Run {
    let snapshot = Snapshot {
        id: run_id(n),
        playbook: playbook.playbook.clone(),
        params: Map::from_iter([("grace".to_owned(), json!(30))]),
        cluster: "mongo-eu".to_owned(),
        retry_of: None,
        narrowed: Default::default(),
        started_by: Some("ada".to_owned()),
        created_at: START,
        seed: None,
    };
    Run { snapshot: Arc::new(snapshot), progress: Progress::new(RunStatus::Pending, START) }
}

/// A request for run number `n`, of a playbook without plugins.
pub(crate) fn new_run(n: u128) -> NewRun {
    asking_for(run(n, &playbook("restart", "1.0.0", &[])))
}

/// A request for run number `n` on `cluster`, of a playbook with this concurrency, in this status.
pub(crate) fn new_run_on(
    cluster: &str,
    n: u128,
    concurrency: Concurrency,
    status: RunStatus,
) -> NewRun {
    let mut playbook = playbook("restart", "1.0.0", &[]);
    playbook.playbook.concurrency = concurrency;
    let mut run = run(n, &playbook);
    // The snapshot is not shared yet.
    Arc::make_mut(&mut run.snapshot).cluster = cluster.to_owned();
    run.progress.status = status;
    asking_for(run)
}

/// A request for `run`.
pub(crate) fn asking_for(run: Run) -> NewRun {
    let request = Digest::of(run.id().to_string().as_bytes());
    NewRun { events: vec![event(run.id(), 1)], run, idempotency_key: None, request }
}

pub(crate) fn progress(status: RunStatus, at: Timestamp) -> Progress {
    Progress {
        next_event: 7,
        counts: BTreeMap::from([(AgentState::Done, 3)]),
        ..Progress::new(status, at)
    }
}

/// The progress of a run that finished at `at`.
pub(crate) fn finished(at: Timestamp) -> Progress {
    Progress {
        outcome: Some(RunStatus::Done),
        finishing_at: Some(at),
        finish_ts: Some(at),
        ..progress(RunStatus::Done, at)
    }
}

/// The progress of a run that is about to finish at `at`.
pub(crate) fn finishing(at: Timestamp) -> Progress {
    Progress {
        outcome: Some(RunStatus::Done),
        finishing_at: Some(at),
        ..progress(RunStatus::Finishing, at)
    }
}

pub(crate) fn record(run: RunId, seq: u32, state: AgentState) -> AgentRecord {
    AgentRecord {
        attributes: Map::from_iter([("zone".to_owned(), json!("a"))]).into(),
        state,
        attempts: vec![1],
        batch: Some(1),
        started_at: Some(START),
        ..AgentRecord::new(
            run,
            AgentSeq(seq),
            AgentId(format!("node-{seq}")),
            format!("http://127.0.0.1:{seq}"),
            1,
        )
    }
}

pub(crate) fn key(agent: u32, step: u16, attempt: u32) -> AttemptKey {
    AttemptKey { agent: AgentSeq(agent), stage: 0, step, attempt }
}

pub(crate) fn journal(run: RunId, key: AttemptKey) -> Journal {
    Journal {
        answers: vec![],
        pending: Some(Pending {
            name: CallName::RunAction,
            arguments_hash: "00".to_owned(),
            at: START,
            accepted: false,
            bytes: None,
            asks_for: None,
        }),
        ..Journal::new(
            run,
            key,
            AgentId(format!("node-{}", key.agent.0)),
            "drain".to_owned(),
            START,
            json!({"grace": 30}),
        )
    }
}

/// A line in the log of an agent, or of the strategy if `agent` is none.
pub(crate) fn line(run: RunId, event: u64, agent: Option<u32>, line: u32) -> LogLine {
    LogLine {
        run,
        attempt: agent.map(|agent| key(agent, 0, 1)),
        agent: agent.map(|agent| AgentId(format!("node-{agent}"))),
        source: "drain".to_owned(),
        line,
        event,
        number: 0,
        at: START,
        level: LogLevel::Info,
        message: format!("line {line} at {event}"),
        finish_ts: None,
    }
}

pub(crate) fn event(run: RunId, seq: u64) -> RunEvent {
    let what = Happened::Status { from: None, to: RunStatus::Pending, reason: None };
    RunEvent { run, seq, at: START, actor: None, what, finish_ts: None }
}

pub(crate) fn command(n: u128, run: RunId, at: Timestamp) -> Command {
    Command {
        id: CommandId(Uuid::from_u128(n)),
        run,
        verb: Verb::Pause,
        agent: None,
        again: false,
        signal: None,
        override_guard: None,
        approves: None,
        actor: None,
        why: Some("lunch".to_owned()),
        at,
        outcome: None,
        finish_ts: None,
    }
}

/// One document of every kind, for this run, with its progress.
pub(crate) fn one_of_each(run: RunId) -> Writes {
    Writes {
        progress: Some(progress(RunStatus::Running, START)),
        records: vec![record(run, 0, AgentState::Running)],
        journals: vec![journal(run, key(0, 0, 1))],
        logs: vec![line(run, 2, Some(0), 0)],
        events: vec![event(run, 2)],
        commands: vec![command(1, run, START)],
    }
}

/// A commit that writes only this progress.
pub(crate) fn only(progress: Progress) -> Writes {
    Writes { progress: Some(progress), ..Writes::default() }
}
