//! The simulator: the real core, driver and built-in plugins over the store in memory, on one thread and in
//! virtual time, with everything random taken from a seed.
//!
//! A seed becomes a [plan](plan::Plan): agents and how their actions end, playbooks, engines that are killed
//! or stand still, a store that fails, commands of people, members of the cluster that join, leave, move and
//! return, and a platform that tells of them and lies. The plan is played, and a [ledger](ledger::Ledger)
//! checks every commit and every request to an agent as it happens. From some moment on nothing goes wrong
//! any more, and every run has to end. A plan that fails is made smaller and shown with its seed. Some plans
//! are played a second time without disturbances, and have to end in the same way.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::wildcard_enum_match_arm)]

mod agents;
mod alarm;
mod approval_model;
mod approval_plan;
mod asked_model;
mod behind;
mod budget_model;
mod campaign;
mod closing_model;
mod cluster_plan;
mod crowd;
mod day;
mod dialect;
mod documents;
mod ears;
mod engines;
mod event_model;
mod fresh_model;
mod gate;
mod generate;
mod generate_cluster;
mod generate_forms;
mod generate_rare;
mod guard_model;
mod guard_plan;
mod history;
mod illness;
mod journal_checks;
mod late_model;
mod ledger;
mod membership_model;
#[cfg(feature = "mutants")]
mod mutants;
mod narrow_plan;
mod notice_model;
mod outcome;
mod passed_over_model;
mod plan;
mod platform;
#[path = "../support/plugins.rs"]
mod plugins;
mod post_fault;
mod post_model;
mod repeats_model;
mod run_model;
mod sharing_model;
mod shrink;
mod signal_model;
mod store;
mod strategy_model;
mod unanswered;
mod web;
mod web_model;

use std::time::Instant;

use campaign::{Failure, PLUGINS, explain, rate, say, search, trial};
use day::{DAY, one_day};
use history::play;
use plan::Plan;

/// How many histories one test run plays.
const SEEDS: u64 = 2_000;

/// How many histories of many runs are played in addition.
const CROWDS: usize = 30;

fn from_environment(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("found {name}={text}, expected a number")))
}

/// With `REPLIBOOK_SEED`, only that seed is played, and shown. Otherwise `REPLIBOOK_SEEDS` says how many are
/// played, and `REPLIBOOK_SEED_FROM` from which one on. Playing stops after `REPLIBOOK_FAILURES` failures, of
/// which the first is shown.
#[test]
fn nothing_is_lost_and_nothing_happens_twice() {
    if let Some(seed) = from_environment("REPLIBOOK_SEED") {
        let plan = Plan::from_seed(seed);
        say(&format!("{plan:#?}\n{}", play(&plan, &PLUGINS, true).trace.join("\n")));
        if let Some(violation) = trial(&plan) {
            panic!("{}", explain(&Failure { seed, violation }));
        }
        return;
    }
    let seeds = from_environment("REPLIBOOK_SEEDS").unwrap_or(SEEDS);
    let from = from_environment("REPLIBOOK_SEED_FROM").unwrap_or(0);
    let failures = from_environment("REPLIBOOK_FAILURES").unwrap_or(1);
    let failures = usize::try_from(failures).unwrap();
    let start = Instant::now();
    let (failed, played) = search(from..from.saturating_add(seeds), failures, || {});
    say(&rate(played, start));
    if let Some(failure) = failed.first() {
        panic!("{}", explain(failure));
    }
}

#[test]
fn many_runs_are_shared_by_engines_that_come_and_are_drained() {
    // Other histories have at most two runs.
    let is_crowd = |(_, plan): &(u64, Plan)| plan.runs.len() > 2;
    let crowds = (10_000..).map(|seed| (seed, Plan::from_seed(seed))).filter(is_crowd);
    for (seed, plan) in crowds.take(CROWDS) {
        if let Some(violation) = trial(&plan) {
            panic!("{}", explain(&Failure { seed, violation }));
        }
    }
}

#[test]
fn a_seed_always_gives_the_same_history() {
    for seed in 0..40 {
        let plan = Plan::from_seed(seed);
        let [first, again] = [(); 2].map(|()| play(&plan, &PLUGINS, true));
        let pairs = first.trace.iter().zip(&again.trace).enumerate();
        for (line, (first, again)) in pairs {
            assert_eq!(first, again, "line {line} of seed {seed}");
        }
        assert_eq!(first.trace.len(), again.trace.len(), "seed {seed}");
        assert!(first.trace.len() > 2, "seed {seed} has a history");
        assert_eq!(first.outcome, again.outcome, "seed {seed}");
    }
}

#[test]
fn a_rollout_over_a_thousand_agents_takes_its_day() {
    let told = play(&one_day(1_000), &PLUGINS, false);
    assert_eq!(told.violation, None);
    assert!((DAY..DAY + DAY / 20).contains(&told.lasted), "{} ms", told.lasted);
    assert_eq!(told.outcome.executions.len(), 1_000);
}
