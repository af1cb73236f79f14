//! Rescue and finally steps: what is done on an agent after a step failed, or was cut off.

use replibook_core::playbook::{Stage, StepRole};
use replibook_core::run::{
    AgentId, AgentState, FIRST_FORMAT, FailureReason, Happened, Input, MembershipChange, RunStatus,
    Verb,
};

use crate::parts::{First, Setup, Work};
use crate::world::{Choice, World};

/// Gives a stage the rescue step `undo`, and the finally steps `tidy` and `tell`.
fn ends(stage: &mut Stage) {
    let main = stage.steps[0].clone();
    for (name, role) in
        [("undo", StepRole::Rescue), ("tidy", StepRole::Finally), ("tell", StepRole::Finally)]
    {
        let name = name.to_owned();
        stage.steps.push(replibook_core::playbook::Step { name, role, ..main.clone() });
    }
}

fn world(setup: Setup) -> World {
    World::with(setup, ends)
}

/// The steps of the first agent in the order in which they ended, with `!` where they failed.
fn steps(world: &World) -> Vec<String> {
    let ended = world.events().filter_map(|event| match &event.what {
        Happened::StepEnded { agent, step, failure, .. } if agent.as_str() == "node-0" => {
            Some(format!("{step}{}", if failure.is_some() { "!" } else { "" }))
        }
        _ => None,
    });
    ended.collect()
}

/// How the first agent ended: its state, and its failure in words.
fn end(world: &World) -> (AgentState, String) {
    let record = world.records().next().unwrap();
    let failure = record.error.as_ref().map(|failure| failure.message.clone());
    (record.state, failure.unwrap_or_default())
}

/// Goes on until as many steps of the first agent have ended.
fn until_ended(world: &mut World, count: usize) {
    while steps(world).len() < count {
        world.choose(&Choice::PerformWell(0));
    }
}

#[test]
fn where_all_goes_well_there_is_nothing_to_rescue() {
    let mut world = world(Setup { steps: 2, ..Setup::plain(1, 0) });
    world.run_dry();
    // The steps of a stage are in the order of their roles.
    assert_eq!(steps(&world), ["step-0", "step-1", "tidy", "tell"]);
    assert_eq!(end(&world), (AgentState::Done, String::new()));
    assert_eq!(world.progress().status, RunStatus::Done);
}

#[test]
fn an_agent_that_was_rescued_has_failed_all_the_same() {
    let mut world = world(Setup { steps: 2, ..Setup::plain(1, 1) });
    world.fail_next(1);
    world.run_dry();
    assert_eq!(steps(&world), ["step-0!", "undo", "tidy", "tell"], "without the second step");
    assert_eq!(end(&world).0, AgentState::Failed);
    assert_eq!(world.progress().failures, 1, "the budget counts it once");
    let record = world.records().next().unwrap();
    assert_eq!(record.error.clone().unwrap().step, "step-0");
}

#[test]
fn a_rescue_that_fails_ends_and_the_first_failure_stays_the_reason() {
    let mut world = world(Setup::plain(1, 1));
    world.fail_next(2);
    world.run_dry();
    assert_eq!(steps(&world), ["step-0!", "undo!", "tidy", "tell"]);
    let (state, message) = end(&world);
    assert_eq!(state, AgentState::Failed);
    assert!(message.contains("; then step undo failed: "), "{message}");
}

#[test]
fn a_finally_step_that_fails_fails_its_agent_and_keeps_no_other_from_being_done() {
    let mut world = world(Setup::plain(1, 1));
    until_ended(&mut world, 1);
    world.fail_next(1);
    world.run_dry();
    assert_eq!(steps(&world), ["step-0", "tidy!", "tell"]);
    assert_eq!(end(&world).0, AgentState::Failed);
    assert_eq!(world.records().next().unwrap().error.clone().unwrap().step, "tidy");
}

