//! What other runs and clients notice of a hostile plugin: `cargo bench --bench neighbour`.
//!
//! A real server drives a run of the built-in `action` over agents that one other process answers for, while
//! a client asks for the run again and again. This is measured with that run alone, and beside a second run
//! with 500 agents in flight, whose step never ends: each of its activations burns the CPU time that it may
//! have, fails its agent, and makes room for the next.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../tests/support/plugins.rs"]
mod plugins;
#[path = "support/scene.rs"]
mod scene;
#[path = "support/simulator.rs"]
mod simulator;
mod support;

use std::time::{Duration, Instant};

use replibook::api::wire::RunView;
use replibook::run::AgentState;
use scene::Scene;
use serde_json::json;
use support::{Backend, Sample, Table, heading, ms, note};

/// Agents of the run that is measured, and how many of them are in flight.
const AGENTS: usize = 3_000;
const WINDOW: usize = 200;

/// Agents of the hostile run (more than can fail while the other run is measured), and how many of them are
/// in flight.
const HOSTILE: usize = 10_000;
const HOSTILE_WINDOW: usize = 500;

/// Time between two requests of the client.
const PAUSE: Duration = Duration::from_millis(5);

/// Rounds of each kind. They take turns, so that whatever else the machine does falls on both.
const ROUNDS: usize = 3;

fn main() {
    simulator::run_if_asked();
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(measure());
}

async fn measure() {
    heading("neighbour: a run beside a hostile one");
    let (mut alone, mut beside) = (Measured::default(), Measured::default());
    let mut failed = 0;
    for _ in 0..ROUNDS {
        let scene = Scene::start(Backend::Sqlite, Duration::ZERO).await;
        scene.put_cluster("fleet", AGENTS).await;
        scene.put_playbook("fleet", WINDOW).await;
        one(&scene, &mut alone).await;
        let hostile = start_hostile(&scene).await;
        one(&scene, &mut beside).await;
        let hostile = scene.run(&hostile).await;
        assert!(!hostile.status.is_final(), "{hostile:?}");
        failed += hostile.counts.get(&AgentState::Failed).copied().unwrap_or_default();
        scene.stop().await;
    }
    let mut table = Table::new(["what", "agents/s", "API p50", "API p99"]);
    for (what, it) in [("alone", &alone), ("beside a hostile run", &beside)] {
        let cells = [format!("{:.0}", it.rate()), ms(it.api.median()), ms(it.api.p99())];
        let [rate, median, p99] = cells;
        table.row([what.to_owned(), rate, median, p99]);
    }
    table.print();
    let rate = beside.rate() / alone.rate();
    let p99 = beside.api.p99().as_secs_f64() / alone.api.p99().as_secs_f64();
    note(&format!("rate kept: {rate:.2} (at least 0.80), API p99: {p99:.2}× (at most 2.00×)"));
    note(&format!("{failed} agents of the hostile run failed meanwhile"));
}

#[derive(Default)]
struct Measured {
    took: Duration,
    agents: usize,
    api: Sample,
}

impl Measured {
    fn rate(&self) -> f64 {
        self.agents as f64 / self.took.as_secs_f64()
    }
}

/// One run over all agents, with a client that asks for it meanwhile.
async fn one(scene: &Scene, measured: &mut Measured) {
    let start = Instant::now();
    let (run, _) = scene.start_run("fleet", "fleet").await;
    let done = scene.wait_done(&run);
    tokio::pin!(done);
    loop {
        tokio::select! {
            _ = &mut done => break,
            () = tokio::time::sleep(PAUSE) => {
                let asked = Instant::now();
                scene.run(&run).await;
                measured.api.push(asked.elapsed());
            }
        }
    }
    measured.took += start.elapsed();
    measured.agents += AGENTS;
}

/// Starts a run whose step never ends, and waits until the first of its agents has failed.
async fn start_hostile(scene: &Scene) -> RunView {
    let bytes = plugins::component(&plugins::build("tests/plugins"), "hostile");
    let url = format!("{}/api/v1/plugins", scene.server.address());
    let upload = scene.client.put(url).header("content-type", "application/wasm").body(bytes);
    let answer = upload.send().await.unwrap();
    assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
    scene.put_cluster("hostile", HOSTILE).await;
    let playbook = json!({
        "apiVersion": "replicante.io/v1", "kind": "Playbook",
        "metadata": {"name": "hostile", "version": "1.0.0"},
        "spec": {
            "plugins": {"hostile": {"source": "store:hostile@0.1.0"}},
            "stages": [{
                "name": "all",
                "strategy": {"use": "rolling", "with": {"batch": HOSTILE_WINDOW, "mode": "window"}},
                "budget": {"max_failed": "100%"},
                "steps": [{"name": "loop", "use": "hostile", "with": {"do": "loop"}}],
            }],
        },
    });
    scene.put("playbooks", &playbook.to_string()).await;
    let (run, _) = scene.start_run("hostile", "hostile").await;
    let failed = |view: &RunView| view.counts.contains_key(&AgentState::Failed);
    scene.wait_until(&run, failed).await
}
