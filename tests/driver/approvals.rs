//! Approvals by several people, and runs that are not approved in time, with engines that park them and go.

use replibook::playbook::AfterDeadline;
use replibook::run::{
    ApprovalChange, Approves, Happened, Millis, ReasonCode, RunId, RunStatus, Verb,
};

use crate::driver::PLAIN;
use crate::scene::Scene;

impl Scene {
    /// Somebody approves what the run asks.
    async fn approve(&self, run: RunId, by: &str) {
        let question = self.store.run(run).await.unwrap().unwrap().progress.question.unwrap();
        let approves = Approves { seen: Some(question.seen), groups: Vec::new() };
        self.command_by(run, Verb::Approve, by, Some(approves)).await;
    }

    /// Waits until no engine drives the run.
    async fn until_parked(&self, run: RunId) {
        let start = self.now();
        while !self.store.holders(&[run]).await.unwrap().is_empty() {
            assert!(self.now().since(start) < Millis::from_secs(60), "an engine keeps it");
            self.wait(Millis(50)).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn people_approve_one_after_the_other_whichever_engine_takes_the_run_up() {
    let scene = Scene::new(1).await;
    let first = scene.engine("engine-1");
    let id = scene.start_run_with("two", PLAIN, "approval: { count: 2 }").await.unwrap();
    scene.until_parked(id).await;
    scene.approve(id, "user:id/alice").await;
    scene.until(id, |run| run.asks().is_some_and(|asks| asks.given.len() == 1)).await;
    scene.until_parked(id).await;
    first.stop().await;

    let second = scene.engine("engine-2");
    scene.approve(id, "user:id/alice").await;
    scene.approve(id, "user:id/bob").await;
    assert_eq!(scene.until_final(id).await.progress.status, RunStatus::Done);
    second.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_parked_run_is_ended_when_its_time_is_over_even_if_no_engine_was_there() {
    for away in [false, true] {
        let scene = Scene::new(1).await;
        let spec = "approval: { deadline: 2h, then: cancel }";
        let id = scene.start_run_with("late", PLAIN, spec).await.unwrap();
        let mut engine = Some(scene.engine("engine-1"));
        scene.wait(Millis::from_secs(10)).await;
        scene.until_parked(id).await;
        if away {
            engine.take().unwrap().stop().await;
        }
        scene.wait(Millis::from_secs(7_100)).await;
        let waits = scene.store.run(id).await.unwrap().unwrap();
        assert_eq!(waits.progress.status, RunStatus::PendingApprove);
        if away {
            scene.wait(Millis::from_secs(3_600)).await;
            engine = Some(scene.engine("engine-2"));
        }
        let run = scene.until_final(id).await;
        let reason = run.progress.reason.unwrap();
        assert_eq!(
            (run.progress.status, reason.code),
            (RunStatus::Cancelled, ReasonCode::ApprovalOverdue)
        );
        let events = scene.store.events(id, 0, 100).await.unwrap();
        let overdue = events.iter().filter_map(|event| match &event.what {
            Happened::Approval { approval: ApprovalChange::Overdue { then, .. }, .. } => Some(then),
            _ => None,
        });
        assert_eq!(overdue.collect::<Vec<_>>(), [&AfterDeadline::Cancel]);
        if let Some(engine) = engine {
            engine.stop().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_that_waits_after_its_time_asks_again_when_somebody_resumes_it() {
    let scene = Scene::new(1).await;
    let engine = scene.engine("engine-1");
    let spec = "approval: { deadline: 1m, then: pause }";
    let id = scene.start_run_with("again", PLAIN, spec).await.unwrap();
    let overdue = |run: &replibook::run::Run| {
        run.progress.reason.as_ref().is_some_and(|why| why.code == ReasonCode::ApprovalOverdue)
    };
    scene.until(id, overdue).await;
    scene.until_parked(id).await;
    scene.command(id, Verb::Resume).await;
    scene.until(id, |run| run.asks().is_some()).await;
    scene.approve(id, "ann").await;
    assert_eq!(scene.until_final(id).await.progress.status, RunStatus::Done);
    engine.stop().await;
}
