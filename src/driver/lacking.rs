//! Runs whose secrets this engine can't read, or whose cluster it has no credentials for. It leaves them to engines that
//! can, for a while: what is lacking may come.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::run::{Millis, RunId, Timestamp};

/// How long a run is left alone. After that it is looked at again, which costs loading it.
const LEFT_FOR: Millis = Millis::from_secs(10);

/// The most runs that are remembered. A claim names each of them to the store.
const REMEMBERED: usize = 200;

/// The runs that are left to other engines, and until when.
#[derive(Debug, Default)]
pub(super) struct Lacking(Mutex<Runs>);

#[derive(Debug, Default)]
struct Runs {
    left: BTreeMap<RunId, Timestamp>,
    /// Runs of which the log says already what is lacking. Of more than may be remembered it says it again.
    told: BTreeSet<RunId>,
    /// Whether other engines take runs.
    others: bool,
}

impl Lacking {
    /// Leaves a run to others from now on.
    pub(super) fn note(&self, run: RunId, now: Timestamp) {
        let mut runs = self.lock();
        if runs.left.len() < REMEMBERED {
            runs.left.insert(run, now.plus(LEFT_FOR));
        }
    }

    /// The runs that are left to others at this moment.
    pub(super) fn runs(&self, now: Timestamp) -> Vec<RunId> {
        let mut runs = self.lock();
        runs.forget(now);
        runs.left.keys().copied().collect()
    }

    /// Notes whether other engines take runs, by what engines last reported.
    pub(super) fn others(&self, take_runs: bool) {
        self.lock().others = take_runs;
    }

    /// Whether there are others to which a run can be given that goes on here.
    pub(super) fn has_others(&self) -> bool {
        self.lock().others
    }

    /// Whether one more run can be left to others now. One that can't be is claimed again at once.
    pub(super) fn has_room(&self, now: Timestamp) -> bool {
        let mut runs = self.lock();
        runs.forget(now);
        runs.left.len() < REMEMBERED
    }

    /// Whether it has to be said what this engine lacks for a run: it is said once.
    pub(super) fn is_new(&self, run: RunId) -> bool {
        let mut runs = self.lock();
        let is_new = runs.told.insert(run);
        if runs.told.len() > REMEMBERED {
            runs.told.retain(|told| *told == run);
        }
        is_new
    }

    /// The engine lacks nothing for the run any more.
    pub(super) fn found(&self, run: RunId) {
        self.lock().told.remove(&run);
    }

    fn lock(&self) -> MutexGuard<'_, Runs> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Runs {
    fn forget(&mut self, now: Timestamp) {
        // A clock that was set back must not make them wait for longer.
        self.left.retain(|_, until| now < *until && until.since(now) <= LEFT_FOR);
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
        assert!(!lacking.has_room(at(109)) && lacking.has_room(at(110)));
    }

    #[test]
    fn that_a_secret_is_lacking_is_said_once_until_it_is_found() {
        let lacking = Lacking::default();
        let run = |number: u128| RunId(Uuid::from_u128(number));
        assert!(lacking.is_new(run(1)) && !lacking.is_new(run(1)) && lacking.is_new(run(2)));
        lacking.found(run(1));
        assert!(lacking.is_new(run(1)) && !lacking.is_new(run(2)));
        for number in 0..1_000 {
            lacking.is_new(run(number));
        }
        assert!(lacking.lock().told.len() <= REMEMBERED);
    }
}
