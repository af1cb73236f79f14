//! What asking who somebody is costs the API: `make bench BENCHES=access`.
//!
//! Two real servers have the same runs: one asks nobody who they are, the other has an access file with some hundred
//! tokens and rules, an issuer, and an audit. 64 connections send one request after the other, as fast as they are
//! answered: the page of a run, a page of the agents of a run of 1,000, the list of runs, and commands that pause and
//! resume. They prove nothing on the first server; on the second they have tokens that may view everything, tokens whose
//! rules have patterns (then identifiers of other runs are looked for in what is answered), or tokens of the issuer, whose
//! signature (RSA, 2,048 bits) is checked for each request. Each connection has a token of its own, since what one identity may
//! ask is limited.
//!
//! `REPLIBOOK_BENCH_REQUESTS` sets another number of requests for each round.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "access/issuer.rs"]
mod issuer;
#[path = "access/load.rs"]
mod load;
#[path = "access/people.rs"]
mod people;
#[path = "support/scene.rs"]
mod scene;
#[path = "support/simulator.rs"]
mod simulator;
mod support;

use std::time::Duration;

use load::{Ask, CONNECTIONS, Load};
use people::People;
use replibook::api::wire::RunView;
use replibook::cli::demo::Process;
use replibook::run::AgentState;
use reqwest::Client;
use scene::Scene;
use serde_json::json;
use support::{Backend, Sample, Table, cpu_time, heading, ms, note, rate, times};

/// Agents of the run whose pages are asked for.
const AGENTS: usize = 1_000;

/// Requests of each round, for each kind and each way to say who one is. They take turns, so that whatever else the machine
/// does falls on all of them.
const REQUESTS: usize = 4_096;
const ROUNDS: usize = 5;

/// One of so many requests is sent where they are commands: those have the store write.
const FEWER_COMMANDS: usize = 8;

/// Longer than all of it takes: runs that are paused and resumed go on until the end.
const STILL: Duration = Duration::from_secs(3_600);

fn main() {
    simulator::run_if_asked();
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(measure());
}

/// A server, and its runs.
struct Site {
    scene: Scene,
    /// A run that has ended.
    done: RunView,
    /// Runs that go on; one for each connection.
    still: Vec<RunView>,
}

/// A way to say who one is.
struct Way {
    what: &'static str,
    /// Which of the servers is asked.
    site: usize,
    /// What each connection says.
    who: Vec<Option<String>>,
    client: Client,
}

/// What was measured of a kind of request, sent in one way.
#[derive(Default)]
struct Found {
    times: Sample,
    took: Duration,
    cpu: Duration,
    requests: usize,
}

async fn measure() {
    heading("access: who asks the API");
    let requests = std::env::var("REPLIBOOK_BENCH_REQUESTS").unwrap_or(REQUESTS.to_string());
    let requests: usize = requests.trim().parse().unwrap();
    let log = tempfile::tempdir().unwrap();
    let slow = simulator::command(STILL);
    let slow =
        Process::start("agents that take long", slow, &log.path().join("log")).await.unwrap();
    let issuer = issuer::start().await;
    let people = People::new(&issuer);
    let open = Scene::start(Backend::Sqlite, Duration::ZERO).await;
    let asked =
        Scene::start_with_access(Backend::Sqlite, &people.access(), &people.everything[0]).await;
    let sites = [Site::of(open, &slow).await, Site::of(asked, &slow).await];
    let some = |tokens: &[String]| tokens.iter().cloned().map(Some).collect();
    let way = |what, site, who| Way { what, site, who, client: scene::client() };
    let ways = [
        way("nobody is asked", 0, vec![None; CONNECTIONS]),
        way("tokens that view everything", 1, some(&people.everything)),
        way("tokens with patterns", 1, some(&people.something)),
        way("tokens of an issuer", 1, some(&people.vouched)),
    ];
    let kinds = Ask::all();
    let mut found: Vec<Vec<Found>> = Vec::new();
    found.resize_with(kinds.len(), || ways.iter().map(|_| Found::default()).collect());
    // The first round only makes connections and warms what is remembered.
    for round in 0..=ROUNDS {
        for (kind, found) in kinds.iter().zip(&mut found) {
            for (way, found) in ways.iter().zip(found) {
                let of_kind = if kind.is_command() { requests / FEWER_COMMANDS } else { requests };
                let one = ask(&sites[way.site], way, *kind, of_kind.max(2 * CONNECTIONS)).await;
                if round > 0 {
                    found.add(one);
                }
            }
        }
    }
    report(&kinds, &ways, &found);
    for Site { scene, .. } in sites {
        scene.stop().await;
    }
    slow.stop().await;
}

