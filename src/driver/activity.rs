//! What an engine did, in numbers for a monitoring system.

use std::sync::atomic::{AtomicU64, Ordering};

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

    /// Runs that it has now.
    pub fn leases(&self) -> u64 {
        self.leases.load(Ordering::Relaxed)
    }
}
