//! Agents at whose address another node answers, and agents that do not answer when a stage begins.

use replibook_core::playbook::{Expr, Identity, Membership, OnAdded, OnRemoved, Template};
use replibook_core::run::{
    AgentId, AgentState, Datastore, FailureReason, Happened, Input, Look, Looked, Member,
    MembershipChange, Refusal, RunStatus, Timestamp, Verb, Wanted,
};
use serde_json::json;

use super::parts::{Setup, member};
use super::world::{Choice, World};

pub(super) const ROLE: &str = "agent.attributes.role == 'a'";

pub(super) fn says(agent: &str, node: &str, role: &str) -> Member {
    let attributes = json!({"role": role}).as_object().unwrap().clone();
    let node = json!({"node_id": node, "node_status": "HEALTHY"});
    Member { attributes, node, ..member(agent) }
}

/// A run whose only stage selects agents by what their nodes say.
pub(super) fn selecting(select: &str, max_failed: u32) -> World {
    let select = Expr::parse(select).unwrap();
    World::with(Setup::plain(0, max_failed), |stage| stage.select = Some(select.clone()))
}

pub(super) fn states(world: &World) -> Vec<(String, AgentState, Option<FailureReason>)> {
    let of = |record: &replibook_core::run::AgentRecord| {
        let reason = record.error.as_ref().map(|error| error.reason);
        (record.agent.to_string(), record.state, reason)
    };
    world.records().map(of).collect()
}

#[test]
fn nothing_is_sent_where_another_node_answers_and_the_agent_fails_for_that() {
    let mut world = selecting("true", 1);
    world.take_members(vec![says("web-3", "web-6", "a"), says("web-4", "web-4", "a")]);
    world.run_dry();
    let wrong = (AgentState::Failed, Some(FailureReason::WrongNode));
    let expected =
        [("web-3".to_owned(), wrong.0, wrong.1), ("web-4".to_owned(), AgentState::Done, None)];
    assert_eq!(states(&world), expected);
    assert_eq!(world.progress().status, RunStatus::Done, "within the budget");
    assert_eq!((world.progress().failures, world.progress().stage.selected), (1, 2));
    let record = world.records().next().unwrap();
    let message = &record.error.as_ref().unwrap().message;
    assert!(message.ends_with("says that it is node web-6, expected web-3"), "{message}");
    assert!(record.attributes.is_empty() && record.node.is_null(), "that is another's");
    assert!(!world.journals().any(|journal| journal.agent == AgentId::from("web-3")));
}

#[test]
fn an_identity_that_is_ignored_contradicts_nobody() {
    let mut world = selecting(ROLE, 0);
    world.take_members(vec![Member { identity: Identity::Ignore, ..says("web-3", "web-6", "a") }]);
    world.run_dry();
    assert_eq!(states(&world)[0].1, AgentState::Done);
}

#[test]
fn who_starts_late_is_looked_at_again_and_fails_where_the_node_is_another_by_then() {
    let mut world = selecting("true", 9);
    world.take_members(
        (0..5).map(|n| says(&format!("web-{n}"), &format!("web-{n}"), "a")).collect(),
    );
    world.until_calls();
    let looks = |world: &World| world.looked;
    assert_eq!(looks(&world), 0, "what was found when the stage began is fresh");
    world.pass_minutes(1);
    world.answers_as = Some("web-9".to_owned());
    world.run_dry();
    assert_eq!(looks(&world), 3, "each once");
    let wrong = |reason: &Option<FailureReason>| *reason == Some(FailureReason::WrongNode);
    let failed = states(&world).into_iter().filter(|(_, _, reason)| wrong(reason)).count();
    assert_eq!(failed, 3);
    let begun = world.events().filter(|e| matches!(e.what, Happened::StepStarted { .. })).count();
    assert_eq!(begun, 2, "no attempt begins on a node that is another");
}

