//! Runs that people hold, put back and give up.

use replibook_core::run::{AgentState, Effect, FailureReason, Happened, RunStatus, Verb};

use crate::parts::{Setup, Work};
use crate::world::{Choice, World};

impl World {
    /// The calls to agents that are in flight. True means that the engine may only look, and not send again.
    pub(crate) fn calls(&self) -> Vec<bool> {
        let calls = self.effects().filter_map(|effect| match effect {
            Effect::Perform(perform) => Some(perform.look_only),
            _ => None,
        });
        calls.collect()
    }

    /// Why commands were refused.
    pub(crate) fn refusals(&self) -> Vec<String> {
        let refusals = self.events().filter_map(|event| match &event.what {
            Happened::Command { refused, .. } => refused.clone(),
            _ => None,
        });
        refusals.collect()
    }
}

fn done(world: &World) -> u32 {
    world.progress().count(AgentState::Done)
}

/// A run with two agents whose only action is in flight.
fn two_out(setup: Setup) -> World {
    let mut world = World::new(setup);
    world.until_in_flight(2);
    world
}

#[test]
fn a_run_on_hold_stops_each_agent_after_its_present_call() {
    let mut world = two_out(Setup { steps: 2, ..Setup::plain(4, 0) });
    world.choose(&Choice::Command(Verb::PauseNow));
    world.run_dry();
    assert_eq!(world.progress().status, RunStatus::Paused);
    assert!(world.records().all(|record| record.results.is_empty()), "not even the step ended");
    world.crash_now();
    world.run_dry();
    assert!(world.records().all(|record| record.results.is_empty()), "nor after a crash");
    world.choose(&Choice::Command(Verb::Resume));
    world.run_dry();
    assert_eq!((world.progress().status, done(&world)), (RunStatus::Done, 4));
}

#[test]
fn a_pause_lets_agents_finish_and_may_become_a_hold() {
    let mut world = two_out(Setup { steps: 2, ..Setup::plain(4, 0) });
    world.choose(&Choice::Command(Verb::Pause));
    world.choose(&Choice::Command(Verb::PauseNow));
    world.run_dry();
    assert_eq!(done(&world), 0);
    world.choose(&Choice::Command(Verb::PauseNow));
    assert!(world.refusals()[0].ends_with("it is paused already"), "{:?}", world.refusals());
    world.choose(&Choice::Command(Verb::Cancel));
    world.run_dry();
    assert_eq!(world.progress().status, RunStatus::Cancelled);
}

#[test]
fn time_on_hold_does_not_count_for_a_step() {
    let mut world = two_out(Setup { timeout: Some(5), ..Setup::plain(2, 0) });
    world.choose(&Choice::Command(Verb::PauseNow));
    world.run_dry();
    world.pass_minutes(60);
    world.choose(&Choice::Command(Verb::Resume));
    world.run_dry();
    assert_eq!((world.progress().status, done(&world)), (RunStatus::Done, 2));
}

#[test]
fn failed_agents_of_a_paused_run_are_put_back_and_go_on_where_they_failed() {
    let mut world = World::new(Setup { steps: 2, batch: 1, ..Setup::plain(3, 0) });
    world.until_in_flight(1);
    world.perform_all();
    world.until_calls();
    world.fail_next(1);
    world.run_dry();
    assert_eq!(world.progress().status, RunStatus::Paused);
    world.choose(&Choice::Command(Verb::Retry));
    assert_eq!(world.progress().count(AgentState::Failed), 0);
    assert_eq!(world.progress().failures, 0, "the failure is undone");
    world.choose(&Choice::Command(Verb::Resume));
    world.run_dry();
    assert_eq!((world.progress().status, done(&world)), (RunStatus::Done, 3));
    let attempts: Vec<_> = world.records().map(|record| record.attempts.clone()).collect();
    assert_eq!(attempts, [vec![1, 2], vec![1, 1], vec![1, 1]]);
}

