//! Stages that are always done, before a run that failed or is cancelled ends.

use replibook_core::playbook::OnExceeded;
use replibook_core::run::{
    AgentState, CANCEL_DEADLINE, Decision, Effect, Happened, Input, MembershipChange, Next,
    ReasonCode, RetryOf, RunId, RunStatus, Verb,
};
use uuid::Uuid;

use crate::parts::{Setup, member};
use crate::roster;
use crate::world::{Choice, World};

/// Three stages, of which the last one is always done.
fn setup() -> Setup {
    Setup { stages: 3, always: Some(2), ..Setup::plain(3, 0) }
}

/// The stages that began.
fn began(world: &World) -> Vec<u16> {
    let began = world.events().filter_map(|event| match &event.what {
        Happened::Stage { index, .. } => Some(*index),
        _ => None,
    });
    began.collect()
}

fn reason(world: &World) -> ReasonCode {
    world.progress().reason.clone().unwrap().code
}

#[test]
fn in_a_run_that_goes_well_it_is_a_stage_like_any_other() {
    let mut world = World::new(setup());
    world.run_dry();
    assert_eq!((world.progress().status, began(&world)), (RunStatus::Done, vec![0, 1, 2]));
    assert_eq!(world.progress().closing, None);
}

#[test]
fn it_is_done_after_a_failure_which_stays_the_end_of_the_run() {
    let mut world = World::new(Setup { abort: true, ..setup() });
    world.fail_next(1);
    world.run_dry();
    assert_eq!((world.progress().status, began(&world)), (RunStatus::Failed, vec![0, 2]));
    assert_eq!(reason(&world), ReasonCode::BudgetExceeded);
    assert!(world.progress().count(AgentState::Done) > 0, "the others took part in it");
    roster::check(&world);
}

#[test]
fn it_is_done_after_a_cancel() {
    let mut world = World::new(setup());
    world.start();
    world.until_in_flight(2);
    world.choose(&Choice::Command(Verb::Cancel));
    assert_eq!(world.progress().status, RunStatus::Cancelling);
    world.run_dry();
    assert_eq!((world.progress().status, began(&world)), (RunStatus::Cancelled, vec![0, 2]));
    assert_eq!(reason(&world), ReasonCode::Operator);
    roster::check(&world);
}

#[test]
fn it_has_as_much_time_as_all_else_after_a_cancel() {
    let mut world = World::new(Setup { ends: true, ..setup() });
    world.start();
    world.choose(&Choice::Command(Verb::Cancel));
    while began(&world) != [0, 2] {
        world.choose(&Choice::PerformWell(0));
    }
    world.until_in_flight(2);
    world.wake();
    world.run_dry();
    assert_eq!(world.progress().status, RunStatus::Cancelled);
    let steps = world.events().filter(|event| matches!(event.what, Happened::StepStarted { .. }));
    assert_eq!(steps.count(), 2, "nothing is begun once the time is over");
}

#[test]
fn one_that_goes_on_at_a_cancel_is_not_cut_off_and_a_second_cancel_ends_it() {
    for twice in [false, true] {
        let mut world = World::new(Setup { always: Some(0), stages: 2, ..setup() });
        world.start();
        world.until_in_flight(2);
        world.choose(&Choice::Command(Verb::Cancel));
        if twice {
            world.choose(&Choice::Command(Verb::Cancel));
        }
        world.run_dry();
        let done = if twice { 0 } else { 3 };
        assert_eq!(world.progress().count(AgentState::Done), done);
        assert_eq!((world.progress().status, began(&world)), (RunStatus::Cancelled, vec![0]));
        roster::check(&world);
    }
}

#[test]
fn those_of_a_run_that_failed_are_done_after_a_cancel_too_and_a_second_cancel_ends_them() {
    for twice in [false, true] {
        let setup = Setup { abort: true, stages: 4, ..Setup { agents: 6, ..setup() } };
        let mut world = World::with(setup, |stage| stage.always |= stage.name == "stage-3");
        world.fail_next(1);
        while began(&world) != [0, 2] {
            world.choose(&Choice::PerformWell(0));
        }
        world.until_in_flight(2);
        world.choose(&Choice::Command(Verb::Cancel));
        if twice {
            world.choose(&Choice::Command(Verb::Cancel));
        }
        world.run_dry();
        let done = if twice { vec![0, 2] } else { vec![0, 2, 3] };
        assert_eq!((world.progress().status, began(&world)), (RunStatus::Failed, done));
        assert_eq!(reason(&world), ReasonCode::BudgetExceeded, "how it ends was settled by then");
        roster::check(&world);
    }
}

