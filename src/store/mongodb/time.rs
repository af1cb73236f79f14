//! Whose time counts.
//!
//! Leases are decided by the server: `$$NOW` in the very update that takes or prolongs one, so that
//! engines whose clocks differ agree. What filters compare with (what has expired, which leases
//! may be free) is a reckoning of the server's time, made anew with every renewal: it need not be
//! exact, since an index can be searched for a number and not for a clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use mongodb::bson::{Bson, DateTime};

use crate::clock::Clock;
use crate::run::Timestamp;

/// Whose time counts for leases and for what has expired.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TimeSource {
    /// The server's.
    #[default]
    Server,
    /// That of the clock the store was given: for tests that make time pass. Nothing is removed by
    /// TTL indexes then, since the server knows nothing of that clock.
    Clock,
}

/// The server's time, as far as we know it.
pub(super) struct ServerTime {
    source: TimeSource,
    clock: Arc<dyn Clock>,
    /// Milliseconds from our clock to the server's.
    ahead: AtomicI64,
}

impl ServerTime {
    pub(super) fn new(source: TimeSource, clock: Arc<dyn Clock>) -> Self {
        Self { source, clock, ahead: AtomicI64::new(0) }
    }

    /// Our own clock.
    pub(super) fn here(&self) -> Timestamp {
        self.clock.now()
    }

    /// The server's time by our reckoning.
    pub(super) fn there(&self) -> Timestamp {
        let ahead = self.ahead.load(Ordering::Relaxed);
        Timestamp::from_millis(self.here().as_millis().saturating_add(ahead))
    }

    /// Takes notice that the server's time was `there` between `asked` and now.
    pub(super) fn learn(&self, asked: Timestamp, there: DateTime) {
        if self.source == TimeSource::Clock {
            return;
        }
        let (asked, answered) = (asked.as_millis(), self.here().as_millis());
        let between = asked.saturating_add(answered.saturating_sub(asked) / 2);
        self.ahead.store(there.timestamp_millis().saturating_sub(between), Ordering::Relaxed);
    }

    /// The present moment, for the server to work out while it changes a document.
    pub(super) fn now(&self) -> Bson {
        match self.source {
            TimeSource::Server => Bson::String("$$NOW".to_owned()),
            TimeSource::Clock => date(self.here()),
        }
    }
}

/// A moment as it is kept.
pub(super) fn date(moment: Timestamp) -> Bson {
    Bson::DateTime(DateTime::from_millis(moment.as_millis()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::TokioClock;
    use crate::run::Millis;

    #[tokio::test(start_paused = true)]
    async fn the_servers_time_is_reckoned_from_the_middle_of_the_question() {
        let start = Timestamp::from_millis(1_000_000);
        let clock = Arc::new(TokioClock::starting_at(start));
        let time = ServerTime::new(TimeSource::Server, clock.clone());
        assert_eq!(time.there(), start);
        clock.sleep(Millis(200).to_std()).await;
        time.learn(start, DateTime::from_millis(5_000_100));
        assert_eq!(time.there(), Timestamp::from_millis(5_000_200));
        assert_eq!(time.now(), Bson::String("$$NOW".to_owned()));

        let time = ServerTime::new(TimeSource::Clock, clock);
        time.learn(start, DateTime::from_millis(0));
        assert_eq!(time.there(), start.plus(Millis(200)));
        assert_eq!(time.now(), date(start.plus(Millis(200))));
    }
}