#[test]
fn a_retry_goes_on_at_the_step_that_failed_first() {
    let mut world = world(Setup::plain(1, 0));
    world.fail_next(1);
    world.run_dry();
    assert_eq!(world.progress().status, RunStatus::Paused);
    world.choose(&Choice::Command(Verb::Retry));
    world.choose(&Choice::Command(Verb::Resume));
    world.run_dry();
    let again = ["step-0!", "undo", "tidy", "tell", "step-0", "tidy", "tell"];
    assert_eq!(steps(&world), again);
    assert_eq!(end(&world), (AgentState::Done, String::new()));
    let record = world.records().next().unwrap();
    assert_eq!(record.attempts, [2, 1, 2, 2], "the numbers of attempts only grow");
}

#[test]
fn a_retry_after_a_finally_step_failed_does_no_main_step_again() {
    let mut world = world(Setup::plain(1, 0));
    until_ended(&mut world, 1);
    world.fail_next(1);
    world.run_dry();
    world.choose(&Choice::Command(Verb::Retry));
    world.choose(&Choice::Command(Verb::Resume));
    world.run_dry();
    assert_eq!(steps(&world), ["step-0", "tidy!", "tell", "tidy", "tell"]);
    assert_eq!(end(&world).0, AgentState::Done);
}

#[test]
fn a_cancel_does_the_finally_steps_of_agents_that_began_and_rescues_nobody() {
    let mut world = world(Setup::plain(4, 0));
    world.start();
    world.until_in_flight(2);
    world.choose(&Choice::Command(Verb::Cancel));
    assert_eq!(world.progress().status, RunStatus::Cancelling);
    world.run_dry();
    assert_eq!(world.progress().status, RunStatus::Cancelled);
    assert_eq!(steps(&world), ["tidy", "tell"]);
    let cut = world.records().filter(|record| {
        record.error.as_ref().is_some_and(|error| error.reason == FailureReason::Cancelled)
    });
    assert_eq!(cut.count(), 2, "it is no failure that counts");
    assert_eq!(world.progress().failures, 0);
    assert_eq!(world.progress().count(AgentState::Pending), 2);
}

#[test]
fn finally_steps_of_a_cancelled_run_end_with_the_time_for_them() {
    let mut world = world(Setup::plain(1, 0));
    world.start();
    world.until_in_flight(1);
    world.choose(&Choice::Command(Verb::Cancel));
    // The action ends, and that of the first finally step begins.
    world.perform_all();
    world.until_calls();
    assert_eq!(world.calls(), [false], "it may be sent");
    world.wake();
    world.run_dry();
    assert_eq!(world.progress().status, RunStatus::Cancelled);
    assert_eq!(end(&world).0, AgentState::Failed);
    assert!(!steps(&world).contains(&"tell".to_owned()), "{:?}", steps(&world));
}

#[test]
fn finally_steps_go_on_in_a_run_that_is_cancelled_while_it_is_held() {
    let mut world = world(Setup::plain(1, 0));
    until_ended(&mut world, 1);
    world.choose(&Choice::Command(Verb::PauseNow));
    world.run_dry();
    world.choose(&Choice::Command(Verb::Cancel));
    world.run_dry();
    assert_eq!(world.progress().status, RunStatus::Cancelled);
    assert_eq!(steps(&world), ["step-0", "tidy", "tell"]);
    assert_eq!(end(&world), (AgentState::Done, String::new()), "all of it had ended well");
}

#[test]
fn nothing_is_begun_on_an_agent_that_had_begun_nothing() {
    let mut world = world(Setup { approval: false, ..Setup::plain(1, 0) });
    world.answers_as = Some("another".to_owned());
    world.start();
    world.pass_minutes(5);
    world.run_dry();
    assert_eq!(end(&world).0, AgentState::Failed);
    assert_eq!(steps(&world), [""; 0], "another node answers there");
}

#[test]
fn a_rescue_waits_for_the_action_of_the_step_that_it_follows() {
    let mut world = world(Setup { timeout: Some(5), ..Setup::plain(1, 1) });
    world.until_calls();
    world.wake();
    assert_eq!(steps(&world), ["step-0!"]);
    assert_eq!(world.calls(), [true], "it is only looked at");
    world.crash_now();
    world.until_calls();
    assert_eq!(world.calls(), [true], "also after a crash");
    world.run_dry();
    assert_eq!(steps(&world), ["step-0!", "undo", "tidy", "tell"]);
    assert_eq!(end(&world).0, AgentState::Failed);
}

