//! The machine's clock is set back by an hour while a run goes on.
//!
//! The real clock belongs to the whole machine. So the server reads an offset to it from a file, which the
//! test changes.

use std::path::{Path, PathBuf};
use std::time::Duration;

use replibook::clock::TestOffset;
use replibook::run::{Happened, RunEvent};

use crate::crash::server::{Client, LIMIT, Server, Settings};
use crate::crash::stages::{self, Scene, assert_ended_well};
use crate::wait;

/// How many agents the run has.
const AGENTS: usize = 2;

/// An hour back, in milliseconds.
const HOUR_BACK: &str = "-3600000";

/// A retention after which a run that has ended is gone soon, but not before the test has looked at it.
const RETENTION: &str = "30s";

/// The longest that a run may take after the clock was set back: its timers are of seconds, and a busy
/// machine takes its time. Without the engine's care it would take an hour.
const SOON: Duration = Duration::from_secs(150);

/// Makes the waits before attempts last for seconds, so that one of them is going on when the clock is set
/// back.
fn patient(text: &str) -> String {
    text.replace("initial: 20ms", "initial: 3s").replace("max: 200ms", "max: 3s")
}

fn settings(dir: &Path) -> (Settings, PathBuf) {
    let offset = dir.join("offset");
    set(&offset, "0");
    let args = vec!["--retention", RETENTION];
    let env = vec![(TestOffset::FILE, offset.clone())];
    (Settings { args, env, ..Settings::in_dir(dir) }, offset)
}

/// Replaces the file with the offset as a whole, since the server may read it at any time.
fn set(offset: &Path, text: &str) {
    let new = offset.with_extension("new");
    std::fs::write(&new, text).unwrap();
    std::fs::rename(new, offset).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_goes_on_as_before_and_is_kept_as_long_as_before() {
    let scene = Scene::new(AGENTS).await;
    let (settings, offset) = settings(scene.path());
    let server = Server::start_with(settings, None).await;
    let run = stages::start_run(&scene.client, &server, &scene.agents, patient).await;
    until_it_waits_for_an_attempt(&scene.client, &server, &run).await;
    set(&offset, HOUR_BACK);
    let ending = assert_ended_well(&scene.client, &server, &scene.agents, &run, false);
    tokio::time::timeout(SOON, ending).await.expect("the run hangs");
    let log = server.log();
    assert!(log.contains("the machine's clock was set back by about 3"), "{log}");
    assert!(!log.contains("another engine's"), "the lease was lost: {log}");
    wait::until("the run to expire", SOON, async || {
        let url = format!("http://{}/api/v1/runs/{run}", server.address);
        (scene.client.0.get(url).send().await.unwrap().status() == 404).then_some(())
    })
    .await;
    server.stop().await;
    scene.agents.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_starts_an_hour_before_it_was_killed_goes_on_with_its_run() {
    let scene = Scene::new(AGENTS).await;
    let (settings, offset) = settings(scene.path());
    let server = Server::start_with(settings, None).await;
    let run = stages::start_run(&scene.client, &server, &scene.agents, patient).await;
    until_it_waits_for_an_attempt(&scene.client, &server, &run).await;
    let remains = server.kill().await;
    set(&offset, HOUR_BACK);
    let server = Server::again(remains, None).await;
    let ending = assert_ended_well(&scene.client, &server, &scene.agents, &run, false);
    tokio::time::timeout(SOON, ending).await.expect("the run hangs");
    server.stop().await;
    scene.agents.stop().await;
}

/// Returns once an attempt has failed that will be made again later.
async fn until_it_waits_for_an_attempt(client: &Client, server: &Server, run: &str) {
    let failed =
        |event: &RunEvent| matches!(&event.what, Happened::StepEnded { failure: Some(_), .. });
    wait::until("an attempt to fail", LIMIT, async || {
        client.events(&server.address, run).await.iter().any(failed).then_some(())
    })
    .await;
}
