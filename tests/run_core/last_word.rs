//! The reason that a run ends with: that no agent was selected, which failures were passed over, and agents
//! counted over all stages.

use replibook_core::run::{
    AgentId, AgentState, Gone, Input, MAX_NAMED, MembershipChange, PassedOver, ReasonCode,
    RunStatus, StatusReason, Verb,
};

use crate::identity::{ROLE, says, selecting};
use crate::parts::{Setup, member};
use crate::world::{Choice, World};

fn ended(setup: Setup) -> World {
    let mut world = World::new(setup);
    world.run_dry();
    assert_eq!(world.progress().status, RunStatus::Done);
    world
}

fn told(world: &World) -> (ReasonCode, String) {
    let StatusReason { code, message } = world.progress().reason.clone().unwrap();
    (code, message)
}

fn gone(count: usize) -> Option<Gone> {
    Some(Gone::of((0..count).map(|n| AgentId(format!("gone-{n}")))))
}

#[test]
fn a_run_whose_every_stage_selects_nobody_is_done_and_says_so() {
    for (agents, stages, expected) in [
        (3, 1, "nobody was selected of 3 agents"),
        (1, 1, "nobody was selected of 1 agent"),
        (3, 2, "nobody was selected in any of the 2 stages of 3 agents"),
    ] {
        let world = ended(Setup { nobody: true, stages, ..Setup::plain(agents, 0) });
        assert_eq!(told(&world), (ReasonCode::NobodySelected, expected.to_owned()));
        let skipped = u32::try_from(agents).unwrap();
        assert_eq!(world.progress().outcomes, [(AgentState::Skipped, skipped)].into());
    }
    let world = ended(Setup::plain(3, 0));
    assert_eq!(told(&world), (ReasonCode::AllDone, "3 of 3 agents done".to_owned()));
}

#[test]
fn a_run_over_agents_that_have_left_is_done_over_nobody_and_names_them() {
    for stages in [1, 3] {
        let world = ended(Setup { gone: gone(MAX_NAMED + 2), stages, ..Setup::plain(0, 0) });
        let (code, message) = told(&world);
        assert_eq!(code, ReasonCode::NobodySelected);
        assert!(message.starts_with("nobody was selected"), "{message}");
        assert!(message.contains("left no failed agents that are still there; 7 of"), "{message}");
        assert!(message.ends_with("gone-3, gone-4 and 2 more"), "{message}");
        assert!(world.progress().outcomes.is_empty());
    }
    let world = ended(Setup { gone: gone(1), ..Setup::plain(2, 0) });
    let expected = "2 of 2 agents done; 1 of those agents has left the cluster: gone-0";
    assert_eq!(told(&world), (ReasonCode::AllDone, expected.to_owned()));
    let world = ended(Setup { gone: gone(0), ..Setup::plain(2, 0) });
    assert_eq!((told(&world).1.as_str(), &world.progress().gone), ("2 of 2 agents done", &None));
}

#[test]
fn failures_of_steps_that_are_passed_over_are_counted_and_told() {
    let mut world = World::new(Setup { steps: 6, continues: true, ..Setup::plain(1, 0) });
    world.fail_next(5);
    world.run_dry();
    assert_eq!(world.progress().passed_over, PassedOver { failures: 5, agents: 1 });
    assert_eq!(world.records().next().unwrap().passed_over, 5);
    let expected = "1 of 1 agents done; 5 failures of steps passed over on 1 agent";
    assert_eq!(told(&world), (ReasonCode::SomeFailed, expected.to_owned()));

    // Over two stages, with a crash in between.
    let setup = Setup { steps: 2, stages: 2, continues: true, ..Setup::plain(3, 0) };
    let mut world = World::new(setup);
    world.fail_next(2);
    while world.progress().stage.index == 0 {
        world.choose(&Choice::PerformWell(0));
    }
    world.crash_now();
    world.fail_next(1);
    world.run_dry();
    let passed = world.progress().passed_over;
    assert_eq!(passed.failures, 3);
    let (_, message) = told(&world);
    assert_eq!(message, format!("3 done over all 2 stages; {passed}"));
}

#[test]
fn what_a_cancelled_run_cuts_off_is_not_passed_over() {
    let mut world = World::new(Setup { steps: 2, continues: true, ..Setup::plain(1, 0) });
    world.until_calls();
    world.choose(&Choice::Command(Verb::Cancel));
    world.fail_next(1);
    world.run_dry();
    assert_eq!(world.progress().status, RunStatus::Cancelled);
    assert!(world.progress().passed_over.is_none());
    assert_eq!(world.progress().outcomes, [(AgentState::Failed, 1)].into());
}

#[test]
fn the_last_word_counts_agents_over_all_stages() {
    let mut world = World::new(Setup { stages: 2, ..Setup::plain(3, 1) });
    world.fail_next(1);
    world.run_dry();
    let counts = &world.progress().counts;
    assert_eq!(counts.get(&AgentState::Failed).copied().unwrap_or(0), 0, "of the last stage");
    let expected = [(AgentState::Done, 2), (AgentState::Failed, 1)];
    assert_eq!(world.progress().outcomes, expected.into());
    let expected = "2 done, 1 failed over all 2 stages".to_owned();
    assert_eq!(told(&world), (ReasonCode::SomeFailed, expected));
}

#[test]
fn a_failure_of_a_newcomer_is_one_of_somebody() {
    let mut world = selecting(ROLE, 1);
    world.take_members(vec![says("web-0", "web-0", "b")]);
    world.start();
    world.choose(&Choice::Command(Verb::Pause));
    let joined = vec![member("new-1")];
    world.apply(Input::Membership(MembershipChange { joined, ..MembershipChange::default() }));
    world.choose(&Choice::Command(Verb::Resume));
    world.run_dry();
    let reason = world.progress().reason.clone().unwrap();
    assert_eq!((world.progress().status, reason.code), (RunStatus::Done, ReasonCode::SomeFailed));
    assert_eq!((world.progress().failures, world.progress().selected), (1, 1), "{reason:?}");
}

/// In a store of an earlier version, it is not recorded how many agents were selected in all stages.
#[test]
fn a_run_of_an_earlier_version_that_nobody_started_in_has_selected_somebody() {
    let mut world = World::new(Setup::plain(3, 0));
    world.start();
    world.choose(&Choice::Command(Verb::Pause));
    assert!(world.records().all(|record| record.started_at.is_none()));
    world.take_up_without_selected();
    world.choose(&Choice::Command(Verb::Resume));
    world.run_dry();
    let reason = world.progress().reason.clone().unwrap();
    assert_eq!((reason.code, world.progress().selected), (ReasonCode::AllDone, 3), "{reason:?}");
}
