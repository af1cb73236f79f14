//! A clock that a test sets.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use replibook_base::clock::{Clock, Steady, TokioClock};
use replibook_core::time::{Millis, Timestamp};

/// A clock that a test can set. Like a machine's clock it is held back so that it never runs backwards.
pub struct SetClock {
    clock: TokioClock,
    set: AtomicI64,
    steady: Mutex<Steady>,
}

impl SetClock {
    /// A clock that starts at `at` and goes on with the runtime's time.
    pub fn starting_at(at: Timestamp) -> Self {
        let (clock, steady) = (TokioClock::starting_at(at), Mutex::new(Steady::NEW));
        Self { clock, set: AtomicI64::new(0), steady }
    }

    /// Sets how many milliseconds the clock is ahead.
    pub fn set(&self, ahead: i64) {
        self.set.store(ahead, Ordering::Relaxed);
    }
}

#[async_trait]
impl Clock for SetClock {
    fn now(&self) -> Timestamp {
        let passed = i64::try_from(self.passed().0).unwrap_or(i64::MAX);
        let mut steady = self.steady.lock().unwrap_or_else(PoisonError::into_inner);
        Timestamp::from_millis(steady.show(self.wall().as_millis(), passed))
    }

    fn wall(&self) -> Timestamp {
        let set = self.set.load(Ordering::Relaxed);
        Timestamp::from_millis(self.clock.now().as_millis().saturating_add(set))
    }

    fn passed(&self) -> Millis {
        self.clock.passed()
    }

    async fn sleep(&self, length: Duration) {
        self.clock.sleep(length).await;
    }
}
