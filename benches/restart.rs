//! How long a server takes to go on after a crash: `make bench`, or `make bench BENCHES=restart`.
//!
//! A run over 10,000 agents is half way, with 500 or with 5,000 of them in flight, when the server is killed
//! (SIGKILL). The clock runs from the start of the next server's process on the same data. That server
//! *listens* once it says so. It is *going again* when it asks for the first action that was in flight, and
//! all is *taken up* when it has asked for or posted as many actions as there were agents in flight.
//! `REPLIBOOK_BENCH_AGENTS` sets another number of agents. `STORE=mongodb` measures MongoDB too, where the
//! next server waits until the lease of the killed one has run out.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/scene.rs"]
mod scene;
#[path = "support/simulator.rs"]
mod simulator;
mod support;

use std::time::Duration;

use replibook::api::wire::RunView;
use replibook::run::AgentState;
use scene::Scene;
use support::{Backend, Table, cpu_time, heading, mib, ms, peak_memory};

/// Agents of a run, and how many of them are in flight.
const AGENTS: usize = 10_000;
const WINDOWS: [usize; 2] = [500, 5_000];

/// How long an action takes: long enough that most actions in flight when the server is killed are still
/// going on when the next server asks for them.
const TAKES: Duration = Duration::from_secs(1);

/// Time between two looks at how far the server is: the accuracy of the figures.
const LOOK: Duration = Duration::from_millis(5);

/// Far beyond what a restart takes.
const LIMIT: Duration = Duration::from_secs(60);

/// Rounds of each kind; the table has a row for each round.
const ROUNDS: usize = 2;

fn main() {
    simulator::run_if_asked();
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(measure());
}

async fn measure() {
    heading("restart");
    let agents = std::env::var("REPLIBOOK_BENCH_AGENTS").unwrap_or(AGENTS.to_string());
    let agents: usize = agents.trim().parse().unwrap();
    let mut table = Table::new([
        "store",
        "agents",
        "done before",
        "in flight",
        "listens",
        "going again",
        "all taken up",
        "CPU until then",
        "peak memory until then",
    ]);
    for backend in Backend::all() {
        for window in WINDOWS.map(|window| window.min(agents)) {
            for _ in 0..ROUNDS {
                round(backend, agents, window, &mut table).await;
            }
        }
    }
    table.print();
}

async fn round(backend: Backend, agents: usize, window: usize, table: &mut Table) {
    let scene = Scene::start(backend, TAKES).await;
    scene.put_cluster("fleet", agents).await;
    scene.put_playbook("fleet", window).await;
    let (run, _) = scene.start_run("fleet", "fleet").await;
    let half = |view: &RunView| {
        2 * count(view, AgentState::Done) + count(view, AgentState::Running) >= agents
    };
    let view = scene.wait_until(&run, half).await;
    let in_flight = count(&view, AgentState::Running);
    let (scene, start) = scene.crash().await;
    let listens = start.elapsed();
    let (mut touched, mut going) = (0, None);
    while touched < in_flight {
        assert!(start.elapsed() < LIMIT, "{touched} of {in_flight}\n{}", scene.server.log_tail());
        touched = scene.touched().await;
        if touched > 0 && going.is_none() {
            going = Some(start.elapsed());
        }
        tokio::time::sleep(LOOK).await;
    }
    let taken_up = start.elapsed();
    table.row([
        backend.name().to_owned(),
        agents.to_string(),
        count(&view, AgentState::Done).to_string(),
        in_flight.to_string(),
        ms(listens),
        ms(going.unwrap_or(taken_up)),
        ms(taken_up),
        ms(cpu_time(scene.server_id())),
        mib(peak_memory(scene.server_id())),
    ]);
    scene.stop().await;
}

fn count(view: &RunView, state: AgentState) -> usize {
    view.counts.get(&state).map_or(0, |count| *count as usize)
}
