//! An engine that goes on until a test stops or kills it.

use replibook::driver::{Engine, EngineConfig, World};
use replibook::run::EngineId;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub(crate) struct RunningEngine {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl RunningEngine {
    /// Starts one that drives at most so many runs.
    pub(crate) fn start(world: World, name: &str, max_runs: usize) -> Self {
        Self::of(world, EngineConfig::new(EngineId(name.to_owned()), max_runs))
    }

    /// Starts one with these settings.
    pub(crate) fn of(world: World, config: EngineConfig) -> Self {
        let stop = CancellationToken::new();
        let task = tokio::spawn(Engine::new(world, config).run(stop.clone()));
        Self { stop, task }
    }

    /// Stops it as a signal does: its leases are given back.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }

    /// Ends it where it is, with nothing given back.
    pub(crate) async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
    }
}