#[test]
fn one_of_them_that_asks_is_given_up_at_a_cancel_and_the_next_one_is_done() {
    for begun in [false, true] {
        let setup = Setup { abort: true, stages: 4, ..setup() };
        let mut world = World::with(setup, |stage| {
            stage.always |= stage.name == "stage-3";
            if stage.name == "stage-2" {
                stage.budget.on_exceeded = OnExceeded::Pause;
            }
        });
        world.fail_next(1);
        while !world.progress().stage.entering {
            world.choose(&Choice::PerformWell(0));
        }
        if begun {
            world.start();
            world.fail_next(1);
            while world.progress().status != RunStatus::Paused {
                world.choose(&Choice::PerformWell(0));
            }
        } else {
            world.have_no_members();
        }
        assert_eq!((world.progress().status, world.progress().stage.index), (RunStatus::Paused, 2));
        world.choose(&Choice::Command(Verb::Cancel));
        world.run_dry();
        let done = if begun { vec![0, 2, 3] } else { vec![0, 3] };
        assert_eq!((world.progress().status, began(&world)), (RunStatus::Failed, done));
        roster::check(&world);
    }
}

#[test]
fn nobody_is_asked_to_decide_in_a_run_that_is_cancelled() {
    let mut world = World::new(Setup { stages: 3, always: Some(1), ..setup() });
    world.start();
    world.choose(&Choice::Command(Verb::Cancel));
    while began(&world) != [0, 1] {
        world.choose(&Choice::PerformWell(0));
    }
    while !world.effects().any(|effect| matches!(effect, Effect::Plan { .. })) {
        world.choose(&Choice::PerformWell(0));
    }
    world.choose(&Choice::BadDecision(0));
    world.run_dry();
    assert_eq!(world.progress().status, RunStatus::Cancelled, "its stage was given up");
}

#[test]
fn a_stage_that_was_being_entered_when_the_run_was_cancelled_is_left() {
    for once in [None, Some(2)] {
        let mut world = World::new(Setup { once, ..setup() });
        while !world.progress().stage.entering {
            world.choose(&Choice::PerformWell(0));
        }
        world.choose(&Choice::Command(Verb::Cancel));
        // The members that stage 1 asked for come to stage 2, which asks again: it may need to know more of them.
        world.take_members(vec![member("node-0")]);
        world.run_dry();
        assert_eq!((world.progress().status, began(&world)), (RunStatus::Cancelled, vec![0, 2]));
        assert!(world.records().all(|record| record.state == AgentState::Done), "nobody is missed");
        roster::check(&world);
    }
}

#[test]
fn a_stage_that_can_not_begin_is_passed_by_in_a_run_that_is_cancelled() {
    let mut world = World::new(setup());
    world.start();
    world.choose(&Choice::Command(Verb::Cancel));
    let asks = |effect: &Effect| matches!(effect, Effect::LoadMembers);
    assert!(world.effects().any(asks), "nothing was in flight");
    world.apply(Input::MembersFailed("no platform".to_owned()));
    world.run_dry();
    assert_eq!((world.progress().status, began(&world)), (RunStatus::Cancelled, vec![0]));
}

#[test]
fn a_run_that_never_began_has_nothing_to_close() {
    let mut world = World::new(setup());
    world.choose(&Choice::Command(Verb::Cancel));
    world.run_dry();
    assert_eq!((world.progress().status, began(&world)), (RunStatus::Cancelled, vec![]));
}

#[test]
fn a_crash_at_any_moment_leaves_it_no_less_done() {
    for cancels in [false, true] {
        for crash in 0..50 {
            let setup = Setup { once: Some(2), ends: true, abort: true, ..setup() };
            let mut world = World::new(setup);
            for moment in 0..50 {
                match moment {
                    5 if cancels => world.choose(&Choice::Command(Verb::Cancel)),
                    5 => world.fail_next(3),
                    _ => {}
                }
                if moment == crash {
                    world.crash_now();
                }
                world.choose(&Choice::PerformWell(0));
            }
            world.run_dry();
            world.check_the_end();
            assert_eq!(began(&world).last(), Some(&2), "{crash} {:?}", world.progress());
            roster::check(&world);
        }
    }
}

