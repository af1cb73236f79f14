//! The clock that a store decides with, and how far a machine's own clock is off it. Engines on machines whose
//! clocks differ must agree on the time in runs.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::contract::Store;
use replibook_base::clock::Clock;
use replibook_core::mutant;
use replibook_core::run::{Millis, Timestamp};

/// The store's clock. Everything that is written to the store takes its time from here.
#[derive(Clone)]
pub struct StoreClock {
    store: Arc<dyn Store>,
    /// The clock that the store was given. Sleeping goes by this one.
    own: Arc<dyn Clock>,
}

impl StoreClock {
    /// The clock of `store`. `own` is the clock that the store was given.
    pub fn new(store: Arc<dyn Store>, own: Arc<dyn Clock>) -> Self {
        Self { store, own }
    }
}

#[async_trait]
impl Clock for StoreClock {
    fn now(&self) -> Timestamp {
        if mutant!(OwnTime) { self.own.now() } else { self.store.time() }
    }

    fn passed(&self) -> Millis {
        self.own.passed()
    }

    async fn sleep(&self, length: Duration) {
        self.own.sleep(length).await;
    }
}

/// How far the clock of a machine is off the one that its store decides with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Skew {
    /// In milliseconds. Positive: the machine's clock is ahead.
    millis: i64,
}

impl Skew {
    /// Beyond this, the skew is logged. Clocks of well-kept machines differ by milliseconds, and the estimate of a
    /// slow store's clock is off by less than the seconds that an answer may take.
    pub const TOLD: Millis = Millis::from_secs(5);

    /// Beyond this, an engine takes up no run. Nothing in a run goes by the machine's clock, but such a clock is
    /// out of order: certificates, and what agents and logs say, no longer fit the history of runs.
    pub const MOST: Millis = Millis::from_secs(60);

    /// The skew of `clock`, which is the clock that `store` was given. It compares what both clocks really show,
    /// since the time that they give out is held back for hours after they were set back, even if they are right
    /// by then.
    pub fn of(store: &dyn Store, clock: &dyn Clock) -> Self {
        let (own, there) = (clock.wall().as_millis(), store.wall().as_millis());
        Self::from_millis(own.saturating_sub(there))
    }

    /// A skew in milliseconds. Positive: the machine's clock is ahead.
    pub const fn from_millis(millis: i64) -> Self {
        Self { millis }
    }

    /// In milliseconds. Positive: the machine's clock is ahead.
    pub const fn as_millis(self) -> i64 {
        self.millis
    }

    /// The size of the skew, whichever clock is ahead.
    pub const fn size(self) -> Millis {
        Millis(self.millis.unsigned_abs())
    }

    /// Whether the skew is worth a line in the log.
    pub fn is_told(self) -> bool {
        self.size() > Self::TOLD
    }

    /// Whether an engine with such a skew takes up no run.
    pub fn is_too_large(self) -> bool {
        self.size() > Self::MOST
    }
}

/// Human-readable, as in "the clock of this machine is `3.2 s ahead of` the store's".
impl fmt::Display for Skew {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.size().0 as f64 / 1_000.0;
        let way = if self.millis < 0 { "behind" } else { "ahead of" };
        write!(f, "{seconds:.1} s {way}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{MemoryStore, StoreOptions};
    use replibook_kit::SetClock;

    #[test]
    fn a_skew_is_said_past_one_bound_and_too_large_past_another() {
        let told = |millis| {
            let skew = Skew::from_millis(millis);
            (skew.is_told(), skew.is_too_large())
        };
        assert_eq!(told(0), (false, false));
        assert_eq!([told(5_000), told(-5_000)], [(false, false); 2]);
        assert_eq!([told(5_001), told(-5_001)], [(true, false); 2]);
        assert_eq!([told(60_000), told(-60_000)], [(true, false); 2]);
        assert_eq!([told(60_001), told(i64::MIN)], [(true, true); 2]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_was_mended_is_off_no_more() {
        let clock = |ahead| {
            let clock = Arc::new(SetClock::starting_at(Timestamp::from_millis(1_000_000)));
            clock.set(ahead);
            assert_eq!(clock.now(), clock.wall());
            clock
        };
        let (there, own) = (clock(0), clock(3_600_000));
        let store = MemoryStore::new(StoreOptions::default(), there.clone());
        let off = |own: &SetClock| Skew::of(&store, own).as_millis();
        assert_eq!(off(&own), 3_600_000);
        own.set(0);
        assert_eq!(off(&own), 0, "it shows the time that it showed");
        // A store that goes by the machine's own clock agrees with it, whatever that was set to.
        there.set(7_200_000);
        assert_eq!((off(&there), off(&own)), (0, -7_200_000));
        assert_eq!(store.time(), there.wall());
        there.set(0);
        assert_eq!((off(&there), off(&own)), (0, 0));
    }

    #[test]
    fn a_skew_is_said_in_words() {
        assert_eq!(Skew::from_millis(3_600_000).to_string(), "3600.0 s ahead of");
        assert_eq!(Skew::from_millis(-5_250).to_string(), "5.2 s behind");
    }
}
