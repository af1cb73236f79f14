//! What a run is in memory. The fields are visible only to the modules that apply events and read the state.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::agent::Agent;
use super::around::Around;
use super::counting::Counting;
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

/// A run in memory. Only [`evolve`](super::evolve()) changes it.
#[derive(Clone, Debug)]
pub(crate) struct State {
    pub(super) run: Run,
    /// The agents, by their number.
    pub(super) agents: Vec<Agent>,
    pub(super) index: Index,
    /// What the guards of the cluster count.
    pub(super) counting: Counting,
    pub(super) stage: Stage,
    pub(super) strategy: Strategy,
    pub(super) out: Out,
    /// Commands that were applied or refused since the machine was loaded.
    pub(super) handled: BTreeSet<CommandId>,
    /// Bytes of the heaviest record that may be started. It bounds how many agents a decision may start, so that
    /// they fit one commit.
    pub(super) heaviest: usize,
}

/// What is still to be done in the stage, beyond what the run's progress says.
#[derive(Clone, Debug, Default)]
pub(super) struct Stage {
    /// The agents that are taken into the stage, and how many of them already were.
    pub(super) joining: Arc<Vec<Joining>>,
    pub(super) joined: usize,
    /// Changes of memberships that are still to be made.
    pub(super) meanwhile: BTreeMap<AgentId, Changed>,
    /// Whether agents that joined are being admitted.
    pub(super) admitting: bool,
    /// Set while running agents are cut off because the run is cancelled.
    pub(super) stopping: Option<Stopping>,
}

/// Running agents are cut off from number `from` on: those that wait for no action, or `all`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stopping {
    pub(crate) from: AgentSeq,
    pub(crate) all: bool,
}

/// What the run knows about its strategy.
#[derive(Clone, Debug, Default)]
pub(super) struct Strategy {
    /// Whether something changed since the strategy was last asked.
    pub(super) due: bool,
    /// Whether the answer that is awaited counts for nothing: the strategy was asked in a stage that was left, or before
    /// the run got other guards.
    pub(super) stale: bool,
    /// What the strategy was last asked with.
    pub(super) asked: Asked,
    /// What the strategy last answered.
    pub(super) answered: LastAnswer,
    /// How far asking agents afresh for the strategy has come.
    pub(super) refreshing: Refreshing,
    /// How far asking agents for the guards of the cluster has come.
    pub(super) around: Around,
    /// Label of the strategy's last decision.
    pub(super) label: Option<String>,
}

/// Effects that are out. After a crash, whoever takes the run up asks for them again.
#[derive(Clone, Debug, Default)]
pub(super) struct Out {
    pub(super) sent: BTreeSet<Sent>,
    /// Whether the members were asked for by a stage that was left because the run ends.
    pub(super) members_stale: bool,
    /// The moment of the last wake-up that was asked for.
    pub(super) wake: Option<Timestamp>,
}

impl State {
    /// The state of a run without agents.
    pub(crate) fn new(run: Run) -> Self {
        let counting = Counting::of(&run.progress.guards);
        Self {
            run,
            agents: Vec::new(),
            index: Index::default(),
            counting,
            stage: Stage::default(),
            strategy: Strategy::default(),
            out: Out::default(),
            handled: BTreeSet::new(),
            heaviest: 0,
        }
    }

    /// The state of a run as it was stored, before anything goes on in it. Once the end of a run is settled,
    /// nothing looks at its records any more, and those that were stamped first may have expired. The state then
    /// has no agents.
    ///
    /// # Errors
    /// [`IllegalInput`] when the records are not numbered from 0 on without a gap.
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

    /// Adds an agent, which must have the next number.
    pub(super) fn insert(&mut self, agent: Agent) -> Result<(), IllegalInput> {
        let (found, next) = (agent.record.seq, self.next_agent());
        if found != next {
            let expected = format!("that of number {}", next.0);
            return Err(IllegalInput::new("a record", format!("number {}", found.0), expected));
        }
        let is_run = agent.record.agent.is_run();
        self.index.take_in(&agent, is_run == self.run.progress.stage.once);
        self.counting.count(&self.run.progress.guards, &agent.record, None);
        self.agents.push(agent);
        Ok(())
    }

    /// The agent that last got its record.
    pub(crate) fn last_agent(&self) -> Option<AgentSeq> {
        self.agents.last().map(|agent| agent.record.seq)
    }

    /// The number that the next agent gets.
    pub(crate) fn next_agent(&self) -> AgentSeq {
        AgentSeq(u32::try_from(self.agents.len()).unwrap_or(u32::MAX))
    }
}