#[test]
fn a_thousand_failed_agents_are_put_back_in_chunks_also_after_a_crash() {
    let mut world = World::new(Setup { batch: 250, ..Setup::plain(1_000, 999) });
    world.fail_next(1_000);
    world.run_dry();
    assert_eq!(world.progress().status, RunStatus::Paused);
    world.choose(&Choice::Command(Verb::Retry));
    let left = world.progress().count(AgentState::Failed);
    assert!(left > 0 && left < 1_000, "{left}");
    world.crash_now();
    world.run_dry();
    assert_eq!(world.progress().count(AgentState::Pending), 1_000);
    world.choose(&Choice::Command(Verb::Resume));
    world.run_dry();
    assert_eq!((world.progress().status, done(&world)), (RunStatus::Done, 1_000));
}

#[test]
fn one_agent_alone_can_be_put_back() {
    let mut world = World::new(Setup { batch: 3, ..Setup::plain(3, 1) });
    world.fail_next(2);
    world.run_dry();
    let in_state = |world: &World, state| {
        let agent = world.records().find(|record| record.state == state);
        agent.unwrap().agent.to_string()
    };
    let [done, failed] =
        [AgentState::Done, AgentState::Failed].map(|state| in_state(&world, state));
    world.command(Verb::Retry, Some(&done));
    world.command(Verb::Retry, Some("node-9"));
    let refusals = world.refusals();
    assert!(refusals[0].ends_with("the agent is DONE, expected FAILED"), "{refusals:?}");
    assert!(refusals[1].ends_with("it has no agent node-9"), "{refusals:?}");
    world.command(Verb::Retry, Some(&failed));
    assert_eq!(world.progress().count(AgentState::Failed), 1);
}

#[test]
fn an_action_that_is_given_up_is_lost_for_its_step() {
    let mut world = two_out(Setup::plain(2, 2));
    world.command(Verb::GiveUp, Some("node-0"));
    world.run_dry();
    assert_eq!(world.progress().status, RunStatus::Done);
    let failed = world.records().find(|record| record.state == AgentState::Failed).unwrap();
    assert_eq!(failed.agent.as_str(), "node-0");
}

#[test]
fn an_action_that_is_given_up_lets_its_agent_be_tried_again() {
    let setup = Setup { timeout: Some(5), attempts: 2, agents: 1, ..Setup::plain(1, 0) };
    let mut world = World::new(setup);
    world.until_calls();
    world.wake();
    assert_eq!(world.calls(), [true]);
    world.command(Verb::GiveUp, Some("node-0"));
    assert!(world.calls().is_empty(), "nobody looks at it any more");
    world.run_dry();
    assert_eq!((world.progress().status, done(&world)), (RunStatus::Done, 1));
    world.command(Verb::GiveUp, Some("node-0"));
    assert!(world.refusals()[0].ends_with("it has ended"), "{:?}", world.refusals());
}

#[test]
fn an_agent_that_is_put_back_first_waits_for_the_action_that_is_out() {
    let mut world = World::new(Setup { timeout: Some(5), ..Setup::plain(1, 0) });
    world.until_calls();
    world.wake();
    assert_eq!(world.progress().status, RunStatus::Paused);
    world.choose(&Choice::Command(Verb::Retry));
    world.choose(&Choice::Command(Verb::Resume));
    world.until_calls();
    assert_eq!(world.calls(), [true], "only looked at, and only once");
    world.perform_all();
    world.until_calls();
    assert!(world.calls().is_empty(), "it ended well, and is not done again");
    world.run_dry();
    assert_eq!((world.progress().status, done(&world)), (RunStatus::Done, 1));
}

#[test]
fn what_has_no_action_out_can_not_be_given_up() {
    let mut world = World::new(Setup::plain(2, 0));
    world.work = Work::Sleep;
    world.until_calls();
    world.command(Verb::GiveUp, Some("node-0"));
    world.command(Verb::GiveUp, None);
    world.command(Verb::Pause, Some("node-0"));
    let refusals = world.refusals();
    assert!(refusals[0].ends_with("agent node-0 is RUNNING and has no action out"), "{refusals:?}");
    assert!(refusals[1].ends_with("name the agent to give up"), "{refusals:?}");
    assert!(refusals[2].ends_with("pause is about the whole run"), "{refusals:?}");
}

