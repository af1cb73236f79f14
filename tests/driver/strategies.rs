//! Whole runs of the strategies that look at more than which agents wait: `canary`, which watches agents, and
//! `grouped`.

use replibook::agent::{Script, When};
use replibook::run::{
    AgentRecord, AgentSeq, AgentState, Happened, Millis, ReasonCode, Run, RunEvent, RunId,
    RunStatus, Timestamp, Verb,
};
use serde_json::{Map, Value, json};

use super::scene::{Scene, address};

const CANARY: &str = "{ use: canary, with: { soak: 30s, interval: 10s, batches: [1, 25%, 100%] } }";

/// Creates a run of a playbook with one action and this strategy, in which no agent may fail.
async fn start(scene: &Scene, strategy: &str) -> RunId {
    let text = format!(
        "apiVersion: replicante.io/v1\nkind: Playbook\nmetadata: {{ name: p, version: 1.0.0 }}\n\
         spec:\n  stages:\n    - name: only\n      budget: {{ max_failed: 0 }}\n      \
         strategy: {strategy}\n      \
         steps: [{{ name: act, action: test.example.com/act }}]\n"
    );
    scene.start_playbook(&text).await.unwrap()
}

async fn record(scene: &Scene, run: RunId, agent: u32) -> AgentRecord {
    let after = agent.checked_sub(1).map(AgentSeq);
    scene.store.records(run, None, after, 1).await.unwrap().remove(0)
}

/// When each batch started, its label, and its number of agents.
fn batches(events: &[RunEvent]) -> Vec<(Timestamp, String, u32)> {
    let started = events.iter().filter_map(|event| match &event.what {
        Happened::Decision { label: Some(label), started, .. } => {
            Some((event.at, label.clone(), *started))
        }
        _ => None,
    });
    started.collect()
}

fn labels(events: &[RunEvent]) -> Vec<String> {
    batches(events).into_iter().map(|(_, label, started)| format!("{label}: {started}")).collect()
}

fn reason(run: &Run) -> (ReasonCode, &str) {
    let reason = run.progress.reason.as_ref().unwrap();
    (reason.code, &reason.message)
}

/// Waits until the canary is done.
async fn soaking(scene: &Scene, run: RunId) -> Run {
    scene.until(run, |run| run.progress.count(AgentState::Done) == 1).await
}

