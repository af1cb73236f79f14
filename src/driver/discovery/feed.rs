//! Turns changes of a cluster into inputs of one run. Each run has a feed of its own, because runs know different
//! members.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt as _, StreamExt as _};
use tokio::sync::mpsc;

use super::followers::Following;
use crate::driver::World;
use crate::driver::asking;
use crate::driver::guards::Gate;
use crate::driver::secrets::RunSecrets;
use crate::run::{
    AgentId, AgentRecord, AgentState, Difference, Input, KnownAgent, MassAbsence, Member, Members,
    Membership, MembershipChange, Phase, Selection, Source, Timestamp, difference,
};
use replibook_core::mutant;

/// How many newly joined agents are asked about themselves at the same time, so that not all of their connections
/// are opened at once.
const JOINED_AT_ONCE: usize = asking::ASKED_AT_ONCE;

/// The members that a run knows from its records. An agent that is leaving does not count: it is gone once its
/// action has ended, unless it turns out to be back.
pub(crate) fn known_members<'a>(records: impl IntoIterator<Item = &'a AgentRecord>) -> Members {
    let records = records.into_iter();
    let agents = records.filter(|record| !record.agent.is_run());
    let present = agents.filter(|record| record.state != AgentState::Removed && !record.leaving);
    let known = present.map(|record| {
        let agent = KnownAgent {
            address: record.address.clone(),
            attributes: serde_json::Map::new(),
            source: Source::Discovered,
            place: None,
            since: Timestamp::MIN,
            identity: record.identity.clone(),
        };
        (record.agent.clone(), Arc::new(agent))
    });
    known.collect()
}

/// What a run knows when its feed begins.
pub(crate) struct Fed {
    /// The agents that the run takes for members.
    pub(crate) known: Members,
    /// The mass absence that the run was told of.
    pub(crate) told: Option<MassAbsence>,
    /// A run that retries agents of another run takes no agents but these; None for any other run.
    pub(crate) only: Option<HashSet<AgentId>>,
    /// Whether the run is told of nothing but members that it does not know.
    pub(crate) others_alone: bool,
    /// Decides which agents have to answer before the stage knows whom it selects.
    pub(crate) selection: Selection,
    /// What new agents say is kept without them.
    pub(in crate::driver) secrets: RunSecrets,
    /// Tells a run that goes over agents of another run its guards, once it knows all members. None for any other run, and
    /// while it is told of only some.
    pub(in crate::driver) gate: Option<Gate>,
}

/// Puts every change of the cluster into the inbox of a run. Agents that left or moved are reported at once. A new
/// agent is asked about itself first, and reported once it has answered or failed to answer in time. Reports of
/// agents that left or moved do not wait for new ones.
pub(crate) async fn feed(
    world: World,
    mut following: Following,
    fed: Fed,
    inbox: mpsc::Sender<Input>,
) {
    let (new, asking, answers) = (VecDeque::new(), HashSet::new(), FuturesUnordered::new());
    let mut feed = Feed { world, inbox, fed, is_sure: false, opened: false, new, asking, answers };
    // What the run was told, except for new agents that have not answered.
    let mut told: Option<Membership> = None;
    loop {
        let now = following.now().membership;
        let is_known = match now.phase {
            Phase::Asking | Phase::Settled => true,
            Phase::Reading => false,
        };
        let is_told = told.as_ref().is_some_and(|told| told.is_as(&now));
        if is_known && !is_told {
            feed.tell(&now).await;
            told = Some(now.clone());
        }
        feed.ask();
        if told.is_some() {
            feed.open_if_over(&now).await;
        }
        tokio::select! {
            biased;
            () = following.changed() => {}
            Some(member) = feed.answers.next() => {
                if !feed.join(member, &now).await {
                    told = None;
                }
            }
        }
    }
}

/// Keeps track of what a run was told.
struct Feed {
    world: World,
    inbox: mpsc::Sender<Input>,
    /// What the run knows by now.
    fed: Fed,
    /// Whether the run was told since the present platform answered, or since there is none.
    is_sure: bool,
    /// Whether the run was told of all members before.
    opened: bool,
    /// Agents that joined and are still to be asked.
    new: VecDeque<(AgentId, Arc<KnownAgent>)>,
    /// Agents that are being asked.
    asking: HashSet<AgentId>,
    answers: FuturesUnordered<BoxFuture<'static, Member>>,
}

