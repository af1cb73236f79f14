//! Agents that are killed and started again, and one that stays away.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use replibook::api::wire::Listing;
use replibook::run::{AgentRecord, AgentState, FailureReason, ReasonCode, RunStatus};

use crate::crash::server::{LIMIT, Server, Settings, pass};
use crate::crash::stages::{self, Scene, assert_ended_well, is_done};
use crate::wait;

/// How many agents the run has.
const AGENTS: usize = 4;

/// How often an agent is killed.
const KILLS: usize = 10;

/// How long the server waits for an agent that stays away.
const PATIENCE: Duration = Duration::from_secs(2);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn agents_that_are_killed_and_come_back_do_nothing_twice() {
    let seed = crate::crash::seed();
    println!("REPLIBOOK_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let mut scene = Scene::new(AGENTS).await;
    let server = Server::start(scene.path(), None, None).await;
    let run = scene.start_run(&server).await;
    for kill in 1..=KILLS {
        // Waits until this many agents have come through a stage, so that the kills meet all three stages.
        wait::until("the run to go on", LIMIT, async || {
            let events = scene.client.events(&server.address, &run).await;
            (events.iter().filter(|event| is_done(&event.what)).count() >= kill).then_some(())
        })
        .await;
        // The agent that is at work, as far as the server knows.
        let url = format!("http://{}/api/v1/runs/{run}/agents?state=RUNNING", server.address);
        let at_work: Listing<AgentRecord> = scene.client.get(&url).await;
        let index = at_work.items.first().map_or(0, |record| record.seq.0 as usize);
        let length = Duration::from_millis(random.random_range(0..150));
        pass(length).await;
        scene.agents.kill(index).await;
        println!("kill {kill}: agent {index} after {length:?}");
        pass(Duration::from_millis(random.random_range(0..300))).await;
        scene.agents.again(index).await;
    }
    assert_ended_well(&scene.client, &server, &scene.agents, &run, true).await;
    server.stop().await;
    scene.agents.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_stays_away_has_failed_within_the_patience_of_the_server() {
    let mut scene = Scene::new(AGENTS).await;
    let args = vec!["--agent-patience", "2s"];
    let settings = Settings { args, ..Settings::in_dir(scene.path()) };
    let server = Server::start_with(settings, None).await;
    scene.agents.kill(1).await;
    // There is no retry, so only one deadline passes and not ten.
    let once = |text: &str| text.replace("attempts: 10", "attempts: 1");
    let run = stages::start_run(&scene.client, &server, &scene.agents, once).await;
    let paused = wait::until("the run to pause", LIMIT, async || {
        let view = scene.client.run(&server.address, &run).await;
        (view.status == RunStatus::Paused).then_some(view)
    })
    .await;
    assert_eq!(paused.reason.unwrap().code, ReasonCode::BudgetExceeded);
    assert_eq!(paused.failures, 1);
    let url = format!("http://{}/api/v1/runs/{run}/agents?state=FAILED", server.address);
    let failed: Listing<AgentRecord> = scene.client.get(&url).await;
    let [record] = failed.items.as_slice() else { panic!("{failed:?}") };
    assert_eq!(record.agent.0, "node-2");
    assert_eq!(record.state, AgentState::Failed);
    let error = record.error.as_ref().unwrap();
    assert_eq!(error.reason, FailureReason::Unreachable, "{error:?}");
    assert!(error.message.contains("given up after 2 s"), "{error:?}");
    let took = error.at.since(record.started_at.unwrap()).to_std();
    // A busy machine may be late, but not by another deadline.
    assert!((PATIENCE..PATIENCE * 10).contains(&took), "{took:?}");
    server.stop().await;
    scene.agents.stop().await;
}
