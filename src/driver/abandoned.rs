//! Ends abandoned runs in a task of its own, beside everything else that an engine does, because ending a run with
//! many documents takes a while.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::World;
use crate::run::RunId;
use crate::store::{Ending, MAX_PAGE, StoreError};

/// How often the engine looks for abandoned runs that have not ended. Mostly there are none, because whoever gave
/// a run up has also ended it.
pub(super) const LOOK: Duration = Duration::from_secs(4);

/// How many parts of the end of one run are made before it is the next run's turn: some seconds of work for a
/// store. The next look continues with the rest.
const PARTS: u32 = 50;

/// Ends abandoned runs, in a task of its own.
pub(super) struct Endings {
    world: World,
    stop: CancellationToken,
    /// At most one task.
    task: JoinSet<()>,
}

impl Endings {
    /// Nothing is done before the first [`look`](Self::look). Once `stop` is cancelled, the part that is under way
    /// is the last one.
    pub(super) fn new(world: World, stop: CancellationToken) -> Self {
        Self { world, stop, task: JoinSet::new() }
    }

    /// Continues to end abandoned runs, unless the previous look still does.
    pub(super) fn look(&mut self) {
        while let Some(ended) = self.task.try_join_next() {
            if let Err(error) = ended {
                tracing::error!(%error, "the task that ends abandoned runs broke off; it is tried again");
            }
        }
        if self.task.is_empty() {
            let (world, stop) = (self.world.clone(), self.stop.clone());
            self.task.spawn(async move { end_all(&world, &stop).await });
        }
    }

    /// Returns once the task has ended.
    pub(super) async fn ended(&mut self) {
        while self.task.join_next().await.is_some() {}
    }
}

/// Ends the abandoned runs one after the other. A run that can't be ended now does not keep the others from
/// ending.
async fn end_all(world: &World, stop: &CancellationToken) {
    let mut after = None;
    loop {
        let troubles = match world.store.troubles(after, MAX_PAGE).await {
            Ok(troubles) => troubles,
            Err(error) => {
                tracing::warn!(%error, "failed to look for abandoned runs");
                return;
            }
        };
        // Troubles that can't be read are left out of a page, so only an empty page is certain to be the last one.
        let Some(last) = troubles.last() else { return };
        after = Some(last.run);
        for trouble in troubles.iter().filter(|trouble| trouble.abandoned.is_some()) {
            if let Err(error) = end(world, stop, trouble.run).await {
                tracing::warn!(run = %trouble.run, %error, "failed to end an abandoned run");
            }
            if stop.is_cancelled() {
                return;
            }
        }
    }
}

async fn end(world: &World, stop: &CancellationToken, run: RunId) -> Result<(), StoreError> {
    for _ in 0..PARTS {
        match world.store.end_abandoned(run).await? {
            Ending::Going if !stop.is_cancelled() => {}
            Ending::Going | Ending::Waits(_) => break,
            Ending::Ended => {
                tracing::info!(%run, "the abandoned run has ended");
                world.signals.changed(run);
                world.signals.ended(run);
                break;
            }
        }
    }
    Ok(())
}