#[test]
fn an_agent_whose_action_does_not_end_is_not_rescued() {
    let mut world = world(Setup { timeout: Some(5), ..Setup::plain(1, 1) });
    world.until_calls();
    world.wake();
    world.until_calls();
    world.wake();
    assert_eq!(end(&world).0, AgentState::Failed);
    assert_eq!(steps(&world), ["step-0!"], "nothing may be sent to it");
}

#[test]
fn a_crash_at_any_moment_changes_nothing() {
    let play = |crash: usize, cancels: bool| {
        // Its first step fails by its arguments, whatever is lost in a crash.
        let setup = Setup { ends: true, first: First::Fails, ..Setup::plain(1, 1) };
        let mut world = World::new(setup);
        for moment in 0..60 {
            if moment == crash {
                world.crash_now();
            }
            if cancels && steps(&world).len() == 2 && world.progress().status == RunStatus::Running
            {
                world.choose(&Choice::Command(Verb::Cancel));
            }
            world.choose(&Choice::PerformWell(0));
        }
        world.run_dry();
        world.check_the_end();
        (steps(&world), end(&world).0)
    };
    for cancels in [false, true] {
        let without = play(usize::MAX, cancels);
        assert_eq!(without.0, ["step-0!", "undo", "tidy"]);
        for crash in 0..60 {
            assert_eq!(play(crash, cancels), without, "{crash}");
        }
    }
}

#[test]
fn sleeping_steps_are_cut_off_and_followed_by_the_last_ones() {
    let mut world = world(Setup::plain(2, 0));
    world.work = Work::Sleep;
    world.start();
    world.until_in_flight(2);
    world.choose(&Choice::Command(Verb::Cancel));
    world.run_dry();
    assert_eq!(world.progress().status, RunStatus::Cancelled);
    assert_eq!(steps(&world), ["tidy", "tell"]);
}

#[test]
fn thousands_are_cut_off_in_chunks_and_all_of_them_have_their_last_steps() {
    let mut world = world(Setup { batch: 400, ..Setup::plain(400, 0) });
    world.work = Work::Sleep;
    world.start();
    world.until_in_flight(250);
    world.choose(&Choice::Command(Verb::Cancel));
    world.run_dry();
    assert_eq!(world.progress().status, RunStatus::Cancelled);
    let told = world
        .events()
        .filter(|event| matches!(&event.what, Happened::StepEnded { step, .. } if step == "tell"));
    let began = world.records().filter(|record| record.attempts.iter().any(|tried| *tried > 0));
    assert_eq!(told.count(), began.count());
}

#[test]
fn engines_of_earlier_versions_leave_such_a_run_alone() {
    let snapshot = world(Setup::plain(1, 0)).snapshot();
    let of = |change: fn(&mut Stage)| {
        let mut playbook = snapshot.playbook.clone();
        playbook.stages.iter_mut().for_each(change);
        let (params, now) = (serde_json::Map::new(), snapshot.created_at);
        replibook_core::run::new_run(snapshot.id, &playbook, params, "c", None, now)
            .0
            .progress
            .needs
    };
    assert!(of(|_| ()) > FIRST_FORMAT);
    assert_eq!(of(|stage| stage.steps.truncate(1)), FIRST_FORMAT);
}

#[test]
fn an_agent_that_leaves_while_it_is_rescued_has_failed() {
    for crash in [false, true] {
        let mut world = world(Setup::plain(2, 0));
        world.fail_next(1);
        until_ended(&mut world, 1);
        world.until_calls();
        let left = vec![AgentId::from("node-0")];
        world.apply(Input::Membership(MembershipChange { left, ..Default::default() }));
        if crash {
            world.crash_now();
        }
        world.run_dry();
        let record = world.records().next().unwrap();
        let left = (record.state, record.removed_from);
        assert_eq!(left, (AgentState::Removed, Some(AgentState::Failed)));
        assert_eq!(world.progress().failures, 1);
        assert_eq!(world.progress().status, RunStatus::Paused, "the budget allows none");
        crate::roster::check(&world);
    }
}
