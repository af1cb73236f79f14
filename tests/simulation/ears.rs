//! What each engine has heard of the members of the cluster, and so which agents it may take for gone or for
//! new.
//!
//! If an answer is not clear (a node with two addresses), both readings are allowed.

use std::collections::{BTreeMap, BTreeSet};

use replibook::run::{AgentId, AgentState, Happened, PlatformNode, RunEvent, RunId, Timestamp};
use replibook::store::Cluster;

use crate::ledger::{Check, expect};
use crate::run_model::RunModel;

/// An agent is gone after this many answers in a row without it.
const ABSENCES: u32 = 3;

/// If more than this share of the members is missing at once, a person has to accept it.
const MASS_PERCENT: usize = 20;

/// How long it may take from an answer until a run takes notice of it, if nothing delays the engine. An agent
/// that joined is asked about its node, which may take three seconds.
pub(crate) const NOTICED: u64 = 5_000;

/// One life of an engine: number of the engine, and number of the life.
pub(crate) type Life = (usize, u32);

/// What one life of an engine has heard of one agent.
#[derive(Clone, Debug, Default)]
struct Ear {
    listed: bool,
    told: bool,
    /// Whether the last answer named the agent.
    there: bool,
    /// How many answers in a row were without the agent, at most; and at least, if a later follower counts anew.
    absences: u32,
    surely_absent: u32,
    /// Whether a platform that is still named, or a run, has named the agent, so that it may count as a member.
    known: bool,
    /// Whether it is a member, and since when; none if that is not known.
    member: Option<(bool, Timestamp)>,
    /// Its address, and since when.
    address: Option<(String, Timestamp)>,
    /// Numbers of what was heard when it became a member, and when it ceased to be one.
    back: Vec<u64>,
    gone: Vec<u64>,
    /// Number of what was heard when it was missing together with many others; none once a person has
    /// accepted that.
    held: Option<u64>,
    accepted: bool,
    /// Whether what was heard of it was not clear.
    vague: bool,
    /// Whether the platform named it before the cluster may have been without a follower. A later follower
    /// may know that or not.
    unsure: bool,
}

/// What one life of an engine has heard.
#[derive(Clone, Debug, Default)]
struct Ears {
    agents: BTreeMap<AgentId, Ear>,
    named: bool,
    /// When the Cluster object that was read last had been applied.
    applied_at: Option<Timestamp>,
    /// Number of what was heard last.
    heard: u64,
    /// For each run and agent, the number of what the run has taken notice of.
    places: BTreeMap<(RunId, AgentId), u64>,
    /// Since when many members have been missing.
    mass_since: Option<Timestamp>,
}

/// What all engines have heard.
#[derive(Default)]
pub(crate) struct Hearing {
    of: BTreeMap<Life, Ears>,
    /// All agents that a Cluster object or a platform may name.
    all: BTreeSet<AgentId>,
    /// Since when each run has been with its present engine.
    taken: BTreeMap<RunId, Timestamp>,
    /// Whether nothing in this history delays what engines do.
    quiet: bool,
}

impl Hearing {
    pub(crate) fn new(all: BTreeSet<AgentId>, quiet: bool) -> Self {
        Self { of: BTreeMap::new(), all, taken: BTreeMap::new(), quiet }
    }

    fn ears(&mut self, life: Life) -> &mut Ears {
        let all = &self.all;
        self.of.entry(life).or_insert_with(|| Ears {
            agents: all.iter().map(|agent| (agent.clone(), Ear::default())).collect(),
            ..Ears::default()
        })
    }

