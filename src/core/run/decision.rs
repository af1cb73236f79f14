//! What a strategy is asked and what it answers, in types of the core. The core knows nothing of Wasm; the host
//! converts these types.

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::agent_record::AgentRecord;
use super::status::AgentState;
use crate::ids::AgentId;
use crate::playbook::{Expr, ExprError};
use crate::time::{Millis, Timestamp};

/// The most agents that one decision may start, so that a decision fits one commit. An agent that starts takes a
/// record and two events, a decision may have [`MAX_LOG_LINES`], and a commit has at most 1,000 documents.
pub const MAX_START: u32 = 250;

/// The most agents that one decision may start and leave out together, for the same reason.
pub const MAX_DECIDED: u32 = 260;

/// The most log lines of one activation or decision, for the same reason.
pub const MAX_LOG_LINES: usize = 200;

/// The most bytes of log lines of one activation or decision, as JSON. Together with a journal and a record at
/// their limits they still fit one commit.
pub const MAX_LOG_BYTES: usize = 256 * 1024;

/// The most identifiers in one page of the roster.
pub const MAX_ROSTER_PAGE: u32 = 1_000;

/// The most agents that one decision may have asked afresh: a page of the roster. Asking all of them takes some
/// seconds if they answer, and their numbers are written with every commit of the run.
pub const MAX_REFRESH: usize = 1_000;

/// The largest memo, in bytes. It is written with every commit of the run, where it takes up to six times as many
/// bytes as JSON.
pub const MAX_MEMO_BYTES: usize = 64 * 1024;

/// The longest label of a batch, in characters. Labels are shown in tables.
pub(super) const MAX_LABEL_CHARS: usize = 63;

/// The shortest wait that `wait-until` can give a strategy, so that it can't keep the host busy.
const MIN_WAIT: Millis = Millis(100);

/// How many decisions in a row may change nothing before each further one doubles the shortest wait. A strategy
/// gets this far when it looks at every agent of a large cluster, some thousands at a time. As many such decisions
/// are also written to the history one by one, if their memos differ.
pub(super) const QUICK_WAITS: u32 = 40;

/// How often the shortest wait is doubled: up to 6.4 s, so that a strategy that asks for ever costs the store only
/// some events a minute.
const MAX_DOUBLINGS: u32 = 6;

/// The shortest wait after `idle` decisions in a row that changed nothing.
pub(super) fn shortest_wait(idle: u32) -> Millis {
    Millis(MIN_WAIT.0 << idle.saturating_sub(QUICK_WAITS).min(MAX_DOUBLINGS))
}

/// What a strategy is asked with, apart from its roster.
#[derive(Clone, Debug, PartialEq)]
pub struct PlanInput {
    /// Name of the stage.
    pub stage: String,
    /// Arguments of the strategy, with the expressions filled in.
    pub arguments: Value,
    /// The memo that the strategy returned last time; empty at first.
    pub memo: String,
    /// The time that the strategy sees as the present.
    pub now: Timestamp,
    /// The most agents that the decision may start.
    pub max_start: u32,
}

/// The answer of a strategy as the strategy gave it, before it is checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// The agents to start.
    pub start: Vec<AgentId>,
    /// The agents to leave out, each with a reason.
    pub skip: Vec<(AgentId, String)>,
    /// What happens after this decision.
    pub next: Next,
    /// A text that the strategy gets back when it is asked the next time.
    pub memo: String,
    /// Label of the batch of agents that is started.
    pub label: Option<String>,
    /// The agents that are asked about their nodes just before the strategy is asked the next time.
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
    /// Ask the strategy again when something has changed.
    Wait,
    /// Ask the strategy again when something has changed, and at this moment at the latest.
    WaitUntil(Timestamp),
    /// Pause until a person approves. The text says what is asked.
    Approval(String),
    /// The stage is complete once nothing is in flight.
    Complete,
    /// The run fails once nothing is in flight. The text says why.
    Abort(String),
}

impl Decision {
    /// The sha256 of the whole decision, in hex. Equal decisions have equal hashes.
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
        // JSON keeps the fields and lists apart, so that no two decisions have the same text.
        let all = json!([start, skip, next.to_string(), memo, label, refresh]);
        hex::encode(Sha256::digest(all.to_string().as_bytes()))
    }
}

/// As the text that events have.
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

/// The agents of a stage as a strategy sees them. An answer costs about as much as it returns.
pub trait Roster: Send + Sync {
    /// Number of agents in `state`.
    fn count(&self, state: AgentState) -> u32;

    /// Number of agents that were selected when the stage started.
    fn selected(&self) -> u32;

    /// Agents in `state`, by their sequence: those after `after`, at most `limit`.
    fn page(&self, state: AgentState, after: Option<&AgentId>, limit: u32) -> Vec<AgentId>;

    /// The record of an agent; `None` if the agent is not in the run.
    fn record(&self, id: &AgentId) -> Option<&AgentRecord>;

    /// Agents that the strategy named to start and that guards of the cluster held when it last decided, by their
    /// sequence: those after `after`, at most `limit`. They are PENDING. Something may have changed since, so they may
    /// be named again.
    fn held(&self, after: Option<&AgentId>, limit: u32) -> Vec<AgentId>;

    /// Whether an expression holds for an agent, with the scope of a stage's selection. `None` for an agent that
    /// is not in the run.
    fn matches(&self, id: &AgentId, expression: &Expr) -> Option<Result<bool, ExprError>>;
}
