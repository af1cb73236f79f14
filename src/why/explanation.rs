//! What is known, and what is told.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::run::{
    AgentId, AgentRecord, AgentState, CallName, Journal, Millis, Notice, RunStatus, StepPhase,
    Timestamp, WaitsFor,
};

/// Agents that are named in one paragraph: with more nobody reads it to its end.
pub(super) const NAMED: usize = 4;

/// Why a run is as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Explanation {
    /// The status that is explained.
    pub status: RunStatus,
    /// Since when the run has it.
    pub since: Timestamp,
    /// One paragraph: what the run waits for, since when, and what happens next by itself.
    pub text: String,
    /// What would move it, the most obvious first; nothing where nothing is left to do.
    pub next: Vec<NextCommand>,
    /// Actions of the agents that the text names, which may still be running.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub actions: Vec<ActionOut>,
}

/// An action that may still be running: its agent can be asked for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ActionOut {
    /// The agent.
    pub agent: AgentId,
    /// Identifier of the action, by which the agent knows it.
    pub action_id: Uuid,
    /// What is noticed of it, where it does not go on as it should.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notice: Option<Notice>,
}

/// Something that a person can do about a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NextCommand {
    /// What it brings about, for example `go on`.
    pub effect: String,
    /// The arguments of `replictl`.
    pub command: String,
}

/// What is known of a run's agents: a few of them.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// Some that are RUNNING, those that tell most first.
    pub running: Vec<InFlight>,
    /// Some that are FAILED.
    pub failed: Vec<AgentRecord>,
    /// Those that the run names as giving no good answer.
    pub silent: Vec<AgentRecord>,
    /// What keeps the run waiting, if it could go on by itself otherwise.
    pub waits: Option<WaitsFor>,
    /// Whether nothing is said of how many other runs there are: whoever asks may not view them all.
    pub others_hidden: bool,
}

/// An agent that is RUNNING.
#[derive(Clone, Debug)]
pub struct InFlight {
    /// Its record.
    pub record: AgentRecord,
    /// Its present attempt, where its journal was read.
    pub attempt: Option<OpenAttempt>,
}

/// An attempt that goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenAttempt {
    /// When it started, plus its time on hold: its timeout counts from here.
    pub counts_from: Timestamp,
    /// The call that waits for its answer: which, since when, and whether the agent is known to have
    /// accepted it (actions only).
    pub call: Option<(CallName, Timestamp, bool)>,
    /// What that call asks for: the name of a signal, or where an HTTP request goes.
    pub asks_for: Option<String>,
}

impl From<&Journal> for OpenAttempt {
    fn from(journal: &Journal) -> Self {
        let call = journal.pending.as_ref();
        Self {
            counts_from: journal.counts_from().plus(journal.held),
            call: call.map(|pending| (pending.name, pending.at, pending.accepted)),
            asks_for: call.and_then(|pending| pending.asks_for.clone()),
        }
    }
}

/// Keeps those of some records that tell most about what a run waits for: actions of attempts that are
/// over first, then attempts that go on, those of which something is noticed before others, and the oldest
/// first.
pub fn most_telling(records: &mut Vec<AgentRecord>) {
    let rank = |record: &AgentRecord| match record.phase {
        StepPhase::Settling { .. } => 0,
        StepPhase::Trying => 1,
        StepPhase::RetryAt { .. } => 2,
        StepPhase::Waiting => 3,
    };
    records.retain(|record| record.state == AgentState::Running);
    records.sort_by_key(|record| {
        (rank(record), record.notice.is_none(), record.started_at, record.seq)
    });
    records.truncate(NAMED);
}

/// How long an action may go without the agent's word that it was accepted before that is worth a
/// word: agents that can be reached answer at once.
pub(super) const UNCONFIRMED_AFTER: Millis = Millis::from_secs(10);
