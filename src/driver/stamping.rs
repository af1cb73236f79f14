//! What is done to many documents of a run: it takes several writes, each under the lease of the run.

use super::committer::Committer;
use crate::run::{Input, OldLines, Timestamp};
use replibook_base::crash::{self, Point};

/// Removes old lines from the log, in several writes.
pub(super) async fn forget(committer: Committer, lines: Vec<OldLines>) -> Input {
    let (run, epoch) = (committer.lease.run(), committer.lease.epoch());
    for old in &lines {
        loop {
            match committer.until_answered(|| committer.store.forget_lines(run, epoch, old)).await {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(%run, %error, "failed to remove lines from the log of the run");
                    committer.lease.give_up(error);
                    return std::future::pending().await;
                }
            }
        }
    }
    Input::Forgotten(lines)
}

/// Writes the moment at which the run finished to all its records, in several writes.
pub(super) async fn stamp(committer: Committer, at: Timestamp) -> Input {
    let (run, epoch) = (committer.lease.run(), committer.lease.epoch());
    loop {
        crash::pass(Point::Stamp);
        match committer.until_answered(|| committer.store.stamp(run, epoch, at)).await {
            Ok(0) => return Input::Stamped,
            Ok(_) => {}
            Err(error) => {
                // If the run was fenced, the engine that has it now goes on with it. Otherwise the run is set
                // aside.
                tracing::warn!(%run, %error, "failed to stamp the records of the run");
                committer.lease.give_up(error);
                return std::future::pending().await;
            }
        }
    }
}
