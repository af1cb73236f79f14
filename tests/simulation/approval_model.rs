//! Approvals: each that counts is of what the run asks, in time, by somebody whose approval is wanted and who has not given
//! it yet. Only enough of them let the run go on.

use std::collections::{BTreeMap, BTreeSet};

use replibook::playbook::AfterDeadline;
use replibook::run::{
    ApprovalChange, Command, CommandId, Digest, Happened, Millis, Question, ReasonCode, RunEvent,
    RunStatus, StatusReason, Timestamp, Verb,
};

use crate::approval_plan::ApproversPlan;
use crate::ledger::{Check, expect};
use crate::run_model::RunModel;

/// What the run asks at the moment.
#[derive(Debug)]
struct Open {
    asked_at: Timestamp,
    /// The sum of it, as far as a commit has told it.
    sum: Option<Digest>,
    given: BTreeSet<String>,
}

#[derive(Debug, Default)]
pub(crate) struct ApprovalModel {
    /// What those who approved had seen.
    said: BTreeMap<CommandId, Option<Digest>>,
    open: Option<Open>,
    /// What the strategy asked before that was overdue.
    asked: Option<StatusReason>,
}

impl ApprovalModel {
    pub(crate) fn new(question: Option<&Question>) -> Self {
        let open = question.map(|question| Open {
            asked_at: question.asked_at,
            sum: Some(question.seen.clone()),
            given: BTreeSet::new(),
        });
        Self { open, ..Self::default() }
    }

    /// Somebody asks this of the run.
    pub(crate) fn said(&mut self, command: &Command) {
        if command.verb == Verb::Approve {
            let seen = command.approves.as_ref().and_then(|approves| approves.seen.clone());
            self.said.insert(command.id, seen);
        }
    }
}

impl RunModel {
    fn asks_now(&self, event: &RunEvent) -> Open {
        let question = self.progress.question.as_ref();
        let sum = question.filter(|question| question.number == event.seq);
        let sum = sum.map(|question| question.seen.clone());
        Open { asked_at: event.at, sum, given: BTreeSet::new() }
    }

    /// With another status a question has its answer, or is gone.
    pub(crate) fn asks_by_status(
        &mut self,
        event: &RunEvent,
        to: RunStatus,
        why: Option<ReasonCode>,
    ) {
        let asks = to == RunStatus::Paused && why == Some(ReasonCode::Approval);
        self.approvals.open = asks.then(|| self.asks_now(event));
    }

    /// What became of the question of the run.
    pub(crate) fn take_approval(&mut self, event: &RunEvent, change: &ApprovalChange) -> Check {
        let Some(plan) = self.plan.approvers else {
            return Err(("only rules about approvals lead to such events", format!("{event:?}")));
        };
        let until = |open: &Open| plan.deadline.map(|(after, _)| open.asked_at.plus(Millis(after)));
        let say = || format!("{event:?}");
        let rule = "only what is asked is approved";
        match change {
            ApprovalChange::Counted { .. } => self.counted(plan, event),
            ApprovalChange::Overdue { then, message } => {
                let open = self.approvals.open.take().ok_or_else(|| (rule, say()))?;
                let over = until(&open).is_some_and(|until| until <= event.at);
                expect(over, "people have the time that they are given", say)?;
                self.cancels += u32::from(*then == AfterDeadline::Cancel);
                if self.status == RunStatus::Paused {
                    let (code, message) = (ReasonCode::ApprovalOverdue, message.clone());
                    let overdue = StatusReason { code, message };
                    self.approvals.asked = self.paused_for.replace(overdue);
                }
                Ok(())
            }
            ApprovalChange::AskedAgain => {
                let waits = matches!(self.status, RunStatus::PendingApprove | RunStatus::Paused);
                let asks = waits && self.approvals.open.is_none();
                if self.status == RunStatus::Paused {
                    self.paused_for = self.approvals.asked.take();
                }
                self.approvals.open = Some(self.asks_now(event));
                expect(asks, rule, say)
            }
        }
    }

    fn counted(&mut self, plan: ApproversPlan, event: &RunEvent) -> Check {
        let say = || format!("{event:?}");
        let before = self.events.len().checked_sub(2).map(|index| &self.events[index].what);
        let said = match before {
            Some(Happened::Command { id, refused: None, .. }) => {
                self.approvals.said.get(id).cloned()
            }
            _ => None,
        };
        let rule = "only what is asked is approved";
        let said = said.flatten().ok_or_else(|| (rule, say()))?;
        let open = self.approvals.open.as_mut().ok_or_else(|| (rule, say()))?;
        let is_it = open.sum.as_ref().is_none_or(|sum| *sum == said);
        expect(is_it, "an approval counts for what was seen", say)?;
        let until = plan.deadline.map(|(after, _)| open.asked_at.plus(Millis(after)));
        let in_time = until.is_none_or(|until| event.at < until);
        expect(in_time, "no approval counts after its time", say)?;
        let by = event.actor.clone().unwrap_or_default();
        expect(plan.wants(&by), "only approvals that are wanted count", say)?;
        expect(open.given.insert(by), "a person approves once", say)
    }

    /// Whether people have just approved what the run asks.
    pub(crate) fn was_approved(&self) -> bool {
        let before = self.events.len().checked_sub(2).map(|index| &self.events[index].what);
        let approve = Verb::Approve.as_str();
        match (before, self.plan.approvers) {
            (Some(Happened::Command { command, refused: None, .. }), None) => command == approve,
            (Some(Happened::Approval { given, wanted, approval, .. }), Some(plan)) => {
                let counted = matches!(approval, ApprovalChange::Counted { .. });
                counted && *wanted == plan.count && given >= wanted
            }
            _ => false,
        }
    }
}
