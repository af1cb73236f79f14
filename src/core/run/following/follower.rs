//! The follower of one cluster: it works out the members from the Cluster object and the answers of a platform.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use serde_json::{Map, Value};

use super::answer::{LeftOut, MAX_FOUND, Node, PlatformNode, Sorted, sort};
use super::change::MassAbsence;
use super::side_by_side::side_by_side;
use super::view::{Heard, KnownAgent, LastAnswer, Members, Membership, Outcome, Phase, Source};
use crate::mutants::mutant;
use crate::playbook::{Cluster, Identity, parse_address};
use crate::run::{AgentId, Timestamp};

/// How many answers in a row must lack an agent before it counts as gone.
pub const ABSENCES: u8 = 3;

/// Percentage of the discovered members. If more than that are absent from one answer, it is more likely that the
/// platform is wrong than that they are gone.
pub const MASS_PERCENT: usize = 20;

/// Works out the members of one cluster.
///
/// # Guarantees
/// - An answer that failed, or that lacks the cluster, changes no member.
/// - A discovered agent leaves after [`ABSENCES`] answers in a row that have the cluster but not the agent. A node
///   that can't be used counts neither as present nor as absent: the count stays as it is.
/// - If more than [`MASS_PERCENT`] of the discovered members are absent from one answer, that is a mass absence.
///   While it lasts, nobody leaves. It lasts until all absent members have returned, or a person
///   [accepts](Self::accept) it.
/// - Agents of the Cluster object never leave because of an answer. They override a discovered agent with the same
///   identifier or the same address.
/// - No two members have the same address: a new address is not taken over while another member has it.
///
/// An answer is read whole, so hearing one costs time in proportion to its nodes. Asking for the membership
/// between two answers costs nothing.
///
/// # Example
/// ```
/// use replibook_core::playbook::parse_cluster;
/// use replibook_core::run::{ABSENCES, Follower, Heard, PlatformNode, Timestamp};
///
/// # let cluster = parse_cluster(br#"{
/// #     "apiVersion": "replicante.io/v1", "kind": "Cluster", "metadata": { "name": "eu" },
/// #     "spec": { "discovery": { "url": "http://platform", "cluster": "eu" } }
/// # }"#)?;
/// let at = Timestamp::from_millis(0);
/// let node = |number| PlatformNode {
///     node_id: Some(format!("node-{number}")),
///     agent_address: Some(format!("http://node-{number}:8000")),
///     ..PlatformNode::default()
/// };
/// let mut follower = Follower::new();
/// follower.declare(&cluster, at);
/// follower.hear(Heard::Nodes((1..=5).map(node).collect()), at);
/// for absences in 1..=ABSENCES {
///     assert_eq!(follower.membership().members.len(), 5);
///     follower.hear(Heard::Nodes((1..=4).map(node).collect()), at);
/// }
/// assert_eq!(follower.membership().members.len(), 4, "the last one is gone");
/// # Ok::<(), replibook_core::playbook::Problems>(())
/// ```
#[derive(Debug)]
pub struct Follower {
    phase: Phase,
    /// The platform that the Cluster object names: its URL, and what it calls the cluster.
    platform: Option<(String, String)>,
    /// How the identity of a discovered agent is checked.
    identity: Identity,
    declared: BTreeMap<AgentId, Arc<KnownAgent>>,
    declared_addresses: HashSet<String>,
    found: BTreeMap<AgentId, Found>,
    /// Members that are absent in a mass absence.
    held: BTreeSet<AgentId>,
    /// Absent members that a person has given up, but that are not gone yet.
    accepted: BTreeSet<AgentId>,
    members: Arc<Members>,
    mass_absence: Option<MassAbsence>,
    /// Members that so far only runs know.
    unheard: BTreeSet<AgentId>,
    /// All agents of `held`, `accepted` and `unheard` that are members.
    doubtful: Arc<BTreeSet<AgentId>>,
    last_answer: Option<LastAnswer>,
}

