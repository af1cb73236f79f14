//! From changes of a cluster to inputs of one run.

use std::collections::HashSet;
use std::sync::Arc;

use tokio::sync::mpsc;

use super::followers::Following;
use crate::driver::World;
use crate::driver::members;
use crate::mutants::mutant;
use crate::run::{
    AgentId, AgentRecord, AgentState, Difference, Input, KnownAgent, MassAbsence, Members,
    Membership, MembershipChange, Phase, Source, Timestamp, difference,
};

/// Agents that joined which are asked about themselves before the run is told of them: it hears of others
/// that leave meanwhile, also when none of these answers.
const JOINED_AT_ONCE: usize = members::ASKED_AT_ONCE;

/// The members that a run knows from its records. One that is leaving is none: it is gone once its action
/// has ended, unless it is found to be back.
pub(crate) fn known_members(records: &[AgentRecord]) -> Members {
    let present =
        records.iter().filter(|record| record.state != AgentState::Removed && !record.leaving);
    let known = present.map(|record| {
        let agent = KnownAgent {
            address: record.address.clone(),
            attributes: serde_json::Map::new(),
            source: Source::Discovered,
            place: None,
            since: Timestamp::MIN,
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
}

/// Puts every change of the cluster into the inbox of a run. Who is gone or has moved is told at once; who
/// is new is asked about itself first, a few at a time.
pub(crate) async fn feed(
    world: World,
    mut following: Following,
    fed: Fed,
    inbox: mpsc::Sender<Input>,
) {
    let Fed { known, mut told, only } = fed;
    let mut known = Arc::new(known);
    // What was told completely.
    let mut seen: Option<Membership> = None;
    loop {
        let now = following.now().membership;
        let is_known = match now.phase {
            Phase::Asking | Phase::Settled => true,
            Phase::Reading => false,
        };
        let is_same = seen.as_ref().is_some_and(|seen| {
            Arc::ptr_eq(&seen.members, &now.members) && Arc::ptr_eq(&seen.doubtful, &now.doubtful)
        });
        if !is_known || (is_same && told == now.mass_absence) {
            following.changed().await;
            continue;
        }
        let Difference { mut joined, left, mut moved } = difference(&known, &now.members);
        if mutant!(MoveNotTold) {
            moved.clear();
        }
        // A run may have taken it for gone, on another engine or after a person said so there.
        let is_doubtful = |(id, _): &mut (AgentId, _)| now.doubtful.contains(id);
        let mut not_told: Vec<_> = joined.extract_if(.., is_doubtful).collect();
        if let Some(only) = &only {
            joined.retain(|(id, _)| only.contains(id));
        }
        let later = joined.split_off(joined.len().min(JOINED_AT_ONCE));
        if told != now.mass_absence || !left.is_empty() || !moved.is_empty() {
            let mass_absence = now.mass_absence;
            send(&inbox, MembershipChange { left, moved, mass_absence, ..no_change() }).await;
        }
        told = now.mass_absence;
        if !joined.is_empty() {
            let joined = members::ask_all(&world, joined).await;
            // It may be over meanwhile, and must not pause a run that a person has resumed.
            told = following.now().membership.mass_absence;
            send(&inbox, MembershipChange { joined, mass_absence: told, ..no_change() }).await;
        }
        let is_all = later.is_empty();
        not_told.extend(later);
        known = match not_told.is_empty() {
            true => Arc::clone(&now.members),
            false => Arc::new(without(&now.members, &not_told)),
        };
        seen = is_all.then_some(now);
    }
}

fn no_change() -> MembershipChange {
    MembershipChange::default()
}

/// The members but for some.
fn without(members: &Members, some: &[(AgentId, Arc<KnownAgent>)]) -> Members {
    let mut rest = members.clone();
    for (id, _) in some {
        rest.remove(id);
    }
    rest
}

async fn send(inbox: &mpsc::Sender<Input>, change: MembershipChange) {
    for part in change.split() {
        // The driver is gone when nobody takes it.
        let _ = inbox.send(Input::Membership(part)).await;
    }
}
