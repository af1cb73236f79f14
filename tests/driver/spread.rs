//! Several engines share the runs, hand them over when they are drained, and are forgotten when they stop.

use std::collections::BTreeMap;

use replibook::agent::{Script, When};
use replibook::run::{EngineId, Millis, RunId, RunStatus};
use serde_json::json;

use crate::PLAIN;
use crate::scene::Scene;

/// Starts runs that go side by side, and whose batches take a minute.
async fn start(scene: &Scene, agents: usize, runs: usize) -> Vec<RunId> {
    for agent in 0..agents {
        let when = When::After(Millis::from_secs(60));
        scene.script(agent, Script::Succeed { when, payload: json!({}) });
    }
    let mut ids = vec![];
    for n in 0..runs {
        let allow = "concurrency: allow";
        ids.push(scene.start_run_with(&format!("run-{n}"), PLAIN, allow).await.unwrap());
    }
    ids
}

/// How many of these runs each engine drives.
async fn driven(scene: &Scene, runs: &[RunId]) -> BTreeMap<String, usize> {
    let mut driven = BTreeMap::new();
    for holder in scene.store.holders(runs).await.unwrap() {
        *driven.entry(holder.engine.0).or_default() += 1;
    }
    driven
}

#[tokio::test(start_paused = true)]
async fn runs_go_to_engines_that_come_later_and_then_stay() {
    let scene = Scene::new(12).await;
    let runs = start(&scene, 12, 24).await;
    let first = scene.engine_with("engine-1", 100);
    scene.wait(Millis::from_secs(10)).await;
    assert_eq!(driven(&scene, &runs).await, BTreeMap::from([("engine-1".to_owned(), 24)]));

    let later = ["engine-2", "engine-3"].map(|name| scene.engine_with(name, 100));
    scene.wait(Millis::from_secs(140)).await;
    let spread = driven(&scene, &runs).await;
    assert_eq!(spread.len(), 3, "{spread:?}");
    // A third each, and a little slack.
    assert!(spread.values().all(|runs| (4..=10).contains(runs)), "{spread:?}");
    scene.wait(Millis::from_secs(30)).await;
    assert_eq!(driven(&scene, &runs).await, spread, "nothing goes back and forth");
    for id in runs {
        assert_eq!(scene.until_final(id).await.progress.status, RunStatus::Done);
    }
    assert!(scene.executions().iter().all(|executed| *executed == 24));
    for engine in later {
        engine.stop().await;
    }
    first.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_drained_engine_hands_over_all_its_runs_and_takes_none_until_it_is_undrained() {
    let scene = Scene::new(4).await;
    let runs = start(&scene, 4, 6).await;
    let first = scene.engine("engine-1");
    scene.wait(Millis::from_secs(10)).await;
    let second = scene.engine("engine-2");
    scene.wait(Millis::from_secs(10)).await;
    let id = EngineId("engine-1".to_owned());
    let told = scene.store.drain_engine(&id, true, Some("ann")).await.unwrap().unwrap();
    assert!(told.draining.is_some());
    scene.wait(Millis::from_secs(10)).await;
    assert_eq!(driven(&scene, &runs).await, BTreeMap::from([("engine-2".to_owned(), 6)]));
    let known = scene.store.engines().await.unwrap();
    let known: Vec<_> = known.iter().map(|engine| (engine.report.runs, &engine.draining)).collect();
    assert!(matches!(known[..], [(0, Some(_)), (6, None)]), "{known:?}");

    scene.store.drain_engine(&id, false, None).await.unwrap();
    second.stop().await;
    scene.wait(Millis::from_secs(10)).await;
    assert_eq!(driven(&scene, &runs).await, BTreeMap::from([("engine-1".to_owned(), 6)]));
    let known = scene.store.engines().await.unwrap();
    assert_eq!(known.len(), 1, "the one that stopped is forgotten: {known:?}");
    for id in runs {
        assert_eq!(scene.until_final(id).await.progress.status, RunStatus::Done);
    }
    assert!(scene.executions().iter().all(|executed| *executed == 6));
    first.stop().await;
}

#[tokio::test(start_paused = true)]
async fn nothing_is_left_to_an_engine_whose_clock_is_far_off() {
    let scene = Scene::new(12).await;
    let runs = start(&scene, 12, 12).await;
    let first = scene.engine_with("engine-1", 100);
    scene.wait(Millis::from_secs(10)).await;
    let off = scene.engine_ahead("engine-2", 61_000);
    for _ in 0..60 {
        scene.wait(Millis::from_secs(1)).await;
        let driven = driven(&scene, &runs).await;
        assert_eq!(driven, BTreeMap::from([("engine-1".to_owned(), 12)]));
    }
    assert_eq!(scene.store.engines().await.unwrap().len(), 2, "it says that it is there");
    off.stop().await;
    first.stop().await;
}
