//! How the API and the driver of one process wake each other. Only a hint: both also poll the
//! store, so a lost signal costs time and nothing else.

use std::sync::Arc;

use tokio::sync::{Notify, broadcast};

use crate::run::RunId;

/// Changes that a slow listener may fall behind before it has to look for itself.
const CHANGES: usize = 1_024;

/// Ends of runs that a run which waits for its cluster may fall behind; past that it looks for itself.
const ENDS: usize = 64;

/// Wakes the driver when there is a new run or command, and listeners when a run changed or ended.
#[derive(Clone, Debug)]
pub struct Signals {
    work: Arc<Notify>,
    changes: broadcast::Sender<RunId>,
    ends: broadcast::Sender<RunId>,
}

impl Signals {
    /// New signals.
    pub fn new() -> Self {
        Self {
            work: Arc::new(Notify::new()),
            changes: broadcast::Sender::new(CHANGES),
            ends: broadcast::Sender::new(ENDS),
        }
    }

    /// Says that there is a new run or command in the store.
    pub fn work(&self) {
        self.work.notify_one();
    }

    /// Returns after the next [`work`](Self::work).
    pub async fn wait_for_work(&self) {
        self.work.notified().await;
    }

    /// Says that a run was committed to.
    pub fn changed(&self, run: RunId) {
        // Nobody listening is fine.
        let _ = self.changes.send(run);
    }

    /// Listens to commits. After `Lagged` the listener looks at the store.
    pub fn listen(&self) -> broadcast::Receiver<RunId> {
        self.changes.subscribe()
    }

    /// Says that a run has ended: its cluster is free.
    pub fn ended(&self, run: RunId) {
        let _ = self.ends.send(run);
    }

    /// Listens to the ends of runs. After `Lagged` the listener looks at the store.
    pub(super) fn listen_to_ends(&self) -> broadcast::Receiver<RunId> {
        self.ends.subscribe()
    }
}

impl Default for Signals {
    fn default() -> Self {
        Self::new()
    }
}
