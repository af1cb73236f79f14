//! Following the members of clusters: one task for each cluster that has unfinished runs here, shared
//! by the drivers of these runs.
//!
//! ```text
//! store (Cluster object) ─▶ task ─▶ Follower (pure) ─▶ watch channel ─▶ start of a run, of a stage
//! platform (GET /discover) ─▶                                        ─▶ feed ─▶ Input::Membership
//!                                                                    ─▶ API: the agents of a cluster
//! ```
//!
//! Nothing of it is kept: another engine, or this one after a restart, knows the members from the
//! records of its runs, and doubts their absence as it doubts that of any other.

mod feed;
mod followers;
mod pace;
mod task;
#[cfg(test)]
mod tests;

pub(crate) use feed::{Fed, feed, known_members};
pub(crate) use followers::Following;
pub use followers::{Followers, Known};
pub use task::{LOOK, PLATFORM_TIMEOUT, View};
