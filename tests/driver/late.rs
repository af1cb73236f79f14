//! Actions that end after the time limit of their step, on agents that count what they execute.

use replibook::agent::{Script, When};
use replibook::run::{AgentRecord, AgentState, Millis, RunId, RunStatus, Verb};
use serde_json::json;

use super::scene::Scene;

/// A scene with one agent whose actions take a minute.
async fn slow() -> Scene {
    let scene = Scene::new(1).await;
    let when = When::After(Millis::from_secs(60));
    scene.script(0, Script::Succeed { when, payload: json!({"ok": true}) });
    scene
}

async fn record(scene: &Scene, run: RunId) -> AgentRecord {
    scene.store.records(run, None, None, 1).await.unwrap().remove(0)
}

async fn retry(scene: &Scene, run: RunId, again: bool) {
    scene.command_again(run, Verb::Retry, again).await;
    scene.until(run, |run| run.progress.count(AgentState::Failed) == 0).await;
    scene.command(run, Verb::Resume).await;
}

#[tokio::test(start_paused = true)]
async fn what_ended_late_is_done_once_and_a_retry_takes_its_result() {
    for (killed, again) in [(false, false), (true, false), (false, true)] {
        let scene = slow().await;
        let run = scene.start_run_of("first", "timeout: 30s").await;
        let engine = scene.engine("engine-1");
        scene.until(run, |run| run.progress.status == RunStatus::Paused).await;
        scene.wait(Millis::from_secs(60)).await;
        let failed = record(&scene, run).await;
        let late = failed.late_end().unwrap();
        assert_eq!((late.outcome.as_str(), late.result), ("DONE", true));
        let error = failed.error.as_ref().unwrap();
        assert_eq!(
            (&failed.outstanding, error.message.as_str()),
            (&None, "the step did not end within 30s")
        );
        let engine = match killed {
            true => {
                engine.kill().await;
                scene.engine("engine-2")
            }
            false => engine,
        };
        scene.script(0, Script::Succeed { when: When::Looks(1), payload: json!({"ok": true}) });
        retry(&scene, run, again).await;
        let done = scene.until_final(run).await;
        assert_eq!(done.progress.status, RunStatus::Done, "{:?}", done.progress);
        assert_eq!(record(&scene, run).await.results["act"], json!({"ok": true}));
        assert_eq!(scene.executions(), [if again { 2 } else { 1 }], "{killed} {again}");
        engine.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_attempts_of_a_playbook_do_not_do_it_twice() {
    let scene = slow().await;
    let step = "timeout: 40s\n          retry: { attempts: 3, initial: 1s }";
    let run = scene.start_run_of("first", step).await;
    let engine = scene.engine("engine-1");
    let done = scene.until_final(run).await;
    assert_eq!(done.progress.status, RunStatus::Done, "{:?}", done.progress);
    assert_eq!((record(&scene, run).await.attempts, scene.executions()), (vec![2], vec![1]));
    engine.stop().await;
}
