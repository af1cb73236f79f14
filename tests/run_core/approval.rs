//! A strategy asks a person for approval: what counts as an answer, and what does not.

use replibook_core::run::{
    AgentState, Effect, Input, MassAbsence, MembershipChange, Next, ReasonCode, RunStatus, Verb,
};

use crate::parts::Setup;
use crate::world::{Choice, World};

const QUESTION: &str = "they look well; go on?";

/// A run whose strategy has started two agents, and now asks for approval.
fn at_the_gate(setup: Setup) -> World {
    let mut world = World::new(setup);
    world.start();
    let reason = world.decide_to(|decision, _| {
        decision.next = Next::Approval(QUESTION.to_owned());
    });
    assert_eq!((world.progress().status, reason.as_str()), (RunStatus::Paused, QUESTION));
    world
}

impl World {
    /// `absent` of the members are absent at once; with 0 they are back.
    fn absent(&mut self, absent: u32, known: u32) {
        let mass_absence = (absent > 0).then_some(MassAbsence { absent, known });
        self.apply(Input::Membership(MembershipChange { mass_absence, ..Default::default() }));
    }
}

fn code(world: &World) -> ReasonCode {
    world.progress().reason.clone().unwrap().code
}

/// Whether the run still waits for the answer, and asks its strategy nothing.
fn waits(world: &World) -> bool {
    let asks = world.effects().any(|effect| matches!(effect, Effect::Plan { .. }));
    world.progress().status == RunStatus::Paused && code(world) == ReasonCode::Approval && !asks
}

#[test]
fn only_an_answer_opens_the_gate() {
    for verb in Verb::ALL {
        let mut world = at_the_gate(Setup::plain(4, 0));
        world.choose(&Choice::Command(verb));
        let refused = world.refusals().pop();
        let expected = match verb {
            Verb::Approve => (RunStatus::Running, None),
            Verb::Reject | Verb::Cancel => (RunStatus::Finishing, None),
            Verb::Resume => {
                (RunStatus::Paused, Some("it waits for approval: approve or reject it"))
            }
            Verb::Pause => (RunStatus::Paused, Some("it is paused already")),
            Verb::Retry => (RunStatus::Paused, Some("no agent has failed")),
            Verb::PauseNow => (RunStatus::Paused, None),
            Verb::Signal => (RunStatus::Paused, Some("name the signal")),
            Verb::GiveUp => {
                (RunStatus::Paused, Some("agent node-0 is RUNNING and has no action out"))
            }
        };
        let why = refused.as_ref().map(|text| text.split_once(": ").unwrap().1);
        assert_eq!((world.progress().status, why), expected, "{verb}");
        assert_eq!(waits(&world), expected.0 == RunStatus::Paused, "{verb}");
    }
}

#[test]
fn whatever_happens_beneath_the_question_does_not_answer_it() {
    let failing: fn(&mut World) = |world| {
        world.fail_next(2);
        world.run_dry();
        assert_eq!(world.progress().count(AgentState::Failed), 2);
    };
    type Act = fn(&mut World);
    let cases: [(&str, Act); 6] = [
        ("a hold", |world| world.choose(&Choice::Command(Verb::PauseNow))),
        ("a pause", |world| world.choose(&Choice::Command(Verb::Pause))),
        ("a budget that is exceeded", failing),
        ("agents that are put back", |world| {
            world.fail_next(2);
            world.run_dry();
            world.choose(&Choice::Command(Verb::Retry));
            assert_eq!(world.progress().count(AgentState::Failed), 0);
        }),
        ("many agents that are absent", |world| {
            world.absent(3, 4);
            world.absent(2, 4);
        }),
        ("a crash", |world| world.crash_now()),
    ];
    for (what, happen) in cases {
        let mut world = at_the_gate(Setup { batch: 2, ..Setup::plain(4, 0) });
        happen(&mut world);
        assert!(waits(&world), "after {what}: {:?}", world.progress());
        world.choose(&Choice::Command(Verb::Resume));
        assert!(waits(&world), "a resume after {what}: {:?}", world.progress());
        world.crash_now();
        world.choose(&Choice::Command(Verb::Resume));
        assert!(waits(&world), "a resume after {what} and a crash: {:?}", world.progress());
        world.choose(&Choice::Command(Verb::Approve));
        assert!(!waits(&world), "approved after {what}");
    }
}

#[test]
fn what_happened_meanwhile_stops_the_run_once_it_is_approved() {
    let mut world = at_the_gate(Setup::plain(4, 0));
    world.fail_next(1);
    world.run_dry();
    world.choose(&Choice::Command(Verb::Approve));
    assert_eq!(
        (world.progress().status, code(&world)),
        (RunStatus::Paused, ReasonCode::BudgetExceeded)
    );
    let mut world = at_the_gate(Setup::plain(4, 0));
    world.absent(3, 4);
    world.choose(&Choice::Command(Verb::Approve));
    assert_eq!(
        (world.progress().status, code(&world)),
        (RunStatus::Paused, ReasonCode::MassAbsence)
    );
    world.absent(0, 4);
    world.choose(&Choice::Command(Verb::Resume));
    assert_eq!(world.progress().status, RunStatus::Running, "the question has its answer");
}

#[test]
fn a_question_that_comes_while_a_person_pauses_is_asked_again() {
    let mut world = World::new(Setup::plain(4, 0));
    world.start();
    world.choose(&Choice::Command(Verb::Pause));
    let reason = world.decide_to(|decision, _| {
        decision.next = Next::Approval(QUESTION.to_owned());
    });
    assert_eq!((code(&world), reason.as_str()), (ReasonCode::Operator, "pause by ann"));
    assert_eq!(world.progress().count(AgentState::Running), 0, "nothing of it was obeyed");
    world.choose(&Choice::Command(Verb::Resume));
    let asks = world.effects().any(|effect| matches!(effect, Effect::Plan { .. }));
    assert!(asks, "and now it may ask");
}
