//! Agents that join, leave and return, and what each stage does about them, by the events alone.

use std::collections::{BTreeMap, BTreeSet};

use replibook::playbook::{Membership, OnAdded, OnRemoved};
use replibook::run::{AgentId, AgentState};

use crate::ledger::{Check, expect};

/// How an agent gets through the present stage.
#[derive(Clone, Debug, Default)]
struct Stay {
    starts: u32,
    /// How much more often than once it may be started: once more for each time that a person put it back,
    /// and for each time that it left in the middle and returned.
    again: u32,
    done: bool,
    /// Its state when it left; none if it left between stages.
    left_as: Option<AgentState>,
    /// Whether its leaving counts as a failure.
    counted: bool,
}

/// What the change of a state means for the budget.
pub(crate) enum Counts {
    Nothing,
    Failure,
    /// The failure that was counted no longer counts.
    Undone,
}

#[derive(Default)]
pub(crate) struct MembershipModel {
    stays: BTreeMap<AgentId, Stay>,
    /// Agents that became ADDED after the strategy was last asked.
    unseen: BTreeSet<AgentId>,
    failed: BTreeSet<AgentId>,
    /// Agents that joined and take no part in the present stage.
    skipped: BTreeSet<AgentId>,
    /// Agents of another role that joined where a join ends the run, until it is known what they said about
    /// their role.
    unknown: BTreeSet<AgentId>,
    /// Events that say that an agent which had left is still gone when a stage begins.
    still_gone: BTreeSet<u64>,
    /// Events that say that an agent which had left is back when a stage begins.
    back: BTreeSet<u64>,
    /// All agents that ever left, or were to leave.
    pub(crate) left: BTreeSet<AgentId>,
    /// Why the run has to end.
    must_end: Option<String>,
}

impl MembershipModel {
    /// An agent is taken into a stage.
    pub(crate) fn enters(
        &mut self,
        seq: u64,
        agent: &AgentId,
        was: Option<AgentState>,
        to: AgentState,
    ) -> Check {
        let takes_part = self.failed.contains(agent) && to == AgentState::Pending;
        expect(!takes_part, "who failed is skipped in later stages", || agent.to_string())?;
        self.stays.insert(agent.clone(), Stay::default());
        self.skipped.remove(agent);
        if to == AgentState::Failed {
            self.failed.insert(agent.clone());
        }
        if to == AgentState::Removed {
            self.left.insert(agent.clone());
        }
        match (was, to) {
            (Some(AgentState::Removed), AgentState::Removed) => drop(self.still_gone.insert(seq)),
            (Some(AgentState::Removed), _) => drop(self.back.insert(seq)),
            _ => {}
        }
        Ok(())
    }

    /// Whether an event tells only that an agent is still gone.
    pub(crate) fn is_still_gone(&self, seq: u64) -> bool {
        self.still_gone.contains(&seq)
    }

    /// Whether an event tells that an agent that had left is back when a stage begins.
    pub(crate) fn is_back(&self, seq: u64) -> bool {
        self.back.contains(&seq)
    }

    /// The strategy has decided, and so has seen all agents.
    pub(crate) fn decided(&mut self) {
        self.unseen.clear();
    }

    /// An agent of the stage changes its state. `leaving` says whether it was to leave once its call had
    /// ended.
    pub(crate) fn changes(
        &mut self,
        agent: &AgentId,
        (from, to): (AgentState, AgentState),
        leaving: bool,
        says: &Membership,
        is_it: bool,
    ) -> Result<Counts, (&'static str, String)> {
        match (from, to) {
            (AgentState::Removed, AgentState::Added) => return Ok(self.added(agent, says, is_it)),
            (_, AgentState::Removed) => return Ok(self.removed(agent, from, leaving, says)),
            (AgentState::Added, AgentState::Pending) => self.admitted(agent, says)?,
            (AgentState::Pending, AgentState::Running) => self.started(agent)?,
            (AgentState::Failed, AgentState::Pending) => {
                self.failed.remove(agent);
                self.stay(agent).again += 1;
            }
            (_, AgentState::Done) => self.stay(agent).done = true,
            (_, AgentState::Failed) => drop(self.failed.insert(agent.clone())),
            _ => {}
        }
        Ok(Counts::Nothing)
    }

