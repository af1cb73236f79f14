//! Ends a run that a person gave up. The state machine is not asked, because the run may be one that can't be read
//! or can't go on.

use super::document::{Progress, ReasonCode, StatusReason};
use super::history::{Happened, RunEvent};
use super::status::RunStatus;
use super::trouble::Abandoned;
use crate::ids::RunId;

impl Abandoned {
    /// Why the run has ended, as human-readable text.
    pub fn reason(&self) -> StatusReason {
        let by = self.actor.as_ref().map(|actor| format!(" by {actor}")).unwrap_or_default();
        let message = format!("abandoned{by}: {}", self.why);
        StatusReason { code: ReasonCode::Abandoned, message }
    }

    /// Moves the run to FINISHING, and its progress too, if the progress can be read. The event is number `seq` of
    /// the history. A run that was already FINISHING gets no event.
    pub fn begin(
        &self,
        run: RunId,
        from: Option<RunStatus>,
        progress: Option<&mut Progress>,
        seq: u64,
    ) -> Option<RunEvent> {
        let event = match from {
            Some(RunStatus::Finishing) => None,
            Some(_) | None => Some(self.event(run, from, RunStatus::Finishing, seq)),
        };
        if let Some(progress) = progress {
            if event.is_some() {
                progress.since = self.at;
            }
            progress.status = RunStatus::Finishing;
            progress.reason = Some(self.reason());
            progress.outcome = Some(RunStatus::Failed);
            progress.finishing_at = Some(self.at);
            progress.next_event = event.as_ref().map_or(progress.next_event, |_| seq + 1);
        }
        event
    }

    /// Ends the run. All of its records must have their `finish_ts`.
    pub fn end(&self, run: RunId, progress: Option<&mut Progress>, seq: u64) -> RunEvent {
        if let Some(progress) = progress {
            progress.status = RunStatus::Failed;
            progress.finish_ts = Some(self.at);
            progress.next_event = seq + 1;
        }
        let event = self.event(run, Some(RunStatus::Finishing), RunStatus::Failed, seq);
        RunEvent { finish_ts: Some(self.at), ..event }
    }

    fn event(&self, run: RunId, from: Option<RunStatus>, to: RunStatus, seq: u64) -> RunEvent {
        let what = Happened::Status { from, to, reason: Some(self.reason()) };
        RunEvent { run, seq, at: self.at, actor: self.actor.clone(), what, finish_ts: None }
    }
}
