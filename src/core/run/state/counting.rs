//! What the guards of the cluster count: the agents of each group, and which of them are out. It is kept up to date by
//! [`evolve`](super::evolve()), agent by agent, so that a decision costs the same however large the cluster is.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Map, Value};

use super::value::State;
use crate::mutants::mutant;
use crate::playbook::{Amount, Calendar, ClusterGuards, Guard};
use crate::run::{AgentRecord, AgentSeq, AgentState, Timestamp};

/// What guards count. All of it follows from the agents, except for [`stale`](Self::stale).
#[derive(Clone, Debug, Default)]
pub(crate) struct Counting {
    calendar: Calendar,
    tallies: Vec<Tally>,
    /// What each agent counts as, by its number. Empty if no guard counts agents.
    agents: Vec<Counted>,
    /// Agents whose nodes must be asked before anybody is started: they have worked since they were asked, were never
    /// asked, or what is known is not what they said last.
    stale: BTreeSet<AgentSeq>,
    /// How often anything changed that may hold agents or let them go.
    version: u64,
    /// The version at which it was last looked at whom guards hold.
    judged: u64,
}

/// What one guard counts.
#[derive(Clone, Debug)]
pub(crate) struct Tally {
    groups: Vec<Group>,
    by_value: BTreeMap<Option<String>, usize>,
    /// Groups with agents that are out.
    touched: BTreeSet<usize>,
    /// Groups that have no agents any more, so that others can take their places.
    free: Vec<usize>,
}

/// One group of a guard.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    /// The value of the attribute, as text. `None`: the agents don't have it, or all agents are one group.
    pub(crate) value: Option<String>,
    /// How many agents the group has.
    pub(crate) size: u32,
    /// Those of them that are out.
    pub(crate) out: BTreeSet<AgentSeq>,
}

/// What an agent counts as, and what that was worked out from.
#[derive(Clone, Debug)]
struct Counted {
    attributes: Arc<Map<String, Value>>,
    node: Arc<Value>,
    seen_at: Option<Timestamp>,
    state: AgentState,
    owes: bool,
    /// Whether it is the record of the run itself, which is no agent.
    is_run: bool,
    /// Its group of each guard. Empty if it does not count.
    groups: Vec<usize>,
    out: bool,
}

impl Counted {
    fn of(record: &AgentRecord) -> Self {
        let (attributes, node) = (Arc::clone(&record.attributes), Arc::clone(&record.node));
        let (state, owes) = (record.state, record.outstanding.is_some());
        let (is_run, seen_at) = (record.agent.is_run(), record.node_seen_at);
        Self { attributes, node, seen_at, state, owes, is_run, groups: Vec::new(), out: false }
    }

    fn is_of(&self, record: &AgentRecord) -> bool {
        self.state == record.state
            && self.owes == record.outstanding.is_some()
            && Arc::ptr_eq(&self.attributes, &record.attributes)
            && Arc::ptr_eq(&self.node, &record.node)
    }

    fn is_at_work(&self) -> bool {
        self.state == AgentState::Running || self.owes
    }

    /// Whether guards count the agent. One that has left is in no group, and is not out.
    fn counts(&self) -> bool {
        !self.is_run && (self.state != AgentState::Removed || mutant!(RemovedGuarded))
    }

    fn is_out(&self, healthy: &[String]) -> bool {
        self.is_at_work() || !is_well(&self.node, healthy)
    }
}

/// Whether a node is well by what it said when it was last asked. One that said nothing is not.
pub(crate) fn is_well(node: &Value, healthy: &[String]) -> bool {
    node_status(node).is_some_and(|status| healthy.iter().any(|well| well == status))
}

/// The status that a node said it has. `None` if it said nothing.
pub(crate) fn node_status(node: &Value) -> Option<&str> {
    Some(node.get("node_status")?.as_str().unwrap_or("UNKNOWN"))
}

