//! Runs that can't be loaded or committed: they rest, others go on, and they go on once they can.

use replibook::run::{Millis, RunId, RunStatus, Trouble, TroubleCode};
use replibook::store::memory::Damaged;
use replibook::store::{Abandon, Abandonment};

use crate::PLAIN;
use crate::scene::Scene;

/// The trouble of a run, once it is in that.
async fn trouble(scene: &Scene, run: RunId) -> Trouble {
    for _ in 0..1_000 {
        let found = scene.store.troubles_of(&[run]).await.unwrap().pop();
        if let Some(trouble) = found {
            return trouble;
        }
        scene.clock.sleep(Millis(100).to_std()).await;
    }
    panic!("the run got into no trouble");
}

#[tokio::test(start_paused = true)]
async fn a_run_whose_commits_are_refused_rests_and_goes_on_once_they_are_taken() {
    let scene = Scene::new(4).await;
    let ill = scene.start_run_with("ill", PLAIN, "concurrency: allow").await.unwrap();
    let other = scene.start_run_with("other", PLAIN, "concurrency: allow").await.unwrap();
    scene.memory.faults().refuse_commits(ill);
    let engine = scene.engine_with("engine-1", 1);
    let known = trouble(&scene, ill).await;
    assert_eq!((known.code, known.tries), (TroubleCode::TooLarge, 1));
    // It holds no place, and the one that the engine has is the other's.
    assert_eq!(scene.until_final(other).await.progress.status, RunStatus::Done);

    scene.clock.sleep(Millis::from_secs(3_600).to_std()).await;
    let known = trouble(&scene, ill).await;
    assert!((10..=20).contains(&known.tries), "{} tries in an hour", known.tries);
    assert_eq!(scene.store.run(ill).await.unwrap().unwrap().progress.status, RunStatus::Pending);
    assert_eq!(scene.store.events(ill, 1, 9).await.unwrap(), [], "nothing of it was kept");
    scene.memory.faults().heal();
    assert_eq!(scene.until_final(ill).await.progress.status, RunStatus::Done);
    assert_eq!(scene.store.troubles(None, 9).await.unwrap(), []);
    assert_eq!(scene.store.troubles_of(&[ill]).await.unwrap(), []);
    engine.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_given_up_frees_its_cluster_for_the_next_one() {
    let scene = Scene::new(4).await;
    let ids = [scene.start_run("first", PLAIN).await, scene.start_run("second", PLAIN).await];
    let engine = scene.engine("engine-1");
    scene.until(ids[0], |run| run.progress.status == RunStatus::Running).await;
    engine.stop().await;
    scene.memory.damage(Damaged::Snapshot(ids[0]));
    let engine = scene.engine("engine-2");
    let known = trouble(&scene, ids[0]).await;
    assert_eq!(known.code, TroubleCode::Damaged);
    scene.clock.sleep(Millis::from_secs(600).to_std()).await;
    let next = scene.store.run(ids[1]).await.unwrap().unwrap();
    assert_eq!(next.progress.status, RunStatus::Pending);

    let request = Abandon { actor: None, why: "gone".to_owned(), force: false };
    let begun = scene.store.abandon(ids[0], &request).await.unwrap();
    assert!(matches!(begun, Abandonment::Begun(_)));
    // Nobody but the engine goes on with it.
    assert_eq!(scene.until_final(ids[1]).await.progress.status, RunStatus::Done);
    let ended = scene.store.read_run(ids[0]).await.unwrap().unwrap().unwrap_err();
    assert_eq!(ended.glance.status, Some(RunStatus::Failed));
    engine.stop().await;
}

#[tokio::test(start_paused = true)]
async fn the_engine_of_a_run_that_is_given_up_by_force_lets_go_of_it() {
    let scene = Scene::new(4).await;
    let run = scene.start_run("first", PLAIN).await;
    let engine = scene.engine("engine-1");
    scene.until(run, |run| run.progress.status == RunStatus::Running).await;
    let request = Abandon { actor: None, why: "gone".to_owned(), force: true };
    scene.store.abandon(run, &request).await.unwrap();
    let ended = scene.until_final(run).await;
    assert_eq!(ended.progress.status, RunStatus::Failed);
    let finish_ts = ended.progress.finish_ts;
    let events = scene.events(run).await;
    assert!(finish_ts.is_some() && events.iter().all(|event| event.finish_ts == finish_ts));
    let executions = scene.executions();
    scene.clock.sleep(Millis::from_secs(60).to_std()).await;
    assert_eq!(scene.executions(), executions, "nothing is sent any more");
    engine.stop().await;
}