#[test]
fn agents_that_wait_for_another_attempt_are_cut_off_when_the_run_is_cancelled() {
    let mut world = World::new(Setup { attempts: 3, ..Setup::plain(1, 0) });
    world.retryable = true;
    world.until_calls();
    world.fail_next(1);
    world.perform_all();
    world.until_calls();
    world.choose(&Choice::Command(Verb::Cancel));
    world.run_dry();
    assert_eq!(world.progress().status, RunStatus::Cancelled);
    let failure = world.records().next().unwrap().error.clone().unwrap();
    assert_eq!(failure.reason, FailureReason::Cancelled);
}

#[test]
fn an_agent_that_is_put_back_and_whose_action_stays_out_fails_for_that_and_counts() {
    let mut world = World::new(Setup { timeout: Some(5), ..Setup::plain(1, 0) });
    world.until_calls();
    world.wake();
    world.choose(&Choice::Command(Verb::Retry));
    assert_eq!(world.progress().failures, 0);
    world.choose(&Choice::Command(Verb::Resume));
    world.until_calls();
    world.wake();
    assert_eq!((world.progress().status, world.progress().failures), (RunStatus::Paused, 1));
    let failure = world.records().next().unwrap().error.clone().unwrap();
    assert_eq!((failure.reason, failure.step.as_str()), (FailureReason::TimedOut, "step-0"));
}

#[test]
fn a_retry_takes_back_the_end_that_failures_were_to_bring() {
    let mut world = World::new(Setup { abort: true, ..Setup::plain(4, 0) });
    world.until_in_flight(2);
    world.choose(&Choice::Command(Verb::Pause));
    world.fail_next(1);
    world.run_dry();
    world.choose(&Choice::Command(Verb::Retry));
    world.choose(&Choice::Command(Verb::Resume));
    world.run_dry();
    assert_eq!((world.progress().status, done(&world)), (RunStatus::Done, 4));
}

#[test]
fn nothing_is_put_back_while_a_stage_has_not_begun() {
    let mut world = World::new(Setup { stages: 2, ..Setup::plain(3, 1) });
    world.fail_next(1);
    while !world.progress().stage.entering {
        world.perform_all();
    }
    world.members = 0;
    world.run_dry();
    world.choose(&Choice::Command(Verb::Retry));
    assert!(world.refusals()[0].ends_with("its next stage has not begun: resume it"));
}

#[test]
fn a_precondition_is_looked_at_anew_after_a_hold() {
    let mut world = World::new(Setup { require: true, attempts: 1, ..Setup::plain(1, 0) });
    world.start();
    world.perform_all();
    world.choose(&Choice::Command(Verb::PauseNow));
    world.run_dry();
    world.nodes_ok = false;
    world.choose(&Choice::Command(Verb::Resume));
    world.run_dry();
    assert_eq!(world.progress().count(AgentState::Failed), 1);
    let failure = world.records().next().unwrap().error.clone().unwrap();
    assert_eq!(failure.reason, FailureReason::Precondition);
}

#[test]
fn a_cancel_ends_a_retry_that_was_too_much_for_one_commit() {
    let mut world = World::new(Setup { batch: 400, ..Setup::plain(400, 399) });
    world.fail_next(400);
    world.run_dry();
    assert_eq!(world.progress().status, RunStatus::Paused);
    assert_eq!(world.progress().count(AgentState::Failed), 400);
    world.choose(&Choice::Command(Verb::Retry));
    assert!(world.progress().stage.retrying.is_some(), "some are still to be put back");
    world.choose(&Choice::Command(Verb::Cancel));
    let put_back = world.progress().count(AgentState::Pending);
    world.run_dry();
    let progress = world.progress();
    assert_eq!(progress.status, RunStatus::Cancelled);
    assert_eq!((progress.count(AgentState::Pending), progress.stage.retrying), (put_back, None));
    assert_eq!(progress.outcomes[&AgentState::Failed], 400 - put_back);
}
