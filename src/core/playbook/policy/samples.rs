//! A policy and plugins for tests.

use serde_json::json;

use super::model::Policy;
use super::read::parse_policy;
use crate::ids::Digest;
use crate::playbook::{PluginInfo, PluginKind};

const KEYS: &str = "ops: RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3";

/// A policy with these rules.
pub(super) fn policy(rules: &str) -> Policy {
    let text = format!(
        "apiVersion: replicante.io/v1\nkind: Policy\nmetadata: {{ name: house }}\nspec:\n  keys: {{ {KEYS} }}\n  \
         plugins: [{rules}]\n"
    );
    parse_policy(text.as_bytes()).unwrap_or_else(|problems| panic!("{rules}: {problems}"))
}

/// A plugin of this name that takes any arguments.
pub(super) fn info(kind: PluginKind, name: &str) -> PluginInfo {
    PluginInfo {
        digest: Digest::of(name.as_bytes()),
        kind,
        name: name.to_owned(),
        version: "1.0.0".to_owned(),
        summary: String::new(),
        arguments: json!({}),
        size: 1,
        calls: Vec::new(),
    }
}
