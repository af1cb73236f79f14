//! What a replay found: counts, and the first differences. `replictl run replay` prints it, so the names of its
//! fields are part of the command line.

use serde::Serialize;
use serde_json::Value;

use super::limits::{DIFFERENCES, NOT_REPLAYED, SHOWN_CHARS};
use crate::run::{AgentId, RunId};

/// The result of a replay. The lists are cut at a limit, the counts are not.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// Identifier of the replayed run.
    pub run: RunId,
    /// Whether everything that was replayed gave the recorded result.
    pub same: bool,
    /// Attempts whose activations were repeated.
    pub attempts: u64,
    /// Activations that were repeated.
    pub activations: u64,
    /// Decisions that were asked for again.
    pub decisions: u64,
    /// Number of differences; `differences` has the first ones.
    pub differing: u64,
    /// The first differences: those of decisions in the order of the history, then those of attempts in the
    /// order of agents.
    pub differences: Vec<Difference>,
    /// Number of things that were not replayed; `not_replayed` has the first ones.
    pub left_out: u64,
    /// What was not replayed, each with the reason.
    pub not_replayed: Vec<NotReplayed>,
}

/// One place where the replay gave another result.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// Where in the run.
    #[serde(flatten)]
    pub place: Place,
    /// What differs, for example `call` or `decision`.
    pub what: &'static str,
    /// The recorded result, as human-readable text.
    pub recorded: String,
    /// The result of the replay, as human-readable text.
    pub now: String,
}

/// Something that was not replayed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NotReplayed {
    /// Where in the run.
    #[serde(flatten)]
    pub place: Place,
    /// Why it was not replayed, as human-readable text.
    pub why: String,
}

/// A place in a run.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Place {
    /// A call, or the end, of an attempt.
    Attempt {
        /// Identifier of the agent.
        agent: AgentId,
        /// Name of the stage.
        stage: String,
        /// Name of the step.
        step: String,
        /// Number of the attempt, from 1.
        attempt: u32,
        /// Number of the call, from 0: the first call that differs, or the recorded call in whose place the
        /// attempt ended.
        call: u32,
    },
    /// An event of the history.
    Event {
        /// Sequence of the event.
        event: u64,
    },
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Attempt { agent, stage, step, attempt, call } => write!(
                f,
                "agent {agent}, stage {stage}, step {step}, attempt {attempt}, call {call}"
            ),
            Self::Event { event } => write!(f, "event {event}"),
        }
    }
}

impl Report {
    pub(super) fn new(run: RunId) -> Self {
        Self {
            run,
            same: true,
            attempts: 0,
            activations: 0,
            decisions: 0,
            differing: 0,
            differences: Vec::new(),
            left_out: 0,
            not_replayed: Vec::new(),
        }
    }

    pub(super) fn differs(&mut self, difference: Difference) {
        self.same = false;
        self.differing += 1;
        if self.differences.len() < DIFFERENCES {
            self.differences.push(difference);
        }
    }

    pub(super) fn leave_out(&mut self, place: Place, why: impl Into<String>) {
        self.left_out += 1;
        if self.not_replayed.len() < NOT_REPLAYED {
            self.not_replayed.push(NotReplayed { place, why: why.into() });
        }
    }
}

/// A text that is cut if it is too long to be shown.
pub(super) fn cut(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARS) {
        Some((end, _)) => format!("{}… ({} bytes)", &text[..end], text.len()),
        None => text.to_owned(),
    }
}

/// A value as a difference shows it: canonical JSON, cut if it is too long.
pub(super) fn shown(value: &Value) -> String {
    cut(&crate::run::canonical(value))
}
