//! Reads what an agent answers about one action: when the action is scheduled, and when it is looked at. The
//! answer must name the action that was asked for, so an answer about another action is never taken for it.

use std::collections::BTreeMap;

use serde_json::Value;
use uuid::Uuid;

use super::bounds::{ACTION_BYTES, ERROR, PAYLOAD, SCHEDULED_BYTES, WORD};
use super::json::{Found, Malformed, read_members};
use super::message::told_error;
use crate::run::JsonText;

/// The state of an action, as the agent reports it.
#[derive(Clone, Debug, PartialEq)]
pub struct ActionStatus {
    /// How far the action is.
    pub phase: ActionPhase,
    /// What the agent reports with the phase: its progress, or the result once it has ended. Null if the payload
    /// was left out.
    pub payload: JsonText,
    /// Why the payload was left out: what was found and what was expected. `None` when the payload was kept.
    pub unread: Option<String>,
    /// The agent's message and the causes that it gave, when the action failed.
    pub error: Option<String>,
}

/// Phases of an action. They go from `New` through `Running` to `Done` or `Failed`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ActionPhase {
    /// Queued, not started.
    New,
    /// Being executed.
    Running,
    /// Ended with success.
    Done,
    /// Ended with a failure.
    Failed,
}

impl ActionPhase {
    /// Whether the action has ended.
    pub const fn is_final(self) -> bool {
        match self {
            Self::New | Self::Running => false,
            Self::Done | Self::Failed => true,
        }
    }
}

/// Checks that the answer to a request to schedule `id` names `id`.
///
/// # Errors
/// [`Malformed`] when the answer can't be read or names another action. Nothing is known of `id` then.
pub fn read_scheduled(body: &[u8], id: Uuid) -> Result<(), Malformed> {
    let mut answer = read_members(body, SCHEDULED_BYTES, &[("/id", WORD)])?;
    check_id(&mut answer, id)
}

/// Reads the answer to a request for the action `id`. Its arguments, metadata and times are ignored, and so are
/// unknown fields.
///
/// A payload that is over its bounds is left out, and [`ActionStatus::unread`] says what is wrong with it. The
/// phase is read all the same.
///
/// # Errors
/// [`Malformed`] when the answer can't be read or is about another action. Nothing is known of `id` then.
pub fn read_action(body: &[u8], id: Uuid) -> Result<ActionStatus, Malformed> {
    let wanted = [
        ("/id", WORD),
        ("/state/phase", WORD),
        ("/state/payload", PAYLOAD),
        ("/state/error", ERROR),
    ];
    let mut answer = read_members(body, ACTION_BYTES, &wanted)?;
    check_id(&mut answer, id)?;
    if let Some(other) = answer.remove("/state") {
        let other = other.value("/state")?;
        return Err(Malformed::unexpected("/state", Some(&other), "an object"));
    }
    let phase = match answer.remove("/state/phase") {
        Some(phase) => Some(phase.value("/state/phase")?),
        None => None,
    };
    let Some(phase) = phase_of(phase.as_ref().and_then(Value::as_str)) else {
        return Err(Malformed::unexpected("/state/phase", phase.as_ref(), PHASES));
    };
    let error = match answer.remove("/state/error") {
        None | Some(Found::Value(Value::Null)) => None,
        Some(Found::Value(error)) => Some(told_error(&error)),
        Some(Found::TooMuch(what)) => Some(format!("(the error is too large to show: {what})")),
    };
    let (payload, unread) = match answer.remove("/state/payload") {
        None => (Value::Null, None),
        Some(Found::Value(payload)) => (payload, None),
        Some(Found::TooMuch(what)) => (Value::Null, Some(what)),
    };
    Ok(ActionStatus { phase, payload: payload.into(), unread, error })
}

/// The phases that an answer may name, as error messages list them.
pub(super) const PHASES: &str = "NEW, RUNNING, DONE or FAILED";

pub(super) fn phase_of(word: Option<&str>) -> Option<ActionPhase> {
    match word {
        Some("NEW") => Some(ActionPhase::New),
        Some("RUNNING") => Some(ActionPhase::Running),
        Some("DONE") => Some(ActionPhase::Done),
        Some("FAILED") => Some(ActionPhase::Failed),
        Some(_) | None => None,
    }
}

fn check_id(answer: &mut BTreeMap<String, Found>, id: Uuid) -> Result<(), Malformed> {
    let found = answer.remove("/id").map(|found| found.value("/id")).transpose()?;
    match found.as_ref().and_then(Value::as_str).map(Uuid::parse_str) {
        Some(Ok(found)) if found == id => Ok(()),
        Some(_) | None => Err(Malformed::unexpected("/id", found.as_ref(), &id.to_string())),
    }
}

#[cfg(test)]
#[path = "action_tests.rs"]
mod tests;
