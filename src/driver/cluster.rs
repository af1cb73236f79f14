//! Waits for the lock of a cluster. The store gives the lock; this only decides when to ask for it.

use std::sync::Arc;

use super::committer::Committer;
use super::discovery::Following;
use super::guards;
use super::places::Place;
use super::queue::Queues;
use crate::run::{Input, ReasonCode, RunId, StatusReason};
use crate::store::{Locked, Queue};

/// What a run needs while it waits for its cluster.
pub(super) struct Waiting {
    pub(super) queues: Queues,
    pub(super) place: Arc<Place>,
    pub(super) cluster: String,
    /// The cluster, for a run that needs it for itself only while it has guards: its playbook allows other runs beside
    /// its own.
    pub(super) guarded: Option<Following>,
}

/// Waits until the run has the lock, or until there is something new to say about what it waits for. `told` is the
/// reason that was reported last.
///
/// # Flow
/// A run that was told nothing yet asks for the lock itself: mostly no other run comes before it. After that it
/// waits together with the other runs of this engine, and asks once it is its turn. It takes its place before it
/// asks, so that no run gets its cluster and then waits for an engine. A run that already has a place keeps it
/// until it turns out not to be its turn.
///
/// A run that waits because of guards alone is in nobody's queue, so it asks whenever the cluster is free. It waits no
/// longer once the guards are gone.
pub(super) async fn wait(
    waiting: Waiting,
    committer: Committer,
    told: Option<StatusReason>,
) -> Input {
    let Waiting { queues, place, cluster, mut guarded } = waiting;
    let run = committer.lease.run();
    if let Some(cluster) = &mut guarded
        && !guards::are_there(cluster).await
    {
        place.wait_for().await;
        return Input::ClusterFree;
    }
    // Join before asking, so that what happens after the answer is not missed.
    let mut queue = queues.join(&cluster);
    let mut ask = told.as_ref().is_none_or(|told| told.code != ReasonCode::ClusterBusy);
    loop {
        let locked = if ask {
            place.wait_for().await;
            take(&committer).await
        } else {
            let queue = queue.next().await;
            match &mut guarded {
                None => queue.place_of(run),
                Some(cluster) => {
                    if !guards::are_known_of(cluster) {
                        place.wait_for().await;
                        return Input::ClusterFree;
                    }
                    behind_holder(&queue, run)
                }
            }
        };
        match locked {
            Some(Locked::Held) if ask => return Input::ClusterFree,
            // It seems to be this run's turn; or the run is no longer queued, and then the answer says so.
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

/// Whether a run that is in no queue has to wait for another one, as far as is known without asking.
fn behind_holder(queue: &Queue, run: RunId) -> Option<Locked> {
    match queue.holder {
        Some(holder) if holder == run => Some(Locked::Held),
        Some(holder) => Some(Locked::Waits { run: holder, queued: 0 }),
        None => None,
    }
}

fn is_news(told: Option<&StatusReason>, holder: RunId, queued: u32) -> bool {
    told != Some(&StatusReason::cluster_busy(holder, queued))
}

/// Asks for the lock, once. Never returns if that failed for good: the lease is given up then.
pub(super) async fn take(committer: &Committer) -> Option<Locked> {
    let (run, epoch) = (committer.lease.run(), committer.lease.epoch());
    let store = committer.store.as_ref();
    match committer.until_answered(|| store.lock_cluster(run, epoch)).await {
        Ok(locked) => Some(locked),
        Err(error) => {
            // If the run was fenced, the engine that has it now goes on with it. Otherwise the run is set aside.
            tracing::warn!(%run, %error, "failed to ask for the lock of the cluster");
            committer.lease.give_up(error);
            std::future::pending().await
        }
    }
}
