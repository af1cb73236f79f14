//! A store that goes away for a while in the middle of a run.

use std::path::Path;
use std::time::Duration;

use replibook::api::wire::Listing;
use replibook::cli::demo::{Fleet, plan};
use replibook::run::{AgentState, RunEvent, RunStatus};

use crate::crash::server::{Client, LIMIT, Server, assert_done_once, start_run};
use crate::mongodb::TestServer;
use crate::wait;

/// How many agents the run has.
const AGENTS: u16 = 6;

/// How long the store is gone: much longer than a lease, so that the engine loses the run.
const GONE: Duration = Duration::from_secs(60);

/// How long the store's server stays dead before the next one starts: shorter than a lease.
const DEAD: Duration = Duration::from_secs(8);

/// A run that goes on, with its server, its store and its agents.
struct Scene {
    client: Client,
    database: TestServer,
    fleet: Fleet,
    server: Server,
    run: String,
    _dir: tempfile::TempDir,
}

impl Scene {
    async fn start(arguments: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let client = Client::new();
        let database = TestServer::start(arguments);
        let address = crate::mongodb::with_database(database.address(), "replibook");
        let program = Path::new(env!("CARGO_BIN_EXE_replibook"));
        let fleet = Fleet::start(program, dir.path(), plan(AGENTS, 0).unwrap()).await.unwrap();
        let server = Server::start(dir.path(), Some(&address), None).await;
        let run = start_run(&client, &server, &fleet, dir.path()).await;
        client.wait_until_it_goes_on(&server.address, &run).await;
        Self { client, database, fleet, server, run, _dir: dir }
    }

    async fn ready(&self) -> u16 {
        let url = format!("http://{}/readyz", self.server.address);
        self.client.0.get(url).send().await.unwrap().status().as_u16()
    }

    async fn until_ready_says(&self, status: u16) {
        wait::until("the server to say whether it is ready", LIMIT, async || {
            (self.ready().await == status).then_some(())
        })
        .await;
    }

    async fn events(&self) -> Vec<RunEvent> {
        let Self { server, run, .. } = self;
        let url = format!("http://{}/api/v1/runs/{run}/events?limit=1000", server.address);
        self.client.get::<Listing<RunEvent>>(&url).await.items
    }

    async fn end_well(self) {
        let run = wait::until("the run to end", LIMIT, async || {
            let run = self.client.run(&self.server.address, &self.run).await;
            run.status.is_final().then_some(run)
        })
        .await;
        assert_eq!(run.status, RunStatus::Done, "{run:?}");
        assert_eq!(run.counts.get(&AgentState::Done), Some(&u32::from(AGENTS)), "{run:?}");
        assert_done_once(&self.client, &self.fleet).await;
        self.server.process.stop().await;
        self.fleet.stop().await;
    }
}

/// Lets time pass in which nothing is to change.
async fn pass(time: Duration) {
    let passed = tokio::time::timeout(time, std::future::pending::<()>()).await;
    assert!(passed.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_waits_for_a_store_that_is_gone_for_a_minute_and_then_goes_on() {
    let scene = Scene::start(&[]).await;
    assert_eq!(scene.ready().await, 200);
    // A frozen store keeps every connection open and answers nothing.
    scene.database.freeze();
    scene.until_ready_says(503).await;
    pass(GONE).await;
    assert_eq!(scene.ready().await, 503);
    scene.database.thaw();
    scene.until_ready_says(200).await;
    scene.end_well().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_was_told_is_lost_when_the_store_is_killed() {
    let scene = Scene::start(&["--sync-on-commit"]).await;
    let told = scene.events().await;
    assert!(!told.is_empty());
    scene.database.die();
    scene.until_ready_says(503).await;
    pass(DEAD).await;
    scene.database.rise();
    scene.until_ready_says(200).await;
    let kept = scene.events().await;
    assert_eq!(kept[..told.len()], told);
    scene.end_well().await;
}
