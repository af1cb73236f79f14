//! The ends of abandoned runs, beside all else that an engine does: one of many documents takes a while.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::World;
use crate::run::RunId;
use crate::store::{Ending, MAX_PAGE, StoreError};

/// How often the engine looks for abandoned runs that have not ended: mostly whoever gave one up has
/// done all of it.
pub(super) const LOOK: Duration = Duration::from_secs(4);

/// Parts of the end of one run that are made before it is the next one's turn: some seconds of work for a
/// store. What is left goes on with the next look.
const PARTS: u32 = 50;

/// Ends abandoned runs, in a task of its own.
pub(super) struct Endings {
    world: World,
    stop: CancellationToken,
    /// At most one.
    task: JoinSet<()>,
}

impl Endings {
    /// Nothing is done before the first [`look`](Self::look). Once `stop` is cancelled the part that goes on
    /// is the last one.
    pub(super) fn new(world: World, stop: CancellationToken) -> Self {
        Self { world, stop, task: JoinSet::new() }
    }

    /// Goes on with the ends of abandoned runs, unless it is still at that.
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

    /// Returns once nothing goes on.
    pub(super) async fn ended(&mut self) {
        while self.task.join_next().await.is_some() {}
    }
}

/// Each in turn. One that can't be ended now keeps no other from its end.
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
        // Those that can't be read are passed over, so only an empty page is known to be the last one.
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
