//! What must be known about a plugin to resolve a playbook that uses it. The core takes it as a value, so it never
//! has to load a plugin.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::model::PluginKind;
use crate::ids::Digest;
use crate::time::Timestamp;

/// What a plugin says about itself, together with the digest of its bytes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct PluginInfo {
    /// Digest of the plugin's bytes.
    pub digest: Digest,
    /// Which world the plugin implements.
    pub kind: PluginKind,
    /// The name that the plugin gives itself.
    pub name: String,
    /// The version that the plugin gives itself.
    pub version: String,
    /// What the plugin does, in a sentence.
    pub summary: String,
    /// JSON Schema of the plugin's arguments.
    pub arguments: Value,
    /// Size of the plugin in bytes.
    pub size: u64,
    /// The functions of the host that the plugin may call and that need a grant, such as `agent.run-action`. Empty
    /// also for a plugin that was uploaded to an early version, which did not look for them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub calls: Vec<String>,
}

/// Where the bytes of a plugin came from, as it was said when they came.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Provenance {
    /// The source as it was written: `file:…` or `oci://…`.
    pub source: String,
    /// Digest of the manifest in the registry; null if the bytes came from elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<Digest>,
    /// When they came, the last time.
    pub at: Timestamp,
    /// Who had them brought; null if nobody said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
}

/// Somebody who signed a plugin: a key that a policy had, with which a signature was checked over the plugin's bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct SignedBy {
    /// The name that the policy gave the key then.
    pub name: String,
    /// The public key, as minisign writes it.
    pub key: String,
}

/// The function of the host with which a step has an agent run an action.
pub const RUN_ACTION: &str = "agent.run-action";

#[cfg(test)]
mod tests {
    use serde_json::{from_value, json, to_value};

    use super::super::{Grants, PluginPin};
    use super::*;

    #[test]
    fn a_pin_that_an_earlier_version_kept_has_no_signers() {
        let kept = json!({
            "source": "file:a.wasm", "digest": Digest::of(b"a"), "kind": "step", "name": "a", "version": "1.0.0",
            "grants": Grants::default(),
        });
        let pin: PluginPin = from_value(kept.clone()).unwrap();
        assert_eq!((&pin.provenance, pin.signers.len()), (&None, 0));
        assert_eq!(to_value(&pin).unwrap(), kept, "and it is written as it was");
        let ops = SignedBy { name: "ops".to_owned(), key: "RWQ".to_owned() };
        let signed = PluginPin { signers: vec![ops], ..pin };
        let shown = to_value(&signed).unwrap();
        assert_eq!(shown["signers"], json!([{ "name": "ops", "key": "RWQ" }]));
        assert_eq!(from_value::<PluginPin>(shown).unwrap(), signed);
    }
}
