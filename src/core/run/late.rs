//! Actions that end after their attempt was over.

use serde::{Deserialize, Serialize};

use super::agent_record::Outstanding;
use super::journal::Journal;
use crate::ids::AttemptKey;
use crate::time::Timestamp;

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
    /// Number of the last attempt that took the result and came to nothing, which was none of its step's
    /// doing: the next one takes it all the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept_by: Option<u32>,
}

impl LateEnd {
    pub(super) fn new(action: &Outstanding, at: Timestamp, outcome: &str, result: bool) -> Self {
        let outcome = outcome.chars().take(MAX_LATE_OUTCOME).collect();
        Self { key: action.key, call: action.call, at, outcome, result, kept_by: None }
    }

    /// The attempt after which the next one may take the result.
    pub(super) fn last_attempt(&self) -> AttemptKey {
        AttemptKey { attempt: self.kept_by.unwrap_or(self.key.attempt), ..self.key }
    }
}

impl Journal {
    /// The number of the attempt that its step sees. What goes on from another attempt has to see the same,
    /// but for what an early version began, which showed each its own.
    ///
    /// # Example
    /// ```
    /// use replibook_core::run::{AgentSeq, AttemptKey, Journal, Taken, Timestamp};
    /// use serde_json::json;
    ///
    /// let (run, now) = ("0192a3b4-0000-7000-8000-000000000001".parse()?, Timestamp::from_millis(0));
    /// let key = AttemptKey { agent: AgentSeq(0), stage: 0, step: 0, attempt: 2 };
    /// let mut journal = Journal::new(run, key, "node-1".into(), "drain".to_owned(), now, json!({}));
    /// assert_eq!(journal.seen_attempt(), 2);
    ///
    /// // The second attempt goes on where the first one ended late.
    /// journal.taken = Some(Taken { from: Some(1), seed_of: 1, at: now, answers: 1 });
    /// assert_eq!(journal.seen_attempt(), 1);
    /// assert_eq!(journal.taken_from().map(|key| key.attempt), Some(1));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn seen_attempt(&self) -> u32 {
        match self.taken {
            Some(Taken { from: Some(_), seed_of, .. }) => seed_of,
            Some(Taken { from: None, .. }) | None => self.key.attempt,
        }
    }
}

/// What an attempt took over from one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Taken {
    /// Number of the attempt whose action ended late; none: the one just before, and an early version began
    /// this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<u32>,
    /// Number of the attempt whose seed it goes on with.
    pub seed_of: u32,
    /// When it began: its time limit counts from here. The logical time of its step goes on from before.
    pub at: Timestamp,
    /// How many answers it began with; the last one is that of the action that ended late.
    pub answers: u32,
}
