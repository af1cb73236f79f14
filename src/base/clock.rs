//! Where time comes from. A clock is passed to whoever needs one, so that tests and the simulator can make their
//! own time.

use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;

use replibook_core::run::{Millis, Timestamp};

#[cfg(feature = "faults")]
pub use crate::clock_offset::TestOffset;

/// A source of time.
#[async_trait]
pub trait Clock: Send + Sync + 'static {
    /// The present moment. It never goes back while the process lives, so the difference between two successive
    /// answers is the time that passed between them.
    fn now(&self) -> Timestamp;

    /// What the underlying clock says, even just after it was set back. Only for measuring how far it is off; for
    /// everything else, use [`now`](Self::now).
    fn wall(&self) -> Timestamp {
        self.now()
    }

    /// The time since some fixed moment in the past, by a clock that nobody sets. The difference between two
    /// answers is the time that passed, even if [`now`](Self::now) was put forward in between.
    fn passed(&self) -> Millis {
        Millis(self.now().as_millis().unsigned_abs())
    }

    /// Returns after `length`.
    async fn sleep(&self, length: Duration);
}

/// Returns at the moment `at`, never before it. It asks the clock again after each sleep, because a clock that is
/// catching up runs slower than the timer that wakes us.
pub async fn sleep_until(clock: &dyn Clock, at: Timestamp) {
    loop {
        let rest = at.since(clock.now());
        if rest == Millis(0) {
            return;
        }
        clock.sleep(rest.to_std()).await;
    }
}

/// The machine's own clock, made monotonic. When the machine's clock is set back, this one goes on, a little
/// slower, until the two agree again: a timer, a lease or a retention must not wait through an hour that happens
/// twice.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

/// One for the whole process, because the machine has one clock.
static STEADY: Mutex<Steady> = Mutex::new(Steady::NEW);

#[async_trait]
impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let passed = i64::try_from(self.passed().0).unwrap_or(i64::MAX);
        let wall = wall();
        let mut steady = STEADY.lock().unwrap_or_else(PoisonError::into_inner);
        let shown = steady.show(wall, passed);
        let ahead = shown.saturating_sub(wall);
        if steady.has_to_tell(ahead) {
            // Log without the lock: others may be waiting to know what time it is.
            drop(steady);
            tracing::warn!(
                "the machine's clock was set back by about {} s; time goes on as before here, a \
                 little slower until the two agree",
                ahead / 1_000
            );
        }
        Timestamp::from_millis(shown)
    }

    fn wall(&self) -> Timestamp {
        Timestamp::from_millis(wall())
    }

    fn passed(&self) -> Millis {
        static START: LazyLock<Instant> = LazyLock::new(Instant::now);
        Millis(u64::try_from(START.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    async fn sleep(&self, length: Duration) {
        tokio::time::sleep(length).await;
    }
}

/// Milliseconds since the Unix epoch, as the machine's clock says.
fn wall() -> i64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let millis = i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX);
    #[cfg(feature = "faults")]
    let millis = millis.saturating_add(TestOffset::read());
    millis
}

/// Turns two readings into a time that never goes back: the machine's clock, which may go back, and the time that
/// passed by a clock that nobody sets. Both are in milliseconds.
#[derive(Debug)]
pub struct Steady {
    /// What was shown when the machine's clock was last right, in milliseconds since the Unix epoch.
    shown: i64,
    /// How much time had passed by then.
    passed: i64,
    /// Whether it has been logged that the machine's clock is behind.
    told: bool,
}

impl Steady {
    /// While the machine's clock is behind, one millisecond in this many is left out. That catches up, yet makes a
    /// lease of 15 seconds less than half a second longer, well within its reserve.
    const SLOWER: i64 = 32;

    /// How many milliseconds the machine's clock has to be behind to be worth a line in the log.
    const WORTH_A_WORD: i64 = 1_000;

