//! The time of a run: the store's time, which is the same for all engines, but which never goes back within a run.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::clock::Clock;
use crate::run::{Loaded, Millis, RunEvent, Timestamp};

/// A clock that is a fixed length ahead of another one.
struct RunClock {
    clock: Arc<dyn Clock>,
    ahead: Millis,
}

#[async_trait]
impl Clock for RunClock {
    fn now(&self) -> Timestamp {
        self.clock.now().plus(self.ahead)
    }

    fn passed(&self) -> Millis {
        self.clock.passed()
    }

    async fn sleep(&self, length: Duration) {
        self.clock.sleep(length).await;
    }
}

/// The clock for a run whose last known moment is `last`. If `clock` is behind that, because the store's clock was
/// set back or an engine of an earlier version went by its own clock, the result is put forward. Otherwise
/// whatever is due in the run would wait for as long as the clock is behind, and its events would be out of order.
pub(super) fn not_before(clock: Arc<dyn Clock>, last: Timestamp) -> Arc<dyn Clock> {
    let ahead = last.since(clock.now());
    if ahead == Millis(0) { clock } else { Arc::new(RunClock { clock, ahead }) }
}

/// The last moment that the loaded part of a run knows of; `event` is its last event.
pub(super) fn last_moment(loaded: &Loaded, event: Option<&RunEvent>) -> Timestamp {
    let Loaded { run, journals, .. } = loaded;
    let answers = journals.iter().filter_map(|journal| journal.answers.last()).map(|a| a.at);
    let calls = journals.iter().filter_map(|journal| journal.pending.as_ref()).map(|p| p.at);
    let others = [run.snapshot.created_at, run.progress.since];
    let events = event.into_iter().map(|event| event.at);
    others.into_iter().chain(events).chain(answers).chain(calls).max().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::TokioClock;

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_is_behind_is_put_forward_and_one_that_is_not_is_left_alone() {
        let hour = Millis::from_secs(3_600);
        let start = Timestamp::from_millis(1_700_000_000_000);
        let clock: Arc<dyn Clock> = Arc::new(TokioClock::starting_at(start));
        let same = not_before(clock.clone(), start);
        assert!(Arc::ptr_eq(&same, &clock));
        let ahead = not_before(clock.clone(), start.plus(hour));
        assert_eq!(ahead.now(), start.plus(hour));
        ahead.sleep(hour.to_std()).await;
        assert_eq!(clock.now(), start.plus(hour));
        assert_eq!(ahead.now(), start.plus(hour).plus(hour));
    }
}
