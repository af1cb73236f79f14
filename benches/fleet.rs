//! What a run over many agents costs: `make bench`, or `make bench BENCHES=fleet`.
//!
//! A real server drives one `action` step over agents, 500 at a time: on SQLite and, with `STORE=mongodb`, on
//! MongoDB too. One other process answers for all agents over loopback HTTP. The floor is measured beside it:
//! a bare client (this process) with the same HTTP library, the same window, the same requests and the same
//! wait before it asks for the result. Both share the processors with the simulated agents, so the rate of
//! each depends on how many processors there are; the CPU time for each agent does not.
//!
//! A second part has 10,000 agents in flight at once, whose actions take a while, and measures how much
//! memory the server takes then. A third one compares agents with and without TLS (`fleet/secured.rs`).
//! `REPLIBOOK_BENCH_AGENTS` sets other numbers of agents (default `1000,10000,50000`), and
//! `REPLIBOOK_BENCH_PART=secured` measures the third part only.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/scene.rs"]
mod scene;
#[path = "fleet/secured.rs"]
mod secured;
#[path = "support/simulator.rs"]
mod simulator;
mod support;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use scene::Scene;
use serde_json::{Value, json};
use support::{
    Backend, Table, cpu_by_thread, cpu_time, heading, mib, mongodb_id, note, peak_memory, rate,
};

/// Agents in flight.
const WINDOW: usize = 500;

/// How long to wait before the engine asks for an action's result: its default.
const LOOK: Duration = Duration::from_millis(50);

/// Agents in flight in the second part, and how long their actions take: longer than it takes to start all of
/// them.
const MANY: usize = 10_000;
const LONG: Duration = Duration::from_secs(30);

/// What it cost to have all agents act in one of these ways.
struct Cost {
    what: String,
    agents: usize,
    took: Duration,
    latencies: Vec<i64>,
    /// Of the process that drives the agents, and of the simulated agents.
    cpu: [Duration; 2],
    peak: u64,
}

fn main() {
    simulator::run_if_asked();
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(measure());
}

async fn measure() {
    let sizes = std::env::var("REPLIBOOK_BENCH_AGENTS").unwrap_or("1000,10000,50000".to_owned());
    let sizes: Vec<usize> = sizes.split(',').map(|size| size.trim().parse().unwrap()).collect();
    let many = MANY.min(sizes.iter().copied().max().unwrap_or(MANY));
    if std::env::var("REPLIBOOK_BENCH_PART").as_deref() != Ok("secured") {
        in_the_open(&sizes, many).await;
    }
    secured::measure(many).await;
}

/// The parts without TLS.
async fn in_the_open(sizes: &[usize], many: usize) {
    heading("fleet");
    let mut table = Table::new([
        "what",
        "agents",
        "took",
        "agents/s",
        "start to result p50",
        "p99",
        "CPU of the driver per agent",
        "CPU of the simulated agents",
        "peak memory of the driver",
    ]);
    let mut notes = Vec::new();
    let mut costs = BTreeMap::<usize, Vec<Duration>>::new();
    for (&agents, backend) in sizes.iter().flat_map(both) {
        let scene = Scene::start(backend, Duration::ZERO).await;
        let floor = floor(&scene, agents).await;
        floor.report(&mut table);
        let before = cpu_by_thread(scene.server_id());
        let database = mongodb_id().map(cpu_time).unwrap_or_default();
        let (cost, accepted) = run(&scene, backend, agents, WINDOW).await;
        cost.report(&mut table);
        costs.entry(agents).or_default().push(cost.cpu[0]);
        let share = floor.took.as_secs_f64() / cost.took.as_secs_f64();
        let name = backend.name();
        notes.push(format!(
            "{agents} agents on {name}: {share:.2} of the floor's rate; the run was accepted in {} ms; \
             CPU of the server per agent by thread: {}",
            accepted.as_millis(),
            threads(&scene, &before, agents)
        ));
        if let (Backend::Mongodb, Some(id)) = (backend, mongodb_id()) {
            let used = cpu_time(id) - database;
            notes.push(format!(
                "MongoDB's own CPU for each of {agents} agents: {}; {:.2} of a processor while the run went",
                each(used, agents),
                used.as_secs_f64() / cost.took.as_secs_f64()
            ));
        }
        scene.stop().await;
    }
    for (agents, costs) in &costs {
        if let [sqlite, mongodb] = costs[..] {
            let times = support::times(mongodb, sqlite);
            notes.push(format!(
                "{agents} agents: the server's CPU on MongoDB is {times} that on SQLite"
            ));
        }
    }
    for (_, backend) in both(&many) {
        let scene = Scene::start(backend, LONG).await;
        let (cost, _) = run(&scene, backend, many, many).await;
        let what = format!("all in flight, on {}", backend.name());
        Cost { what, ..cost }.report(&mut table);
        scene.stop().await;
    }
    table.print();
    notes.iter().for_each(|text| note(text));
}

