//! Reads what an agent answers about one action: when the action is scheduled, and when it is looked at. The
//! answer must name the action that was asked for, so an answer about another action is never taken for it.

use std::collections::BTreeMap;

use serde_json::Value;
use uuid::Uuid;

use super::bounds::{ACTION_BYTES, ERROR, PAYLOAD, SCHEDULED_BYTES, WORD};
use super::json::{Found, Malformed, read_members};
use super::message::told_error;
use crate::mutant;
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
    check_id(&mut answer, "/id", id)
}

/// Whether the status of the answer to a request to schedule says that the agent knows the action already: it was asked
/// for it before, or something on the way has sent the request twice.
pub fn is_known_already(status: u16) -> bool {
    status == 409 && !mutant!(ConflictIsRefusal)
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
    check_id(&mut answer, "/id", id)?;
    no_value_around(&mut answer, "/state")?;
    let phase = take_phase(&mut answer, "/state/phase")?;
    let error = take_error(answer.remove("/state/error"));
    let (payload, unread) = take_payload(answer.remove("/state/payload"));
    Ok(ActionStatus { phase, payload: payload.into(), unread, error })
}

/// Fails if what should be the object at `place` is no object.
pub(super) fn no_value_around(
    answer: &mut BTreeMap<String, Found>,
    place: &str,
) -> Result<(), Malformed> {
    match answer.remove(place) {
        None => Ok(()),
        Some(other) => {
            let other = other.value(place)?;
            Err(Malformed::unexpected(place, Some(&other), "an object"))
        }
    }
}

pub(super) fn take_phase(
    answer: &mut BTreeMap<String, Found>,
    place: &str,
) -> Result<ActionPhase, Malformed> {
    let phase = answer.remove(place).map(|phase| phase.value(place)).transpose()?;
    phase_of(phase.as_ref().and_then(Value::as_str))
        .ok_or_else(|| Malformed::unexpected(place, phase.as_ref(), PHASES))
}

pub(super) fn take_error(error: Option<Found>) -> Option<String> {
    match error {
        None | Some(Found::Value(Value::Null)) => None,
        Some(Found::Value(error)) => Some(told_error(&error)),
        Some(Found::TooMuch(what)) => Some(format!("(the error is too large to show: {what})")),
    }
}

/// A payload, and why it was left out.
pub(super) fn take_payload(payload: Option<Found>) -> (Value, Option<String>) {
    match payload {
        None => (Value::Null, None),
        Some(Found::Value(payload)) => (payload, None),
        Some(Found::TooMuch(what)) => (Value::Null, Some(what)),
    }
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

pub(super) fn check_id(
    answer: &mut BTreeMap<String, Found>,
    place: &str,
    id: Uuid,
) -> Result<(), Malformed> {
    let found = answer.remove(place).map(|found| found.value(place)).transpose()?;
    match found.as_ref().and_then(Value::as_str).map(Uuid::parse_str) {
        Some(Ok(found)) if found == id => Ok(()),
        Some(_) | None => Err(Malformed::unexpected(place, found.as_ref(), &id.to_string())),
    }
}

#[cfg(test)]
#[path = "action_tests.rs"]
mod tests;
