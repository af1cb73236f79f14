//! What the reference agent says about its node: from its configuration, and the status from a file that is
//! read at each request, so that a script can change it.

use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::path::Path;

use serde_json::{Value, json};

use super::config::{AgentConfig, NodeStatus};
use crate::agent::door::is_status_word;

/// Bytes of a status file that are read: a word and a reason.
const MAX_STATUS_BYTES: u64 = 4_096;

/// The answer of `info/node`. Reads the status file, if there is one.
pub(super) fn node(config: &AgentConfig) -> Value {
    let status = config.status_file.as_deref().and_then(status_in);
    json!({
        "address": config.address,
        "agent_version": {
            "checkout": "unknown",
            "number": env!("CARGO_PKG_VERSION"),
            "taint": "unknown",
        },
        "attributes": config.attributes,
        "node_id": config.node_id,
        "node_status": status.as_ref().unwrap_or(&config.status),
        "store_id": config.store_id,
        "store_version": { "checkout": null, "number": config.store_version, "extra": null },
    })
}

/// The answer of `info/store`.
pub(super) fn store(config: &AgentConfig) -> Value {
    json!({ "cluster_id": config.cluster_id, "attributes": config.cluster_attributes })
}

/// The answer of `info/shards`.
pub(super) fn shards(config: &AgentConfig) -> Value {
    json!({ "shards": config.shards })
}

/// The status in a file; `None` when there is no file. A file that can't be read means an unknown status: the
/// configured one would hide that something is wrong.
fn status_in(path: &Path) -> Option<NodeStatus> {
    let mut text = String::new();
    let read =
        File::open(path).and_then(|file| file.take(MAX_STATUS_BYTES).read_to_string(&mut text));
    let unknown = |reason: &str| Some(NodeStatus::Unknown { reason: reason.to_owned() });
    if let Err(error) = read {
        if error.kind() == ErrorKind::NotFound {
            return None;
        }
        return unknown(&format!("failed to read the status file: {error}"));
    }
    let text = text.trim();
    match text.strip_prefix("UNKNOWN:") {
        Some(reason) => unknown(reason.trim()),
        None if is_status_word(text) => Some(NodeStatus::Word(text.to_owned())),
        None => unknown("the status file does not hold a word in capitals"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answers_have_the_recorded_fields() {
        let recorded = r#"{"address":{"client":"127.0.0.1:27017","member":null},"agent_version":{"checkout":"c","number":"0.1.0","taint":"not tainted"},"attributes":{"rack":null,"role":"SECONDARY"},"node_id":"node-1","node_status":"HEALTHY","store_id":"demo","store_version":{"checkout":null,"number":"1.2.3","extra":null}}"#;
        let mut recorded: Value = serde_json::from_str(recorded).unwrap();
        let config = "{ node_id: node-1, store_id: demo, store_version: 1.2.3, cluster_id: rs0, \
                      attributes: { rack: null, role: SECONDARY }, \
                      address: { client: '127.0.0.1:27017' }, \
                      shards: [{ commit_offset: { unit: seconds, value: 42 }, lag: null, role: Secondary, id: rs0 }] }";
        let config: AgentConfig = serde_yaml::from_str(config).unwrap();
        recorded["agent_version"] = node(&config)["agent_version"].clone();
        assert_eq!(node(&config).to_string(), recorded.to_string());
        assert_eq!(store(&config).to_string(), r#"{"cluster_id":"rs0","attributes":{}}"#);
        let shard = r#"{"shards":[{"commit_offset":{"unit":"seconds","value":42},"lag":null,"role":"Secondary","id":"rs0"}]}"#;
        assert_eq!(shards(&config).to_string(), shard);
    }

    #[test]
    fn a_status_file_counts_while_it_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("status");
        let config = AgentConfig { status_file: Some(path.clone()), ..AgentConfig::default() };
        let status = || node(&config)["node_status"].clone();
        assert_eq!(status(), "HEALTHY");
        std::fs::write(&path, "UNAVAILABLE\n").unwrap();
        assert_eq!(status(), "UNAVAILABLE");
        std::fs::write(&path, "UNKNOWN: no such code\n").unwrap();
        assert_eq!(status(), json!({ "UNKNOWN": "no such code" }));
        std::fs::write(&path, "fine").unwrap();
        let expected = json!({ "UNKNOWN": "the status file does not hold a word in capitals" });
        assert_eq!(status(), expected);
    }
}
