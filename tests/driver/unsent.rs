//! Agents that can't be reached: an action that was never sent can't be running.

use replibook::agent::{Fault, KnownId};
use replibook::run::{
    AgentRecord, AgentState, FailureReason, Happened, Millis, RunEvent, RunId, RunStatus, Verb,
};
use replibook::store::memory::FaultMoment;

use super::scene::{Scene, address};

/// A scene whose one agent can't be reached for this long.
async fn away(seconds: u64) -> Scene {
    let scene = Scene::new(1).await;
    scene.agents.set_unreachable_until(&address(0), scene.now().plus(Millis::from_secs(seconds)));
    scene
}

async fn record(scene: &Scene, run: RunId) -> AgentRecord {
    scene.store.records(run, None, None, 1).await.unwrap().remove(0)
}

fn late(events: &[RunEvent]) -> Vec<String> {
    let late = events.iter().filter_map(|event| match &event.what {
        Happened::LateAction { outcome, .. } => Some(outcome.clone()),
        _ => None,
    });
    late.collect()
}

#[tokio::test(start_paused = true)]
async fn the_next_attempt_follows_where_nothing_was_sent() {
    let scene = away(200).await;
    let run = scene.start_run_of("first", "retry: { attempts: 3, initial: 1s }").await;
    let engine = scene.engine("engine-1");
    let done = scene.until_final(run).await;
    assert_eq!(done.progress.status, RunStatus::Done, "{:?}", done.progress);
    let record = record(&scene, run).await;
    assert_eq!((record.attempts, record.outstanding), (vec![2], None));
    assert_eq!((scene.executions(), late(&scene.events(run).await)), (vec![1], vec![]));
    engine.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_time_limit_that_ends_before_anything_was_sent_leaves_nothing_out() {
    let scene = away(70).await;
    let step = "timeout: 30s\n          retry: { attempts: 5, initial: 1s }";
    let run = scene.start_run_of("first", step).await;
    let engine = scene.engine("engine-1");
    let done = scene.until_final(run).await;
    assert_eq!(done.progress.status, RunStatus::Done, "{:?}", done.progress);
    assert_eq!((record(&scene, run).await.attempts, scene.executions()), (vec![3], vec![1]));
    let late = late(&scene.events(run).await);
    assert_eq!(late.len(), 2);
    let expected = "it never began, since no request reached the agent: failed to connect to";
    assert!(late.iter().all(|outcome| outcome.starts_with(expected)), "{late:?}");
    engine.stop().await;
}

#[tokio::test(start_paused = true)]
async fn nothing_is_sent_once_its_time_is_over_though_no_commit_says_so_yet() {
    let scene = away(40).await;
    let run = scene.start_run_of("first", "timeout: 30s").await;
    let engine = scene.engine("engine-1");
    scene.until(run, |run| run.progress.count(AgentState::Running) == 1).await;
    scene.wait(Millis::from_secs(20)).await;
    scene.memory.faults().fail_commits(u32::MAX, FaultMoment::Before);
    // The time-out comes, can't be committed, and the agent is there again.
    scene.wait(Millis::from_secs(60)).await;
    assert_eq!(scene.executions(), [0]);
    scene.memory.faults().heal();
    scene.until(run, |run| run.progress.count(AgentState::Failed) == 1).await;
    assert_eq!((record(&scene, run).await.outstanding, scene.executions()), (None, vec![0]));
    engine.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_person_may_have_it_tried_again_at_once() {
    for step in ["on_error: fail", "timeout: 30s"] {
        let scene = away(300).await;
        let run = scene.start_run_of("first", step).await;
        let engine = scene.engine("engine-1");
        scene.until(run, |run| run.progress.status == RunStatus::Paused).await;
        scene.wait(Millis::from_secs(1)).await;
        let failed = record(&scene, run).await;
        assert_eq!(failed.outstanding, None, "{step}");
        let message = failed.error.unwrap().message;
        assert!(!message.contains("may still run"), "{step}: {message}");
        scene.wait(Millis::from_secs(300)).await;
        scene.command(run, Verb::Retry).await;
        scene.until(run, |run| run.progress.count(AgentState::Failed) == 0).await;
        scene.command(run, Verb::Resume).await;
        let done = scene.until_final(run).await;
        assert_eq!(done.progress.status, RunStatus::Done, "{step}: {:?}", done.progress);
        assert_eq!((record(&scene, run).await.attempts, scene.executions()), (vec![2], vec![1]));
        engine.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_may_have_been_sent_may_still_run() {
    // The request was lost on its way, which nobody can know; or an engine that has died had sent it.
    for killed in [false, true] {
        let scene = Scene::new(1).await;
        scene.fault(0, Fault::DropRequest);
        let run = scene.start_run_of("first", "retry: { attempts: 3, initial: 1s }").await;
        let engine = scene.engine("engine-1");
        scene.until(run, |_| !scene.agents.asked(&address(0)).is_empty()).await;
        scene.wait(Millis::from_secs(5)).await;
        let until = scene.now().plus(Millis::from_secs(200));
        scene.agents.set_unreachable_until(&address(0), until);
        let engine = match killed {
            true => {
                engine.kill().await;
                scene.engine("engine-2")
            }
            false => engine,
        };
        scene.wait(Millis::from_secs(160)).await;
        let waiting = record(&scene, run).await;
        assert!(waiting.outstanding.is_some(), "{killed}: {waiting:?}");
        assert_eq!(waiting.error.unwrap().reason, FailureReason::Unreachable);
        let done = scene.until_final(run).await;
        assert_eq!(done.progress.status, RunStatus::Done, "{killed}: {:?}", done.progress);
        assert_eq!((record(&scene, run).await.attempts, scene.executions()), (vec![2], vec![1]));
        engine.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn requests_that_something_holds_while_the_engine_dies_run_nothing_twice() {
    let scene = Scene::new(8).await;
    for agent in 0..8 {
        scene.agents.set_known_id(&address(agent), KnownId::RunAgain);
        scene.fault(agent, Fault::Hold(Millis(2_500)));
    }
    let run = scene.start_run("first", "max_failed: 0").await;
    let mut engine = scene.engine("engine-1");
    for life in 2..6 {
        scene.wait(Millis::from_secs(3)).await;
        engine.kill().await;
        engine = scene.engine(&format!("engine-{life}"));
    }
    let done = scene.until_final(run).await;
    assert_eq!(done.progress.status, RunStatus::Done, "{:?}", done.progress);
    assert_eq!(scene.executions(), vec![1; 8]);
    engine.stop().await;
}
