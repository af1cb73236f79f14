//! Guards of the cluster: no start leaves one exceeded, whatever strategies name and whoever falls ill, and once all is
//! well the run ends.

mod fleet;
mod histories;
mod model;
#[cfg(feature = "mutants")]
mod mutants;
mod overriding;
mod strategies;
mod windows;

use fleet::{Fleet, zoned, zoned_member};
use replibook_core::playbook::{Amount, ClusterGuards, Guard};
use replibook_core::run::{
    AgentId, AgentState, FACTS_AGE, FIRST_FORMAT, Happened, HeldBy, LOOK_EVERY, MAX_DECIDING,
    MAX_HELD, MAX_HELD_NAMED, Millis, RunStatus,
};
use strategies::Kind;

/// The format of runs on a cluster with guards.
const GUARDED: u32 = 5;

pub(crate) fn guard(name: &str, zoned: bool, max_out: Amount, groups: Option<u32>) -> Guard {
    let by = zoned.then(|| "attributes.zone".to_owned());
    Guard { name: name.to_owned(), by, max_out, groups }
}

pub(crate) fn guards(guards: Vec<Guard>) -> ClusterGuards {
    ClusterGuards { guards, ..ClusterGuards::default() }
}

fn one_zone() -> ClusterGuards {
    guards(vec![guard("one-zone", true, Amount::Count(1), Some(1))])
}

/// Goes on until agents are at work and nothing else is to be done.
fn begin(fleet: &mut Fleet) {
    while fleet.in_state(AgentState::Running).is_empty() {
        fleet.perform(0, false);
    }
}

#[test]
fn a_strategy_that_names_everybody_takes_down_no_more_than_the_guards_let_it() {
    for strategy in Kind::ALL {
        let mut fleet = Fleet::new(zoned(14), one_zone(), strategy);
        let mut most = 0;
        while !fleet.run_dry(1) {
            most = most.max(fleet.in_state(AgentState::Running).len());
            assert!(fleet.now < fleet::START + 3_600_000, "{strategy:?}: {:?}", fleet.progress());
        }
        assert_eq!(fleet.broken, None, "{strategy:?}");
        assert_eq!((most, fleet.progress().status), (1, RunStatus::Done), "{strategy:?}");
        assert_eq!(fleet.progress().count(AgentState::Done), 14, "{strategy:?}");
        fleet.check_replay().unwrap();
    }
}

#[test]
fn the_run_says_who_is_held_by_what_and_because_of_whom() {
    let mut fleet = Fleet::new(zoned(9), one_zone(), Kind::EverybodyAlways);
    begin(&mut fleet);
    let held = &fleet.progress().held_agents;
    assert_eq!((held.agents, held.some.len()), (8, MAX_HELD_NAMED));
    assert_eq!((held.guards.as_slice(), held.until), (&["one-zone".to_owned()][..], None));
    assert_eq!(fleet.progress().stage.held.len(), 8);
    // The others of zone a would be too many in their zone, those of other zones would touch another one.
    let HeldBy::Groups { group, touched: 1, allowed: 1, because, .. } = &held.some[0].by else {
        panic!("{held:?}");
    };
    assert_eq!((group.to_string().as_str(), because), ("zone b", &vec![AgentId::from("node-0")]));
    let Some(HeldBy::Agents { group: Some(group), of: 2, out: 1, allowed: 1, .. }) =
        held.some.iter().find(|one| one.agent.as_str() == "node-3").map(|one| &one.by)
    else {
        panic!("{held:?}");
    };
    assert_eq!(group.to_string(), "zone a");
    let told = fleet.events.iter().rev().find_map(|event| match &event.what {
        Happened::Decision { held, .. } => held.clone(),
        _ => None,
    });
    let told = told.unwrap();
    assert_eq!((told.named.len(), told.by.as_slice()), (8, &["one-zone".to_owned()][..]));
}

#[test]
fn a_share_is_rounded_down_so_that_a_small_cluster_may_lose_nobody() {
    let third = guards(vec![guard("quorum", false, Amount::Share(3_300), None)]);
    let mut fleet = Fleet::new(zoned(2), third, Kind::Rolling);
    assert!(!fleet.run_dry(200));
    let held = &fleet.progress().held_agents;
    let HeldBy::Agents { of: 2, out: 0, allowed: 0, group: None, .. } = held.some[0].by else {
        panic!("{held:?}");
    };
    assert_eq!(fleet.progress().status, RunStatus::Running);
    assert_eq!(fleet.broken, None);
}