/// An agent that a platform reported.
#[derive(Debug)]
struct Found {
    agent: Arc<KnownAgent>,
    /// How many answers in a row were without the agent.
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
            identity: Identity::Check,
            declared: BTreeMap::new(),
            declared_addresses: HashSet::new(),
            found: BTreeMap::new(),
            held: BTreeSet::new(),
            accepted: BTreeSet::new(),
            members: Arc::default(),
            mass_absence: None,
            unheard: BTreeSet::new(),
            doubtful: Arc::default(),
            last_answer: None,
        }
    }

    /// The membership as it is known now.
    pub fn membership(&self) -> Membership {
        Membership {
            phase: self.phase,
            members: Arc::clone(&self.members),
            mass_absence: self.mass_absence,
            doubtful: Arc::clone(&self.doubtful),
            last_answer: self.last_answer.clone(),
        }
    }

    /// Takes in the Cluster object as it is now.
    ///
    /// An agent that was removed from the object leaves at once, unless the platform reports it too. If
    /// `discovery` was removed, all discovered agents leave. Nothing of this is doubted, because a person has said
    /// so. An agent that a new platform does not report is as absent as if the old platform did not report it.
    pub fn declare(&mut self, object: &Cluster, at: Timestamp) {
        let before = std::mem::take(&mut self.declared);
        let cluster_id = object.cluster_id().map(Arc::from);
        self.compare(Identity::Check.in_cluster(cluster_id.as_ref()));
        let declared = (0..).zip(&object.agents).map(|(place, agent)| {
            let address = one_spelling(&agent.address);
            let known = before.get(&agent.id);
            let identity = agent.identity.in_cluster(cluster_id.as_ref());
            let kept = known.filter(|known| {
                known.place == Some(place)
                    && (known.address.as_str(), &known.attributes) == (&*address, &agent.attributes)
                    && known.identity == identity
            });
            let made = || KnownAgent {
                address: address.to_string(),
                attributes: agent.attributes.clone(),
                source: Source::Declared,
                place: Some(place),
                since: known.map_or(at, |known| known.since),
                identity: identity.clone(),
            };
            (agent.id.clone(), kept.cloned().unwrap_or_else(|| Arc::new(made())))
        });
        self.declared = declared.collect();
        self.declared_addresses = self.declared.values().map(|a| a.address.clone()).collect();
        let platform = object.discovery.as_ref().map(|d| (d.url.clone(), d.cluster.clone()));
        if platform.is_none() {
            self.found.clear();
            self.unheard.clear();
            self.accepted.clear();
            self.last_answer = None;
            self.phase = Phase::Settled;
        } else if self.platform != platform || self.phase == Phase::Reading {
            self.last_answer = None;
            self.phase = Phase::Asking;
        }
        self.platform = platform;
        self.update();
    }

    /// Sets how the identities of discovered agents are checked from now on.
    fn compare(&mut self, identity: Identity) {
        if self.identity == identity {
            return;
        }
        for found in self.found.values_mut() {
            Arc::make_mut(&mut found.agent).identity = identity.clone();
        }
        self.identity = identity;
    }

    /// Takes in agents that a run already knows as members, with their addresses, from before the follower began.
    /// They are members until [`ABSENCES`] answers of the platform lack them, but they
    /// [join](Membership::doubtful) no other run that has begun. If no platform is named, only the agents that the
    /// Cluster object lists are members.
    pub fn know(&mut self, known: Vec<(AgentId, String)>, at: Timestamp) {
        if self.phase != Phase::Reading && self.platform.is_none() {
            return;
        }
        let mut taken: HashSet<String> =
            self.found.values().map(|found| found.agent.address.clone()).collect();
        for (id, address) in known {
            // The agent is no longer at an address that another agent has.
            let is_new = !self.found.contains_key(&id) && self.found.len() < MAX_FOUND;
            let address = one_spelling(&address).into_owned();
            if is_new && taken.insert(address.clone()) {
                let attributes = Map::new();
                self.unheard.insert(id.clone());
                let agent = discovered(address, attributes, at, &self.identity);
                self.found.insert(id, Found::new(agent));
            }
        }
        self.update();
    }

    /// Takes in what came of a question to the platform, and returns which nodes can't be used. An answer is
    /// ignored if the Cluster object no longer names a platform.
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

    /// Accepts, for a person, that the absent members of the mass absence are gone. They leave like others: at
    /// once if they were absent often enough.
    pub fn accept(&mut self) {
        self.accepted.append(&mut self.held);
        self.remove_the_gone();
        self.update();
    }

    fn nodes(&mut self, nodes: Vec<PlatformNode>, at: Timestamp) -> LeftOut {
        let address_of =
            |id: &AgentId| self.found.get(id).map(|found| found.agent.address.as_str());
        let mut sorted = sort(nodes, address_of);
        self.leave_out_declared(&mut sorted);
        self.leave_out_takeovers(&mut sorted);
        self.leave_out_too_many(&mut sorted);
        self.absences(&sorted);
        let Sorted { usable, left_out, .. } = sorted;
        let changed = self.take_over(usable, at);
        match self.remove_the_gone() || changed {
            true => self.update(),
            false => self.note_doubts(),
        }
        left_out
    }

    /// Takes over what an answer says about its nodes. Returns whether anything is new.
    fn take_over(&mut self, usable: BTreeMap<AgentId, Node>, at: Timestamp) -> bool {
        let mut changed = false;
        let mut new = Vec::new();
        let mut known = self.found.iter_mut().peekable();
        for (id, node) in usable {
            self.held.remove(&id);
            self.accepted.remove(&id);
            self.unheard.remove(&id);
            while known.next_if(|(other, _)| **other < id).is_some() {}
            let Some((_, found)) = known.next_if(|(other, _)| **other == id) else {
                new.push((id, Found::new(discovered_node(node, at, &self.identity))));
                continue;
            };
            found.absences = 0;
            if !node.is_as(&found.agent.address, &found.agent.attributes) {
                let since = found.agent.since;
                *found = Found::new(discovered_node(node, since, &self.identity));
                changed = true;
            }
        }
        changed |= !new.is_empty();
        self.found.extend(new);
        changed
    }

    /// Leaves out each node of a member whose address is now that of an agent of the Cluster object. The member
    /// would disappear with it, and a single answer must make no member disappear.
    fn leave_out_declared(&self, sorted: &mut Sorted) {
        if self.declared_addresses.is_empty() {
            return;
        }
        let both = side_by_side(&self.found, &sorted.usable);
        let hidden = both.filter_map(|(id, found, node)| {
            let (found, node) = found.zip(node)?;
            let is_hidden = self.declared_addresses.contains(&node.address);
            (is_hidden && !self.is_shadowed(id, found)).then(|| (id.clone(), node.address.clone()))
        });
        for (id, address) in hidden.collect::<Vec<_>>() {
            let why = || format!("node {id}: its address {address} is that of a declared agent");
            sorted.leave_out(&id, why);
        }
    }

    /// Leaves out each node whose address belongs to another agent about which the answer says nothing usable.
    /// That agent may be back with the next answer, and an action that is meant for it must not be done by another
    /// agent.
    fn leave_out_takeovers(&self, sorted: &mut Sorted) {
        let usable = &sorted.usable;
        let staying = side_by_side(&self.found, usable).filter(|(_, _, node)| node.is_none());
        let mut staying: Vec<&AgentId> = staying.map(|(id, _, _)| id).collect();
        if staying.is_empty() {
            return;
        }
        let wanted: HashMap<&str, &AgentId> =
            usable.iter().map(|(id, node)| (node.address.as_str(), id)).collect();
        let mut left_out: Vec<(AgentId, String)> = Vec::new();
        while let Some(id) = staying.pop() {
            let Some(found) = self.found.get(id) else { continue };
            let address = found.agent.address.as_str();
            let Some(other) = wanted.get(address).filter(|other| **other != id) else { continue };
            let why = format!("node {other}: its address {address} is still that of agent {id}");
            left_out.push(((*other).clone(), why));
            // That agent keeps its address, and so may stand in the way of a third agent.
            if let Some((known, _)) = self.found.get_key_value(*other) {
                staying.push(known);
            }
        }
        for (id, why) in left_out {
            sorted.leave_out(&id, || why);
        }
    }

    fn leave_out_too_many(&self, sorted: &mut Sorted) {
        let room = MAX_FOUND.saturating_sub(self.found.len());
        let new = side_by_side(&self.found, &sorted.usable).filter(|(_, found, _)| found.is_none());
        let past: Vec<AgentId> = new.skip(room).map(|(id, _, _)| id.clone()).collect();
        for id in past {
            sorted.leave_out(&id, || format!("node {id}: more than {MAX_FOUND} agents are known"));
        }
    }

    /// Counts the absences in an answer, and notes a mass absence.
    fn absences(&mut self, sorted: &Sorted) {
        let (mut known, mut doubted, mut absent) = (0, Vec::new(), Vec::new());
        for (id, found, node) in side_by_side(&self.found, &sorted.usable) {
            let Some(found) = found else { continue };
            let is_absent = node.is_none() && !sorted.vague.contains(id);
            if is_absent {
                absent.push(id.clone());
            }
            // What the Cluster object lists does not depend on the platform.
            if self.is_shadowed(id, found) || self.accepted.contains(id) {
                continue;
            }
            known += 1;
            if is_absent {
                doubted.push(id.clone());
            }
        }
        let is_mass = doubted.len() * 100 > known * MASS_PERCENT && !mutant!(MassAbsenceBelieved);
        if is_mass || !self.held.is_empty() {
            self.held.extend(doubted);
        }
        for id in absent {
            if let Some(found) = self.found.get_mut(&id) {
                found.absences = found.absences.saturating_add(1);
            }
        }
    }

    /// Removes the agents that were absent often enough. Returns whether any are gone.
    fn remove_the_gone(&mut self) -> bool {
        let (held, before) = (&self.held, self.found.len());
        let absences = if mutant!(RemovedOnFirstAbsence) { 1 } else { ABSENCES };
        self.found.retain(|id, found| found.absences < absences || held.contains(id));
        let found = &self.found;
        self.accepted.retain(|id| found.contains_key(id));
        self.unheard.retain(|id| found.contains_key(id));
        found.len() < before
    }

    /// Whether the Cluster object overrides a discovered agent.
    fn is_shadowed(&self, id: &AgentId, found: &Found) -> bool {
        self.declared.contains_key(id) || self.declared_addresses.contains(&found.agent.address)
    }

    /// Whether an agent is a member about which the Cluster object says nothing.
    fn is_discovered(&self, id: &AgentId) -> bool {
        self.found.get(id).is_some_and(|found| !self.is_shadowed(id, found))
    }

    /// Works out the members anew. The map keeps its allocation if no member changed.
    fn update(&mut self) {
        let held = std::mem::take(&mut self.held);
        self.held = held.into_iter().filter(|id| self.is_discovered(id)).collect();
        let found = self.found.iter().filter(|(id, found)| !self.is_shadowed(id, found));
        let found = found.map(|(id, found)| (id.clone(), Arc::clone(&found.agent)));
        let declared = self.declared.iter().map(|(id, agent)| (id.clone(), self.told(id, agent)));
        let members: Members = declared.chain(found).collect();
        let same = |(_, one, other): (&AgentId, Option<&Arc<_>>, Option<&Arc<_>>)| {
            one.zip(other).is_some_and(|(one, other)| Arc::ptr_eq(one, other))
        };
        if !side_by_side(&members, &self.members).all(same) {
            self.members = Arc::new(members);
        }
        self.note_doubts();
    }

    /// An agent of the Cluster object, with the attributes that the platform reports beneath those of the object.
    /// It keeps its allocation if nothing changed.
    fn told(&self, id: &AgentId, declared: &Arc<KnownAgent>) -> Arc<KnownAgent> {
        let Some(found) = self.found.get(id) else { return Arc::clone(declared) };
        let mut attributes = found.agent.attributes.clone();
        attributes.extend(declared.attributes.clone());
        let told = KnownAgent { attributes, ..(**declared).clone() };
        match self.members.get(id).filter(|member| ***member == told) {
            Some(same) => Arc::clone(same),
            None if told == **declared => Arc::clone(declared),
            None => Arc::new(told),
        }
    }

    fn note_doubts(&mut self) {
        self.mass_absence = self.mass_absence();
        let doubtful = self.held.iter().chain(&self.accepted).chain(&self.unheard);
        let doubtful = doubtful.filter(|id| self.is_discovered(id));
        let doubtful: BTreeSet<AgentId> = doubtful.cloned().collect();
        if doubtful != *self.doubtful {
            self.doubtful = Arc::new(doubtful);
        }
    }

    fn mass_absence(&self) -> Option<MassAbsence> {
        if self.held.is_empty() {
            return None;
        }
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let known = self.found.iter().filter(|(id, found)| !self.is_shadowed(id, found)).count();
        Some(MassAbsence { absent: count(self.held.len()), known: count(known) })
    }
}

impl Found {
    fn new(agent: KnownAgent) -> Self {
        Self { agent: Arc::new(agent), absences: 0 }
    }
}

fn discovered_node(mut node: Node, since: Timestamp, identity: &Identity) -> KnownAgent {
    let address = std::mem::take(&mut node.address);
    discovered(address, node.attributes(), since, identity)
}

fn discovered(
    address: String,
    attributes: Map<String, Value>,
    since: Timestamp,
    identity: &Identity,
) -> KnownAgent {
    let (source, identity) = (Source::Discovered, identity.clone());
    KnownAgent { address, attributes, source, place: None, since, identity }
}

/// The one spelling of an address. An earlier version may have stored another spelling.
fn one_spelling(address: &str) -> Cow<'_, str> {
    parse_address(address).map_or(Cow::Borrowed(address), Cow::Owned)
}