#[test]
fn who_does_not_answer_is_unreachable_where_the_selection_needs_it() {
    for (select, state) in [
        (ROLE, AgentState::Failed),
        ("has(agent.attributes.role) && agent.attributes.role == 'a'", AgentState::Failed),
        ("agent.id == 'web-1' || agent.attributes.role == 'a'", AgentState::Failed),
        ("agent.id == 'web-0' || agent.attributes.role == 'a'", AgentState::Done),
        ("agent.id == 'web-1' && agent.attributes.role == 'a'", AgentState::Skipped),
        ("agent.id == 'web-0'", AgentState::Done),
    ] {
        let mut world = selecting(select, 1);
        world.take_members(vec![member("web-0"), says("web-1", "web-1", "a")]);
        world.run_dry();
        let [(_, found, reason), ..] = &states(&world)[..] else { panic!("no agents") };
        assert_eq!(*found, state, "{select}");
        let unreachable = (state == AgentState::Failed).then_some(FailureReason::Unreachable);
        assert_eq!(*reason, unreachable, "{select}");
        assert_eq!(world.progress().failures, u32::from(unreachable.is_some()), "{select}");
    }
}

#[test]
fn who_refuses_to_say_fails_for_that_where_the_selection_needs_it() {
    for reason in [FailureReason::Refused, FailureReason::Malformed] {
        let message = "http://127.0.0.1:1 answered 401: who are you?".to_owned();
        let refuses = |agent: &str| {
            let refusal = Some(Refusal { reason, message: message.clone() });
            Member { refusal, ..member(agent) }
        };
        let mut world = selecting(ROLE, 1);
        world.take_members(vec![refuses("web-0"), says("web-1", "web-1", "a")]);
        world.run_dry();
        assert_eq!(states(&world)[0].1, AgentState::Failed);
        let error = world.records().next().unwrap().error.clone().unwrap();
        assert_eq!((error.reason, error.message), (reason, message.clone()));
        assert_eq!(world.progress().status, RunStatus::Done, "within the budget");

        // If nothing that the agent says is needed, it takes part.
        let mut world = selecting("agent.id == 'web-0'", 0);
        world.take_members(vec![refuses("web-0")]);
        world.run_dry();
        assert_eq!(states(&world)[0].1, AgentState::Done);

        // When a person puts it back, it refuses again.
        let mut world = selecting(ROLE, 0);
        world.take_members(vec![member("web-0")]);
        world.run_dry();
        assert_eq!(states(&world)[0].2, Some(FailureReason::Unreachable));
        world.choose(&Choice::Command(Verb::Retry));
        world.choose(&Choice::Command(Verb::Resume));
        world.until_look();
        let key = world.records().next().unwrap().present_attempt();
        let looked = Looked::Refused(Refusal { reason, message: message.clone() });
        let address = "http://127.0.0.1:1".to_owned();
        let at = Timestamp::from_millis(0);
        world.apply(Input::Looked(Look { key, address, at, looked, identity: None }));
        assert_eq!(states(&world)[0].2, Some(reason));
    }
}

#[test]
fn an_agent_that_a_person_puts_back_is_selected_by_what_it_says_then() {
    for (role, state) in [("a", AgentState::Done), ("b", AgentState::Skipped)] {
        let mut world = selecting(ROLE, 0);
        world.take_members(vec![member("web-0"), says("web-1", "web-1", "a")]);
        world.run_dry();
        assert_eq!(world.progress().status, RunStatus::Paused, "the budget counts it");
        world.role = role.to_owned();
        world.choose(&Choice::Command(Verb::Retry));
        world.choose(&Choice::Command(Verb::Resume));
        world.run_dry();
        assert_eq!(states(&world)[0].1, state, "{role}");
        assert_eq!(world.progress().status, RunStatus::Done);
        assert_eq!(world.progress().failures, 0);
    }
}

