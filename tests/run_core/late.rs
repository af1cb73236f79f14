//! Actions that end after their attempt, and what the next attempt does with their results.

use replibook_core::playbook::{Step, StepRole};
use replibook_core::run::{
    Activation, ActivationEnd, AgentId, AgentState, Answer, CallError, Effect, FailureReason,
    Happened, Input, Journal, MembershipChange, RunStatus, Verb,
};
use serde_json::json;

use crate::parts::{Setup, Work, member};
use crate::world::{Choice, World};

/// A run whose agent has failed because the time of its action was over.
fn timed_out(setup: Setup) -> World {
    let mut world = World::new(Setup { timeout: Some(5), ..setup });
    world.until_calls();
    world.wake();
    world
}

/// Lets the engine look at the action, which has ended by then, in the way that actions end from now on.
fn ended_late(world: &mut World) {
    world.until_calls();
    assert_eq!(world.calls(), [true], "it is only looked at");
    world.perform_all();
}

/// Puts the agent back and lets the run go on, until only calls to agents are outstanding.
fn retry(world: &mut World, again: bool) {
    world.command_again(Verb::Retry, None, again);
    world.choose(&Choice::Command(Verb::Resume));
    world.until_calls();
}

/// Each attempt, with the one that it took over; none if it took over none.
fn taken(world: &World) -> Vec<(u32, Option<u32>)> {
    let started = world.events().filter_map(|event| match &event.what {
        Happened::StepStarted { attempt, takes, .. } => Some((*attempt, *takes)),
        _ => None,
    });
    started.collect()
}

fn last_journal(world: &World) -> &Journal {
    world.journals().max_by_key(|journal| journal.key).unwrap()
}

fn is_done(world: &World) -> bool {
    world.progress().status == RunStatus::Done && world.progress().count(AgentState::Done) == 1
}

#[test]
fn a_retry_goes_on_with_what_ended_well_late_and_sends_nothing() {
    let mut world = timed_out(Setup::plain(1, 0));
    assert_eq!(world.progress().status, RunStatus::Paused);
    ended_late(&mut world);
    let late = world.records().next().unwrap().late_end().cloned().unwrap();
    assert_eq!(
        (late.outcome.as_str(), late.result),
        ("DONE", true),
        "it is told, also while paused"
    );
    retry(&mut world, false);
    assert_eq!(world.calls(), [] as [bool; 0], "nothing is sent");
    world.run_dry();
    assert!(is_done(&world), "{:?}", world.progress());
    assert_eq!(taken(&world), [(1, None), (2, Some(1))]);
    let record = world.records().next().unwrap();
    assert!(record.results["step-0"] == json!(1) && record.late.is_none(), "{record:?}");
    let journal = last_journal(&world);
    assert_eq!((journal.key.attempt, journal.answers.len()), (2, 1));
    assert_eq!(journal.taken.unwrap().answers, 1);
}

#[test]
fn with_again_it_is_done_again_also_where_it_ends_after_that() {
    for late_first in [true, false] {
        let mut world = timed_out(Setup::plain(1, 0));
        if late_first {
            ended_late(&mut world);
            retry(&mut world, true);
        } else {
            retry(&mut world, true);
            ended_late(&mut world);
            world.until_calls();
        }
        assert_eq!(world.calls(), [false], "it is sent again");
        world.crash_now();
        world.run_dry();
        assert!(is_done(&world), "{:?}", world.progress());
        assert_eq!(taken(&world), [(1, None), (2, None)]);
    }
}

#[test]
fn only_a_retry_does_something_again() {
    let mut world = timed_out(Setup::plain(1, 0));
    world.command_again(Verb::Resume, None, true);
    let refused = world.refusals().pop().unwrap();
    assert!(refused.ends_with("resume does nothing again: that is for retry"), "{refused}");
}

#[test]
fn the_next_attempt_of_the_playbook_takes_it_too_and_does_not_wait() {
    let mut world = timed_out(Setup { attempts: 3, ..Setup::plain(1, 0) });
    ended_late(&mut world);
    world.until_calls();
    assert_eq!(world.calls(), [] as [bool; 0]);
    assert!(is_done(&world), "{:?}", world.progress());
    assert_eq!(taken(&world), [(1, None), (2, Some(1))]);
}

