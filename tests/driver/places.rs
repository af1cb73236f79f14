//! How many runs an engine drives at once, and which runs take no place.

use replibook::agent::{Script, When};
use replibook::run::{EngineId, Millis, ReasonCode, RunId, RunStatus, Verb};
use replibook::store::{Abandon, Ending, Locked};
use serde_json::json;

use crate::driver::PLAIN;
use crate::scene::Scene;

const ALLOW: &str = "concurrency: allow";

async fn start(scene: &Scene, runs: usize, spec: &str) -> Vec<RunId> {
    let mut ids = vec![];
    for n in 0..runs {
        ids.push(scene.start_run_with(&format!("run-{n}"), PLAIN, spec).await.unwrap());
    }
    ids
}

/// Waits until no engine drives these runs.
async fn until_left(scene: &Scene, ids: &[RunId]) {
    let start = scene.now();
    while !scene.store.holders(ids).await.unwrap().is_empty() {
        assert!(scene.now().since(start) < Millis::from_secs(60), "an engine keeps some");
        scene.wait(Millis(50)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn paused_runs_give_up_their_places_and_go_on_when_a_person_says_so() {
    let scene = Scene::new(4).await;
    for agent in 0..4 {
        scene.script(agent, Script::Fail { when: When::Looks(1), message: "broken".to_owned() });
    }
    let engine = scene.engine_with("engine-1", 2);
    let paused = start(&scene, 6, ALLOW).await;
    for id in &paused {
        scene.until(*id, |run| run.progress.status == RunStatus::Paused).await;
    }
    until_left(&scene, &paused).await;

    for id in &paused {
        scene.command(*id, Verb::Cancel).await;
    }
    for id in &paused {
        assert_eq!(scene.until_final(*id).await.progress.status, RunStatus::Cancelled);
    }
    engine.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_run_that_waits_for_approval_keeps_no_engine_and_another_one_takes_it_up() {
    let scene = Scene::new(2).await;
    let first = scene.engine_with("engine-1", 1);
    let waits = start(&scene, 3, "approval: required").await;
    let beside = scene.start_run("beside", PLAIN).await;
    assert_eq!(scene.until_final(beside).await.progress.status, RunStatus::Done);
    until_left(&scene, &waits).await;
    first.stop().await;

    let second = scene.engine_with("engine-2", 1);
    scene.wait(Millis::from_secs(30)).await;
    assert_eq!(scene.store.holders(&waits).await.unwrap(), []);
    scene.command(waits[1], Verb::Reject).await;
    scene.command(waits[2], Verb::Approve).await;
    assert_eq!(scene.until_final(waits[1]).await.progress.status, RunStatus::Cancelled);
    assert_eq!(scene.until_final(waits[2]).await.progress.status, RunStatus::Done);
    second.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_run_with_something_in_flight_keeps_its_engine_while_it_is_paused() {
    let scene = Scene::new(1).await;
    scene.script(0, Script::Succeed { when: When::Looks(1_000), payload: json!({}) });
    let engine = scene.engine("engine-1");
    let id = scene.start_run("long", PLAIN).await;
    scene.until(id, |run| run.progress.status == RunStatus::Running).await;
    scene.wait(Millis::from_secs(5)).await;
    scene.command(id, Verb::Pause).await;
    scene.until(id, |run| run.progress.status == RunStatus::Paused).await;
    scene.wait(Millis::from_secs(60)).await;
    let holders = scene.store.holders(&[id]).await.unwrap();
    assert_eq!(holders[0].engine, EngineId("engine-1".to_owned()));
    until_left(&scene, &[]).await;
    engine.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_person_steers_a_parked_run_while_others_have_all_places() {
    let scene = Scene::new(1).await;
    let waits = start(&scene, 1, "approval: required").await;
    let engine = scene.engine_with("engine-1", 1);
    scene.wait(Millis::from_secs(10)).await;
    scene.script(0, Script::Succeed { when: When::Looks(1_000), payload: json!({}) });
    let long = scene.start_run_with("long", PLAIN, ALLOW).await.unwrap();
    scene.until(long, |run| run.progress.status == RunStatus::Running).await;
    scene.command(waits[0], Verb::Reject).await;
    assert_eq!(scene.until_final(waits[0]).await.progress.status, RunStatus::Cancelled);
    let long = scene.store.run(long).await.unwrap().unwrap();
    assert_eq!(long.progress.status, RunStatus::Running);
    engine.stop().await;
}

#[tokio::test(start_paused = true)]
async fn queued_runs_take_no_place() {
    let scene = Scene::new(2).await;
    for agent in 0..2 {
        scene.script(agent, Script::Succeed { when: When::Looks(5), payload: json!({}) });
    }
    let ids = start(&scene, 10, "concurrency: queue").await;
    let engine = scene.engine_with("engine-1", 2);
    let told = |run: &replibook::run::Run| {
        run.progress.reason.as_ref().is_some_and(|reason| reason.code == ReasonCode::ClusterBusy)
    };
    scene.until(ids[9], told).await;
    let beside = scene.start_run_with("beside", PLAIN, ALLOW).await.unwrap();
    scene.until_final(beside).await;
    let last = scene.until(ids[9], told).await;
    assert_eq!(last.progress.status, RunStatus::Pending, "it waited for none of them");
    for id in ids {
        assert_eq!(scene.until_final(id).await.progress.status, RunStatus::Done);
    }
    engine.stop().await;
}

#[tokio::test(start_paused = true)]
async fn no_cluster_takes_all_places_and_an_engine_drives_no_more_than_it_may() {
    let scene = Scene::new(1).await;
    scene.script(0, Script::Succeed { when: When::Looks(1_000), payload: json!({}) });
    let ids = start(&scene, 12, ALLOW).await;
    let engine = scene.engine_with("engine-1", 10);
    scene.wait(Millis::from_secs(10)).await;
    let driven = scene.store.holders(&ids).await.unwrap();
    assert_eq!(driven.len(), 5, "half of the places: {driven:?}");
    assert_eq!(scene.store.unclaimed().await.unwrap(), 7);
    engine.stop().await;
}

/// Waits until the engine has taken these runs up and no engine drives them any more.
async fn until_parked(scene: &Scene, ids: &[RunId]) {
    while scene.store.unclaimed().await.unwrap() > 0 {
        scene.wait(Millis(50)).await;
    }
    until_left(scene, ids).await;
}

/// Has the first agents take `length` for each action.
fn slow(scene: &Scene, agents: usize, length: Millis) {
    for agent in 0..agents {
        scene.script(agent, Script::Succeed { when: When::After(length), payload: json!({}) });
    }
}

async fn count(scene: &Scene, ids: &[RunId], status: RunStatus) -> usize {
    let mut count = 0;
    for id in ids {
        let run = scene.store.run(*id).await.unwrap().unwrap();
        count += usize::from(run.progress.status == status);
    }
    count
}

#[tokio::test(start_paused = true)]
async fn a_run_whose_turn_it_is_is_not_passed_by_those_that_are_claimed() {
    let scene = Scene::new(2).await;
    slow(&scene, 2, Millis::from_secs(10));
    let queued = start(&scene, 2, "concurrency: queue").await;
    let mut others = vec![];
    for n in 0..30 {
        let name = format!("beside-{n}");
        others.push(scene.start_run_with(&name, PLAIN, ALLOW).await.unwrap());
    }
    let engine = scene.engine_with("engine-1", 2);
    scene.until(queued[1], |run| run.progress.status == RunStatus::Running).await;
    let left = count(&scene, &others, RunStatus::Pending).await;
    assert!(left > 20, "only {left} of them wait longer");
    assert_eq!(scene.until_final(queued[1]).await.progress.status, RunStatus::Done);
    engine.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_run_in_the_store_is_not_passed_by_for_ever_by_those_that_wait_in_the_engine() {
    let scene = Scene::new(2).await;
    slow(&scene, 2, Millis::from_secs(10));
    let engine = scene.engine_with("engine-1", 1);
    let waits = start(&scene, 12, "approval: required\n  concurrency: allow").await;
    until_parked(&scene, &waits).await;
    for id in &waits[..3] {
        scene.command(*id, Verb::Approve).await;
    }
    scene.wait(Millis::from_secs(5)).await;
    let beside = scene.start_run_with("beside", PLAIN, ALLOW).await.unwrap();
    for id in &waits[3..] {
        scene.wait(Millis::from_secs(5)).await;
        scene.command(*id, Verb::Approve).await;
    }
    scene.until_final(beside).await;
    let left = count(&scene, &waits, RunStatus::Pending).await;
    assert!(left > 0, "all others went before it");
    for id in waits {
        assert_eq!(scene.until_final(id).await.progress.status, RunStatus::Done);
    }
    engine.stop().await;
}

#[tokio::test(start_paused = true)]
async fn no_cluster_takes_all_places_in_exchange_for_a_run_that_waits() {
    let scene = Scene::new(1).await;
    slow(&scene, 1, Millis::from_secs(3_000));
    let mut ids = start(&scene, 2, "concurrency: queue").await;
    for n in 0..12 {
        let name = format!("beside-{n}");
        ids.push(scene.start_run_with(&name, PLAIN, ALLOW).await.unwrap());
    }
    let engine = scene.engine_with("engine-1", 10);
    scene.wait(Millis::from_secs(120)).await;
    assert_eq!(count(&scene, &ids, RunStatus::Running).await, 5, "half of the places");
    engine.stop().await;
}

#[tokio::test(start_paused = true)]
async fn no_cluster_takes_all_places_with_runs_that_are_approved() {
    let scene = Scene::new(1).await;
    slow(&scene, 1, Millis::from_secs(120));
    let engine = scene.engine_with("engine-1", 10);
    let ids = start(&scene, 12, "approval: required\n  concurrency: allow").await;
    until_parked(&scene, &ids).await;
    for id in &ids {
        scene.command(*id, Verb::Approve).await;
    }
    scene.wait(Millis::from_secs(60)).await;
    assert_eq!(count(&scene, &ids, RunStatus::Running).await, 5, "half of the places");
    for id in ids {
        assert_eq!(scene.until_final(id).await.progress.status, RunStatus::Done);
    }
    engine.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_run_that_waits_for_a_place_goes_to_an_engine_that_has_one() {
    let scene = Scene::new(1).await;
    let full = scene.engine_with("engine-1", 1);
    let waits = start(&scene, 1, "approval: required\n  concurrency: allow").await;
    until_parked(&scene, &waits).await;
    slow(&scene, 1, Millis::from_secs(3_000));
    let long = scene.start_run_with("long", PLAIN, ALLOW).await.unwrap();
    scene.until(long, |run| run.progress.status == RunStatus::Running).await;
    scene.command(waits[0], Verb::Approve).await;
    scene.until(waits[0], |run| run.progress.status == RunStatus::Pending).await;
    // Without another engine it keeps the runs that it has.
    scene.wait(Millis::from_secs(60)).await;
    let holder = async || scene.store.holders(&waits).await.unwrap().pop().unwrap().engine.0;
    assert_eq!(holder().await, "engine-1");

    let idle = scene.engine_with("engine-2", 1);
    scene.until(waits[0], |run| run.progress.status == RunStatus::Running).await;
    assert_eq!(holder().await, "engine-2");
    let long = scene.store.run(long).await.unwrap().unwrap();
    assert_eq!(long.progress.status, RunStatus::Running);
    full.stop().await;
    idle.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_run_goes_on_that_got_its_cluster_just_before_its_engine_died() {
    let scene = Scene::new(1).await;
    slow(&scene, 1, Millis::from_secs(60));
    let ids = start(&scene, 2, "concurrency: queue").await;
    let engine = scene.engine_with("engine-1", 10);
    scene.until(ids[1], |run| run.progress.reason.is_some()).await;
    engine.stop().await;
    let request = Abandon { actor: None, why: "gone".to_owned(), force: true };
    scene.store.abandon(ids[0], &request).await.unwrap();
    while scene.store.end_abandoned(ids[0]).await.unwrap() != Ending::Ended {
        scene.wait(Millis::from_secs(1)).await;
    }
    let dies = EngineId("engine-2".to_owned());
    let lease = scene.store.claim(&dies, 10).await.unwrap().pop().unwrap();
    assert_eq!(scene.store.lock_cluster(ids[1], lease.epoch).await.unwrap(), Locked::Held);
    let engine = scene.engine_with("engine-3", 10);
    assert_eq!(scene.until_final(ids[1]).await.progress.status, RunStatus::Done);
    engine.stop().await;
}
