//! What a replay found.

use serde::Serialize;
use serde_json::Value;

use super::limits::{DIFFERENCES, NOT_REPLAYED, SHOWN_CHARS};
use crate::run::{AgentId, RunId};

/// What a replay found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// The run.
    pub run: RunId,
    /// Whether everything that was replayed came out as it was recorded.
    pub same: bool,
    /// Attempts whose activations were made again.
    pub attempts: u64,
    /// Activations that were made again.
    pub activations: u64,
    /// Decisions that were asked for again.
    pub decisions: u64,
    /// Number of differences, of which `differences` has the first ones.
    pub differing: u64,
    /// Where the replay came out otherwise: decisions in the order of the history, then attempts in
    /// that of agents.
    pub differences: Vec<Difference>,
    /// Number of things that were not replayed, of which `not_replayed` has the first ones.
    pub left_out: u64,
    /// What was not replayed, and why.
    pub not_replayed: Vec<NotReplayed>,
}

/// One place where the replay came out otherwise.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// The place.
    #[serde(flatten)]
    pub place: Place,
    /// What differs, for example `call` or `decision`.
    pub what: &'static str,
    /// As it was recorded.
    pub recorded: String,
    /// As it is now.
    pub now: String,
}

/// Something that was not replayed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NotReplayed {
    /// The place.
    #[serde(flatten)]
    pub place: Place,
    /// Why.
    pub why: String,
}

/// A place in a run.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Place {
    /// In an attempt.
    Attempt {
        /// The agent.
        agent: AgentId,
        /// Name of the stage.
        stage: String,
        /// Name of the step.
        step: String,
        /// Number of the attempt, from 1.
        attempt: u32,
        /// Number of the call, from 0: of the first that differs, or of the one that the end came
        /// in place of.
        call: u32,
    },
    /// At an event of the history.
    Event {
        /// Its sequence.
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

/// A text that is cut where it gets long.
pub(super) fn cut(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARS) {
        Some((end, _)) => format!("{}… ({} bytes)", &text[..end], text.len()),
        None => text.to_owned(),
    }
}

/// A value as it is shown.
pub(super) fn shown(value: &Value) -> String {
    cut(&crate::run::canonical(value))
}