    /// An agent joined, for the first time or again.
    ///
    /// An agent whose role the stage does not select (`is_it` is false) takes no part. If it did not say its
    /// role, it may be taken for one that the stage selects.
    pub(crate) fn added(&mut self, agent: &AgentId, says: &Membership, is_it: bool) -> Counts {
        let failed = self.failed.contains(agent);
        self.unseen.insert(agent.clone());
        let stay = self.stay(agent);
        let left_as = stay.left_as.take();
        if left_as == Some(AgentState::Running) {
            stay.again += 1;
        }
        let is_over = failed || stay.done || left_as == Some(AgentState::Skipped);
        let counted = std::mem::take(&mut stay.counted);
        self.unknown.remove(agent);
        if says.added == OnAdded::Abort && !is_over && !is_it {
            self.unknown.insert(agent.clone());
        } else if says.added == OnAdded::Skip || is_over || !is_it {
            self.skipped.insert(agent.clone());
        }
        if says.added == OnAdded::Abort && !is_over && is_it {
            self.must_end.get_or_insert_with(|| format!("{agent} joined"));
        }
        if counted { Counts::Undone } else { Counts::Nothing }
    }

    /// The record of an agent is written. If the agent has another role than the stage selects, it counts as
    /// joined unless it `said` its role.
    pub(crate) fn recorded(&mut self, agent: &AgentId, said: bool) {
        if !self.unknown.remove(agent) {
            return;
        }
        if said {
            self.skipped.insert(agent.clone());
        } else {
            self.must_end.get_or_insert_with(|| format!("{agent} joined"));
        }
    }

    /// Checks that no agent that joined and is to be skipped waits to be taken in.
    pub(crate) fn nobody_is_left_out(&self, states: &BTreeMap<AgentId, AgentState>) -> Check {
        let waits = |agent: &&AgentId| states.get(*agent) == Some(&AgentState::Added);
        let left = self.skipped.iter().find(waits);
        let rule = "who joins is skipped where the stage says so";
        expect(left.is_none(), rule, || format!("{left:?}"))
    }

    fn removed(
        &mut self,
        agent: &AgentId,
        from: AgentState,
        leaving: bool,
        says: &Membership,
    ) -> Counts {
        self.left.insert(agent.clone());
        let to_come = matches!(from, AgentState::Added | AgentState::Pending | AgentState::Running);
        let stay = self.stay(agent);
        stay.left_as = Some(from);
        match says.removed {
            OnRemoved::Fail if to_come => {
                stay.counted = true;
                Counts::Failure
            }
            OnRemoved::Abort if to_come || leaving && from == AgentState::Failed => {
                self.must_end.get_or_insert_with(|| format!("{agent} left"));
                Counts::Nothing
            }
            OnRemoved::Fail | OnRemoved::Abort | OnRemoved::Ignore => Counts::Nothing,
        }
    }

    fn admitted(&mut self, agent: &AgentId, says: &Membership) -> Check {
        let rule = "who joins takes part where the stage includes it";
        expect(says.added == OnAdded::Include, rule, || format!("{agent}: {says:?}"))?;
        let seen = !self.unseen.contains(agent);
        expect(seen, "the strategy sees who joined first", || agent.to_string())
    }

    fn started(&mut self, agent: &AgentId) -> Check {
        let stay = self.stay(agent);
        stay.starts += 1;
        let rule = "nobody is started twice";
        expect(!stay.done && stay.starts <= 1 + stay.again, rule, || format!("{agent}: {stay:?}"))?;
        self.goes_on()
    }

    /// Checks that nothing further begins after members have changed in a way that ends the run.
    pub(crate) fn goes_on(&self) -> Check {
        match &self.must_end {
            None => Ok(()),
            Some(why) => Err(("a run ends where its stage says so of members", why.clone())),
        }
    }

    /// The run ends, and what has to come before that is still done.
    pub(crate) fn ends(&mut self) {
        self.must_end = None;
    }

    fn stay(&mut self, agent: &AgentId) -> &mut Stay {
        self.stays.entry(agent.clone()).or_default()
    }
}
