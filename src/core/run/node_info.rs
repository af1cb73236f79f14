//! What an agent says about its node.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::datastore::Datastore;
use super::json_text::JsonText;

/// What an agent says about its node, reduced to what is used; `raw` is all of it.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeInfo {
    /// A word in capitals; `UNKNOWN` when the agent gave a reason instead.
    pub status: String,
    /// Attributes that the agent reports.
    pub attributes: Map<String, Value>,
    /// The whole answer of `info/node`.
    pub raw: Value,
    /// What it says of its store, where it was asked.
    pub datastore: Datastore,
}

/// The same as it is kept in a journal, which may hold it many times.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[schemars(rename = "NodeInfo")]
pub struct KeptNode {
    /// A word in capitals; `UNKNOWN` when the agent gave a reason instead.
    pub status: String,
    /// Attributes that the agent reports: an object.
    #[schemars(with = "serde_json::Map<String, Value>")]
    pub attributes: JsonText,
    /// The whole answer of `info/node`.
    pub raw: JsonText,
    /// What it says of its store, where it was asked.
    #[serde(default, skip_serializing_if = "Datastore::is_empty")]
    pub datastore: Datastore,
}

impl KeptNode {
    /// Attributes that the agent reports.
    pub fn attributes(&self) -> Map<String, Value> {
        match self.attributes.value() {
            Value::Object(attributes) => attributes,
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_) => Map::new(),
        }
    }
}

impl From<NodeInfo> for KeptNode {
    fn from(node: NodeInfo) -> Self {
        let NodeInfo { status, attributes, raw, datastore } = node;
        Self { status, attributes: Value::Object(attributes).into(), raw: raw.into(), datastore }
    }
}
