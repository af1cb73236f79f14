//! A store that goes away for a while in the middle of a run.

use std::path::Path;
use std::time::Duration;

use replibook::cli::demo::{Fleet, plan};
use replibook::run::{AgentState, RunStatus};

use crate::mongodb::TestServer;
use crate::server::{Client, LIMIT, Server, assert_done_once, start_run};
use crate::wait;

/// Agents of the run.
const AGENTS: u16 = 6;

/// How long the store is gone: longer than a lease, so that the engine loses the run meanwhile.
const GONE: Duration = Duration::from_secs(25);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_waits_for_a_store_that_is_gone_and_then_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let client = Client::new();
    let database = TestServer::start(&[]);
    let address = crate::mongodb::with_database(database.address(), "replibook");
    let program = Path::new(env!("CARGO_BIN_EXE_replibook"));
    let fleet = Fleet::start(program, dir.path(), plan(AGENTS, 0).unwrap()).await.unwrap();
    let server = Server::start(dir.path(), Some(&address), None).await;
    let ready = async || {
        let url = format!("http://{}/readyz", server.address);
        client.0.get(url).send().await.unwrap().status().as_u16()
    };
    assert_eq!(ready().await, 200);
    let id = start_run(&client, &server, &fleet, dir.path()).await;
    client.wait_until_it_goes_on(&server.address, &id).await;

    // It holds every connection open and answers nothing.
    database.freeze();
    wait::until("the server to say that it is not ready", LIMIT, async || {
        (ready().await == 503).then_some(())
    })
    .await;
    let gone = tokio::time::timeout(GONE, std::future::pending::<()>()).await;
    assert!(gone.is_err());
    assert_eq!(ready().await, 503);
    database.thaw();

    wait::until("the server to be ready", LIMIT, async || (ready().await == 200).then_some(()))
        .await;
    let run = wait::until("the run to end", LIMIT, async || {
        let run = client.run(&server.address, &id).await;
        run.status.is_final().then_some(run)
    })
    .await;
    assert_eq!(run.status, RunStatus::Done, "{run:?}");
    assert_eq!(run.counts.get(&AgentState::Done), Some(&u32::from(AGENTS)), "{run:?}");
    assert_done_once(&client, &fleet).await;
    server.process.stop().await;
    fleet.stop().await;
}
