//! Runs on clusters whose credentials this engine does not have, or that can't be used as they are stored.

use std::collections::BTreeMap;

use replibook::agent::{Script, When};
use replibook::credentials::{Credentials, KeptCredentials};
use replibook::driver::{EngineConfig, FileSums, World};
use replibook::playbook::Tls;
use replibook::run::{Digest, EngineId, Millis, RunId, RunStatus, Verb};
use replibook::store::{CREDENTIALS_FOLDER, SECRETS_FOLDER};
use serde_json::json;

use crate::engine::RunningEngine;
use crate::scene::{Scene, address};

/// Credentials of these names for agents, and of one more for a platform.
fn kept(folder: &std::path::Path, names: &[&str]) -> KeptCredentials {
    for (name, used) in names.iter().map(|name| (*name, "agent")).chain([("platform", "platform")])
    {
        std::fs::create_dir_all(folder.join(name)).unwrap();
        let text = format!("use: {used}\norigins: [\"https://*:*\"]\n");
        std::fs::write(folder.join(name).join("for.yaml"), text).unwrap();
    }
    KeptCredentials::open(Credentials::open(folder).unwrap()).unwrap()
}

fn engine(scene: &Scene, name: &str, kept: KeptCredentials) -> RunningEngine {
    let world = scene.world();
    let followers = world.followers.clone().with_credentials(kept);
    RunningEngine::start(World { followers, ..world }, name, 10)
}

#[tokio::test(start_paused = true)]
async fn a_run_waits_for_an_engine_that_has_the_credentials_of_its_cluster() {
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let scene = Scene::new(1).await;
    let agents = json!([{"id": "node-0", "address": address(0)}]);
    scene.apply_cluster(json!({"agents": agents, "credentials": "eu"})).await;
    let run = scene.start_run("p", "max_failed: 0").await;
    let without = engine(&scene, "engine-1", KeptCredentials::default());
    let others = engine(&scene, "engine-2", kept(folders[0].path(), &["us"]));
    scene.wait(Millis::from_secs(60)).await;
    let waiting = scene.store.run(run).await.unwrap().unwrap().progress;
    assert_eq!(waiting.status, RunStatus::Pending, "{waiting:?}");
    assert_eq!(scene.executions(), [0]);
    let with = engine(&scene, "engine-3", kept(folders[1].path(), &["eu"]));
    let done = scene.until_final(run).await;
    assert_eq!(done.progress.status, RunStatus::Done, "{:?}", done.progress);
    for engine in [without, others, with] {
        engine.stop().await;
    }
}

/// Who drives a run.
async fn driver_of(scene: &Scene, run: RunId) -> Option<String> {
    let holders = scene.store.holders(&[run]).await.unwrap();
    holders.into_iter().next().map(|holder| holder.engine.0)
}

/// An engine that reports the names of its credentials, and that it has no secrets.
fn reporting(scene: &Scene, name: &str, kept: KeptCredentials, names: &str) -> RunningEngine {
    let world = scene.world();
    let followers = world.followers.clone().with_credentials(kept);
    let sum = Digest::of(names.as_bytes());
    let files = FileSums::of(move || {
        BTreeMap::from([
            (CREDENTIALS_FOLDER.to_owned(), Some(sum.clone())),
            (SECRETS_FOLDER.to_owned(), None),
        ])
    });
    let config = EngineConfig { files, ..EngineConfig::new(EngineId(name.to_owned()), 10) };
    RunningEngine::of(World { followers, ..world }, config)
}

#[tokio::test(start_paused = true)]
async fn a_run_whose_credentials_no_engine_has_stays_where_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let scene = Scene::new(1).await;
    let agents = json!([{"id": "node-0", "address": address(0)}]);
    scene.apply_cluster(json!({"agents": agents, "credentials": "eu"})).await;
    let without = ["engine-1", "engine-2"]
        .map(|name| reporting(&scene, name, KeptCredentials::default(), "none"));
    scene.wait(Millis::from_secs(10)).await;
    let run = scene.start_run("p", "max_failed: 0").await;
    let other = scene.start_run("q", "max_failed: 0").await;
    scene.wait(Millis::from_secs(10)).await;
    let held = scene.store.holders(&[run, other]).await.unwrap();
    assert_eq!(held.len(), 2, "{held:?}");
    for _ in 0..120 {
        scene.wait(Millis::from_secs(1)).await;
        assert_eq!(scene.store.holders(&[run, other]).await.unwrap(), held);
    }
    // What somebody asks of it is done.
    scene.command(other, Verb::Cancel).await;
    assert_eq!(scene.until_final(other).await.progress.status, RunStatus::Cancelled);
    let with = reporting(&scene, "engine-3", kept(folder.path(), &["eu"]), "eu");
    let done = scene.until_final(run).await;
    assert_eq!(done.progress.status, RunStatus::Done, "{:?}", done.progress);
    assert_eq!(scene.executions(), [1]);
    for engine in without.into_iter().chain([with]) {
        engine.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_goes_to_an_engine_that_has_the_credentials_that_its_cluster_names_since() {
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let scene = Scene::new(1).await;
    let (when, payload) = (When::After(Millis::from_secs(300)), json!({}));
    scene.script(0, Script::Succeed { when, payload });
    let agents = json!([{"id": "node-0", "address": address(0)}]);
    let spec = |names: &str| json!({"agents": agents, "credentials": names});
    scene.apply_cluster(spec("eu")).await;
    let run = scene.start_run("p", "max_failed: 0").await;
    let first = engine(&scene, "engine-1", kept(folders[0].path(), &["eu"]));
    scene.until(run, |_| scene.executions() == [1]).await;
    let second = engine(&scene, "engine-2", kept(folders[1].path(), &["eu", "us"]));
    scene.wait(Millis::from_secs(60)).await;
    assert_eq!(driver_of(&scene, run).await.as_deref(), Some("engine-1"), "nothing is lacking");
    scene.apply_cluster(spec("us")).await;
    // It is seen within ten seconds, and the other engine looks for runs several times a second.
    scene.wait(Millis::from_secs(15)).await;
    assert_eq!(driver_of(&scene, run).await.as_deref(), Some("engine-2"));
    let done = scene.until_final(run).await;
    assert_eq!(done.progress.status, RunStatus::Done, "{:?}", done.progress);
    assert_eq!(scene.executions(), [1], "it was not sent again");
    for engine in [first, second] {
        engine.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_stored_cluster_that_names_files_is_not_used() {
    let scene = Scene::new(1).await;
    let mut stored = scene.store.cluster("c").await.unwrap().unwrap();
    let (ca, cert, key) = (Some("/etc/ca.pem".to_owned()), None, None);
    stored.spec.tls = Some(Tls { ca, cert, key });
    scene.store.put_cluster(&stored).await.unwrap();
    let run = scene.start_run("p", "max_failed: 0").await;
    let engine = scene.engine("engine-1");
    scene
        .until(run, |run| {
            run.progress.status == RunStatus::Paused || run.progress.status.is_final()
        })
        .await;
    let progress = scene.store.run(run).await.unwrap().unwrap().progress;
    let why = progress.reason.unwrap().message;
    assert!(why.contains("apply it again with `credentials: NAME`"), "{why}");
    assert_eq!(scene.executions(), [0]);
    engine.stop().await;
}
