//! An engine whose clock is an hour behind that of the one before.

use replibook::agent::{Script, When};
use replibook::run::{Happened, Millis, RunStatus};
use serde_json::json;

use crate::scene::Scene;

/// So far is the clock behind.
const HOUR: Millis = Millis::from_secs(3_600);

/// Virtual time in which a run must end that has a minute to wait for. The other clock would have it wait
/// for an hour more.
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

    let second = scene.engine_behind("engine-2", HOUR);
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
    let second = scene.engine_behind("engine-2", HOUR);
    let begun = scene.now();
    let done = scene.until_final(run).await;
    assert!(scene.now().since(begun) < SOON, "{:?}", scene.now().since(begun));
    assert_eq!(done.progress.status, RunStatus::Done, "{:?}", done.progress);
    assert_eq!(scene.executions(), vec![1; 4]);
    second.stop().await;
}

fn is_failure(what: &Happened) -> bool {
    matches!(what, Happened::StepEnded { failure: Some(_), .. })
}
