//! Runs and agents for the tests of this folder.

use std::sync::Arc;

use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::*;
use crate::playbook::Playbook;
use crate::run::{
    AgentId, AgentRecord, AgentSeq, AgentState, AttemptKey, CallName, Failure, FailureReason,
    Millis, Outstanding, Progress, ReasonCode, Run, RunId, RunStatus, Snapshot, StatusReason,
    StepPhase, Timestamp,
};

pub(super) const RUN: RunId = RunId(Uuid::from_u128(0x0192_0000_0000_7000_8000_0000_0000_0001));

/// `2025-11-22T09:00:00Z` and so many seconds.
pub(super) fn at(seconds: u64) -> Timestamp {
    Timestamp::from_millis(1_763_802_000_123).plus(Millis::from_secs(seconds))
}

pub(super) fn stage(name: &str, steps: &[Value]) -> Value {
    json!({
        "name": name, "select": null, "strategy": { "plugin": "rolling", "with": {} },
        "budget": { "max_failed": { "count": 1 }, "scope": "stage", "on_exceeded": "pause" },
        "membership": { "added": "include", "removed": "ignore" }, "steps": steps,
    })
}

pub(super) fn step(name: &str, timeout: Option<u64>, attempts: u32) -> Value {
    json!({
        "name": name, "plugin": "action", "with": {}, "grants": { "actions": [], "http": [] },
        "when": null, "require": null, "timeout": timeout, "on_error": "fail",
        "retry": { "attempts": attempts, "initial": 1000, "factor": 2.0, "max": 60000 },
    })
}

/// A run of two stages that has had `status` for four minutes and five seconds.
pub(super) fn run(status: RunStatus) -> Run {
    let steps = [step("drain", Some(300_000), 3), step("restart", None, 1)];
    let playbook: Playbook = serde_json::from_value(json!({
        "name": "upgrade", "version": "1.0.0", "summary": null, "vcs": null,
        "approval": "granted", "concurrency": "queue", "params": {}, "plugins": {},
        "stages": [stage("secondaries", &steps), stage("primary", &steps)],
    }))
    .unwrap();
    let snapshot = Snapshot {
        id: RUN,
        playbook,
        params: Map::new(),
        cluster: "eu".to_owned(),
        retry_of: None,
        narrowed: Default::default(),
        started_by: None,
        created_at: at(0),
        seed: None,
    };
    let progress = Progress { started_at: Some(at(0)), ..Progress::new(status, at(0)) };
    Run { snapshot: Arc::new(snapshot), progress }
}

pub(super) fn with(status: RunStatus, change: impl FnOnce(&mut Progress)) -> Run {
    let mut run = run(status);
    change(&mut run.progress);
    run
}

pub(super) fn because(progress: &mut Progress, code: ReasonCode, message: &str) {
    progress.reason = Some(StatusReason { code, message: message.to_owned() });
}

pub(super) fn paused(code: ReasonCode, message: &str) -> Run {
    with(RunStatus::Paused, |progress| {
        because(progress, code, message);
        progress.counts = [(AgentState::Done, 3), (AgentState::Pending, 6)].into();
    })
}

pub(super) fn record(number: u32, state: AgentState) -> AgentRecord {
    let agent = AgentId(format!("node-{number}"));
    let new = AgentRecord::new(RUN, AgentSeq(number), agent, "http://x".to_owned(), 2);
    AgentRecord { state, tries: 1, attempts: vec![1, 0], started_at: Some(at(10)), ..new }
}

pub(super) fn in_flight(
    number: u32,
    phase: StepPhase,
    call: Option<(CallName, u64, bool)>,
) -> InFlight {
    let record = AgentRecord { phase, ..record(number, AgentState::Running) };
    let call = call.map(|(name, from, accepted)| (name, at(from), accepted));
    let attempt = (phase == StepPhase::Trying).then_some(OpenAttempt {
        counts_from: at(60),
        call,
        asks_for: None,
    });
    InFlight { record, attempt }
}

pub(super) fn failure(message: &str) -> Failure {
    let (reason, step) = (FailureReason::ActionFailed, "drain".to_owned());
    Failure { reason, message: message.to_owned(), step, at: at(20) }
}

pub(super) fn failed(number: u32, message: &str) -> AgentRecord {
    AgentRecord { error: Some(failure(message)), ..record(number, AgentState::Failed) }
}

pub(super) fn outstanding() -> Option<Outstanding> {
    let key = AttemptKey { agent: AgentSeq(2), stage: 0, step: 0, attempt: 1 };
    Some(Outstanding { key, call: 0, since: at(30), bytes: None })
}

pub(super) fn known(running: Vec<InFlight>) -> Known {
    Known { running, ..Known::default() }
}

/// Checks the text, and the commands without what is the same in all of them.
#[track_caller]
pub(super) fn check(run: &Run, known: &Known, text: &str, commands: &[&str]) {
    let told = explain(run, known, at(245));
    assert_eq!(told.text, text);
    assert_eq!((told.status, told.since), (run.progress.status, run.progress.since));
    let id = RUN.to_string();
    let named = told.next.iter().map(|next| next.command.replace(&id, "RUN"));
    assert_eq!(named.collect::<Vec<_>>(), commands);
    assert!(told.next.iter().all(|next| !next.effect.is_empty()));
}

pub(super) const NOBODY: Known = Known {
    running: Vec::new(),
    failed: Vec::new(),
    silent: Vec::new(),
    waits: None,
    others_hidden: false,
};

/// A run that has ended in its second stage.
pub(super) fn ended(
    status: RunStatus,
    counts: &[(AgentState, u32)],
    failures: u32,
    message: &str,
) -> Run {
    with(status, |progress| {
        because(progress, ReasonCode::SomeFailed, message);
        progress.counts = counts.iter().copied().collect();
        (progress.failures, progress.stage.failures) = (failures, failures);
        progress.finish_ts = Some(at(200));
        progress.stage.index = 1;
    })
}
