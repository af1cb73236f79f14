//! An inventory, as people write it.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::model::Allowance;
use crate::length::LENGTH_FORMAT;
use crate::playbook::document::API_VERSION;
use crate::playbook::names::LABEL_PATTERN;

/// The most nodes of an inventory. A gateway lists all of them in one answer, and an engine asks each.
pub const MAX_NODES: usize = 20_000;

/// The most groups of an inventory: each is told apart by a person.
pub const MAX_GROUPS: usize = 1_000;

/// The most groups that a node is in. Each is an attribute of the node.
pub const MAX_GROUPS_OF_NODE: usize = 64;

/// The most actions of a group or a node.
pub const MAX_ACTIONS: usize = 200;

/// The most attributes of a group or a node. An engine takes some thousand values about a node, with its groups and
/// facts among them.
pub const MAX_ATTRIBUTES: usize = 200;

/// The most words of a command.
pub const MAX_COMMAND_WORDS: usize = 256;

/// The most bytes of a command, with its words together. Systems take no more than some 128 KiB in one word.
pub const MAX_COMMAND_BYTES: usize = 64 * 1024;

/// Nodes that have no agent. It is a file of the gateway (`replibook gateway --inventory FILE`), and can't be applied.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Inventory")]
pub(crate) struct InventoryFile {
    /// Version of this format.
    #[serde(rename = "apiVersion")]
    #[schemars(extend("const" = API_VERSION))]
    #[expect(dead_code, reason = "it is checked before the document is read")]
    api_version: String,
    /// Kind of the document.
    #[schemars(extend("const" = "Inventory"))]
    #[expect(dead_code, reason = "it is checked before the document is read")]
    kind: String,
    /// What the inventory is called.
    pub(super) metadata: InventoryMetadata,
    /// The nodes, and what may be done there.
    pub(super) spec: InventorySpec,
}

/// What an inventory is called.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct InventoryMetadata {
    /// Name: lowercase letters, digits and dashes.
    #[schemars(extend("pattern" = LABEL_PATTERN))]
    pub(super) name: String,
}

/// The nodes of an inventory.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct InventorySpec {
    /// Identifier of the cluster, as `discovery.cluster` of a Cluster has it; the name of the inventory when absent.
    #[serde(default)]
    pub(super) cluster: Option<String>,
    /// What counts for all nodes of a group, by the name of the group. All nodes are in the group `all`.
    #[serde(default)]
    #[schemars(extend("maxProperties" = MAX_GROUPS))]
    pub(super) groups: BTreeMap<String, SettingsFile>,
    /// The nodes.
    #[serde(default)]
    #[schemars(extend("maxItems" = MAX_NODES))]
    pub(super) nodes: Vec<NodeFile>,
}

/// A node. What it says itself counts over what its groups say.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(extend("additionalProperties" = false))]
pub(super) struct NodeFile {
    /// Identifier of the node, which engines know as that of an agent.
    pub(super) id: String,
    /// The groups of the node, besides `all`. What a later one says counts over what an earlier one says, and
    /// over what `all` says. Each is an attribute of the node: `group.NAME`, which is true.
    #[serde(default)]
    #[schemars(extend("maxItems" = MAX_GROUPS_OF_NODE))]
    pub(super) groups: Vec<String>,
    #[serde(flatten)]
    pub(super) settings: SettingsFile,
}

/// How nodes are reached, and what may be done there.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(extend("additionalProperties" = false))]
pub(super) struct SettingsFile {
    /// What reaches the node; `ssh` when absent.
    pub(super) carrier: Option<CarrierFile>,
    /// For `ssh`: the name or address of the node, or an alias of the `ssh_config`; the identifier of the node when
    /// absent.
    pub(super) host: Option<String>,
    /// For `ssh`: as whom to log in; as the `ssh_config` says when absent. For `docker` and `podman`: as whom to work in
    /// the container.
    pub(super) user: Option<String>,
    /// For `ssh`: the port; as the `ssh_config` says when absent.
    #[schemars(extend("minimum" = 1))]
    pub(super) port: Option<u16>,
    /// For `docker` and `podman`: the container; the identifier of the node when absent. For `kubectl`: the container of
    /// the pod; the pod's own choice when absent.
    pub(super) container: Option<String>,
    /// For `kubectl`: the pod; the identifier of the node when absent.
    pub(super) pod: Option<String>,
    /// For `kubectl`: the namespace of the pod; that of the context when absent.
    pub(super) namespace: Option<String>,
    /// For `kubectl`: the context of the kubeconfig; the present one when absent.
    pub(super) context: Option<String>,
    /// Attributes of the node, over the facts that are found out there.
    #[schemars(schema_with = "attributes_schema")]
    pub(super) attributes: Map<String, Value>,
    /// Actions that are commands, by kind. A command gets the arguments of its action as JSON on stdin, and what it prints
    /// is the result.
    #[schemars(extend("maxProperties" = MAX_ACTIONS))]
    pub(super) actions: BTreeMap<String, ActionFile>,
    /// Which of the actions that a gateway has by itself may be done: `replicante.io/command`, `replicante.io/script`,
    /// `replicante.io/put-file`. None when absent: each of them lets an engine do anything on the node.
    pub(super) allow: Option<Vec<Allowance>>,
    /// As whom actions work on the node, by `sudo -n`; as whoever logs in when absent.
    #[serde(rename = "become")]
    pub(super) become_user: Option<String>,
    /// What tells the status of the node.
    pub(super) node_status: Option<StatusFile>,
    /// Folder on the node in which the gateway keeps what was done there; `~/.replibook-gateway` when absent.
    pub(super) work_folder: Option<String>,
}

/// What reaches a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "Carrier")]
pub(super) enum CarrierFile {
    /// OpenSSH's client on the machine of the gateway, with its own configuration, keys and known hosts.
    Ssh,
    /// The machine of the gateway itself.
    Local,
    /// `docker exec`.
    Docker,
    /// `podman exec`.
    Podman,
    /// `kubectl exec`.
    Kubectl,
}

impl CarrierFile {
    /// The word in a document.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Ssh => "ssh",
            Self::Local => "local",
            Self::Docker => "docker",
            Self::Podman => "podman",
            Self::Kubectl => "kubectl",
        }
    }
}

/// An action that is a command.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ActionFile {
    /// The program and its arguments.
    #[schemars(extend("minItems" = 1, "maxItems" = MAX_COMMAND_WORDS))]
    pub(super) command: Vec<String>,
    /// How long the command may take, at most `24h`; then it is killed and the action fails. `5m` when absent.
    #[serde(default)]
    #[schemars(extend("format" = LENGTH_FORMAT))]
    #[schemars(extend("default" = "5m"))]
    pub(super) timeout: Option<String>,
    /// As whom the command works on the node, by `sudo -n`; as the node says when absent.
    #[serde(rename = "become", default)]
    pub(super) become_user: Option<String>,
    /// Whether the command understands `"check": true` in its arguments, and then only tells what it would change. Such an
    /// action is refused when it does not.
    #[serde(default)]
    pub(super) check: bool,
}

/// What tells the status of a node.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct StatusFile {
    /// The program and its arguments. It prints a word in capitals (`HEALTHY`, `UNAVAILABLE`), or `UNKNOWN: reason`.
    #[schemars(extend("minItems" = 1, "maxItems" = MAX_COMMAND_WORDS))]
    pub(super) command: Vec<String>,
}

fn attributes_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "object",
        "maxProperties": MAX_ATTRIBUTES,
        "additionalProperties": {"type": ["string", "number", "boolean", "null"]},
    })
}