#[test]
fn what_ended_badly_late_is_done_again() {
    let mut world = timed_out(Setup::plain(1, 0));
    world.fail_next(1);
    ended_late(&mut world);
    let late = world.records().next().unwrap().late_end().cloned().unwrap();
    assert_eq!((late.outcome.as_str(), late.result), ("action failed: no", false));
    retry(&mut world, false);
    assert_eq!(world.calls(), [false]);
    world.run_dry();
    assert!(is_done(&world), "{:?}", world.progress());
}

#[test]
fn an_agent_that_did_not_tell_at_first_ends_late_as_well() {
    let mut world = World::new(Setup::plain(1, 0));
    world.until_calls();
    world.unreachable = true;
    world.perform_all();
    world.until_calls();
    world.perform_all();
    assert_eq!(world.progress().count(AgentState::Failed), 1);
    world.unreachable = false;
    retry(&mut world, false);
    ended_late(&mut world);
    world.run_dry();
    assert!(is_done(&world), "{:?}", world.progress());
    assert_eq!(taken(&world), [(1, None), (2, Some(1))]);
    let first = world.journals().next().unwrap();
    let told =
        |answer: &Answer| matches!(answer, Answer::RunAction(Err(CallError::Unreachable(_))));
    assert!(told(&first.answers[0].answer) && first.late_of == Some(0), "{first:?}");
}

#[test]
fn a_step_of_several_actions_goes_on_after_the_one_that_ended_late() {
    let mut world = World::new(Setup { timeout: Some(5), ..Setup::plain(1, 0) });
    world.work = Work::Twice;
    world.until_calls();
    world.perform_all();
    world.until_calls();
    world.wake();
    ended_late(&mut world);
    retry(&mut world, false);
    assert_eq!(world.calls(), [] as [bool; 0], "neither of them is sent again");
    assert!(is_done(&world), "{:?}", world.progress());
    // If the first of two actions ended late, only the second one is still to be done.
    let mut world = World::new(Setup { timeout: Some(5), ..Setup::plain(1, 0) });
    world.work = Work::Twice;
    world.until_calls();
    world.wake();
    ended_late(&mut world);
    retry(&mut world, false);
    assert_eq!(world.calls(), [false]);
    let journal = last_journal(&world);
    assert_eq!((journal.key.attempt, journal.answers.len()), (2, 1));
    // The second action has the whole time again, and may end late too.
    world.wake();
    assert_eq!(world.progress().count(AgentState::Failed), 1);
    ended_late(&mut world);
    retry(&mut world, false);
    assert!(is_done(&world), "{:?}", world.progress());
    assert_eq!(taken(&world), [(1, None), (2, Some(1)), (3, Some(2))]);
    assert_eq!(last_journal(&world).taken.unwrap().seed_of, 1, "its random bytes are the same");
}

#[test]
fn a_crash_at_any_moment_takes_it_all_the_same() {
    for crash_after in 0..12 {
        let mut world = timed_out(Setup::plain(1, 0));
        ended_late(&mut world);
        world.crash_now();
        world.command(Verb::Retry, None);
        world.choose(&Choice::Command(Verb::Resume));
        for _ in 0..crash_after {
            world.choose(&Choice::PerformWell(0));
        }
        world.crash_now();
        world.run_dry();
        assert!(is_done(&world), "{crash_after}: {:?}", world.progress());
        assert_eq!(taken(&world), [(1, None), (2, Some(1))], "{crash_after}");
    }
}

#[test]
fn an_action_that_is_given_up_has_no_result() {
    let mut world = timed_out(Setup::plain(1, 0));
    world.command(Verb::GiveUp, Some("node-0"));
    let late = world.records().next().unwrap().late_end().cloned().unwrap();
    assert_eq!((late.outcome.as_str(), late.result), ("give-up by ann", false));
    retry(&mut world, false);
    assert_eq!(world.calls(), [false]);
}

/// A run over one agent, with a step of this role after the main one.
fn with_a_step(role: StepRole) -> World {
    World::with(Setup { timeout: Some(5), ..Setup::plain(1, 0) }, |stage| {
        let main = stage.steps[0].clone();
        stage.steps.push(Step { name: "after".to_owned(), role, ..main });
    })
}

/// Lets the time of the second step come to its end. The moment that was set for the first one comes before.
fn time_out_last(world: &mut World) {
    while world.progress().status == RunStatus::Running {
        world.wake();
    }
}

