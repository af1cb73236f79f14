//! Windows and freezes: guards over time.

use replibook_core::playbook::{ClusterGuards, Freeze, Window};
use replibook_core::run::{AgentState, Effect, HeldBy, Input, Millis, RunStatus, Timestamp, Verb};

use super::fleet::{Fleet, START, zoned};
use super::strategies::Kind;
use crate::parts::Setup;
use crate::roster;
use crate::world::{Choice, World};

/// Open from 22:00 to 23:00 in Berlin: half an hour and more after the fleet starts.
pub(crate) fn evening() -> Window {
    let (every, zone) = ("0 22 * * *".to_owned(), "Europe/Berlin".to_owned());
    Window { every, length: Millis::from_secs(3600), zone }
}

fn windowed() -> ClusterGuards {
    ClusterGuards { windows: vec![evening()], ..ClusterGuards::default() }
}

#[test]
fn nobody_starts_before_the_window_opens_and_the_run_wakes_then() {
    let opens: Timestamp = "2026-11-30T21:00:00Z".parse().unwrap();
    assert!(START < opens.as_millis());
    for strategy in Kind::ALL {
        let mut fleet = Fleet::new(zoned(5), windowed(), strategy);
        fleet.do_all();
        assert!(fleet.in_state(AgentState::Running).is_empty(), "{strategy:?}");
        let held = &fleet.progress().held_agents;
        assert_eq!((held.until, held.guards.len()), (Some(opens), 1), "{strategy:?}");
        assert_eq!(held.some[0].by, HeldBy::Windows { until: Some(opens) });
        assert!(fleet.rounds.is_empty(), "nobody is asked before the window opens");
        assert!(fleet.run_dry(6_000), "{strategy:?}");
        assert!(fleet.now >= opens.as_millis() && fleet.now < opens.as_millis() + 600_000);
        assert_eq!((fleet.progress().status, fleet.broken.as_ref()), (RunStatus::Done, None));
        fleet.check_replay().unwrap();
    }
}

#[test]
fn who_is_at_work_when_the_window_closes_ends_and_the_others_wait_for_the_next() {
    let mut fleet = Fleet::new(zoned(5), windowed(), Kind::Rolling);
    while fleet.in_state(AgentState::Running).is_empty() {
        fleet.perform(0, false);
    }
    fleet.now += 3_600_000;
    let closed = fleet.now;
    fleet.do_all();
    assert_eq!(fleet.in_state(AgentState::Done).len(), 2);
    assert_eq!(fleet.in_state(AgentState::Pending).len(), 3);
    let next: Timestamp = "2026-12-01T21:00:00Z".parse().unwrap();
    assert_eq!(fleet.progress().held_agents.until, Some(next));
    assert!(fleet.run_dry(1_000) && fleet.now > closed);
    assert_eq!(fleet.broken, None);
}

#[test]
fn a_freeze_that_is_lifted_or_overridden_lets_the_run_go_on() {
    let freeze = Freeze {
        from: Timestamp::from_millis(START),
        to: Timestamp::from_millis(START + 86_400_000),
        reason: "the fair".to_owned(),
    };
    let frozen = ClusterGuards { freezes: vec![freeze.clone()], ..ClusterGuards::default() };
    let mut fleet = Fleet::new(zoned(3), frozen.clone(), Kind::Rolling);
    fleet.do_all();
    let by = HeldBy::Freeze { reason: "the fair".to_owned(), until: Some(freeze.to) };
    assert_eq!(fleet.progress().held_agents.some[0].by, by);
    fleet.guarded_by(ClusterGuards::default());
    assert!(fleet.run_dry(500) && fleet.now < freeze.to.as_millis());

    let mut fleet = Fleet::new(zoned(3), frozen, Kind::Rolling);
    fleet.do_all();
    fleet.command(Verb::Resume, Some("freeze"), Some("it burns"));
    assert!(fleet.run_dry(500) && fleet.now < freeze.to.as_millis());
    assert_eq!(fleet.broken, None);
}

/// A decision to wait for somebody who is held would be refused where nobody is.
#[test]
fn what_a_strategy_decided_before_a_freeze_is_lifted_counts_for_nothing() {
    let frozen = |reason: &str| {
        let (from, to) = (START, START + 86_400_000);
        let [from, to] = [from, to].map(Timestamp::from_millis);
        let freeze = Freeze { from, to, reason: reason.to_owned() };
        ClusterGuards { freezes: vec![freeze], ..ClusterGuards::default() }
    };
    for strategy in Kind::ALL {
        let mut fleet = Fleet::new(zoned(3), frozen("the fair"), strategy);
        fleet.do_all();
        fleet.guarded_by(frozen("another fair"));
        while !fleet.asks_strategy() {
            fleet.perform(0, false);
        }
        fleet.strategy = Kind::Waits;
        fleet.guarded_by(ClusterGuards::default());
        assert_eq!(fleet.progress().status, RunStatus::Running, "{strategy:?}");
        fleet.strategy = strategy;
        assert!(fleet.run_dry(500) && fleet.now < START + 86_400_000, "{strategy:?}");
        assert_eq!((fleet.progress().status, fleet.broken.as_ref()), (RunStatus::Done, None));
        fleet.check_replay().unwrap();
    }
}

#[test]
fn what_a_strategy_decided_before_a_freeze_starts_nobody() {
    for strategy in Kind::ALL {
        let mut fleet = Fleet::new(zoned(3), ClusterGuards::default(), strategy);
        while !fleet.asks_strategy() {
            fleet.perform(0, false);
        }
        let to = Timestamp::from_millis(START + 60_000);
        let freeze = Freeze { from: Timestamp::MIN, to, reason: "the fair".to_owned() };
        fleet.guarded_by(ClusterGuards { freezes: vec![freeze], ..ClusterGuards::default() });
        fleet.do_all();
        assert!(fleet.in_state(AgentState::Running).is_empty(), "{strategy:?}");
        assert_eq!(fleet.progress().held_agents.until, Some(to), "{strategy:?}");
        assert!(fleet.run_dry(500), "{strategy:?}");
        assert_eq!((fleet.progress().status, fleet.broken.as_ref()), (RunStatus::Done, None));
        fleet.check_replay().unwrap();
    }
}

#[test]
fn in_a_stage_after_a_cancel_agents_are_held_only_until_a_freeze_ends_or_is_lifted() {
    for is_lifted in [false, true] {
        let mut world = World::new(Setup { stages: 3, always: Some(2), ..Setup::plain(3, 0) });
        world.start();
        world.choose(&Choice::Command(Verb::Cancel));
        let to = world.progress().since.plus(Millis::from_secs(60));
        let freeze = Freeze { from: Timestamp::MIN, to, reason: "the fair".to_owned() };
        let frozen = ClusterGuards { freezes: vec![freeze], ..ClusterGuards::default() };
        world.apply(Input::Guards(frozen.into()));
        while world.progress().held_agents.is_nobody() {
            world.choose(&Choice::PerformWell(0));
        }
        if is_lifted {
            world.apply(Input::Guards(ClusterGuards::default().into()));
            let asks = |effect: &Effect| matches!(effect, Effect::Plan { .. });
            assert!(world.effects().any(asks), "the strategy is asked again at once");
        }
        world.run_dry();
        assert_eq!(world.progress().status, RunStatus::Cancelled);
        assert_eq!(world.progress().count(AgentState::Done), 3, "{is_lifted}");
        roster::check(&world);
    }
}
