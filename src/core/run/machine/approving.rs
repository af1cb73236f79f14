//! Approvals: whose counts, when there are enough of them, and what happens to a run that was not approved in time.

use super::turn::{Legal, Turn};
use crate::playbook::AfterDeadline;
use crate::run::approving::{so_far, to_the_second};
use crate::run::state::{OfRun, State};
use crate::run::{
    ApprovalChange, Command, Question, ReasonCode, RunStatus, StatusReason, Timestamp, Verb,
};

impl State {
    /// Until when the run has to be approved, if it waits for that and there is a hurry.
    pub(super) fn approved_until(&self) -> Option<Timestamp> {
        self.progress().question.as_ref().and_then(Question::ends)
    }

    /// Whether the run was not approved in time.
    pub(super) fn is_past_deadline(&self) -> bool {
        self.progress().question.as_ref().is_some_and(|question| question.overdue)
    }

    /// Why the approval of a command that fits the run does not count; `None` if it does.
    pub(super) fn not_counted(&self, command: &Command) -> Option<String> {
        if command.verb != Verb::Approve {
            let verb = command.verb;
            return command.approves.as_ref().map(|_| format!("{verb} approves nothing"));
        }
        let why = self.run().not_counted(command.actor.as_deref(), command.approves.as_ref());
        why.map(|why| why.to_string())
    }
}

impl Turn<'_> {
    /// Counts an approval. Returns whether there are enough now, so that the run goes on.
    pub(super) fn count_approval(&mut self, command: &Command) -> Legal<bool> {
        let approvers = &self.snapshot().playbook.approvers;
        if approvers.is_anybody() {
            return Ok(true);
        }
        let Some(question) = &self.progress().question else { return Ok(false) };
        let (wanted, seen) = (approvers.count, question.seen.clone());
        let seen = command.approves.as_ref().and_then(|it| it.seen.clone()).unwrap_or(seen);
        let (by, change) = (command.actor.clone(), ApprovalChange::Counted { seen });
        self.emit(OfRun::Approval { by, change })?;
        let given = self.progress().question.as_ref().map_or(0, |question| question.count());
        Ok(given >= wanted)
    }

    /// Does what is to happen if the time is over in which the run had to be approved. It comes before anything else that
    /// the moment brings, so that no approval counts which comes with it.
    pub(super) fn end_overdue(&mut self) -> Legal {
        let now = self.now;
        let over = |question: &&Question| question.ends().is_some_and(|until| until <= now);
        let Some(question) = self.progress().question.as_ref().filter(over) else {
            return Ok(());
        };
        let approvers = &self.snapshot().playbook.approvers;
        let Some(deadline) = approvers.deadline else { return Ok(()) };
        let (until, then) = (to_the_second(question.until.unwrap_or(now)), deadline.then);
        let so_far = so_far(approvers.count, &question.given);
        let message = format!("it was not approved by {until}: {so_far}");
        // Nobody asks for it.
        self.asked_by(None);
        let change = ApprovalChange::Overdue { then, message: message.clone() };
        self.emit(OfRun::Approval { by: None, change })?;
        let reason = StatusReason { code: ReasonCode::ApprovalOverdue, message };
        match (then, self.status()) {
            (AfterDeadline::Pause, _) => Ok(()),
            (AfterDeadline::Cancel, RunStatus::PendingApprove) => {
                self.finish(RunStatus::Cancelled, reason)
            }
            (AfterDeadline::Cancel, _) => self.cancel(reason),
        }
    }

    /// Asks the same once more. A strategy is not asked again first: it would take that for the approval.
    pub(super) fn ask_again(&mut self) -> Legal {
        self.emit(OfRun::Approval { by: None, change: ApprovalChange::AskedAgain })
    }
}
