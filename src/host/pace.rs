//! How fast a plugin is: plugins that take long run where they don't hold up others.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::limits::{SLOW_CALL, SLOW_TIME};

/// Whether a plugin took long lately.
pub(super) struct Pace {
    since: Instant,
    /// Until when the plugin counts as slow, in milliseconds after `since`.
    slow_until: AtomicU64,
}

impl Pace {
    pub(super) fn new() -> Self {
        Self { since: Instant::now(), slow_until: AtomicU64::new(0) }
    }

    /// Notes the CPU time of one call.
    pub(super) fn took(&self, cpu: Duration) {
        self.took_at(cpu, self.since.elapsed());
    }

    /// Whether a call of [`SLOW_CALL`] or more ended within the last [`SLOW_TIME`].
    pub(super) fn is_slow(&self) -> bool {
        self.is_slow_at(self.since.elapsed())
    }

    fn took_at(&self, cpu: Duration, now: Duration) {
        if cpu >= SLOW_CALL {
            self.slow_until.fetch_max(millis(now + SLOW_TIME), Ordering::Relaxed);
        }
    }

    fn is_slow_at(&self, now: Duration) -> bool {
        millis(now) < self.slow_until.load(Ordering::Relaxed)
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plugin_is_slow_for_a_while_after_a_slow_call() {
        let (pace, second) = (Pace::new(), Duration::from_secs(1));
        pace.took_at(SLOW_CALL - Duration::from_millis(1), second);
        assert!(!pace.is_slow_at(second));
        pace.took_at(SLOW_CALL, second);
        // Quick calls in between make no difference.
        pace.took_at(Duration::ZERO, second * 2);
        assert!(pace.is_slow_at(SLOW_TIME));
        assert!(!pace.is_slow_at(second + SLOW_TIME));
    }
}