    /// An engine has read the Cluster object.
    pub(crate) fn read(&mut self, life: Life, object: &Cluster, now: Timestamp) {
        let ears = self.ears(life);
        if ears.applied_at == Some(object.applied_at) {
            if !ears.named {
                // Without a platform, no agents are taken from runs.
                for ear in ears.agents.values_mut() {
                    ear.known = false;
                    ear.update(false, true, ears.heard, now);
                }
            }
            return;
        }
        ears.applied_at = Some(object.applied_at);
        let object = &object.spec;
        let listed: BTreeMap<&AgentId, &str> =
            object.agents.iter().map(|agent| (&agent.id, agent.address.as_str())).collect();
        ears.heard += 1;
        ears.named = object.discovery.is_some();
        for (id, ear) in &mut ears.agents {
            let was = std::mem::replace(&mut ear.listed, listed.contains_key(id));
            if let Some(address) = listed.get(id) {
                ear.is_at(address, now);
            }
            if !ears.named {
                (ear.told, ear.there, ear.known) = (false, false, false);
                (ear.absences, ear.surely_absent) = (0, 0);
            }
            if !ears.named || ear.listed {
                (ear.held, ear.accepted) = (None, false);
            }
            // If the agent was taken off the list, the platform may still name it, or not. A run that was taken up with
            // it can't say who named it.
            let may_be_named = ear.unsure || ear.known && ear.surely_absent < ABSENCES;
            let is_known = !ears.named || ear.listed || was && !may_be_named;
            if !is_known && was {
                // From now on it may be taken for gone, or not.
                ear.member = None;
                ear.gone.push(ears.heard);
            }
            ear.update(ears.named, is_known, ears.heard, now);
        }
        ears.count_held(now);
    }

    /// An engine got an answer that has the cluster.
    pub(crate) fn answered(&mut self, life: Life, nodes: &[PlatformNode], now: Timestamp) {
        let ears = self.ears(life);
        ears.heard += 1;
        let said = said(nodes);
        // An agent that was named in an unclear way may be known again, and then counts. One that nobody named does
        // not: of fewer members, fewer that are absent are many.
        let is_there = |ear: &Ear| ear.vague || ear.known && ear.surely_absent < ABSENCES;
        let known = |ear: &&mut Ear| !ear.listed && !ear.accepted && is_there(ear);
        let most = ears.agents.values_mut().filter(known).count();
        let is_absent = |id: &AgentId| !said.contains_key(id);
        let missed = |(id, ear): (&AgentId, &Ear)| !ear.listed && ear.there && is_absent(id);
        let missing = ears.agents.iter().filter(|(id, ear)| missed((*id, *ear))).count();
        let is_mass = missing * 100 > most * MASS_PERCENT;
        for (id, ear) in &mut ears.agents {
            ear.unsure = false;
            match said.get(id) {
                None => {
                    if is_mass && missed((id, &*ear)) {
                        ear.held.get_or_insert(ears.heard);
                    }
                    ear.there = false;
                    ear.absences += 1;
                    ear.surely_absent += 1;
                    ear.told &= ear.absences < ABSENCES;
                    let is_known = ear.surely_absent >= ABSENCES;
                    if !is_known && !ear.listed && ear.absences >= ABSENCES {
                        // From now on it may be taken for gone. A follower that began meanwhile waits for more answers.
                        ear.member = None;
                        ear.gone.push(ears.heard);
                    }
                    ear.update(ears.named, is_known, ears.heard, now);
                }
                Some(None) => {
                    // From now on it may be a member, and its absences may count.
                    (ear.vague, ear.there, ear.member) = (true, false, None);
                    (ear.held, ear.accepted) = (None, false);
                    ear.back.push(ears.heard);
                }
                Some(Some(address)) => {
                    if ear.is_doubtful() {
                        // Runs that do not know it are told of it from now on.
                        ear.member = ear.member.map(|(is_member, _)| (is_member, now));
                        ear.back.push(ears.heard);
                    }
                    (ear.told, ear.there, ear.known) = (true, true, true);
                    (ear.absences, ear.surely_absent) = (0, 0);
                    (ear.held, ear.accepted) = (None, false);
                    if !ear.listed {
                        ear.is_at(address, now);
                    }
                    ear.update(ears.named, true, ears.heard, now);
                }
            }
        }
        ears.count_held(now);
    }

