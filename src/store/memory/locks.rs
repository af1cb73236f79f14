//! The locks of clusters, and the queues for them.

use super::damaged::Damaged;
use super::state::{RunEntry, State};
use crate::contract::{MAX_PAGE, Result};
use crate::documents::{
    GOING_KNOWN, Locked, QUEUED_KNOWN, Queue, going_statuses, locked_with_guards,
};
use crate::error::StoreError;
use crate::options::Moment;
use replibook_core::playbook::Concurrency;
use replibook_core::run::{Run, RunId, RunStatus, Snapshot};

impl State {
    pub(super) fn lock_cluster(&mut self, run: RunId, epoch: u64, at: &Moment) -> Result<Locked> {
        let cluster = self.check_fence(run, epoch, at)?.run.snapshot.cluster.clone();
        let holder = self.holder(&cluster);
        if holder == Some(run) {
            return Ok(Locked::Held);
        }
        let before: Vec<_> = self.queued(&cluster).filter(|queued| *queued < run).collect();
        let answer = Locked::behind(holder, &before);
        if answer == Locked::Held {
            self.give(cluster, run);
        }
        Ok(answer)
    }

    /// Who comes first on these clusters.
    pub(super) fn queues(&self, clusters: &[String]) -> Vec<Queue> {
        let queue = |cluster: &String| Queue {
            cluster: cluster.clone(),
            holder: self.holder(cluster),
            queued: self.queued(cluster).take(QUEUED_KNOWN as usize).collect(),
        };
        clusters.iter().take(MAX_PAGE as usize).map(queue).collect()
    }

    /// Refuses a new run that rejects a busy cluster, if it is busy; otherwise gives such a run the lock.
    pub(super) fn lock_at_once(&mut self, snapshot: &Snapshot, status: RunStatus) -> Result<()> {
        match snapshot.playbook.concurrency {
            Concurrency::Queue | Concurrency::Allow => return Ok(()),
            Concurrency::Reject => {}
        }
        let cluster = snapshot.cluster.clone();
        let first = self.holder(&cluster).or_else(|| self.queued(&cluster).next());
        if let Some(run) = first {
            return Err(StoreError::ClusterBusy { cluster, run });
        }
        if status == RunStatus::Pending {
            self.give(cluster, snapshot.id);
        }
        Ok(())
    }

    /// Gives the lock of a cluster that gets guards to the only run that goes on it.
    pub(super) fn lock_with_guards(&mut self, cluster: &str) -> Result<()> {
        let goes = |entry: &&RunEntry| {
            let Run { snapshot, progress } = &entry.run;
            progress.status.holds_cluster() && !entry.finished() && snapshot.cluster == cluster
        };
        let going = self.runs.values().filter(goes).map(|entry| entry.run.id());
        let going: Vec<_> = going.take(GOING_KNOWN as usize).collect();
        if let Some(run) = locked_with_guards(cluster, self.holder(cluster), &going)? {
            self.give(cluster.to_owned(), run);
        }
        Ok(())
    }

    /// The unfinished run that holds the lock of a cluster, if any.
    fn holder(&self, cluster: &str) -> Option<RunId> {
        let holder = self.locks.get(cluster)?;
        if self.damaged.contains(&Damaged::Lock(cluster.to_owned())) {
            // If the lock can't be read, its holder is the run that goes on.
            let goes = |entry: &&RunEntry| {
                let Run { snapshot, progress } = &entry.run;
                going_statuses().any(|status| status == progress.status)
                    && !entry.finished()
                    && snapshot.cluster == cluster
                    && snapshot.locks_cluster()
            };
            return self.runs.values().find(goes).map(|entry| entry.run.id());
        }
        self.runs.get(holder).is_some_and(|entry| !entry.finished()).then_some(*holder)
    }

    fn give(&mut self, cluster: String, run: RunId) {
        self.damaged.remove(&Damaged::Lock(cluster.clone()));
        self.locks.insert(cluster, run);
    }

    /// The runs that are queued for a cluster, oldest first.
    fn queued(&self, cluster: &str) -> impl Iterator<Item = RunId> {
        let waits = move |entry: &&RunEntry| {
            let RunEntry { run, .. } = entry;
            run.progress.status == RunStatus::Pending
                && run.snapshot.cluster == cluster
                && run.snapshot.locks_cluster()
        };
        self.runs.values().filter(waits).map(|entry| entry.run.id())
    }
}
