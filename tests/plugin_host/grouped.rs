//! The strategy `grouped`: which groups it starts and when, over agents in memory.

use replibook_core::run::{AgentState, Next};
use serde_json::{Value, json};

use crate::fixtures::*;
use crate::stage::Stage;

fn grouped(arguments: Value, zones: &[Value]) -> Stage {
    let attributes = zones.iter().map(|zone| match zone.as_str() {
        Some("") => json!({ "role": "x" }),
        _ => json!({ "role": "x", "zone": zone }),
    });
    Stage::new("grouped", arguments, Agents::with(attributes.collect()))
}

fn zones(names: &str) -> Vec<Value> {
    names.chars().map(|zone| json!(zone.to_string())).collect()
}

fn abort(next: Next) -> String {
    match next {
        Next::Abort(message) => message,
        other => panic!("found {other:?}"),
    }
}

#[tokio::test]
async fn groups_go_one_after_the_other_in_batches() {
    let mut stage = grouped(json!({ "by": "zone", "batch": "50%" }), &zones("bababbcb"));
    assert_eq!(stage.run().await, Next::Complete);
    let expected = [
        ("zone a 1", 1),
        ("zone a 2", 1),
        ("zone b 1", 2),
        ("zone b 2", 2),
        ("zone b 3", 1),
        ("zone c 1", 1),
    ];
    assert_eq!(stage.batches(), expected, "half of the group at a time");
    assert_eq!(grouped(json!({ "by": "zone" }), &[]).run().await, Next::Complete);
}

#[tokio::test]
async fn an_attribute_may_be_of_any_type_and_agents_without_it_are_the_last_group() {
    let values = [
        json!(""),
        json!(true),
        json!(2),
        json!(10),
        json!(null),
        json!("2"),
        json!("x"),
        json!(1.5),
        json!([1]),
    ];
    let mut stage = grouped(json!({ "by": "zone", "batch": 9 }), &values);
    assert_eq!(stage.run().await, Next::Complete);
    let labels: Vec<_> = stage.batches().into_iter().map(|(label, _)| label.to_owned()).collect();
    let expected =
        ["zone 1.5 1", "zone 10 1", "zone 2 1", "zone true 1", "zone x 1", "without zone 1"];
    assert_eq!(labels, expected);
    assert_eq!(stage.agents_of("zone 2 1"), ["node-2", "node-5"]);
    assert_eq!(stage.agents_of("without zone 1"), ["node-0", "node-4", "node-8"]);
}

#[tokio::test]
async fn an_order_comes_before_the_others_or_refuses_them() {
    let order = |others: &str, order: Value| json!({ "by": "zone", "batch": 9, "others": others, "order": order });
    let mut all = zones("abcda");
    all.push(json!(""));
    let mut stage = grouped(order("after", json!(["c", null, "b", "none"])), &all);
    assert_eq!(stage.run().await, Next::Complete);
    let labels: Vec<_> = stage.batches().into_iter().map(|(label, _)| label.to_owned()).collect();
    assert_eq!(labels, ["zone c 1", "without zone 1", "zone b 1", "zone a 1", "zone d 1"]);

    let mut stage = grouped(order("refuse", json!(["c", "a", true])), &all);
    let why = abort(stage.run().await);
    let expected = "found 1 agent in zone b, 1 agent in zone d, 1 agent without zone; \
                    expected only zone c, zone a, zone true";
    assert_eq!(why, expected);
    assert!(stage.started.is_empty());

    let mut stage = grouped(order("refuse", json!(["b", "a"])), &zones("aab"));
    stage.run_until(|stage| stage.started.len() == 1).await;
    (0..300).for_each(|_| stage.agents().join(json!({ "zone": "late" })));
    assert_eq!(stage.run().await, Next::Complete);
    assert_eq!(stage.agents.in_state(AgentState::Skipped).len(), 300);
    assert_eq!(stage.batches(), [("zone b 1", 1), ("zone a 1", 2)]);
}

#[tokio::test]
async fn a_soak_is_between_groups_and_not_after_the_last() {
    let mut stage = grouped(json!({ "by": "zone", "batch": 2, "soak": "30s" }), &zones("aabb"));
    stage.run_until(|stage| stage.started.len() == 2).await;
    assert_eq!(stage.now, 30_000);
    assert_eq!(stage.run().await, Next::Complete);
    assert_eq!(stage.now, 30_000);
}

#[tokio::test]
async fn agents_that_join_when_nobody_waited_wait_for_the_soak_too() {
    let mut stage = grouped(json!({ "by": "zone", "batch": 2, "soak": "30s" }), &zones("aa"));
    assert_eq!(stage.run().await, Next::Complete);
    assert_eq!(stage.now, 0);
    stage.agents().join(json!({ "zone": "b" }));
    assert_eq!(stage.run().await, Next::Complete);
    assert_eq!((stage.now, stage.batches()[1]), (30_000, ("zone b 1", 1)));
}

