//! Runs that somebody follows: one question to the store for all of them, however many follow.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Notify, broadcast, watch};

use super::limits::STREAM_POLL;
use super::state::ApiState;
use crate::run::RunId;
use crate::store::{Head, MAX_PAGE};

/// The shortest time between two questions: commits within it are one reason to ask, and nobody who looks at
/// a run notices the wait.
const GAP: Duration = Duration::from_millis(20);

/// The runs that somebody follows. Cheap to clone; clones are the same.
#[derive(Clone, Default)]
pub(super) struct Watched(Arc<Shared>);

#[derive(Default)]
struct Shared {
    now: Mutex<Now>,
    joined: Notify,
}

#[derive(Default)]
struct Now {
    runs: BTreeMap<RunId, Entry>,
    /// Whether the task that asks goes on.
    asking: bool,
}

struct Entry {
    followers: usize,
    news: watch::Sender<News>,
}

/// What was found out about a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct News {
    /// How far it is; none before the first answer, and if it is not there.
    pub(super) head: Option<Head>,
    /// Whether the store did not answer the last question.
    pub(super) silent: bool,
}

/// Follows one run until it is dropped.
pub(super) struct Watching {
    watched: Watched,
    run: RunId,
    news: watch::Receiver<News>,
}

impl Watched {
    /// Follows a run with the others.
    pub(super) fn join(&self, state: &ApiState, run: RunId) -> Watching {
        let mut now = self.now();
        let new = || Entry { followers: 0, news: watch::Sender::default() };
        let entry = now.runs.entry(run).or_insert_with(new);
        entry.followers += 1;
        let news = entry.news.subscribe();
        if !now.asking {
            now.asking = true;
            let (watched, state, changes) = (self.clone(), state.clone(), state.signals.listen());
            tokio::spawn(async move { watched.ask(&state, changes).await });
        }
        self.0.joined.notify_one();
        Watching { watched: self.clone(), run, news }
    }

    fn now(&self) -> MutexGuard<'_, Now> {
        self.0.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The runs; none once nobody follows any, and then nobody asks any more.
    fn runs(&self) -> Option<Vec<RunId>> {
        let mut now = self.now();
        now.asking = !now.runs.is_empty();
        now.asking.then(|| now.runs.keys().copied().collect())
    }

    /// Asks the store how far the runs are, until nobody follows one: now and then, since engines in other
    /// processes tell nothing, and at once when one of them was committed to here.
    async fn ask(&self, state: &ApiState, mut changes: broadcast::Receiver<RunId>) {
        while let Some(runs) = self.runs() {
            for some in runs.chunks(MAX_PAGE as usize) {
                let heads = state.store.heads(some).await;
                let heads = heads.map(|heads| heads.into_iter().map(|head| (head.run, head)));
                self.tell(some, heads.ok().map(BTreeMap::from_iter));
            }
            state.clock.sleep(GAP).await;
            tokio::select! {
                biased;
                () = state.stopping.cancelled() => {
                    self.now().asking = false;
                    return;
                }
                () = self.changed(&mut changes) => {}
                () = self.0.joined.notified() => {}
                () = state.clock.sleep(STREAM_POLL) => {}
            }
        }
    }

    /// Tells those who follow these runs; without an answer, that there was none.
    fn tell(&self, runs: &[RunId], heads: Option<BTreeMap<RunId, Head>>) {
        let now = self.now();
        for run in runs {
            let Some(entry) = now.runs.get(run) else { continue };
            entry.news.send_if_modified(|news| {
                let before = news.clone();
                match &heads {
                    Some(heads) => {
                        (news.head, news.silent) = (heads.get(run).cloned(), false);
                    }
                    None => news.silent = true,
                }
                *news != before
            });
        }
    }

    /// Returns when a run that somebody follows was committed to, or may have been.
    async fn changed(&self, changes: &mut broadcast::Receiver<RunId>) {
        loop {
            match changes.recv().await {
                Ok(run) if !self.now().runs.contains_key(&run) => {}
                Ok(_) | Err(RecvError::Lagged(_)) => return,
                // Nobody will ever say so again.
                Err(RecvError::Closed) => std::future::pending().await,
            }
        }
    }
}

impl Watching {
    /// Waits for something that was found out since this was called last, or since the run is followed.
    pub(super) async fn news(&mut self) -> News {
        if self.news.changed().await.is_err() {
            // The entry stays as long as somebody follows the run.
            std::future::pending::<()>().await;
        }
        self.news.borrow_and_update().clone()
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let mut now = self.watched.now();
        if let Some(entry) = now.runs.get_mut(&self.run) {
            entry.followers -= 1;
            if entry.followers == 0 {
                now.runs.remove(&self.run);
            }
        }
    }
}
