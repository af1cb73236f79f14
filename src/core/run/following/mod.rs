//! Who belongs to a cluster, as far as the Cluster object and a platform tell. Pure, as the rest of
//! the run: [`Follower`] is told what was applied and what a platform answered, with the moment, and
//! says who the members are.
//!
//! ```text
//! Cluster object ─▶ declare ┐
//! platform       ─▶ hear    ├─▶ Follower ─▶ Membership ─▶ Difference ─▶ MembershipChange ─▶ Machine
//! records of run ─▶ know    ┘   (for a cluster)            (for a run)   (with info/node)
//! ```
//!
//! A platform may lie: it may forget nodes for a moment, or all of them, name one twice, or give two
//! of them one address. Hence the rules of [`Follower`]: nobody leaves on one answer, and many at once
//! are not believed until a person says so.

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
