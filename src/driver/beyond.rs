//! Runs that an engine takes up beyond its places, because a command for them has come. Such a run does what was
//! asked of it, and begins nothing for which it would need a place.

use std::time::Duration;

use super::run_driver::RunDriver;
use crate::run::{Effect, Input, Run, RunStatus, Transition};

/// How long such a run waits for its command: several looks of its engine, one of which may fail.
const ASKED_WITHIN: Duration = Duration::from_secs(5);

impl RunDriver {
    /// Whether the run has no place and would go on. Once it has done what was asked, such a run waits in the
    /// store as before. Effects that were committed but not performed by then are performed by the next engine.
    pub(super) fn makes_way(&self, status: RunStatus) -> bool {
        match status {
            RunStatus::Pending | RunStatus::Starting | RunStatus::Running => self.place.is_beyond(),
            // It waits for a person, or is ending.
            RunStatus::PendingApprove
            | RunStatus::Paused
            | RunStatus::Cancelling
            | RunStatus::Finishing
            | RunStatus::Done
            | RunStatus::Failed
            | RunStatus::Cancelled => false,
        }
    }

    /// Keeps the place of a resumed run that would suffer from waiting in the store: either a hold on agents has
    /// ended, and their time-outs would pass meanwhile, or absences were accepted, which only this driver knows.
    pub(super) fn keep_if_resumed(&self, was_held: &mut bool, run: &Run, done: &[Transition]) {
        let was_held = std::mem::replace(was_held, run.progress.hold);
        let mut effects = done.iter().flat_map(|transition| &transition.effects);
        if (was_held && !run.progress.hold)
            || effects.any(|effect| matches!(effect, Effect::AcceptAbsence(_)))
        {
            self.place.keep();
        }
    }

    /// The commands for the run. The engine hands them out with its next look; empty if none comes in time.
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
