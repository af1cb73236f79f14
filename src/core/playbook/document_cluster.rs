//! Clusters as people write them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::dialect::Dialect;
use super::document::API_VERSION;
use super::guards::{
    FreezeFile, GuardFile, MAX_FREEZES, MAX_GUARDS, MAX_HEALTHY, MAX_WINDOWS, WindowFile,
};
use super::model::Identity;
use super::names::{CREDENTIALS_PATTERN, LABEL_PATTERN};
use super::units::STATUS_PATTERN;
use crate::length::LENGTH_FORMAT;

/// A cluster: a named set of agents.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Cluster")]
pub(super) struct ClusterFile {
    /// Version of this format.
    #[serde(rename = "apiVersion")]
    #[schemars(extend("const" = API_VERSION))]
    #[expect(dead_code, reason = "it is checked before the document is read")]
    api_version: String,
    /// Kind of the document.
    #[schemars(extend("const" = "Cluster"))]
    #[expect(dead_code, reason = "it is checked before the document is read")]
    kind: String,
    /// What the cluster is called.
    pub(super) metadata: ClusterMetadata,
    /// The agents of the cluster, and how to reach them.
    pub(super) spec: ClusterSpec,
}

/// What a cluster is called.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ClusterMetadata {
    /// Name: lowercase letters, digits and dashes.
    #[schemars(extend("pattern" = LABEL_PATTERN))]
    pub(super) name: String,
}

/// The agents of a cluster.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ClusterSpec {
    /// The agents that are listed by hand.
    #[serde(default)]
    pub(super) agents: Vec<AgentFile>,
    /// The platform that is asked for further agents.
    #[serde(default)]
    pub(super) discovery: Option<DiscoveryFile>,
    /// The credentials for agents: a name under the server's `--credentials`. What is there says itself for which origins
    /// it is, and goes nowhere else. Agents with `https` addresses are trusted by its `ca.pem` alone.
    #[serde(default)]
    #[schemars(extend("pattern" = CREDENTIALS_PATTERN))]
    pub(super) credentials: Option<String>,
    /// Which specification of the agent API the agents follow: `main` (agents of SDKs since 2023, and Replibook's own) or
    /// `stable` (the released agents for ZooKeeper, Kafka and MongoDB). When absent, that is found out for each agent.
    #[serde(default)]
    pub(super) dialect: Option<Dialect>,
    /// No longer taken: a server opens no path that a document names. `credentials` has taken its place.
    #[serde(default)]
    #[schemars(extend("deprecated" = true))]
    pub(super) tls: Option<Map<String, Value>>,
    /// The `cluster_id` that agents must report for their store (`info/store`). When absent it is
    /// `discovery.cluster`; without that, no `cluster_id` is compared. An agent that reports another one fails
    /// (`wrong-node`), and nothing is sent to it.
    #[serde(default)]
    pub(super) cluster_id: Option<String>,
    /// How many agents may be out at once, whatever a strategy decides; nothing is limited when absent.
    #[serde(default)]
    #[schemars(extend("maxItems" = MAX_GUARDS))]
    pub(super) guards: Vec<GuardFile>,
    /// The statuses of nodes that are not out, for guards: words in capitals; `[HEALTHY]` when absent.
    #[serde(default)]
    #[schemars(extend("minItems" = 1, "maxItems" = MAX_HEALTHY, "items" = {"type": "string", "pattern": STATUS_PATTERN}))]
    pub(super) healthy: Option<Vec<String>>,
    /// When agents may be started; at any time when absent.
    #[serde(default)]
    #[schemars(extend("maxItems" = MAX_WINDOWS))]
    pub(super) windows: Vec<WindowFile>,
    /// When no agent is started, whatever `windows` says.
    #[serde(default)]
    #[schemars(extend("maxItems" = MAX_FREEZES))]
    pub(super) freeze: Vec<FreezeFile>,
}

/// One agent of a cluster.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AgentFile {
    /// Identifier, unique in the cluster.
    pub(super) id: String,
    /// Base URL of the agent's API; may have a path.
    pub(super) address: String,
    /// Attributes of the agent. They override those that the agent reports.
    #[serde(default)]
    #[schemars(schema_with = "attributes_schema")]
    pub(super) attributes: Map<String, Value>,
    /// Whether the `node_id` that the agent reports must be this identifier, and its `cluster_id` that of the
    /// cluster, if known: `check` or `ignore`; `check` when absent. An agent that reports another one fails
    /// (`wrong-node`), and nothing is sent to it.
    #[serde(default)]
    pub(super) identity: IdentityFile,
}

/// Whether what answers at an agent's address must be that agent.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "Identity")]
pub(super) enum IdentityFile {
    /// It must be. An agent that reports no `node_id` can't be compared, and takes part.
    #[default]
    Check,
    /// Nothing is compared.
    Ignore,
}

impl From<IdentityFile> for Identity {
    fn from(file: IdentityFile) -> Self {
        match file {
            IdentityFile::Check => Self::Check,
            IdentityFile::Ignore => Self::Ignore,
        }
    }
}

fn attributes_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "object",
        "additionalProperties": {"type": ["string", "number", "boolean", "null"]},
    })
}

/// A platform that is asked for the agents of a cluster.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DiscoveryFile {
    /// Base URL of the platform.
    pub(super) url: String,
    /// Identifier of the cluster on the platform.
    pub(super) cluster: String,
    /// How often the platform is asked, at most once a second; `10s` when absent.
    #[serde(default)]
    #[schemars(extend("format" = LENGTH_FORMAT))]
    #[schemars(extend("default" = "10s"))]
    pub(super) interval: Option<String>,
    /// The credentials for the platform: a name under the server's `--credentials`, which has to be of `use: platform`.
    #[serde(default)]
    #[schemars(extend("pattern" = CREDENTIALS_PATTERN))]
    pub(super) credentials: Option<String>,
}
