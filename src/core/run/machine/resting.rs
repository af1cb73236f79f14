//! Runs in which nothing happens before a person says something.

use super::state::{Doing, Machine};
use crate::mutants::mutant;
use crate::run::{RunStatus, Timestamp};

impl Machine {
    /// Until when nothing happens in the run but what a person asks for, [`Timestamp::MAX`] where nothing is
    /// due: it may be dropped until then, and loaded anew when a command has come. None while something goes
    /// on, or is looked at.
    pub fn rests_until(&self) -> Option<Timestamp> {
        match self.run.progress.status {
            RunStatus::PendingApprove => {}
            RunStatus::Paused if !self.is_busy() => {}
            RunStatus::Paused
            | RunStatus::Pending
            | RunStatus::Starting
            | RunStatus::Running
            | RunStatus::Cancelling
            | RunStatus::Finishing
            | RunStatus::Done
            | RunStatus::Failed
            | RunStatus::Cancelled => return None,
        }
        if mutant!(PausedKeepsPlace) {
            return None;
        }
        Some(self.next_alarm().unwrap_or(Timestamp::MAX))
    }

    /// Whether nothing is in flight or being looked at, so that another engine can take the run up without
    /// asking any agent what became of an action. A strategy that is being asked is asked again then.
    pub fn is_quiet(&self) -> bool {
        match self.run.progress.status {
            RunStatus::PendingApprove | RunStatus::Pending => true,
            RunStatus::Running | RunStatus::Paused => {
                let nothing_out = self.attempts.is_empty() && self.settling.is_empty();
                nothing_out && self.looking.is_empty() && !self.has_work()
            }
            RunStatus::Starting
            | RunStatus::Cancelling
            | RunStatus::Finishing
            | RunStatus::Done
            | RunStatus::Failed
            | RunStatus::Cancelled => false,
        }
    }

    /// Whether anything is in flight, looked at, asked or still to be done. Agents that are absent are looked at:
    /// only who has followed their cluster knows when they are back.
    fn is_busy(&self) -> bool {
        let goes = |doing: Doing| match doing {
            Doing::Activation | Doing::Answer | Doing::Checking => true,
            Doing::Held => false,
        };
        let in_flight = self.attempts.values().any(|attempt| goes(attempt.doing));
        let looks = !self.settling.is_empty()
            || !self.looking.is_empty()
            || self.run.progress.mass_absence.is_some();
        let asks = self.loading || self.planning || self.refreshing.goes_on();
        in_flight || looks || asks || self.has_work()
    }
}