#[test]
fn who_falls_ill_holds_the_others_and_lets_them_go_when_it_is_well() {
    let quorum = guards(vec![guard("quorum", false, Amount::Count(1), None)]);
    let mut fleet = Fleet::new(zoned(3), quorum, Kind::Rolling);
    fleet.ill.insert("node-2".into(), Some("UNAVAILABLE"));
    assert!(!fleet.run_dry(100));
    assert!(fleet.in_state(AgentState::Running).is_empty());
    let HeldBy::Agents { because, .. } = &fleet.progress().held_agents.some[0].by else { panic!() };
    assert_eq!(because, &vec![AgentId::from("node-2")]);
    // It is ill itself, so its own start takes nobody out.
    assert_eq!(fleet.progress().held_agents.agents, 2);
    fleet.ill.insert("node-2".into(), None);
    assert!(!fleet.run_dry(100), "a silent node is out too");
    fleet.ill.clear();
    assert!(fleet.run_dry(500));
    assert_eq!((fleet.progress().status, fleet.broken.as_ref()), (RunStatus::Done, None));
    assert!(fleet.progress().held_agents.is_nobody());
    fleet.check_replay().unwrap();
}

#[test]
fn a_node_that_is_still_down_after_its_work_is_out() {
    let quorum = guards(vec![guard("quorum", false, Amount::Count(1), None)]);
    let mut fleet = Fleet::new(zoned(3), quorum, Kind::Rolling);
    begin(&mut fleet);
    fleet.ill.insert("node-0".into(), Some("UNAVAILABLE"));
    assert!(!fleet.run_dry(200));
    assert_eq!(fleet.in_state(AgentState::Done), ["node-0"]);
    assert_eq!(fleet.in_state(AgentState::Pending), ["node-1", "node-2"]);
    fleet.ill.clear();
    assert!(fleet.run_dry(500));
    assert_eq!(fleet.broken, None);
}

#[test]
fn while_somebody_is_held_all_are_asked_again_and_again_and_nothing_is_written() {
    let quorum = guards(vec![guard("quorum", false, Amount::Count(1), None)]);
    let mut fleet = Fleet::new(zoned(3), quorum, Kind::Rolling);
    fleet.ill.insert("node-2".into(), Some("UNAVAILABLE"));
    fleet.run_dry(60);
    let (commits, rounds, from) = (fleet.commits, fleet.rounds.len(), fleet.now);
    while fleet.now < from + 60_000 {
        fleet.perform(0, false);
    }
    let asked = fleet.rounds.len() - rounds;
    let expected = 60_000 / LOOK_EVERY.0 as usize;
    assert!(asked.abs_diff(expected) <= 1, "{asked} rounds in a minute, expected {expected}");
    assert_eq!(fleet.commits, commits, "a waiting run writes no repetitions");
    assert!(LOOK_EVERY < FACTS_AGE);
}

#[test]
fn guards_come_and_go_in_the_middle_of_a_run() {
    let mut fleet = Fleet::new(zoned(9), ClusterGuards::default(), Kind::EverybodyAlways);
    begin(&mut fleet);
    assert_eq!(fleet.in_state(AgentState::Running).len(), 9, "nothing guards the cluster");
    let mut fleet = Fleet::new(zoned(9), one_zone(), Kind::EverybodyAlways);
    begin(&mut fleet);
    fleet.guarded_by(guards(vec![guard("one-zone", true, Amount::Count(3), Some(1))]));
    fleet.do_all_but_actions();
    assert_eq!(fleet.in_state(AgentState::Running), ["node-0", "node-3"], "node-6 has no zone");
    fleet.guarded_by(ClusterGuards::default());
    fleet.do_all_but_actions();
    assert_eq!(fleet.in_state(AgentState::Running).len(), 9);
    assert!(fleet.progress().held_agents.is_nobody());
    let told = fleet.events.iter().filter(|event| matches!(event.what, Happened::Guards { .. }));
    assert_eq!(told.count(), 3);
    assert!(fleet.run_dry(500));
    fleet.check_replay().unwrap();
    assert!(fleet.progress().needs >= GUARDED, "older engines keep off");
}

