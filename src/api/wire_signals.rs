//! The request that sends a signal.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::limits::{MAX_ACTOR, MAX_REASON};
use crate::run::{AgentId, CommandId, JsonText};

/// Sends a signal to a run: `POST /api/v1/runs/{id}/signals`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SendSignal {
    /// Identifier, so that the request can be repeated; without it the server makes one.
    #[serde(default)]
    pub id: Option<CommandId>,
    /// Name of the signal. The playbook must grant it to one of its steps.
    pub name: String,
    /// The agent that the signal is for; without it, it is for all agents of the run.
    #[serde(default)]
    pub agent: Option<AgentId>,
    /// What the step that waits gets: any JSON, at most 16 KiB and nested at most 64 deep; null when absent.
    #[serde(default = "null")]
    pub payload: JsonText,
    /// Who sends it, for the history of the run.
    #[serde(default)]
    #[schemars(length(max = MAX_ACTOR))]
    pub actor: Option<String>,
    /// Why, for the history of the run.
    #[serde(default)]
    #[schemars(length(max = MAX_REASON))]
    pub reason: Option<String>,
}

fn null() -> JsonText {
    serde_json::Value::Null.into()
}
