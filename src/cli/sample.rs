//! Example values to show, for the tests of this folder.

use serde_json::{Map, json};
use uuid::Uuid;

use crate::api::wire::{RunView, TroubleView};
use crate::run::{
    Abandoned, AgentId, AgentRecord, AgentSeq, AgentState, PassedOver, RunId, RunStatus, Silent,
    Timestamp, TroubleCode,
};

/// A fixed time in November 2025.
pub(crate) fn moment() -> Timestamp {
    Timestamp::from_millis(1_763_802_000_123)
}

/// The trouble of a run; `given_up_by` is the person who gave the run up, if anybody did.
pub(crate) fn trouble(given_up_by: Option<&str>) -> TroubleView {
    TroubleView {
        code: TroubleCode::Damaged,
        message: "a journal (7.0.0.1) is damaged".to_owned(),
        since: Some(moment()),
        tries: 1,
        abandoned: given_up_by.map(|actor| Abandoned {
            actor: Some(actor.to_owned()),
            why: "the disk broke".to_owned(),
            at: moment(),
            not_before: moment(),
        }),
    }
}

/// A run without agents.
pub(crate) fn run_view(status: RunStatus) -> RunView {
    RunView {
        id: RunId(Uuid::from_u128(0x0192_0000_0000_7000_8000_0000_0000_0001)),
        playbook: "rolling-restart".to_owned(),
        version: "1.4.0".to_owned(),
        vcs: None,
        cluster: "mongo-eu".to_owned(),
        status,
        reason: None,
        engine: None,
        waits: None,
        trouble: None,
        since: moment(),
        stage: "restart".to_owned(),
        stage_index: 0,
        stages: vec!["restart".to_owned()],
        hold: false,
        selected: 12,
        counts: [].into(),
        silent: Silent::default(),
        failures: 0,
        all_failures: 0,
        passed_over: PassedOver::default(),
        outcomes: [].into(),
        nobody: false,
        gone: None,
        dropped_lines: [].into(),
        params: Map::new(),
        plugins: [].into(),
        retry_of: None,
        started_by: None,
        created_at: moment(),
        started_at: Some(moment()),
        finish_ts: None,
    }
}

/// The record of agent `node-<seq>`.
pub(crate) fn record(seq: u32, state: AgentState) -> AgentRecord {
    AgentRecord {
        state,
        attempts: vec![1],
        batch: Some(1),
        results: [("drain".to_owned(), json!({"moved": 3}).into())].into(),
        started_at: Some(moment()),
        ended_at: Some(Timestamp::from_millis(moment().as_millis() + 1_240)),
        ..AgentRecord::new(
            run_view(RunStatus::Running).id,
            AgentSeq(seq),
            AgentId(format!("node-{seq}")),
            format!("http://127.0.0.1:{}", 8_000 + seq),
            1,
        )
    }
}