#[tokio::test]
async fn a_window_is_filled_up_within_a_group() {
    let mut stage = grouped(json!({ "by": "zone", "batch": 2, "mode": "window" }), &zones("aaab"));
    assert_eq!(stage.plan().await, Next::Wait);
    stage.set("node-0", AgentState::Done);
    assert_eq!(stage.plan().await, Next::Wait);
    assert_eq!(stage.batches(), [("zone a 1", 2), ("zone a 2", 1)]);
    assert_eq!(stage.plan().await, Next::Wait, "the other zone waits until this one is over");
    assert_eq!(stage.run().await, Next::Complete);
    assert_eq!(stage.agents_of("zone b 1"), ["node-3"]);
}

#[tokio::test]
async fn agents_that_join_leave_return_or_fail_half_way() {
    let mut stage = grouped(json!({ "by": "zone", "batch": 1 }), &zones("aabbcc"));
    stage.fail("node-0");
    stage.set("node-1", AgentState::Removed);
    stage.run_until(|stage| stage.batches().len() == 2).await;
    assert_eq!(stage.batches()[1].0, "zone b 1");
    // One agent joins a zone that is over, and one joins the zone that is going; two leave before their turn.
    // Later one returns.
    stage.agents().join(json!({ "zone": "a" }));
    stage.agents().join(json!({ "zone": "b" }));
    stage.set("node-3", AgentState::Removed);
    stage.set("node-5", AgentState::Removed);
    stage.run_until(|stage| stage.started.len() == 3).await;
    assert_eq!(stage.agents_of("zone b 2"), ["node-7"]);
    stage.run_until(|stage| stage.started.len() == 4).await;
    assert_eq!(stage.agents_of("zone a 2"), ["node-6"], "it goes before the zones to come");
    stage.set("node-1", AgentState::Pending);
    assert_eq!(stage.run().await, Next::Complete);
    assert_eq!(stage.agents_of("zone a 3"), ["node-1"]);
    assert_eq!(stage.agents_of("zone c 1"), ["node-4"]);
    assert_eq!(stage.agents.in_state(AgentState::Failed), ["node-0".into()]);
}

#[tokio::test]
async fn agents_are_counted_again_when_as_many_wait_as_before_and_others() {
    let mut stage = grouped(json!({ "by": "zone", "soak": "30s" }), &zones("abcc"));
    stage.run_until(|stage| stage.now > 0).await;
    // One agent is put back; another one, which waited, left and returned as skipped.
    stage.set("node-0", AgentState::Pending);
    stage.set("node-3", AgentState::Skipped);
    stage.run_until(|stage| stage.started.len() == 2).await;
    assert_eq!(stage.batches()[1], ("zone a 2", 1));

    let mut stage = grouped(json!({ "by": "zone", "soak": "30s" }), &zones("abc"));
    stage.set("node-0", AgentState::Removed);
    stage.run_until(|stage| stage.now > 0).await;
    // An agent that waited has left, and another one has returned.
    stage.set("node-2", AgentState::Removed);
    stage.set("node-0", AgentState::Pending);
    stage.run_until(|stage| stage.started.len() == 2).await;
    assert_eq!(stage.batches()[1], ("zone a 1", 1));
}

#[tokio::test]
async fn a_batch_may_be_larger_than_a_decision_and_its_agents_far_apart() {
    let mut all = vec![json!("a"); 12_000];
    (0..12_000).step_by(30).for_each(|index| all[index] = json!("b"));
    let mut stage = grouped(json!({ "by": "zone", "order": ["b"], "batch": "90%" }), &all);
    stage.run_until(|stage| stage.batches().len() == 3).await;
    let batches = stage.batches();
    assert_eq!(batches[..2], [("zone b 1", 360), ("zone b 2", 40)]);
}

#[tokio::test]
async fn a_hundred_thousand_agents_are_counted_some_thousands_at_a_time() {
    let mut stage = Stage::new("grouped", json!({ "by": "zone" }), Agents::waiting(100_000));
    stage.run_until(|stage| stage.started.len() == 3).await;
    assert!(stage.plans <= 24, "{} plans", stage.plans);
    assert!(stage.memo.len() < 300, "{}", stage.memo);
}

#[tokio::test]
async fn what_names_no_groups_is_an_error() {
    let many: Vec<_> = (0..257).map(|number| json!(format!("{number:0100}"))).collect();
    let mut stage = grouped(json!({ "by": "zone" }), &many);
    let error = stage.try_plan().await.unwrap_err();
    assert!(error.contains("found more than 256 groups by zone"), "{error}");

    let quotes = |number| json!(format!("{}{number:03}", "\"".repeat(97)));
    let all: Vec<_> = (0..256).map(quotes).collect();
    let mut stage = grouped(json!({ "by": "zone" }), &all);
    stage.run_until(|stage| stage.started.len() == 256).await;

    let mut stage = grouped(json!({ "by": "zone" }), &[json!("x".repeat(101))]);
    let error = stage.try_plan().await.unwrap_err();
    assert!(error.contains("agent node-0: found 101 bytes as its zone"), "{error}");
}
