//! How often somebody may ask, and how often somebody may be wrong about who they are.

use std::fmt;
use std::hash::Hash;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use governor::clock::Clock as GovernorClock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};

use super::identity::Subject;
use crate::clock::Clock;

/// How many requests of one identity are answered per second in the long run. A console that follows a dozen runs asks a
/// few dozen times; whoever asks ten times as often keeps others from their answers.
pub const REQUESTS_PER_SECOND: NonZeroU32 = at_least_one(1_000);

/// How many requests of one identity are answered at once, after a silence: a script that looks at every agent of a
/// large run, in some pieces.
pub const REQUESTS_AT_ONCE: NonZeroU32 = at_least_one(4_000);

/// How many times per minute a client may be wrong about who they are, in the long run. Somebody who tries a few old
/// tokens never notices, and what is guessed this slowly is never found.
pub const FAILURES_PER_MINUTE: NonZeroU32 = at_least_one(12);

/// How many times a client may be wrong at once: a program whose token has just expired asks several times side by side.
pub const FAILURES_AT_ONCE: NonZeroU32 = at_least_one(30);

/// How many refusals per minute of one identity the audit has, in the long run: enough to see who tries what, and not enough
/// to fill a disk.
pub const REFUSALS_PER_MINUTE: NonZeroU32 = at_least_one(60);

/// How many refusals of one identity the audit has at once: somebody may try every route there is.
pub const REFUSALS_AT_ONCE: NonZeroU32 = at_least_one(200);

const fn at_least_one(number: u32) -> NonZeroU32 {
    match NonZeroU32::new(number) {
        Some(number) => number,
        None => NonZeroU32::MIN,
    }
}

/// After how many questions those are forgotten who have not asked for long. Until then each takes a few dozen bytes.
const FORGET_AFTER: u32 = 4_096;

/// Counts how often each asks. A client is whoever can be told apart from others by their address.
pub struct AccessLimits<C: Clone + Eq + Hash> {
    clock: OurClock,
    requests: Keyed<Subject>,
    failures: Keyed<C>,
    refusals: Keyed<Subject>,
    asked: AtomicU32,
}

type Keyed<K> = RateLimiter<K, HashMapStateStore<K>, OurClock, NoOpMiddleware<Nanos>>;

impl<C: Clone + Eq + Hash> AccessLimits<C> {
    /// Nobody has asked yet. Of `clock` only counts how much time passes.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        let clock = OurClock(clock);
        let requests = Quota::per_second(REQUESTS_PER_SECOND).allow_burst(REQUESTS_AT_ONCE);
        let failures = Quota::per_minute(FAILURES_PER_MINUTE).allow_burst(FAILURES_AT_ONCE);
        let refusals = Quota::per_minute(REFUSALS_PER_MINUTE).allow_burst(REFUSALS_AT_ONCE);
        Self {
            refusals: RateLimiter::new(refusals, HashMapStateStore::default(), clock.clone()),
            requests: RateLimiter::new(requests, HashMapStateStore::default(), clock.clone()),
            failures: RateLimiter::new(failures, HashMapStateStore::default(), clock.clone()),
            clock,
            asked: AtomicU32::new(0),
        }
    }

    /// Somebody asks. `Err` is how long they have to wait before they may.
    ///
    /// # Errors
    /// They have asked too often.
    pub fn ask(&self, who: &Subject) -> Result<(), Duration> {
        self.forget();
        let asked = self.requests.check_key(who);
        asked.map_err(|not| not.wait_time_from(self.clock.now()))
    }

    /// A client was wrong about who they are. `Err` is how long nothing of them is looked at any more.
    ///
    /// # Errors
    /// They were wrong too often.
    pub fn fail(&self, client: &C) -> Result<(), Duration> {
        self.forget();
        let failed = self.failures.check_key(client);
        failed.map_err(|not| not.wait_time_from(self.clock.now()))
    }

    /// Whether the audit has room for another refusal of somebody.
    pub fn may_note_refusal(&self, who: &Subject) -> bool {
        self.forget();
        self.refusals.check_key(who).is_ok()
    }

    fn forget(&self) {
        if self.asked.fetch_add(1, Ordering::Relaxed) % FORGET_AFTER == FORGET_AFTER - 1 {
            self.requests.retain_recent();
            self.failures.retain_recent();
            self.refusals.retain_recent();
        }
    }
}

