//! Clocks that are an hour off: the store's, set back between one engine and the next, and that of one
//! engine.

use replibook::agent::{Script, When};
use replibook::run::{Happened, Millis, RunStatus};
use serde_json::json;

use crate::scene::Scene;

/// How far a clock is off.
const HOUR: Millis = Millis::from_secs(3_600);

/// The virtual time in which a run that waits for a minute must end. By the other clock it would wait for an
/// hour more.
const SOON: Millis = Millis::from_secs(300);

const RETRY: &str = "retry: { attempts: 2, initial: 1m, factor: 1, max: 1m }";

#[tokio::test(start_paused = true)]
async fn what_was_to_be_tried_again_in_a_minute_is_tried_again_in_a_minute() {
    let scene = Scene::new(4).await;
    scene.script(0, Script::Fail { when: When::Looks(1), message: "broken".to_owned() });
    let run = scene.start_run_of("first", RETRY).await;
    let first = scene.engine("engine-1");
    while !scene.events(run).await.iter().any(|event| is_failure(&event.what)) {
        scene.wait(Millis(50)).await;
    }
    first.stop().await;
    scene.script(0, Script::Succeed { when: When::Looks(2), payload: json!({"ok": true}) });

    scene.set_back(HOUR);
    let second = scene.engine("engine-2");
    let begun = scene.now();
    let done = scene.until_final(run).await;
    assert!(scene.now().since(begun) < SOON, "{:?}", scene.now().since(begun));
    assert_eq!(done.progress.status, RunStatus::Done, "{:?}", done.progress);
    assert!(scene.events(run).await.is_sorted_by_key(|event| event.at), "time went back");
    second.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_action_that_was_sent_is_followed_and_not_sent_again() {
    let scene = Scene::new(4).await;
    let when = When::After(Millis::from_secs(30));
    scene.script(0, Script::Succeed { when, payload: json!({"ok": true}) });
    let run = scene.start_run("first", "max_failed: 0").await;
    let first = scene.engine("engine-1");
    while scene.executions()[0] == 0 {
        scene.wait(Millis(50)).await;
    }
    first.kill().await;
    scene.set_back(HOUR);
    // A store does this at its start, when its engines are gone.
    scene.store.release(run, 1).await.unwrap();
    let second = scene.engine("engine-2");
    let begun = scene.now();
    let done = scene.until_final(run).await;
    assert!(scene.now().since(begun) < SOON, "{:?}", scene.now().since(begun));
    assert_eq!(done.progress.status, RunStatus::Done, "{:?}", done.progress);
    assert_eq!(scene.executions(), vec![1; 4]);
    second.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_engine_whose_clock_is_an_hour_off_takes_up_no_run() {
    let scene = Scene::new(4).await;
    let run = scene.start_run("first", "max_failed: 0").await;
    let hour = i64::try_from(HOUR.0).unwrap();
    let off = [scene.engine_ahead("ahead", hour), scene.engine_ahead("behind", -hour)];
    scene.wait(Millis::from_secs(60)).await;
    assert_eq!(scene.executions(), vec![0; 4]);

    let right = scene.engine("right");
    let done = scene.until_final(run).await;
    assert_eq!(done.progress.status, RunStatus::Done, "{:?}", done.progress);
    let now = scene.now();
    assert!(scene.events(run).await.iter().all(|event| event.at <= now));
    for engine in off.into_iter().chain([right]) {
        engine.stop().await;
    }
}

fn is_failure(what: &Happened) -> bool {
    matches!(what, Happened::StepEnded { failure: Some(_), .. })
}
