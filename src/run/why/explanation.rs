//! What is known, and what is told.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::run::{
    AgentRecord, AgentState, CallName, Journal, Millis, RunStatus, StepPhase, Timestamp,
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenAttempt {
    /// When it started, plus its time on hold: its timeout counts from here.
    pub counts_from: Timestamp,
    /// The call that waits for its answer: which, since when, and whether the agent is known to have
    /// accepted it (actions only).
    pub call: Option<(CallName, Timestamp, bool)>,
}

impl From<&Journal> for OpenAttempt {
    fn from(journal: &Journal) -> Self {
        let call = journal.pending.as_ref();
        Self {
            counts_from: journal.started_at.plus(journal.held),
            call: call.map(|pending| (pending.name, pending.at, pending.accepted)),
        }
    }
}

/// Keeps those of some records that tell most about what a run waits for: actions of attempts that are
/// over first, then attempts that go on, the oldest first.
pub fn most_telling(records: &mut Vec<AgentRecord>) {
    let rank = |record: &AgentRecord| match record.phase {
        StepPhase::Settling { .. } => 0,
        StepPhase::Trying => 1,
        StepPhase::RetryAt { .. } => 2,
        StepPhase::Waiting => 3,
    };
    records.retain(|record| record.state == AgentState::Running);
    records.sort_by_key(|record| (rank(record), record.started_at, record.seq));
    records.truncate(NAMED);
}

/// How long an action may go without the agent's word that it was accepted before that is worth a
/// word: agents that can be reached answer at once.
pub(super) const UNCONFIRMED_AFTER: Millis = Millis::from_secs(10);