#[tokio::test(start_paused = true)]
async fn canaries_soak_and_the_others_follow_in_growing_batches() {
    let scene = Scene::new(12).await;
    let run = start(&scene, CANARY).await;
    let engine = scene.engine("engine-1");
    let done = scene.until_final(run).await;
    assert_eq!(done.progress.status, RunStatus::Done, "{:?}", done.progress);
    assert_eq!(scene.executions(), vec![1; 12]);
    let events = scene.events(run).await;
    assert_eq!(labels(&events), ["canary: 1", "2/3 (25%): 3", "3/3 (100%): 8"]);
    let ended = record(&scene, run, 0).await.ended_at.unwrap();
    assert!(batches(&events)[1].0.since(ended) >= Millis::from_secs(30), "after the soak");
    let looks = events.iter().filter(|event| match &event.what {
        Happened::AgentInfo { agent, .. } => agent.as_str() == "node-0" && event.at > ended,
        _ => false,
    });
    assert_eq!(looks.count(), 4 + 2, "while it soaks, and with each batch after that");
    engine.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_ill_canary_ends_the_run_before_the_others_are_touched() {
    let scene = Scene::new(6).await;
    let run = start(&scene, CANARY).await;
    let engine = scene.engine("engine-1");
    soaking(&scene, run).await;
    scene.agents.set_status(&address(0), "UNAVAILABLE");
    let done = scene.until_final(run).await;
    assert_eq!(done.progress.status, RunStatus::Failed);
    let expected = (ReasonCode::StrategyAborted, "ill after canary: node-0 is UNAVAILABLE");
    assert_eq!(reason(&done), expected);
    assert_eq!(scene.executions(), [1, 0, 0, 0, 0, 0]);
    assert_eq!(record(&scene, run, 0).await.node_status(), Some("UNAVAILABLE"));
    engine.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_canary_that_does_not_answer_is_given_three_seconds() {
    let scene = Scene::new(3).await;
    let run = start(&scene, CANARY).await;
    let engine = scene.engine("engine-1");
    soaking(&scene, run).await;
    scene.agents.set_latency(&address(0), Millis::from_secs(3_600));
    let before = record(&scene, run, 0).await;
    let done = scene.until_final(run).await;
    assert_eq!(reason(&done).1, "ill after canary: node-0 did not answer");
    let record = record(&scene, run, 0).await;
    assert_eq!((record.node_status(), &*record.node), (None, &Value::Null));
    assert_eq!(record.attributes, before.attributes, "they are as they were known last");
    assert!(record.node_seen_at > before.node_seen_at, "it was asked");
    engine.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_person_approves_before_the_others_go() {
    let scene = Scene::new(4).await;
    let strategy = "{ use: canary, with: { canaries: 50%, soak: 5s, approval: true } }";
    let run = start(&scene, strategy).await;
    let engine = scene.engine("engine-1");
    let paused = scene.until(run, |run| run.progress.status == RunStatus::Paused).await;
    let question = "the canaries are well after 5s; go on with the other 2?";
    assert_eq!(reason(&paused), (ReasonCode::Approval, question));
    assert_eq!(scene.executions(), [1, 1, 0, 0]);
    scene.command(run, Verb::Approve).await;
    let done = scene.until_final(run).await;
    assert_eq!(done.progress.status, RunStatus::Done);
    assert_eq!(scene.executions(), vec![1; 4]);
    engine.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_dies_in_the_soak_costs_no_more_than_another_look() {
    let scene = Scene::new(4).await;
    let run = start(&scene, CANARY).await;
    let engine = scene.engine("engine-1");
    soaking(&scene, run).await;
    scene.wait(Millis::from_secs(7)).await;
    engine.kill().await;
    scene.agents.set_attributes(&address(0), Map::from_iter([("role".into(), json!("NEW"))]));
    let engine = scene.engine("engine-2");
    let done = scene.until_final(run).await;
    assert_eq!(done.progress.status, RunStatus::Done, "{:?}", done.progress);
    assert_eq!(scene.executions(), vec![1; 4]);
    assert_eq!(record(&scene, run, 0).await.attributes["role"], json!("NEW"));
    let events = scene.events(run).await;
    let was = events.iter().rev().find_map(|event| match &event.what {
        Happened::AgentInfo { was, .. } => was.attributes.clone(),
        _ => None,
    });
    assert_eq!(*was.unwrap(), Map::new(), "the history has what was known before");
    engine.stop().await;
}

#[tokio::test(start_paused = true)]
async fn groups_go_in_their_order_with_a_soak_between_them() {
    let scene = Scene::new(7).await;
    for (agent, zone) in ["b", "a", "b", "c", "a", "b"].into_iter().enumerate() {
        let attributes = Map::from_iter([("zone".to_owned(), json!(zone))]);
        scene.agents.set_attributes(&address(agent), attributes);
    }
    let when = When::Looks(1);
    scene.script(1, Script::Fail { when, message: "no".to_owned() });
    let strategy = "{ use: grouped, with: { by: zone, order: [b, a], batch: 2, soak: 1m } }";
    let run = start(&scene, strategy).await;
    let engine = scene.engine("engine-1");
    // The budget is exceeded, and a person lets the run go on.
    scene.until(run, |run| run.progress.status == RunStatus::Paused).await;
    scene.command(run, Verb::Resume).await;
    scene.until_final(run).await;
    let events = scene.events(run).await;
    let expected =
        ["zone b 1: 2", "zone b 2: 1", "zone a 1: 2", "zone c 1: 1", "without zone 1: 1"];
    assert_eq!(labels(&events), expected);
    let started: Vec<_> = batches(&events).into_iter().map(|(at, ..)| at).collect();
    assert!(started[1].since(started[0]) < Millis::from_secs(60));
    for next in 2..5 {
        assert!(started[next].since(started[next - 1]) >= Millis::from_secs(60), "{next}");
    }
    assert_eq!(scene.executions(), vec![1; 7]);
    engine.stop().await;
}
