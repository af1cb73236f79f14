//! Runs whose secrets this engine can't read. It leaves them to engines that can, for a while: the secrets may come.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::run::{Millis, RunId, Timestamp};

/// How long a run is left alone. After that it is looked at again, which costs loading it.
const LEFT_FOR: Millis = Millis::from_secs(10);

/// The most runs that are remembered. A claim names each of them to the store.
const REMEMBERED: usize = 200;

/// The runs that are left to other engines, and until when.
#[derive(Debug, Default)]
pub(super) struct Lacking(Mutex<BTreeMap<RunId, Timestamp>>);

impl Lacking {
    /// Leaves a run to others from now on.
    pub(super) fn note(&self, run: RunId, now: Timestamp) {
        let mut runs = self.lock();
        if runs.len() < REMEMBERED {
            runs.insert(run, now.plus(LEFT_FOR));
        }
    }

    /// The runs that are left to others at this moment.
    pub(super) fn runs(&self, now: Timestamp) -> Vec<RunId> {
        let mut runs = self.lock();
        // A clock that was set back must not make them wait for longer.
        runs.retain(|_, until| now < *until && until.since(now) <= LEFT_FOR);
        runs.keys().copied().collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<RunId, Timestamp>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_run_is_left_for_a_while_and_not_too_many_are() {
        let lacking = Lacking::default();
        let at = |seconds: i64| Timestamp::from_millis(seconds * 1_000);
        let run = |number: u128| RunId(Uuid::from_u128(number));
        lacking.note(run(1), at(100));
        assert_eq!(lacking.runs(at(109)), [run(1)]);
        assert_eq!(lacking.runs(at(110)), []);
        lacking.note(run(1), at(100));
        assert_eq!(lacking.runs(at(50)), [], "the clock was set back");
        for number in 0..1_000 {
            lacking.note(run(number), at(100));
        }
        assert_eq!(lacking.runs(at(100)).len(), REMEMBERED);
    }
}
