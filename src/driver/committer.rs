//! From transitions to commits: as many in one as fit, tried again until the store answers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rand::Rng as _;

use super::lease::LeaseGuard;
use crate::clock::Clock;
use crate::run::{Transition, Writes};
use crate::store::{MAX_COMMIT_DOCUMENTS, Store, StoreError};

/// The first wait after a store that did not answer.
const BACKOFF_START: Duration = Duration::from_millis(50);

/// The longest wait between two tries: an outage that ends is noticed within this.
const BACKOFF_MAX: Duration = Duration::from_secs(5);

/// Commits the writes of one run.
pub(super) struct Committer {
    pub(super) store: Arc<dyn Store>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) lease: LeaseGuard,
}

impl Committer {
    /// Commits the writes of `transitions` in order, in as few commits as the bounds allow.
    ///
    /// # Errors
    /// [`StoreError`] that another try would not mend; the run must be given up then. A store that
    /// does not answer is no error: it is tried until it does, or until the lease is lost.
    ///
    /// Whether there was anything to commit.
    pub(super) async fn commit(&self, transitions: &mut [Transition]) -> Result<bool, StoreError> {
        let mut group: Vec<Writes> = Vec::new();
        let mut documents = 0;
        let mut anything = false;
        for transition in transitions {
            let writes = std::mem::take(&mut transition.writes);
            if writes.is_empty() {
                continue;
            }
            if documents + writes.documents() > MAX_COMMIT_DOCUMENTS && !group.is_empty() {
                self.commit_group(std::mem::take(&mut group)).await?;
                documents = 0;
            }
            documents += writes.documents();
            anything = true;
            group.push(writes);
        }
        if !group.is_empty() {
            self.commit_group(group).await?;
        }
        Ok(anything)
    }

    async fn commit_group(&self, group: Vec<Writes>) -> Result<(), StoreError> {
        match self.write(&merge(&group)).await {
            Err(StoreError::TooLarge { .. }) if group.len() > 1 => {
                // Together they are too many bytes; each alone fits, by the limits of the core.
                for writes in group {
                    self.write(&writes).await?;
                }
                Ok(())
            }
            other => other,
        }
    }

    async fn write(&self, writes: &Writes) -> Result<(), StoreError> {
        let (run, epoch) = (self.lease.run(), self.lease.epoch());
        self.until_answered(|| self.store.commit(run, epoch, writes)).await
    }

    /// Calls the store until it answers. Once the lease is lost the last error is returned.
    pub(super) async fn until_answered<T, F, C>(&self, call: C) -> Result<T, StoreError>
    where
        C: Fn() -> F,
        F: Future<Output = Result<T, StoreError>>,
    {
        let mut wait = BACKOFF_START;
        loop {
            match call().await {
                Err(error) if error.retryable() && !self.lease.is_lost() => {
                    tracing::warn!(run = %self.lease.run(), %error, "store does not answer");
                    let jitter = rand::rng().random_range(0.5..1.0);
                    self.clock.sleep(wait.mul_f64(jitter)).await;
                    wait = (wait * 2).min(BACKOFF_MAX);
                }
                other => return other,
            }
        }
    }
}

/// One commit for several: of each document the last version, all events and lines.
fn merge(group: &[Writes]) -> Writes {
    let mut merged = Writes::default();
    let mut records = BTreeMap::new();
    let mut journals = BTreeMap::new();
    for writes in group {
        merged.progress.clone_from(&writes.progress);
        records.extend(writes.records.iter().map(|record| (record.seq, record)));
        journals.extend(writes.journals.iter().map(|journal| (journal.key, journal)));
        merged.logs.extend_from_slice(&writes.logs);
        merged.events.extend_from_slice(&writes.events);
        merged.commands.extend_from_slice(&writes.commands);
    }
    merged.records = records.into_values().cloned().collect();
    merged.journals = journals.into_values().cloned().collect();
    merged
}
