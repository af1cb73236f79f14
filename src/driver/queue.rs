//! Runs that wait for the locks of their clusters. One task asks the store for all runs of an engine, so that the
//! number of questions does not grow with the number of runs that wait.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Notify, broadcast};

use super::World;
use crate::run::RunId;
use crate::store::{MAX_PAGE, Queue, Store};

/// How often to ask while any run waits. Engines in other processes can't wake this one, so this is how long a
/// cluster may stand idle.
const LOOK: Duration = Duration::from_secs(1);

/// The shortest time between two questions: everything that happens within it is answered by one question, and
/// nobody notices the wait.
const GAP: Duration = Duration::from_millis(20);

/// The queues in which runs of this engine wait. Cheap to clone; all clones share one state.
#[derive(Clone, Default)]
pub(super) struct Queues(Arc<Shared>);

#[derive(Default)]
struct Shared {
    /// By the name of the cluster.
    waiting: Mutex<BTreeMap<String, Waiting>>,
    joined: Notify,
}

/// The runs that wait for one cluster.
struct Waiting {
    runs: usize,
    told: Arc<Told>,
}

/// What is known of one queue. The runs that wait for news of it are woken in the order in which they came, so
/// that the same history always goes the same way: a `watch` channel would wake them at random.
#[derive(Default)]
struct Told {
    /// How many times an answer came, and the last one.
    queue: Mutex<(u64, Option<Arc<Queue>>)>,
    changed: Notify,
}

impl Told {
    fn queue(&self) -> MutexGuard<'_, (u64, Option<Arc<Queue>>)> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, queue: Queue) {
        let mut told = self.queue();
        *told = (told.0.wrapping_add(1), Some(Arc::new(queue)));
        drop(told);
        self.changed.notify_waiters();
    }
}

/// A run in a queue. Dropping this takes it out of the queue.
pub(super) struct InQueue {
    queues: Queues,
    cluster: String,
    told: Arc<Told>,
    /// The count of answers when this run last got one.
    known: u64,
}

impl Queues {
    /// Joins the runs that wait for this cluster.
    pub(super) fn join(&self, cluster: &str) -> InQueue {
        let mut waiting = self.waiting();
        let new = || Waiting { runs: 0, told: Arc::default() };
        let entry = waiting.entry(cluster.to_owned()).or_insert_with(new);
        entry.runs += 1;
        // An earlier answer is not what this run waits for.
        let told = Arc::clone(&entry.told);
        let known = told.queue().0;
        self.0.joined.notify_one();
        InQueue { queues: self.clone(), cluster: cluster.to_owned(), told, known }
    }

    fn waiting(&self) -> MutexGuard<'_, BTreeMap<String, Waiting>> {
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn clusters(&self) -> Vec<String> {
        self.waiting().keys().cloned().collect()
    }

    fn tell(&self, queues: Vec<Queue>) {
        let waiting = self.waiting();
        for queue in queues {
            if let Some(entry) = waiting.get(&queue.cluster) {
                entry.told.tell(queue);
            }
        }
    }

    /// Whether any run waits for the end of this one, as far as is known.
    fn wait_for(&self, run: RunId) -> bool {
        let comes_first = |queue: &Queue| queue.holder.or(queue.queued.first().copied());
        self.waiting().values().any(|entry| {
            entry.told.queue().1.as_ref().is_none_or(|queue| comes_first(queue) == Some(run))
        })
    }

    /// Asks the store for all runs that wait, for ever: at intervals, and at once when this process has ended a
    /// run that another one waits for.
    pub(super) async fn look(&self, world: &World) {
        // Listen before the first question, so that no run that ends after an answer is missed.
        let mut ends = world.signals.listen_to_ends();
        loop {
            let clusters = self.clusters();
            if clusters.is_empty() {
                self.0.joined.notified().await;
                continue;
            }
            self.ask(world.store.as_ref(), &clusters).await;
            world.clock.sleep(GAP).await;
            tokio::select! {
                biased;
                () = self.end(&mut ends) => {}
                () = self.0.joined.notified() => {}
                () = world.clock.sleep(LOOK) => {}
            }
        }
    }

