//! A person who knows better than a guard.

use replibook_core::playbook::Amount;
use replibook_core::run::{AgentState, CommandOutcome, Happened, HeldBy, RunStatus, Verb};

use super::fleet::{Fleet, zoned};
use super::strategies::Kind;
use super::{guard, guards};

fn held() -> Fleet {
    let nobody = guards(vec![guard("quorum", false, Amount::Count(0), None)]);
    let mut fleet = Fleet::new(zoned(3), nobody, Kind::Rolling);
    assert!(!fleet.run_dry(60));
    assert_eq!(fleet.progress().held_agents.agents, 2);
    fleet
}

fn refused(outcome: &CommandOutcome) -> String {
    match outcome {
        CommandOutcome::Refused { reason } => reason.clone(),
        CommandOutcome::Applied => panic!("it was applied"),
    }
}

#[test]
fn a_guard_that_a_person_overrides_does_not_count_until_it_changes() {
    let mut fleet = held();
    fleet.command(Verb::Resume, Some("quorum"), Some("the fair is over"));
    fleet.do_all_but_actions();
    assert_eq!(fleet.in_state(AgentState::Running).len(), 2);
    let told = fleet.events.iter().find_map(|event| match &event.what {
        Happened::Command { override_guard, refused: None, .. } => override_guard.clone(),
        _ => None,
    });
    assert_eq!(told.as_deref(), Some("quorum"));
    assert!(fleet.progress().overridden.contains("quorum"));
    // The same guard beside another one is still overridden; another one of this name is not.
    let other = guard("other", true, Amount::Count(2), None);
    fleet.guarded_by(guards(vec![guard("quorum", false, Amount::Count(0), None), other]));
    assert!(fleet.progress().overridden.contains("quorum"));
    fleet.guarded_by(guards(vec![guard("quorum", false, Amount::Count(1), None)]));
    assert!(fleet.progress().overridden.is_empty());
    assert!(fleet.run_dry(500));
    assert_eq!(fleet.broken, None);
    fleet.check_replay().unwrap();
}

/// In a store of a version that did not keep this name for clusters that are closed to a run.
#[test]
fn a_guard_that_is_called_closed_is_a_guard_like_any_other() {
    let closed = |max_out| guards(vec![guard("closed", false, Amount::Count(max_out), None)]);
    let mut fleet = Fleet::new(zoned(3), closed(1), Kind::Rolling);
    fleet.ill.insert("node-2".into(), Some("UNAVAILABLE"));
    assert!(!fleet.run_dry(100));
    fleet.ill.clear();
    assert!(fleet.run_dry(500), "who is held by it is looked at again");
    assert_eq!(fleet.broken, None);
    let mut fleet = Fleet::new(zoned(3), closed(0), Kind::Rolling);
    assert!(!fleet.run_dry(60));
    // While the cluster is closed to the run, nobody overrides it.
    fleet.guarded_by(closed(0).closed("it goes alone"));
    let reason = refused(fleet.command(Verb::Resume, Some("closed"), Some("the fair is over")));
    assert!(reason.ends_with("its cluster is closed to it, which opens by itself"), "{reason}");
    fleet.guarded_by(closed(0));
    fleet.command(Verb::Resume, Some("closed"), Some("the fair is over"));
    assert!(fleet.progress().overridden.contains("closed"));
    assert!(fleet.run_dry(500));
    fleet.check_replay().unwrap();
}

#[test]
fn a_paused_run_resumes_with_it() {
    let mut fleet = held();
    fleet.command(Verb::Pause, None, None);
    fleet.command(Verb::Resume, Some("quorum"), Some("the fair is over"));
    let reason = fleet.progress().reason.clone().unwrap();
    assert_eq!(reason.message, "resume by ann, whatever guard quorum says: the fair is over");
    assert_eq!(fleet.progress().status, RunStatus::Running);
    assert!(fleet.run_dry(500));
}

#[test]
fn what_overrides_nothing_is_refused() {
    let mut fleet = held();
    for (verb, guard, why, expected) in [
        (Verb::Resume, "quorun", Some("why"), "its cluster has no guard \"quorun\""),
        (Verb::Resume, "windows", Some("why"), "its cluster has no guard \"windows\""),
        (Verb::Resume, "quorum", None, "say why the guard is overridden"),
        (Verb::Resume, "quorum", Some("  "), "say why the guard is overridden"),
        (Verb::Pause, "quorum", Some("why"), "pause overrides no guard: that is for resume"),
    ] {
        let found = refused(fleet.command(verb, Some(guard), why));
        assert!(found.ends_with(expected), "{found}");
    }
    assert!(fleet.progress().overridden.is_empty());
    fleet.command(Verb::Resume, Some("quorum"), Some("why"));
    fleet.do_all_but_actions();
    let again = refused(fleet.command(Verb::Resume, Some("quorum"), Some("why")));
    assert!(again.ends_with("no guard holds any of its agents"), "{again}");
    fleet.command(Verb::Pause, None, None);
    let again = refused(fleet.command(Verb::Resume, Some("quorum"), Some("why")));
    assert!(again.ends_with("guard quorum is overridden already"), "{again}");
}

/// Beside another run, nobody could keep the guards.
#[test]
fn that_a_run_waits_for_its_cluster_is_overridden_by_nobody() {
    let mut fleet = held();
    let closed = fleet.progress().guards.closed("it goes alone");
    fleet.guarded_by(closed);
    assert!(!fleet.run_dry(60));
    let held = fleet.progress().held_agents.clone();
    assert_eq!(held.guards, ["closed"]);
    assert_eq!(held.some[0].by, HeldBy::Closed { reason: "it goes alone".to_owned() });
    let found = refused(fleet.command(Verb::Resume, Some("closed"), Some("why")));
    assert!(found.ends_with("its cluster is closed to it, which opens by itself"), "{found}");
    assert!(fleet.progress().overridden.is_empty());
}
