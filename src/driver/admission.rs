//! One run at a time for each cluster, in the order in which they were created.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use crate::run::RunId;

/// The locks of clusters, as this engine knows them.
#[derive(Clone, Default)]
pub(super) struct Admission {
    clusters: Arc<Mutex<HashMap<String, Queue>>>,
}

#[derive(Default)]
struct Queue {
    holder: Option<RunId>,
    waiting: BTreeSet<RunId>,
}

impl Admission {
    /// Takes notice that a run holds its cluster, as it was loaded.
    pub(super) fn hold(&self, cluster: &str, run: RunId) {
        self.with(cluster, |queue| {
            queue.waiting.remove(&run);
            queue.holder = Some(run);
        });
    }

    /// Takes notice that a run waits for its cluster.
    pub(super) fn wait(&self, cluster: &str, run: RunId) {
        self.with(cluster, |queue| {
            queue.waiting.insert(run);
        });
    }

    /// Takes the lock for `run`; an error names the run that it has to wait for. Identifiers of
    /// runs sort by their creation, so the oldest one that waits goes first.
    pub(super) fn acquire(&self, cluster: &str, run: RunId) -> Result<(), RunId> {
        self.with(cluster, |queue| match queue.holder {
            Some(holder) if holder == run => Ok(()),
            Some(holder) => Err(holder),
            None => match queue.waiting.first() {
                Some(first) if *first < run => Err(*first),
                Some(_) | None => {
                    queue.waiting.remove(&run);
                    queue.holder = Some(run);
                    Ok(())
                }
            },
        })
    }

    /// Gives up the lock, or the place in the queue.
    pub(super) fn release(&self, cluster: &str, run: RunId) {
        self.with(cluster, |queue| {
            queue.waiting.remove(&run);
            if queue.holder == Some(run) {
                queue.holder = None;
            }
        });
    }

    fn with<T>(&self, cluster: &str, f: impl FnOnce(&mut Queue) -> T) -> T {
        let mut clusters = self.clusters.lock().unwrap_or_else(PoisonError::into_inner);
        let queue = clusters.entry(cluster.to_owned()).or_default();
        let result = f(queue);
        if queue.holder.is_none() && queue.waiting.is_empty() {
            clusters.remove(cluster);
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn one_run_holds_a_cluster_and_the_oldest_goes_next() {
        let admission = Admission::default();
        let [first, second, third] = [1, 2, 3].map(|n| RunId(Uuid::from_u128(n)));
        for run in [third, first, second] {
            admission.wait("c", run);
        }
        assert_eq!(admission.acquire("c", third), Err(first));
        assert_eq!(admission.acquire("c", first), Ok(()));
        assert_eq!(admission.acquire("c", first), Ok(()), "asking again is fine");
        assert_eq!(admission.acquire("c", second), Err(first));
        admission.release("c", first);
        assert_eq!(admission.acquire("c", third), Err(second));
        admission.release("c", second);
        assert_eq!(admission.acquire("c", third), Ok(()));
        assert_eq!(admission.acquire("d", second), Ok(()), "another cluster is another lock");
    }
}
