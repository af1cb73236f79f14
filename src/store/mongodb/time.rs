//! Which clock counts.
//!
//! The server decides about leases, with `$$NOW` in the very update that takes or prolongs one, so that engines
//! whose clocks differ agree. Filters (what has expired, which leases may be free) compare with an estimate of the
//! server's time, which is renewed whenever leases are. It need not be exact. Filters can't use the server's clock
//! itself, because an index can be searched for a value, but not for a clock.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mongodb::bson::{Bson, DateTime};

use crate::time::Skew;
use replibook_base::clock::{Clock, Steady};
use replibook_core::run::{Millis, Timestamp};

/// Which clock decides about leases, and about what has expired.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TimeSource {
    /// The server's clock.
    #[default]
    Server,
    /// The clock that the store was given, for tests that make time pass. TTL indexes remove nothing then, since
    /// the server does not know that clock.
    Clock,
}

/// Our estimate of the server's time: what the server last said, plus the time that has passed here since.
pub(super) struct ServerTime {
    source: TimeSource,
    clock: Arc<dyn Clock>,
    known: Mutex<Known>,
}

struct Known {
    /// How many milliseconds the server's time is ahead of the time that has passed here. None before the server
    /// was asked. Our own clock plays no part, since somebody may set it.
    ahead: Option<i64>,
    /// Keeps the time that is shown going when the server's clock is set back, or when another server is asked.
    steady: Steady,
}

impl ServerTime {
    pub(super) fn new(source: TimeSource, clock: Arc<dyn Clock>) -> Self {
        let known = Mutex::new(Known { ahead: None, steady: Steady::NEW });
        Self { source, clock, known }
    }

    /// Our own clock.
    pub(super) fn here(&self) -> Timestamp {
        self.clock.now()
    }

    /// The time that has passed here, for [`learn`](Self::learn).
    pub(super) fn passed(&self) -> Millis {
        self.clock.passed()
    }

    /// The server's time, by our estimate.
    pub(super) fn there(&self) -> Timestamp {
        self.reckon(&self.lock())
    }

    /// The same, for measuring how far our own clock is off. Before the server was asked, that is not at all.
    pub(super) fn wall(&self) -> Timestamp {
        let ahead = self.lock().ahead;
        ahead.map_or_else(|| self.clock.wall(), |_| self.there())
    }

    /// The same, for everything that is stored: it never goes back.
    pub(super) fn shown(&self) -> Timestamp {
        let mut known = self.lock();
        let there = self.reckon(&known).as_millis();
        Timestamp::from_millis(known.steady.show(there, millis(self.passed())))
    }

