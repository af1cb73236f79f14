//! Follows the members of clusters. Each cluster that has unfinished runs here has one task, which the drivers of
//! these runs share, so that the platform is asked once for all of them.
//!
//! ```text
//! store (Cluster object) ─▶ task ─▶ Follower (pure) ─▶ watch channel ─▶ start of a run, of a stage
//! platform (GET /discover) ─▶                                        ─▶ feed ─▶ Input::Membership
//!                                                                    ─▶ API: the agents of a cluster
//! ```
//!
//! Nothing of this is stored. Another engine, or this one after a restart, knows the members from the records of
//! its runs, and doubts their absence like that of any other member.

mod feed;
mod followers;
mod pace;
mod task;
#[cfg(test)]
mod tests;

pub(crate) use feed::{Fed, feed, known_members};
pub(crate) use followers::Following;
pub use followers::{Followers, Known, lacking};
pub use task::{LOOK, PLATFORM_TIMEOUT, View, Ways};
