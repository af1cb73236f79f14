//! The types of requests that start runs.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::limits::{MAX_ACTOR, MAX_REASON};
use super::listed::unambiguous;

/// Starts a run: `POST /api/v1/runs`, with an `Idempotency-Key` header if it may be repeated.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StartRun {
    /// `NAME` (the highest version) or `NAME@VERSION`.
    pub playbook: String,
    /// Name of the cluster.
    pub cluster: String,
    /// Parameters of the playbook; defaults are filled in.
    #[serde(default, deserialize_with = "unambiguous")]
    pub params: Map<String, Value>,
    /// Expression: which agents may take part, of those that the stages select.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub select: Option<String>,
    /// At most this many agents take part: the first that a stage selects. Later stages take no others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub limit: Option<u32>,
    /// Names of stages that are left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skip_stages: Vec<String>,
    /// Name of the stage to begin with; those before it are left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_at: Option<String>,
    /// Who starts the run.
    #[serde(default)]
    #[schemars(length(max = MAX_ACTOR))]
    pub started_by: Option<String>,
}

/// Works on agents of a finished run again: `POST /api/v1/runs/{id}/retry`, with an `Idempotency-Key` header if
/// it may be repeated. If no kind is chosen, those that failed.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RetryRun {
    /// Agents that failed in any of its stages.
    #[serde(default)]
    pub failed: bool,
    /// Agents that were skipped in its last stage.
    #[serde(default)]
    pub skipped: bool,
    /// Agents that were not started, or were cut off.
    #[serde(default)]
    pub unfinished: bool,
    /// `NAME@VERSION`, or `NAME` for the highest version: the new run uses this playbook, for example a
    /// repaired one, instead of that of the old run. The parameters of the old run have to fit it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub playbook: Option<String>,
    /// Who starts the new run.
    #[serde(default)]
    #[schemars(length(max = MAX_ACTOR))]
    pub started_by: Option<String>,
    /// Why, for the history of the new run.
    #[serde(default)]
    #[schemars(length(max = MAX_REASON))]
    pub reason: Option<String>,
}
