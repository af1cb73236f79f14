//! The follower of one cluster.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use serde_json::{Map, Value};

use super::answer::{LeftOut, MAX_FOUND, Node, PlatformNode, Sorted, sort};
use super::change::MassAbsence;
use super::view::{Heard, KnownAgent, LastAnswer, Members, Membership, Outcome, Phase, Source};
use crate::playbook::{Cluster, ClusterAgent};
use crate::run::{AgentId, Timestamp};

/// Answers in a row that must be without an agent for it to be gone.
pub const ABSENCES: u8 = 3;

/// Hundredths of the discovered members; when more than that are absent from one answer, it is more
/// likely that the platform is wrong than that they are gone.
pub const MASS_PERCENT: usize = 20;

/// Works out the members of one cluster.
///
/// # Guarantees
/// - An answer that failed, or is without the cluster, changes nobody.
/// - A discovered agent leaves after [`ABSENCES`] answers in a row that have the cluster and not the
///   agent. A node that can't be used counts neither as present nor as absent: the count stays.
/// - When more than [`MASS_PERCENT`] of the discovered members are absent from one answer that is a
///   mass absence. While it lasts nobody leaves. It lasts until all who were absent have returned, or
///   a person [accepts](Self::accept) it.
/// - Agents of the Cluster object never leave by an answer, and count over a discovered agent that
///   has their identifier or their address.
/// - No two members have the same address: one that is still another member's is not taken over.
#[derive(Debug)]
pub struct Follower {
    phase: Phase,
    /// The platform that the Cluster object names, and how that one calls the cluster.
    platform: Option<(String, String)>,
    /// With their places in the list.
    declared: BTreeMap<AgentId, (u32, ClusterAgent)>,
    declared_addresses: HashSet<String>,
    found: BTreeMap<AgentId, Found>,
    /// Absent members of a mass absence.
    held: BTreeSet<AgentId>,
    /// Absent members that a person has accepted, and that are not gone yet.
    accepted: BTreeSet<AgentId>,
    members: Arc<Members>,
    last_answer: Option<LastAnswer>,
}

/// An agent that a platform told of.
#[derive(Debug)]
struct Found {
    address: String,
    attributes: Map<String, Value>,
    /// Answers in a row that were without it.
    absences: u8,
}

impl Default for Follower {
    fn default() -> Self {
        Self::new()
    }
}

impl Follower {
    /// A follower that knows nothing yet.
    pub fn new() -> Self {
        Self {
            phase: Phase::Reading,
            platform: None,
            declared: BTreeMap::new(),
            declared_addresses: HashSet::new(),
            found: BTreeMap::new(),
            held: BTreeSet::new(),
            accepted: BTreeSet::new(),
            members: Arc::default(),
            last_answer: None,
        }
    }

    /// What is known now.
    pub fn membership(&self) -> Membership {
        Membership {
            phase: self.phase,
            members: Arc::clone(&self.members),
            mass_absence: self.mass_absence(),
            last_answer: self.last_answer.clone(),
        }
    }

    /// Takes notice of the Cluster object as it is now.
    ///
    /// Who is taken out of the object leaves at once, unless the platform tells of the agent too; with
    /// `discovery` taken out all discovered agents leave. A person has said so; nothing is doubted.
    /// What another platform does not tell of is as absent as it would be from the one before.
    pub fn declare(&mut self, object: &Cluster, at: Timestamp) {
        let declared = (0..).zip(&object.agents);
        self.declared = declared.map(|(place, a)| (a.id.clone(), (place, a.clone()))).collect();
        self.declared_addresses = object.agents.iter().map(|a| a.address.clone()).collect();
        let platform = object.discovery.as_ref().map(|d| (d.url.clone(), d.cluster.clone()));
        if platform.is_none() {
            self.found.clear();
            self.last_answer = None;
            self.phase = Phase::Settled;
        } else if self.platform != platform || self.phase == Phase::Reading {
            self.last_answer = None;
            self.phase = Phase::Asking;
        }
        self.platform = platform;
        self.update(at);
    }

    /// Takes notice of agents that a run knows as members since before this began to follow the
    /// cluster, with their addresses. They are members until a platform is without them
    /// [`ABSENCES`] times; where there is none, only those that the Cluster object lists are.
    pub fn know(&mut self, known: Vec<(AgentId, String)>, at: Timestamp) {
        if self.phase != Phase::Reading && self.platform.is_none() {
            return;
        }
        let mut taken: HashSet<String> =
            self.found.values().map(|found| found.address.clone()).collect();
        for (id, address) in known {
            // At another one's address the agent is no more.
            let is_new = !self.found.contains_key(&id) && self.found.len() < MAX_FOUND;
            if is_new && taken.insert(address.clone()) {
                self.found.insert(id, Found { address, attributes: Map::new(), absences: 0 });
            }
        }
        self.update(at);
    }

    /// Takes notice of what came of a question to the platform, and says which nodes can't be used.
    /// An answer that comes when the Cluster object names no platform any more is ignored.
    pub fn hear(&mut self, heard: Heard, at: Timestamp) -> LeftOut {
        if self.platform.is_none() {
            return LeftOut::default();
        }
        let (outcome, left_out) = match heard {
            Heard::Failed(message) => (Outcome::Failed { message }, LeftOut::default()),
            Heard::WithoutCluster => (Outcome::WithoutCluster, LeftOut::default()),
            Heard::Nodes(nodes) => {
                let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
                let all = count(nodes.len());
                let left_out = self.nodes(nodes, at);
                self.phase = Phase::Settled;
                (Outcome::Ok { nodes: all, left_out: count(left_out.count) }, left_out)
            }
        };
        self.last_answer = Some(LastAnswer { at, outcome });
        left_out
    }

