//! The strategy `canary`: whom it starts, asks and waits for, over agents in memory.

use replibook_core::run::{AgentState, Next};
use serde_json::{Value, json};

use crate::fixtures::*;
use crate::stage::Stage;

fn canary(arguments: Value, agents: u32) -> Stage {
    Stage::new("canary", arguments, Agents::waiting(agents))
}

fn message(next: Next) -> String {
    match next {
        Next::Abort(message) | Next::Approval(message) => message,
        other => panic!("found {other:?}"),
    }
}

#[tokio::test]
async fn the_first_batch_are_the_canaries_and_the_others_grow() {
    let mut stage = canary(json!({}), 40);
    assert_eq!(stage.run().await, Next::Complete);
    let expected = [("canary", 1), ("2/4 (5%)", 2), ("3/4 (25%)", 10), ("4/4 (100%)", 27)];
    assert_eq!(stage.batches(), expected);
    let asked: Vec<_> = stage.asked.iter().map(|(_, agents)| *agents).collect();
    assert_eq!(asked, [1, 3, 11, 28], "the canary, and it with each batch after that");
}

#[tokio::test]
async fn canaries_may_be_a_number_and_the_last_size_counts_for_all_that_remain() {
    let mut stage = canary(json!({ "canaries": 2, "batches": ["10%"] }), 20);
    assert_eq!(stage.run().await, Next::Complete);
    let batches = stage.batches();
    assert_eq!(batches[..3], [("canary", 2), ("2/2 (10%)", 2), ("2/2 (10%) +1", 2)]);
    assert_eq!(batches.last(), Some(&("2/2 (10%) +8", 2)));

    let mut stage = canary(json!({ "batches": [1] }), 3);
    assert_eq!(stage.run().await, Next::Complete);
    assert_eq!(stage.batches(), [("canary", 1), ("1/1 (1) +1", 1), ("1/1 (1) +2", 1)]);

    for agents in [0, 1] {
        let mut stage = canary(json!({ "approval": true }), agents);
        assert_eq!(stage.run().await, Next::Complete, "there is nothing to approve");
        assert_eq!(stage.batches().len(), agents as usize);
    }
}

#[tokio::test]
async fn canaries_are_watched_until_the_soak_is_over() {
    let arguments = json!({ "soak": "25s", "interval": "10s", "batches": [1, "100%"] });
    let mut stage = canary(arguments, 4);
    stage.run_until(|stage| stage.started.len() == 2).await;
    assert_eq!(stage.now, 25_000);
    assert_eq!(stage.asked, [(100, 1), (10_100, 1), (20_100, 1), (25_000, 1)]);
}

#[tokio::test]
async fn an_ill_canary_stops_the_run_and_is_named() {
    let arguments = json!({ "canaries": 3, "soak": "10m" });
    let mut stage = canary(arguments.clone(), 9);
    stage.run_until(|stage| stage.asked.len() == 3).await;
    stage.say("node-1", Some("UNAVAILABLE"));
    stage.say("node-2", None);
    let why = message(stage.run().await);
    assert_eq!(why, "ill after canary: node-1 is UNAVAILABLE, node-2 did not answer");
    assert_eq!(stage.batches(), [("canary", 3)]);

    let mut stage = canary(arguments.clone(), 9);
    stage.fail("node-0");
    assert!(message(stage.run().await).starts_with("ill after canary: node-0 failed"));

    let other = json!({ "canaries": 3, "healthy": ["UNAVAILABLE", "DEGRADED"] });
    let mut stage = canary(other, 3);
    (0..3).for_each(|node| stage.say(&format!("node-{node}"), Some("DEGRADED")));
    assert_eq!(stage.run().await, Next::Complete);
}

#[tokio::test]
async fn illness_after_a_later_batch_stops_the_run_too() {
    let arguments = json!({ "canaries": 1, "batches": [2, 3, "100%"] });
    for (ill, is_looked_at) in [("node-0", true), ("node-1", false), ("node-4", true)] {
        let mut stage = canary(arguments.clone(), 12);
        stage.run_until(|stage| stage.started.len() == 3).await;
        stage.say(ill, Some("UNAVAILABLE"));
        let next = stage.run_until(|stage| stage.started.len() == 4).await;
        let expected = format!("ill after batch 3/4 (3): {ill} is UNAVAILABLE");
        assert_eq!(next.map(message), is_looked_at.then_some(expected), "{ill}");
    }
    // Failures of agents that are no canaries are left to the budget.
    let mut stage = canary(arguments, 12);
    stage.fail("node-2");
    assert_eq!(stage.run().await, Next::Complete);
}

#[tokio::test]
async fn a_person_may_let_the_run_go_on_with_ill_agents() {
    let arguments = json!({ "canaries": 2, "batches": [3, "100%"], "on_ill": "approval" });
    let mut stage = canary(arguments, 9);
    stage.say("node-0", Some("UNAVAILABLE"));
    let question = message(stage.run().await);
    let expected = "ill after canary: node-0 is UNAVAILABLE; go on with the other 7?";
    assert_eq!(question, expected);
    stage.run_until(|stage| stage.started.len() == 2).await;
    stage.say("node-3", None);
    let question = message(stage.run().await);
    assert_eq!(question, "ill after batch 2/3 (3): node-3 did not answer; go on with the other 4?");
    stage.say("node-8", Some("UNAVAILABLE"));
    let question = message(stage.run().await);
    assert_eq!(
        question,
        "ill after batch 3/3 (100%): node-8 is UNAVAILABLE; end the stage all the same?"
    );
    assert_eq!(stage.run().await, Next::Complete, "nobody is asked twice about an agent");
}

