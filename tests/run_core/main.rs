//! The run's state machine under random histories: good and bad decisions, actions that fail, commands at any
//! moment, and crashes between any two commits.

#![allow(clippy::unwrap_used, clippy::panic, clippy::wildcard_enum_match_arm)]

mod approval;
mod approvers;
mod closing;
mod compared;
mod door;
mod ending;
mod guards;
mod identity;
mod last_word;
mod late;
mod mass_absence;
mod membership;
mod narrowing;
mod noticing;
mod once;
mod parts;
mod refresh;
mod repeating;
mod roster;
mod silence;
mod stages;
mod steering;
mod steps;
mod world;

use parts::{First, Setup, Work, playbook};
use proptest::prelude::*;
use replibook_core::playbook::{Membership, Narrowing, OnAdded, OnRemoved};
use replibook_core::run::{AgentState, FailureReason, RunStatus, Verb};
use world::{Choice, World};

fn choices() -> impl Strategy<Value = Vec<Choice>> {
    let choice = prop_oneof![
        8 => any::<u16>().prop_map(Choice::Perform),
        6 => any::<u16>().prop_map(Choice::PerformWell),
        1 => Just(Choice::Crash),
        1 => Just(Choice::Wake),
        1 => prop::sample::select(Verb::ALL.to_vec()).prop_map(Choice::Command),
        1 => any::<u16>().prop_map(Choice::Membership),
        1 => any::<u16>().prop_map(Choice::BadDecision),
    ];
    prop::collection::vec(choice, 0..200)
}

