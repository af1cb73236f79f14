//! Strategies: the built-in ones over a roster in memory, and some that misbehave.

use std::collections::BTreeMap;

use replibook_core::playbook::{parse_playbook, resolve};
use replibook_core::run::{AgentState, Decision, Digest, Next, Timestamp};
use serde_json::{Value, json};

use crate::fixtures::*;

/// Plays a stage: starts the agents that the strategy names, and lets `ends` of those in flight end when it
/// waits. Returns the decisions that started agents, as label and number.
async fn play(
    plugin: &Digest,
    arguments: Value,
    agents: &mut Agents,
    max_start: u32,
    ends: usize,
) -> Vec<(String, usize)> {
    let (mut memo, mut started) = (String::new(), Vec::new());
    for _ in 0..1_000 {
        let outcome = plan(plugin, arguments.clone(), &memo, max_start, agents).await;
        let Decision { start, skip, next, memo: new, label, refresh: _ } = outcome.result.unwrap();
        assert!(skip.is_empty());
        memo = new;
        for agent in &start {
            assert!(agents.in_state(AgentState::Pending).contains(agent));
            agents.set(agent, AgentState::Running);
        }
        if !start.is_empty() {
            started.push((label.unwrap(), start.len()));
        }
        match next {
            Next::Complete => return started,
            // After a full decision the host asks again at once.
            Next::Wait if start.len() == max_start as usize => {}
            Next::Wait => {
                let running = agents.in_state(AgentState::Running);
                assert!(!running.is_empty(), "waits for nothing");
                for agent in running.iter().take(ends) {
                    agents.set(agent, AgentState::Done);
                }
            }
            next => panic!("found {next:?}"),
        }
    }
    panic!("the stage never ends")
}

fn numbers(started: &[(String, usize)]) -> Vec<usize> {
    started.iter().map(|(_, number)| *number).collect()
}

#[tokio::test]
async fn rolling_starts_the_next_batch_when_the_last_is_done() {
    let plugin = builtin("rolling");
    let played = play(&plugin, json!({ "batch": 5 }), &mut Agents::waiting(12), 300, 2).await;
    let expected = [("batch 1", 5), ("batch 2", 5), ("batch 3", 2)];
    assert_eq!(played, expected.map(|(label, number)| (label.to_owned(), number)));
    let played = play(&plugin, json!({}), &mut Agents::waiting(3), 300, 1).await;
    assert_eq!(numbers(&played), [1, 1, 1]);
    let played = play(&plugin, json!({}), &mut Agents::waiting(0), 300, 1).await;
    assert!(played.is_empty());
}

#[tokio::test]
async fn a_share_is_rounded_down_and_never_to_nothing() {
    let plugin = builtin("rolling");
    for (batch, agents, first) in [
        ("10%", 12, 1),
        ("10%", 3, 1),
        ("25%", 12, 3),
        ("100%", 12, 12),
        ("0.01%", 3, 1),
        ("12.5%", 16, 2),
        ("2", 12, 2),
    ] {
        let arguments = json!({ "batch": batch });
        let played = play(&plugin, arguments, &mut Agents::waiting(agents), 300, 300).await;
        assert_eq!(played[0].1, first, "{batch} of {agents}");
    }
}

#[tokio::test]
async fn a_batch_that_is_larger_than_a_decision_goes_on_in_the_next() {
    let plugin = builtin("rolling");
    let played = play(&plugin, json!({ "batch": 10 }), &mut Agents::waiting(14), 4, 300).await;
    let expected = [("batch 1", 4), ("batch 1", 4), ("batch 1", 2), ("batch 2", 4)];
    assert_eq!(played, expected.map(|(label, number)| (label.to_owned(), number)));
    // A batch of exactly as many agents as one decision may start is complete.
    let played = play(&plugin, json!({ "batch": 4 }), &mut Agents::waiting(8), 4, 1).await;
    assert_eq!(numbers(&played), [4, 4]);
}

#[tokio::test]
async fn a_window_fills_places_as_they_free_up() {
    let plugin = builtin("rolling");
    let arguments = json!({ "batch": 3, "mode": "window" });
    let played = play(&plugin, arguments, &mut Agents::waiting(6), 300, 1).await;
    assert_eq!(numbers(&played), [3, 1, 1, 1]);
}

