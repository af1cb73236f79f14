//! How fast the simulator is: `make bench BENCHES=simulate`.
//!
//! Measured are a rollout over 1,000 agents that takes a day of virtual time, and histories as the tests play
//! them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::wildcard_enum_match_arm)]
// The simulator belongs to the tests, which use more of it.
#![allow(dead_code)]

mod support;

#[path = "../tests/simulation/agents.rs"]
mod agents;
#[path = "../tests/simulation/alarm.rs"]
mod alarm;
#[path = "../tests/simulation/approval_model.rs"]
mod approval_model;
#[path = "../tests/simulation/approval_plan.rs"]
mod approval_plan;
#[path = "../tests/simulation/asked_model.rs"]
mod asked_model;
#[path = "../tests/simulation/behind.rs"]
mod behind;
#[path = "../tests/simulation/budget_model.rs"]
mod budget_model;
#[path = "../tests/simulation/campaign.rs"]
mod campaign;
#[path = "../tests/simulation/closing_model.rs"]
mod closing_model;
#[path = "../tests/simulation/cluster_plan.rs"]
mod cluster_plan;
#[path = "../tests/simulation/crowd.rs"]
mod crowd;
#[path = "../tests/simulation/day.rs"]
mod day;
#[path = "../tests/simulation/dialect.rs"]
mod dialect;
#[path = "../tests/simulation/documents.rs"]
mod documents;
#[path = "../tests/simulation/ears.rs"]
mod ears;
#[path = "../tests/simulation/engines.rs"]
mod engines;
#[path = "../tests/simulation/event_model.rs"]
mod event_model;
#[path = "../tests/simulation/fresh_model.rs"]
mod fresh_model;
#[path = "../tests/simulation/gate.rs"]
mod gate;
#[path = "../tests/simulation/generate.rs"]
mod generate;
#[path = "../tests/simulation/generate_cluster.rs"]
mod generate_cluster;
#[path = "../tests/simulation/generate_forms.rs"]
mod generate_forms;
#[path = "../tests/simulation/generate_rare.rs"]
mod generate_rare;
#[path = "../tests/simulation/guard_model.rs"]
mod guard_model;
#[path = "../tests/simulation/guard_plan.rs"]
mod guard_plan;
#[path = "../tests/simulation/history.rs"]
mod history;
#[path = "../tests/simulation/illness.rs"]
mod illness;
#[path = "../tests/simulation/journal_checks.rs"]
mod journal_checks;
#[path = "../tests/simulation/late_model.rs"]
mod late_model;
#[path = "../tests/simulation/ledger.rs"]
mod ledger;
#[path = "../tests/simulation/membership_model.rs"]
mod membership_model;
#[path = "../tests/simulation/narrow_plan.rs"]
mod narrow_plan;
#[path = "../tests/simulation/notice_model.rs"]
mod notice_model;
#[path = "../tests/simulation/outcome.rs"]
mod outcome;
#[path = "../tests/simulation/passed_over_model.rs"]
mod passed_over_model;
#[path = "../tests/simulation/plan.rs"]
mod plan;
#[path = "../tests/simulation/platform.rs"]
mod platform;
#[path = "../tests/support/plugins.rs"]
mod plugins;
#[path = "../tests/simulation/post_fault.rs"]
mod post_fault;
#[path = "../tests/simulation/post_model.rs"]
mod post_model;
#[path = "../tests/simulation/repeats_model.rs"]
mod repeats_model;
#[path = "../tests/simulation/run_model.rs"]
mod run_model;
#[path = "../tests/simulation/sharing_model.rs"]
mod sharing_model;
#[path = "../tests/simulation/shrink.rs"]
mod shrink;
#[path = "../tests/simulation/signal_model.rs"]
mod signal_model;
#[path = "../tests/simulation/store.rs"]
mod store;
#[path = "../tests/simulation/strategy_model.rs"]
mod strategy_model;
#[path = "../tests/simulation/unanswered.rs"]
mod unanswered;
#[path = "../tests/simulation/web.rs"]
mod web;
#[path = "../tests/simulation/web_model.rs"]
mod web_model;

use std::time::Instant;

use campaign::{search, trial};
use day::one_day;
use plan::Plan;
use support::{Table, heading, ms, note, rate};

const AGENTS: u32 = 1_000;
const ROLLOUTS: usize = 3;
const HISTORIES: u64 = 1_000;

fn main() {
    heading("simulate");
    let mut table = Table::new(["what", "took", "rate"]);
    // The first rollout compiles the plugins.
    assert_eq!(trial(&one_day(10)), None);
    for _ in 0..ROLLOUTS {
        let start = Instant::now();
        assert_eq!(trial(&one_day(AGENTS)), None);
        let took = start.elapsed();
        table.row([format!("a day over {AGENTS} agents"), ms(took), rate(1, took)]);
    }
    let start = Instant::now();
    for seed in 0..HISTORIES {
        assert_eq!(trial(&Plan::from_seed(seed)), None, "seed {seed}");
    }
    let took = start.elapsed();
    let histories = usize::try_from(HISTORIES).unwrap();
    table.row([format!("{HISTORIES} histories, one thread"), ms(took), rate(histories, took)]);
    let start = Instant::now();
    assert!(search(0..HISTORIES, 1, || {}).0.is_empty());
    let took = start.elapsed();
    table.row([format!("{HISTORIES} histories, all threads"), ms(took), rate(histories, took)]);
    table.print();
    note("a rollout should take at most 5 s, and 50 histories a second should be played");
}
