//! From changes of a cluster to inputs of one run.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::followers::Following;
use crate::driver::World;
use crate::driver::members;
use crate::run::{
    AgentRecord, AgentState, Input, KnownAgent, MassAbsence, Members, MembershipChange, Phase,
    Source, Timestamp, difference,
};

/// The members that a run knows from its records.
pub(crate) fn known_members(records: &[AgentRecord]) -> Members {
    let present = records.iter().filter(|record| record.state != AgentState::Removed);
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

/// Puts every change of the cluster into the inbox of a run that knows `known` as members, and of `told`
/// as a mass absence. Who is gone or has moved is told at once; who is new is asked about itself first.
pub(crate) async fn feed(
    world: World,
    mut following: Following,
    known: Members,
    mut told: Option<MassAbsence>,
    inbox: mpsc::Sender<Input>,
) {
    let mut known = Arc::new(known);
    loop {
        let now = following.now().membership;
        let is_known = match now.phase {
            Phase::Asking | Phase::Settled => true,
            Phase::Reading => false,
        };
        let same = Arc::ptr_eq(&known, &now.members) && told == now.mass_absence;
        if is_known && !same {
            let changed = difference(&known, &now.members);
            let (mass_absence, joined) = (now.mass_absence, changed.joined);
            let (left, moved) = (changed.left, changed.moved);
            let first = MembershipChange { left, moved, mass_absence, joined: Vec::new() };
            if told != mass_absence || !first.left.is_empty() || !first.moved.is_empty() {
                send(&inbox, first).await;
            }
            if !joined.is_empty() {
                let joined = members::ask_all(&world, joined).await;
                let mut second = MembershipChange { mass_absence, ..MembershipChange::default() };
                second.joined = joined;
                send(&inbox, second).await;
            }
            (known, told) = (now.members, mass_absence);
        }
        following.changed().await;
    }
}

async fn send(inbox: &mpsc::Sender<Input>, change: MembershipChange) {
    for part in change.split() {
        // The driver is gone when nobody takes it.
        let _ = inbox.send(Input::Membership(part)).await;
    }
}
