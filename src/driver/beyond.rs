//! Runs that are taken up beyond the places of an engine, since a command for them has come: they do what was asked,
//! and nothing begins for which there is no place.

use std::time::Duration;

use super::run_driver::RunDriver;
use crate::run::{Effect, Input, Run, RunStatus, Transition};

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

    /// Keeps the place of a run that was resumed and that waiting in the store would harm: where agents were on hold,
    /// that is over, and their time-outs would pass meanwhile; and that absences were accepted only this driver knows.
    pub(super) fn keep_if_resumed(&self, was_held: &mut bool, run: &Run, done: &[Transition]) {
        let was_held = std::mem::replace(was_held, run.progress.hold);
        let mut effects = done.iter().flat_map(|transition| &transition.effects);
        if (was_held && !run.progress.hold)
            || effects.any(|effect| matches!(effect, Effect::AcceptAbsence(_)))
        {
            self.place.keep();
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
