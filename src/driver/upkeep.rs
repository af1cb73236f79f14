//! Looks after plugins, in a task of its own: those that nothing pins are removed once their retention has passed, and
//! those that are built into this program are kept as long as it runs.
//!
//! Of the engines that share a store one at a time sweeps; whose turn it is says the store, which also makes sure that
//! nothing goes that somebody pins at this moment.

use std::time::Duration;

use tokio::task::JoinSet;

use super::World;
use crate::run::{Digest, Millis, Timestamp};
use crate::store::{MAX_SWEPT_PLUGINS, Plugin, StoreError};

/// How often an engine asks whether it is its turn: a few times within the distance of two sweeps, so that with several
/// engines none is left out for long.
pub(super) const LOOK: Duration = Duration::from_secs(30);

/// How often the retention of the built-in plugins begins anew: several times within the shortest retention, so that one
/// failure does no harm. Only this keeps the plugins of an engine of another version.
const RENEWED: Millis = Millis::from_secs(8 * 60);

/// Looks after plugins, in a task of its own.
pub(super) struct Upkeep {
    world: World,
    renewed: Option<Timestamp>,
    /// At most one task. Its result is the moment at which it renewed the built-in plugins, if it did.
    task: JoinSet<Option<Timestamp>>,
}

impl Upkeep {
    /// Nothing is done before the first [`look`](Self::look).
    pub(super) fn new(world: World) -> Self {
        Self { world, renewed: None, task: JoinSet::new() }
    }

    /// Does what is due, unless the previous look still does.
    pub(super) fn look(&mut self) {
        while let Some(ended) = self.task.try_join_next() {
            match ended {
                Ok(renewed) => self.renewed = renewed.or(self.renewed),
                Err(error) => {
                    tracing::error!(%error, "the task that looks after plugins broke off; it is tried again");
                }
            }
        }
        if !self.task.is_empty() {
            return;
        }
        let now = self.world.clock.now();
        let renews = self.renewed.is_none_or(|at| now.since(at) >= RENEWED);
        let world = self.world.clone();
        self.task.spawn(async move {
            // What is built in comes first: a sweep may be about to remove it.
            let renewed = if renews { renew(&world).await } else { Ok(()) };
            let (renewed, done) = match renewed {
                Ok(()) => (renews.then_some(now), sweep(&world).await),
                Err(error) => (None, Err(error)),
            };
            if let Err(error) = done {
                tracing::warn!(%error, "failed to look after plugins");
            }
            renewed
        });
    }

    /// Ends the task, wherever it is: what the store has begun it does completely or not at all.
    pub(super) async fn end(&mut self) {
        self.task.shutdown().await;
    }
}

/// Begins the retention of the built-in plugins anew, and puts them into the store if they are not there.
async fn renew(world: &World) -> Result<(), StoreError> {
    let builtins = world.plugins.builtins();
    let digests: Vec<Digest> = builtins.iter().map(|one| one.info.digest.clone()).collect();
    if world.store.renew_plugins(&digests).await? >= digests.len() as u64 {
        return Ok(());
    }
    for builtin in builtins {
        let plugin = Plugin::new(builtin.info.clone(), world.store.time());
        world.store.put_plugin(&plugin, builtin.bytes.clone()).await?;
    }
    Ok(())
}

async fn sweep(world: &World) -> Result<(), StoreError> {
    let Some(swept) = world.store.sweep_plugins(MAX_SWEPT_PLUGINS).await? else { return Ok(()) };
    for digest in &swept.removed {
        tracing::info!(%digest, "removed a plugin that nothing pinned for its retention");
    }
    Ok(())
}