#[test]
fn a_step_after_a_failure_is_done_again_after_the_next_failure() {
    for role in [StepRole::Rescue, StepRole::Finally] {
        let mut world = with_a_step(role);
        world.until_calls();
        world.fail_next(1);
        world.perform_all();
        world.until_calls();
        time_out_last(&mut world);
        ended_late(&mut world);
        let record = world.records().next().unwrap();
        assert!(record.late_end().unwrap().result, "{role:?} is told");
        assert_eq!(
            record.late_end_to_take(),
            None,
            "a retry begins with the step that failed first"
        );
        retry(&mut world, false);
        assert_eq!(world.calls(), [false], "the step that failed first");
        world.fail_next(1);
        world.perform_all();
        world.until_calls();
        // What it undid or tidied up before was that of the first attempt.
        assert_eq!(world.calls(), [false], "{role:?} is done again");
        world.run_dry();
        let none = [(1, None), (1, None), (2, None), (2, None)];
        assert_eq!(taken(&world), none, "{role:?}");
    }
}

#[test]
fn what_ended_well_late_and_was_undone_since_is_done_again() {
    let mut world = with_a_step(StepRole::Rescue);
    world.until_calls();
    world.wake();
    ended_late(&mut world);
    world.until_calls();
    assert_eq!(world.calls(), [false], "the rescue");
    world.fail_next(1);
    world.perform_all();
    world.until_calls();
    assert_eq!(world.progress().status, RunStatus::Paused);
    retry(&mut world, false);
    // The rescue failed, but it may have undone the step all the same.
    assert_eq!(world.calls(), [false]);
    world.run_dry();
    assert_eq!(taken(&world), [(1, None), (1, None), (2, None)]);
    assert!(is_done(&world), "{:?}", world.progress());
}

#[test]
fn a_step_at_the_end_that_ended_well_late_is_not_done_again_by_itself() {
    let mut world = with_a_step(StepRole::Finally);
    world.until_calls();
    world.perform_all();
    world.until_calls();
    time_out_last(&mut world);
    ended_late(&mut world);
    let late = world.records().next().unwrap().late_end_to_take().cloned().unwrap();
    assert_eq!((late.outcome.as_str(), late.key.step), ("DONE", 1));
    retry(&mut world, false);
    assert_eq!(world.calls(), [] as [bool; 0]);
    world.run_dry();
    assert!(is_done(&world), "{:?}", world.progress());
    assert_eq!(taken(&world), [(1, None), (1, None), (2, Some(1))]);
}

/// Has the present attempt end for this reason before it has done anything.
fn comes_to_nothing(world: &mut World, reason: FailureReason) {
    world.command(Verb::Retry, None);
    world.choose(&Choice::Command(Verb::Resume));
    let key = world.until_activation();
    let (message, retryable) = ("no memory".to_owned(), true);
    let end = ActivationEnd::Failed { reason, message, retryable };
    world.apply(Input::Activated { key, activation: Activation { end, logs: vec![] } });
    world.until_calls();
    assert_eq!(world.progress().status, RunStatus::Paused);
}

#[test]
fn a_late_result_is_kept_where_the_attempt_that_took_it_came_to_nothing() {
    for crash in [false, true] {
        let mut world = timed_out(Setup::plain(1, 0));
        ended_late(&mut world);
        for _ in 0..2 {
            comes_to_nothing(&mut world, FailureReason::PluginUnavailable);
            if crash {
                world.crash_now();
                world.until_calls();
            }
        }
        assert!(world.records().next().unwrap().late_end().unwrap().result, "it is told still");
        retry(&mut world, false);
        assert_eq!(world.calls(), [] as [bool; 0], "nothing is sent");
        world.run_dry();
        assert!(is_done(&world), "{:?}", world.progress());
        assert_eq!(taken(&world), [(1, None), (2, Some(1)), (3, Some(1)), (4, Some(1))]);
        assert_eq!(last_journal(&world).taken.unwrap().from, Some(1));
    }
}

#[test]
fn a_late_result_is_not_kept_where_the_step_came_to_nothing_with_it() {
    for reason in [FailureReason::NotDeterministic, FailureReason::StepFailed] {
        let mut world = timed_out(Setup::plain(1, 0));
        ended_late(&mut world);
        comes_to_nothing(&mut world, reason);
        retry(&mut world, false);
        assert_eq!(world.calls(), [false], "{reason}: it is done again");
    }
}

