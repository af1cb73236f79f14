//! Approvals by certain people: which runs can be started here, and which approvals are refused before they are kept. The
//! run judges each approval once more when it takes it.

use super::error::{ApiError, Code, unless_broken};
use super::state::ApiState;
use crate::playbook::Playbook;
use crate::run::{Command, NotCounted, Verb};

/// Whether this server knows who sends a request: only then can it tell people apart.
fn knows_people(state: &ApiState) -> bool {
    state.keeper.current().now().is_some()
}

/// Refuses a playbook that counts the approvals of certain people, on a server that asks nobody who they are: whoever
/// wants to could approve under each name.
pub(super) fn check_startable(state: &ApiState, playbook: &Playbook) -> Result<(), ApiError> {
    let approvers = &playbook.approvers;
    if knows_people(state) || !approvers.tells_people_apart() {
        return Ok(());
    }
    let count = match approvers.count {
        1 => "the approval".to_owned(),
        several => format!("{several} approvals"),
    };
    let (name, wanted) = (&playbook.name, approvers.wanted());
    let detail = format!(
        "playbook {name} wants {count} of {wanted}, and this server asks nobody who they are: it needs a server with --access"
    );
    Err(ApiError::new(Code::AccessNeeded, detail))
}

/// Refuses an approval that does not count, before it is kept, with a code that says why. Of the groups of its author it
/// leaves those that the playbook names. If the run can't be read, no engine can judge it either.
pub(super) async fn check_approval(
    state: &ApiState,
    command: &mut Command,
) -> Result<(), ApiError> {
    if command.verb != Verb::Approve {
        return Ok(());
    }
    let run = unless_broken(state.store.read_run(command.run).await)?.and_then(Result::ok);
    let by = run.as_ref().map(|run| run.snapshot.playbook.approvers.by.as_slice());
    if let Some(approves) = &mut command.approves {
        approves.groups.retain(|group| by.is_some_and(|by| by.contains(group)));
    }
    let Some(run) = run else { return Ok(()) };
    if run.asks().is_some() {
        check_startable(state, &run.snapshot.playbook)?;
    }
    match run.not_counted(command.actor.as_deref(), command.approves.as_ref()) {
        None => Ok(()),
        Some(why) => {
            let detail = format!("run {} is {}: {why}", run.id(), run.progress.status);
            Err(ApiError::new(code_of(&why), detail))
        }
    }
}

const fn code_of(why: &NotCounted) -> Code {
    match why {
        NotCounted::OtherSeen { .. } | NotCounted::Unseen { .. } => Code::ApprovalOutdated,
        NotCounted::Unknown { .. }
        | NotCounted::NotWanted { .. }
        | NotCounted::Starter { .. }
        | NotCounted::UnknownStarter { .. } => Code::ApprovalNotWanted,
        NotCounted::Twice { .. } => Code::CommandRefused,
    }
}
