//! The answers about actions.

use std::collections::BTreeMap;

use serde_json::Value;
use uuid::Uuid;

use super::bounds::{ACTION_BYTES, ERROR, PAYLOAD, SCHEDULED_BYTES, WORD};
use super::json::{Found, Malformed, read_members};
use super::message::told_error;
use crate::run::JsonText;

/// How far an action is.
#[derive(Clone, Debug, PartialEq)]
pub struct ActionStatus {
    /// Its phase.
    pub phase: ActionPhase,
    /// Its result, or how far it is; null if it was left out.
    pub payload: JsonText,
    /// Why the payload was left out, if it is more than may come in: what was found and what was expected.
    pub unread: Option<String>,
    /// The agent's message when it failed, with the causes that the agent gave.
    pub error: Option<String>,
}

/// Phases of an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ActionPhase {
    /// Queued.
    New,
    /// Going on.
    Running,
    /// Ended well.
    Done,
    /// Ended badly.
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

/// Checks the answer to a request to schedule `id`.
///
/// # Errors
/// [`Malformed`]: nothing is known of the action then.
pub fn read_scheduled(body: &[u8], id: Uuid) -> Result<(), Malformed> {
    let mut answer = read_members(body, SCHEDULED_BYTES, &[("/id", WORD)])?;
    check_id(&mut answer, id)
}

/// Reads an action. Its arguments, metadata and times, and unknown fields, are ignored.
///
/// A payload that is more than may come in is left out, and [`ActionStatus::unread`] says what is
/// wrong with it. How far the action is, is known all the same.
///
/// # Errors
/// [`Malformed`]: nothing is known of the action then.
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

/// What the phase of an action may be.
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
