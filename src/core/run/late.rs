//! Actions that end after their attempt was over. Their results are kept, so that the next attempt need not have
//! the agent do the same work again.

use serde::{Deserialize, Serialize};

use super::agent_record::{AgentRecord, Outstanding};
use super::journal::Journal;
use crate::ids::AttemptKey;
use crate::time::Timestamp;

/// How many characters are kept of how an action ended. It is one line for people.
const MAX_LATE_OUTCOME: usize = 1_000;

/// How an action ended whose attempt was over before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct LateEnd {
    /// The attempt that had the action done.
    pub key: AttemptKey,
    /// Number of the call that scheduled the action.
    pub call: u32,
    /// When the run found out that the action has ended.
    pub at: Timestamp,
    /// How the action ended: `DONE`, or human-readable text that says why it did not end well.
    pub outcome: String,
    /// Whether the action ended well and its result is kept for the next attempt.
    pub result: bool,
    /// Number of the last attempt that took the result and then came to nothing without its step being to blame.
    /// The next attempt still takes the result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept_by: Option<u32>,
}

impl LateEnd {
    pub(super) fn new(action: &Outstanding, at: Timestamp, outcome: &str, result: bool) -> Self {
        let outcome = outcome.chars().take(MAX_LATE_OUTCOME).collect();
        Self { key: action.key, call: action.call, at, outcome, result, kept_by: None }
    }

    /// The attempt after which the next attempt may take the result.
    pub(super) fn last_attempt(&self) -> AttemptKey {
        AttemptKey { attempt: self.kept_by.unwrap_or(self.key.attempt), ..self.key }
    }
}

impl AgentRecord {
    /// How the action of the present step's last attempt ended, if it ended after the attempt. An agent that is past its
    /// last step has that one as its present step.
    pub fn late_end(&self) -> Option<&LateEnd> {
        let last = self.attempts.len().saturating_sub(1);
        let step = self.step.min(u16::try_from(last).unwrap_or(u16::MAX));
        self.late.as_ref().filter(|late| late.last_attempt() == self.attempt_of(step))
    }

    /// How the action ended that a retry of the agent goes on with, in place of another one: it ended well after its attempt,
    /// and its step is the one that failed first.
    pub fn late_end_to_take(&self) -> Option<&LateEnd> {
        let first = self.ending.as_ref().map_or(self.step, |ending| ending.step);
        self.late_end().filter(|late| late.result && late.key.step == first)
    }
}

impl Journal {
    /// The number of the attempt that the step sees. A step that goes on from an earlier attempt must see the
    /// number that was seen in that attempt. Attempts that an early version began are the exception: each of them
    /// shows its own number.
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

/// What an attempt took over from an earlier attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Taken {
    /// Number of the attempt whose action ended late. `None` in an attempt that an early version began: then it is
    /// the attempt just before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<u32>,
    /// Number of the attempt whose seed this attempt goes on with.
    pub seed_of: u32,
    /// When this attempt began. Its time limit counts from here; the logical time of its step goes on from the
    /// earlier attempt.
    pub at: Timestamp,
    /// How many answers this attempt began with. The last of them is that of the action that ended late.
    pub answers: u32,
}
