//! What a run is in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::agent::Agent;
use super::entering::{Changed, Joining};
use super::event::Sent;
use super::illegal::IllegalInput;
use super::index::Index;
use super::waiting::{LastAnswer, Refreshing};
use super::weight::record_bytes;
use crate::run::{
    AgentId, AgentRecord, AgentSeq, Asked, AttemptKey, CommandId, Journal, Run, RunStatus,
    Timestamp,
};

/// A run in memory. [`evolve`](super::evolve()) alone changes it.
#[derive(Debug)]
pub(crate) struct State {
    pub(super) run: Run,
    /// By their number.
    pub(super) agents: Vec<Agent>,
    pub(super) index: Index,
    pub(super) stage: Stage,
    pub(super) strategy: Strategy,
    pub(super) out: Out,
    /// Commands that were applied or refused since the machine was loaded.
    pub(super) handled: BTreeSet<CommandId>,
    /// Bytes of the heaviest record that may be started: decisions name only as many agents as fit one
    /// commit.
    pub(super) heaviest: usize,
}

/// What is still to be done in the stage, beside what is kept of that.
#[derive(Debug, Default)]
pub(super) struct Stage {
    /// Agents that are taken into it, and how many of them were.
    pub(super) joining: Arc<Vec<Joining>>,
    pub(super) joined: usize,
    /// Changes of memberships that are still to be made.
    pub(super) meanwhile: BTreeMap<AgentId, Changed>,
    /// Agents that joined are being admitted.
    pub(super) admitting: bool,
    /// Running agents are cut off, from that number on, since the run is cancelled.
    pub(super) stopping: Option<Stopping>,
}

/// Running agents from that number on are cut off: those that wait for no action, or all.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stopping {
    pub(crate) from: AgentSeq,
    pub(crate) all: bool,
}

/// What is between the run and its strategy.
#[derive(Debug, Default)]
pub(super) struct Strategy {
    /// Something changed since it was asked.
    pub(super) due: bool,
    /// What it was asked with last.
    pub(super) asked: Asked,
    /// What it answered last.
    pub(super) answered: LastAnswer,
    /// Agents that are asked afresh for it.
    pub(super) refreshing: Refreshing,
    /// Label of its last decision.
    pub(super) label: Option<String>,
}

/// Effects that are out. What of this there was before a crash is sent again by who takes the run up.
#[derive(Debug, Default)]
pub(super) struct Out {
    pub(super) sent: BTreeSet<Sent>,
    /// The moment that was asked for last.
    pub(super) wake: Option<Timestamp>,
}

impl State {
    /// The state of a run without agents.
    pub(crate) fn new(run: Run) -> Self {
        Self {
            run,
            agents: Vec::new(),
            index: Index::default(),
            stage: Stage::default(),
            strategy: Strategy::default(),
            out: Out::default(),
            handled: BTreeSet::new(),
            heaviest: 0,
        }
    }

    /// The state of a run as it was kept, before anything goes on in it. Once its end is settled nothing looks
    /// at its records any more, and those that were stamped first may have expired: it has none then.
    ///
    /// # Errors
    /// The records that it has are not numbered from 0 on without a gap.
    pub(crate) fn kept(
        run: Run,
        records: Vec<AgentRecord>,
        journals: &BTreeMap<AttemptKey, Journal>,
    ) -> Result<Self, IllegalInput> {
        let mut state = Self::new(run);
        if state.run.progress.status.is_settled() {
            return Ok(state);
        }
        state.agents.reserve(records.len());
        let weighs = match state.run.progress.status {
            RunStatus::Running | RunStatus::Paused | RunStatus::Cancelling => true,
            RunStatus::PendingApprove
            | RunStatus::Pending
            | RunStatus::Starting
            | RunStatus::Finishing
            | RunStatus::Done
            | RunStatus::Failed
            | RunStatus::Cancelled => false,
        };
        for record in records {
            if weighs && !record.results.is_empty() {
                state.heaviest = state.heaviest.max(record_bytes(&record));
            }
            let over = record.over_attempt().filter(|_| weighs);
            let over = over.and_then(|key| journals.get(&key)).cloned();
            state.insert(Agent::new(record, over))?;
        }
        Ok(state)
    }

    /// Takes an agent in whose number is the next one.
    pub(super) fn insert(&mut self, agent: Agent) -> Result<(), IllegalInput> {
        let (found, next) = (agent.record.seq, self.next_agent());
        if found != next {
            let expected = format!("that of number {}", next.0);
            return Err(IllegalInput::new("a record", format!("number {}", found.0), expected));
        }
        self.index.take_in(&agent);
        self.agents.push(agent);
        Ok(())
    }

    /// The agent that got its record last.
    pub(crate) fn last_agent(&self) -> Option<AgentSeq> {
        self.agents.last().map(|agent| agent.record.seq)
    }

    /// The number of the next agent that gets a record.
    pub(crate) fn next_agent(&self) -> AgentSeq {
        AgentSeq(u32::try_from(self.agents.len()).unwrap_or(u32::MAX))
    }
}
