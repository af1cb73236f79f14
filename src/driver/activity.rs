//! What an engine did, as counters for a monitoring system.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::run::Timestamp;
use crate::store::EngineReport;

/// An engine that works, but could not write its report to the store.
#[derive(Clone, Debug)]
pub struct Unwritten {
    /// The report that it could not write.
    pub report: EngineReport,
    /// When writing first failed after it last succeeded.
    pub since: Timestamp,
    /// Why it failed, as human-readable text.
    pub why: String,
}

/// What an engine has done since it was started. All engines of a process may share one.
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
        /// Runs that the engine claimed and that no other engine had.
        claim claimed;
        /// Runs that the engine claimed from an engine that was gone.
        take_over taken_over;
        /// Runs that the engine gave back, for whatever reason.
        release released;
        /// Runs that the engine gave back so that others take them: it was drained, or had more than its share.
        hand_over handed_over;
        /// Runs that the engine gave back because they only wait for a person.
        park parked;
        /// How often the task that drives a run panicked.
        panic panicked;
    }

    /// For an engine that has this many runs and has done nothing yet.
    #[cfg(test)]
    pub(crate) fn with_leases(leases: usize) -> Self {
        let activity = Self::default();
        activity.hold(leases);
        activity
    }

    pub(super) fn hold(&self, leases: usize) {
        self.leases.store(leases as u64, Ordering::Relaxed);
    }

    /// Records whether an engine could write its report: `failure` says why it could not.
    pub(super) fn beat(&self, report: EngineReport, now: Timestamp, failure: Option<String>) {
        let mut unwritten = self.unwritten.lock().unwrap_or_else(PoisonError::into_inner);
        let since = unwritten.as_ref().map_or(now, |before| before.since);
        *unwritten = failure.map(|why| Unwritten { report, since, why });
    }

    /// The report of this process's engine while it can't be written. Other engines don't know of this one then.
    pub fn unwritten(&self) -> Option<Unwritten> {
        self.unwritten.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many runs the engine has now.
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