#[test]
fn a_late_result_is_kept_while_an_agent_is_away_and_where_another_node_answers() {
    let mut world = timed_out(Setup::plain(1, 0));
    ended_late(&mut world);
    world.command(Verb::Retry, None);
    world.choose(&Choice::Command(Verb::Resume));
    world.until_activation();
    world.choose(&Choice::Command(Verb::PauseNow));
    world.crash_now();
    let left = vec![AgentId::from("node-0")];
    world.apply(Input::Membership(MembershipChange { left, ..MembershipChange::default() }));
    assert_eq!(world.progress().count(AgentState::Removed), 1);
    let joined = vec![member("node-0")];
    world.apply(Input::Membership(MembershipChange { joined, ..MembershipChange::default() }));
    world.choose(&Choice::Command(Verb::Resume));
    world.run_dry();
    assert!(is_done(&world), "{:?}", world.progress());
    assert_eq!(taken(&world), [(1, None), (2, Some(1)), (3, Some(1))]);
    // In the second of two actions, another node answers.
    let mut world = World::new(Setup { timeout: Some(5), ..Setup::plain(1, 0) });
    world.work = Work::Twice;
    world.until_calls();
    world.wake();
    ended_late(&mut world);
    retry(&mut world, false);
    world.answer_first_call(Answer::RunAction(Err(CallError::WrongNode("web-6".to_owned()))));
    retry(&mut world, false);
    assert_eq!(world.calls(), [false], "the second one alone");
    assert_eq!(last_journal(&world).answers.len(), 1);
    world.run_dry();
    assert!(is_done(&world), "{:?}", world.progress());
}

fn told_late(world: &World) -> usize {
    world.events().filter(|event| matches!(event.what, Happened::LateAction { .. })).count()
}

#[test]
fn what_nobody_knows_the_end_of_has_not_ended_and_is_looked_at_until_it_has() {
    // The action's time was over, or its agent could not be reached at first.
    let mut silent = World::new(Setup::plain(1, 0));
    silent.until_calls();
    silent.unreachable = true;
    silent.perform_all();
    for mut world in [timed_out(Setup::plain(1, 0)), silent] {
        world.unreachable = true;
        for crash in [false, true, false] {
            world.until_calls();
            assert_eq!(world.calls(), [true], "it is looked at");
            world.perform_all();
            if crash {
                world.crash_now();
            }
        }
        assert_eq!(told_late(&world), 0, "nothing has ended");
        let record = world.records().next().unwrap();
        assert!(record.outstanding.is_some() && record.late.is_none(), "{record:?}");
        world.unreachable = false;
        ended_late(&mut world);
        assert_eq!(told_late(&world), 1);
        let record = world.records().next().unwrap();
        assert!(record.outstanding.is_none() && record.late_end().unwrap().result, "{record:?}");
    }
}

#[test]
fn how_large_a_request_was_is_known_also_where_its_action_is_only_looked_at() {
    for silent in [false, true] {
        let mut world = World::new(Setup { timeout: Some(5), ..Setup::plain(1, 0) });
        world.until_calls();
        let sent = world.first_call().clone();
        assert!(
            !sent.look_only && sent.bytes.is_some() && sent.bytes == sent.what.argument_bytes()
        );
        if silent {
            let error = CallError::Unreachable("no answer".to_owned());
            world.answer_first_call(Answer::RunAction(Err(error)));
        } else {
            world.wake();
        }
        for _ in 0..2 {
            world.until_calls();
            let look = world.first_call();
            assert!(look.look_only && look.bytes == sent.bytes, "{silent}: {look:?}");
            world.crash_now();
        }
    }
}

#[test]
fn a_retry_while_an_action_is_looked_at_gives_its_agent_a_whole_patience() {
    let mut world = timed_out(Setup::plain(2, 0));
    world.until_calls();
    let looks = |world: &World| -> Vec<u32> {
        let looks = world.effects().filter_map(|effect| match effect {
            Effect::Perform(perform) => Some(perform.key.agent.0),
            _ => None,
        });
        looks.collect()
    };
    assert_eq!((looks(&world), world.calls()), (vec![0, 1], vec![true; 2]));
    world.command_again(Verb::Retry, Some("node-0"), false);
    world.choose(&Choice::Command(Verb::Resume));
    world.until_calls();
    assert_eq!((looks(&world), world.calls()), (vec![1, 0], vec![true; 2]), "it is looked at anew");
}