impl<C: Clone + Eq + Hash> fmt::Debug for AccessLimits<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessLimits").finish_non_exhaustive()
    }
}

/// Our clock, as the limits want one.
#[derive(Clone)]
struct OurClock(Arc<dyn Clock>);

impl GovernorClock for OurClock {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        Nanos::from(self.0.passed().to_std())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::TokioClock;
    use crate::run::Timestamp;

    #[tokio::test(start_paused = true)]
    async fn whoever_asks_too_often_waits_and_nobody_else_does() {
        let clock = Arc::new(TokioClock::starting_at(Timestamp::from_millis(0)));
        let limits: AccessLimits<u8> = AccessLimits::new(clock.clone());
        let (ci, cd) = (Subject::Token("ci".to_owned()), Subject::Token("cd".to_owned()));
        for _ in 0..REQUESTS_AT_ONCE.get() {
            assert!(limits.ask(&ci).is_ok());
        }
        let wait = limits.ask(&ci).unwrap_err();
        assert!(wait > Duration::ZERO && wait <= Duration::from_millis(1), "{wait:?}");
        assert!(limits.ask(&cd).is_ok());
        clock.sleep(Duration::from_secs(1)).await;
        let more = (0..2 * REQUESTS_PER_SECOND.get()).filter(|_| limits.ask(&ci).is_ok());
        assert_eq!(more.count(), REQUESTS_PER_SECOND.get() as usize);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_is_wrong_too_often_is_not_listened_to_for_a_while() {
        let clock = Arc::new(TokioClock::starting_at(Timestamp::from_millis(0)));
        let limits: AccessLimits<u8> = AccessLimits::new(clock.clone());
        for _ in 0..FAILURES_AT_ONCE.get() {
            assert!(limits.fail(&1).is_ok());
        }
        let wait = limits.fail(&1).unwrap_err();
        assert_eq!(wait, Duration::from_secs(60) / FAILURES_PER_MINUTE.get());
        assert!(limits.fail(&2).is_ok());
        clock.sleep(wait).await;
        assert!(limits.fail(&1).is_ok() && limits.fail(&1).is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_is_refused_all_the_time_does_not_fill_the_audit() {
        let clock = Arc::new(TokioClock::starting_at(Timestamp::from_millis(0)));
        let limits: AccessLimits<u8> = AccessLimits::new(clock.clone());
        let (ci, cd) = (Subject::Token("ci".to_owned()), Subject::Token("cd".to_owned()));
        let noted = (0..1_000).filter(|_| limits.may_note_refusal(&ci)).count();
        assert_eq!(noted, REFUSALS_AT_ONCE.get() as usize);
        assert!(limits.may_note_refusal(&cd));
        clock.sleep(Duration::from_secs(60)).await;
        let noted = (0..1_000).filter(|_| limits.may_note_refusal(&ci)).count();
        assert_eq!(noted, REFUSALS_PER_MINUTE.get() as usize);
    }

    #[tokio::test(start_paused = true)]
    async fn those_who_have_not_asked_for_long_are_forgotten() {
        let clock = Arc::new(TokioClock::starting_at(Timestamp::from_millis(0)));
        let limits: AccessLimits<u32> = AccessLimits::new(clock.clone());
        for client in 0..FORGET_AFTER - 1 {
            assert!(limits.fail(&client).is_ok());
        }
        clock.sleep(Duration::from_secs(600)).await;
        assert!(limits.fail(&FORGET_AFTER).is_ok());
        assert!(limits.failures.len() <= 1, "{}", limits.failures.len());
    }
}
