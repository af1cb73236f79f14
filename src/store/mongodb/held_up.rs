//! Runs that can't be claimed because a transaction of somebody else has them.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use uuid::Uuid;

/// The longest that such a run is passed by before it is tried again: as long as it has been held up so far.
/// Most transactions take milliseconds, and the others end with their sessions.
const REST: Duration = Duration::from_secs(1);

/// How long a run may be held up until the sessions of all other stores are ended: longer than a commit of
/// one that is alive takes, which only has to be made again then.
const LONG: Duration = Duration::from_secs(6);

/// What was not held up for so long is forgotten. So no more are kept than are tried in this time.
const FORGOTTEN: Duration = Duration::from_secs(10);

/// The runs that are held up.
#[derive(Default)]
pub(super) struct HeldUp(Mutex<BTreeMap<Uuid, Since>>);

struct Since {
    first: Instant,
    last: Instant,
}

impl HeldUp {
    /// Those that are passed by now.
    pub(super) fn resting(&self, now: Instant) -> Vec<Uuid> {
        let mut runs = self.lock();
        runs.retain(|_, since| now.saturating_duration_since(since.last) < FORGOTTEN);
        let rests = |since: &Since| {
            let held_up = since.last.saturating_duration_since(since.first);
            now.saturating_duration_since(since.last) < held_up.min(REST)
        };
        runs.iter().filter(|(_, since)| rests(since)).map(|(run, _)| *run).collect()
    }

    /// Takes notice that these could not be claimed.
    pub(super) fn note(&self, held_up: &[Uuid], now: Instant) {
        let mut runs = self.lock();
        for run in held_up {
            runs.entry(*run).or_insert(Since { first: now, last: now }).last = now;
        }
    }

    /// Whether one of them has been held up for long. The next time is as long after this one.
    pub(super) fn is_long(&self, now: Instant) -> bool {
        let mut is_long = false;
        for since in self.lock().values_mut() {
            if since.last.saturating_duration_since(since.first) >= LONG {
                since.first = now;
                is_long = true;
            }
        }
        is_long
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Uuid, Since>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_that_is_held_up_is_passed_by_for_a_while_and_said_to_be_so_for_long() {
        let (held_up, start, run) = (HeldUp::default(), Instant::now(), Uuid::from_u128(1));
        assert!(held_up.resting(start).is_empty());
        held_up.note(&[run], start);
        assert!(held_up.resting(start).is_empty(), "mostly it is over at once");
        for seconds in 1..6 {
            let now = start + Duration::from_secs(seconds);
            assert!(!held_up.is_long(now));
            held_up.note(&[run], now);
            assert_eq!(held_up.resting(now + REST / 2), [run]);
            assert!(held_up.resting(now + REST).is_empty());
        }
        let late = start + LONG;
        held_up.note(&[run], late);
        assert!(held_up.is_long(late) && !held_up.is_long(late));
        held_up.resting(late + FORGOTTEN);
        assert!(held_up.lock().is_empty());
    }
}
