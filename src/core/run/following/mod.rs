//! Works out who belongs to a cluster, from the Cluster object and the answers of a platform. It is pure, like the
//! rest of the run: [`Follower`] is told what was applied and what a platform answered, and when, and says who the
//! members are.
//!
//! ```text
//! Cluster object ─▶ declare ┐
//! platform       ─▶ hear    ├─▶ Follower ─▶ Membership ─▶ Difference ─▶ MembershipChange ─▶ Machine
//! records of run ─▶ know    ┘   (for a cluster)            (for a run)   (with info/node)
//! ```
//!
//! A platform may be wrong: it may forget some or all nodes for a moment, name a node twice, or give the same
//! address to two nodes. Hence the rules of [`Follower`]: nobody leaves because of one answer, and the absence of
//! many at once is not believed until a person confirms it.

mod answer;
mod change;
mod follower;
#[cfg(test)]
mod follower_tests;
#[cfg(test)]
mod lying_tests;
mod side_by_side;
mod view;

pub use answer::{LeftOut, MAX_ATTRIBUTE_CHARS, MAX_FOUND, MAX_TOLD, PlatformNode};
pub use change::{Difference, MAX_CHANGED, MassAbsence, MembershipChange, difference};
pub use follower::{ABSENCES, Follower, MASS_PERCENT};
pub use view::{
    Heard, KnownAgent, LastAnswer, Members, Membership, Outcome, Phase, Source, in_order,
};
