//! Waiting for the lock of a cluster, which the store gives.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast;

use super::World;
use super::committer::Committer;
use super::places::Place;
use crate::run::{Input, RunId, StatusReason};
use crate::store::Locked;

/// How soon a run that waits asks again at first: a person hardly notices.
const LOOK: Duration = Duration::from_millis(250);

/// The longest that the run which is next leaves between two questions. Engines in other processes
/// can't wake it, so this is how long a cluster may stand idle.
const LOOK_MAX: Duration = Duration::from_secs(2);

/// The longest that any run leaves between two questions, however many are before it: a thousand that
/// wait ask a hundred questions a second.
const LOOK_FAR_MAX: Duration = Duration::from_secs(10);

/// Asks for the lock until the run has it, or until there is something new to say about what it waits
/// for; `told` is what was said last. It takes its place before it asks, so that no run gets its cluster and then
/// waits for an engine.
pub(super) async fn wait(
    world: World,
    committer: Committer,
    place: Arc<Place>,
    told: Option<StatusReason>,
) -> Input {
    let (run, epoch) = (committer.lease.run(), committer.lease.epoch());
    let store = committer.store.as_ref();
    let mut pause = LOOK;
    loop {
        // Before the question: whoever ends after the answer is heard.
        let ends = world.signals.listen_to_ends();
        place.wait_for(world.clock.as_ref()).await;
        let locked = committer.until_answered(|| store.lock_cluster(run, epoch)).await;
        let (holder, queued) = match locked {
            Ok(Locked::Held) => return Input::ClusterFree,
            Ok(Locked::Waits { run, queued }) => {
                place.give_back();
                (run, queued)
            }
            Err(error) => {
                // If it was fenced, the engine that has the run now goes on with it. Otherwise it is
                // set aside.
                tracing::warn!(%run, %error, "failed to ask for the lock of the cluster");
                committer.lease.give_up(error);
                return std::future::pending().await;
            }
        };
        if told != Some(StatusReason::cluster_busy(holder, queued)) {
            return Input::ClusterBusy { holder, queued };
        }
        tokio::select! {
            biased;
            () = world.clock.sleep(pause) => {}
            () = end_of(holder, ends) => {}
        }
        pause = next_pause(pause, queued);
    }
}

/// Twice as long each time, up to what fits the place in the queue: who is far back can't be next.
fn next_pause(pause: Duration, queued: u32) -> Duration {
    let longest = LOOK_MAX.saturating_mul(queued.saturating_add(1)).min(LOOK_FAR_MAX);
    pause.saturating_mul(2).min(longest)
}

/// Returns when this process has ended the run, or when it may have.
async fn end_of(run: RunId, mut ends: broadcast::Receiver<RunId>) {
    loop {
        match ends.recv().await {
            Ok(ended) if ended != run => {}
            Ok(_) | Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::Signals;
    use uuid::Uuid;

    #[test]
    fn pauses_grow_up_to_what_fits_the_place_in_the_queue() {
        let grown = |queued| (0..20).fold(LOOK, |pause, _| next_pause(pause, queued));
        assert_eq!(next_pause(LOOK, 0), LOOK * 2);
        assert_eq!(grown(0), LOOK_MAX);
        assert_eq!(grown(2), LOOK_MAX * 3);
        assert_eq!([grown(100), grown(u32::MAX)], [LOOK_FAR_MAX; 2]);
    }

    #[tokio::test]
    async fn only_the_end_that_is_waited_for_is_heard_and_one_that_may_have_been_missed() {
        let signals = Signals::new();
        let [run, other] = [1, 2].map(|n| RunId(Uuid::from_u128(n)));
        let heard = async |ended: &[RunId]| {
            let ends = signals.listen_to_ends();
            ended.iter().for_each(|run| signals.ended(*run));
            futures::poll!(std::pin::pin!(end_of(run, ends))).is_ready()
        };
        assert!(!heard(&[]).await);
        assert!(!heard(&[other]).await);
        assert!(heard(&[other, run]).await);
        assert!(heard(&[other; 100]).await);
    }
}