#[test]
fn bystanders_of_a_run_that_goes_over_others_again_are_counted() {
    let quorum = guards(vec![guard("quorum", false, Amount::Share(3_400), None)]);
    let (again, others) = (zoned(1), (1..3).map(zoned_member).collect());
    let mut fleet = Fleet::again(again, others, quorum, Kind::Rolling);
    fleet.ill.insert("node-2".into(), None);
    assert!(!fleet.run_dry(100), "34 % of three agents is one, and node-2 is out");
    assert!(fleet.record("node-2").bystander);
    assert_eq!(fleet.in_state(AgentState::Skipped), ["node-1", "node-2"]);
    fleet.join(zoned_member(3));
    fleet.ill.clear();
    assert!(fleet.run_dry(500));
    assert_eq!(fleet.in_state(AgentState::Done), ["node-0"]);
    assert!(fleet.record("node-3").bystander, "who joins is counted, and nothing is done to it");
    assert_eq!(fleet.progress().outcomes.get(&AgentState::Skipped), None);
    assert_eq!(fleet.broken, None);
}

#[test]
fn more_than_can_be_remembered_are_held_in_turn() {
    let all = zoned(MAX_HELD + 50);
    let quorum = guards(vec![guard("quorum", false, Amount::Count(5), None)]);
    let mut fleet = Fleet::new(all, quorum, Kind::EverybodyAlways);
    begin(&mut fleet);
    assert_eq!(fleet.progress().stage.held.len(), MAX_HELD - 5);
    assert!(fleet.run_dry(20_000));
    assert_eq!(fleet.progress().count(AgentState::Done) as usize, MAX_HELD + 50);
    assert_eq!(fleet.broken, None);
}

#[test]
fn an_answer_that_comes_after_a_newer_one_lets_nobody_go() {
    let quorum = guards(vec![guard("quorum", false, Amount::Count(1), None)]);
    let mut fleet = Fleet::new(zoned(3), quorum, Kind::Asks);
    begin(&mut fleet);
    fleet.do_all_but_actions();
    while fleet.late.is_empty() {
        fleet.perform(0, false);
    }
    // The strategy had node-2 asked, which was well, and other answers keep this one from being told.
    fleet.ill.insert("node-2".into(), Some("UNAVAILABLE"));
    let rounds = fleet.rounds.len();
    fleet.wake();
    fleet.perform(0, false);
    assert_eq!(fleet.rounds.len(), rounds + 1, "all were asked for the guard meanwhile");
    assert!(!fleet.run_dry(100));
    assert_eq!(fleet.broken, None);
    assert_eq!(fleet.in_state(AgentState::Pending), ["node-1"], "node-2 is out whatever it does");
    fleet.ill.clear();
    assert!(fleet.run_dry(500));
}

#[test]
fn an_agent_that_moved_is_asked_where_it_is_now_before_anybody_starts() {
    let quorum = guards(vec![guard("quorum", false, Amount::Count(1), None)]);
    let mut fleet = Fleet::new(zoned(3), quorum, Kind::Rolling);
    begin(&mut fleet);
    fleet.ill.insert("node-2".into(), Some("UNAVAILABLE"));
    fleet.relocate(&"node-2".into());
    assert!(!fleet.run_dry(200));
    assert_eq!(fleet.broken, None);
    assert_eq!(fleet.in_state(AgentState::Pending), ["node-1"], "node-2 is out whatever it does");
}

#[test]
fn a_decision_that_takes_long_is_made_anew_unless_it_always_does() {
    let quorum = guards(vec![guard("quorum", false, Amount::Count(1), None)]);
    let mut fleet = Fleet::new(zoned(3), quorum, Kind::Rolling);
    let again = |fleet: &mut Fleet, takes: Millis| {
        while !fleet.asks_strategy() {
            fleet.perform(0, false);
        }
        fleet.now += i64::try_from(takes.0).unwrap();
        fleet.perform(0, false);
        fleet.in_state(AgentState::Running).len()
    };
    // Nothing is known at first, and after the second decision it is too old.
    assert_eq!(again(&mut fleet, Millis(10)), 0);
    let long = Millis(MAX_DECIDING.0 + 1);
    assert_eq!(again(&mut fleet, long), 0);
    assert_eq!(again(&mut fleet, long), 0);
    assert_eq!(fleet.broken, None);
    assert_eq!(again(&mut fleet, MAX_DECIDING), 1, "nothing newer can be known");
}

#[test]
fn statuses_that_change_alone_are_told_in_a_format_of_their_own() {
    let mut fleet = Fleet::new(zoned(2), ClusterGuards::default(), Kind::Rolling);
    begin(&mut fleet);
    assert_eq!(fleet.progress().needs, FIRST_FORMAT);
    let healthy = vec!["READ_ONLY".to_owned()];
    fleet.guarded_by(ClusterGuards { healthy, ..ClusterGuards::default() });
    assert!(fleet.events.iter().any(|event| matches!(event.what, Happened::Guards { .. })));
    assert_eq!(fleet.progress().needs, GUARDED);
}
