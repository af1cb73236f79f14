//! Signatures that the API needs of this module, until their bodies are merged.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{Cluster, Playbook, PluginInfo, Problem, Problems};
use crate::run::Digest;

/// A playbook as it was written.
#[derive(Clone, Debug)]
pub struct PlaybookDocument(());

/// A plugin that a document names.
#[derive(Clone, Debug)]
pub struct PluginSource {
    /// The name used in the document.
    pub name: String,
    /// Where it comes from.
    pub source: Source,
    /// The digest that the document asks for.
    pub digest: Option<Digest>,
}

/// Where a plugin comes from.
#[derive(Clone, Debug)]
pub enum Source {
    /// A file beside the document.
    File(String),
    /// The store.
    Store {
        /// Name that the plugin gives itself.
        name: String,
        /// Version that the plugin gives itself.
        version: String,
    },
    /// A registry.
    Oci(String),
}

impl PlaybookDocument {
    /// The plugins that the document names.
    pub fn plugins(&self) -> Vec<PluginSource> {
        Vec::new()
    }

    /// The content without comments and layout.
    pub fn content(&self) -> Value {
        Value::Null
    }

    /// A problem at a place in the document.
    pub fn problem_at(&self, pointer: &str, code: &str, message: String) -> Problem {
        Problem {
            code: code.to_owned(),
            path: pointer.to_owned(),
            line: None,
            column: None,
            message,
            found: None,
            expected: None,
        }
    }
}

fn pending() -> Problems {
    let document = PlaybookDocument(());
    Problems(vec![document.problem_at("", "not-built", "not built yet".to_owned())])
}

/// Reads a playbook.
pub fn parse_playbook(_text: &[u8]) -> Result<PlaybookDocument, Problems> {
    Err(pending())
}

/// Resolves a playbook.
pub fn resolve(
    _document: &PlaybookDocument,
    _plugins: &BTreeMap<String, PluginInfo>,
    _builtins: &[PluginInfo],
) -> Result<Playbook, Problems> {
    Err(pending())
}

/// Reads a cluster.
pub fn parse_cluster(_text: &[u8]) -> Result<Cluster, Problems> {
    Err(pending())
}

/// Checks parameters.
pub fn check_params(
    _playbook: &Playbook,
    _given: Map<String, Value>,
) -> Result<Map<String, Value>, Problems> {
    Err(pending())
}
