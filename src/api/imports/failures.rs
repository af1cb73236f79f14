//! What failed a moment ago is not tried again: a registry is not asked over and over, and a plugin that takes a
//! minute to be refused takes it once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// The most failures that are remembered; of more, those are forgotten that have been remembered the longest.
const MAX_FAILURES: usize = 1_024;

/// Failures, each for some time. Cheap to clone.
#[derive(Clone, Debug)]
pub(in crate::api) struct Failures<T> {
    known: Arc<Mutex<HashMap<String, (T, Instant)>>>,
    kept: Duration,
}

impl<T: Clone> Failures<T> {
    /// Remembers each failure for `kept`.
    pub(super) fn new(kept: Duration) -> Self {
        Self { known: Arc::default(), kept }
    }

    /// Remembers why something failed.
    pub(super) fn remember(&self, key: &str, why: T) {
        let now = Instant::now();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, (_, until)| *until > now);
        if known.len() >= MAX_FAILURES {
            let oldest = known.iter().min_by_key(|(_, (_, until))| *until);
            if let Some(oldest) = oldest.map(|(key, _)| key.clone()) {
                known.remove(&oldest);
            }
        }
        known.insert(key.to_owned(), (why, now + self.kept));
    }

    /// Why it failed, if that was not long ago.
    pub(super) fn find(&self, key: &str) -> Option<T> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let (why, until) = known.get(key)?;
        (*until > Instant::now()).then(|| why.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn failures_are_remembered_for_a_while_and_not_without_end() {
        let failures = Failures::new(Duration::from_secs(30));
        failures.remember("first", 0);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!((failures.find("first"), failures.find("other")), (Some(0), None));
        for n in 1..=MAX_FAILURES {
            failures.remember(&format!("{n}"), n);
        }
        assert_eq!((failures.find("first"), failures.find("1")), (None, Some(1)));
        tokio::time::advance(Duration::from_secs(30)).await;
        assert_eq!(failures.find("1"), None);
    }
}