    /// A person accepts that the absent members of the mass absence are gone: they leave as others
    /// do, which those who were absent often enough do at once.
    pub fn accept(&mut self, at: Timestamp) {
        self.accepted.append(&mut self.held);
        self.remove_the_gone();
        self.update(at);
    }

    fn mass_absence(&self) -> Option<MassAbsence> {
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let known = self.found.iter().filter(|(id, found)| !self.is_shadowed(id, found)).count();
        let mass = MassAbsence { absent: count(self.held.len()), known: count(known) };
        (mass.absent > 0).then_some(mass)
    }

    fn nodes(&mut self, nodes: Vec<PlatformNode>, at: Timestamp) -> LeftOut {
        let address_of = |id: &AgentId| self.found.get(id).map(|found| found.address.clone());
        let mut sorted = sort(nodes, address_of);
        self.leave_out_takeovers(&mut sorted);
        self.leave_out_too_many(&mut sorted);
        self.absences(&sorted);
        let Sorted { usable, left_out, .. } = sorted;
        for (id, Node { address, attributes }) in usable {
            self.held.remove(&id);
            self.accepted.remove(&id);
            self.found.insert(id, Found { address, attributes, absences: 0 });
        }
        self.remove_the_gone();
        self.update(at);
        left_out
    }

    /// Leaves out each node whose address belongs to another agent of which the answer says nothing
    /// that can be used. Such an agent may be back with the next answer, and an action that is meant
    /// for it must not be done by another one.
    fn leave_out_takeovers(&self, sorted: &mut Sorted) {
        let wanted: HashMap<String, AgentId> =
            sorted.usable.iter().map(|(id, node)| (node.address.clone(), id.clone())).collect();
        let mut staying: Vec<&AgentId> =
            self.found.keys().filter(|id| !sorted.usable.contains_key(*id)).collect();
        while let Some(id) = staying.pop() {
            let Some(found) = self.found.get(id) else { continue };
            let Some(other) = wanted.get(&found.address).filter(|other| *other != id) else {
                continue;
            };
            let address = &found.address;
            let why = || format!("node {other}: its address {address} is still that of agent {id}");
            sorted.leave_out(other, why);
            // It stays where it is, and so may stand in the way of a third one.
            if let Some((known, _)) = self.found.get_key_value(other) {
                staying.push(known);
            }
        }
    }

    fn leave_out_too_many(&self, sorted: &mut Sorted) {
        let room = MAX_FOUND.saturating_sub(self.found.len());
        let new = sorted.usable.keys().filter(|id| !self.found.contains_key(*id));
        let past: Vec<AgentId> = new.skip(room).cloned().collect();
        for id in past {
            sorted.leave_out(&id, || format!("node {id}: more than {MAX_FOUND} agents are known"));
        }
    }

    /// Counts the absences of an answer, and notes a mass absence.
    fn absences(&mut self, sorted: &Sorted) {
        let is_absent =
            |id: &AgentId| !sorted.usable.contains_key(id) && !sorted.vague.contains(id);
        let (mut known, mut absent) = (0, Vec::new());
        for (id, found) in &self.found {
            // What the Cluster object lists does not depend on the platform.
            if self.is_shadowed(id, found) || self.accepted.contains(id) {
                continue;
            }
            known += 1;
            if is_absent(id) {
                absent.push(id.clone());
            }
        }
        if absent.len() * 100 > known * MASS_PERCENT || !self.held.is_empty() {
            self.held.extend(absent);
        }
        for (_, found) in self.found.iter_mut().filter(|(id, _)| is_absent(id)) {
            found.absences = found.absences.saturating_add(1);
        }
    }

    fn remove_the_gone(&mut self) {
        let held = &self.held;
        self.found.retain(|id, found| found.absences < ABSENCES || held.contains(id));
        let found = &self.found;
        self.accepted.retain(|id| found.contains_key(id));
    }

    /// Whether the Cluster object counts over a discovered agent.
    fn is_shadowed(&self, id: &AgentId, found: &Found) -> bool {
        self.declared.contains_key(id) || self.declared_addresses.contains(&found.address)
    }

    /// Works the members out anew. Who did not change keeps the allocation, and all of them do when
    /// nobody changed.
    fn update(&mut self, at: Timestamp) {
        let held = std::mem::take(&mut self.held);
        let stays =
            |id: &AgentId| self.found.get(id).is_some_and(|found| !self.is_shadowed(id, found));
        let held = held.into_iter().filter(stays).collect();
        let declared = self
            .declared
            .iter()
            .map(|(id, (place, agent))| (id, &agent.address, &agent.attributes, Some(*place)));
        let found = self.found.iter().filter(|(id, found)| !self.is_shadowed(id, found));
        let found = found.map(|(id, found)| (id, &found.address, &found.attributes, None));
        let mut same = true;
        let mut members = Members::new();
        for (id, address, attributes, place) in declared.chain(found) {
            let source = if place.is_some() { Source::Declared } else { Source::Discovered };
            let known = self.members.get(id);
            let kept = known.filter(|known| {
                (&known.address, &known.attributes, known.place) == (address, attributes, place)
            });
            let agent = kept.cloned().unwrap_or_else(|| {
                same = false;
                let since = known.filter(|known| known.source == source).map_or(at, |k| k.since);
                let (address, attributes) = (address.clone(), attributes.clone());
                Arc::new(KnownAgent { address, attributes, source, place, since })
            });
            members.insert(id.clone(), agent);
        }
        if !same || members.len() != self.members.len() {
            self.members = Arc::new(members);
        }
        self.held = held;
    }
}