#[test]
fn what_an_agent_said_in_a_stage_before_counts_while_it_does_not_answer() {
    let select = Expr::parse(ROLE).unwrap();
    let setup = Setup { stages: 2, ..Setup::plain(0, 0) };
    let mut world = World::with(setup, |stage| stage.select = Some(select.clone()));
    world.take_members(vec![says("web-0", "web-0", "a"), says("web-1", "web-1", "b")]);
    world.take_later(vec![member("web-0"), member("web-1")]);
    world.run_dry();
    let found: Vec<_> = states(&world).into_iter().map(|(_, state, _)| state).collect();
    assert_eq!(found, [AgentState::Done, AgentState::Skipped]);
    assert_eq!(world.progress().stage.index, 1);
}

#[test]
fn a_newcomer_that_can_not_be_selected_is_failed_or_what_the_stage_says() {
    let mut world = selecting(ROLE, 9);
    world.take_members(vec![says("web-0", "web-0", "a")]);
    world.until_calls();
    let joined = vec![member("new-1"), says("new-2", "web-0", "a"), says("new-3", "new-3", "b")];
    world.apply(Input::Membership(MembershipChange { joined, ..MembershipChange::default() }));
    world.run_dry();
    let found: Vec<_> = states(&world).into_iter().map(|(_, state, why)| (state, why)).collect();
    assert_eq!(
        found,
        [
            (AgentState::Done, None),
            (AgentState::Failed, Some(FailureReason::Unreachable)),
            (AgentState::Failed, Some(FailureReason::WrongNode)),
            (AgentState::Skipped, None),
        ]
    );
    world.check_the_end();
}

fn joins(world: &mut World, member: Member) {
    let joined = vec![member];
    world.apply(Input::Membership(MembershipChange { joined, ..MembershipChange::default() }));
}

#[test]
fn a_newcomer_that_may_be_selected_counts_as_selected_where_the_stage_skips_or_aborts() {
    let [silent, wrong] = [member("new"), says("new", "web-0", "a")];
    let other = says("new", "new", "b");
    for (added, newcomer, state, status) in [
        (OnAdded::Skip, silent.clone(), AgentState::Skipped, RunStatus::Done),
        (OnAdded::Skip, wrong.clone(), AgentState::Skipped, RunStatus::Done),
        (OnAdded::Abort, silent, AgentState::Added, RunStatus::Failed),
        (OnAdded::Abort, wrong, AgentState::Added, RunStatus::Failed),
        (OnAdded::Abort, other, AgentState::Skipped, RunStatus::Done),
    ] {
        let membership = Membership { added, removed: OnRemoved::Ignore };
        let select = Expr::parse(ROLE).unwrap();
        let setup = Setup { membership, ..Setup::plain(0, 0) };
        let mut world = World::with(setup, |stage| stage.select = Some(select.clone()));
        world.take_members(vec![says("web-0", "web-0", "a")]);
        world.until_calls();
        joins(&mut world, newcomer);
        world.run_dry();
        assert_eq!(states(&world)[1].1, state, "{added:?}");
        assert_eq!(world.progress().status, status, "{added:?} {state}");
    }
}

#[test]
fn who_returns_and_says_what_the_selection_needs_is_selected_for_good() {
    let mut world = selecting(ROLE, 0);
    world.take_members(vec![member("web-0"), says("web-1", "web-1", "a")]);
    world.run_dry();
    world.choose(&Choice::Command(Verb::Retry));
    assert!(world.records().next().unwrap().undecided);
    let left = vec![AgentId::from("web-0")];
    world.apply(Input::Membership(MembershipChange { left, ..MembershipChange::default() }));
    joins(&mut world, says("web-0", "web-0", "a"));
    assert_eq!(states(&world)[0].1, AgentState::Added);
    assert!(!world.records().next().unwrap().undecided);
}

