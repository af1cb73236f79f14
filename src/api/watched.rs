//! The runs that clients follow. One task asks the store about all of them, so that the number of clients does
//! not matter to the store.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Notify, broadcast, watch};

use super::limits::STREAM_POLL;
use super::state::ApiState;
use crate::clock::Clock;
use crate::run::RunId;
use crate::store::{Head, MAX_PAGE};

/// The shortest time between two questions to the store: all commits within it are one reason to ask, and
/// nobody who looks at a run notices the wait.
const GAP: Duration = Duration::from_millis(20);

/// The runs that clients follow. Cheap to clone; clones share them.
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
    /// Whether the task that asks is running.
    asking: bool,
}

struct Entry {
    followers: usize,
    news: watch::Sender<News>,
}

/// What is known about a run that is followed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct News {
    /// How far the run is; `None` before the first answer, and if the run does not exist.
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
    /// Follows a run, together with all others.
    pub(super) fn join(&self, state: &ApiState, run: RunId) -> Watching {
        let watching = self.follow(run);
        if !std::mem::replace(&mut self.now().asking, true) {
            let (watched, state) = (self.clone(), state.clone());
            tokio::spawn(async move {
                let ask = || {
                    let (watched, state) = (watched.clone(), state.clone());
                    async move { watched.ask(&state).await }
                };
                watched.keep_asking(state.clock.as_ref(), ask).await;
            });
        }
        self.0.joined.notify_one();
        watching
    }

    fn follow(&self, run: RunId) -> Watching {
        let mut now = self.now();
        let new = || Entry { followers: 0, news: watch::Sender::default() };
        let entry = now.runs.entry(run).or_insert_with(new);
        entry.followers += 1;
        Watching { watched: self.clone(), run, news: entry.news.subscribe() }
    }

    fn now(&self) -> MutexGuard<'_, Now> {
        self.0.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The followed runs; `None` when there are none, and then the task that asks ends.
    fn runs(&self) -> Option<Vec<RunId>> {
        let mut now = self.now();
        now.asking = !now.runs.is_empty();
        now.asking.then(|| now.runs.keys().copied().collect())
    }

    /// Keeps a task asking for as long as any run is followed, even after a panic: otherwise nobody would ever
    /// ask for those who follow a run now.
    async fn keep_asking<F>(&self, clock: &dyn Clock, ask: impl Fn() -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        while tokio::spawn(ask()).await.is_err() {
            tracing::error!("the task that asks about runs broke off; it begins anew");
            self.cannot_tell();
            clock.sleep(STREAM_POLL).await;
        }
    }

    /// Makes all who follow a run look for themselves.
    fn cannot_tell(&self) {
        let runs: Vec<_> = self.now().runs.keys().copied().collect();
        self.tell(&runs, None);
    }

    /// Asks the store how far the runs are, until none is followed: at regular intervals, since engines in
    /// other processes can't notify this one, and at once when this process commits to one of them.
    async fn ask(&self, state: &ApiState) {
        // It listens before the first question, so that a commit after an answer is noticed.
        let mut changes = state.signals.listen();
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

    /// Passes the answer to those who follow these runs. If there was no answer, they are told each time, and
    /// then look for themselves, since other questions may be answered.
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
                news.silent || *news != before
            });
        }
    }

    /// Returns when a followed run was committed to, or may have been.
    async fn changed(&self, changes: &mut broadcast::Receiver<RunId>) {
        loop {
            match changes.recv().await {
                Ok(run) if !self.now().runs.contains_key(&run) => {}
                Ok(_) | Err(RecvError::Lagged(_)) => return,
                // No commit will ever be reported again.
                Err(RecvError::Closed) => std::future::pending().await,
            }
        }
    }
}

impl Watching {
    /// Waits for something new since the last call, or since the run is followed.
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use uuid::Uuid;

    use super::*;
    use crate::clock::TokioClock;
    use crate::run::Timestamp;

    #[tokio::test]
    async fn who_follows_a_run_is_told_each_time_that_there_is_no_answer() {
        let (watched, run) = (Watched::default(), RunId(Uuid::from_u128(1)));
        let mut watching = watched.follow(run);
        for _ in 0..3 {
            watched.tell(&[run], None);
            assert!(watching.news().await.silent);
        }
        let head = || {
            let head = Head { run, status: None, next_event: Some(3) };
            Some(BTreeMap::from([(run, head)]))
        };
        watched.tell(&[run], head());
        assert!(!watching.news().await.silent);
        watched.tell(&[run], head());
        assert!(futures::poll!(std::pin::pin!(watching.news())).is_pending(), "it is no news");
    }

    #[tokio::test(start_paused = true)]
    async fn a_panic_ends_no_asking() {
        let (watched, run) = (Watched::default(), RunId(Uuid::from_u128(1)));
        let mut watching = watched.follow(run);
        let tries = Arc::new(AtomicU32::new(0));
        let ask = {
            let tries = tries.clone();
            move || {
                let tries = tries.clone();
                async move { assert!(tries.fetch_add(1, Ordering::Relaxed) >= 2, "as asked") }
            }
        };
        let clock = TokioClock::starting_at(Timestamp::from_millis(0));
        watched.keep_asking(&clock, ask).await;
        assert_eq!(tries.load(Ordering::Relaxed), 3);
        assert!(watching.news().await.silent);
    }
}
