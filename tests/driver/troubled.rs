//! Runs that can't be loaded or committed: they rest while other runs go on, and go on themselves once they
//! can.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use replibook::agent::{
    ActionRequest, ActionStatus, AgentClient, AgentError, FakeAgents, QueuedAction, Scheduled,
    Script, When,
};
use replibook::run::{
    AgentState, AttemptKey, Digest, EngineId, Millis, NodeInfo, RunId, RunStatus, Trouble,
    TroubleCode, Verb,
};
use replibook::store::memory::Damaged;
use replibook::store::{Abandon, Abandonment, Failed, MAX_PAGE, NewRun};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::driver::PLAIN;
use crate::scene::Scene;

fn request(force: bool) -> Abandon {
    Abandon { actor: None, why: "gone".to_owned(), force }
}

/// Waits until the run is set aside, and returns its trouble.
async fn trouble(scene: &Scene, run: RunId) -> Trouble {
    for _ in 0..1_000 {
        let found = scene.store.troubles_of(&[run]).await.unwrap().pop();
        if let Some(trouble) = found {
            return trouble;
        }
        scene.clock.sleep(Millis(100).to_std()).await;
    }
    panic!("the run got into no trouble");
}

#[tokio::test(start_paused = true)]
async fn a_run_whose_commits_are_refused_rests_and_goes_on_once_they_are_taken() {
    let scene = Scene::new(4).await;
    let ill = scene.start_run_with("ill", PLAIN, "concurrency: allow").await.unwrap();
    let other = scene.start_run_with("other", PLAIN, "concurrency: allow").await.unwrap();
    scene.memory.faults().refuse_commits(ill);
    let engine = scene.engine_with("engine-1", 1);
    let known = trouble(&scene, ill).await;
    assert_eq!((known.code, known.tries), (TroubleCode::TooLarge, 1));
    // The run in trouble holds no place, so the other run gets the engine's only one.
    assert_eq!(scene.until_final(other).await.progress.status, RunStatus::Done);

    scene.clock.sleep(Millis::from_secs(3_600).to_std()).await;
    let known = trouble(&scene, ill).await;
    assert!((10..=20).contains(&known.tries), "{} tries in an hour", known.tries);
    assert_eq!(scene.store.run(ill).await.unwrap().unwrap().progress.status, RunStatus::Pending);
    assert_eq!(scene.store.events(ill, 1, 9).await.unwrap(), [], "nothing of it was kept");
    scene.memory.faults().heal();
    assert_eq!(scene.until_final(ill).await.progress.status, RunStatus::Done);
    assert_eq!(scene.store.troubles(None, 9).await.unwrap(), []);
    assert_eq!(scene.store.troubles_of(&[ill]).await.unwrap(), []);
    engine.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_run_that_fails_each_time_at_its_end_is_tried_ever_more_rarely() {
    let scene = Scene::new(4).await;
    let run = scene.start_run("first", PLAIN).await;
    scene.memory.faults().refuse_end(run);
    let engine = scene.engine("engine-1");
    let first = trouble(&scene, run).await;
    assert_eq!((first.code, first.tries), (TroubleCode::Refused, 1));
    for _ in 0..60 {
        scene.wait(Millis::from_secs(60)).await;
        let known = scene.store.troubles_of(&[run]).await.unwrap().pop();
        assert_eq!(known.map(|known| known.since), Some(first.since), "nothing of it went well");
    }
    let known = trouble(&scene, run).await;
    assert!((10..=20).contains(&known.tries), "{} tries in an hour", known.tries);
    let kept = scene.store.run(run).await.unwrap().unwrap();
    assert_eq!(kept.progress.status, RunStatus::Finishing);
    scene.memory.faults().heal();
    assert_eq!(scene.until_final(run).await.progress.status, RunStatus::Done);
    assert_eq!(scene.store.troubles_of(&[run]).await.unwrap(), []);
    engine.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_run_with_a_task_that_panics_is_set_aside_and_goes_on_later() {
    for place in [Panicking::Node, Panicking::Schedule, Panicking::Action] {
        let scene = Scene::new(4).await;
        let run = scene.start_run("first", PLAIN).await;
        let panics = Arc::new(AtomicBool::new(true));
        let agents = FaultyAgents { inner: scene.agents.clone(), place, panics: panics.clone() };
        let engine = scene.engine_of("engine-1", Arc::new(agents));
        let known = trouble(&scene, run).await;
        assert_eq!((known.code, known.tries), (TroubleCode::Panicked, 1), "{place:?}");
        panics.store(false, Ordering::SeqCst);
        assert_eq!(scene.until_final(run).await.progress.status, RunStatus::Done, "{place:?}");
        assert_eq!(scene.executions(), [1; 4], "{place:?}");
        assert_eq!(scene.store.troubles_of(&[run]).await.unwrap(), [], "{place:?}");
        engine.stop().await;
    }
}

/// The question to an agent at which the client panics.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Panicking {
    Node,
    Schedule,
    Action,
}

/// An agent client that has a mistake while `panics` is set.
struct FaultyAgents {
    inner: FakeAgents,
    place: Panicking,
    panics: Arc<AtomicBool>,
}

impl FaultyAgents {
    fn pass(&self, place: Panicking) {
        assert!(place != self.place || !self.panics.load(Ordering::SeqCst), "panicked, as asked");
    }
}

#[async_trait]
impl AgentClient for FaultyAgents {
    async fn schedule(
        &self,
        address: &str,
        request: &ActionRequest,
    ) -> Result<Scheduled, AgentError> {
        self.pass(Panicking::Schedule);
        self.inner.schedule(address, request).await
    }

    async fn action(&self, address: &str, id: Uuid) -> Result<Option<ActionStatus>, AgentError> {
        self.pass(Panicking::Action);
        self.inner.action(address, id).await
    }

    async fn queue(&self, address: &str) -> Result<Vec<QueuedAction>, AgentError> {
        self.inner.queue(address).await
    }

    async fn node(&self, address: &str) -> Result<NodeInfo, AgentError> {
        self.pass(Panicking::Node);
        self.inner.node(address).await
    }

    async fn store(&self, address: &str) -> Result<Value, AgentError> {
        self.inner.store(address).await
    }

    async fn shards(&self, address: &str) -> Result<Value, AgentError> {
        self.inner.shards(address).await
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_run_does_not_need_any_more_may_be_damaged() {
    let scene = Scene::new(8).await;
    for agent in 0..8 {
        let when = When::After(Millis::from_secs(30));
        scene.script(agent, Script::Succeed { when, payload: json!({"ok": true}) });
    }
    let run = scene.start_run("first", PLAIN).await;
    let engine = scene.engine("engine-1");
    scene.until(run, |run| run.progress.count(AgentState::Done) >= 3).await;
    let going = scene.until(run, |run| run.progress.count(AgentState::Running) > 0).await;
    engine.stop().await;
    // Damages the journals of agents that are done, next to those of agents that go on, and the last event.
    let records = scene.store.records(run, Some(AgentState::Done), None, 9).await.unwrap();
    assert!(records.len() >= 3);
    for record in records {
        let key = AttemptKey { agent: record.seq, stage: 0, step: 0, attempt: 1 };
        scene.memory.damage(Damaged::Journal(run, key));
    }
    scene.memory.damage(Damaged::Event(run, going.progress.next_event - 1));
    let engine = scene.engine("engine-2");
    let done = scene.until_final(run).await;
    assert_eq!(done.progress.status, RunStatus::Done, "{:?}", done.progress);
    assert_eq!(scene.executions(), [1; 8]);
    engine.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_given_up_frees_its_cluster_for_the_next_one() {
    let scene = Scene::new(4).await;
    let ids = [scene.start_run("first", PLAIN).await, scene.start_run("second", PLAIN).await];
    let engine = scene.engine("engine-1");
    scene.until(ids[0], |run| run.progress.status == RunStatus::Running).await;
    engine.stop().await;
    scene.memory.damage(Damaged::Snapshot(ids[0]));
    let engine = scene.engine("engine-2");
    let known = trouble(&scene, ids[0]).await;
    assert_eq!(known.code, TroubleCode::Damaged);
    scene.clock.sleep(Millis::from_secs(600).to_std()).await;
    let next = scene.store.run(ids[1]).await.unwrap().unwrap();
    assert_eq!(next.progress.status, RunStatus::Pending);

    let begun = scene.store.abandon(ids[0], &request(false)).await.unwrap();
    assert!(matches!(begun, Abandonment::Begun(_)));
    // Only the engine goes on with this run.
    assert_eq!(scene.until_final(ids[1]).await.progress.status, RunStatus::Done);
    let ended = scene.store.read_run(ids[0]).await.unwrap().unwrap().unwrap_err();
    assert_eq!(ended.glance.status, Some(RunStatus::Failed));
    engine.stop().await;
}

#[tokio::test(start_paused = true)]
async fn the_engine_of_a_run_that_is_given_up_by_force_lets_go_of_it() {
    let scene = Scene::new(4).await;
    for agent in 0..4 {
        let when = When::After(Millis::from_secs(60));
        scene.script(agent, Script::Succeed { when, payload: json!({"ok": true}) });
    }
    let run = scene.start_run("first", PLAIN).await;
    let engine = scene.engine("engine-1");
    while scene.executions().iter().sum::<u32>() == 0 {
        scene.wait(Millis(50)).await;
    }
    scene.store.abandon(run, &request(true)).await.unwrap();
    let executions = scene.executions();
    assert!(executions.contains(&0), "some are still to come: {executions:?}");
    let ended = scene.until_final(run).await;
    assert_eq!(ended.progress.status, RunStatus::Failed);
    let finish_ts = ended.progress.finish_ts;
    let events = scene.events(run).await;
    assert!(finish_ts.is_some() && events.iter().all(|event| event.finish_ts == finish_ts));
    scene.wait(Millis::from_secs(3_600)).await;
    assert_eq!(scene.executions(), executions, "nothing is sent any more");
    engine.stop().await;
}

#[tokio::test(start_paused = true)]
async fn the_end_of_one_run_holds_up_neither_the_others_nor_their_commands() {
    let scene = Scene::new(4).await;
    for agent in 0..4 {
        let when = When::After(Millis::from_secs(600));
        scene.script(agent, Script::Succeed { when, payload: json!({"ok": true}) });
    }
    let abandoned = scene.start_run_with("abandoned", PLAIN, "concurrency: allow").await.unwrap();
    let other = scene.start_run_with("other", PLAIN, "concurrency: allow").await.unwrap();
    let engine = scene.engine("engine-1");
    for run in [abandoned, other] {
        scene.until(run, |run| run.progress.count(AgentState::Running) == 1).await;
    }
    // Longer than a lease.
    scene.memory.faults().slow_ends(Millis::from_secs(20));
    scene.store.abandon(abandoned, &request(true)).await.unwrap();
    for verb in [Verb::Pause, Verb::Resume, Verb::Pause, Verb::Resume, Verb::Pause, Verb::Resume] {
        scene.wait(Millis::from_secs(3)).await;
        scene.command(other, verb).await;
        let from = scene.now();
        let wanted = match verb {
            Verb::Pause => RunStatus::Paused,
            _ => RunStatus::Running,
        };
        scene.until(other, |run| run.progress.status == wanted).await;
        let took = scene.now().since(from);
        assert!(took <= Millis::from_secs(1), "{verb} took {took:?}");
    }
    assert_eq!(scene.until_final(abandoned).await.progress.status, RunStatus::Failed);
    assert_eq!(scene.until_final(other).await.progress.status, RunStatus::Done);
    engine.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_abandoned_run_that_can_not_be_ended_keeps_no_other_from_its_end() {
    let scene = Scene::new(1).await;
    let [first, second] = [scene.start_run("a", PLAIN).await, scene.start_run("b", PLAIN).await];
    scene.memory.faults().refuse_end(first);
    for run in [first, second] {
        scene.store.abandon(run, &request(true)).await.unwrap();
    }
    let engine = scene.engine("engine-1");
    assert_eq!(scene.until_final(second).await.progress.status, RunStatus::Failed);
    let kept = scene.store.run(first).await.unwrap().unwrap();
    assert_eq!(kept.progress.status, RunStatus::Finishing);
    scene.memory.faults().heal();
    assert_eq!(scene.until_final(first).await.progress.status, RunStatus::Failed);
    engine.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_abandoned_run_ends_that_is_behind_more_troubles_than_a_page_holds() {
    let scene = Scene::new(1).await;
    let like = scene.start_run_with("like", PLAIN, "concurrency: allow").await.unwrap();
    let like = scene.store.run(like).await.unwrap().unwrap();
    let mut last = like.id();
    for number in 0..u128::from(MAX_PAGE) {
        last = RunId(Uuid::from_u128(like.id().0.as_u128() + number + 1));
        let mut run = like.clone();
        Arc::make_mut(&mut run.snapshot).id = last;
        let request = Digest::of(&number.to_be_bytes());
        let new = NewRun { run, events: Vec::new(), idempotency_key: None, request };
        scene.store.create_run(&new).await.unwrap();
    }
    let engine = EngineId("before".to_owned());
    for limit in [MAX_PAGE, 1] {
        for lease in scene.store.claim(&engine, limit).await.unwrap() {
            let failed = Failed { code: TroubleCode::Damaged, message: "it is".to_owned() };
            scene.store.set_aside(lease.run, lease.epoch, &engine, &failed).await.unwrap();
        }
    }
    scene.store.abandon(last, &request(false)).await.unwrap();
    // An engine that drives no runs.
    let engine = scene.engine_with("engine-1", 0);
    assert_eq!(scene.until_final(last).await.progress.status, RunStatus::Failed);
    engine.stop().await;
}
