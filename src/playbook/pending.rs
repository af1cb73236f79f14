//! Signatures of the document parser, so that its callers compile before it is there.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Cluster, Playbook, PluginInfo, Problem, Problems};
use crate::run::Digest;

/// The kinds of document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A playbook.
    Playbook,
    /// A cluster.
    Cluster,
}

/// Where a plugin comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A file beside the document.
    File(String),
    /// One that the server has.
    Store {
        /// Name.
        name: String,
        /// Version.
        version: String,
    },
    /// One in a registry.
    Oci(String),
}

/// A plugin as a playbook names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginSource {
    /// Name in the document.
    pub name: String,
    /// Where it comes from.
    pub source: Source,
    /// Digest, where the document has one.
    pub digest: Option<Digest>,
}

/// A playbook as it was written.
#[derive(Clone, Debug)]
pub struct PlaybookDocument(Value);

impl PlaybookDocument {
    /// The plugins that it names.
    pub fn plugins(&self) -> Vec<PluginSource> {
        let plugins = self.0["spec"]["plugins"].as_object().cloned().unwrap_or_default();
        let source = |(name, value): (String, Value)| {
            let text = value["source"].as_str().unwrap_or_default().to_owned();
            let source = match text.strip_prefix("file:") {
                Some(path) => Source::File(path.to_owned()),
                None => Source::Oci(text),
            };
            PluginSource { name, source, digest: None }
        };
        plugins.into_iter().map(source).collect()
    }
}

fn problem(message: &str) -> Problems {
    Problems(vec![Problem {
        code: "invalid".to_owned(),
        path: String::new(),
        line: Some(1),
        column: Some(1),
        message: message.to_owned(),
        found: None,
        expected: None,
    }])
}

fn value(bytes: &[u8]) -> Result<Value, Problems> {
    serde_yaml::from_slice(bytes).map_err(|error| problem(&error.to_string()))
}

/// Which kind of document this is.
pub fn kind_of(bytes: &[u8]) -> Result<Kind, Problems> {
    match value(bytes)?["kind"].as_str() {
        Some("Playbook") => Ok(Kind::Playbook),
        Some("Cluster") => Ok(Kind::Cluster),
        Some(_) | None => Err(problem("unknown kind")),
    }
}

/// Reads a playbook.
pub fn parse_playbook(bytes: &[u8]) -> Result<PlaybookDocument, Problems> {
    value(bytes).map(PlaybookDocument)
}

/// Reads a cluster.
pub fn parse_cluster(bytes: &[u8]) -> Result<Cluster, Problems> {
    let value = value(bytes)?;
    let name = value["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    Ok(Cluster { name, agents: Vec::new(), discovery: None, tls: None })
}

/// Resolves a playbook.
pub fn resolve(
    document: &PlaybookDocument,
    plugins: &BTreeMap<String, PluginInfo>,
    builtins: &[PluginInfo],
) -> Result<Playbook, Problems> {
    let _ = (document, plugins, builtins);
    Err(problem("not built yet"))
}
