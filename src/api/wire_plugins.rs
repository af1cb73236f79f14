//! The types of plugins, of what is known of them, and of their imports from registries.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::limits::MAX_ACTOR;
use crate::playbook::{PluginInfo, Provenance};
use crate::run::{Digest, Timestamp};

/// A plugin in answers.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct PluginView {
    /// What the plugin says about itself.
    #[serde(flatten)]
    pub info: PluginInfo,
    /// When it was first uploaded or imported.
    pub added_at: Timestamp,
    /// Since when nothing pins it (no playbook and no run that is kept), as far as the server has noticed, or when it was
    /// uploaded or imported again after that; null while something pins it, and if it is built into the server.
    #[serde(default)]
    pub unpinned_at: Option<Timestamp>,
    /// When the server removes it, unless something pins it or it is uploaded again before; null if `unpinned_at` is.
    #[serde(default)]
    pub goes_at: Option<Timestamp>,
    /// Where it came from, as far as that is known: one entry for each source.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub provenance: Vec<Provenance>,
    /// Its signatures.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub signatures: Vec<SignatureView>,
    /// What the request did: `created`, `updated` or `unchanged`; null in a read.
    #[schemars(extend("enum" = ["created", "updated", "unchanged", null]))]
    pub change: Option<String>,
}

/// Brings a plugin from a registry: `POST /api/v1/imports`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StartImport {
    /// The source, as in a playbook: `oci://HOST/REPOSITORY:TAG` or `oci://HOST/REPOSITORY@sha256:DIGEST`.
    pub source: String,
    /// The digest that the plugin must have; if it is null or missing, any.
    #[serde(default)]
    pub digest: Option<Digest>,
    /// Who wants it: kept with the plugin.
    #[serde(default)]
    #[schemars(length(max = MAX_ACTOR))]
    pub actor: Option<String>,
}

/// An import in answers. It is known only to the server that makes it, and for some minutes after its end. While it
/// goes on, somebody has to ask for it at least every 30 s, or it is given up and leaves nothing.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ImportView {
    /// Identifier of the import.
    pub id: Uuid,
    /// The source, as in the request.
    pub source: String,
    /// What it does.
    pub state: ImportState,
    /// Bytes of the plugin that have come from the registry.
    pub received: u64,
    /// Bytes that the plugin has; null as long as that is not known.
    pub total: Option<u64>,
    /// Digest of the manifest; null as long as it is not known.
    pub manifest: Option<Digest>,
    /// The plugin, which is in the store now; null unless `state` is `done`.
    pub plugin: Option<PluginView>,
    /// What went wrong; null unless `state` is `failed`.
    pub problem: Option<ImportProblem>,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When it ended; null as long as it goes on.
    pub ended_at: Option<Timestamp>,
}

/// What an import does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ImportState {
    /// It waits until others have ended.
    Waiting,
    /// It reads from the registry.
    Pulling,
    /// What was read is checked and compiled.
    Checking,
    /// The plugin is in the store.
    Done,
    /// It failed, and left nothing.
    Failed,
}

impl ImportState {
    /// Whether the import has ended.
    pub const fn is_final(self) -> bool {
        match self {
            Self::Waiting | Self::Pulling | Self::Checking => false,
            Self::Done | Self::Failed => true,
        }
    }
}

/// Why an import failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ImportProblem {
    /// A stable word, such as `registry-denied` or `unknown-import`.
    pub code: String,
    /// What was found and what was expected.
    pub message: String,
    /// Whether the same may succeed in a moment.
    pub retryable: bool,
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
