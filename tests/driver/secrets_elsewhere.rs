//! Runs with secrets that this engine, or the one that took them over, does not have.

use std::sync::Arc;

use replibook::agent::{Script, When};
use replibook::driver::World;
use replibook::run::{AgentSeq, AgentState, AttemptKey, Millis, RunSeed, RunStatus, Verb};
use replibook::secrets::FakeSecrets;
use serde_json::{Map, json};

use super::outside::signal;
use super::secrets::{VALUE, assert_clean, kept, playbook, tell};
use crate::engine::RunningEngine;
use crate::scene::{Scene, address};

#[tokio::test(start_paused = true)]
async fn a_command_to_a_run_that_goes_on_makes_an_engine_without_its_secrets_fail_nobody() {
    let scene = Scene::new(1).await;
    scene.secrets.put("key", VALUE);
    let with = json!({"name": "go", "timeout_seconds": 600});
    let wait = json!({"name": "wait", "use": "wait-signal", "with": with, "timeout": "20m"});
    let text = playbook(json!([wait, tell(json!("${{ steps.wait.result }}"))])).to_string();
    let run = scene.start_playbook(&text).await.unwrap();
    let engine = scene.engine("engine-1");
    scene.until(run, |run| run.progress.count(AgentState::Running) == 1).await;
    engine.kill().await;
    let without = scene.engine_without_secrets("engine-2");
    // Somebody has read the token where the step is kept.
    let key = AttemptKey { agent: AgentSeq(0), stage: 0, step: 1, attempt: 1 };
    let token = RunSeed::new([7; 32]).token(run, key, "key");
    signal(&scene, run, "go", None, json!({"token": token})).await;
    scene.until(run, |run| run.progress.signals_sent == 1).await;
    scene.wait(Millis::from_secs(60)).await;
    let waiting = scene.store.run(run).await.unwrap().unwrap().progress;
    assert_eq!(waiting.status, RunStatus::Running, "{waiting:?}");
    assert_eq!(waiting.count(AgentState::Failed), 0);
    assert_eq!(scene.outbound.received().len(), 0);
    let with = scene.engine("engine-3");
    let done = scene.until_final(run).await;
    assert_eq!(done.progress.status, RunStatus::Done, "{:?}", done.progress);
    let received = scene.outbound.received();
    let body = String::from_utf8(received[0].request.body().bytes().to_vec()).unwrap();
    assert!(body.contains("[secret]key.") && !body.contains("horse"), "no signal has it: {body}");
    without.stop().await;
    with.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_secret_that_comes_while_a_command_is_awaited_lets_the_run_go_on_at_once() {
    let scene = Scene::new(1).await;
    scene.secrets.put("key", VALUE);
    let with = json!({"name": "go", "timeout_seconds": 600});
    let wait = json!({"name": "wait", "use": "wait-signal", "with": with, "timeout": "20m"});
    let text = playbook(json!([wait, tell(json!("${{ steps.wait.result }}"))])).to_string();
    let run = scene.start_playbook(&text).await.unwrap();
    let first = scene.engine("engine-1");
    scene.until(run, |run| run.progress.count(AgentState::Running) == 1).await;
    first.stop().await;
    scene.secrets.remove("key");
    let second = scene.engine("engine-2");
    // By now it has found that the secret is gone, and still awaits what is asked of the run.
    scene.wait(Millis::from_secs(2)).await;
    scene.secrets.put("key", VALUE);
    let start = scene.clock.now();
    signal(&scene, run, "go", None, json!({"well": true})).await;
    let done = scene.until_final(run).await;
    assert_eq!(done.progress.status, RunStatus::Done, "{:?}", done.progress);
    let length = scene.clock.now().since(start);
    assert!(length < Millis::from_secs(8), "it was left to other engines: {length:?}");
    second.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_run_goes_to_an_engine_that_has_the_secret_that_is_gone_from_this_one() {
    let scene = Scene::new(1).await;
    scene.secrets.put("key", VALUE);
    let (when, payload) = (When::After(Millis::from_secs(60)), json!({}));
    scene.script(0, Script::Succeed { when, payload });
    let act = json!({"name": "act", "action": "test.example.com/act"});
    let text = playbook(json!([act, tell(json!(null))])).to_string();
    let run = scene.start_playbook(&text).await.unwrap();
    let own = Arc::new(FakeSecrets::default());
    own.put("key", VALUE);
    let world = World { secrets: own.clone(), ..scene.world() };
    let first = RunningEngine::start(world, "engine-1", 10);
    scene.until(run, |_| scene.executions() == [1]).await;
    let second = scene.engine("engine-2");
    own.remove("key");
    let done = scene.until_final(run).await;
    assert_eq!(done.progress.status, RunStatus::Done, "{:?}", done.progress);
    assert_eq!((scene.executions(), scene.outbound.received().len()), (vec![1], 1));
    for engine in [first, second] {
        engine.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_action_that_is_out_is_followed_without_its_secret_and_its_result_is_withheld() {
    let scene = Scene::new(1).await;
    scene.secrets.put("password", VALUE);
    let payload = json!({"said": VALUE});
    scene.script(0, Script::Succeed { when: When::After(Millis::from_secs(20)), payload });
    let args = json!({"password": "${{ secret('password') }}"});
    let act = json!({"name": "act", "action": "test.example.com/act", "args": args});
    let run = scene.start_playbook(&playbook(json!([act])).to_string()).await.unwrap();
    let engine = scene.engine("engine-1");
    let address = address(0);
    scene.until(run, |_| !scene.agents.executions(&address).is_empty()).await;
    engine.kill().await;
    scene.secrets.remove("password");
    // An engine without the secret takes up the run because somebody asks for something. Agents that have started
    // would go on in a run that is paused.
    scene.command(run, Verb::Pause).await;
    let engine = scene.engine("engine-2");
    scene.until(run, |run| run.progress.status == RunStatus::Paused).await;
    scene.wait(Millis::from_secs(60)).await;
    let paused = scene.store.run(run).await.unwrap().unwrap().progress;
    assert_eq!(paused.count(AgentState::Running), 1, "{paused:?}");
    // A cancel has to follow what is out.
    scene.command(run, Verb::Cancel).await;
    let done = scene.until_final(run).await;
    assert_eq!(done.progress.status, RunStatus::Cancelled, "{:?}", done.progress);
    let kept = kept(&scene, run).await;
    assert_clean(&kept);
    assert!(kept.contains("secret-withheld: "), "{kept}");
    assert_eq!(scene.executions(), [1], "it was not sent again");
    engine.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_an_agent_that_joins_says_is_kept_without_secrets() {
    let scene = Scene::new(1).await;
    scene.secrets.put("key", VALUE);
    let payload = json!({"ok": true});
    scene.script(0, Script::Succeed { when: When::After(Millis::from_secs(120)), payload });
    let act = json!({"name": "act", "action": "test.example.com/act"});
    let text = playbook(json!([act, tell(json!(null))])).to_string();
    let run = scene.start_playbook(&text).await.unwrap();
    let engine = scene.engine("engine-1");
    scene.until(run, |_| scene.executions() == [1]).await;
    // It was told the secret in another run.
    scene
        .agents
        .add(&address(1), Script::Succeed { when: When::Looks(1), payload: json!({"ok": true}) });
    let said = Map::from_iter([("note".to_owned(), json!(format!("key: {VALUE}")))]);
    scene.agents.set_attributes(&address(1), said);
    let list: Vec<_> = (0..2)
        .map(|index| json!({"id": format!("node-{index}"), "address": address(index)}))
        .collect();
    scene.apply_cluster(json!({"agents": list})).await;
    let records = loop {
        let records = scene.store.records(run, None, None, 10).await.unwrap();
        if records.len() == 2 {
            break records;
        }
        assert!(!scene.store.run(run).await.unwrap().unwrap().progress.status.is_final());
        scene.wait(Millis(50)).await;
    };
    assert_eq!(records[1].attributes["note"], "key: [secret]");
    assert_clean(&kept(&scene, run).await);
    engine.stop().await;
}
