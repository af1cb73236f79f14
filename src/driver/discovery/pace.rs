//! Decides when a platform is asked next. It is pure, so that the simulator repeats it.

use sha2::{Digest as _, Sha256};

use crate::run::{Millis, Timestamp};

/// The wait after the first failure; each further wait is twice as long. So a platform that is just being
/// restarted is found soon, and one that is down is left alone.
const BACKOFF_START: Millis = Millis::from_secs(1);

/// The longest wait after a failure, unless the interval is longer. The end of an outage is noticed within this
/// time.
const BACKOFF_MAX: Millis = Millis::from_secs(60);

/// The shortest time between the end of one question and the next one, however long the platform took to answer.
const REST: Millis = Millis(250);

/// When a platform is asked next.
#[derive(Debug)]
pub(super) struct Pace {
    /// The name of the cluster. It makes the waits differ, so that not all clusters try again at the same moment.
    name: String,
    next: Timestamp,
    asked: Timestamp,
    /// When the last question ended, answered or not.
    ended: Timestamp,
    failures: u32,
}

impl Pace {
    pub(super) fn new(name: &str, now: Timestamp) -> Self {
        Self { name: name.to_owned(), next: now, asked: now, ended: now, failures: 0 }
    }

    /// When to ask next.
    pub(super) fn next(&self) -> Timestamp {
        self.next
    }

    /// Records that a question is asked.
    pub(super) fn asked(&mut self, now: Timestamp) {
        self.asked = now;
    }

    /// Records a good answer. The interval counts from question to question, so that a change is seen within the
    /// interval plus the time of an answer.
    pub(super) fn answered(&mut self, interval: Millis, now: Timestamp) {
        self.failures = 0;
        self.ended = now;
        self.next = self.asked.plus(interval).max(now.plus(REST));
    }

    /// Records a failure.
    pub(super) fn failed(&mut self, interval: Millis, now: Timestamp) {
        let most = BACKOFF_MAX.max(interval);
        let doubled = BACKOFF_START.0.saturating_mul(1 << self.failures.min(30)).min(most.0);
        self.failures = self.failures.saturating_add(1);
        // Between half of the doubled wait and all of it.
        let wait = doubled / 2 + doubled / 2 * u64::from(self.jitter()) / 256;
        self.ended = now;
        self.next = now.plus(Millis(wait));
    }

    /// Somebody waits for an answer: asks as soon as the platform has had its rest. Failures still count.
    pub(super) fn hurry(&mut self, now: Timestamp) {
        self.next = self.next.min(self.ended.plus(REST).max(now));
    }

    /// Somebody still waits after a bad answer: asks again soon.
    pub(super) fn try_soon(&mut self, now: Timestamp) {
        self.next = self.next.min(now.plus(BACKOFF_START));
    }

    /// The platform or its settings have changed: asks at once, and forgets earlier failures.
    pub(super) fn start_anew(&mut self, now: Timestamp) {
        (self.next, self.failures) = (now, 0);
    }

    /// Only has to differ between clusters and between failures. Since it depends on nothing else, each simulation
    /// gets the same value.
    fn jitter(&self) -> u8 {
        let digest = Sha256::digest(format!("{}/{}", self.name, self.failures));
        digest.first().copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_000_000);
    const INTERVAL: Millis = Millis::from_secs(10);

    #[test]
    fn intervals_are_from_question_to_question() {
        let mut pace = Pace::new("eu", NOW);
        assert_eq!(pace.next(), NOW);
        pace.asked(NOW);
        pace.answered(INTERVAL, NOW.plus(Millis(3_000)));
        assert_eq!(pace.next(), NOW.plus(INTERVAL));
        pace.asked(pace.next());
        let late = NOW.plus(Millis::from_secs(25));
        pace.answered(INTERVAL, late);
        assert_eq!(pace.next(), late.plus(REST), "a platform that is slow gets some rest");
    }

    #[test]
    fn after_failures_the_waits_grow_up_to_a_limit_and_differ() {
        let waits = |name: &str, interval| -> Vec<u64> {
            let mut pace = Pace::new(name, NOW);
            let wait = |_| {
                pace.failed(interval, NOW);
                pace.next().since(NOW).0
            };
            (0..12).map(wait).collect()
        };
        let eu = waits("eu", INTERVAL);
        for (wait, most) in eu.iter().zip([1, 2, 4, 8, 16, 32, 60, 60, 60, 60, 60, 60]) {
            assert!((most * 500..=most * 1_000).contains(wait), "{eu:?}");
        }
        assert_ne!(eu, waits("us", INTERVAL));
        let rare = waits("eu", Millis::from_secs(3_600));
        assert!(rare[11] >= 1_000_000, "{rare:?}");
        let mut pace = Pace::new("eu", NOW);
        pace.failed(INTERVAL, NOW);
        pace.answered(INTERVAL, NOW);
        pace.failed(INTERVAL, NOW);
        assert!(pace.next().since(NOW) <= BACKOFF_START, "an answer ends the row of failures");
    }

    #[test]
    fn who_waits_for_an_answer_is_not_kept_waiting_by_failures_before() {
        let mut pace = Pace::new("eu", NOW);
        (0..12).for_each(|_| pace.failed(INTERVAL, NOW));
        pace.hurry(NOW);
        assert_eq!(pace.next(), NOW.plus(REST));
        let late = NOW.plus(Millis::from_secs(5));
        pace.failed(INTERVAL, NOW);
        pace.hurry(late);
        assert_eq!(pace.next(), late);
        pace.failed(INTERVAL, late);
        assert!(pace.next().since(late).0 >= 30_000, "failures count on");
        pace.try_soon(late);
        assert_eq!(pace.next(), late.plus(BACKOFF_START));
    }
}