fn setups() -> impl Strategy<Value = Setup> {
    let first = prop::sample::select(vec![First::Goes, First::Goes, First::LeftOut, First::Fails]);
    let timeout = prop::option::of(1_u64..30);
    let budget = (0_u32..4, any::<bool>(), any::<bool>());
    let steps = (1_usize..3, 1_u32..4, timeout, any::<bool>(), any::<bool>());
    let added = prop::sample::select(vec![OnAdded::Include, OnAdded::Skip, OnAdded::Abort]);
    let removed = prop::sample::select(vec![OnRemoved::Ignore, OnRemoved::Fail, OnRemoved::Abort]);
    let stages = (1_usize..9, 1_usize..4, any::<bool>(), 1_u32..5);
    let place = || prop::option::of(0_usize..3);
    let more = (any::<bool>(), place(), place(), prop::option::of(1_u32..5));
    let policy = (added, removed).prop_map(|(added, removed)| Membership { added, removed });
    (first, budget, steps, stages, policy, more).prop_map(|of| {
        let (first, budget, steps, stages, membership, (ends, once, always, limit)) = of;
        let narrowed = Narrowing { limit, ..Narrowing::default() };
        let (max_failed, abort, run_scope) = budget;
        let (steps, attempts, timeout, require, continues) = steps;
        let (agents, stages, approval, batch) = stages;
        let timeout = timeout.filter(|minutes| *minutes < 20);
        let plain = Setup::plain(agents, max_failed);
        let plain = Setup { abort, run_scope, steps, attempts, timeout, require, ..plain };
        let plain = Setup { ends, once, always, narrowed, ..plain };
        Setup { continues, stages, approval, batch, first, membership, ..plain }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// Whatever happens, every invariant holds after every commit. Once nothing more goes wrong, the run ends
    /// or says what it waits for.
    #[test]
    fn invariants_hold_in_every_history(setup in setups(), choices in choices()) {
        let mut world = World::new(setup);
        for choice in &choices {
            world.choose(choice);
        }
        world.run_dry();
        world.check_the_end();
    }

    /// The same history gives the same writes.
    #[test]
    fn the_same_input_gives_the_same_output(setup in setups(), choices in choices()) {
        let written = |choices: &[Choice]| {
            let mut world = World::new(setup.clone());
            for choice in choices {
                world.choose(choice);
            }
            world.run_dry();
            world.written
        };
        prop_assert_eq!(written(&choices), written(&choices));
    }

    /// What is noticed about calls in flight is only shown to people: the run goes the same way without it.
    #[test]
    fn what_is_noticed_changes_nothing(setup in setups(), choices in choices()) {
        let (with, without) = noticing::changes_nothing(&setup, &choices);
        prop_assert_eq!(with, without);
    }
}

#[test]
fn a_run_without_mishaps_is_done() {
    let mut world = World::new(Setup::plain(5, 0));
    world.run_dry();
    assert_eq!(world.progress().status, RunStatus::Done);
    assert_eq!(world.progress().count(AgentState::Done), 5);
    assert_eq!(world.progress().finish_ts, world.progress().finishing_at);
    let batches = world.records().map(|record| record.batch.unwrap()).collect::<Vec<_>>();
    assert_eq!(batches, [1, 1, 2, 3, 4]);
}

#[test]
fn a_budget_that_is_exceeded_pauses_and_a_resume_accepts_the_failures() {
    let mut world = World::new(Setup::plain(6, 1));
    world.fail_next(2);
    world.run_dry();
    assert_eq!(world.progress().status, RunStatus::Paused);
    let reason = world.progress().reason.clone().unwrap();
    assert_eq!(reason.message, "2 agents failed, the budget allows 1");
    world.choose(&Choice::Command(Verb::Resume));
    world.run_dry();
    assert_eq!(world.progress().status, RunStatus::Failed, "more failed than the budget allows");
    assert_eq!(world.progress().count(AgentState::Done), 4);
}

#[test]
fn a_failure_after_a_resume_pauses_again() {
    let mut world = World::new(Setup::plain(6, 0));
    world.fail_next(1);
    world.run_dry();
    world.choose(&Choice::Command(Verb::Resume));
    world.fail_next(1);
    world.run_dry();
    assert_eq!(world.progress().status, RunStatus::Paused);
}

#[test]
fn failures_within_the_budget_end_in_done_and_say_so() {
    let mut world = World::new(Setup::plain(4, 1));
    world.fail_next(1);
    world.run_dry();
    assert_eq!(world.progress().status, RunStatus::Done);
    let reason = world.progress().reason.clone().unwrap();
    assert_eq!(reason.message, "1 of 4 agents failed, the budget allows 1");
}

#[test]
fn an_exceeded_budget_can_abort() {
    let mut world = World::new(Setup { abort: true, ..Setup::plain(4, 0) });
    world.fail_next(1);
    world.run_dry();
    assert_eq!(world.progress().status, RunStatus::Failed);
    assert!(world.progress().count(AgentState::Pending) >= 2, "the rest was not started");
}

#[test]
fn a_refused_decision_pauses_and_names_the_strategy() {
    for (kind, expected) in [
        (0, "agent nobody is unknown"),
        (1, "is named twice"),
        (2, "waits though nothing is in flight"),
        (3, "its memo has"),
        (4, "its label is longer"),
        (5, "starts 251 agents, at most 250"),
        (6, "names 261 agents, at most 260"),
    ] {
        let mut world = World::new(Setup::plain(3, 0));
        world.start();
        world.choose(&Choice::BadDecision(kind));
        assert_eq!(world.progress().status, RunStatus::Paused, "{expected}");
        let message = world.progress().reason.clone().unwrap().message;
        assert!(message.contains("strategy rolling") && message.contains(expected), "{message}");
        assert_eq!(world.progress().count(AgentState::Running), 0, "it was not obeyed");
    }
}

#[test]
fn a_cluster_of_ten_thousand_is_taken_in_chunks_and_survives_a_crash_in_between() {
    let mut world = World::new(Setup::plain(10_000, 0));
    for _ in 0..7 {
        world.choose(&Choice::Perform(0));
    }
    assert_eq!(world.progress().status, RunStatus::Starting);
    let made = world.records().count();
    assert!(made > 0 && made < 10_000, "{made}");
    world.choose(&Choice::Crash);
    world.start();
    assert_eq!(world.progress().stage.selected, 10_000);
}

#[test]
fn commands_that_do_not_fit_are_refused_with_a_reason() {
    let mut world = World::new(Setup::plain(2, 0));
    world.choose(&Choice::Command(Verb::Resume));
    world.run_dry();
    world.choose(&Choice::Command(Verb::Cancel));
    let refusals = world.refusals();
    assert!(refusals[0].ends_with("is PENDING: it is not paused"), "{refusals:?}");
    assert!(refusals[1].ends_with("is DONE: it has ended"), "{refusals:?}");
}

#[test]
fn cancelling_waits_for_the_actions_that_are_out() {
    let mut world = World::new(Setup::plain(4, 0));
    world.start();
    world.until_in_flight(2);
    world.choose(&Choice::Command(Verb::Cancel));
    assert_eq!(world.progress().status, RunStatus::Cancelling);
    world.run_dry();
    assert_eq!(world.progress().status, RunStatus::Cancelled);
    assert_eq!(world.progress().count(AgentState::Pending), 2, "what had not started stays");
}

#[test]
fn the_snapshot_survives_json() {
    let playbook = playbook(&Setup::plain(1, 1));
    let text = serde_json::to_string(&playbook).unwrap();
    assert_eq!(
        serde_json::from_str::<replibook_core::playbook::Playbook>(&text).unwrap(),
        playbook
    );
}

#[test]
fn an_input_that_nobody_asked_for_is_a_typed_error() {
    let error = World::new(Setup::plain(2, 0)).refuse(replibook_core::run::Input::Stamped);
    let expected = "does not go with PENDING (the end of stamping, event 1)";
    assert!(error.ends_with(expected), "{error}");
}

#[test]
fn answers_and_results_that_are_too_large_fail_the_agent_and_not_the_run() {
    for (work, expected) in [
        (Work::LargeAnswers, "the answers of the attempt have"),
        (Work::LargeResult, "the results of the agent have"),
    ] {
        let mut world = World::new(Setup::plain(1, 1));
        world.work = work;
        world.run_dry();
        assert_eq!(world.progress().status, RunStatus::Done, "{work:?}");
        let failure = world.records().next().unwrap().error.clone().unwrap();
        assert_eq!(failure.reason, FailureReason::PluginLimit);
        assert!(failure.message.starts_with(expected), "{}", failure.message);
    }
}

#[test]
fn cancelling_gives_up_what_is_no_action_in_chunks() {
    let mut world = World::new(Setup { batch: 1_000, ..Setup::plain(1_000, 0) });
    world.work = Work::Sleep;
    world.start();
    world.until_in_flight(1_000);
    world.choose(&Choice::Command(Verb::Cancel));
    assert_eq!(world.progress().status, RunStatus::Cancelling, "the first chunk is not all");
    world.run_dry();
    assert_eq!(world.progress().status, RunStatus::Cancelled);
    assert_eq!(world.progress().count(AgentState::Failed), 1_000);
    assert_eq!(world.progress().stage.failures, 0, "being cancelled is no failure");
}

#[test]
fn a_cancelled_run_gives_up_actions_after_the_deadline() {
    let mut world = World::new(Setup::plain(2, 0));
    world.start();
    world.until_in_flight(2);
    world.choose(&Choice::Command(Verb::Cancel));
    world.wake();
    world.run_dry();
    assert_eq!(world.progress().status, RunStatus::Cancelled);
    let failures = world.records().map(|record| record.error.clone().unwrap().reason);
    assert!(failures.into_iter().all(|reason| reason == FailureReason::Cancelled));
}

#[test]
fn a_strategy_that_asks_for_no_time_gets_some() {
    let mut world = World::new(Setup::plain(2, 0));
    world.start();
    let (now, at) = world.wait_for_nothing();
    assert_eq!(at.since(now).0, 100);
}

#[test]
fn a_full_decision_fits_its_commits_whatever_becomes_of_the_first_step() {
    for first in [First::LeftOut, First::Fails] {
        let setup = Setup { batch: 250, steps: 3, first, ..Setup::plain(500, 500) };
        let mut world = World::new(setup);
        world.run_dry();
        assert_eq!(world.progress().status, RunStatus::Done, "{first:?}");
    }
}

#[test]
fn agents_that_fail_at_once_do_not_end_the_run_before_the_others_of_their_decision() {
    let mut world =
        World::new(Setup { abort: true, batch: 4, first: First::Fails, ..Setup::plain(8, 0) });
    world.run_dry();
    assert_eq!(world.progress().status, RunStatus::Failed);
    assert_eq!(world.progress().count(AgentState::Failed), 4);
    assert_eq!(world.progress().count(AgentState::Pending), 4);
    let reason = world.progress().reason.clone().unwrap().code;
    assert_eq!(reason, replibook_core::run::ReasonCode::BudgetExceeded);
}

#[test]
fn failures_during_a_pause_are_not_accepted_by_whoever_ends_it() {
    let mut world = World::new(Setup::plain(4, 0));
    world.start();
    world.until_in_flight(2);
    world.choose(&Choice::Command(Verb::Pause));
    world.fail_next(1);
    world.run_dry();
    world.choose(&Choice::Command(Verb::Resume));
    assert_eq!(world.progress().status, RunStatus::Paused, "it has to be said first");
    let reason = world.progress().reason.clone().unwrap().code;
    assert_eq!(reason, replibook_core::run::ReasonCode::BudgetExceeded);
    world.choose(&Choice::Command(Verb::Resume));
    assert_eq!(world.progress().status, RunStatus::Running);
}
