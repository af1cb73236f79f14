//! How the API and the driver wake each other within one process. A signal is only a hint: both also poll the
//! store, so a lost signal costs nothing but time.

use std::sync::Arc;

use tokio::sync::{Notify, broadcast};

use crate::run::RunId;

/// How many changes a slow listener may fall behind before it has to look at the store.
const CHANGES: usize = 1_024;

/// How many ends of runs a run that waits for its cluster may fall behind before it has to look at the store.
const ENDS: usize = 64;

/// Wakes the driver when there is a new run or command, and listeners when a run changed or ended.
#[derive(Clone, Debug)]
pub struct Signals {
    work: Arc<Notify>,
    changes: broadcast::Sender<RunId>,
    ends: broadcast::Sender<RunId>,
}

impl Signals {
    /// Signals without listeners.
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
        // An error only means that nobody listens.
        let _ = self.changes.send(run);
    }

    /// Listens to commits. After `Lagged` the listener looks at the store.
    pub fn listen(&self) -> broadcast::Receiver<RunId> {
        self.changes.subscribe()
    }

    /// Says that a run has ended and that its cluster is free.
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
