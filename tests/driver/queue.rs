//! One run at a time for each cluster, in the order of creation, whichever engines drive them.

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use replibook::agent::Script;
use replibook::run::{AgentState, Millis, ReasonCode, Run, RunId, RunStatus, Verb};
use replibook::store::StoreError;

use crate::driver::PLAIN;
use crate::scene::Scene;

async fn start(scene: &Scene, runs: usize) -> Vec<RunId> {
    let mut ids = vec![];
    for n in 0..runs {
        ids.push(scene.start_run(&format!("run-{n}"), PLAIN).await);
    }
    ids
}

/// Checks that all runs ended well, that each began after its predecessor had ended, and that nothing was
/// done twice.
async fn all_done_in_order(scene: &Scene, ids: &[RunId]) {
    let mut before: Option<Run> = None;
    for id in ids {
        let run = scene.until_final(*id).await;
        assert_eq!(run.progress.status, RunStatus::Done, "{:?}", run.progress);
        if let Some(before) = before {
            assert!(run.progress.started_at >= before.progress.finish_ts);
        }
        before = Some(run);
    }
    let runs = u32::try_from(ids.len()).unwrap();
    assert!(scene.executions().iter().all(|executed| *executed == runs));
    assert_eq!(scene.agents.overlaps(), 0);
}

fn waits_for(run: &Run) -> Option<String> {
    let reason = run.progress.reason.as_ref()?;
    (reason.code == ReasonCode::ClusterBusy).then(|| reason.message.clone())
}