/// The group of an agent with these attributes, as text. `None`: it does not have the attribute, or the guard has only
/// one group.
pub(crate) fn group_of(guard: &Guard, attributes: &Map<String, Value>) -> Option<String> {
    match attributes.get(guard.attribute()?)? {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(value) => Some(value.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// How many of `size` agents may be out.
pub(crate) fn allowed(guard: &Guard, size: u32) -> u32 {
    match guard.max_out {
        Amount::Share(share) if mutant!(ShareRoundedUp) => {
            let agents = (u64::from(size) * u64::from(share)).div_ceil(10_000);
            u32::try_from(agents).unwrap_or(u32::MAX)
        }
        Amount::Count(_) | Amount::Share(_) => guard.max_out.of(size),
    }
}

impl Counting {
    /// Counts for these guards, so far without agents.
    pub(super) fn of(guards: &ClusterGuards) -> Self {
        let tally = |_: &Guard| Tally {
            groups: Vec::new(),
            by_value: BTreeMap::new(),
            touched: BTreeSet::new(),
            free: Vec::new(),
        };
        let tallies = guards.guards.iter().map(tally).collect();
        Self { calendar: Calendar::of(guards), tallies, version: 1, ..Self::default() }
    }

    /// When agents may be started at all.
    pub(crate) const fn calendar(&self) -> &Calendar {
        &self.calendar
    }

    /// The agents whose nodes must be asked before anybody is started.
    pub(crate) const fn stale(&self) -> &BTreeSet<AgentSeq> {
        &self.stale
    }

    /// Whether anything changed since it was last looked at whom guards hold.
    pub(crate) const fn has_changed(&self) -> bool {
        self.version != self.judged
    }

    /// The group of an agent for the guard of this number, and whether the agent is out. `None` if it does not count.
    pub(crate) fn place(&self, guard: usize, seq: AgentSeq) -> Option<(usize, bool)> {
        let counted = self.agents.get(seq.0 as usize)?;
        Some((*counted.groups.get(guard)?, counted.out))
    }

    pub(crate) fn group(&self, guard: usize, group: usize) -> Option<&Group> {
        self.tallies.get(guard)?.groups.get(group)
    }

    /// The groups of a guard that have agents which are out.
    pub(crate) fn touched(&self, guard: usize) -> &BTreeSet<usize> {
        static NONE: BTreeSet<usize> = BTreeSet::new();
        self.tallies.get(guard).map_or(&NONE, |tally| &tally.touched)
    }

    pub(super) fn changed(&mut self) {
        self.version = self.version.wrapping_add(1);
    }

    pub(super) const fn judged(&mut self) {
        self.judged = self.version;
    }

    /// All stale agents are being asked.
    pub(super) fn asks_stale(&mut self) {
        self.stale.clear();
    }

    /// An agent has another address. What was said at the old one says nothing about the node that is there now.
    pub(super) fn moved(&mut self, seq: AgentSeq) {
        let agent = self.agents.get(seq.0 as usize);
        if agent.is_some_and(|agent| agent.counts() && !agent.is_at_work()) {
            self.stale.insert(seq);
        }
    }

    /// Counts an agent as its record has it now. The record must be the next one, or one that is counted already. `last`
    /// is when nodes were last asked for guards.
    pub(super) fn count(
        &mut self,
        guards: &ClusterGuards,
        record: &AgentRecord,
        last: Option<Timestamp>,
    ) {
        if self.tallies.is_empty() {
            return;
        }
        let seq = record.seq;
        let mut now = Counted::of(record);
        let before = match self.agents.get_mut(seq.0 as usize) {
            Some(known) if known.is_of(record) => {
                known.seen_at = record.node_seen_at;
                return;
            }
            known => known.map(|known| std::mem::replace(known, Counted::of(record))),
        };
        now.out = now.counts() && now.is_out(&guards.healthy);
        self.note_stale(seq, before.as_ref(), &now, last);
        let same = before.as_ref().filter(|known| {
            known.counts() == now.counts()
                && known.out == now.out
                && Arc::ptr_eq(&known.attributes, &now.attributes)
        });
        match (same, &before) {
            (Some(known), _) => now.groups.clone_from(&known.groups),
            (None, known) => {
                let known = known.as_ref();
                self.leave(seq, known.map_or(&[], |known| &known.groups));
                if now.counts() {
                    now.groups = self.groups(guards, &now.attributes);
                    self.enter(seq, &now);
                }
                if known.map(|known| (&known.groups, known.out)) != Some((&now.groups, now.out)) {
                    self.changed();
                }
            }
        }
        match self.agents.get_mut(seq.0 as usize) {
            Some(place) => *place = now,
            None => self.agents.push(now),
        }
    }

    /// What a node said before the run worked on it says nothing about it now.
    fn note_stale(
        &mut self,
        seq: AgentSeq,
        before: Option<&Counted>,
        now: &Counted,
        last: Option<Timestamp>,
    ) {
        // An answer that took long may come after a newer one.
        let is_older = before.is_some_and(|before| {
            !Arc::ptr_eq(&before.node, &now.node) && now.seen_at < before.seen_at.max(last)
        });
        let has_worked = before.is_some_and(Counted::is_at_work) && !mutant!(FactsKept);
        let is_new = before.is_none_or(|before| before.groups.is_empty());
        if !now.counts() || now.is_at_work() {
            self.stale.remove(&seq);
        } else if has_worked || is_new || is_older {
            self.stale.insert(seq);
        }
    }

    /// The group of each guard that an agent with these attributes is in.
    fn groups(&mut self, guards: &ClusterGuards, attributes: &Map<String, Value>) -> Vec<usize> {
        let of = |(tally, guard): (&mut Tally, &Guard)| tally.group(group_of(guard, attributes));
        self.tallies.iter_mut().zip(&guards.guards).map(of).collect()
    }

    fn leave(&mut self, seq: AgentSeq, groups: &[usize]) {
        for (tally, at) in self.tallies.iter_mut().zip(groups) {
            tally.leave(seq, *at);
        }
    }

    fn enter(&mut self, seq: AgentSeq, now: &Counted) {
        for (tally, at) in self.tallies.iter_mut().zip(&now.groups) {
            let Some(group) = tally.groups.get_mut(*at) else { continue };
            group.size = group.size.saturating_add(1);
            if now.out {
                group.out.insert(seq);
                tally.touched.insert(*at);
            }
        }
    }
}

impl Tally {
    /// The group with this value, which is made if it is new.
    fn group(&mut self, value: Option<String>) -> usize {
        if let Some(known) = self.by_value.get(&value) {
            return *known;
        }
        let group = Group { value: value.clone(), size: 0, out: BTreeSet::new() };
        let at = self.free.pop().unwrap_or(self.groups.len());
        match self.groups.get_mut(at) {
            Some(place) => *place = group,
            None => self.groups.push(group),
        }
        self.by_value.insert(value, at);
        at
    }

    fn leave(&mut self, seq: AgentSeq, at: usize) {
        let Some(group) = self.groups.get_mut(at) else { return };
        group.size = group.size.saturating_sub(1);
        group.out.remove(&seq);
        if group.out.is_empty() {
            self.touched.remove(&at);
        }
        // A value that never comes back must not take up memory for ever.
        if group.size == 0 {
            self.by_value.remove(&group.value);
            self.free.push(at);
        }
    }
}

impl State {
    /// Counts an agent for the guards as it is now.
    pub(super) fn count_for_guards(&mut self, seq: AgentSeq) {
        if let Some(agent) = self.agents.get(seq.0 as usize) {
            let last = self.strategy.around.last();
            self.counting.count(&self.run.progress.guards, &agent.record, last);
        }
    }

    /// The guards have changed, so all agents are counted anew.
    pub(super) fn count_anew(&mut self) {
        let guards = Arc::clone(&self.run.progress.guards);
        self.counting = Counting::of(&guards);
        for agent in &self.agents {
            self.counting.count(&guards, &agent.record, None);
        }
    }
}
