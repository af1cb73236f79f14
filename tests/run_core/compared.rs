//! Our side of the table in `docs/stages-and-steps.md` that compares stages and steps with Ansible: one test for each case
//! that no other test covers. The table names them.

use replibook_core::playbook::{Amount, OnError, StepRole};
use replibook_core::run::{AgentState, Happened, ReasonCode, RunStatus};

use crate::parts::{First, Setup};
use crate::world::World;

/// A run whose stages may have this share of their agents fail, in hundredths of a percent, and which fails then.
fn with_share(setup: Setup, share: u32) -> World {
    let setup = Setup { abort: true, ..setup };
    World::with(setup, |stage| stage.budget.max_failed = Amount::Share(share))
}

fn count(world: &World, state: AgentState) -> u32 {
    world.progress().count(state)
}

#[test]
fn a_batch_begins_when_all_of_the_one_before_have_come_through_all_of_their_steps() {
    let mut world = World::new(Setup { steps: 2, batch: 2, ..Setup::plain(4, 0) });
    world.run_dry();
    let mut running = 0_u32;
    for event in world.events() {
        if let Happened::Agent { from, to, .. } = &event.what {
            running += u32::from(*to == AgentState::Running);
            running -= u32::from(*from == Some(AgentState::Running));
            assert!(running <= 2);
        }
    }
    assert_eq!(count(&world, AgentState::Done), 4);
}

#[test]
fn as_many_failures_as_the_budget_allows_do_not_exceed_it() {
    // 2 of 4 agents are 50 %.
    let mut world = with_share(Setup { batch: 4, ..Setup::plain(4, 0) }, 5_000);
    world.fail_next(2);
    world.run_dry();
    assert_eq!((world.progress().status, count(&world, AgentState::Failed)), (RunStatus::Done, 2));
}

#[test]
fn a_share_is_of_the_agents_of_the_stage_and_not_of_a_batch() {
    // Half of the first batch fails, which is a tenth of the stage.
    let mut world = with_share(Setup { batch: 2, ..Setup::plain(10, 0) }, 1_000);
    world.fail_next(1);
    world.run_dry();
    assert_eq!((world.progress().status, count(&world, AgentState::Done)), (RunStatus::Done, 9));
}

#[test]
fn a_batch_that_fails_as_a_whole_within_the_budget_does_not_end_the_run() {
    let mut world = with_share(Setup { batch: 1, ..Setup::plain(4, 0) }, 2_500);
    world.fail_next(1);
    world.run_dry();
    assert_eq!((world.progress().status, count(&world, AgentState::Done)), (RunStatus::Done, 3));
}

#[test]
fn agents_at_work_come_through_their_steps_when_another_exceeds_the_budget() {
    let setup = Setup { abort: true, batch: 3, steps: 2, ..Setup::plain(6, 0) };
    let mut world = World::new(setup);
    world.fail_next(1);
    world.run_dry();
    assert_eq!(world.progress().status, RunStatus::Failed);
    let states = [AgentState::Failed, AgentState::Done, AgentState::Pending];
    assert_eq!(states.map(|state| count(&world, state)), [1, 2, 3]);
}

#[test]
fn an_agent_that_was_rescued_counts_for_the_budget() {
    let setup = Setup { ends: true, first: First::Fails, abort: true, ..Setup::plain(1, 0) };
    let mut world = World::new(setup);
    world.run_dry();
    let reason = world.progress().reason.clone().unwrap().code;
    assert_eq!((world.progress().status, reason), (RunStatus::Failed, ReasonCode::BudgetExceeded));
}

#[test]
fn an_agent_that_can_not_be_reached_is_rescued_once_nothing_of_it_may_run_any_more() {
    let setup = Setup { ends: true, timeout: Some(5), ..Setup::plain(1, 1) };
    let mut world = World::new(setup);
    world.unreachable = true;
    world.until_calls();
    world.perform_all();
    world.unreachable = false;
    world.run_dry();
    let begun = world.events().filter_map(|event| match &event.what {
        Happened::StepStarted { step, .. } => Some(step.as_str()),
        _ => None,
    });
    assert_eq!(begun.collect::<Vec<_>>(), ["step-0", "undo", "tidy"]);
    assert_eq!(count(&world, AgentState::Failed), 1);
}

#[test]
fn a_failure_that_is_passed_over_is_not_rescued() {
    let setup = Setup { ends: true, first: First::Fails, ..Setup::plain(1, 0) };
    let mut world = World::with(setup, |stage| stage.steps[0].on_error = OnError::Continue);
    world.run_dry();
    assert_eq!((world.progress().status, count(&world, AgentState::Done)), (RunStatus::Done, 1));
    let rescued = world
        .events()
        .any(|event| matches!(&event.what, Happened::StepStarted { step, .. } if step == "undo"));
    assert!(!rescued);
}

#[test]
fn an_agent_that_failed_in_one_stage_is_left_out_of_the_next() {
    let setup = Setup { stages: 2, ends: true, first: First::Fails, ..Setup::plain(1, 2) };
    let mut world = World::new(setup);
    world.run_dry();
    assert_eq!(count(&world, AgentState::Skipped), 1, "a rescue does not change that");
    assert!(world.snapshot().playbook.stages[0].first_of(StepRole::Rescue).is_some());
}
