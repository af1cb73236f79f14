//! An action as answers of the agent API show it.

use serde::Serialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::agent::ActionPhase;

/// An action as answers show it.
#[derive(Serialize)]
pub(in crate::agent) struct ShownAction<'a> {
    pub(in crate::agent) args: &'a RawValue,
    pub(in crate::agent) created_time: &'a str,
    pub(in crate::agent) finished_time: Option<&'a str>,
    pub(in crate::agent) id: Uuid,
    pub(in crate::agent) kind: &'a str,
    pub(in crate::agent) metadata: &'a RawValue,
    pub(in crate::agent) scheduled_time: &'a str,
    pub(in crate::agent) state: ShownState<'a>,
    /// The number of times it was started: a field that only agents of ours have.
    pub(in crate::agent) executions: u32,
}

/// How far an action is.
#[derive(Serialize)]
pub(in crate::agent) struct ShownState<'a> {
    error: Option<ShownError<'a>>,
    payload: &'a RawValue,
    phase: &'static str,
}

#[derive(Serialize)]
struct ShownError<'a> {
    error_backtrace: Option<&'a str>,
    error_msg: &'a str,
}

impl<'a> ShownState<'a> {
    pub(in crate::agent) fn new(
        phase: ActionPhase,
        payload: &'a RawValue,
        error: Option<&'a str>,
    ) -> Self {
        let error = error.map(|error_msg| ShownError { error_backtrace: None, error_msg });
        Self { error, payload, phase: phase_word(phase) }
    }
}

/// The word for a phase.
pub(in crate::agent) const fn phase_word(phase: ActionPhase) -> &'static str {
    match phase {
        ActionPhase::New => "NEW",
        ActionPhase::Running => "RUNNING",
        ActionPhase::Done => "DONE",
        ActionPhase::Failed => "FAILED",
    }
}
