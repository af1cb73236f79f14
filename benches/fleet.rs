//! What a run over many agents costs: `cargo bench --bench fleet`.
//!
//! A real server on SQLite drives one `action` step over agents for which one other process answers
//! over loopback HTTP, 500 at a time. Beside it, in the same run, the floor: a bare client (this
//! process) with the same HTTP library, the same window, the same requests and the same wait before
//! it looks. Both share the processors with the simulated agents, so the rate of each depends on
//! how many processors there are; the CPU time that an agent costs does not.
//!
//! A second part has 10,000 agents in flight at once, whose actions take a while: what a server holds
//! in memory then. `REPLIBOOK_BENCH_AGENTS` sets other numbers of agents (default
//! `1000,10000,50000`).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
// Figures are what this program is for.
#![allow(clippy::print_stdout)]

#[allow(dead_code, reason = "each benchmark uses a part of it")]
#[path = "support/scene.rs"]
mod scene;
#[path = "support/simulator.rs"]
mod simulator;
#[allow(dead_code, reason = "each benchmark uses a part of it")]
#[path = "support/usage.rs"]
mod usage;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use scene::Scene;
use serde_json::{Value, json};

/// Agents in flight.
const WINDOW: usize = 500;

/// The wait before the first look at an action: the default of the engine.
const LOOK: Duration = Duration::from_millis(50);

/// Agents in flight in the second part, and how long their actions take: longer than it takes to
/// start all of them.
const MANY: usize = 10_000;
const LONG: Duration = Duration::from_secs(30);

/// What one way to have agents act cost.
struct Cost {
    what: &'static str,
    agents: usize,
    took: Duration,
    latencies: Vec<i64>,
    /// Of who drives the agents, and of the simulated agents.
    cpu: [Duration; 2],
    peak: f64,
}

fn main() {
    simulator::run_if_asked();
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(measure());
}

async fn measure() {
    let sizes = std::env::var("REPLIBOOK_BENCH_AGENTS").unwrap_or("1000,10000,50000".to_owned());
    let sizes: Vec<usize> = sizes.split(',').map(|size| size.trim().parse().unwrap()).collect();
    head();
    for &agents in &sizes {
        let scene = Scene::start(Duration::ZERO).await;
        let floor = floor(&scene, agents).await;
        floor.report();
        let before = usage::cpu_by_thread(scene.server_id());
        let (cost, accepted) = run(&scene, agents, WINDOW).await;
        cost.report();
        let share = floor.took.as_secs_f64() / cost.took.as_secs_f64();
        println!("{share:.2} of the floor's rate; accepted in {} ms", accepted.as_millis());
        threads(&scene, &before, agents);
        scene.stop().await;
    }
    let many = MANY.min(sizes.iter().copied().max().unwrap_or(MANY));
    let scene = Scene::start(LONG).await;
    let (cost, _) = run(&scene, many, many).await;
    Cost { what: "all in flight", ..cost }.report();
    scene.stop().await;
}

fn head() {
    println!(
        "| what | agents | s | agents/s | p50 ms | p99 ms | driver CPU µs/agent | agents CPU µs/agent | driver peak MiB |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- | --- | --- |");
}

impl Cost {
    fn report(&self) {
        let Self { what, agents, took, latencies, cpu, peak } = self;
        let seconds = took.as_secs_f64();
        let rate = *agents as f64 / seconds;
        let at = |share: usize| latencies[(latencies.len() - 1) * share / 100];
        let [driver, simulated] = cpu.map(|time| time.as_secs_f64() * 1e6 / *agents as f64);
        println!(
            "| {what} | {agents} | {seconds:.2} | {rate:.0} | {} | {} | {driver:.0} | {simulated:.0} | {peak:.0} |",
            at(50),
            at(99),
        );
    }
}

/// The CPU time of the server by threads.
fn threads(scene: &Scene, before: &BTreeMap<String, Duration>, agents: usize) {
    let now = usage::cpu_by_thread(scene.server_id());
    let share = |(name, time): (&String, &Duration)| {
        let used = time.saturating_sub(before.get(name).copied().unwrap_or_default());
        let each = used.as_secs_f64() * 1e6 / agents as f64;
        (each >= 0.5).then(|| format!("{name} {each:.0}"))
    };
    let shares: Vec<_> = now.iter().filter_map(share).collect();
    println!("CPU of the server by thread, µs/agent: {}", shares.join(", "));
}

/// The same requests with nothing around them.
async fn floor(scene: &Scene, agents: usize) -> Cost {
    let (client, base) = (scene::client(), scene.agents.address());
    let one = |agent: usize| {
        let client = &client;
        async move {
            let api = format!("{base}/floor-{agent}/api/unstable");
            client.get(format!("{api}/info/node")).send().await.unwrap().bytes().await.unwrap();
            let start = Instant::now();
            let id = uuid::Uuid::new_v4();
            let action = json!({"id": id, "kind": "bench.example.com/act", "args": null});
            let post = client.post(format!("{api}/action")).json(&action).send().await.unwrap();
            post.bytes().await.unwrap();
            tokio::time::sleep(LOOK).await;
            let look = client.get(format!("{api}/action/{id}")).send().await.unwrap();
            assert_eq!(look.json::<Value>().await.unwrap()["state"]["phase"], "DONE");
            i64::try_from(start.elapsed().as_millis()).unwrap()
        }
    };
    let own = std::process::id();
    let cpu = || [usage::cpu(own), usage::cpu(scene.agents_id())];
    let (before, start) = (cpu(), Instant::now());
    let acts = futures::stream::iter(0..agents).map(one).buffer_unordered(WINDOW);
    let mut latencies: Vec<i64> = acts.collect().await;
    let took = start.elapsed();
    latencies.sort_unstable();
    let cpu = used(before, cpu());
    Cost { what: "floor: bare client", agents, took, latencies, cpu, peak: usage::memory(own) }
}

/// A run over that many agents, and how long it took until it was accepted.
async fn run(scene: &Scene, agents: usize, window: usize) -> (Cost, Duration) {
    scene.put_cluster("fleet", agents).await;
    scene.put_playbook("fleet", window).await;
    let cpu = || [usage::cpu(scene.server_id()), usage::cpu(scene.agents_id())];
    let (before, start) = (cpu(), Instant::now());
    let (run, accepted) = scene.start_run("fleet", "fleet").await;
    scene.wait_done(&run).await;
    let took = start.elapsed();
    let cpu = used(before, cpu());
    let peak = usage::peak_memory(scene.server_id());
    let latencies = scene.latencies(&run).await;
    assert_eq!(latencies.len(), agents);
    (Cost { what: "a run on SQLite", agents, took, latencies, cpu, peak }, accepted)
}

fn used(before: [Duration; 2], after: [Duration; 2]) -> [Duration; 2] {
    [after[0] - before[0], after[1] - before[1]]
}
