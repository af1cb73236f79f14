//! Commands for runs that no engine drives, while all places of all engines are taken.

use replibook::agent::{Script, When};
use replibook::run::{CommandOutcome, EngineId, Millis, RunId, RunStatus, Verb};
use serde_json::json;

use crate::driver::PLAIN;
use crate::engine::RunningEngine;
use crate::scene::Scene;

const ALLOW: &str = "concurrency: allow";

/// How long a command may take if nothing is in the way.
const SOON: Millis = Millis::from_secs(2);

/// A scene with one agent whose actions take `length` each.
async fn slow(length: Millis) -> Scene {
    let scene = Scene::new(1).await;
    scene.script(0, Script::Succeed { when: When::After(length), payload: json!({}) });
    scene
}

async fn begin(scene: &Scene, name: &str) -> RunId {
    let id = scene.start_run_with(name, PLAIN, ALLOW).await.unwrap();
    scene.until(id, |run| run.progress.status == RunStatus::Running).await;
    id
}

/// Sends a command to a run, and waits until it is applied.
async fn ask(scene: &Scene, run: RunId, verb: Verb, within: Millis) {
    let command = scene.command(run, verb).await;
    let start = scene.now();
    loop {
        match scene.store.command(command).await.unwrap().unwrap().outcome {
            Some(outcome) => return assert_eq!(outcome, CommandOutcome::Applied, "{verb}"),
            None => assert!(scene.now().since(start) <= within, "{verb} waits"),
        }
        scene.wait(Millis(50)).await;
    }
}

async fn status(scene: &Scene, run: RunId) -> RunStatus {
    scene.store.run(run).await.unwrap().unwrap().progress.status
}

async fn is_driven(scene: &Scene, run: RunId) -> bool {
    !scene.store.holders(&[run]).await.unwrap().is_empty()
}

/// Two engines with one place each, and the two runs that they drive.
async fn two_that_are_full(scene: &Scene) -> ([RunningEngine; 2], [RunId; 2]) {
    let first = scene.engine_with("engine-1", 1);
    let one = begin(scene, "one").await;
    let second = scene.engine_with("engine-2", 1);
    let two = begin(scene, "two").await;
    ([first, second], [one, two])
}

#[tokio::test(start_paused = true)]
async fn a_run_that_never_had_a_place_is_cancelled_while_others_have_all_of_them() {
    let scene = slow(Millis::from_secs(3_000)).await;
    let (engines, going) = two_that_are_full(&scene).await;
    let waits = scene.start_run_with("waits", PLAIN, ALLOW).await.unwrap();
    scene.wait(Millis::from_secs(30)).await;
    assert!(!is_driven(&scene, waits).await);
    ask(&scene, waits, Verb::Cancel, SOON).await;
    assert_eq!(scene.until_final(waits).await.progress.status, RunStatus::Cancelled);
    for run in going {
        assert_eq!(status(&scene, run).await, RunStatus::Running);
    }
    for engine in engines {
        engine.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_is_said_and_the_run_waits_as_before() {
    let scene = slow(Millis::from_secs(3_000)).await;
    let (engines, _) = two_that_are_full(&scene).await;
    let waits = scene.start_run_with("waits", PLAIN, ALLOW).await.unwrap();
    let command = scene.command(waits, Verb::Pause).await;
    scene.wait(SOON).await;
    let outcome = scene.store.command(command).await.unwrap().unwrap().outcome;
    assert!(matches!(outcome, Some(CommandOutcome::Refused { .. })), "{outcome:?}");
    assert_eq!(status(&scene, waits).await, RunStatus::Pending);
    assert!(!is_driven(&scene, waits).await);
    for engine in engines {
        engine.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_that_a_drain_left_is_steered_and_starts_nothing_beyond_the_places() {
    let scene = slow(Millis::from_secs(60)).await;
    let (engines, [left, going]) = two_that_are_full(&scene).await;
    scene.wait(Millis::from_secs(5)).await;
    let drained = EngineId("engine-1".to_owned());
    scene.store.drain_engine(&drained, true, None, None).await.unwrap();
    scene.wait(Millis::from_secs(10)).await;
    assert!(!is_driven(&scene, left).await && is_driven(&scene, going).await);

    ask(&scene, left, Verb::Pause, SOON).await;
    assert_eq!(status(&scene, left).await, RunStatus::Paused);
    ask(&scene, left, Verb::Resume, SOON).await;
    scene.wait(SOON).await;
    assert_eq!(status(&scene, left).await, RunStatus::Running);
    assert!(!is_driven(&scene, left).await, "it waits for a place, like all others");
    assert!(is_driven(&scene, going).await);
    for run in [going, left] {
        assert_eq!(scene.until_final(run).await.progress.status, RunStatus::Done);
    }
    assert_eq!(scene.executions(), [2]);
    for engine in engines {
        engine.stop().await;
    }
}

/// A playbook of two steps. The second one is not begun while the run is on hold.
const TWO_STEPS: &str = "
apiVersion: replicante.io/v1
kind: Playbook
metadata: { name: two-steps, version: 1.0.0 }
spec:
  concurrency: allow
  stages:
    - name: all
      strategy: { use: all-at-once }
      steps:
        - { name: first, action: test.example.com/first }
        - { name: second, action: test.example.com/second }
";

/// The time on hold is over when the run is resumed. It must not count against the run while it waits.
#[tokio::test(start_paused = true)]
async fn a_run_that_was_on_hold_goes_on_beyond_the_places_when_it_is_resumed() {
    let scene = slow(Millis::from_secs(60)).await;
    let engine = scene.engine_with("engine-1", 1);
    let held = scene.start_playbook(TWO_STEPS).await.unwrap();
    scene.until(held, |run| run.progress.status == RunStatus::Running).await;
    ask(&scene, held, Verb::PauseNow, SOON).await;
    scene.wait(Millis::from_secs(90)).await;
    assert!(!is_driven(&scene, held).await, "it is parked");
    let going = begin(&scene, "going").await;
    ask(&scene, held, Verb::Resume, SOON).await;
    scene.wait(SOON).await;
    assert_eq!(status(&scene, held).await, RunStatus::Running);
    assert!(is_driven(&scene, held).await && is_driven(&scene, going).await);
    for run in [held, going] {
        assert_eq!(scene.until_final(run).await.progress.status, RunStatus::Done);
    }
    engine.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_command_reaches_a_run_whose_engine_died_before_it_took_it_up() {
    let scene = slow(Millis::from_secs(3_000)).await;
    let ([dies, other], [left, going]) = two_that_are_full(&scene).await;
    dies.kill().await;
    ask(&scene, left, Verb::Pause, Millis::from_secs(22)).await;
    assert_eq!(status(&scene, left).await, RunStatus::Paused);
    ask(&scene, left, Verb::Cancel, SOON).await;
    assert_eq!(status(&scene, going).await, RunStatus::Running);
    other.stop().await;
}
