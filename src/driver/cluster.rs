//! Waiting for the lock of a cluster, which the store gives.

use std::sync::Arc;

use super::committer::Committer;
use super::places::Place;
use super::queue::Queues;
use crate::run::{Input, ReasonCode, RunId, StatusReason};
use crate::store::Locked;

/// Where a run waits for its cluster.
pub(super) struct Waiting {
    pub(super) queues: Queues,
    pub(super) place: Arc<Place>,
    pub(super) cluster: String,
}

/// Waits until the run has the lock, or until there is something new to say about what it waits for;
/// `told` is what was said last.
///
/// # Flow
/// A run that was told nothing yet asks for itself: mostly nobody comes before it. After that it waits
/// with all the others of this engine, and asks once it is its turn. It takes its place before it asks, so
/// that no run gets its cluster and then waits for an engine. One that comes with a place keeps it until it is
/// known not to be its turn.
pub(super) async fn wait(
    waiting: Waiting,
    committer: Committer,
    told: Option<StatusReason>,
) -> Input {
    let Waiting { queues, place, cluster } = waiting;
    let run = committer.lease.run();
    // Before the question: what happens after the answer is heard.
    let mut queue = queues.join(&cluster);
    let mut ask = told.as_ref().is_none_or(|told| told.code != ReasonCode::ClusterBusy);
    loop {
        let locked = if ask {
            place.wait_for().await;
            take(&committer).await
        } else {
            queue.next().await.place_of(run)
        };
        match locked {
            Some(Locked::Held) if ask => return Input::ClusterFree,
            // It seems to be its turn; or it is not queued any more, which the answer will say.
            Some(Locked::Held) | None => ask = true,
            Some(Locked::Waits { run: holder, queued }) => {
                place.give_back();
                if is_news(told.as_ref(), holder, queued) {
                    return Input::ClusterBusy { holder, queued };
                }
                ask = false;
            }
        }
    }
}

fn is_news(told: Option<&StatusReason>, holder: RunId, queued: u32) -> bool {
    told != Some(&StatusReason::cluster_busy(holder, queued))
}

/// Asks for the lock.
async fn take(committer: &Committer) -> Option<Locked> {
    let (run, epoch) = (committer.lease.run(), committer.lease.epoch());
    let store = committer.store.as_ref();
    match committer.until_answered(|| store.lock_cluster(run, epoch)).await {
        Ok(locked) => Some(locked),
        Err(error) => {
            // If it was fenced, the engine that has the run now goes on with it. Otherwise it is set
            // aside.
            tracing::warn!(%run, %error, "failed to ask for the lock of the cluster");
            committer.lease.give_up(error);
            std::future::pending().await
        }
    }
}