    fn reckon(&self, known: &Known) -> Timestamp {
        match known.ahead {
            Some(ahead) => Timestamp::from_millis(millis(self.passed()).saturating_add(ahead)),
            None => self.here(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Learns that the server's time was `there` at some moment between `asked` and now. The estimate is only
    /// changed as far as it does not fit that: a slow answer says little, and must not move time.
    pub(super) fn learn(&self, asked: Millis, there: DateTime) {
        if let Some(moved) = self.take_notice(asked, there) {
            // Worth a warning: waits that go by the store's time end early or late because of it.
            tracing::warn!(
                "the clock of MongoDB is {moved} what it was a moment ago: it was set, or another member with \
                 another clock is the primary; time in runs follows it, and never goes back"
            );
        }
    }

    /// Changes the estimate. Returns by how much, if that is worth a line in the log.
    fn take_notice(&self, asked: Millis, there: DateTime) -> Option<Skew> {
        if self.source == TimeSource::Clock {
            return None;
        }
        let (asked, answered) = (millis(asked), millis(self.passed()));
        let there = there.timestamp_millis();
        let (least, most) = (there.saturating_sub(answered), there.saturating_sub(asked));
        let mut known = self.lock();
        let before = known.ahead.unwrap_or(least.midpoint(most));
        let ahead = before.clamp(least, most.max(least));
        known.ahead = Some(ahead);
        Some(Skew::from_millis(ahead.saturating_sub(before))).filter(|moved| moved.is_told())
    }

    /// The present moment, as the server works it out while it changes a document.
    pub(super) fn now(&self) -> Bson {
        match self.source {
            TimeSource::Server => Bson::String("$$NOW".to_owned()),
            TimeSource::Clock => date(self.here()),
        }
    }
}

/// A length as a number that has a sign.
fn millis(length: Millis) -> i64 {
    i64::try_from(length.0).unwrap_or(i64::MAX)
}

/// A moment in its stored form.
pub(super) fn date(moment: Timestamp) -> Bson {
    Bson::DateTime(DateTime::from_millis(moment.as_millis()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use replibook_base::clock::TokioClock;
    use replibook_kit::SetClock;

    const START: Timestamp = Timestamp::from_millis(1_000_000);

    #[tokio::test(start_paused = true)]
    async fn the_servers_time_is_reckoned_from_the_middle_of_the_question() {
        let clock = Arc::new(TokioClock::starting_at(START));
        let time = ServerTime::new(TimeSource::Server, clock.clone());
        assert_eq!(time.there(), START);
        let asked = time.passed();
        clock.sleep(Millis(200).to_std()).await;
        time.learn(asked, DateTime::from_millis(5_000_100));
        assert_eq!(time.there(), Timestamp::from_millis(5_000_200));
        assert_eq!(time.now(), Bson::String("$$NOW".to_owned()));

        let time = ServerTime::new(TimeSource::Clock, clock);
        time.learn(asked, DateTime::from_millis(0));
        assert_eq!(time.there(), START.plus(Millis(200)));
        assert_eq!(time.now(), date(START.plus(Millis(200))));
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_answer_that_fits_what_is_known_moves_nothing() {
        let clock = Arc::new(TokioClock::starting_at(START));
        let time = ServerTime::new(TimeSource::Server, clock.clone());
        time.learn(time.passed(), DateTime::from_millis(5_000_000));
        let asked = time.passed();
        clock.sleep(Millis(4_000).to_std()).await;
        // The server read its clock at once, but the answer came late.
        time.learn(asked, DateTime::from_millis(5_000_000));
        assert_eq!(time.there(), Timestamp::from_millis(5_004_000));
        // An answer that does not fit moves the estimate as little as possible.
        let asked = time.passed();
        clock.sleep(Millis(100).to_std()).await;
        time.learn(asked, DateTime::from_millis(5_004_300));
        assert_eq!(time.there(), Timestamp::from_millis(5_004_300));
    }

    #[tokio::test(start_paused = true)]
    async fn the_time_that_is_shown_never_goes_back_and_catches_up() {
        let clock = Arc::new(TokioClock::starting_at(START));
        let time = ServerTime::new(TimeSource::Server, clock.clone());
        time.learn(time.passed(), DateTime::from_millis(5_000_000));
        let before = time.shown();
        // Another member has become the primary, and its clock is behind.
        time.learn(time.passed(), DateTime::from_millis(4_990_000));
        assert_eq!(time.there(), Timestamp::from_millis(4_990_000));
        assert_eq!(time.shown(), before);
        clock.sleep(Millis::from_secs(400).to_std()).await;
        assert_eq!(time.shown(), time.there());
    }

    #[tokio::test(start_paused = true)]
    async fn time_that_is_moved_by_more_than_some_seconds_is_worth_a_word() {
        let clock = Arc::new(TokioClock::starting_at(START));
        let time = ServerTime::new(TimeSource::Server, clock.clone());
        let learn = |there: i64| {
            let moved = time.take_notice(time.passed(), DateTime::from_millis(there));
            moved.map(Skew::as_millis)
        };
        // The time that was shown before the server was asked was not the server's.
        assert_eq!(learn(5_000_000), None);
        assert_eq!([learn(5_005_000), learn(5_010_001)], [None, Some(5_001)]);
        assert_eq!([learn(5_010_001), learn(5_000_000)], [None, Some(-10_001)]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_is_put_forward_moves_no_time_of_the_server() {
        let clock = Arc::new(SetClock::starting_at(START));
        let time = ServerTime::new(TimeSource::Server, clock.clone());
        time.learn(time.passed(), DateTime::from_millis(5_000_000));
        clock.set(3_600_000);
        clock.sleep(Millis(70).to_std()).await;
        assert_eq!(time.shown(), Timestamp::from_millis(5_000_070));
    }
    #[tokio::test(start_paused = true)]
    async fn what_was_mended_is_off_no_more_however_long_time_is_held_back() {
        let clock = Arc::new(SetClock::starting_at(START));
        let time = ServerTime::new(TimeSource::Server, clock.clone());
        let off = || clock.wall().as_millis() - time.wall().as_millis();
        // Our own clock is corrected.
        clock.set(3_600_000);
        time.learn(time.passed(), DateTime::from_millis(START.as_millis()));
        assert_eq!((off(), clock.now()), (3_600_000, START.plus(Millis(3_600_000))));
        clock.set(0);
        assert_eq!((off(), clock.now()), (0, START.plus(Millis(3_600_000))));
        // The clock of the primary was ahead, and another member has become the primary.
        time.learn(time.passed(), DateTime::from_millis(START.as_millis() + 300_000));
        assert_eq!((off(), time.shown()), (-300_000, START.plus(Millis(300_000))));
        time.learn(time.passed(), DateTime::from_millis(START.as_millis()));
        assert_eq!((off(), time.shown()), (0, START.plus(Millis(300_000))));
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_off_before_the_server_was_asked() {
        let clock = Arc::new(SetClock::starting_at(START));
        let time = ServerTime::new(TimeSource::Server, clock.clone());
        clock.set(3_600_000);
        assert_eq!(time.shown(), clock.now());
        clock.set(0);
        assert_eq!(time.wall(), clock.wall());
    }
}