#[tokio::test]
async fn all_at_once_starts_all_within_what_a_decision_may_start() {
    let plugin = builtin("all-at-once");
    let played = play(&plugin, json!({}), &mut Agents::waiting(10), 4, 300).await;
    assert_eq!(numbers(&played), [4, 4, 2]);
}

#[tokio::test]
async fn bad_arguments_are_an_error_that_names_them() {
    let agents = Agents::waiting(1);
    let bad = [
        json!({ "batch": 0 }),
        json!({ "batch": "150%" }),
        json!({ "batch": "0%" }),
        json!({ "mode": "x" }),
        json!({ "a": 1 }),
    ];
    for arguments in bad {
        let outcome = plan(&builtin("rolling"), arguments.clone(), "", 300, &agents).await;
        let error = outcome.result.unwrap_err();
        assert_eq!(error.code, "strategy-failed", "{arguments}");
        assert!(error.message.contains("failed to read the arguments"), "{error}");
    }
    let outcome = plan(&builtin("rolling"), json!({}), "what", 300, &agents).await;
    assert!(outcome.result.unwrap_err().message.contains("memo"));
}

/// The problems of a playbook whose strategy has these arguments.
fn problems(strategy: &str, arguments: &str) -> String {
    let text = format!(
        "apiVersion: replicante.io/v1\nkind: Playbook\nmetadata: {{ name: p, version: 1.0.0 }}\n\
         spec:\n  stages:\n    - name: all\n      strategy: {{ use: {strategy}, with: {arguments} }}\n      \
         steps: [{{ name: wait, use: wait-healthy }}]\n"
    );
    let builtins: Vec<_> = host().builtins().iter().map(|plugin| plugin.info.clone()).collect();
    let document = parse_playbook(text.as_bytes()).unwrap();
    match resolve(&document, &BTreeMap::new(), &builtins) {
        Ok(_) => String::new(),
        Err(problems) => problems.to_string(),
    }
}

#[test]
fn arguments_that_make_no_sense_are_refused_with_the_document() {
    let good = [
        ("canary", "{}"),
        ("canary", "{ canaries: 5%, select: 'agent.attributes.canary', soak: 5m }"),
        ("canary", "{ approval: Sure?, batches: [1, 2.5%, 100%], on_ill: approval }"),
        ("grouped", "{ by: zone, order: [a, 2, true, null], others: refuse, batch: 50% }"),
        ("rolling", "{ batch: 0.01% }"),
        ("rolling", "{ batch: 05% }"),
        ("rolling", "{ batch: '2' }"),
        ("grouped", "{ by: zone, batch: '2', soak: 1h30m }"),
        ("canary", "{ canaries: '1', batches: ['2', 50%], soak: PT1H30M, interval: 5 minutes }"),
        ("canary", "{ soak: 49d, interval: 4294967295ms }"),
        ("grouped", "{ by: zone, soak: 1193h }"),
    ];
    for (strategy, arguments) in good {
        assert_eq!(problems(strategy, arguments), "", "{arguments}");
    }
    let bad = [
        ("canary", "{ canaries: 0 }", "/canaries"),
        ("canary", "{ canaries: 101% }", "/canaries"),
        ("canary", "{ canaries: 0% }", "/canaries"),
        ("canary", "{ batches: [1, 0.00%] }", "/batches/1"),
        ("grouped", "{ by: zone, batch: 0% }", "/batch"),
        ("rolling", "{ batch: 0% }", "/batch"),
        ("rolling", "{ batch: '0' }", "/batch"),
        ("rolling", "{ batch: two }", "/batch"),
        ("canary", "{ canaries: [1] }", "/canaries"),
        ("canary", "{ soak: 5 }", "/soak"),
        ("canary", "{ soak: 0s }", "/soak"),
        ("canary", "{ soak: 50d }", "/soak"),
        ("canary", "{ interval: 4294967296ms }", "/interval"),
        ("canary", "{ interval: 5 moons }", "/interval"),
        ("canary", "{ healthy: [healthy] }", "/healthy/0"),
        ("canary", "{ healthy: [] }", "/healthy"),
        ("canary", "{ batches: [] }", "/batches"),
        ("canary", "{ batches: [1, x] }", "/batches/1"),
        ("canary", "{ approval: 1 }", "/approval"),
        ("canary", "{ on_ill: continue }", "/on_ill"),
        ("canary", "{ canary: 1 }", "canary"),
        ("grouped", "{}", "by"),
        ("grouped", "{ by: 1 }", "/by"),
        ("grouped", "{ by: zone, order: [[a]] }", "/order/0"),
        ("grouped", "{ by: zone, order: [a, a] }", "/order"),
        ("grouped", "{ by: zone, others: refuse }", "order"),
        ("grouped", "{ by: zone, mode: x }", "/mode"),
        ("grouped", "{ by: zone, soak: 1194h }", "/soak"),
    ];
    for (strategy, arguments, place) in bad {
        let found = problems(strategy, arguments);
        assert_eq!(found.lines().count(), 1, "{arguments}: {found}");
        assert!(found.contains(place), "{arguments}: {found}");
        assert!(!found.contains("text that matches"), "a pattern is not for people: {found}");
    }
    let found = problems("canary", "{ soak: 50d }");
    let told = "/spec/stages/0/strategy/with/soak: this value is not allowed; found \"50d\"; expected a \
                length of time such as 300ms, 5m, 1h30m, 1d or PT1H30M, of more than zero and at most 49 days";
    assert!(found.ends_with(told), "{found}");
}

