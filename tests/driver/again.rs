//! Runs that go again over agents of a finished run.

use replibook::agent::{Script, When};
use replibook::run::{
    AgentState, Digest, ReasonCode, RetryOf, RunId, RunStatus, Timestamp, new_retry,
};
use replibook::store::NewRun;
use serde_json::json;
use uuid::Uuid;

use crate::scene::{Scene, address};

const ONE_MAY_FAIL: &str = "max_failed: 1";

fn failed(run: RunId) -> RetryOf {
    RetryOf { run, failed: true, skipped: false, unfinished: false }
}

/// Creates a run over these agents of another run, as the API does.
pub(crate) async fn again(scene: &Scene, of: RetryOf) -> RunId {
    let finished = scene.store.run(of.run).await.unwrap().unwrap();
    let id = RunId(Uuid::now_v7());
    let now = Timestamp::from_millis(1_763_802_001_000);
    let (run, events) = new_retry(id, &finished.snapshot, of, None, None, now);
    let request = Digest::of(id.to_string().as_bytes());
    let new = NewRun { run, events, idempotency_key: None, request };
    scene.store.create_run(&new).await.unwrap();
    id
}

#[tokio::test(start_paused = true)]
async fn only_the_agents_that_failed_are_gone_over_again() {
    let scene = Scene::new(4).await;
    scene.script(2, Script::Fail { when: When::Looks(1), message: "broken".to_owned() });
    let first = scene.start_run("first", ONE_MAY_FAIL).await;
    let engine = scene.engine("engine-1");
    let done = scene.until_final(first).await;
    assert_eq!(done.progress.status, RunStatus::Done, "{:?}", done.progress);
    assert_eq!(done.progress.count(AgentState::Failed), 1);

    scene.script(2, Script::Succeed { when: When::Looks(1), payload: json!({"ok": true}) });
    let second = again(&scene, failed(first)).await;
    let done = scene.until_final(second).await;
    assert_eq!(done.progress.status, RunStatus::Done, "{:?}", done.progress);
    let records = scene.store.records(second, None, None, 100).await.unwrap();
    let agents: Vec<_> = records.iter().map(|record| record.agent.as_str()).collect();
    assert_eq!(agents, ["node-2"]);
    assert_eq!(scene.executions(), [1, 1, 2, 1]);
    // The finished run is unchanged.
    let first = scene.store.run(first).await.unwrap().unwrap();
    assert_eq!(first.progress.count(AgentState::Failed), 1);
    engine.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_run_over_nobody_is_done_and_says_so() {
    let scene = Scene::new(4).await;
    let first = scene.start_run("first", ONE_MAY_FAIL).await;
    let engine = scene.engine("engine-1");
    scene.until_final(first).await;
    let second = again(&scene, failed(first)).await;
    let ended = scene.until_final(second).await;
    assert_eq!(ended.progress.status, RunStatus::Done);
    let reason = ended.progress.reason.unwrap();
    assert_eq!(reason.code, ReasonCode::NobodySelected);
    let expected =
        format!("nobody was selected; run {first} left no failed agents that are still there");
    assert_eq!(reason.message, expected);
    assert_eq!(scene.executions(), [1, 1, 1, 1]);
    engine.stop().await;
}

#[tokio::test(start_paused = true)]
async fn agents_that_have_left_since_are_named() {
    let scene = Scene::new(4).await;
    for broken in [1, 2] {
        scene.script(broken, Script::Fail { when: When::Looks(1), message: "broken".to_owned() });
    }
    let first = scene.start_run("first", "max_failed: 2").await;
    let engine = scene.engine("engine-1");
    scene.until_final(first).await;
    for (left, expected) in [
        (1, "1 of 1 agents done; 1 of those agents has left the cluster: node-2"),
        (0, "; 2 of those agents have left the cluster: node-1, node-2"),
    ] {
        scene.script(1, Script::Succeed { when: When::Looks(1), payload: json!({"ok": true}) });
        let there = (0..=left).map(|n| json!({"id": format!("node-{n}"), "address": address(n)}));
        scene.apply_cluster(json!({ "agents": there.collect::<Vec<_>>() })).await;
        let second = again(&scene, failed(first)).await;
        let ended = scene.until_final(second).await;
        assert_eq!(ended.progress.status, RunStatus::Done);
        let message = ended.progress.reason.unwrap().message;
        assert!(message.ends_with(expected), "{message}");
    }
    engine.stop().await;
}