async fn ask(site: &Site, way: &Way, kind: Ask, requests: usize) -> Found {
    let load = Load {
        client: &way.client,
        base: site.scene.server.address(),
        who: &way.who,
        done: site.done.id.to_string(),
        still: site.still.iter().map(|run| run.id.to_string()).collect(),
    };
    let before = cpu_time(site.scene.server_id());
    let (times, took) = load.send(kind, requests).await;
    let cpu = cpu_time(site.scene.server_id()) - before;
    Found { requests: times.len(), times: times.into_iter().collect(), took, cpu }
}

impl Found {
    fn add(&mut self, other: Self) {
        self.times.extend(other.times);
        self.took += other.took;
        self.cpu += other.cpu;
        self.requests += other.requests;
    }
}

fn report(kinds: &[Ask], ways: &[Way], found: &[Vec<Found>]) {
    let mut table = Table::new([
        "what",
        "who asks",
        "p50",
        "p99",
        "requests/s",
        "CPU of the server",
        "p50 of nobody's",
        "p99 of nobody's",
    ]);
    for (kind, found) in kinds.iter().zip(found) {
        let open = &found[0].times;
        for (way, one) in ways.iter().zip(found) {
            let each = one.cpu.as_secs_f64() * 1e6 / one.requests as f64;
            table.row([
                kind.words().to_owned(),
                way.what.to_owned(),
                ms(one.times.median()),
                ms(one.times.p99()),
                rate(one.requests, one.took),
                format!("{each:.0} µs"),
                times(one.times.median(), open.median()),
                times(one.times.p99(), open.p99()),
            ]);
        }
    }
    table.print();
    note(&format!(
        "{CONNECTIONS} connections, {ROUNDS} rounds in turns; p99 with access at most 1.30 times that without"
    ));
}

fn is_at_work(run: &RunView) -> bool {
    run.counts.get(&AgentState::Running).is_some_and(|agents| *agents > 0)
}

impl Site {
    async fn of(scene: Scene, slow: &Process) -> Self {
        scene.put_cluster("eu-fleet", AGENTS).await;
        scene.put_playbook("ops/fleet", AGENTS).await;
        let (done, _) = scene.start_run("ops/fleet", "eu-fleet").await;
        let done = scene.wait_done(&done).await;
        let at = |_: usize| format!("{}/0", slow.address());
        scene.put_agents("eu-still", 1, at, None).await;
        let playbook = json!({
            "apiVersion": "replicante.io/v1", "kind": "Playbook",
            "metadata": {"name": "ops/still", "version": "1.0.0"},
            "spec": {"concurrency": "allow", "stages": [{
                "name": "all",
                "strategy": {"use": "rolling", "with": {"batch": 1}},
                "steps": [{"name": "act", "action": "bench.example.com/act"}],
            }]},
        });
        scene.put("playbooks", &playbook.to_string()).await;
        let mut still = Vec::new();
        for _ in 0..CONNECTIONS {
            let (run, _) = scene.start_run("ops/still", "eu-still").await;
            still.push(scene.wait_until(&run, is_at_work).await);
        }
        Self { scene, done, still }
    }
}