#[tokio::test(start_paused = true)]
async fn several_engines_keep_the_order_and_each_run_says_what_it_waits_for() {
    let scene = Scene::new(4).await;
    let ids = start(&scene, 6).await;
    let engines = [0, 1, 2].map(|n| scene.engine_with(&format!("engine-{n}"), 2));
    for (n, id) in ids.iter().enumerate().skip(1) {
        let waiting = scene.until(*id, |run| waits_for(run).is_some()).await;
        assert_eq!(waiting.progress.status, RunStatus::Pending);
        let others = ["", "; 1 more is", "; 2 more are", "; 3 more are", "; 4 more are"][n - 1];
        let first = format!("waits for run {} to end{others}", ids[0]);
        assert!(waits_for(&waiting).unwrap().starts_with(&first), "{:?}", waiting.progress.reason);
    }
    // What the run says keeps up with what happens.
    let second = format!("waits for run {} to end; 3 more are queued before it", ids[1]);
    scene.until(ids[5], |run| waits_for(run).as_deref() == Some(second.as_str())).await;
    all_done_in_order(&scene, &ids).await;
    for engine in engines {
        engine.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_next_run_starts_at_once_in_one_process_and_soon_in_another() {
    let scene = Scene::new(4).await;
    let ids = start(&scene, 3).await;
    let first = scene.engine_with("engine-1", 2);
    scene.until(ids[1], |run| waits_for(run).is_some()).await;
    let second = scene.engine_with("engine-2", 1);
    let mut runs = vec![];
    for id in &ids {
        runs.push(scene.until_final(*id).await.progress);
    }
    let idle = |n: usize| runs[n].started_at.unwrap().since(runs[n - 1].finish_ts.unwrap());
    assert!(idle(1) <= Millis(50), "{:?}", idle(1));
    assert!(idle(2) <= Millis(2_100), "{:?}", idle(2));
    first.stop().await;
    second.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_run_that_nobody_drives_gets_a_place_of_one_that_waits_for_it() {
    let scene = Scene::new(4).await;
    let ids = start(&scene, 3).await;
    let first = scene.engine_with("engine-1", 1);
    scene.until(ids[0], |run| run.progress.count(AgentState::Running) > 0).await;
    let second = scene.engine_with("engine-2", 2);
    scene.until(ids[2], |run| waits_for(run).is_some()).await;
    first.kill().await;
    all_done_in_order(&scene, &ids).await;
    second.stop().await;
}

/// The store is asked once for all runs that wait, and not once for each of them.
#[tokio::test(start_paused = true)]
async fn runs_that_wait_ask_no_more_however_many_they_are() {
    let mut asked = vec![];
    for waiting in [2, 60] {
        let scene = Scene::new(1).await;
        scene.script(0, Script::Stall);
        let ids = start(&scene, 1 + waiting).await;
        let engine = scene.engine_with("engine-1", 100);
        for id in &ids[1..] {
            scene.until(*id, |run| waits_for(run).is_some()).await;
        }
        // By then, the messages of the runs' first wait are over.
        scene.wait(Millis::from_secs(5)).await;
        let before = scene.memory.calls();
        scene.wait(Millis::from_secs(60)).await;
        asked.push(scene.memory.calls() - before);
        engine.stop().await;
    }
    // One question each second, and what an engine asks even if nothing waits.
    assert!(asked[0].abs_diff(asked[1]) <= 2, "{asked:?}");
    assert!(asked[0] < 60 * 12, "{asked:?}");
}

/// Engines that hardly have any places die at random moments.
#[tokio::test(start_paused = true)]
async fn engines_that_die_at_random_moments_keep_the_order() {
    let seed = std::env::var("REPLIBOOK_SEED").ok().and_then(|text| text.parse().ok());
    let seed = seed.unwrap_or_else(rand::random::<u64>);
    println!("REPLIBOOK_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    for _ in 0..15 {
        let scene = Scene::new(3).await;
        let ids = start(&scene, 5).await;
        let mut engines = vec![];
        for life in 0..10 {
            engines.push(scene.engine_with(&format!("engine-{life}"), random.random_range(1..3)));
            scene.wait(Millis(random.random_range(0..1_500))).await;
            if engines.len() > 2 {
                engines.swap_remove(random.random_range(0..3)).kill().await;
                scene.wait(Millis(random.random_range(0..20_000))).await;
            }
        }
        all_done_in_order(&scene, &ids).await;
        for engine in engines {
            engine.stop().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn runs_that_allow_others_beside_them_wait_for_nobody() {
    let scene = Scene::new(4).await;
    let allow = "concurrency: allow";
    let ids = [
        scene.start_run("first", PLAIN).await,
        scene.start_run_with("beside", PLAIN, allow).await.unwrap(),
        scene.start_run("second", PLAIN).await,
    ];
    let engine = scene.engine("engine-1");
    let mut runs = vec![];
    for id in ids {
        runs.push(scene.until_final(id).await.progress);
    }
    assert!(runs[1].started_at < runs[0].finish_ts, "{runs:?}");
    assert!(runs[2].started_at >= runs[0].finish_ts, "{runs:?}");
    engine.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_run_that_rejects_a_busy_cluster_never_waits() {
    let scene = Scene::new(4).await;
    let reject = "concurrency: reject";
    let late = "concurrency: reject\n  approval: required";
    let waits_for_approval = scene.start_run_with("late", PLAIN, late).await.unwrap();
    let first = scene.start_run_with("first", PLAIN, reject).await.unwrap();
    let error = scene.start_run_with("second", PLAIN, reject).await.unwrap_err();
    assert!(matches!(error, StoreError::ClusterBusy { run, .. } if run == first), "{error}");

    let engine = scene.engine("engine-1");
    scene.until(first, |run| run.progress.count(AgentState::Running) > 0).await;
    scene.command(waits_for_approval, Verb::Approve).await;
    let failed = scene.until_final(waits_for_approval).await.progress;
    assert_eq!(failed.status, RunStatus::Failed);
    let reason = failed.reason.unwrap();
    assert_eq!(reason.code, ReasonCode::ClusterBusy);
    assert!(reason.message.contains(&first.to_string()), "{}", reason.message);
    assert_eq!(scene.until_final(first).await.progress.status, RunStatus::Done);
    engine.stop().await;
}
