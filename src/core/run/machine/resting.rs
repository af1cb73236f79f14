//! Says when a run needs no engine: nothing happens in it before a person says something, or nothing in it is in
//! flight. The driver parks runs of the first kind, and hands over runs of the second.

use super::inputs::Machine;
use crate::mutants::mutant;
use crate::run::state::{Doing, Sent, State};
use crate::run::{RunStatus, Timestamp};

impl Machine {
    /// Until when nothing happens in the run except what a person asks for; [`Timestamp::MAX`] if nothing is due.
    /// The machine may be dropped until then, and loaded anew when a command has come. `None` while something goes
    /// on, or is being looked at.
    pub fn rests_until(&self) -> Option<Timestamp> {
        let state = self.state();
        match state.status() {
            RunStatus::PendingApprove => {}
            RunStatus::Paused if !state.is_busy() => {}
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
        let due = state.next_alarm().into_iter().chain(state.approved_until()).min();
        Some(due.unwrap_or(Timestamp::MAX))
    }

    /// Whether nothing is in flight or being looked at. Then another engine can take the run up without asking any
    /// agent what became of an action. A strategy that is being asked is asked again then.
    pub fn is_quiet(&self) -> bool {
        let state = self.state();
        match state.status() {
            RunStatus::PendingApprove | RunStatus::Pending => true,
            RunStatus::Running | RunStatus::Paused => {
                let nothing_out = state.trying().len() == 0;
                nothing_out && !state.looks_at_somebody() && !state.has_work()
            }
            RunStatus::Starting
            | RunStatus::Cancelling
            | RunStatus::Finishing
            | RunStatus::Done
            | RunStatus::Failed
            | RunStatus::Cancelled => false,
        }
    }
}

impl State {
    /// Whether anything is in flight, looked at, asked, or still to be done. Absent agents count as looked at:
    /// only an engine that follows the cluster knows when they are back.
    fn is_busy(&self) -> bool {
        let in_flight = self.trying().any(|seq| self.doing(seq) != Some(Doing::Held));
        let looks = self.looks_at_somebody() || self.progress().mass_absence.is_some();
        let asks =
            self.is_out(Sent::Members) || self.is_out(Sent::Plan) || self.refreshing().goes_on();
        in_flight || looks || asks || self.has_work()
    }
}