#[test]
fn an_answer_from_an_address_that_an_agent_has_left_does_not_count() {
    let mut world = selecting("true", 0);
    world.take_members(vec![member("web-0")]);
    world.until_look();
    let key = world.records().next().unwrap().present_attempt();
    let to = "http://127.0.0.1:9".to_owned();
    let moved = vec![(AgentId::from("web-0"), to)];
    world.apply(Input::Membership(MembershipChange { moved, ..MembershipChange::default() }));
    let (address, at) = ("http://127.0.0.1:1".to_owned(), Timestamp::from_millis(0));
    let looked = Looked::Silent(String::new());
    world.apply(Input::Looked(Look { key, address, at, looked, identity: None }));
    assert!(!world.events().any(|e| matches!(e.what, Happened::StepStarted { .. })));
    world.run_dry();
    assert_eq!(states(&world)[0].1, AgentState::Done);
}

fn in_store(agent: &str, cluster_id: &str) -> Member {
    let datastore =
        Datastore { store: json!({"cluster_id": cluster_id}), shards: serde_json::Value::Null };
    Member { identity: Identity::In("rs0".into()), datastore, ..says(agent, agent, "a") }
}

#[test]
fn nothing_is_sent_to_a_node_of_another_cluster() {
    let mut world = selecting("true", 1);
    world.take_members(vec![in_store("web-3", "rs1"), in_store("web-4", "rs0")]);
    world.run_dry();
    let wrong = Some(FailureReason::WrongNode);
    let found: Vec<_> = states(&world).into_iter().map(|(_, state, why)| (state, why)).collect();
    assert_eq!(found, [(AgentState::Failed, wrong), (AgentState::Done, None)]);
    let record = world.records().next().unwrap();
    let message = &record.error.as_ref().unwrap().message;
    assert!(message.ends_with("says that it is in cluster rs1, expected rs0"), "{message}");
    assert!(record.datastore.is_empty(), "that is another's");
}

const PRIMARY: &str = "agent.shards.exists(shard, shard.role == 'PRIMARY')";

fn with_shards(agent: &str, shards: serde_json::Value) -> Member {
    let datastore = Datastore { store: serde_json::Value::Null, shards };
    Member { datastore, ..says(agent, agent, "a") }
}

#[test]
fn a_stage_selects_by_shards_and_who_does_not_tell_them_is_unreachable() {
    let primary = json!([{"id": "s", "role": "PRIMARY", "commit_offset": null, "lag": null}]);
    for (shards, expected) in [
        (primary, (AgentState::Done, None)),
        (json!([]), (AgentState::Skipped, None)),
        (serde_json::Value::Null, (AgentState::Failed, Some(FailureReason::Unreachable))),
    ] {
        let mut world = selecting(PRIMARY, 1);
        world.take_members(vec![with_shards("web-0", shards.clone())]);
        world.run_dry();
        let (_, state, why) = states(&world).remove(0);
        assert_eq!((state, why), expected, "{shards}");
        let kept = &world.records().next().unwrap().datastore.shards;
        assert_eq!(*kept, shards, "expressions of its steps see them");
    }
}

#[test]
fn agents_are_asked_for_no_more_than_the_stage_looks_at() {
    let wanted = |select: &str, with: serde_json::Value| {
        let select = Expr::parse(select).unwrap();
        let with = Template::parse(with).unwrap();
        let world = World::with(Setup::plain(1, 0), |stage| {
            stage.select = Some(select.clone());
            stage.strategy.with = with.clone();
        });
        let Wanted { store, shards, cluster } = world.selection().wanted(&Identity::Check);
        assert!(!cluster, "its cluster is not known");
        (store, shards)
    };
    assert_eq!(wanted(ROLE, json!({})), (false, false));
    assert_eq!(wanted(PRIMARY, json!({})), (false, true));
    assert_eq!(wanted("agent.store.cluster_id == 'a'", json!({})), (true, false));
    assert_eq!(wanted("agent != null", json!({})), (true, true));
    let first = json!({"canaries": ["agent.shards.size() == 0"]});
    assert_eq!(wanted(ROLE, first), (false, true), "a strategy may ask that of agents");
    let world = World::new(Setup::plain(1, 0));
    let wanted = world.selection().wanted(&Identity::In("rs0".into()));
    assert_eq!(wanted, Wanted { cluster: true, ..Wanted::default() });
}
