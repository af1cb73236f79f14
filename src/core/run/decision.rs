//! What a strategy is asked and what it answers, in the host's own types.

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::agent_record::AgentRecord;
use super::status::AgentState;
use crate::ids::AgentId;
use crate::playbook::{Expr, ExprError};
use crate::time::{Millis, Timestamp};

/// The most agents that one decision may start, so that a decision fits one commit: an agent that
/// starts is a record and two events, a decision may carry [`MAX_LOG_LINES`], and a commit is
/// bounded to 1,000 documents.
pub const MAX_START: u32 = 250;

/// The most agents that one decision may start and leave out together, for the same reason.
pub const MAX_DECIDED: u32 = 260;

/// The most log lines of one activation or decision, for the same reason.
pub const MAX_LOG_LINES: usize = 200;

/// The most bytes of log lines of one activation or decision, as JSON: with a journal and a record at their
/// limits they still fit one commit.
pub const MAX_LOG_BYTES: usize = 256 * 1024;

/// The most identifiers in one page of the roster.
pub const MAX_ROSTER_PAGE: u32 = 1_000;

/// The most agents that one decision may have asked afresh: a page of the roster. Asking them all takes
/// some seconds where they answer, and their numbers are written with every commit of the run.
pub const MAX_REFRESH: usize = 1_000;

/// The largest memo in bytes: it is written with every commit of the run, where it has at most six times as many
/// as JSON.
pub const MAX_MEMO_BYTES: usize = 64 * 1024;

/// The longest label of a batch: it stands in tables.
pub(super) const MAX_LABEL_CHARS: usize = 63;

/// The shortest wait that a strategy gets with `wait-until`, so that it can't keep the host busy.
const MIN_WAIT: Millis = Millis(100);

/// Decisions in a row that may change nothing before the shortest wait doubles with each further one.
/// A strategy that looks at every agent of a large cluster, some thousands at a time, gets through. So
/// many are also told one by one, if their memo differs.
pub(super) const QUICK_WAITS: u32 = 40;

/// How often the shortest wait doubles: to 6.4 s, so that a strategy that asks for ever costs the
/// store some events a minute.
const MAX_DOUBLINGS: u32 = 6;

/// The shortest wait after `idle` decisions in a row that changed nothing.
pub(super) fn shortest_wait(idle: u32) -> Millis {
    Millis(MIN_WAIT.0 << idle.saturating_sub(QUICK_WAITS).min(MAX_DOUBLINGS))
}

/// What a strategy is asked with.
#[derive(Clone, Debug, PartialEq)]
pub struct PlanInput {
    /// Name of the stage.
    pub stage: String,
    /// Arguments, with the expressions filled in.
    pub arguments: Value,
    /// What the strategy returned last time.
    pub memo: String,
    /// Now.
    pub now: Timestamp,
    /// The most agents that the decision may start.
    pub max_start: u32,
}

/// The answer of a strategy, as it gave it: not yet checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// Agents to start.
    pub start: Vec<AgentId>,
    /// Agents to leave out, with a reason.
    pub skip: Vec<(AgentId, String)>,
    /// What happens then.
    pub next: Next,
    /// Handed back next time.
    pub memo: String,
    /// Label of the batch.
    pub label: Option<String>,
    /// Agents to be asked about their nodes just before the strategy is asked the next time.
    pub refresh: Vec<AgentId>,
}

/// What happens after a decision.
///
/// # Example
/// ```
/// use replibook_core::run::{Next, Timestamp};
///
/// let approval = Next::Approval("is the canary well?".to_owned());
/// assert_eq!(approval.to_string(), "approval: is the canary well?");
/// let until = Next::WaitUntil(Timestamp::from_millis(60_000));
/// assert_eq!(until.to_string(), "wait until 1970-01-01T00:01:00.000Z");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Ask again when something changed.
    Wait,
    /// Ask again then at the latest.
    WaitUntil(Timestamp),
    /// Pause until a person approves.
    Approval(String),
    /// The stage is complete once nothing is in flight.
    Complete,
    /// The run fails once nothing is in flight.
    Abort(String),
}

impl Decision {
    /// sha256 of all of it, in hex: the same decision has the same hash.
    ///
    /// # Example
    /// ```
    /// use replibook_core::run::{AgentId, Decision, Next};
    ///
    /// let decision = Decision {
    ///     start: vec![AgentId::from("node-1")],
    ///     skip: Vec::new(),
    ///     next: Next::Wait,
    ///     memo: String::new(),
    ///     label: None,
    ///     refresh: Vec::new(),
    /// };
    /// let other = Decision { start: vec![AgentId::from("node-2")], ..decision.clone() };
    /// assert_eq!(decision.hash(), decision.clone().hash());
    /// assert_ne!(decision.hash(), other.hash());
    /// ```
    pub fn hash(&self) -> String {
        let Self { start, skip, next, memo, label, refresh } = self;
        // With its keys and lists as JSON has them, so that no two decisions have one text.
        let all = json!([start, skip, next.to_string(), memo, label, refresh]);
        hex::encode(Sha256::digest(all.to_string().as_bytes()))
    }
}

/// In words, as events have it.
impl std::fmt::Display for Next {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Wait => f.write_str("wait"),
            Self::WaitUntil(at) => write!(f, "wait until {at}"),
            Self::Approval(message) => write!(f, "approval: {message}"),
            Self::Complete => f.write_str("complete"),
            Self::Abort(reason) => write!(f, "abort: {reason}"),
        }
    }
}

/// The agents of a stage, as a strategy sees them. Every answer costs what it returns.
pub trait Roster: Send + Sync {
    /// Number of agents in `state`.
    fn count(&self, state: AgentState) -> u32;

    /// Agents that were selected when the stage started.
    fn selected(&self) -> u32;

    /// Agents in `state` in order of their sequence, after `after`, at most `limit`.
    fn page(&self, state: AgentState, after: Option<&AgentId>, limit: u32) -> Vec<AgentId>;

    /// The record of an agent.
    fn record(&self, id: &AgentId) -> Option<&AgentRecord>;

    /// Whether an expression holds for an agent, which it sees as the selection of a stage does; none
    /// for an agent that is not of the run.
    fn matches(&self, id: &AgentId, expression: &Expr) -> Option<Result<bool, ExprError>>;
}
