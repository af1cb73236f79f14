//! Steps: retries, preconditions, time limits, and actions that outlive their attempt.

use replibook_core::run::{
    Activation, ActivationEnd, AgentState, Answer, Effect, FailureReason, Happened, Input,
    LogLevel, PluginLine, ReasonCode, RunStatus, StepPhase,
};

use crate::parts::{Setup, Work};
use crate::world::World;

fn one(setup: Setup) -> World {
    World::new(Setup { agents: 1, ..setup })
}

fn reason(world: &World) -> FailureReason {
    world.records().next().unwrap().error.clone().unwrap().reason
}

fn attempts(world: &World) -> Vec<u32> {
    world.records().next().unwrap().attempts.clone()
}

fn phase(world: &World) -> StepPhase {
    world.records().next().unwrap().phase
}

fn late(world: &World) -> Vec<String> {
    let outcomes = world.events().filter_map(|event| match &event.what {
        Happened::LateAction { outcome, .. } => Some(outcome.clone()),
        _ => None,
    });
    outcomes.collect()
}

/// Goes on until the first action is in flight, and then until its time is over.
fn time_out(world: &mut World) {
    world.until_calls();
    assert_eq!(world.calls(), [false]);
    world.wake();
}

#[test]
fn a_failed_attempt_is_tried_again_after_a_wait_as_often_as_the_playbook_says() {
    for (failures, status, tried) in [(2, RunStatus::Done, 3), (3, RunStatus::Paused, 3)] {
        let mut world = one(Setup { attempts: 3, ..Setup::plain(1, 0) });
        world.retryable = true;
        world.fail_next(failures);
        world.until_calls();
        world.run_dry();
        assert_eq!((world.progress().status, attempts(&world)), (status, vec![tried]));
    }
}

#[test]
fn the_next_attempt_waits_for_its_moment_also_after_a_crash() {
    let mut world = one(Setup { attempts: 2, ..Setup::plain(1, 0) });
    world.retryable = true;
    world.fail_next(1);
    world.until_in_flight(1);
    world.perform_all();
    world.until_calls();
    assert!(matches!(phase(&world), StepPhase::RetryAt { .. }));
    world.crash_now();
    world.until_calls();
    assert!(world.calls().is_empty(), "not before its moment");
    world.wake();
    world.until_calls();
    assert_eq!((world.calls(), attempts(&world)), (vec![false], vec![2]));
}

#[test]
fn an_error_that_would_come_again_is_not_tried_again() {
    let mut world = one(Setup { attempts: 3, ..Setup::plain(1, 0) });
    world.fail_next(1);
    world.run_dry();
    assert_eq!((world.progress().status, attempts(&world)), (RunStatus::Paused, vec![1]));
}

#[test]
fn a_wait_that_is_no_action_ends_with_the_time_of_its_step() {
    let mut world = one(Setup { timeout: Some(1), attempts: 2, ..Setup::plain(1, 0) });
    world.work = Work::Sleep;
    time_out(&mut world);
    assert!(matches!(phase(&world), StepPhase::RetryAt { .. }));
    assert!(world.calls().is_empty(), "the sleep is given up");
    world.wake();
    time_out(&mut world);
    assert_eq!(reason(&world), FailureReason::TimedOut);
    assert_eq!(world.progress().reason.clone().unwrap().code, ReasonCode::BudgetExceeded);
}

#[test]
fn an_agent_whose_time_is_over_fails_at_once_and_its_action_is_looked_at_until_it_ends() {
    let mut world = one(Setup { timeout: Some(5), ..Setup::plain(1, 0) });
    time_out(&mut world);
    assert_eq!(reason(&world), FailureReason::TimedOut);
    assert_eq!(world.progress().status, RunStatus::Paused, "the budget notices at once");
    assert_eq!(world.calls(), [true], "it is looked at, and nothing may be sent");
    assert!(world.records().all(|record| record.outstanding.is_some()));
    world.run_dry();
    assert_eq!(late(&world), ["DONE"]);
    assert!(world.records().all(|record| record.outstanding.is_none()));
    assert_eq!(world.progress().count(AgentState::Failed), 1, "late is late");
}

#[test]
fn nothing_is_sent_after_a_time_out_before_the_action_has_ended() {
    let mut world = one(Setup { timeout: Some(5), attempts: 2, ..Setup::plain(1, 0) });
    time_out(&mut world);
    assert!(matches!(phase(&world), StepPhase::Settling { .. }));
    assert_eq!(world.calls(), [true]);
    world.crash_now();
    world.until_calls();
    assert_eq!(world.calls(), [true], "also after a crash");
    world.perform_all();
    assert_eq!(late(&world), ["DONE"]);
    world.until_calls();
    assert!(world.calls().is_empty(), "nor then: its result is there");
    world.run_dry();
    assert_eq!((world.progress().status, attempts(&world)), (RunStatus::Done, vec![2]));
}

