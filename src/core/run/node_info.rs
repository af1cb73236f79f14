//! What an agent says about its node: as values while it is read, and as text where it is kept.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::datastore::Datastore;
use super::json_text::JsonText;

/// What an agent says about its node, reduced to the parts that are used. `raw` has the whole answer.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeInfo {
    /// A word in capitals, or `UNKNOWN` if the agent gave a reason instead.
    pub status: String,
    /// Attributes that the agent reports.
    pub attributes: Map<String, Value>,
    /// The whole answer of `info/node`.
    pub raw: Value,
    /// What the agent says about its store, if it was asked.
    pub datastore: Datastore,
}

/// [`NodeInfo`] as it is kept in a journal, which may have it many times. It is kept as text to take less memory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[schemars(rename = "NodeInfo")]
pub struct KeptNode {
    /// A word in capitals, or `UNKNOWN` if the agent gave a reason instead.
    pub status: String,
    /// Attributes that the agent reports, as a JSON object.
    #[schemars(with = "serde_json::Map<String, Value>")]
    pub attributes: JsonText,
    /// The whole answer of `info/node`.
    pub raw: JsonText,
    /// What the agent says about its store, if it was asked.
    #[serde(default, skip_serializing_if = "Datastore::is_empty")]
    pub datastore: Datastore,
}

impl KeptNode {
    /// Attributes that the agent reports, parsed.
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
