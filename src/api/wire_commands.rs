//! The request that asks something of a run, and its answer.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::limits::{MAX_ACTOR, MAX_GUARD, MAX_REASON};
use crate::run::{AgentId, CommandId, CommandOutcome, Digest, RunId, Verb};

/// Asks a run to do something: `POST /api/v1/runs/{id}/commands`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SubmitCommand {
    /// Identifier, so that the request can be repeated; without it the server makes one.
    #[serde(default)]
    pub id: Option<CommandId>,
    /// What the run is asked to do.
    pub command: Verb,
    /// The agent that the command is about: required for `give-up`, and for `retry` of one agent.
    #[serde(default)]
    pub agent: Option<AgentId>,
    /// Only for `retry`: repeat actions that succeeded after their step had timed out. Without it the agent
    /// goes on with their results.
    #[serde(default)]
    pub again: bool,
    /// Only for `resume`: the guard of the cluster that is overridden, so that it does not count for this run until it is
    /// changed. A paused run goes on; in any other nothing else changes. This needs a `reason`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = MAX_GUARD))]
    pub override_guard: Option<String>,
    /// Only for `approve`: the sum of what was seen, as `asks.seen` of the run has it. An approval of anything else is
    /// refused. A run whose playbook says who approves needs it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen: Option<Digest>,
    /// Who asks, for the history of the run.
    #[serde(default)]
    #[schemars(length(max = MAX_ACTOR))]
    pub actor: Option<String>,
    /// Why, for the history of the run.
    #[serde(default)]
    #[schemars(length(max = MAX_REASON))]
    pub reason: Option<String>,
}

/// A command in answers. 200 when it was applied, 202 while it waits; a refused one is a problem with status
/// 409 and code `command-refused`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct CommandView {
    /// Identifier of the command: submitting it again with this asks for the outcome.
    pub id: CommandId,
    /// The run that was asked.
    pub run: RunId,
    /// What the run was asked to do.
    pub command: Verb,
    /// The agent that the command is about, if it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<AgentId>,
    /// The guard that a `resume` overrides, if it overrides one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub override_guard: Option<String>,
    /// The result of the command; null while it waits.
    pub outcome: Option<CommandOutcome>,
}
