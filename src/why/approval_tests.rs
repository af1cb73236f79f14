//! Runs that ask certain people, or were not approved in time.

use std::sync::Arc;

use super::samples::*;
use super::*;
use crate::playbook::{AfterDeadline, ApprovalDeadline, Approvers};
use crate::run::{Digest, Given, Millis, Question, ReasonCode, Run, RunStatus, Snapshot};

/// A run that asks two of a group, one of whom has approved it.
fn asks(status: RunStatus, code: ReasonCode, message: &str) -> Run {
    let run = with(status, |progress| because(progress, code, message));
    let after = Millis::from_secs(7_200);
    let deadline = Some(ApprovalDeadline { after, then: AfterDeadline::Pause });
    let by = vec!["group:id/dba".to_owned()];
    let mut snapshot = Snapshot::clone(&run.snapshot);
    snapshot.playbook.approvers = Approvers { by, count: 2, not_by_starter: false, deadline };
    let question = Question {
        number: 1,
        seen: Digest::of(b""),
        message: message.to_owned(),
        asked_at: at(0),
        until: Some(at(7_200)),
        overdue: code == ReasonCode::ApprovalOverdue,
        given: vec![Given { by: Some("user:id/alice".to_owned()), at: at(60) }],
    };
    let mut progress = run.progress;
    progress.question = Some(question);
    Run { snapshot: Arc::new(snapshot), progress }
}

const SO_FAR: &str = "It has 1 of 2 approvals, by user:id/alice; wants group:id/dba; until \
     2025-11-22T11:00:00Z, then it has to be asked again.";

#[test]
fn a_run_says_who_has_approved_it_and_who_is_wanted() {
    let waits = asks(RunStatus::PendingApprove, ReasonCode::ApprovalRequired, "it asks");
    let text = format!(
        "The run has been PENDING_APPROVE since 2025-11-22T09:00:00Z (4m05s). It waits for a person: it asks. {SO_FAR} \
         Nothing was done yet."
    );
    check(&waits, &NOBODY, &text, &["run approve RUN", "run reject RUN"]);
    let paused = asks(RunStatus::Paused, ReasonCode::Approval, "all well?");
    let told = explain(&paused, &NOBODY, at(245)).text;
    let both = format!("The strategy asks for approval: all well? {SO_FAR}");
    assert!(told.contains(&both), "{told}");
}

#[test]
fn a_run_that_was_not_approved_in_time_says_how_it_asks_again() {
    let why = "it was not approved by 11:00: 1 of 2 approvals";
    let waits = asks(RunStatus::PendingApprove, ReasonCode::ApprovalOverdue, why);
    let text = format!(
        "The run has been PENDING_APPROVE since 2025-11-22T09:00:00Z (4m05s). It waits for a person: {why}. Nothing was \
         done yet."
    );
    check(&waits, &NOBODY, &text, &["run resume RUN", "run reject RUN"]);
    let paused = asks(RunStatus::Paused, ReasonCode::ApprovalOverdue, why);
    let told = explain(&paused, &NOBODY, at(245));
    let both =
        format!("The strategy asked for approval: {why}. A resume has the run ask for it again.");
    assert!(told.text.contains(&both), "{}", told.text);
    assert!(told.next[0].command.starts_with("run resume "), "{:?}", told.next);
}
