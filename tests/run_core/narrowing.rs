//! Runs that are narrower than their playbooks.

use replibook_core::playbook::{Expr, Narrowing};
use replibook_core::run::{
    AgentRecord, AgentState, Happened, Input, MembershipChange, RosterAt, RunStatus,
};

use crate::parts::{Setup, member};
use crate::world::World;

fn narrowed(setup: Setup, narrowed: Narrowing) -> World {
    World::new(Setup { narrowed, ..setup })
}

fn limit(limit: u32) -> Narrowing {
    Narrowing { limit: Some(limit), ..Narrowing::default() }
}

fn select(source: &str) -> Narrowing {
    Narrowing { select: Some(Expr::parse(source).unwrap()), ..Narrowing::default() }
}

/// The agents that came to an end in the last stage, and why the others take no part.
fn left(world: &World) -> (Vec<String>, Vec<String>) {
    let done = world.records().filter(|record| record.state == AgentState::Done);
    let skipped = world.records().filter_map(|record| record.skip_reason.clone());
    (done.map(|record| record.agent.to_string()).collect(), skipped.collect())
}

fn began(world: &World) -> Vec<(u16, u32)> {
    let began = world.events().filter_map(|event| match &event.what {
        Happened::Stage { index, selected, .. } => Some((*index, *selected)),
        _ => None,
    });
    began.collect()
}

#[test]
fn only_agents_that_stage_and_run_select_take_part() {
    let mut world = narrowed(Setup::plain(3, 0), select("agent.id != 'node-1'"));
    world.run_dry();
    let not = "not selected when the run was started".to_owned();
    assert_eq!(left(&world), (vec!["node-0".to_owned(), "node-2".to_owned()], vec![not]));
    assert_eq!(world.progress().status, RunStatus::Done);
    let nobody = Setup { nobody: true, ..Setup::plain(1, 0) };
    let mut world = narrowed(nobody, select("agent.id == 'node-0'"));
    world.run_dry();
    assert_eq!(left(&world).1, ["not selected by the stage"], "it is narrower, not wider");
}

#[test]
fn a_selection_of_the_run_that_needs_an_answer_waits_for_it() {
    let mut world = narrowed(Setup::plain(1, 0), select("agent.node.ok"));
    world.take_members(vec![member("node-0")]);
    assert!(world.selection().needs_answer(&member("node-0")));
    world.run_dry();
    let record = world.records().next().unwrap();
    assert!(record.undecided && record.state == AgentState::Failed, "nothing is guessed");
}

#[test]
fn no_more_agents_take_part_than_the_limit_says_in_all_stages_together() {
    let setup = Setup { stages: 2, ..Setup::plain(4, 1) };
    let mut world = narrowed(setup, limit(2));
    world.fail_next(1);
    world.run_dry();
    assert_eq!(began(&world), [(0, 2), (1, 1)], "nobody takes the place of one that failed");
    let beyond = "beyond the limit that the run was started with";
    assert_eq!(left(&world).1.iter().filter(|why| *why == beyond).count(), 2);
    world.crash_now();
    assert_eq!(world.records().filter(|record| record.chosen).count(), 2);
}

#[test]
fn an_agent_that_joins_takes_part_only_while_there_is_a_place() {
    let mut world = narrowed(Setup::plain(1, 0), limit(2));
    world.start();
    let joined = vec![member("node-7"), member("node-8")];
    let change = MembershipChange { joined, ..MembershipChange::default() };
    world.apply(Input::Membership(change));
    world.run_dry();
    assert_eq!(left(&world).0, ["node-0", "node-7"]);
}

#[test]
fn a_stage_on_the_run_takes_no_place_of_an_agent() {
    for once in [0, 1] {
        let mut world =
            narrowed(Setup { stages: 3, once: Some(once), ..Setup::plain(3, 0) }, limit(1));
        world.start();
        let joined = vec![member("node-7")];
        world.apply(Input::Membership(MembershipChange { joined, ..Default::default() }));
        world.run_dry();
        assert_eq!(world.progress().status, RunStatus::Done);
        assert_eq!(left(&world).0.iter().filter(|agent| *agent == "node-0").count(), 1);
        assert!(world.records().all(|record| record.chosen == (record.agent.as_str() == "node-0")));
    }
}

#[test]
fn stages_that_are_left_out_never_begin() {
    let skips = Narrowing { skip_stages: vec!["stage-1".to_owned()], ..Narrowing::default() };
    let starts = Narrowing { start_at: Some("stage-1".to_owned()), ..Narrowing::default() };
    for (narrowing, expected) in [(skips, [(0, 2), (2, 2)]), (starts, [(1, 2), (2, 2)])] {
        let mut world = narrowed(Setup { stages: 3, ..Setup::plain(2, 0) }, narrowing);
        world.run_dry();
        assert_eq!(began(&world), expected);
        assert_eq!(world.progress().status, RunStatus::Done);
        let reason = world.progress().reason.clone().unwrap().message;
        assert_eq!(reason, "2 done over all 2 stages");
        assert!(world.records().all(|record| record.joined_at.is_none()), "all were there");
        plays_again(&world);
    }
}

/// The history alone leads to the same states.
fn plays_again(world: &World) {
    let records: Vec<AgentRecord> = world.records().cloned().collect();
    let mut roster = RosterAt::new(world.snapshot(), records, Vec::new());
    for event in world.events() {
        roster.apply(event).unwrap();
    }
    assert_eq!(roster.stage(), world.progress().stage.index);
}
