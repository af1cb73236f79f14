//! From changes of a cluster to inputs of one run.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt as _, StreamExt as _};
use tokio::sync::mpsc;

use super::followers::Following;
use crate::driver::World;
use crate::driver::asking;
use crate::run::{
    AgentId, AgentRecord, AgentState, Difference, Input, KnownAgent, MassAbsence, Member, Members,
    Membership, MembershipChange, Phase, Selection, Source, Timestamp, difference,
};
use replibook_core::mutant;

/// Agents that joined which are asked about themselves at the same time, so that many who join at once
/// don't open all their connections at once.
const JOINED_AT_ONCE: usize = asking::ASKED_AT_ONCE;

/// The members that a run knows from its records. One that is leaving is none: it is gone once its action
/// has ended, unless it is found to be back.
pub(crate) fn known_members<'a>(records: impl IntoIterator<Item = &'a AgentRecord>) -> Members {
    let records = records.into_iter();
    let present = records.filter(|record| record.state != AgentState::Removed && !record.leaving);
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

/// What a run knows when it is fed.
pub(crate) struct Fed {
    /// Those that it takes for members.
    pub(crate) known: Members,
    /// The mass absence that it was told of.
    pub(crate) told: Option<MassAbsence>,
    /// A run over agents of another one takes no others than these.
    pub(crate) only: Option<HashSet<AgentId>>,
    /// Which agents have to answer so that the stage knows whom it selects.
    pub(crate) selection: Selection,
}

/// Puts every change of the cluster into the inbox of a run. Who is gone or has moved is told at once; who
/// is new is asked about itself first, and told of once it has answered, or has not in time. Leaves and
/// moves wait for no newcomer.
pub(crate) async fn feed(
    world: World,
    mut following: Following,
    fed: Fed,
    inbox: mpsc::Sender<Input>,
) {
    let (new, asking, answers) = (VecDeque::new(), HashSet::new(), FuturesUnordered::new());
    let mut feed = Feed { world, inbox, fed, is_sure: false, new, asking, answers };
    // What the run was told of, but for those who joined and have not answered.
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

/// What a run is told of.
struct Feed {
    world: World,
    inbox: mpsc::Sender<Input>,
    /// What it was told.
    fed: Fed,
    /// Whether it was told since the present platform has answered, or there is none.
    is_sure: bool,
    /// Who joined and is to be asked.
    new: VecDeque<(AgentId, Arc<KnownAgent>)>,
    /// Who is being asked.
    asking: HashSet<AgentId>,
    answers: FuturesUnordered<BoxFuture<'static, Member>>,
}

impl Feed {
    /// Tells who left or has moved, and whether many are absent, and notes who joined.
    async fn tell(&mut self, now: &Membership) {
        let changed = difference(&self.fed.known, &now.members);
        let Difference { mut joined, mut left, mut moved } = changed;
        self.hold_back(&mut left, &mut moved, now);
        if mutant!(MoveNotTold) {
            moved.clear();
        }
        joined.retain(|(id, _)| self.joins(id, now) && !self.asking.contains(id));
        self.new = joined.into();
        let (mass_absence, is_first) = match now.phase {
            // Whether it is over is known once the platform has answered, and is told then in any case:
            // somebody may have resumed the run meanwhile.
            Phase::Reading | Phase::Asking => {
                self.is_sure = false;
                (now.mass_absence.or(self.fed.told), false)
            }
            Phase::Settled => (now.mass_absence, !std::mem::replace(&mut self.is_sure, true)),
        };
        let is_same = !is_first && self.fed.told == mass_absence;
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

    /// Another run, whose records may be older, may have told of doubtful members elsewhere. Until the
    /// platform tells more, they stay where this run knows them, if nobody else is there, and who was
    /// where they are said to be stays too.
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
        // The run may have taken a doubtful one for gone already: on another engine, or after a person
        // accepted that.
        let is_wanted = self.fed.only.as_ref().is_none_or(|only| only.contains(id));
        is_wanted && !now.doubtful.contains(id)
    }

    /// Asks who joined, as many at a time as may be.
    fn ask(&mut self) {
        while self.asking.len() < JOINED_AT_ONCE {
            let Some((id, agent)) = self.new.pop_front() else { return };
            self.asking.insert(id.clone());
            let (world, selection) = (self.world.clone(), self.fed.selection.clone());
            let answer = async move { asking::ask_patiently(&world, id, agent, &selection).await };
            self.answers.push(answer.boxed());
        }
    }

    /// Tells who joined, of those that were asked: this one, and all who have answered by now. False when
    /// something is different by now for one of them, and is to be looked at anew.
    async fn join(&mut self, first: Member, now: &Membership) -> bool {
        let mut answered = vec![first];
        while let Some(Some(member)) = self.answers.next().now_or_never() {
            answered.push(member);
        }
        // Those who have answered by now are told of in the order of their names.
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
            // The driver is gone when nobody takes it.
            let _ = self.inbox.send(Input::Membership(part)).await;
        }
    }
}

fn no_change() -> MembershipChange {
    MembershipChange::default()
}
