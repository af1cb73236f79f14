//! Several engines share the runs, hand them over when they are drained, and are forgotten when they stop.

use std::collections::BTreeMap;

use replibook::agent::{Script, When};
use replibook::run::{EngineId, Millis, RunId, RunStatus};
use serde_json::json;

use crate::driver::PLAIN;
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
    // A third each, with a little slack.
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
    let told = scene.store.drain_engine(&id, true, Some("ann"), None).await.unwrap().unwrap();
    assert!(told.draining.is_some());
    scene.wait(Millis::from_secs(10)).await;
    assert_eq!(driven(&scene, &runs).await, BTreeMap::from([("engine-2".to_owned(), 6)]));
    let known = scene.store.engines().await.unwrap();
    let known: Vec<_> = known.iter().map(|engine| (engine.report.runs, &engine.draining)).collect();
    assert!(matches!(known[..], [(0, Some(_)), (6, None)]), "{known:?}");

    scene.store.drain_engine(&id, false, None, None).await.unwrap();
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

/// Starts a run that goes beside others. Its first agent acts for as long as that agent's script says, and
/// the next agents are started half a day later.
async fn start_canary(scene: &Scene, name: &str, agents: &str) -> RunId {
    let text = format!(
        "apiVersion: replicante.io/v1\nkind: Playbook\n\
         metadata: {{ name: {name}, version: 1.0.0 }}\n\
         spec:\n  concurrency: allow\n  stages:\n    - name: only\n      select: {agents}\n      \
         strategy: {{ use: canary, with: {{ canaries: 1, soak: 12h }} }}\n      \
         steps:\n        - name: act\n          action: test.example.com/act\n"
    );
    scene.start_playbook(&text).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn runs_that_are_always_at_work_hold_up_none_of_those_that_could_go() {
    let scene = Scene::new(4).await;
    let when = When::After(Millis::from_secs(12 * 3_600));
    scene.script(0, Script::Succeed { when, payload: json!({}) });
    let (mut soaking, mut at_work) = (vec![], vec![]);
    for n in 0..20 {
        soaking.push(start_canary(&scene, &format!("s-{n}"), "agent.id != 'node-0'").await);
    }
    // These runs are younger, and more than an engine hands over at once.
    for n in 0..60 {
        at_work.push(start_canary(&scene, &format!("w-{n}"), "agent.id == 'node-0'").await);
    }
    let first = scene.engine_with("engine-1", 400);
    scene.wait(Millis::from_secs(30)).await;
    let second = scene.engine_with("engine-2", 400);
    scene.wait(Millis::from_secs(60)).await;
    assert_eq!(driven(&scene, &soaking).await, BTreeMap::from([("engine-2".to_owned(), 20)]));
    assert_eq!(driven(&scene, &at_work).await, BTreeMap::from([("engine-1".to_owned(), 60)]));
    second.stop().await;
    first.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_run_stays_if_the_engine_that_was_to_have_it_is_drained_before_it_goes() {
    let scene = Scene::new(4).await;
    let runs = start(&scene, 4, 6).await;
    let first = scene.engine_with("engine-1", 100);
    scene.wait(Millis::from_secs(20)).await;
    let held = scene.store.holders(&runs).await.unwrap();
    let second = scene.engine_with("engine-2", 100);
    // The first actions take a minute, so no run can be handed over yet.
    scene.wait(Millis::from_secs(20)).await;
    let id = EngineId("engine-2".to_owned());
    scene.store.drain_engine(&id, true, None, None).await.unwrap();
    scene.wait(Millis::from_secs(60)).await;
    assert_eq!(scene.store.holders(&runs).await.unwrap(), held, "none went, not even for a moment");
    scene.store.drain_engine(&id, false, None, None).await.unwrap();
    scene.wait(Millis::from_secs(60)).await;
    assert_eq!(driven(&scene, &runs).await.len(), 2, "they go once it is there again");
    second.stop().await;
    first.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_has_gone_counts_for_the_engine_that_has_it_before_that_engine_says_so() {
    for after in [4_050, 4_150, 5_000, 7_900] {
        let scene = Scene::new(4).await;
        for agent in 0..4 {
            let when = When::After(Millis::from_secs(600));
            scene.script(agent, Script::Succeed { when, payload: json!({}) });
        }
        let mut runs = vec![];
        for n in 0..20 {
            runs.push(scene.start_run(&format!("run-{n}"), PLAIN).await);
        }
        let first = scene.engine("engine-1");
        scene.wait(Millis(8_000 + after)).await;
        let started = scene.now();
        let second = scene.engine("engine-2");
        let mut seen = BTreeMap::new();
        while scene.now().since(started) < Millis::from_secs(60) {
            for holder in scene.store.holders(&runs).await.unwrap() {
                let was = seen.insert(holder.run, holder.since);
                let moved = was.is_some_and(|was| was != holder.since);
                assert!(!moved || holder.engine.0 == "engine-2", "{after}: nothing comes back");
            }
            scene.wait(Millis(50)).await;
        }
        let spread = driven(&scene, &runs).await;
        assert!(spread.values().all(|runs| (9..=11).contains(runs)), "{after}: {spread:?}");
        second.stop().await;
        first.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn runs_that_no_engine_takes_are_let_go_ever_more_rarely() {
    let scene = Scene::new(4).await;
    for agent in 0..4 {
        let when = When::After(Millis::from_secs(24 * 3_600));
        scene.script(agent, Script::Succeed { when, payload: json!({}) });
    }
    // Runs of one cluster get half of its places, and these two take them: it takes up no other run of that
    // cluster.
    let full = scene.engine_with("engine-2", 4);
    for n in 0..2 {
        let allow = "concurrency: allow";
        scene.start_run_with(&format!("beside-{n}"), PLAIN, allow).await.unwrap();
    }
    scene.wait(Millis::from_secs(10)).await;
    let first = scene.engine("engine-1");
    let mut runs = vec![];
    for n in 0..8 {
        runs.push(scene.start_run(&format!("run-{n}"), PLAIN).await);
    }
    scene.wait(Millis::from_secs(60)).await;
    let mut times = BTreeMap::<RunId, u32>::new();
    let mut held = scene.store.holders(&runs).await.unwrap();
    for _ in 0..3_600 * 4 {
        scene.wait(Millis(500)).await;
        let now = scene.store.holders(&runs).await.unwrap();
        let holds = |run: &RunId| now.iter().any(|holder| holder.run == *run);
        for gone in held.iter().filter(|holder| !holds(&holder.run)) {
            *times.entry(gone.run).or_default() += 1;
        }
        held = now;
    }
    assert!(times.values().all(|times| *times <= 5), "in two hours: {times:?}");
    assert!(!times.is_empty(), "it is tried");
    full.stop().await;
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