#[tokio::test]
async fn a_person_may_be_asked_after_the_soak() {
    let mut stage = canary(json!({ "soak": "1m", "approval": true }), 12);
    assert_eq!(message(stage.run().await), "the canary is well after 1m; go on with the other 11?");
    assert!(stage.now >= 60_000 && stage.started.len() == 1);
    assert_eq!(stage.run().await, Next::Complete);

    let mut stage = canary(json!({ "canaries": 3, "approval": "All dashboards green?" }), 12);
    assert_eq!(message(stage.run().await), "All dashboards green?");
    assert_eq!(stage.run().await, Next::Complete);
}

#[tokio::test]
async fn canaries_may_be_selected() {
    let zone_b = json!({ "select": "agent.attributes.zone == 'b'", "batches": ["100%"] });
    let mut stage = canary(zone_b, 9);
    assert_eq!(stage.run().await, Next::Complete);
    assert_eq!(stage.agents_of("canary"), ["node-1", "node-4", "node-7"]);
    assert_eq!(stage.batches()[1], ("2/2 (100%)", 6));

    let two = json!({ "select": "agent.attributes.zone == 'b'", "canaries": 2 });
    let mut stage = canary(two, 9);
    assert_eq!(stage.run().await, Next::Complete);
    assert_eq!(stage.agents_of("canary"), ["node-1", "node-4"]);

    let mut stage = canary(json!({ "select": "agent.attributes.zone == 'x'" }), 9);
    assert!(message(stage.run().await).starts_with("no agent can be a canary"));
    let mut stage = canary(json!({ "select": "agent.attributes.rack == 'x'" }), 9);
    let error = stage.try_plan().await.unwrap_err();
    assert!(error.contains("failed to select canaries: agent node-0:"), "{error}");
}

#[tokio::test]
async fn canaries_are_found_among_many_and_looked_at_in_parts() {
    let mut attributes = vec![json!({ "zone": "a" }); 12_000];
    attributes[10_000..].fill(json!({ "zone": "b" }));
    let arguments = json!({ "select": "agent.attributes.zone == 'b'" });
    let mut stage = Stage::new("canary", arguments.clone(), Agents::with(attributes.clone()));
    stage.run_until(|stage| stage.batches().len() == 2).await;
    assert_eq!(stage.batches()[0], ("canary", 2_000));
    let asked: Vec<_> = stage.asked.iter().map(|(_, agents)| *agents).collect();
    assert_eq!(asked, [1_000, 1_000]);

    let mut stage = Stage::new("canary", arguments, Agents::with(attributes));
    (11_500..11_520).for_each(|node| stage.say(&format!("node-{node}"), None));
    let why = message(stage.run().await);
    assert!(why.ends_with("node-11509 did not answer and 10 more"), "{why}");
    assert!(stage.memo.len() < 500, "{}", stage.memo);
}

#[tokio::test]
async fn canaries_that_leave_are_replaced_and_agents_that_join_go_last() {
    let mut stage = canary(json!({ "canaries": 1, "soak": "1m", "batches": ["100%"] }), 3);
    stage.run_until(|stage| stage.asked.len() == 2).await;
    stage.set("node-0", AgentState::Removed);
    stage.run_until(|stage| stage.started.len() == 3).await;
    assert_eq!(stage.agents_of("canary"), ["node-0", "node-1"]);
    stage.agents().join(json!({}));
    assert_eq!(stage.run().await, Next::Complete);
    assert_eq!(stage.agents_of("2/2 (100%) +1"), ["node-3"]);
}

#[tokio::test]
async fn agents_that_join_when_only_canaries_were_there_wait_for_them_too() {
    let arguments = json!({ "canaries": 2, "soak": "1m", "approval": true, "batches": ["100%"] });
    let mut stage = canary(arguments.clone(), 2);
    assert_eq!(stage.run().await, Next::Complete);
    stage.agents().join(json!({}));
    assert_eq!(
        message(stage.run().await),
        "the canaries are well after 1m; go on with the other 1?"
    );
    assert!(stage.now >= 60_000, "{}", stage.now);
    assert_eq!(stage.run().await, Next::Complete);
    assert_eq!(stage.agents_of("2/2 (100%)"), ["node-2"]);

    let mut stage = canary(arguments, 1);
    stage.run_until(|stage| stage.started.len() == 1).await;
    stage.end_all();
    stage.set("node-0", AgentState::Removed);
    assert_eq!(stage.run().await, Next::Complete);
    stage.agents().join(json!({}));
    assert_eq!(stage.run().await, Next::Complete);
    assert_eq!(stage.agents_of("canary"), ["node-0", "node-1"]);
}

#[tokio::test]
async fn little_is_remembered_of_many() {
    let mut stage = canary(json!({ "batches": [1, "5%", "100%"] }), 8_000);
    let mut most = 0;
    while stage.run_until(|stage| stage.plans.is_multiple_of(20)).await.is_none() {
        most = most.max(stage.memo.len());
        if let next @ (Next::Complete | Next::Abort(_)) = stage.plan().await {
            assert_eq!(next, Next::Complete);
            break;
        }
        stage.end_all();
    }
    assert!(most < 300, "{most}");
    assert_eq!(stage.agents.in_state(AgentState::Done).len(), 8_000);
    assert!(stage.asked.iter().any(|(_, agents)| *agents == 1_000));
}
