//! A mistake in the engine itself that breaks off the task of a run, even at a point where that is not
//! expected.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use replibook::clock::Clock;
use replibook::run::{Millis, RunStatus, Timestamp};
use replibook::store::memory::FaultMoment;

use crate::driver::PLAIN;
use crate::scene::Scene;

/// A clock that panics, while `breaks` is set, when it is asked for the first wait of a run for a store that
/// does not answer.
struct Breaking {
    inner: Arc<dyn Clock>,
    breaks: AtomicBool,
}

#[async_trait]
impl Clock for Breaking {
    fn now(&self) -> Timestamp {
        self.inner.now()
    }

    async fn sleep(&self, length: Duration) {
        let first = (25..=50).contains(&length.as_millis());
        assert!(!(first && self.breaks.load(Ordering::SeqCst)), "panicked, as asked");
        self.inner.sleep(length).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_goes_on_whose_task_broke_off_and_could_not_even_be_set_aside() {
    let scene = Scene::new(4).await;
    let run = scene.start_run("first", PLAIN).await;
    let clock = Arc::new(Breaking { inner: scene.clock.clone(), breaks: AtomicBool::new(false) });
    let (engine, activity) = scene.engine_by("engine-1", clock.clone());
    scene.until(run, |run| run.progress.status == RunStatus::Running).await;
    clock.breaks.store(true, Ordering::SeqCst);
    scene.memory.faults().fail_calls(FaultMoment::Before);
    scene.wait(Millis::from_secs(5)).await;
    scene.memory.faults().heal();
    clock.breaks.store(false, Ordering::SeqCst);
    assert_eq!(activity.panicked(), 2, "the driver, and what looks after it");
    assert_eq!(scene.until_final(run).await.progress.status, RunStatus::Done);
    assert_eq!(scene.executions(), [1; 4]);
    engine.stop().await;
}
