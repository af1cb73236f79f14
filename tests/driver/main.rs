//! The whole engine, on one thread and in virtual time: the real core, driver and built-in plugins, over the
//! store in memory and scripted agents. Random failures are in `tests/simulation/`.

#![allow(clippy::unwrap_used, clippy::panic, clippy::wildcard_enum_match_arm)]

mod again;
mod answers;
mod approvals;
mod behind;
mod beyond;
mod broken;
mod credentials;
mod discovery;
mod guards;
mod late;
mod outside;
mod places;
mod queue;
mod secrets;
mod secrets_echoed;
mod secrets_elsewhere;
mod secrets_sent;
mod spread;
mod strategies;
mod troubled;
mod unsent;
mod upkeep;

use replibook::agent::{Fault, Script, When};
use replibook::run::{AgentState, Happened, Millis, ReasonCode, RunStatus, Verb};
use replibook::store::memory::FaultMoment;
use serde_json::json;

use crate::scene::{self, Scene};

const PLAIN: &str = "max_failed: 0";

#[tokio::test(start_paused = true)]
async fn a_run_goes_over_every_agent_and_all_it_leaves_has_its_finish_ts() {
    let scene = Scene::new(12).await;
    let run = scene.start_run("first", PLAIN).await;
    let engine = scene.engine("engine-1");
    let done = scene.until_final(run).await;
    assert_eq!(done.progress.status, RunStatus::Done, "{:?}", done.progress);
    assert_eq!(done.progress.count(AgentState::Done), 12);
    assert_eq!(scene.executions(), vec![1; 12]);
    let finish_ts = done.progress.finish_ts;
    assert!(finish_ts.is_some());
    let records = scene.store.records(run, None, None, 100).await.unwrap();
    assert!(records.iter().all(|record| record.finish_ts == finish_ts));
    assert!(records.iter().all(|record| record.results["act"] == json!({"ok": true})));
    let journals = scene.store.journals(run, None, None, 100).await.unwrap();
    assert_eq!(journals.len(), 12);
    assert!(journals.iter().all(|j| j.finish_ts == finish_ts && j.answers.len() == 1));
    let events = scene.events(run).await;
    assert!(events.iter().all(|event| event.finish_ts == finish_ts));
    let batches: Vec<u32> = events
        .iter()
        .filter_map(|event| match &event.what {
            Happened::Decision { started, .. } if *started > 0 => Some(*started),
            _ => None,
        })
        .collect();
    assert_eq!(batches, [3, 3, 3, 3], "a quarter at a time");
    engine.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_budget_pauses_and_a_person_goes_on() {
    let scene = Scene::new(4).await;
    scene.script(0, Script::Fail { when: When::Looks(1), message: "broken".to_owned() });
    let run = scene.start_run("first", PLAIN).await;
    let engine = scene.engine("engine-1");
    let paused = scene.until(run, |run| run.progress.status == RunStatus::Paused).await;
    assert_eq!(paused.progress.reason.unwrap().code, ReasonCode::BudgetExceeded);
    scene.command(run, Verb::Resume).await;
    let done = scene.until_final(run).await;
    assert_eq!(done.progress.status, RunStatus::Failed);
    assert_eq!(done.progress.count(AgentState::Done), 3);
    engine.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_run_waits_for_what_is_out_and_starts_nothing_more() {
    let scene = Scene::new(8).await;
    for agent in 0..8 {
        let when = When::After(Millis::from_secs(30));
        scene.script(agent, Script::Succeed { when, payload: json!({"ok": true}) });
    }
    let run = scene.start_run("first", PLAIN).await;
    let engine = scene.engine("engine-1");
    scene.until(run, |run| run.progress.count(AgentState::Running) == 2).await;
    scene.command(run, Verb::Cancel).await;
    let done = scene.until_final(run).await;
    assert_eq!(done.progress.status, RunStatus::Cancelled);
    assert_eq!(done.progress.count(AgentState::Pending), 6);
    engine.stop().await;
}

#[tokio::test(start_paused = true)]
async fn runs_on_one_cluster_go_one_after_another() {
    let scene = Scene::new(4).await;
    let first = scene.start_run("first", PLAIN).await;
    let second = scene.start_run("second", PLAIN).await;
    let engine = scene.engine("engine-1");
    let waits = |code: Option<ReasonCode>| code == Some(ReasonCode::ClusterBusy);
    let waiting = scene
        .until(second, |run| waits(run.progress.reason.as_ref().map(|reason| reason.code)))
        .await;
    assert_eq!(waiting.progress.status, RunStatus::Pending);
    let first = scene.until_final(first).await;
    let second = scene.until_final(second).await;
    assert_eq!(second.progress.status, RunStatus::Done);
    assert!(second.progress.started_at.unwrap() >= first.progress.finish_ts.unwrap());
    engine.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_cancelled_in_the_queue_holds_up_nobody() {
    let scene = Scene::new(4).await;
    let first = scene.start_run("first", PLAIN).await;
    let second = scene.start_run("second", PLAIN).await;
    let third = scene.start_run("third", PLAIN).await;
    let engine = scene.engine("engine-1");
    scene.until(second, |run| run.progress.reason.is_some()).await;
    scene.command(second, Verb::Cancel).await;
    let second = scene.until_final(second).await;
    assert_eq!(second.progress.status, RunStatus::Cancelled);
    for run in [first, third] {
        assert_eq!(scene.until_final(run).await.progress.status, RunStatus::Done);
    }
    engine.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_away_for_a_minute_costs_a_minute_and_nothing_else() {
    for moment in [FaultMoment::Before, FaultMoment::After] {
        let scene = Scene::new(8).await;
        for agent in 0..8 {
            let when = When::After(Millis::from_secs(5));
            scene.script(agent, Script::Succeed { when, payload: json!({"ok": true}) });
        }
        let run = scene.start_run("first", PLAIN).await;
        let engine = scene.engine("engine-1");
        scene.until(run, |run| run.progress.count(AgentState::Running) == 2).await;
        scene.memory.faults().fail_calls(moment);
        scene.wait(Millis::from_secs(60)).await;
        scene.memory.faults().heal();
        let done = scene.until_final(run).await;
        assert_eq!(done.progress.status, RunStatus::Done, "{moment:?}");
        assert_eq!(scene.executions(), vec![1; 8], "{moment:?}");
        assert_eq!(scene.agents.overlaps(), 0, "{moment:?}");
        engine.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_is_not_asked_for_twice() {
    let scene = Scene::new(4).await;
    scene.fault(0, Fault::DropAnswer);
    scene.fault(1, Fault::DropRequest);
    scene.fault(2, Fault::Break);
    let run = scene.start_run("first", PLAIN).await;
    let engine = scene.engine("engine-1");
    let done = scene.until_final(run).await;
    assert_eq!(done.progress.status, RunStatus::Done);
    assert_eq!(scene.executions(), vec![1; 4]);
    engine.stop().await;
}
