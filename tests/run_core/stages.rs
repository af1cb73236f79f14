//! Stages that follow one another, and budgets over one stage or all of them.

use replibook_core::playbook::{Expr, Template};
use replibook_core::run::{
    AgentState, Effect, Happened, Input, Member, PastStage, ReasonCode, RetryOf, RunId, RunStatus,
    Unanswered, Verb,
};
use serde_json::json;
use uuid::Uuid;

use crate::parts::{Setup, member};
use crate::world::{Choice, World};

fn stages(world: &World) -> Vec<(String, u32)> {
    let stages = world.events().filter_map(|event| match &event.what {
        Happened::Stage { stage, selected, .. } => Some((stage.clone(), *selected)),
        _ => None,
    });
    stages.collect()
}

#[test]
fn stages_follow_each_other_over_all_agents() {
    let mut world = World::new(Setup { stages: 3, ..Setup::plain(4, 0) });
    world.run_dry();
    assert_eq!(world.progress().status, RunStatus::Done);
    let expected = [("stage-0", 4), ("stage-1", 4), ("stage-2", 4)];
    assert_eq!(stages(&world), expected.map(|(name, n)| (name.to_owned(), n)));
    for record in world.records() {
        let past: Vec<_> = record.past.iter().map(|past| (past.stage, past.state)).collect();
        assert_eq!(past, [(0, AgentState::Done), (1, AgentState::Done)]);
    }
}

#[test]
fn an_agent_that_failed_takes_no_part_in_later_stages() {
    let mut world = World::new(Setup { stages: 2, ..Setup::plain(3, 1) });
    world.fail_next(1);
    world.run_dry();
    assert_eq!(world.progress().status, RunStatus::Done);
    assert_eq!(world.progress().reason.clone().unwrap().code, ReasonCode::SomeFailed);
    let skipped: Vec<_> =
        world.records().filter(|record| record.state == AgentState::Skipped).collect();
    assert_eq!(skipped.len(), 1);
    assert_eq!(skipped[0].skip_reason.as_deref(), Some("failed in stage stage-0"));
    let PastStage { state, error, .. } = &skipped[0].past[0];
    assert!(*state == AgentState::Failed && error.is_some());
    assert_eq!(world.progress().stage.selected, 2);
}

#[test]
fn a_budget_of_the_run_counts_the_failures_of_all_stages() {
    for (run_scope, status) in [(true, RunStatus::Paused), (false, RunStatus::Done)] {
        let mut world = World::new(Setup { stages: 2, run_scope, ..Setup::plain(6, 1) });
        world.fail_next(1);
        while world.progress().stage.index == 0 {
            world.choose(&Choice::PerformWell(0));
        }
        world.fail_next(1);
        world.run_dry();
        assert_eq!(world.progress().status, status);
    }
}

#[test]
fn failures_that_a_person_accepted_let_the_run_go_on_but_not_end_well() {
    let mut world = World::new(Setup { stages: 2, ..Setup::plain(4, 0) });
    world.fail_next(1);
    world.run_dry();
    assert_eq!(world.progress().status, RunStatus::Paused);
    world.choose(&Choice::Command(Verb::Resume));
    world.run_dry();
    assert_eq!(world.progress().status, RunStatus::Failed);
    assert_eq!(stages(&world).len(), 2);
    let reason = world.progress().reason.clone().unwrap();
    assert_eq!(reason.message, "1 of 4 agents failed, the budget allows 0");
}

#[test]
fn the_last_word_of_a_budget_of_the_run_says_that_it_counts_all_stages() {
    let setup = Setup { stages: 2, run_scope: true, ..Setup::plain(4, 1) };
    let mut world = World::new(setup);
    world.fail_next(1);
    while world.progress().stage.index == 0 {
        world.choose(&Choice::PerformWell(0));
    }
    world.fail_next(1);
    world.run_dry();
    let said = "2 agents failed in all stages so far, the budget allows 1";
    let reason = |world: &World| world.progress().reason.clone().unwrap().message;
    assert_eq!((world.progress().status, reason(&world).as_str()), (RunStatus::Paused, said));
    world.choose(&Choice::Command(Verb::Resume));
    world.run_dry();
    assert_eq!((world.progress().status, reason(&world).as_str()), (RunStatus::Failed, said));
}

#[test]
fn ten_thousand_agents_enter_a_stage_in_chunks_also_after_a_crash() {
    let mut world = World::new(Setup { stages: 2, batch: 5_000, ..Setup::plain(5_000, 0) });
    while !world.progress().stage.entering {
        world.perform_all();
    }
    for _ in 0..4 {
        world.choose(&Choice::PerformWell(0));
    }
    let entered = world.records().filter(|record| record.stage == 1).count();
    assert!(entered > 0 && entered < 5_000, "{entered}");
    world.crash_now();
    world.run_dry();
    assert_eq!(world.progress().status, RunStatus::Done);
    assert!(world.records().all(|record| record.past.len() == 1));
    assert_eq!(world.progress().stage.selected, 5_000);
}

