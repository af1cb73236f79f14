//! Servers that share a store, and whose clocks are off. The real clock belongs to the whole machine, so the
//! servers read an offset to it from a file.

use std::path::Path;

use replibook::clock::{Clock as _, SystemClock, TestOffset};
use replibook::run::{Millis, RunStatus, Timestamp};
use serde_json::Value;

use crate::crash::server::{LIMIT, Server, Settings};
use crate::crash::stages::{self, Scene, assert_ended_well};
use crate::wait;

/// How far a store's time may be from this machine's, on a busy machine.
const NEAR: Millis = Millis::from_secs(20);

/// A server of this name whose clock is `ahead` milliseconds ahead.
async fn server(dir: &Path, name: &str, store: &str, ahead: i64) -> Server {
    let offset = dir.join(format!("{name}.offset"));
    std::fs::write(&offset, ahead.to_string()).unwrap();
    let settings = Settings {
        store: Some(store.to_owned()),
        data: dir.join(name),
        log: dir.join(format!("{name}.log")),
        env: vec![(TestOffset::FILE, offset)],
        ..Settings::in_dir(dir)
    };
    Server::start_with(settings, None).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn time_in_a_run_is_the_stores_and_who_is_far_off_takes_up_nothing() {
    let scene = Scene::new(2).await;
    let store = crate::crash::database();
    let ahead = server(scene.path(), "ahead", &store, 3_600_000).await;
    let begun = SystemClock.now();
    let run = stages::start_run(&scene.client, &ahead, &scene.agents, str::to_owned).await;
    let ready: Value = scene.client.get(&format!("http://{}/readyz", ahead.address)).await;
    assert_eq!(ready["clock"]["takes_up_runs"], false, "{ready}");
    let metrics = scene.client.0.get(format!("http://{}/metrics", ahead.address)).send().await;
    let metrics = metrics.unwrap().text().await.unwrap();
    let skew = metrics.lines().find_map(|line| line.strip_prefix("replibook_clock_skew_seconds "));
    let skew: f64 = skew.unwrap().parse().unwrap();
    assert!((3_580.0..3_620.0).contains(&skew), "{skew}");
    wait::until("the log to say it", LIMIT, async || {
        ahead.log().contains("no run is taken up here").then_some(())
    })
    .await;
    assert_eq!(scene.client.run(&ahead.address, &run).await.status, RunStatus::Pending);

    let behind = server(scene.path(), "behind", &store, -30_000).await;
    let ready: Value = scene.client.get(&format!("http://{}/readyz", behind.address)).await;
    assert_eq!(ready["clock"]["takes_up_runs"], true, "{ready}");
    assert_ended_well(&scene.client, &behind, &scene.agents, &run, false).await;
    let ended = SystemClock.now();
    let events = scene.client.events(&ahead.address, &run).await;
    let may_be = |at: Timestamp| at.plus(NEAR) >= begun && at <= ended.plus(NEAR);
    assert!(events.iter().all(|event| may_be(event.at)), "{begun:?} {ended:?} {events:?}");
    assert!(!ahead.log().contains("taking up the run"), "{}", ahead.log());

    // A server whose clock is put right takes up runs at once. It does not wait until the hour has passed.
    std::fs::write(scene.path().join("ahead.offset"), "0").unwrap();
    wait::until("the clock to be right", LIMIT, async || {
        let ready: Value = scene.client.get(&format!("http://{}/readyz", ahead.address)).await;
        ready["clock"].is_null().then_some(())
    })
    .await;
    for server in [ahead, behind] {
        server.stop().await;
    }
    scene.agents.stop().await;
}
