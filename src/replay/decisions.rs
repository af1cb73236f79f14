//! The decisions of strategies, as the history has them and as a strategy gives them now, in one form so that
//! they can be compared.

use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;

use super::report::cut;
use crate::plugin::{PlanOutcome, PluginError, PluginHost};
use crate::run::{
    AgentId, AgentState, Decision, Digest, Happened, PlanInput, RosterAt, RunEvent, Timestamp,
};

/// Another strategy, which is asked at each recorded moment too.
#[derive(Clone, Debug)]
pub struct Other {
    /// Digest of the plugin, which must be loaded.
    pub plugin: Digest,
    /// Its arguments; `None` means those of the stage's own strategy.
    pub with: Option<Value>,
}

/// A recorded decision, and what another strategy would have decided at the same moment.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Compared {
    /// Sequence of the recorded event, in the history of the run.
    pub event: u64,
    /// When the strategy was asked.
    pub at: Timestamp,
    /// Name of the stage.
    pub stage: String,
    /// The recorded decision, as human-readable text.
    pub recorded: String,
    /// The decision of the other strategy, as human-readable text.
    pub other: String,
}

/// A decision in the form in which decisions are compared.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Decided {
    /// The agents to start: those that started, then those that guards held.
    pub(super) start: Vec<AgentId>,
    pub(super) skip: Vec<(AgentId, String)>,
    pub(super) next: String,
    pub(super) memo: String,
    pub(super) label: Option<String>,
    pub(super) refresh: Vec<AgentId>,
    /// The agents to start that guards held when the decision was recorded.
    pub(super) held: Vec<AgentId>,
}

/// What the event of a decision says itself; the events after it name the agents.
pub(super) struct Head {
    pub(super) label: Option<String>,
    pub(super) next: String,
    /// The memo that the strategy returned.
    pub(super) memo: String,
    pub(super) refresh: Vec<AgentId>,
    /// The agents to start that guards held.
    pub(super) held: Vec<AgentId>,
    pub(super) started: u32,
    pub(super) skipped: u32,
}

impl Decided {
    /// Puts a decision together from its event and those that follow it: one for each agent that it started or
    /// left out. An error says what was found in place of one of them.
    pub(super) fn read<'e>(
        head: Head,
        followers: impl Iterator<Item = &'e RunEvent>,
    ) -> Result<Self, String> {
        let (mut start, mut skip) = (Vec::new(), Vec::new());
        for event in followers {
            match &event.what {
                Happened::Agent { agent, from: Some(_), to: AgentState::Running, .. } => {
                    start.push(agent.clone());
                }
                Happened::Agent { agent, from: Some(_), to: AgentState::Skipped, why, .. } => {
                    skip.push((agent.clone(), why.clone().unwrap_or_default()));
                }
                Happened::Agent { agent, to, .. } => {
                    return Err(format!("agent {agent}, which is {to}"));
                }
                Happened::Status { .. }
                | Happened::Stage { .. }
                | Happened::Decision { .. }
                | Happened::NoDecision { .. }
                | Happened::AgentInfo { .. }
                | Happened::Moved { .. }
                | Happened::StepStarted { .. }
                | Happened::StepSkipped { .. }
                | Happened::StepEnded { .. }
                | Happened::LateAction { .. }
                | Happened::Guards { .. }
                | Happened::Closing { .. }
                | Happened::Approval { .. }
                | Happened::Command { .. } => return Err(format!("event {}", event.seq)),
            }
        }
        let found = (start.len(), skip.len());
        let Head { label, next, memo, refresh, held, started, skipped } = head;
        if (found.0 as u64, found.1 as u64) != (started.into(), skipped.into()) {
            return Err(format!("{} started and {} left out", found.0, found.1));
        }
        start.extend(held.iter().cloned());
        Ok(Self { start, skip, next, memo, label, refresh, held })
    }

    /// A decision that a strategy makes now, as of a recorded one, of whose agents guards held these.
    pub(super) fn of(decision: Decision, held: &[AgentId]) -> Self {
        let Decision { start, skip, next, memo, label, refresh } = decision;
        let (waits, mut start): (Vec<_>, Vec<_>) =
            start.into_iter().partition(|agent| held.contains(agent));
        start.extend(waits);
        let (next, held) = (next.to_string(), held.to_vec());
        Self { start, skip, next, memo, label, refresh, held }
    }

    /// The parts of this decision that differ from `other`, or all parts, as human-readable text.
    pub(super) fn in_words(&self, other: Option<&Self>) -> String {
        let differs = |same: bool| other.is_none() || !same;
        let mut parts = Vec::new();
        if differs(other.is_some_and(|other| self.start == other.start)) {
            parts.push(match self.start.is_empty() {
                true => "start nobody".to_owned(),
                false => format!("start {}", names(self.start.iter())),
            });
        }
        let skips = other.map_or(self.skip.is_empty(), |other| self.skip == other.skip);
        if !skips {
            let skipped = self.skip.iter();
            let skipped: Vec<_> = skipped.map(|(agent, why)| format!("{agent} ({why})")).collect();
            parts.push(match skipped.is_empty() {
                true => "leave out nobody".to_owned(),
                false => format!("leave out {}", cut(&skipped.join(", "))),
            });
        }
        if differs(other.is_some_and(|other| self.next == other.next)) {
            parts.push(format!("then {}", cut(&self.next)));
        }
        if let Some(other) = other {
            if self.label != other.label {
                parts.push(format!("label {:?}", self.label.as_deref().unwrap_or_default()));
            }
            if self.memo != other.memo {
                parts.push(format!("memo {:?}", cut(&self.memo)));
            }
            if self.refresh != other.refresh {
                parts.push(format!("ask afresh {:?}", names(self.refresh.iter())));
            }
        }
        parts.join("; ")
    }
}

fn names<'a>(agents: impl Iterator<Item = &'a AgentId>) -> String {
    let names: Vec<_> = agents.map(AgentId::as_str).collect();
    cut(&names.join(", "))
}

/// Asks a strategy, and returns the roster that was lent to it.
pub(super) async fn ask(
    host: &PluginHost,
    plugin: &Digest,
    input: PlanInput,
    roster: RosterAt,
) -> (RosterAt, PlanOutcome) {
    let mut lent = Arc::new(roster);
    let outcome = host.plan(plugin, input, lent.clone()).await;
    loop {
        // The thread that ran the plugin may not have released its share yet.
        match Arc::try_unwrap(lent) {
            Ok(roster) => return (roster, outcome),
            Err(shared) => lent = shared,
        }
        tokio::task::yield_now().await;
    }
}

/// Whether a strategy that stopped with this code may end differently on another machine or at another time.
pub(super) fn is_limit(code: &str) -> bool {
    matches!(
        code,
        "out-of-time" | "out-of-memory" | "unavailable" | "not-loaded" | "plugin-unavailable"
    )
}

/// What a strategy answered, as human-readable text.
pub(super) fn answer_in_words(result: &Result<Decided, PluginError>) -> String {
    match result {
        Ok(decided) => decided.in_words(None),
        Err(PluginError { code, message }) => format!("no decision ({code}): {}", cut(message)),
    }
}