#[test]
fn members_that_came_or_went_between_two_stages_are_told_apart() {
    let mut world = World::new(Setup { stages: 2, ..Setup::plain(3, 0) });
    while !world.progress().stage.entering {
        world.perform_all();
    }
    world.members = 2;
    world.run_dry();
    assert_eq!(world.progress().count(AgentState::Removed), 1);
    let mut world = World::new(Setup { stages: 2, ..Setup::plain(3, 0) });
    while !world.progress().stage.entering {
        world.perform_all();
    }
    world.members = 4;
    world.run_dry();
    let joined: Vec<_> = world.records().filter(|record| record.joined_at.is_some()).collect();
    assert_eq!((joined.len(), joined[0].state, joined[0].stage), (1, AgentState::Done, 1));
    assert_eq!(world.progress().status, RunStatus::Done);
}

#[test]
fn who_did_not_answer_is_kept_until_the_members_come_or_the_run_is_cancelled() {
    let silent = || {
        let mut world = World::new(Setup { stages: 2, ..Setup::plain(2, 0) });
        while !world.progress().stage.entering {
            world.perform_all();
        }
        let unanswered = Unanswered { agents: 1, first: Vec::new(), until: world.moment() };
        world.apply(Input::MembersUnanswered(unanswered));
        assert!(world.progress().stage.unanswered.is_some());
        world
    };
    let mut world = silent();
    world.command(Verb::Pause, None);
    world.apply(Input::MembersFailed("no".to_owned()));
    assert_eq!(world.progress().stage.unanswered, None, "also where nothing else is written");
    let mut world = silent();
    world.command(Verb::Cancel, None);
    assert_eq!(world.progress().stage.unanswered, None);
    let mut world = silent();
    world.run_dry();
    assert_eq!(world.progress().status, RunStatus::Done);
}

#[test]
fn a_stage_whose_agents_can_not_be_worked_out_pauses_the_run_until_it_is_resumed() {
    let mut world = World::new(Setup { stages: 2, ..Setup::plain(3, 0) });
    while !world.progress().stage.entering {
        world.perform_all();
    }
    world.members = 0;
    world.run_dry();
    assert_eq!(world.progress().status, RunStatus::Paused);
    let reason = world.progress().reason.clone().unwrap();
    assert_eq!(reason.message, "failed to begin stage stage-1: cluster c has no agents");
    world.members = 3;
    world.choose(&Choice::Command(Verb::Resume));
    world.run_dry();
    assert_eq!(world.progress().status, RunStatus::Done);
}

#[test]
fn an_expression_without_a_value_pauses_the_run_as_one_that_only_a_new_version_mends() {
    let select = Expr::parse("agent.attributes.role == 'a'").unwrap();
    let setup = Setup { stages: 2, ..Setup::plain(3, 0) };
    let mut world = World::with(setup, |stage| {
        stage.select = (stage.name == "stage-1").then(|| select.clone());
    });
    let says = |n: usize| {
        let node = json!({"node_id": format!("node-{n}"), "node_status": "HEALTHY"});
        Member { node, ..member(&format!("node-{n}")) }
    };
    world.take_members((0..3).map(says).collect());
    world.take_later((0..3).map(says).collect());
    world.run_dry();
    let paused = |world: &World| {
        assert_eq!(world.progress().status, RunStatus::Paused);
        let reason = world.progress().reason.clone().unwrap();
        assert_eq!(reason.code, ReasonCode::ExpressionFailed);
        reason.message
    };
    let message = paused(&world);
    let begin = "failed to begin stage stage-1: failed to select agents: agent node-0: ";
    assert!(message.starts_with(begin), "{message}");
    world.choose(&Choice::Command(Verb::Cancel));
    world.run_dry();
    assert_eq!(world.progress().status, RunStatus::Cancelled);
    let run = RunId(Uuid::nil());
    let retry = RetryOf { run, failed: false, skipped: false, unfinished: true };
    let taken = world.records().filter(|record| retry.takes(record, &world.came_to())).count();
    assert_eq!(taken, 3, "the second stage came to nobody");

    let with = Template::parse(json!({"batch": "${{ params.batch }}"})).unwrap();
    let mut world = World::with(Setup::plain(3, 0), |stage| stage.strategy.with = with.clone());
    world.run_dry();
    let message = paused(&world);
    let begin = "the arguments of strategy rolling of stage stage-0: ";
    assert!(message.starts_with(begin), "{message}");
    world.choose(&Choice::Command(Verb::Resume));
    world.run_dry();
    assert_eq!(paused(&world), message);
}

#[test]
fn the_members_are_loaded_once_also_where_the_run_is_paused_and_resumed_meanwhile() {
    let mut world = World::new(Setup { stages: 2, ..Setup::plain(3, 0) });
    while !world.progress().stage.entering {
        world.perform_all();
    }
    world.choose(&Choice::Command(Verb::Pause));
    world.choose(&Choice::Command(Verb::Resume));
    let loads = world.effects().filter(|effect| matches!(effect, Effect::LoadMembers)).count();
    assert_eq!(loads, 1);
    world.run_dry();
    assert_eq!(world.progress().status, RunStatus::Done);
}
