//! Finds agents without looking at each of them. It has nothing that the agents don't have, and changes together
//! with them.

use std::collections::{BTreeMap, BTreeSet};

use super::agent::{Agent, Phase};
use super::alarms::Alarms;
use crate::run::{AgentId, AgentSeq, AgentState, Notice};

/// Numbers of agents, by their identifiers and by what they do.
#[derive(Clone, Debug, Default)]
pub(super) struct Index {
    pub(super) by_id: BTreeMap<AgentId, AgentSeq>,
    pub(super) by_state: BTreeMap<AgentState, BTreeSet<AgentSeq>>,
    /// Agents whose next steps are to begin, in the order in which they came.
    pub(super) queue: BTreeSet<(u64, AgentSeq)>,
    /// The last place that was given in the queue.
    places: u64,
    pub(super) alarms: Alarms,
    /// Agents with an attempt in flight.
    pub(super) trying: BTreeSet<AgentSeq>,
    /// Agents that are looked at before their next steps.
    pub(super) looking: BTreeSet<AgentSeq>,
    /// The run's own record, if it has one.
    pub(super) of_run: Option<AgentSeq>,
    /// Agents whose action is looked at although its attempt is over.
    pub(super) watched: BTreeSet<AgentSeq>,
    /// Agents that have a call in flight and give no usable answer.
    pub(super) silent: BTreeSet<AgentSeq>,
    /// Agents about which more is known than was written.
    pub(super) unwritten: BTreeSet<AgentSeq>,
}

impl Index {
    /// Adds an agent that does nothing yet. Those that the stage is not about are not `counted`.
    pub(super) fn take_in(&mut self, agent: &Agent, counted: bool) {
        let record = &agent.record;
        self.by_id.insert(record.agent.clone(), record.seq);
        if counted {
            self.by_state.entry(record.state).or_default().insert(record.seq);
        }
        if record.agent.is_run() {
            self.of_run = Some(record.seq);
        }
        if record.notice.as_ref().is_some_and(Notice::is_silence) {
            self.silent.insert(record.seq);
        }
    }

    /// Notes that an agent has another state.
    pub(super) fn state(&mut self, seq: AgentSeq, from: AgentState, to: AgentState) {
        if let Some(before) = self.by_state.get_mut(&from) {
            before.remove(&seq);
        }
        self.by_state.entry(to).or_default().insert(seq);
    }

    /// Notes that an agent has another phase.
    pub(super) fn phase(&mut self, seq: AgentSeq, from: &Phase, to: &Phase) {
        match from {
            Phase::Queued { place } => set(&mut self.queue, (*place, seq), false),
            Phase::Looking => set(&mut self.looking, seq, false),
            Phase::Trying(_) => set(&mut self.trying, seq, false),
            Phase::Idle | Phase::Retrying { .. } | Phase::Settling { .. } => {}
        }
        match to {
            Phase::Queued { place } => set(&mut self.queue, (*place, seq), true),
            Phase::Looking => set(&mut self.looking, seq, true),
            Phase::Trying(_) => set(&mut self.trying, seq, true),
            Phase::Idle | Phase::Retrying { .. } | Phase::Settling { .. } => {}
        }
        self.alarms.change(seq, from.alarm(), to.alarm());
    }

    /// Gives the next place at the end of the queue.
    pub(super) fn next_place(&mut self) -> u64 {
        self.places += 1;
        self.places
    }
}

/// Puts something into a set, or takes it out.
pub(super) fn set<T: Ord>(of: &mut BTreeSet<T>, one: T, is_in: bool) {
    match is_in {
        true => of.insert(one),
        false => of.remove(&one),
    };
}
