//! Guards as people write them.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::model::MAX_REASON_CHARS;
use crate::length::LENGTH_FORMAT;
use crate::playbook::names::LABEL_PATTERN;
use crate::playbook::units::amount_schema;

/// A limit on how many agents may be out at once. An agent is out while a run works on it, while it does not answer,
/// and while its node has a status that is not healthy.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Guard")]
pub(crate) struct GuardFile {
    /// Name, unique in the cluster. `windows` and `freeze` are taken: they stand for the windows and the freezes.
    #[schemars(extend("pattern" = LABEL_PATTERN))]
    pub(super) name: String,
    /// `attributes.NAME`: agents with the same value of this attribute form a group, and those without the attribute
    /// form one of their own. All agents are one group when absent.
    #[serde(default)]
    pub(super) by: Option<String>,
    /// How many agents of a group may be out: a number such as `1`, or a share of the group such as `33%`, rounded
    /// down.
    #[schemars(schema_with = "amount_schema")]
    pub(super) max_out: Value,
    /// How many groups may have agents that are out; all of them when absent.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub(super) groups: Option<u32>,
}

/// A time in which agents may be started. If a cluster has any windows, no agent is started outside of them.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Window")]
pub(crate) struct WindowFile {
    /// When the window opens: a cron expression of five fields (minute, hour, day of the month, month, day of the
    /// week), such as `0 22 * * SAT`.
    pub(super) every: String,
    /// For how long the window is open, for example `4h`.
    #[serde(rename = "for")]
    #[schemars(extend("format" = LENGTH_FORMAT))]
    pub(super) length: String,
    /// The time zone of `every`, by its name in the IANA database, such as `Europe/Berlin`; `UTC` when absent.
    #[serde(default)]
    #[schemars(extend("default" = "UTC"))]
    pub(super) zone: Option<String>,
}

/// A time in which no agent is started, whatever the windows say.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Freeze")]
pub(crate) struct FreezeFile {
    /// When the freeze begins, in RFC 3339 with an offset, for example `2026-12-23T18:00:00+01:00`.
    pub(super) from: String,
    /// When the freeze ends, likewise.
    pub(super) to: String,
    /// Why, for people.
    #[schemars(length(min = 1, max = MAX_REASON_CHARS))]
    pub(super) reason: String,
}
