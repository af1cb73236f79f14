//! Agents that do not answer when a stage begins, and addresses where another node answers.

use replibook::run::{AgentRecord, AgentState, FailureReason, Millis, RunStatus};
use serde_json::{Map, Value, json};

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

#[tokio::test(start_paused = true)]
async fn agents_behind_a_slow_line_answer_when_a_stage_begins() {
    let scene = scene(4).await;
    for index in 0..4 {
        // 20 kB at 800 bytes a second; the last agent would take a day.
        let takes = if index == 3 { 86_400 } else { 25 };
        scene.agents.set_slow(&address(index), Millis::from_secs(takes));
    }
    let start = scene.now();
    let run = scene.start_playbook(&playbook(GUARDED, 1)).await.unwrap();
    let engine = scene.engine("engine-1");
    scene.until(run, |run| run.progress.status == RunStatus::Running).await;
    let took = scene.now().since(start);
    assert!((Millis::from_secs(119)..Millis::from_secs(140)).contains(&took), "{took:?}");
    let done = scene.until_final(run).await;
    assert_eq!((done.progress.status, done.progress.failures), (RunStatus::Done, 1));
    assert_eq!(scene.executions(), [1, 1, 1, 0]);
    let error = records(&scene, run).await[3].error.clone().unwrap();
    assert_eq!(error.reason, FailureReason::Unreachable);
    engine.stop().await;
}

/// Even if a guard makes the expression false for every agent that does not answer.
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

/// An agent that refuses is not asked again: it would give the same answer.
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
        // Requests to these agents get no answer.
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

const PRIMARY: &str = r#"agent.shards.exists(shard, shard.role == "PRIMARY")"#;

#[tokio::test(start_paused = true)]
async fn a_stage_selects_by_shards_and_waits_for_a_store_that_does_not_answer() {
    let scene = scene(4).await;
    let shards = |role: &str| json!([{"id": "s", "role": role, "lag": null}]);
    scene.agents.set_shards(&address(0), shards("PRIMARY"));
    scene.agents.set_shards(&address(1), shards("SECONDARY"));
    // The node answers, and its store does not; the last agent knows of no shards.
    scene.agents.set_shards(&address(2), Value::Null);
    let run = scene.start_playbook(&playbook(PRIMARY, 1)).await.unwrap();
    let engine = scene.engine("engine-1");
    scene.until(run, |run| run.progress.stage.unanswered.is_some()).await;
    let done = scene.until_final(run).await;
    assert_eq!(done.progress.status, RunStatus::Done);
    let states: Vec<_> = records(&scene, run).await.iter().map(|record| record.state).collect();
    let (done, skipped) = (AgentState::Done, AgentState::Skipped);
    assert_eq!(states, [done, skipped, AgentState::Failed, skipped]);
    let error = records(&scene, run).await.remove(2).error.unwrap();
    assert_eq!(error.reason, FailureReason::Unreachable);
    assert!(error.message.starts_with("it did not answer about its store"), "{error:?}");
    engine.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_step_sees_the_shards_afresh_before_it_and_those_of_the_stage_in_its_arguments() {
    let scene = scene(2).await;
    let lag = |value: u32| json!([{"id": "s", "role": "SECONDARY", "lag": {"unit": "s", "value": value}}]);
    scene.agents.set_shards(&address(0), lag(3));
    scene.agents.set_shards(&address(1), lag(30));
    let run =
        scene.start_run_of("lag", "require: agent.shards.all(shard, shard.lag.value < 10)").await;
    let engine = scene.engine("engine-1");
    let paused = scene.until(run, |run| run.progress.status == RunStatus::Paused).await;
    assert_eq!(paused.progress.failures, 1);
    let records = records(&scene, run).await;
    assert_eq!(records[1].error.as_ref().unwrap().reason, FailureReason::Precondition);
    assert_eq!(scene.executions(), [1, 0]);
    engine.stop().await;
}

/// What an agent says beyond the limit neither fails the run nor leaves the agent out of it.
#[tokio::test(start_paused = true)]
async fn an_agent_that_says_too_much_takes_part_as_malformed_at_once() {
    let scene = scene(3).await;
    let start = scene.now();
    let much = Map::from_iter([("other".to_owned(), json!("x".repeat(9_000)))]);
    scene.agents.set_attributes(&address(1), much);
    let run = scene.start_playbook(&playbook(GUARDED, 1)).await.unwrap();
    let engine = scene.engine("engine-1");
    let done = scene.until_final(run).await;
    assert_eq!(done.progress.status, RunStatus::Done);
    assert!(scene.now().since(start) < Millis::from_secs(20));
    let error = records(&scene, run).await.remove(1).error.unwrap();
    assert_eq!(error.reason, FailureReason::Malformed);
    assert!(error.message.contains("bytes about its node, expected at most 8192"), "{error:?}");
    assert_eq!(scene.executions(), [1, 0, 1]);
    engine.stop().await;
}

/// Even if the agent says much: a record has to fit into a commit with hundreds of others.
#[tokio::test(start_paused = true)]
async fn a_look_before_a_step_keeps_no_more_than_one_when_the_stage_begins() {
    let scene = scene(1).await;
    scene.agents.set_unreachable_until(&address(0), scene.now().plus(Millis::from_secs(4)));
    let much = Map::from_iter([("other".to_owned(), json!("x".repeat(60_000)))]);
    scene.agents.set_attributes(&address(0), much);
    let run = scene.start_playbook(&playbook("true", 0)).await.unwrap();
    let engine = scene.engine("engine-1");
    assert_eq!(scene.until_final(run).await.progress.status, RunStatus::Done);
    let record = records(&scene, run).await.remove(0);
    let bytes = serde_json::to_vec(&record).unwrap().len();
    assert!(bytes < 16 * 1024, "{bytes} bytes");
    engine.stop().await;
}

/// An agent that failed in an earlier stage is SKIPPED in the later ones, whatever it says.
#[tokio::test(start_paused = true)]
async fn no_later_stage_waits_for_who_failed_in_one_before() {
    let scene = scene(3).await;
    let start = scene.now();
    scene.agents.set_unreachable_until(&address(1), start.plus(Millis::from_secs(100_000)));
    let stage = |name: &str| {
        json!({
            "name": name, "select": GUARDED, "budget": {"max_failed": 1},
            "strategy": {"use": "all-at-once"},
            "steps": [{"name": name, "action": "test.example.com/act"}],
        })
    };
    let stages = ["one", "two", "three"].map(stage);
    let text = json!({
        "apiVersion": "replicante.io/v1", "kind": "Playbook",
        "metadata": {"name": "stages", "version": "1.0.0"},
        "spec": {"stages": stages},
    });
    let run = scene.start_playbook(&text.to_string()).await.unwrap();
    let engine = scene.engine("engine-1");
    let done = scene.until_final(run).await;
    assert_eq!((done.progress.status, done.progress.failures), (RunStatus::Done, 1));
    let took = scene.now().since(start);
    assert!(took < Millis::from_secs(180), "one patience, not three: {took:?}");
    assert_eq!(scene.executions(), [3, 0, 3]);
    engine.stop().await;
}
