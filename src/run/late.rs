//! Actions that end after their attempt was over.

use serde::{Deserialize, Serialize};

use super::agent_record::Outstanding;
use super::ids::AttemptKey;
use super::time::Timestamp;

/// The most characters of how an action ended: a line for people.
const MAX_LATE_OUTCOME: usize = 1_000;

/// How an action ended whose attempt was over already.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct LateEnd {
    /// The attempt.
    pub key: AttemptKey,
    /// Number of the call that scheduled the action.
    pub call: u32,
    /// When it was seen that it has ended.
    pub at: Timestamp,
    /// How, in words: `DONE`, or why it did not end well.
    pub outcome: String,
    /// Whether it ended well, and its result is there for the next attempt.
    pub result: bool,
}

impl LateEnd {
    pub(super) fn new(action: &Outstanding, at: Timestamp, outcome: &str, result: bool) -> Self {
        let outcome = outcome.chars().take(MAX_LATE_OUTCOME).collect();
        Self { key: action.key, call: action.call, at, outcome, result }
    }
}
