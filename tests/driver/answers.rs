//! Agents that do not answer when a stage begins, and addresses where another node answers.

use replibook::run::{AgentRecord, AgentState, FailureReason, Millis, RunStatus};
use serde_json::{Map, json};

use crate::scene::{Scene, address};

const GUARDED: &str = r#"has(agent.attributes.role) && agent.attributes["role"] == "a""#;

fn playbook(select: &str, failed: u32) -> String {
    json!({
        "apiVersion": "replicante.io/v1", "kind": "Playbook",
        "metadata": {"name": "selects", "version": "1.0.0"},
        "spec": {"stages": [{
            "name": "only", "select": select, "strategy": {"use": "rolling", "with": {"batch": 2}},
            "budget": {"max_failed": failed},
            "steps": [{"name": "act", "action": "test.example.com/act"}],
        }]},
    })
    .to_string()
}

async fn scene(agents: usize) -> Scene {
    let scene = Scene::new(agents).await;
    for index in 0..agents {
        let role = Map::from_iter([("role".to_owned(), json!("a"))]);
        scene.agents.set_attributes(&address(index), role);
        scene.agents.set_node_id(&address(index), &format!("node-{index}"));
    }
    scene
}

async fn records(scene: &Scene, run: replibook::run::RunId) -> Vec<AgentRecord> {
    scene.store.records(run, None, None, 1_000).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_is_down_for_a_while_is_waited_for_and_takes_part() {
    let scene = scene(6).await;
    let down = scene.now().plus(Millis::from_secs(60));
    scene.agents.set_unreachable_until(&address(2), down);
    let run = scene.start_playbook(&playbook(GUARDED, 0)).await.unwrap();
    let engine = scene.engine("engine-1");
    let waiting = scene.until(run, |run| run.progress.stage.unanswered.is_some()).await;
    let unanswered = waiting.progress.stage.unanswered.unwrap();
    assert_eq!((unanswered.agents, unanswered.first[0].as_str()), (1, "node-2"));
    let done = scene.until_final(run).await;
    assert_eq!(done.progress.status, RunStatus::Done);
    assert_eq!(done.progress.count(AgentState::Done), 6);
    assert_eq!(done.progress.stage.unanswered, None);
    assert_eq!(scene.executions(), vec![1; 6]);
    engine.stop().await;
}

/// Also where a guard makes the expression hold for nobody who does not answer.
#[tokio::test(start_paused = true)]
async fn an_agent_that_stays_down_takes_part_as_unreachable() {
    for (select, failed, status) in [
        (GUARDED, 1, RunStatus::Done),
        (r#"agent.attributes["role"] == "a""#, 1, RunStatus::Done),
        (GUARDED, 0, RunStatus::Paused),
    ] {
        let scene = scene(6).await;
        scene
            .agents
            .set_unreachable_until(&address(2), scene.now().plus(Millis::from_secs(100_000)));
        let start = scene.now();
        let run = scene.start_playbook(&playbook(select, failed)).await.unwrap();
        let engine = scene.engine("engine-1");
        let end = scene.until(run, |run| run.progress.status == status).await;
        let took = scene.now().since(start);
        assert!((Millis::from_secs(119)..Millis::from_secs(140)).contains(&took), "{took:?}");
        let record = &records(&scene, run).await[2];
        let reason = record.error.as_ref().map(|error| error.reason);
        let found = (record.state, reason, end.progress.failures);
        assert_eq!(found, (AgentState::Failed, Some(FailureReason::Unreachable), 1), "{select}");
        engine.stop().await;
    }
}

/// Whoever asks again is answered the same.
#[tokio::test(start_paused = true)]
async fn an_agent_that_refuses_to_say_takes_part_as_refused_at_once() {
    for (status, reason) in [
        (Some(401), FailureReason::Refused),
        (Some(403), FailureReason::Refused),
        (Some(404), FailureReason::Refused),
        (None, FailureReason::Malformed),
    ] {
        let scene = scene(3).await;
        let start = scene.now();
        scene.agents.set_refuses(&address(1), status);
        if status.is_none() {
            scene.agents.set_garbled_until(&address(1), start.plus(Millis::from_secs(100_000)));
        }
        let run = scene.start_playbook(&playbook(GUARDED, 1)).await.unwrap();
        let engine = scene.engine("engine-1");
        let done = scene.until_final(run).await;
        assert_eq!(done.progress.status, RunStatus::Done);
        let took = scene.now().since(start);
        assert!(took < Millis::from_secs(20), "{took:?}");
        let record = &records(&scene, run).await[1];
        let error = record.error.as_ref().unwrap();
        assert_eq!((record.state, error.reason), (AgentState::Failed, reason));
        let told = status.map(|status| format!("{} answered {status}: ", address(1)));
        assert!(error.message.starts_with(told.as_deref().unwrap_or(&address(1))), "{error:?}");
        assert_eq!(scene.executions(), [1, 0, 1]);
        engine.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn half_of_a_large_cluster_that_is_down_costs_one_patience_and_not_many() {
    let count = 2_000;
    let scene = scene(count).await;
    for index in (0..count).step_by(2) {
        // What is sent there gets no answer.
        scene.agents.set_latency(&address(index), Millis::from_secs(7_200));
    }
    let start = scene.now();
    let run = scene.start_playbook(&playbook(GUARDED, 2_000)).await.unwrap();
    let engine = scene.engine("engine-1");
    let begun = scene.until(run, |run| run.progress.status == RunStatus::Running).await;
    let took = scene.now().since(start);
    assert!(took < Millis::from_secs(135), "{took:?}");
    assert_eq!(begun.progress.stage.failures, 1_000);
    engine.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_node_that_says_another_name_fails_and_gets_nothing() {
    let scene = scene(4).await;
    scene.agents.set_node_id(&address(1), "node-3");
    let run = scene.start_playbook(&playbook("true", 1)).await.unwrap();
    let engine = scene.engine("engine-1");
    let done = scene.until_final(run).await;
    assert_eq!((done.progress.status, done.progress.failures), (RunStatus::Done, 1));
    assert_eq!(scene.executions(), [1, 0, 1, 1]);
    let record = &records(&scene, run).await[1];
    assert_eq!(record.error.as_ref().unwrap().reason, FailureReason::WrongNode);
    engine.stop().await;
}
