//! Plugins in answers, and what is known of them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::playbook::PluginInfo;
use crate::run::Timestamp;

/// A plugin in answers.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct PluginView {
    /// What the plugin says about itself.
    #[serde(flatten)]
    pub info: PluginInfo,
    /// When it was first uploaded.
    pub added_at: Timestamp,
    /// Its signatures.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub signatures: Vec<SignatureView>,
    /// What the request did: `created`, `updated` or `unchanged`; null in a read.
    #[schemars(extend("enum" = ["created", "updated", "unchanged", null]))]
    pub change: Option<String>,
}

/// A signature of a plugin in answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SignatureView {
    /// Identifier of the key that made it, as the signature says itself.
    pub key_id: String,
    /// The name that the server's policy gives that key, if the signature was checked with it over the plugin's bytes;
    /// null if it was not, or if there is no policy.
    pub signer: Option<String>,
    /// The comment that is signed too.
    pub trusted_comment: String,
}
