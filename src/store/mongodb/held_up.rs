//! Runs that can't be claimed because somebody else's transaction has written to them. They are passed over for a
//! while, so that one stuck transaction does not keep the engine from claiming other runs.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use uuid::Uuid;

/// The longest time that such a run is passed over before it is tried again; up to this, as long as it has been
/// held up so far. Most transactions take milliseconds; the others end with their sessions.
const REST: Duration = Duration::from_secs(1);

/// How long a run may be held up until the sessions of all other stores are ended. Longer than a commit of a
/// living store takes; if one is hit all the same, it only has to be made again.
const LONG: Duration = Duration::from_secs(6);

/// A run that was not held up for this long is forgotten. So no more runs are kept than are tried within this
/// time.
const FORGOTTEN: Duration = Duration::from_secs(10);

/// The runs that are held up at the moment.
#[derive(Default)]
pub(super) struct HeldUp(Mutex<BTreeMap<Uuid, Since>>);

struct Since {
    first: Instant,
    last: Instant,
}

impl HeldUp {
    /// The runs that are to be passed over now.
    pub(super) fn resting(&self, now: Instant) -> Vec<Uuid> {
        let mut runs = self.lock();
        runs.retain(|_, since| now.saturating_duration_since(since.last) < FORGOTTEN);
        let rests = |since: &Since| {
            let held_up = since.last.saturating_duration_since(since.first);
            now.saturating_duration_since(since.last) < held_up.min(REST)
        };
        runs.iter().filter(|(_, since)| rests(since)).map(|(run, _)| *run).collect()
    }

    /// Records that these runs could not be claimed.
    pub(super) fn note(&self, held_up: &[Uuid], now: Instant) {
        let mut runs = self.lock();
        for run in held_up {
            runs.entry(*run).or_insert(Since { first: now, last: now }).last = now;
        }
    }

    /// Whether one of the runs has been held up for long. After that its time starts again.
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
