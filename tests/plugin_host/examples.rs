//! The plugins of `examples/plugins/rust`, built from source as their authors would build them.

use replibook_core::playbook::PluginKind;
use replibook_core::run::{
    ActivationEnd, AgentState, Answer, Call, FailureReason, Millis, Next, NodeInfo,
};
use serde_json::json;

use crate::fixtures::*;

fn info(status: &str) -> Answer {
    let (status, attributes, raw) = (status.to_owned(), object(json!({})), json!({}));
    Answer::Info(Ok(NodeInfo { status, attributes, raw, datastore: Default::default() }.into()))
}

#[tokio::test]
async fn the_step_restarts_a_healthy_node_and_waits() {
    let plugin = example("safe-restart").await;
    assert_eq!((plugin.kind, plugin.name.as_str()), (PluginKind::Step, "safe-restart"));
    let mut start = activate(&plugin.digest, json!({ "kind": "demo/restart", "settle_ms": 50 }));
    start.grants = grants(&["demo/*"]);
    let (calls, lines, end) = drive(start.clone(), |call| match call {
        Call::Info => info("HEALTHY"),
        Call::RunAction { .. } => Answer::RunAction(Ok(json!("restarted").into())),
        Call::Sleep { length } => {
            assert_eq!(*length, Millis(50));
            Answer::Sleep
        }
        Call::WaitStatus { .. } => Answer::WaitStatus(Ok("HEALTHY".to_owned())),
        Call::HttpSend { .. } | Call::WaitSignal { .. } => panic!("it made {call:?}"),
    })
    .await;
    assert_eq!(calls.len(), 4);
    assert_eq!(lines, ["node-1 is HEALTHY; restarting it", "node-1 is HEALTHY after 4000 ms"]);
    let expected = json!({
        "before": "HEALTHY", "after": "HEALTHY", "restart": "restarted", "took_ms": 4000,
    });
    assert_eq!(end, ActivationEnd::Done(expected.into()));

    let (_, _, end) = drive(start, |_| info("UNAVAILABLE")).await;
    let ActivationEnd::Failed { reason, message, retryable } = end else { panic!("found {end:?}") };
    assert_eq!((reason, retryable), (FailureReason::StepFailed, true));
    assert!(message.contains("UNAVAILABLE"), "{message}");
}

#[tokio::test]
async fn the_strategy_goes_through_one_zone_after_the_other() {
    let plugin = example("zone-by-zone").await;
    assert_eq!((plugin.kind, plugin.name.as_str()), (PluginKind::Strategy, "zone-by-zone"));
    let mut agents = Agents::waiting(12);
    let (mut memo, mut zones) = (String::new(), Vec::new());
    let arguments = json!({ "max_parallel": 3 });
    loop {
        let outcome = plan(&plugin.digest, arguments.clone(), &memo, 300, &agents).await;
        let decision = outcome.result.unwrap();
        memo = decision.memo;
        for agent in &decision.start {
            zones.push(agents.zone(agent));
            agents.set(agent, AgentState::Running);
        }
        let running = agents.in_state(AgentState::Running);
        assert!(running.len() <= 3);
        assert!(running.iter().all(|agent| agents.zone(agent) == *zones.last().unwrap()));
        match decision.next {
            Next::Complete => break,
            Next::Wait => agents.set(&running[0], AgentState::Done),
            next => panic!("found {next:?}"),
        }
    }
    assert_eq!(zones, ["a", "a", "a", "a", "b", "b", "b", "b", "c", "c", "c", "c"]);
}

#[tokio::test]
async fn the_strategy_that_names_everybody_is_told_who_is_held() {
    let plugin = example("everybody-now").await;
    assert_eq!((plugin.kind, plugin.name.as_str()), (PluginKind::Strategy, "everybody-now"));
    let mut agents = Agents::waiting(4);
    let everybody = agents.in_state(AgentState::Pending);
    let lines = async |agents: &Agents| {
        let outcome = plan(&plugin.digest, json!({}), "", 300, agents).await;
        let lines = outcome.logs.into_iter().map(|line| line.message).collect::<Vec<_>>();
        (outcome.result.unwrap(), lines)
    };
    let (decision, said) = lines(&agents).await;
    assert_eq!((&decision.start, said), (&everybody, vec![]));
    agents.set(&everybody[0], AgentState::Running);
    agents.held = everybody[1..].to_vec();
    let (decision, said) = lines(&agents).await;
    assert_eq!(decision.start, everybody[1..], "it names them again");
    assert_eq!(said, ["3 are held, the first is node-1"]);
    assert_eq!(decision.next, Next::Wait);
    everybody.iter().for_each(|agent| agents.set(agent, AgentState::Done));
    let (decision, _) = lines(&agents).await;
    assert_eq!((decision.start.len(), decision.next), (0, Next::Complete));
}

#[tokio::test]
async fn the_strategy_asks_a_person_after_the_first_agents_and_only_once() {
    let plugin = example("ask-first").await;
    assert_eq!((plugin.kind, plugin.name.as_str()), (PluginKind::Strategy, "ask-first"));
    let mut agents = Agents::waiting(5);
    let arguments = json!({ "first": 2, "max_parallel": 2, "question": "well?" });
    let (mut memo, mut said, mut started) = (String::new(), Vec::new(), Vec::new());
    loop {
        let outcome = plan(&plugin.digest, arguments.clone(), &memo, 300, &agents).await;
        let decision = outcome.result.unwrap();
        memo = decision.memo;
        started.push(decision.start.len());
        for agent in &decision.start {
            agents.set(agent, AgentState::Running);
        }
        match decision.next {
            Next::Wait => {
                // One of the agents in flight ends.
                let running = agents.in_state(AgentState::Running);
                agents.set(&running[0], AgentState::Done);
            }
            Next::Approval(message) => said.push(message),
            Next::Complete => break,
            Next::WaitUntil(_) | Next::Abort(_) => panic!("found {:?}", decision.next),
        }
    }
    assert_eq!(said, ["2 done, 0 failed, 3 to go: well?"]);
    assert_eq!(started, [2, 0, 0, 2, 1, 0, 0]);
}