    /// An engine has given a run back, taken it up again, or brought it to its end. After that the cluster
    /// may have no follower, and the next one knows nothing of earlier answers.
    pub(crate) fn forgets(&mut self, life: Life) {
        let ears = self.ears(life);
        for ear in ears.agents.values_mut() {
            ear.unsure |= ear.told;
            (ear.held, ear.told, ear.there) = (None, false, false);
            ear.known &= ear.surely_absent < ABSENCES;
            ear.surely_absent = 0;
            if !ear.listed {
                ear.member = None;
            }
        }
        ears.mass_since = None;
    }

    /// From now on an engine has this run, which knows these agents as members. It sees a moment later what changed
    /// while no engine had it. An agent that its follower has taken for gone is a member again, until enough answers
    /// lack it.
    pub(crate) fn takes(&mut self, life: Life, run: RunId, members: &[AgentId], now: Timestamp) {
        self.taken.insert(run, now);
        let ears = self.ears(life);
        for id in members {
            let Some(ear) = ears.agents.get_mut(id) else { continue };
            ear.known = true;
            if !ear.listed && !ear.told {
                (ear.surely_absent, ear.member) = (0, None);
            }
        }
    }

    /// A person accepted that the missing agents are gone.
    fn accepted(&mut self, life: Life) {
        let ears = self.ears(life);
        for ear in ears.agents.values_mut() {
            ear.accepted |= ear.held.take().is_some();
        }
        ears.mass_since = None;
    }

    /// Checks what a commit says about members. The first `known` events are older than the commit; the
    /// leaving of the agents in `leaving` was committed before.
    pub(crate) fn committed(
        &mut self,
        life: Life,
        run: &RunModel,
        known: usize,
        leaving: &BTreeSet<AgentId>,
        now: Timestamp,
    ) -> Check {
        for event in &run.events[known..] {
            self.take(life, run, event, leaving)?;
        }
        for agent in run.leaving.difference(leaving) {
            self.goes(life, run.id, agent)?;
        }
        if self.quiet { self.in_time(life, run, now) } else { Ok(()) }
    }

