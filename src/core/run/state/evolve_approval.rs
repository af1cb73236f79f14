//! What becomes of the run's question to people.

use super::illegal::IllegalInput;
use super::value::State;
use crate::playbook::AfterDeadline;
use crate::run::approving::required;
use crate::run::{
    ApprovalChange, Given, Happened, Question, ReasonCode, RunStatus, StatusReason, Timestamp,
};

impl State {
    /// What the history says of a change. The event has yet to happen.
    pub(super) fn told_of_approval(&self, change: &ApprovalChange) -> Happened {
        let (progress, approvers) = (&self.run.progress, &self.run.snapshot.playbook.approvers);
        let before = progress.question.as_ref().map_or(0, Question::count);
        let (question, given) = match change {
            ApprovalChange::Counted { .. } => (progress.question.as_ref(), before + 1),
            ApprovalChange::Overdue { .. } => (progress.question.as_ref(), before),
            ApprovalChange::AskedAgain => (None, 0),
        };
        // A question that is asked again has the number of this event.
        let question = question.map_or(progress.next_event, |question| question.number);
        Happened::Approval { question, given, wanted: approvers.count, approval: change.clone() }
    }

    pub(super) fn of_approval(
        &mut self,
        by: Option<&String>,
        change: &ApprovalChange,
        at: Timestamp,
    ) -> Result<(), IllegalInput> {
        // The event itself is already counted.
        let number = self.run.progress.next_event.saturating_sub(1);
        let (progress, snapshot) = (&mut self.run.progress, &self.run.snapshot);
        let none = || IllegalInput::missing("an approval", "a question", "the run");
        match change {
            ApprovalChange::Counted { .. } => {
                let question = progress.question.as_mut().ok_or_else(none)?;
                question.given.push(Given { by: by.cloned(), at });
            }
            ApprovalChange::Overdue { then, message } => {
                let question = progress.question.as_mut().ok_or_else(none)?;
                question.overdue = true;
                if *then == AfterDeadline::Pause {
                    let (code, message) = (ReasonCode::ApprovalOverdue, message.clone());
                    progress.reason = Some(StatusReason { code, message });
                }
            }
            ApprovalChange::AskedAgain => {
                let before = progress.question.take().filter(|question| question.overdue);
                let message = before.ok_or_else(none)?.message;
                if progress.status == RunStatus::PendingApprove {
                    progress.question = Some(Question::of_start(snapshot, number, at));
                    progress.reason = Some(required());
                    return Ok(());
                }
                let stage = progress.stage.index;
                let question = Question::of_strategy(snapshot, stage, &message, number, at);
                progress.question = Some(question);
                progress.reason = Some(StatusReason { code: ReasonCode::Approval, message });
            }
        }
        Ok(())
    }

    /// With another status a question is answered or gone. A run that is paused for an approval asks a new one.
    pub(super) fn asks_by_status(
        &mut self,
        to: RunStatus,
        reason: Option<&StatusReason>,
        at: Timestamp,
    ) {
        let (progress, snapshot) = (&mut self.run.progress, &self.run.snapshot);
        let asks = reason.filter(|reason| reason.code == ReasonCode::Approval);
        progress.question = asks.filter(|_| to == RunStatus::Paused).map(|asked| {
            // The event itself is already counted.
            let number = progress.next_event.saturating_sub(1);
            let stage = progress.stage.index;
            Question::of_strategy(snapshot, stage, &asked.message, number, at)
        });
    }
}
