//! Where time comes from: injected, so that tests and the simulator make their own.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;

use crate::run::Timestamp;

/// A source of time.
#[async_trait]
pub trait Clock: Send + Sync + 'static {
    /// The present moment.
    fn now(&self) -> Timestamp;

    /// Returns after `length`.
    async fn sleep(&self, length: Duration);
}

/// The machine's own clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

#[async_trait]
impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_millis(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
    }

    async fn sleep(&self, length: Duration) {
        tokio::time::sleep(length).await;
    }
}

/// A clock that follows tokio's: with tokio's time paused it stands still until everything waits,
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