impl Feed {
    /// Reports who left or moved and whether many are absent, and notes who joined.
    async fn tell(&mut self, now: &Membership) {
        let changed = difference(&self.fed.known, &now.members);
        let Difference { mut joined, mut left, mut moved } = changed;
        if self.fed.others_alone {
            (left, moved) = (Vec::new(), Vec::new());
        }
        self.hold_back(&mut left, &mut moved, now);
        if mutant!(MoveNotTold) {
            moved.clear();
        }
        joined.retain(|(id, _)| self.joins(id, now) && !self.asking.contains(id));
        self.new = joined.into();
        let (mass_absence, is_first) = match now.phase {
            // Whether the mass absence is over is only known once the platform has answered. It is told then in
            // any case, because somebody may have resumed the run meanwhile.
            Phase::Reading | Phase::Asking => {
                self.is_sure = false;
                (now.mass_absence.or(self.fed.told), false)
            }
            Phase::Settled => (now.mass_absence, !std::mem::replace(&mut self.is_sure, true)),
        };
        let is_same = !is_first && self.fed.told == mass_absence || self.fed.others_alone;
        if is_same && left.is_empty() && moved.is_empty() {
            return;
        }
        for id in &left {
            self.fed.known.remove(id);
        }
        for (id, _) in &moved {
            if let Some(agent) = now.members.get(id) {
                self.fed.known.insert(id.clone(), Arc::clone(agent));
            }
        }
        self.fed.told = mass_absence;
        self.send(MembershipChange { left, moved, mass_absence, ..no_change() }).await;
    }

    /// The address of a doubtful member may come from another run, whose records may be older. Until the platform
    /// says more, a doubtful member stays where this run knows it, if nobody else is there. The agent that was at
    /// the doubtful address stays too.
    fn hold_back(
        &self,
        left: &mut Vec<AgentId>,
        moved: &mut Vec<(AgentId, String)>,
        now: &Membership,
    ) {
        if now.doubtful.is_empty() || left.is_empty() && moved.is_empty() {
            return;
        }
        let homes = now.addresses();
        let doubtful = now.doubtful.iter().filter_map(|id| now.members.get(id));
        let mut doubtful: HashSet<&str> = doubtful.map(|agent| agent.address.as_str()).collect();
        let is_at = |id: &AgentId, places: &HashSet<&str>| {
            let known = self.fed.known.get(id);
            known.is_some_and(|known| places.contains(known.address.as_str()))
        };
        moved.retain(|(id, _)| !now.doubtful.contains(id) || is_at(id, &homes));
        for (_, to) in &*moved {
            doubtful.remove(to.as_str());
        }
        left.retain(|id| !is_at(id, &doubtful));
    }

    /// Whether a member that the run does not know joins it.
    fn joins(&self, id: &AgentId, now: &Membership) -> bool {
        // The run may already have taken a doubtful member for gone: on another engine, or after a person accepted
        // that.
        let is_wanted = self.fed.only.as_ref().is_none_or(|only| only.contains(id));
        is_wanted && !now.doubtful.contains(id)
    }

    /// Asks the agents that joined, as many at a time as is allowed.
    fn ask(&mut self) {
        while self.asking.len() < JOINED_AT_ONCE {
            let Some((id, agent)) = self.new.pop_front() else { return };
            self.asking.insert(id.clone());
            let (world, selection) = (self.world.clone(), self.fed.selection.clone());
            let answer = async move { asking::ask_patiently(&world, id, agent, &selection).await };
            self.answers.push(answer.boxed());
        }
    }

    /// If the run knows all members, as far as anybody can know them now, its guards may count them.
    async fn open_if_over(&mut self, now: &Membership) {
        let is_settled = match now.phase {
            Phase::Settled => now.problem().is_none(),
            Phase::Reading | Phase::Asking => false,
        };
        if !is_settled || self.opened || !self.new.is_empty() || !self.asking.is_empty() {
            return;
        }
        self.opened = true;
        if let Some(gate) = &self.fed.gate {
            gate.knows_all(&self.inbox).await;
        }
    }

    /// Reports agents that joined and were asked: `first`, and all others that have answered by now. Returns false
    /// if something about one of them has changed meanwhile, so that the members have to be compared anew.
    async fn join(&mut self, first: Member, now: &Membership) -> bool {
        let mut answered = vec![first];
        while let Some(Some(member)) = self.answers.next().now_or_never() {
            answered.push(member);
        }
        // Report them in the order of their names, whichever answered first.
        answered.sort_by(|one, other| one.agent.cmp(&other.agent));
        let all = answered.len();
        let mut joined = Vec::with_capacity(all);
        for member in answered {
            let id = &member.agent;
            self.asking.remove(id);
            let is_there = |agent: &&Arc<KnownAgent>| {
                agent.address == member.address
                    && agent.attributes == member.declared
                    && agent.identity == member.identity
            };
            let agent = now.members.get(id).filter(is_there).filter(|_| self.joins(id, now));
            if let Some(agent) = agent {
                self.fed.known.insert(id.clone(), Arc::clone(agent));
                joined.push(member);
            }
        }
        let are_all = joined.len() == all;
        if !joined.is_empty() {
            let mass_absence = self.fed.told;
            self.send(MembershipChange { joined, mass_absence, ..no_change() }).await;
        }
        are_all
    }

    async fn send(&mut self, change: MembershipChange) {
        for part in change.split() {
            let input = self.fed.secrets.scrub(Input::Membership(part));
            // If nobody takes the input, the driver is gone.
            let _ = self.inbox.send(input).await;
        }
    }
}

fn no_change() -> MembershipChange {
    MembershipChange::default()
}
