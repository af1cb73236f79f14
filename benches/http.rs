//! What requests of steps cost: `make bench BENCHES=http`.
//!
//! 1,000 requests begin at once, all to one other process over loopback, which answers each at once. They are sent by a bare
//! client with the same HTTP library, which is the floor; by the client that the engine has, which checks each address
//! and sends 256 at a time; and by a run of 1,000 agents whose one step is the built-in `http`: it commits each
//! request before it is sent, and each answer after it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/scene.rs"]
mod scene;
#[path = "support/simulator.rs"]
mod simulator;
mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::join_all;
use replibook::outbound::{Caller, HttpOutbound, Networks, Outbound as _, Sending};
use replibook::playbook::{Grants, PluginKind, PluginPin};
use replibook::run::{Digest, HttpRequest};
use scene::Scene;
use serde_json::json;
use support::{Backend, Sample, Table, heading, ms, note, rate};
use uuid::Uuid;

/// Requests that begin at once.
const REQUESTS: usize = 1_000;

/// How often each is measured. They take turns, so that whatever else the machine does falls on all of them.
const ROUNDS: usize = 7;

/// Lets the built-in step reach the process that answers.
const POLICY: &str = "apiVersion: replicante.io/v1\nkind: Policy\nmetadata: { name: bench }\nspec:\n  plugins: \
                      [{ match: 'builtin:http', may: { http: ['*'], networks: [127.0.0.0/8] } }]\n";

fn main() {
    simulator::run_if_asked();
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(measure());
}

async fn measure() {
    heading("http: requests of steps");
    let scene = Scene::start_with_policy(Backend::Sqlite, Duration::ZERO, POLICY).await;
    let url = format!("{}{}", scene.agents.address(), simulator::HOOK);
    scene.put_cluster("fleet", REQUESTS).await;
    put_playbook(&scene, &url).await;
    let (mut bare, mut engine, mut run) = (Sample::default(), Sample::default(), Sample::default());
    // The first round only makes the connections.
    let client = scene::client();
    let outbound = HttpOutbound::new(Arc::new(Networks::loopback())).unwrap();
    send_bare(&client, &url).await;
    send_as_engine(&outbound, &url).await;
    for _ in 0..ROUNDS {
        bare.push(send_bare(&client, &url).await);
        engine.push(send_as_engine(&outbound, &url).await);
        let start = Instant::now();
        let (started, _) = scene.start_run("hooks", "fleet").await;
        scene.wait_done(&started).await;
        run.push(start.elapsed());
    }
    scene.stop().await;
    let mut table = Table::new(["what", "1,000 requests (median)", "requests/s", "of the floor"]);
    for (what, sample) in [
        ("floor: bare client", &bare),
        ("the engine's client", &engine),
        ("a run of 1,000 agents on SQLite", &run),
    ] {
        let took = sample.median();
        let share = bare.median().as_secs_f64() / took.as_secs_f64();
        table.row([what.to_owned(), ms(took), rate(REQUESTS, took), format!("{share:.2}")]);
    }
    table.print();
    note("the engine's client: at least 0.60 of the floor");
}

async fn send_bare(client: &reqwest::Client, url: &str) -> Duration {
    let start = Instant::now();
    let one = || async {
        let answer = client.post(url).header("idempotency-key", Uuid::new_v4().to_string());
        let answer = answer.body("{}").send().await.unwrap();
        assert_eq!(answer.status(), 200);
        answer.bytes().await.unwrap();
    };
    join_all((0..REQUESTS).map(|_| one())).await;
    start.elapsed()
}

async fn send_as_engine(outbound: &HttpOutbound, url: &str) -> Duration {
    let plugin = PluginPin {
        source: "builtin:http".to_owned(),
        digest: Digest::of(b"of any version"),
        kind: PluginKind::Step,
        name: "http".to_owned(),
        version: "1.0.0".to_owned(),
        grants: Grants::default(),
        provenance: None,
        signers: Vec::new(),
    };
    let caller = Caller { playbook: "hooks".to_owned(), plugin };
    let request = HttpRequest::new("POST", url, Vec::new(), b"{}", 60_000).unwrap();
    let start = Instant::now();
    let one = || async {
        let (request, caller) = (request.clone(), caller.clone());
        let answer = outbound.send(Sending { request, key: Uuid::new_v4(), caller }).await;
        assert_eq!(answer.unwrap().status, 200);
    };
    join_all((0..REQUESTS).map(|_| one())).await;
    start.elapsed()
}

/// A playbook that has all agents send a request at once.
async fn put_playbook(scene: &Scene, url: &str) {
    let playbook = json!({
        "apiVersion": "replicante.io/v1", "kind": "Playbook",
        "metadata": {"name": "hooks", "version": "1.0.0"},
        "spec": {"stages": [{
            "name": "all",
            "strategy": {"use": "rolling", "with": {"batch": REQUESTS, "mode": "window"}},
            "steps": [{"name": "hook", "use": "http", "with": {"url": url, "method": "POST", "body": "{}"}}],
        }]},
    });
    scene.put("playbooks", &playbook.to_string()).await;
}
