//! The settings of every back end: how long things are kept, and how long a lease lasts.

use super::engines::ENGINE_KEPT;
use super::retention::Keeping;
use super::upkeep::DEFAULT_PLUGIN_RETENTION;
use replibook_core::run::{Millis, Timestamp};

/// How long a finished run is kept by default: long enough to look into last month's maintenance.
pub const DEFAULT_RETENTION: Millis = Millis::from_secs(30 * 24 * 60 * 60);

/// How long a lease lasts by default. An engine may miss several renewals; yet the runs of an engine that died are
/// taken over before people notice.
pub const DEFAULT_LEASE: Millis = Millis::from_secs(15);

/// How often an engine renews its leases: several times within the life of a lease.
pub const RENEWAL: Millis = Millis::from_secs(4);

/// Settings that all back ends have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreOptions {
    /// How long the records of a run are kept, from its `finish_ts`.
    pub retention: Millis,
    /// How this retention is reconciled with the one that the store has already.
    pub keeping: Keeping,
    /// How long a plugin is kept that nothing pins.
    pub plugin_retention: Millis,
    /// How that retention is reconciled with the one that the store has already.
    pub plugin_keeping: Keeping,
    /// How long a lease lasts unless it is renewed.
    pub lease: Millis,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            retention: DEFAULT_RETENTION,
            keeping: Keeping::default(),
            plugin_retention: DEFAULT_PLUGIN_RETENTION,
            plugin_keeping: Keeping::default(),
            lease: DEFAULT_LEASE,
        }
    }
}

impl StoreOptions {
    /// These settings applied to the moment `now`.
    pub(super) fn at(&self, now: Timestamp) -> Moment {
        let millis = |length: Millis| i64::try_from(length.0).unwrap_or(i64::MAX);
        let before =
            |length| Timestamp::from_millis(now.as_millis().saturating_sub(millis(length)));
        Moment {
            now,
            cutoff: before(self.retention),
            plugins_cutoff: before(self.plugin_retention),
            lease_until: Timestamp::from_millis(now.as_millis().saturating_add(millis(self.lease))),
            engines_since: before(ENGINE_KEPT),
        }
    }
}

/// The moment of one call to a store, and the deadlines that follow from it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    /// The present, by the clock that the store decides with.
    pub(super) now: Timestamp,
    /// Documents whose run finished before this have expired.
    pub(super) cutoff: Timestamp,
    /// Plugins whose retention began before this go.
    pub(super) plugins_cutoff: Timestamp,
    /// When a lease that is taken or renewed now expires.
    pub(super) lease_until: Timestamp,
    /// An engine that has not reported since then is no longer listed.
    pub(super) engines_since: Timestamp,
}

impl Moment {
    /// Whether at least half of the retention is left for what finished at this moment.
    pub(super) fn is_recent(&self, finish_ts: Timestamp) -> bool {
        self.now.since(finish_ts) <= finish_ts.since(self.cutoff)
    }

    /// Whether readers still see a document with this `finish_ts`.
    pub(super) fn shows(&self, finish_ts: Option<Timestamp>) -> bool {
        finish_ts.is_none_or(|finish_ts| finish_ts >= self.cutoff)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_expires_when_the_retention_has_passed_and_not_before() {
        let options =
            StoreOptions { retention: Millis(100), lease: Millis(10), ..StoreOptions::default() };
        let finished = Some(Timestamp::from_millis(1_000));
        assert!(options.at(Timestamp::from_millis(1_100)).shows(finished));
        assert!(!options.at(Timestamp::from_millis(1_101)).shows(finished));
        assert!(options.at(Timestamp::from_millis(i64::MAX)).shows(None));
    }

    #[test]
    fn what_finished_is_recent_for_half_of_the_retention() {
        let options =
            StoreOptions { retention: Millis(100), lease: Millis(10), ..StoreOptions::default() };
        let is_recent =
            |now| options.at(Timestamp::from_millis(now)).is_recent(Timestamp::from_millis(1_000));
        assert_eq!(
            [1_000, 1_050, 1_051, 1_101, i64::MAX].map(is_recent),
            [true, true, false, false, false]
        );
    }

    #[test]
    fn lengths_past_the_end_of_time_are_held_there() {
        let options = StoreOptions {
            retention: Millis(u64::MAX),
            lease: Millis(u64::MAX),
            ..StoreOptions::default()
        };
        let moment = options.at(Timestamp::from_millis(5));
        assert!(moment.shows(Some(Timestamp::from_millis(0))));
        assert_eq!(moment.lease_until, Timestamp::from_millis(i64::MAX));
    }
}
