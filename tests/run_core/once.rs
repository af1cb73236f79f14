//! Stages on the run: their steps are done once, and on no agent.

use replibook_core::playbook::{StageOn, Template};
use replibook_core::run::{
    Activation, ActivationEnd, AgentId, AgentRecord, AgentState, Call, Effect, Happened, Input,
    JsonText, MembershipChange, ReasonCode, RetryOf, RunId, RunStatus, Verb,
};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::parts::{Setup, member};
use crate::roster;
use crate::world::{Choice, World};

fn once(once: usize, stages: usize) -> Setup {
    Setup { once: Some(once), stages, ..Setup::plain(3, 0) }
}

fn of_run(world: &World) -> Option<&AgentRecord> {
    world.records().find(|record| record.agent.is_run())
}

/// The stages that began, and how many each selected.
fn began(world: &World) -> Vec<(u16, u32)> {
    let began = world.events().filter_map(|event| match &event.what {
        Happened::Stage { index, selected, .. } => Some((*index, *selected)),
        _ => None,
    });
    began.collect()
}

/// How often steps of the run itself began.
fn tries(world: &World) -> usize {
    let begun = world.events().filter(|event| match &event.what {
        Happened::StepStarted { agent, .. } => agent.is_run(),
        _ => false,
    });
    begun.count()
}

/// Goes on until the stage on the run has begun a step.
fn until_begun(world: &mut World) {
    while tries(world) == 0 {
        world.choose(&Choice::PerformWell(0));
    }
}

#[test]
fn a_stage_on_the_run_is_done_once_wherever_it_is() {
    for place in 0..3 {
        let mut world = World::new(once(place, 3));
        world.run_dry();
        assert_eq!(world.progress().status, RunStatus::Done, "{place}");
        let mut expected = vec![(0, 3), (1, 3), (2, 3)];
        expected[place].1 = 1;
        assert_eq!((began(&world), tries(&world)), (expected, 1));
        let reason = world.progress().reason.clone().unwrap();
        assert_eq!(reason.message, "3 done over all 3 stages", "the run is none of its agents");
        for record in world.records().filter(|record| !record.agent.is_run()) {
            assert_eq!(record.past.len(), 1, "a stage on the run passes it by");
        }
        roster::check(&world);
    }
}

#[test]
fn what_it_finds_out_is_in_scope_of_all_agents_later() {
    let mut world = World::with(once(0, 2), |stage| {
        let known = "${{ steps[\"once-0-0\"].result == null ? \"known\" : \"unknown\" }}";
        if stage.on == StageOn::Agents {
            stage.steps[0].with = Template::parse(json!({"kind": known})).unwrap();
        }
    });
    let mut kinds = Vec::new();
    while !world.progress().status.is_final() {
        for effect in world.effects() {
            if let Effect::Activate(activate) = effect
                && !activate.agent.is_run()
            {
                kinds.push(activate.journal.arguments.value()["kind"].clone());
            }
        }
        world.choose(&Choice::PerformWell(0));
    }
    assert!(!kinds.is_empty() && kinds.iter().all(|kind| kind == "known"), "{kinds:?}");
}

#[test]
fn one_that_fails_pauses_the_run_and_a_retry_does_its_step_again() {
    let setup = Setup { timeout: Some(1), ..once(1, 3) };
    let mut world = World::with(setup, |stage| {
        stage.steps[0].timeout = Some(replibook_core::run::Millis::from_secs(30));
    });
    until_begun(&mut world);
    world.until_calls();
    // It sleeps for longer than its step may take. The run was to be woken for an agent before, too.
    world.wake();
    world.wake();
    let reason = world.progress().reason.clone().unwrap();
    assert_eq!(
        (world.progress().status, reason.code),
        (RunStatus::Paused, ReasonCode::BudgetExceeded)
    );
    assert_eq!(reason.message, "stage stage-1 failed");
    world.command(Verb::Retry, Some("node-0"));
    assert!(world.refusals()[0].ends_with("the agent is not in the present stage"));
    world.command(Verb::Retry, None);
    world.choose(&Choice::Command(Verb::Resume));
    world.until_calls();
    assert_eq!(tries(&world), 2);
    world.run_dry();
    assert_eq!(world.progress().status, RunStatus::Done);
    assert_eq!(began(&world).len(), 3);
}

