//! What a playbook has to know of a plugin to be resolved.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::model::PluginKind;
use crate::ids::Digest;

/// What a plugin says about itself, with the digest that it goes by.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct PluginInfo {
    /// Digest of its bytes.
    pub digest: Digest,
    /// Which world it implements.
    pub kind: PluginKind,
    /// The name that it gives itself.
    pub name: String,
    /// The version that it gives itself.
    pub version: String,
    /// What it does, in a sentence.
    pub summary: String,
    /// JSON Schema of its arguments.
    pub arguments: Value,
    /// Size in bytes.
    pub size: u64,
    /// The functions of the host that it may call and that need a grant, such as `agent.run-action`. None are
    /// known of a plugin that was uploaded to an early version.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub calls: Vec<String>,
}

/// The function that has an agent run an action.
pub const RUN_ACTION: &str = "agent.run-action";
