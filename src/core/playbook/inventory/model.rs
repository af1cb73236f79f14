//! An inventory, as it was read. It is valid by construction: only [`parse_inventory`](super::parse_inventory) makes one.

use std::collections::BTreeMap;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::time::Millis;

/// The nodes of a gateway.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Inventory {
    /// What the document is called.
    pub name: String,
    /// Identifier of the cluster that the nodes are.
    pub cluster: String,
    /// The nodes, in the order of the document. No two have the same identifier.
    pub nodes: Vec<InventoryNode>,
}

/// A node, with all that counts for it: what it says itself, and what its groups say.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct InventoryNode {
    /// Identifier of the node.
    pub id: String,
    /// The groups of the node, in the order of the document, without `all`.
    pub groups: Vec<String>,
    /// How it is reached.
    pub place: InventoryPlace,
    /// Its attributes, with one for each group.
    pub attributes: Map<String, Value>,
    /// The actions that are commands, by kind. Nodes share them.
    pub actions: Arc<BTreeMap<String, InventoryAction>>,
    /// Which of a gateway's own actions may be done there.
    pub allow: Vec<Allowance>,
    /// As whom actions work there; `None`: as whoever is there.
    pub become_user: Option<String>,
    /// What tells the status of the node: a program and its arguments. `None`: a node that can be reached is healthy.
    pub node_status: Option<Vec<String>>,
    /// Folder on the node for what was done there; `None`: the gateway's choice.
    pub work_folder: Option<String>,
}

/// How a node is reached.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase", tag = "carrier")]
pub enum InventoryPlace {
    /// By OpenSSH's client.
    Ssh {
        /// Name, address, or alias of the `ssh_config`.
        host: String,
        /// As whom to log in.
        user: Option<String>,
        /// The port.
        port: Option<u16>,
    },
    /// It is the machine of the gateway.
    Local,
    /// By `docker exec` or `podman exec`.
    Container {
        /// Which of the two.
        engine: ContainerEngine,
        /// The container.
        name: String,
        /// As whom to work in it.
        user: Option<String>,
    },
    /// By `kubectl exec`.
    Pod {
        /// The context of the kubeconfig.
        context: Option<String>,
        /// The namespace.
        namespace: Option<String>,
        /// The pod.
        pod: String,
        /// The container of the pod.
        container: Option<String>,
    },
}

/// What runs containers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ContainerEngine {
    /// Docker.
    Docker,
    /// Podman.
    Podman,
}

/// An action that is a command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct InventoryAction {
    /// The program and its arguments.
    pub command: Vec<String>,
    /// How long it may take.
    pub timeout: Millis,
    /// As whom it works; `None`: as the node says.
    pub become_user: Option<String>,
    /// Whether it understands `"check": true`.
    pub check: bool,
}

/// An action that a gateway has by itself, which an inventory may allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "Allow")]
pub enum Allowance {
    /// `replicante.io/command`: any program, with its arguments.
    Command,
    /// `replicante.io/script`: a text that an interpreter runs.
    Script,
    /// `replicante.io/put-file`: a file, written whole.
    PutFile,
}

impl Allowance {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Command, Self::Script, Self::PutFile];

    /// The kind of the action.
    pub const fn kind(self) -> &'static str {
        match self {
            Self::Command => "replicante.io/command",
            Self::Script => "replicante.io/script",
            Self::PutFile => "replicante.io/put-file",
        }
    }

    /// The word by which an inventory allows it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Command => "command",
            Self::Script => "script",
            Self::PutFile => "put-file",
        }
    }
}