    fn take(
        &mut self,
        life: Life,
        run: &RunModel,
        event: &RunEvent,
        leaving: &BTreeSet<AgentId>,
    ) -> Check {
        match &event.what {
            Happened::Agent { agent, to: AgentState::Removed, .. } => {
                // An earlier commit said that the agent leaves, or that it had left.
                let told = leaving.contains(agent) || run.members.is_still_gone(event.seq);
                if told { Ok(()) } else { self.goes(life, run.id, agent) }
            }
            Happened::Agent { agent, to: AgentState::Added, .. } => self.comes(life, run.id, agent),
            Happened::Agent { agent, .. } if run.members.is_back(event.seq) => {
                self.comes(life, run.id, agent)
            }
            Happened::Status { .. } if run.accepted.contains(&event.seq) => {
                self.accepted(life);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn goes(&mut self, life: Life, run: RunId, agent: &AgentId) -> Check {
        let (ear, place) = self.ears(life).at(run, agent);
        let gone = ear.gone.iter().copied().find(|gone| *gone >= *place);
        let rule = "nobody leaves before three absences in a row";
        *place = gone.ok_or_else(|| (rule, format!("{agent} from {place}: {ear:?}")))?;
        let rule = "many that are absent at once are not taken for gone";
        let believed = ear.held.is_none_or(|held| *place < held);
        expect(believed, rule, || format!("{agent} at {place}: {ear:?}"))
    }

    fn comes(&mut self, life: Life, run: RunId, agent: &AgentId) -> Check {
        let (ear, place) = self.ears(life).at(run, agent);
        let back = ear.back.iter().copied().find(|back| *back >= *place);
        let rule = "nobody joins who was not heard of";
        *place = back.ok_or_else(|| (rule, format!("{agent} from {place}: {ear:?}")))?;
        Ok(())
    }

    /// Checks that a run that can take notice of changes has done so in time.
    fn in_time(&mut self, life: Life, run: &RunModel, now: Timestamp) -> Check {
        let long_ago = |since: Timestamp| now.since(since).0 > NOTICED;
        let was_taken = self.taken.get(&run.id).is_none_or(|since| long_ago(*since));
        if !run.takes_changes() || !long_ago(run.stage_since) || !was_taken {
            return Ok(());
        }
        let rule = "a change of the cluster is seen in time";
        let ears = self.ears(life);
        let is_mass = ears.mass_since.is_some_and(long_ago);
        let stopped = run.progress.mass_absence.is_some();
        expect(!is_mass || stopped, rule, || format!("many are absent: {ears:?}"))?;
        let excused = run.mass_until.is_some_and(|until| !long_ago(until));
        let late = ears.agents.iter().find(|(id, ear)| {
            let is_member = ear.member.is_some_and(|(is_member, _)| is_member);
            ear.unnoticed_since(id, run).is_some_and(long_ago) && (is_member || !excused)
        });
        expect(late.is_none(), rule, || format!("{late:?}"))
    }
}

impl Ears {
    fn at(&mut self, run: RunId, agent: &AgentId) -> (&mut Ear, &mut u64) {
        let ear = self.agents.entry(agent.clone()).or_default();
        (ear, self.places.entry((run, agent.clone())).or_default())
    }

    fn count_held(&mut self, now: Timestamp) {
        let held = self.agents.values().any(|ear| ear.held.is_some());
        self.mass_since = held.then(|| self.mass_since.unwrap_or(now));
    }
}

impl Ear {
    /// Since when the run has not taken notice that the agent is a member, or is none, or has another
    /// address; none if it has.
    fn unnoticed_since(&self, agent: &AgentId, run: &RunModel) -> Option<Timestamp> {
        let (is_member, since) = self.member.filter(|_| !self.vague)?;
        let record = run.record_of(agent);
        let there = record.filter(|r| r.state != AgentState::Removed && !r.leaving);
        match (there, &self.address) {
            (Some(record), Some((address, since))) if is_member => {
                (record.address != *address).then_some(*since)
            }
            // An agent that is missing with many others joins no run.
            (None, _) if self.is_doubtful() => None,
            (there, _) => (there.is_some() != is_member).then_some(since),
        }
    }

    /// Whether the agent is missing together with many others.
    fn is_doubtful(&self) -> bool {
        self.held.is_some() || self.accepted
    }

    /// Takes notice of the address of the agent.
    fn is_at(&mut self, address: &str, now: Timestamp) {
        if self.address.as_ref().is_none_or(|(known, _)| known != address) {
            self.address = Some((address.to_owned(), now));
        }
    }

    /// Works out whether the agent is a member now, if that can be known.
    fn update(&mut self, named: bool, is_known: bool, heard: u64, now: Timestamp) {
        let is_member = self.listed || named && self.told;
        if !is_member && !is_known || self.member.is_some_and(|(was, _)| was == is_member) {
            return;
        }
        self.member = Some((is_member, now));
        let turns = if is_member { &mut self.back } else { &mut self.gone };
        turns.push(heard);
    }
}

/// The agents that an answer names, and the address of each, if it is clear.
fn said(nodes: &[PlatformNode]) -> BTreeMap<AgentId, Option<&str>> {
    let mut addresses: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut names: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for node in nodes {
        let Some(id) = &node.node_id else { continue };
        let address = node.agent_address.as_deref().unwrap_or_default();
        addresses.entry(id).or_default().insert(address);
        names.entry(address).or_default().insert(id);
    }
    let is_clear = |address: &&str, of: &BTreeSet<&str>| {
        of.len() == 1 && address.starts_with("http://") && names[*address].len() == 1
    };
    let clear = addresses.iter().map(|(id, of)| {
        let address = of.first().copied().filter(|address| is_clear(address, of));
        (AgentId((*id).to_owned()), address)
    });
    clear.collect()
}
