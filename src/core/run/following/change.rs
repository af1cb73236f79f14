//! The difference between the members at two moments, in parts that a run can take in one commit each.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::side_by_side::side_by_side;
use super::view::{KnownAgent, Members};
use crate::run::{AgentId, Member};

/// The most agents that one [`MembershipChange`] names. Each may take a record and two events, and a commit has at
/// most 1,000 documents.
pub const MAX_CHANGED: usize = 300;

/// More of the discovered members were missing from one answer than is believed without a person's word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct MassAbsence {
    /// How many members are absent and not taken for gone.
    pub absent: u32,
    /// How many discovered members there are, absent ones included.
    pub known: u32,
}

/// How the members of a cluster differ from those that a run knows. The state machine gets it as
/// [`Input::Membership`](crate::run::Input::Membership).
///
/// # Guarantees
/// - No agent is named twice, and no two agents of the cluster have the same address.
/// - Applied one after another, changes lead from the agents of the run's records to the members of
///   the cluster.
///
/// # Assumptions
/// After a restart the members are compared with the run's records anew: an agent that the core made
/// no record for joins again, and one whose record is not REMOVED leaves again.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MembershipChange {
    /// New agents, with what they say about themselves.
    pub joined: Vec<Member>,
    /// Agents that are gone for good: taken out of the Cluster object, or absent from three answers
    /// of the platform in a row.
    pub left: Vec<AgentId>,
    /// Agents that have a new address.
    pub moved: Vec<(AgentId, String)>,
    /// The mass absence as it is now, in every change. It ends by itself when all absent members have returned.
    pub mass_absence: Option<MassAbsence>,
}

impl MembershipChange {
    /// The same change in parts that name at most [`MAX_CHANGED`] agents each. There is at least one part.
    ///
    /// # Example
    /// ```
    /// use replibook_core::run::{AgentId, MAX_CHANGED, MembershipChange};
    ///
    /// let left = (0..=MAX_CHANGED).map(|number| AgentId(format!("node-{number}"))).collect();
    /// let parts = MembershipChange { left, ..MembershipChange::default() }.split();
    /// assert_eq!(parts.iter().map(|part| part.left.len()).collect::<Vec<_>>(), [MAX_CHANGED, 1]);
    /// ```
    pub fn split(self) -> Vec<Self> {
        let Self { joined, left, moved, mass_absence } = self;
        let mut parts = vec![Self { mass_absence, ..Self::default() }];
        // Agents that leave come first, so that their addresses are free for others.
        for one in left {
            room_in(&mut parts).left.push(one);
        }
        for one in moved {
            room_in(&mut parts).moved.push(one);
        }
        for one in joined {
            room_in(&mut parts).joined.push(one);
        }
        parts
    }

    fn named(&self) -> usize {
        self.joined.len() + self.left.len() + self.moved.len()
    }
}

/// The last part if it has room, or a new part.
fn room_in(parts: &mut Vec<MembershipChange>) -> &mut MembershipChange {
    let full = parts.last().is_none_or(|part| part.named() >= MAX_CHANGED);
    if full {
        let mass_absence = parts.last().and_then(|part| part.mass_absence);
        parts.push(MembershipChange { mass_absence, ..MembershipChange::default() });
    }
    let last = parts.len() - 1;
    &mut parts[last]
}

/// How one set of members differs from another. The agents that joined were not yet asked about themselves.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Difference {
    /// The new agents.
    pub joined: Vec<(AgentId, Arc<KnownAgent>)>,
    /// The agents that are gone.
    pub left: Vec<AgentId>,
    /// The agents that have a new address, with that address.
    pub moved: Vec<(AgentId, String)>,
}

impl Difference {
    /// Whether nothing differs.
    pub fn is_empty(&self) -> bool {
        self.joined.is_empty() && self.left.is_empty() && self.moved.is_empty()
    }
}

/// How `after` differs from `before`. An agent that did not change costs the comparison of its name and of a
/// pointer, and no memory.
pub fn difference(before: &Members, after: &Members) -> Difference {
    let mut found = Difference::default();
    for (id, was, is) in side_by_side(before, after) {
        match (was, is) {
            (Some(was), Some(is)) => {
                if !Arc::ptr_eq(was, is) && was.address != is.address {
                    found.moved.push((id.clone(), is.address.clone()));
                }
            }
            (None, Some(is)) => found.joined.push((id.clone(), Arc::clone(is))),
            (Some(_), None) => found.left.push(id.clone()),
            (None, None) => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_change_comes_in_parts_and_who_leaves_goes_first() {
        let id = |n: usize| AgentId(format!("node-{n:04}"));
        let mass_absence = Some(MassAbsence { absent: 3, known: 9 });
        let change = MembershipChange {
            joined: Vec::new(),
            left: (0..MAX_CHANGED).map(id).collect(),
            moved: (0..=MAX_CHANGED).map(|n| (id(1_000 + n), String::new())).collect(),
            mass_absence,
        };
        let parts = change.clone().split();
        let sizes: Vec<usize> = parts.iter().map(MembershipChange::named).collect();
        assert_eq!(sizes, [MAX_CHANGED, MAX_CHANGED, 1]);
        assert_eq!(parts[0].left, change.left);
        assert!(parts.iter().all(|part| part.mass_absence == mass_absence));
        let moved: Vec<_> = parts.into_iter().flat_map(|part| part.moved).collect();
        assert_eq!(moved, change.moved);
        // The end of a mass absence is a change too, though it names no agent.
        assert_eq!(MembershipChange::default().split(), [MembershipChange::default()]);
    }
}
