//! Whether an answer has begun to arrive. Whoever waits for an answer has less patience before it begins than
//! while it arrives, and only the code that reads bodies knows which of the two is the case.

use std::time::Duration;

use tokio::sync::watch;

use crate::clock::Clock;

tokio::task_local! {
    /// Where the calls of this task report that an answer is arriving.
    static HEARD: watch::Sender<bool>;
}

/// Reports, for as long as it exists, that an answer is arriving.
pub(crate) struct Coming(());

impl Coming {
    /// To be called when the beginning of an answer has arrived.
    pub(crate) fn begins() -> Self {
        tell(true);
        Self(())
    }
}

impl Drop for Coming {
    fn drop(&mut self) {
        tell(false);
    }
}

fn tell(coming: bool) {
    // Nobody may have asked to be told.
    let _ = HEARD.try_with(|heard| heard.send_replace(coming));
}

/// Makes calls to an agent or a platform, and returns `None` when an answer does not begin within `limit`,
/// which counts for each call anew. How slowly an answer may come after its beginning is decided by the client.
/// `heard` shows whether an answer is arriving.
pub(crate) async fn begun_within<T>(
    clock: &dyn Clock,
    limit: Duration,
    heard: watch::Sender<bool>,
    calls: impl Future<Output = T>,
) -> Option<T> {
    let mut changes = heard.subscribe();
    let calls = HEARD.scope(heard, calls);
    tokio::pin!(calls);
    loop {
        let coming = *changes.borrow_and_update();
        tokio::select! {
            biased;
            answer = &mut calls => return Some(answer),
            _ = changes.changed() => {}
            () = clock.sleep(limit), if !coming => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::TokioClock;
    use crate::run::Timestamp;

    const LIMIT: Duration = Duration::from_secs(3);

    fn clock() -> TokioClock {
        TokioClock::starting_at(Timestamp::from_millis(0))
    }

    async fn asked<T>(calls: impl Future<Output = T>) -> Option<T> {
        begun_within(&clock(), LIMIT, watch::Sender::new(false), calls).await
    }

    async fn answer(begins: u64, takes: u64) {
        clock().sleep(Duration::from_millis(begins)).await;
        let _coming = Coming::begins();
        clock().sleep(Duration::from_millis(takes)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn only_the_beginning_of_an_answer_has_to_be_there_in_time() {
        assert_eq!(asked(answer(2_900, 60_000)).await, Some(()));
        assert_eq!(asked(answer(3_100, 0)).await, None);
        let one_after_the_other = async {
            answer(2_000, 5_000).await;
            answer(2_000, 5_000).await;
        };
        assert_eq!(asked(one_after_the_other).await, Some(()));
        let never_ends = async {
            answer(2_000, 5_000).await;
            answer(60_000, 0).await;
        };
        let start = tokio::time::Instant::now();
        assert_eq!(asked(never_ends).await, None);
        assert_eq!(start.elapsed(), Duration::from_secs(10));
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_tell_has_to_be_through_in_time() {
        assert_eq!(asked(clock().sleep(Duration::from_secs(2))).await, Some(()));
        assert_eq!(asked(clock().sleep(Duration::from_secs(4))).await, None);
    }
}
