//! The roster at any event equals what the events up to it make of the first one.

use std::collections::BTreeMap;

use proptest::prelude::*;
use replibook_core::run::{
    Effect, Happened, InfoChange, Roster as _, RosterAt, RunEvent, RunStatus, Verb,
};

use super::parts::Setup;
use super::world::{Choice, World, view};
use super::{choices, setups};

/// The roster of the world's run before its first event, made from what is kept.
pub(crate) fn roster(world: &World) -> RosterAt {
    let changes = world.events().filter_map(InfoChange::of).collect();
    RosterAt::new(world.snapshot(), world.records().cloned(), changes)
}

/// Checks what the history shows for each moment at which the strategy was asked, and for each step that
/// started.
pub(crate) fn check(world: &World) {
    let mut roster = roster(world);
    let mut seen = world.seen.iter().peekable();
    let mut events = world.events();
    let mut started = BTreeMap::new();
    loop {
        while let Some((_, was)) = seen.next_if(|(seq, _)| *seq == roster.seq()) {
            assert_eq!(&view(&roster, world.records()), was, "after event {}", roster.seq());
        }
        let Some(event) = events.next() else { break };
        roster.apply(event).unwrap();
        if let Happened::StepStarted { agent, step, attempt, .. } = &event.what {
            let record = roster.record(agent).unwrap();
            let key = (record.seq, roster.stage(), step.clone(), *attempt);
            started.insert(key, record.attributes.clone());
        }
    }
    assert_eq!(seen.next(), None, "all moments were looked at");
    for journal in world.journals() {
        let key = journal.key;
        let of_start = &started[&(key.agent, key.stage, journal.step_name.clone(), key.attempt)];
        let attributes = journal.attributes.as_ref().unwrap_or(of_start);
        // An attempt that has come to nothing may not have been activated, or only in vain: its time ran out
        // while its precondition was looked at, or it has been on hold since before.
        let begun = !journal.answers.is_empty() || journal.pending.is_some();
        if begun || !journal.cut_off && !world.progress().hold {
            let seen = world.attributes.get(&journal.seed_key());
            assert_eq!(seen, Some(attributes), "what the step of {key:?} saw");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn the_fold_shows_what_the_strategy_saw(setup in setups(), choices in choices()) {
        let mut world = World::new(setup);
        world.varied = true;
        for choice in &choices {
            world.choose(choice);
        }
        world.run_dry();
        check(&world);
    }
}

/// Performs the first effect of this kind.
fn perform(world: &mut World, is_wanted: fn(&Effect) -> bool) {
    let at = world.effects().position(is_wanted).unwrap();
    world.choose(&Choice::PerformWell(u16::try_from(at).unwrap()));
}

#[test]
fn a_step_that_was_on_hold_sees_what_its_journal_says_also_after_a_crash() {
    let is_check = |effect: &Effect| matches!(effect, Effect::Check { .. });
    let is_refresh = |effect: &Effect| matches!(effect, Effect::Refresh(_));
    let is_activation = |effect: &Effect| matches!(effect, Effect::Activate(_));
    // With three agents at a time, the strategy has agents asked afresh.
    let mut world = World::new(Setup { batch: 3, require: true, ..Setup::plain(1, 0) });
    world.start();
    while !world.effects().any(is_check) {
        perform(&mut world, |_| true);
    }
    perform(&mut world, is_check);
    world.choose(&Choice::Command(Verb::PauseNow));
    // The step's call is not made, and its journal is kept without calls.
    perform(&mut world, is_activation);
    world.choose(&Choice::Command(Verb::Resume));
    while !world.effects().any(is_refresh) {
        perform(&mut world, |effect| !matches!(effect, Effect::Check { .. }));
    }
    // The agent is asked afresh before the precondition is looked at again.
    perform(&mut world, is_refresh);
    world.choose(&Choice::Crash);
    world.run_dry();
    assert_eq!(world.progress().status, RunStatus::Done);
    check(&world);
}

fn done(setup: Setup) -> World {
    let mut world = World::new(setup);
    world.varied = true;
    world.run_dry();
    world
}

#[test]
fn a_decision_is_kept_with_what_it_was_asked_and_its_memo_once() {
    let world = done(Setup::plain(6, 0));
    let decisions = world.events().filter_map(|event| match &event.what {
        Happened::Decision { asked, memo, .. } => {
            Some((asked.clone().unwrap(), event.at, memo.clone()))
        }
        _ => None,
    });
    let mut memos = Vec::new();
    for (asked, at, memo) in decisions {
        assert_eq!(asked.max_start, 250);
        assert!(asked.at < at, "{asked:?} at {at}");
        memos.extend(memo);
    }
    let mut once = memos.clone();
    once.dedup();
    assert_eq!(memos, once);
    assert!(memos.len() > 1, "{memos:?}");
}

#[test]
fn a_refused_decision_is_kept_as_such() {
    let mut world = World::new(Setup::plain(3, 0));
    world.start();
    world.choose(&Choice::BadDecision(0));
    let kept: Vec<_> = world.events().map(|event| &event.what).collect();
    let [.., refused, Happened::Status { .. }] = kept.as_slice() else { panic!("{kept:?}") };
    let Happened::NoDecision { code: None, message, decision_hash: Some(hash), .. } = refused
    else {
        panic!("{refused:?}");
    };
    assert_eq!(message, "agent nobody is unknown");
    assert_eq!(hash.len(), 64);
}

#[test]
fn a_history_that_can_not_be_is_refused_with_its_place() {
    let world = done(Setup::plain(3, 0));
    let fold = |events: &[RunEvent]| {
        let mut roster = roster(&world);
        events.iter().try_for_each(|event| roster.apply(event)).map_err(|error| error.to_string())
    };
    let events: Vec<RunEvent> = world.events().cloned().collect();
    assert_eq!(fold(&events), Ok(()));
    let error = fold(&events[1..]).unwrap_err();
    assert_eq!(error, "event 2: found sequence 2, expected 1");
    let moved = events
        .iter()
        .position(|event| matches!(&event.what, Happened::Agent { from: Some(_), .. }));
    let mut twice = events.clone();
    let place = moved.unwrap();
    twice.insert(place, RunEvent { seq: events[place].seq, ..events[place].clone() });
    twice[place + 1].seq += 1;
    let error = fold(&twice).unwrap_err();
    assert!(error.ends_with("was PENDING, expected RUNNING"), "{error}");
    let mut stranger = events;
    if let Happened::Agent { agent, .. } = &mut stranger[place].what {
        *agent = "nobody".into();
    }
    let error = fold(&stranger).unwrap_err();
    assert!(error.ends_with("found agent nobody, expected one that has a record"), "{error}");
}
