//! Runs that are taken up beyond the places of an engine, since a command for them has come: it is done what was asked
//! of them, and nothing begins for which there is no place.

use std::time::Duration;

use super::run_driver::RunDriver;
use crate::run::{Input, RunStatus};

/// How long such a run waits for what it was taken up for: several looks of its engine, one of which may fail.
const ASKED_WITHIN: Duration = Duration::from_secs(5);

impl RunDriver {
    /// Whether the run has no place, and would go on: once it has done what it was asked, it waits in the store as
    /// before. What was committed by then and not performed is performed by the next engine.
    pub(super) fn makes_way(&self, status: RunStatus) -> bool {
        match status {
            RunStatus::Pending | RunStatus::Starting | RunStatus::Running => self.place.is_beyond(),
            // It waits for a person, or ends.
            RunStatus::PendingApprove
            | RunStatus::Paused
            | RunStatus::Cancelling
            | RunStatus::Finishing
            | RunStatus::Done
            | RunStatus::Failed
            | RunStatus::Cancelled => false,
        }
    }

    /// The commands for the run, which the engine hands out with its next look.
    pub(super) async fn asked(&mut self) -> Vec<Input> {
        let clock = self.world.clock.clone();
        let mut asked = Vec::new();
        tokio::select! {
            biased;
            () = self.stop.cancelled() => {}
            () = self.lease.lost() => {}
            command = self.commands.recv() => asked.extend(command),
            () = clock.sleep(ASKED_WITHIN) => {}
        }
        while let Ok(command) = self.commands.try_recv() {
            asked.push(command);
        }
        asked
    }
}