#[test]
fn it_is_done_after_the_cancel_of_a_run_that_was_on_hold() {
    let mut world = World::new(setup());
    world.start();
    world.until_in_flight(1);
    world.choose(&Choice::Command(Verb::PauseNow));
    world.choose(&Choice::Command(Verb::Cancel));
    let asked = world.progress().since;
    world.run_dry();
    assert_eq!((world.progress().status, began(&world)), (RunStatus::Cancelled, vec![0, 2]));
    assert_eq!(world.progress().count(AgentState::Done), 1, "the others were cut off");
    let ended = world.progress().finishing_at.unwrap();
    assert!(ended < asked.plus(CANCEL_DEADLINE), "nothing waits for the end of the time");
    roster::check(&world);
}

#[test]
fn a_cancel_is_no_answer_to_what_the_run_asks() {
    for approval in [false, true] {
        let mut world = World::new(Setup { always: Some(0), stages: 2, ..Setup::plain(6, 0) });
        world.start();
        if approval {
            let asks = |decision: &mut Decision, _: &_| {
                (decision.start, decision.next) = (vec![], Next::Approval("go on?".to_owned()));
            };
            world.decide_to(asks);
        } else {
            world.fail_next(1);
            world.run_dry();
        }
        assert_eq!(world.progress().status, RunStatus::Paused);
        let begun = world.progress().count(AgentState::Pending);
        assert!(begun > 1);
        let verb = if approval { Verb::Reject } else { Verb::Cancel };
        world.choose(&Choice::Command(verb));
        world.run_dry();
        assert_eq!(world.progress().status, RunStatus::Cancelled);
        assert_eq!(world.progress().count(AgentState::Pending), begun, "nobody else is begun");
    }
}

#[test]
fn a_run_ends_at_once_although_members_changed_while_it_is_entered() {
    for twice in [true, false] {
        let mut world = World::new(setup());
        world.start();
        world.choose(&Choice::Command(Verb::Cancel));
        assert!(world.progress().stage.entering);
        let joined = vec![member("node-9")];
        world.apply(Input::Membership(MembershipChange { joined, ..Default::default() }));
        match twice {
            true => world.choose(&Choice::Command(Verb::Cancel)),
            false => world.wake(),
        }
        world.run_dry();
        assert_eq!((world.progress().status, began(&world)), (RunStatus::Cancelled, vec![0]));
    }
}

#[test]
fn the_history_says_which_of_them_never_began() {
    let mut world = World::with(Setup { stages: 4, ..setup() }, |stage| {
        stage.always |= stage.name == "stage-3";
    });
    world.start();
    world.choose(&Choice::Command(Verb::Cancel));
    world.have_no_members();
    world.run_dry();
    assert_eq!((world.progress().status, began(&world)), (RunStatus::Cancelled, vec![0, 3]));
    roster::check(&world);
}

#[test]
fn a_retry_takes_the_agents_that_had_not_come_to_their_end_before() {
    let run = RunId(Uuid::from_u128(7));
    let none = RetryOf { run, failed: false, skipped: false, unfinished: false };
    let taken = |world: &World, retry: RetryOf| {
        world.records().filter(|record| retry.takes(record, &world.came_to())).count()
    };
    for once in [None, Some(2)] {
        let mut world = World::new(Setup { abort: true, once, ..Setup { agents: 6, ..setup() } });
        world.fail_next(1);
        world.run_dry();
        assert_eq!((world.progress().status, began(&world)), (RunStatus::Failed, vec![0, 2]));
        assert_eq!(taken(&world, RetryOf { failed: true, ..none }), 1, "{once:?}");
        let unfinished = taken(&world, RetryOf { unfinished: true, ..none });
        assert_eq!(unfinished, 4, "one failed, and the one beside it was done: {once:?}");
    }
    let mut world = World::new(setup());
    world.start();
    world.until_in_flight(2);
    world.choose(&Choice::Command(Verb::Cancel));
    world.run_dry();
    assert_eq!(taken(&world, RetryOf { failed: true, ..none }), 0, "they were cut off");
    assert_eq!(taken(&world, RetryOf { unfinished: true, ..none }), 3);
}

#[test]
fn failures_so_far_leave_its_budget_as_it_is() {
    let setup = Setup { run_scope: true, abort: true, ..setup() };
    let mut world = World::new(Setup { agents: 8, max_failed: 1, ..setup });
    world.fail_next(2);
    while began(&world) != [0, 2] {
        world.choose(&Choice::PerformWell(0));
    }
    world.fail_next(1);
    world.run_dry();
    assert_eq!((world.progress().status, world.progress().failures), (RunStatus::Failed, 3));
    assert_eq!(world.progress().count(AgentState::Pending), 0, "one more may fail there");
    roster::check(&world);
}
