//! What somebody may do.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What somebody may do.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "AccessVerb")]
pub enum Verb {
    /// Look at things. What somebody may not view does not exist for them, whatever else they may do.
    View,
    /// Start runs.
    Start,
    /// Steer runs: pause, resume, retry, give up, cancel and signal.
    Steer,
    /// Approve and reject runs.
    Approve,
    /// Apply and delete playbooks.
    Apply,
    /// Upload, import and delete plugins.
    Upload,
    /// Apply and delete clusters.
    Operate,
    /// Run commands on nodes without a playbook.
    Exec,
    /// Everything, also what loosens a guard, and what is about the server itself.
    Admin,
}

impl Verb {
    /// All verbs, in the order in which messages list them.
    pub const ALL: [Self; 9] = [
        Self::View,
        Self::Start,
        Self::Steer,
        Self::Approve,
        Self::Apply,
        Self::Upload,
        Self::Operate,
        Self::Exec,
        Self::Admin,
    ];

    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::View => "view",
            Self::Start => "start",
            Self::Steer => "steer",
            Self::Approve => "approve",
            Self::Apply => "apply",
            Self::Upload => "upload",
            Self::Operate => "operate",
            Self::Exec => "exec",
            Self::Admin => "admin",
        }
    }

    /// The verb of this word.
    pub fn named(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|verb| verb.as_str() == word)
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
