//! A rollout that takes a day, to see that long runs are played quickly and stay small.

use replibook::playbook::{Membership, OnAdded, OnRemoved, StepRole};

use crate::plan::{
    ActionPlan, AgentPlan, End, EnginePlan, Plan, RunPlan, STAGES, STEPS, Size, StagePlan,
    StepPlan, StrategyPlan, Work,
};

/// A day in milliseconds.
pub(crate) const DAY: u64 = 24 * 60 * 60 * 1_000;

/// How many agents go at a time.
const BATCH: u32 = 10;

/// A rollout over this many agents, [`BATCH`] at a time, in which the batches fill a day. Each agent runs an
/// action, and is looked at until its node is healthy.
pub(crate) fn one_day(agents: u32) -> Plan {
    let slot = DAY / u64::from(agents.div_ceil(BATCH));
    let step = |work| StepPlan {
        role: StepRole::Main,
        work,
        large: false,
        timeout: None,
        retry: None,
        requires: false,
        goes_on: false,
    };
    let stage = StagePlan {
        strategy: StrategyPlan::Batches(Size::Count(BATCH)),
        max_failed: Size::Count(0),
        of_run: false,
        aborts: false,
        membership: Membership { added: OnAdded::Include, removed: OnRemoved::Ignore },
        selects: None,
        once: false,
        always: false,
        steps: vec![step(Work::Action), step(Work::WaitHealthy(60))],
    };
    Plan {
        agents: (0..agents).map(|agent| in_slot(slot, agent % BATCH)).collect(),
        platform: None,
        runs: vec![RunPlan {
            at: 0,
            approval: false,
            approvers: None,
            beside: false,
            narrow: Default::default(),
            stages: vec![stage],
            retries: 0,
        }],
        engines: vec![EnginePlan {
            at: 0,
            ahead: 0,
            max_runs: 10,
            stops: None,
            troubles: Vec::new(),
            faults: Vec::new(),
        }],
        drains: Vec::new(),
        outages: Vec::new(),
        commands: Vec::new(),
        signals: Vec::new(),
        guards: Vec::new(),
        ill: None,
        patience: 1_000,
        agent_patience: 120_000,
        tells: true,
        timeless: false,
        ends_by: DAY + DAY / 10,
    }
}

/// An agent whose action takes between half of its batch's slot and, for the last agent, all of it.
fn in_slot(slot: u64, place: u32) -> AgentPlan {
    let takes = slot / 2 + slot / 2 * u64::from(place + 1) / u64::from(BATCH);
    let action = ActionPlan { posts: Vec::new(), takes, flaky: 0, end: End::Done };
    AgentPlan {
        actions: vec![action; STAGES * STEPS],
        runs_again: false,
        latency: 20,
        purges: None,
        keeps: None,
        stable: false,
        away: None,
        garbles: None,
        denies: None,
        proxied: None,
        behind: None,
        ill: None,
        group: None,
        listed: true,
        gone: Vec::new(),
        moves: Vec::new(),
        other: None,
        role: 0,
    }
}
