//! What came of one event: what the strategy decided, and what is wrong with that.

use super::looks::Looks;
use super::property::Broken;
use crate::run::{AgentId, Decision, PlanFailure};

/// What came of one event.
#[derive(Debug, Default)]
pub(super) struct Moved {
    /// What the strategy decided, one decision after the other.
    pub(super) told: Vec<Told>,
    /// What does not hold. Each property is named once.
    pub(super) broken: Vec<Broken>,
    /// What the strategy looked at.
    pub(super) looks: Looks,
    /// How often it was asked.
    pub(super) asked: u64,
}

impl Moved {
    pub(super) fn broken(&mut self, broken: Broken) {
        if self.broken.iter().all(|known| known.property != broken.property) {
            self.broken.push(broken);
        }
    }
}

/// One answer of a strategy, as far as a timeline shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) starts: Vec<AgentId>,
    pub(super) skips: Vec<AgentId>,
    /// What it wants to happen next, or why it gave no decision.
    pub(super) next: String,
    pub(super) label: Option<String>,
    pub(super) memo: usize,
}

impl Told {
    pub(super) fn of(result: &Result<Decision, PlanFailure>) -> Self {
        match result {
            Ok(Decision { start, skip, next, memo, label, refresh: _ }) => Self {
                starts: start.clone(),
                skips: skip.iter().map(|(agent, _)| agent.clone()).collect(),
                next: next.to_string(),
                label: label.clone(),
                memo: memo.len(),
            },
            Err(PlanFailure { code, message, .. }) => Self {
                starts: Vec::new(),
                skips: Vec::new(),
                next: format!("no decision ({code}): {message}"),
                label: None,
                memo: 0,
            },
        }
    }
}