#[tokio::test]
async fn only_a_strategy_that_is_loaded_can_be_asked() {
    let step = imported("hostile").await;
    let outcome = plan(&step, json!({}), "", 300, &Agents::waiting(1)).await;
    assert_eq!(outcome.result.unwrap_err().code, "wrong-world");
    let unknown = Digest::of(b"nothing");
    let outcome = plan(&unknown, json!({}), "", 300, &Agents::waiting(1)).await;
    assert_eq!(outcome.result.unwrap_err().code, "not-loaded");
}

#[tokio::test]
async fn a_strategy_sees_its_roster_in_pages() {
    let plugin = imported("hostile-strategy").await;
    let agents = Agents::waiting(1_200);
    let outcome = plan(&plugin, json!({ "do": "look" }), "", 300, &agents).await;
    assert_eq!(outcome.logs.len(), 1);
    let decision = outcome.result.unwrap();
    assert_eq!(decision.label.as_deref(), Some("1000"));
    assert_eq!(decision.start, ["node-1".into()]);
    assert_eq!(decision.next, Next::WaitUntil(Timestamp::from_millis(START.as_millis() + 1_000)));
    assert!(
        decision.memo.starts_with("true ") && decision.memo.contains("zone"),
        "{}",
        decision.memo
    );
}

#[tokio::test]
async fn a_strategy_sees_what_nodes_said_and_has_them_asked_afresh() {
    let plugin = imported("hostile-strategy").await;
    let mut agents = Agents::waiting(3);
    let node = json!({ "node_status": { "UNKNOWN": "starting" }, "node_id": "node-0" });
    agents.say("node-0", node, Some(START));
    agents.say("node-1", Value::Null, Some(START));
    let outcome = plan(&plugin, json!({ "do": "fresh" }), "", 300, &agents).await;
    let decision = outcome.result.unwrap();
    assert_eq!(decision.start, ["node-1".into()]);
    assert_eq!(decision.refresh, ["node-1".into(), "node-2".into()], "each once");
    let lines: Vec<_> = decision.memo.lines().collect();
    assert_eq!(lines[0], "agent nobody is not in the run");
    assert!(lines[1].contains("invalid expression"), "{}", lines[1]);
    assert!(lines[2].contains("there is no \\\"rack\\\""), "{}", lines[2]);
    assert!(lines[3].contains("expected true or false"), "{}", lines[3]);
    assert_eq!(lines[4], "Ok(true)");
    assert_eq!(lines[5], lines[0]);
    let views: Vec<_> = lines[6].split("NodeView").collect();
    assert!(views[1].contains(r#"Some("UNKNOWN")"#), "it gave a reason: {}", views[1]);
    assert!(views[1].contains("starting") && views[1].contains("seen-at: Some("), "{}", views[1]);
    let silent = r#"status: None, node: None, seen-at: Some("#;
    assert!(views[2].contains(silent), "it did not answer: {}", views[2]);
    let never = "status: None, node: None, seen-at: None";
    assert!(views[3].contains(never), "it was never asked: {}", views[3]);
    assert_eq!(lines[7], "true");
}