#[test]
fn an_action_that_does_not_end_fails_its_agent_in_the_end() {
    for continues in [false, true] {
        let attempts = if continues { 1 } else { 2 };
        let setup = Setup { timeout: Some(5), attempts, continues, steps: 2, ..Setup::plain(1, 0) };
        let mut world = one(setup);
        time_out(&mut world);
        assert_eq!(world.progress().count(AgentState::Running), 1);
        world.wake();
        assert_eq!(world.progress().count(AgentState::Failed), 1);
        let error = world.records().next().unwrap().error.clone().unwrap();
        assert!(error.message.ends_with("and nothing more was sent"), "{}", error.message);
        assert_eq!(self::attempts(&world), [1, 0]);
    }
}

#[test]
fn how_a_late_action_ends_is_not_written_once_the_run_has_ended() {
    let mut world = one(Setup { timeout: Some(5), ..Setup::plain(1, 1) });
    time_out(&mut world);
    world.until_calls();
    assert_eq!((world.progress().status, world.calls()), (RunStatus::Done, vec![true]));
    let events = world.events().count();
    world.run_dry();
    assert_eq!(world.events().count(), events, "the run has ended");
}

#[test]
fn a_step_that_may_fail_goes_on_once_its_action_has_ended() {
    let setup = Setup { timeout: Some(5), continues: true, steps: 2, ..Setup::plain(1, 0) };
    let mut world = one(setup);
    time_out(&mut world);
    world.run_dry();
    assert_eq!((world.progress().status, attempts(&world)), (RunStatus::Done, vec![1, 1]));
}

#[test]
fn a_step_begins_only_on_a_node_that_is_as_the_playbook_requires() {
    let mut world = one(Setup { require: true, attempts: 2, ..Setup::plain(1, 0) });
    world.nodes_ok = false;
    world.until_calls();
    let error = world.records().next().unwrap().error.clone().unwrap();
    assert_eq!(error.reason, FailureReason::Precondition);
    assert_eq!(error.message, "agent.node.ok does not hold: the node is UP");
    assert!(world.calls().is_empty());
    world.nodes_ok = true;
    world.run_dry();
    assert_eq!((world.progress().status, attempts(&world)), (RunStatus::Done, vec![2]));
}

#[test]
fn nothing_follows_an_action_that_could_not_be_followed_whatever_its_step_makes_of_it() {
    let mut world = one(Setup { steps: 2, ..Setup::plain(1, 0) });
    world.work = Work::Forgiving;
    world.unreachable = true;
    world.until_calls();
    world.perform_all();
    world.until_calls();
    assert!(matches!(phase(&world), StepPhase::Settling { .. }));
    assert_eq!((world.calls(), attempts(&world)), (vec![true], vec![1, 0]));
    world.unreachable = false;
    world.run_dry();
    assert_eq!((world.progress().status, attempts(&world)), (RunStatus::Done, vec![1, 1]));
}

#[test]
fn agents_with_large_results_are_started_a_few_at_a_time() {
    let mut world = World::new(Setup { stages: 2, batch: 250, ..Setup::plain(12, 0) });
    world.work = Work::SizeableResult;
    world.run_dry();
    assert_eq!(world.progress().status, RunStatus::Done);
    assert!(world.records().all(|record| record.past.len() == 1));
}

#[test]
fn the_lines_of_an_attempt_that_fails_while_its_action_is_out_are_counted() {
    let mut world = one(Setup::plain(1, 0));
    world.until_calls();
    world.crash_now();
    let asked = world.effects().find_map(|effect| match effect {
        Effect::Activate(activate) => Some(activate.key),
        _ => None,
    });
    let line = PluginLine { level: LogLevel::Info, message: "again".to_owned() };
    let end = ActivationEnd::Failed {
        reason: FailureReason::PluginLimit,
        message: "out of time".to_owned(),
        retryable: false,
    };
    let activation = Activation { end, logs: vec![line.clone(), line] };
    world.apply(Input::Activated { key: asked.unwrap(), activation });
    assert_eq!(reason(&world), FailureReason::PluginLimit);
    // The action ends after all.
    world.run_dry();
    let journal = world.journals().next().unwrap();
    assert_eq!((journal.log_lines, journal.late.is_some()), (2, true));
}

#[test]
fn what_an_agent_answers_is_in_memory_once() {
    let mut world = one(Setup { steps: 2, ..Setup::plain(1, 0) });
    world.run_dry();
    // The record and the journals are everything that was committed of what the step was given and returned.
    let record = world.records().next().unwrap();
    assert_eq!(record.results.len(), 2);
    for journal in world.journals() {
        let Answer::RunAction(Ok(payload)) = &journal.answers[0].answer else {
            panic!("{journal:?}")
        };
        assert!(record.results[&journal.step_name].is_shared_with(payload), "{record:?}");
    }
}
