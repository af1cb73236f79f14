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
    /// Starts an engine that drives at most `max_runs` runs.
    pub(crate) fn start(world: World, name: &str, max_runs: usize) -> Self {
        Self::of(world, EngineConfig::new(EngineId(name.to_owned()), max_runs))
    }

    /// Starts an engine with these settings.
    pub(crate) fn of(world: World, config: EngineConfig) -> Self {
        let stop = CancellationToken::new();
        let task = tokio::spawn(Engine::new(world, config).run(stop.clone()));
        Self { stop, task }
    }

    /// Stops the engine as a signal does: it gives its leases back.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }

    /// Ends the engine where it is. It gives nothing back.
    pub(crate) async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
    }
}