#[test]
fn a_failed_gate_leaves_agents_unfinished_only_if_more_was_to_come() {
    let run = RunId(Uuid::from_u128(7));
    let retry = RetryOf { run, failed: false, skipped: false, unfinished: true };
    for (place, expected) in [(0, 0), (1, 3), (2, 0)] {
        let mut world = World::with(once(place, 3), |stage| {
            stage.steps[0].timeout = Some(replibook_core::run::Millis::from_secs(30));
        });
        until_begun(&mut world);
        world.until_calls();
        while world.progress().status == RunStatus::Running {
            world.wake();
        }
        world.choose(&Choice::Command(Verb::Cancel));
        world.run_dry();
        assert_eq!(world.progress().status, RunStatus::Cancelled, "{place}");
        let taken = world.records().filter(|record| retry.takes(record, &world.came_to()));
        assert_eq!(taken.count(), expected, "{place}");
        assert_eq!(world.came_to().between, place < 2, "{place}");
    }
}

#[test]
fn a_failure_that_a_person_accepts_lets_the_next_stage_begin() {
    let mut world = World::with(once(0, 2), |stage| {
        stage.steps[0].timeout = Some(replibook_core::run::Millis::from_secs(30));
    });
    until_begun(&mut world);
    world.until_calls();
    world.wake();
    world.choose(&Choice::Command(Verb::Resume));
    world.run_dry();
    assert_eq!(began(&world), [(0, 1), (1, 3)], "all agents take part");
    assert_eq!(world.progress().status, RunStatus::Failed);
    assert_eq!(world.progress().reason.clone().unwrap().message, "stage stage-0 failed");
}

#[test]
fn a_crash_at_any_moment_begins_no_second_attempt() {
    for crash in 0..40 {
        let mut world = World::new(Setup { ends: true, ..once(1, 3) });
        for moment in 0..40 {
            if moment == crash {
                world.crash_now();
            }
            world.choose(&Choice::PerformWell(0));
        }
        world.run_dry();
        // The step, and the finally step.
        assert_eq!((world.progress().status, tries(&world)), (RunStatus::Done, 2), "{crash}");
        roster::check(&world);
    }
}

#[test]
fn who_joins_or_leaves_meanwhile_is_found_out_by_the_next_stage() {
    let mut world = World::new(once(1, 3));
    until_begun(&mut world);
    let (joined, left) = (vec![member("node-9")], vec![AgentId::from("node-0")]);
    let change = MembershipChange { joined, left, ..MembershipChange::default() };
    world.apply(Input::Membership(change));
    assert_eq!(world.progress().counts.values().sum::<u32>(), 1, "the stage counts itself alone");
    world.take_members(vec![member("node-1"), member("node-9")]);
    world.run_dry();
    assert_eq!(world.progress().status, RunStatus::Done);
    let state =
        |agent: &str| world.records().find(|record| record.agent.as_str() == agent).unwrap().state;
    assert_eq!((state("node-0"), state("node-9")), (AgentState::Removed, AgentState::Done));
}

#[test]
fn an_agent_is_never_asked() {
    let mut world = World::new(once(0, 1));
    until_begun(&mut world);
    let activates = |effect: &Effect| matches!(effect, Effect::Activate(_));
    assert!(world.effects().any(activates));
    let key = of_run(&world).unwrap().present_attempt();
    let (kind, arguments) = ("k".to_owned(), JsonText::from(Value::Null));
    let end = ActivationEnd::Blocked(Call::RunAction { kind, arguments });
    let activation = Activation { end, logs: vec![] };
    world.apply(Input::Activated { key, activation });
    let failure = of_run(&world).unwrap().error.clone().unwrap();
    assert!(failure.message.contains("a stage on the run has no agents"), "{}", failure.message);
    assert_eq!(world.looked, 0);
}

#[test]
fn a_cancel_ends_it_at_once_but_for_its_last_steps() {
    let mut world = World::new(Setup { ends: true, ..once(0, 2) });
    until_begun(&mut world);
    world.until_calls();
    world.choose(&Choice::Command(Verb::Cancel));
    world.run_dry();
    assert_eq!(world.progress().status, RunStatus::Cancelled);
    assert_eq!(of_run(&world).unwrap().state, AgentState::Failed);
    assert_eq!(tries(&world), 2, "its finally step is done");
    assert_eq!(world.records().count(), 1, "no agent was touched");
}

#[test]
fn a_run_of_nothing_but_such_stages_needs_no_agents() {
    let mut world = World::with(Setup { stages: 1, ..once(0, 1) }, |_| {});
    world.members = 0;
    world.run_dry();
    assert_eq!(world.progress().status, RunStatus::Done);
    let reason = world.progress().reason.clone().unwrap();
    assert_eq!(
        (reason.code, reason.message.as_str()),
        (ReasonCode::AllDone, "stage stage-0 is done")
    );
}