    /// Asks about these clusters, as many at a time as the store answers for.
    async fn ask(&self, store: &dyn Store, clusters: &[String]) {
        for some in clusters.chunks(MAX_PAGE as usize) {
            match store.queues(some).await {
                Ok(queues) => self.tell(queues),
                // The runs that need the answer log the failure themselves.
                Err(error) => tracing::debug!(%error, "failed to ask who waits for clusters"),
            }
        }
    }

    /// Returns when this process has ended a run that another one waits for, or may have.
    async fn end(&self, ends: &mut broadcast::Receiver<RunId>) {
        loop {
            match ends.recv().await {
                Ok(run) if !self.wait_for(run) => {}
                Ok(_) | Err(RecvError::Lagged(_)) => return,
                Err(RecvError::Closed) => return std::future::pending().await,
            }
        }
    }
}

impl InQueue {
    /// The queue, once it was found out anew since the previous call.
    pub(super) async fn next(&mut self) -> Arc<Queue> {
        loop {
            let changed = self.told.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let (times, queue) = self.told.queue().clone();
            if let Some(queue) = queue.filter(|_| times != self.known) {
                self.known = times;
                return queue;
            }
            changed.await;
        }
    }
}

impl Drop for InQueue {
    fn drop(&mut self) {
        let mut waiting = self.queues.waiting();
        if let Some(entry) = waiting.get_mut(&self.cluster) {
            entry.runs -= 1;
            if entry.runs == 0 {
                waiting.remove(&self.cluster);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::clock::TokioClock;
    use crate::driver::Signals;
    use crate::run::Timestamp;
    use crate::store::{MemoryStore, StoreOptions};

    fn queue(cluster: &str, holder: u128, queued: &[u128]) -> Queue {
        let run = |n: u128| RunId(Uuid::from_u128(n));
        let queued = queued.iter().map(|n| run(*n)).collect();
        Queue { cluster: cluster.to_owned(), holder: Some(run(holder)), queued }
    }

    #[tokio::test]
    async fn who_waits_for_a_cluster_hears_of_it_until_the_last_has_left() {
        let queues = Queues::default();
        let mut waiting = [queues.join("a"), queues.join("a"), queues.join("b")];
        assert_eq!(queues.clusters(), ["a", "b"]);
        queues.tell(vec![queue("a", 1, &[2, 3]), queue("c", 1, &[])]);
        for run in &mut waiting[..2] {
            assert_eq!(run.next().await.queued.len(), 2);
        }
        assert!(futures::poll!(std::pin::pin!(waiting[2].next())).is_pending());
        let mut late = queues.join("a");
        assert!(futures::poll!(std::pin::pin!(late.next())).is_pending(), "it heard nothing yet");
        drop((waiting, late));
        assert!(queues.clusters().is_empty());
    }

    #[tokio::test]
    async fn who_waits_for_a_cluster_hears_of_it_however_many_there_are() {
        let clock = Arc::new(TokioClock::starting_at(Timestamp::from_millis(0)));
        let store = MemoryStore::new(StoreOptions::default(), clock);
        let queues = Queues::default();
        let join = |n| queues.join(&format!("cluster-{n}"));
        let waiting: Vec<_> = (0..=2 * MAX_PAGE).map(join).collect();
        queues.ask(&store, &queues.clusters()).await;
        for run in &waiting {
            assert_ne!(run.told.queue().0, run.known, "{}", run.cluster);
        }
    }

    #[tokio::test]
    async fn only_ends_that_are_waited_for_are_heard_and_those_that_may_have_been_missed() {
        let (signals, queues) = (Signals::new(), Queues::default());
        let _waiting = queues.join("a");
        queues.tell(vec![queue("a", 1, &[2])]);
        let heard = async |ended: &[u128]| {
            let mut ends = signals.listen_to_ends();
            ended.iter().for_each(|run| signals.ended(RunId(Uuid::from_u128(*run))));
            futures::poll!(std::pin::pin!(queues.end(&mut ends))).is_ready()
        };
        assert!(!heard(&[]).await);
        assert!(!heard(&[7, 2]).await);
        assert!(heard(&[7, 1]).await);
        assert!(heard(&[7; 100]).await);
    }
}