    /// The state before anything was shown.
    pub const NEW: Self = Self { shown: i64::MIN, passed: 0, told: false };

    /// What to show when the machine's clock says `wall` and `passed` has passed.
    pub fn show(&mut self, wall: i64, passed: i64) -> i64 {
        let since = passed.saturating_sub(self.passed);
        let steady = self.shown.saturating_add(since - since / Self::SLOWER);
        if wall < steady {
            return steady;
        }
        *self = Self { shown: wall, passed, told: false };
        wall
    }

    /// Whether to log, once each time, that the machine's clock is `ahead` milliseconds behind what is shown.
    fn has_to_tell(&mut self, ahead: i64) -> bool {
        let has_to_tell = !self.told && ahead > Self::WORTH_A_WORD;
        self.told |= has_to_tell;
        has_to_tell
    }
}

/// A clock that follows tokio's. While tokio's time is paused, this clock stands still until every task waits,
/// then jumps to the next timer. For tests and the simulator.
#[derive(Clone, Copy, Debug)]
pub struct TokioClock {
    start: tokio::time::Instant,
    at: Timestamp,
}

impl TokioClock {
    /// A clock that shows `at` now.
    pub fn starting_at(at: Timestamp) -> Self {
        Self { start: tokio::time::Instant::now(), at }
    }
}

#[async_trait]
impl Clock for TokioClock {
    fn now(&self) -> Timestamp {
        let passed = i64::try_from(self.start.elapsed().as_millis()).unwrap_or(i64::MAX);
        Timestamp::from_millis(self.at.as_millis().saturating_add(passed))
    }

    async fn sleep(&self, length: Duration) {
        tokio::time::sleep(length).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Milliseconds.
    const HOUR: i64 = 3_600_000;

    #[test]
    fn a_clock_that_is_right_is_shown_as_it_is() {
        let mut steady = Steady::NEW;
        for second in 0..100 {
            assert_eq!(steady.show(HOUR + second * 1_000, second * 1_000), HOUR + second * 1_000);
        }
        // The machine slept, or its clock was put forward.
        assert_eq!(steady.show(9 * HOUR, 100_000), 9 * HOUR);
    }

    #[test]
    fn a_clock_that_is_set_back_is_caught_up_with_and_time_never_goes_back() {
        let mut steady = Steady::NEW;
        assert_eq!(steady.show(10 * HOUR, 0), 10 * HOUR);
        let (mut last, mut agreed) = (10 * HOUR, None);
        for passed in (0..48 * HOUR).step_by(60_000) {
            let wall = 9 * HOUR + passed;
            let shown = steady.show(wall, passed);
            assert!(shown >= last && shown >= wall, "{shown} after {last}");
            // No timer is late by more than a thirtieth.
            assert!(shown - 10 * HOUR >= passed - passed / 30 || shown == wall, "{shown} {passed}");
            last = shown;
            if shown == wall {
                agreed.get_or_insert(passed);
            }
        }
        assert!(agreed.is_some_and(|after| (31 * HOUR..33 * HOUR).contains(&after)), "{agreed:?}");
    }

    #[test]
    fn a_clock_that_is_behind_is_said_once_each_time() {
        let mut steady = Steady::NEW;
        let mut told = |wall, passed| {
            let shown = steady.show(wall, passed);
            steady.has_to_tell(shown - wall)
        };
        assert!(!told(10 * HOUR, 0));
        // The small corrections of an ordinary day.
        assert!(!told(10 * HOUR - 500, 0));
        assert!(told(9 * HOUR, 0));
        assert!(!told(9 * HOUR + 10, 10));
        assert!(!told(11 * HOUR, 20));
        assert!(told(10 * HOUR, 30));
    }

    #[test]
    fn the_systems_clock_goes_on() {
        let first = SystemClock.now();
        assert!(first > Timestamp::from_millis(1_700_000_000_000));
        assert!(SystemClock.now() >= first);
    }
}
