//! A line of the audit: who wanted to change what, and what became of it.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::run::Timestamp;
use crate::shown::clean;

/// The longest text of an entry, in characters. All together fit [`MAX_LINE`], and no person reads longer ones.
const MAX_TEXT: usize = 256;

/// The most texts that say what a change is about.
const MAX_ABOUT: usize = 12;

/// The longest line, in bytes. Each of its texts takes six bytes a character at most.
pub const MAX_LINE: usize = 64 * 1024;

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AuditOutcome {
    /// It was allowed, and begins. A second entry with the same `request` says how it ended; there is none if the server
    /// was killed meanwhile.
    Begins,
    /// It was done.
    Done,
    /// It was allowed, and failed.
    Failed,
    /// It was not allowed.
    Refused,
    /// It was allowed, and its client went away before it was answered: whether it was done is not known.
    Unknown,
}

/// A line of the audit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AuditEntry {
    /// When.
    pub at: Timestamp,
    /// Identifies the request.
    pub request: Uuid,
    /// Who, as actors are written; missing if that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub who: Option<String>,
    /// The address of the client, and for IPv6 its network; missing if that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// What they wanted to do, in words.
    pub what: String,
    /// The method and the path of the request.
    pub to: String,
    /// What it was about, by the names of things: `run`, `playbook`, `cluster`, `command` and so on.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub about: BTreeMap<String, String>,
    /// What became of it.
    pub outcome: AuditOutcome,
    /// The status of the answer; missing as long as there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The `code` of the problem with which it was answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
}

impl AuditEntry {
    /// The same with texts of a bounded length, and without what could not be shown to people.
    pub(super) fn bounded(&self) -> Self {
        let about = self.about.iter().take(MAX_ABOUT);
        Self {
            who: self.who.as_deref().map(bounded),
            from: self.from.as_deref().map(bounded),
            what: bounded(&self.what),
            to: bounded(&self.to),
            about: about.map(|(key, text)| (bounded(key), bounded(text))).collect(),
            code: self.code.as_deref().map(bounded),
            ..self.clone()
        }
    }

    /// The same without the reason that somebody gave, whose length is up to them.
    pub(super) fn shortest(&self) -> Self {
        let mut short = self.clone();
        short.about.remove("reason");
        short
    }
}

fn bounded(text: &str) -> String {
    let mut cut: String = text.chars().take(MAX_TEXT).collect();
    if cut.len() < text.len() {
        cut.push('…');
    }
    clean(&cut).to_string()
}
