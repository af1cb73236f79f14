//! What is said about access.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::playbook::access::Verb;
use crate::run::{Digest, Timestamp};

/// Who sends a request.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct WhoAmI {
    /// Who they are, as actors of events are written; missing on a server that asks nobody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    /// The groups that they are in, as rules name them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// When the proof of who they are expires; missing if it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
    /// Whether the server asks who somebody is. If not, everybody may do everything.
    pub is_asked: bool,
    /// What they may do with something or other.
    pub may: Vec<Verb>,
}

/// Whether the sender may do something.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
pub struct CanI {
    /// Whether they may do it with that.
    pub allowed: bool,
    /// Whether they may do it with anything.
    pub somewhere: bool,
}

/// The document that says who may do what on a server.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct AccessNow {
    /// Name of the document.
    pub name: String,
    /// Digest of the content of its file.
    pub content: Digest,
    /// Why the present content of the file does not count, as text for people; missing if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}
