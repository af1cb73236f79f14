//! What an engine did, in numbers for a monitoring system.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::run::Timestamp;
use crate::store::EngineReport;

/// An engine that goes on, but could not write to the store what it says of itself.
#[derive(Clone, Debug)]
pub struct Unwritten {
    /// What it says.
    pub report: EngineReport,
    /// When it failed first, since it succeeded last.
    pub since: Timestamp,
    /// Why.
    pub why: String,
}

/// What an engine did since it was started. All engines of a process may share one.
#[derive(Debug, Default)]
pub struct Activity {
    leases: AtomicU64,
    claimed: AtomicU64,
    taken_over: AtomicU64,
    released: AtomicU64,
    handed_over: AtomicU64,
    parked: AtomicU64,
    panicked: AtomicU64,
    unwritten: Mutex<Option<Unwritten>>,
}

macro_rules! counts {
    ($($(#[$what:meta])* $count:ident $read:ident;)*) => {
        $(
            pub(super) fn $count(&self) {
                self.$read.fetch_add(1, Ordering::Relaxed);
            }

            $(#[$what])*
            pub fn $read(&self) -> u64 {
                self.$read.load(Ordering::Relaxed)
            }
        )*
    };
}

impl Activity {
    counts! {
        /// Runs that it claimed and that no engine had.
        claim claimed;
        /// Runs that it claimed and whose engine was gone.
        take_over taken_over;
        /// Runs that it gave back, whatever for.
        release released;
        /// Runs that it gave back so that others have them: it was drained, or had more than its share.
        hand_over handed_over;
        /// Runs that it gave back because they only wait for a person.
        park parked;
        /// How often what drives a run panicked.
        panic panicked;
    }

    /// What an engine with so many runs did that did nothing yet.
    #[cfg(test)]
    pub(crate) fn with_leases(leases: usize) -> Self {
        let activity = Self::default();
        activity.hold(leases);
        activity
    }

    pub(super) fn hold(&self, leases: usize) {
        self.leases.store(leases as u64, Ordering::Relaxed);
    }

    /// Takes notice of whether an engine could write what it says of itself.
    pub(super) fn beat(&self, report: EngineReport, now: Timestamp, failure: Option<String>) {
        let mut unwritten = self.unwritten.lock().unwrap_or_else(PoisonError::into_inner);
        let since = unwritten.as_ref().map_or(now, |before| before.since);
        *unwritten = failure.map(|why| Unwritten { report, since, why });
    }

    /// What the engine of this process says of itself, where it could not write that. Others don't know of it then.
    pub fn unwritten(&self) -> Option<Unwritten> {
        self.unwritten.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Runs that it has now.
    pub fn leases(&self) -> u64 {
        self.leases.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::report;
    use super::*;

    #[test]
    fn an_engine_that_can_not_write_is_known_from_its_first_failure_to_its_next_success() {
        let activity = Activity::default();
        let at = Timestamp::from_millis;
        let report = |runs| report("a", runs, 9);
        activity.beat(report(1), at(1), None);
        assert!(activity.unwritten().is_none());
        for n in [2, 3] {
            activity.beat(report(n), at(n.into()), Some(format!("full {n}")));
        }
        let Unwritten { report: last, since, why } = activity.unwritten().unwrap();
        assert_eq!((last.runs, since, why.as_str()), (3, at(2), "full 3"));
        activity.beat(report(4), at(4), None);
        assert!(activity.unwritten().is_none());
    }
}
