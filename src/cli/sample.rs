//! Example values to show, for the tests of this folder.

use serde_json::{Map, json};
use uuid::Uuid;

use crate::api::wire::{RunView, TroubleView};
use crate::playbook::AfterDeadline;
use crate::run::{
    Abandoned, AgentId, AgentRecord, AgentSeq, AgentState, Asks, Digest, Given, GuardGroup, Held,
    HeldAgent, HeldBy, Millis, PassedOver, RunId, RunStatus, Silent, Timestamp, TroubleCode,
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

/// Agents that two guards hold.
pub(crate) fn held() -> Held {
    let agents = |ids: &[&str]| ids.iter().map(|id| AgentId::from(*id)).collect::<Vec<_>>();
    let group = GuardGroup { attribute: "zone".to_owned(), value: Some("b".to_owned()) };
    let of_zone = HeldBy::Agents {
        guard: "one-zone".to_owned(),
        group: Some(group.clone()),
        of: 4,
        out: 1,
        allowed: 1,
        because: agents(&["node-5"]),
    };
    let of_zones = HeldBy::Groups {
        guard: "quorum".to_owned(),
        group,
        touched: 2,
        allowed: 2,
        because: agents(&["node-5", "node-1"]),
    };
    let some = [("node-2", of_zone), ("node-3", of_zones)]
        .map(|(agent, by)| HeldAgent { agent: AgentId::from(agent), by });
    let guards = vec!["one-zone".to_owned(), "quorum".to_owned()];
    Held { agents: 5, some: some.into(), guards, since: Some(moment()), until: None }
}

/// What a run asks two people, one of whom has approved it.
pub(crate) fn asks() -> Asks {
    let given = Given { by: Some("user:id/alice".to_owned()), at: moment() };
    Asks {
        number: 7,
        seen: Digest::of(b"seen"),
        message: "all well?".to_owned(),
        asked_at: moment(),
        until: Some(moment().plus(Millis::from_secs(7_200))),
        then: Some(AfterDeadline::Cancel),
        by: vec!["group:id/dba".to_owned(), "user:id/alice".to_owned()],
        count: 2,
        not_by_starter: true,
        given: vec![given],
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
        asks: None,
        engine: None,
        waits: None,
        trouble: None,
        since: moment(),
        last_event: 7,
        stage: "restart".to_owned(),
        stage_index: 0,
        stages: vec!["restart".to_owned()],
        hold: false,
        selected: 12,
        counts: [].into(),
        silent: Silent::default(),
        held: Held::default(),
        held_agents: Vec::new(),
        overridden: Default::default(),
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
        narrowed: Default::default(),
        closing: None,
        once: false,
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