/// Pairs a number of agents with each back end that is measured.
fn both(agents: &usize) -> impl Iterator<Item = (&usize, Backend)> {
    Backend::all().into_iter().map(move |backend| (agents, backend))
}

impl Cost {
    fn report(&self, table: &mut Table) {
        let Self { what, agents, took, latencies, cpu, peak } = self;
        let at = |share: usize| format!("{} ms", latencies[(latencies.len() - 1) * share / 100]);
        let [driver, simulated] = cpu.map(|time| each(time, *agents));
        table.row([
            what.clone(),
            agents.to_string(),
            format!("{:.2} s", took.as_secs_f64()),
            rate(*agents, *took),
            at(50),
            at(99),
            driver,
            simulated,
            mib(*peak),
        ]);
    }
}

fn each(time: Duration, agents: usize) -> String {
    format!("{:.0} µs", time.as_secs_f64() * 1e6 / agents as f64)
}

/// The CPU time of the server's threads, by their names.
fn threads(scene: &Scene, before: &BTreeMap<String, Duration>, agents: usize) -> String {
    let now = cpu_by_thread(scene.server_id());
    let share = |(name, time): (&String, &Duration)| {
        let used = time.saturating_sub(before.get(name).copied().unwrap_or_default());
        (!used.is_zero()).then(|| format!("{name} {}", each(used, agents)))
    };
    now.iter().filter_map(share).collect::<Vec<_>>().join(", ")
}

/// The same requests, sent without an engine around them.
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
    let cpu = || [cpu_time(own), cpu_time(scene.agents_id())];
    let (before, start) = (cpu(), Instant::now());
    let acts = futures::stream::iter(0..agents).map(one).buffer_unordered(WINDOW);
    let mut latencies: Vec<i64> = acts.collect().await;
    let took = start.elapsed();
    latencies.sort_unstable();
    let cpu = used(before, cpu());
    Cost {
        what: "floor: bare client".to_owned(),
        agents,
        took,
        latencies,
        cpu,
        peak: peak_memory(own),
    }
}

/// A run over `agents` agents, and how long it took until the run was accepted.
async fn run(scene: &Scene, backend: Backend, agents: usize, window: usize) -> (Cost, Duration) {
    scene.put_cluster("fleet", agents).await;
    scene.put_playbook("fleet", window).await;
    let (cost, accepted) = start_and_wait(scene, agents).await;
    (Cost { what: format!("a run on {}", backend.name()), ..cost }, accepted)
}

/// A run of the playbook over the cluster, which both are there.
async fn start_and_wait(scene: &Scene, agents: usize) -> (Cost, Duration) {
    let cpu = || [cpu_time(scene.server_id()), cpu_time(scene.agents_id())];
    let (before, start) = (cpu(), Instant::now());
    let (run, accepted) = scene.start_run("fleet", "fleet").await;
    scene.wait_done(&run).await;
    let took = start.elapsed();
    let cpu = used(before, cpu());
    let peak = peak_memory(scene.server_id());
    let latencies = scene.latencies(&run).await;
    assert_eq!(latencies.len(), agents);
    (Cost { what: String::new(), agents, took, latencies, cpu, peak }, accepted)
}

fn used(before: [Duration; 2], after: [Duration; 2]) -> [Duration; 2] {
    [after[0] - before[0], after[1] - before[1]]
}
