//! Many members that are absent at once, and when a run pauses because of them.

use replibook_core::playbook::OnAdded;
use replibook_core::run::{Input, MassAbsence, MembershipChange, ReasonCode, RunStatus, Verb};

use crate::membership::{IGNORED, at_work, policy};
use crate::world::Choice;

#[test]
fn many_that_are_absent_at_once_pause_the_run_until_a_person_has_looked() {
    let mut world = at_work(policy(OnAdded::Include, IGNORED));
    let mass_absence = Some(MassAbsence { absent: 2, known: 3 });
    let change = MembershipChange { mass_absence, ..MembershipChange::default() };
    world.choose(&Choice::Command(Verb::Pause));
    world.apply(Input::Membership(change));
    world.choose(&Choice::Command(Verb::Resume));
    let reason = world.progress().reason.clone().unwrap();
    assert_eq!(
        (world.progress().status, reason.code),
        (RunStatus::Paused, ReasonCode::MassAbsence)
    );
    assert!(reason.message.starts_with("2 of 3 agents"), "{}", reason.message);
    assert_eq!(world.accepted_absences, 0, "whoever resumed had not been told");
    world.choose(&Choice::Command(Verb::Resume));
    world.run_dry();
    assert_eq!((world.progress().status, world.accepted_absences), (RunStatus::Done, 1));
}

#[test]
fn a_pause_says_so_once_those_who_were_absent_are_back() {
    let mut world = at_work(policy(OnAdded::Include, IGNORED));
    let mass_absence = Some(MassAbsence { absent: 2, known: 3 });
    world.apply(Input::Membership(MembershipChange { mass_absence, ..Default::default() }));
    world.apply(Input::Membership(MembershipChange::default()));
    let reason = world.progress().reason.clone().unwrap();
    assert_eq!(world.progress().status, RunStatus::Paused);
    assert!(reason.message.contains("are back"), "{}", reason.message);
    world.choose(&Choice::Command(Verb::Resume));
    world.run_dry();
    assert_eq!((world.progress().status, world.accepted_absences), (RunStatus::Done, 0));
}
