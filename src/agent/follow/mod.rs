//! One call of a step, from its first request to its answer.
//!
//! The engine crashes, agents restart, networks drop answers: this is where a call survives all that and still
//! takes effect once. All time comes from the clock in [`FollowContext`], and nothing here is random, so that a
//! test can replay a call.

mod action;
#[cfg(test)]
mod identity_tests;
mod limits;
mod node;
mod pace;
#[cfg(test)]
mod short_tests;
#[cfg(test)]
mod tests;
mod watch;
#[cfg(test)]
mod watch_tests;

pub use action::{Start, run_action};
pub use limits::{AgentLimits, FollowContext, LONGEST_HELD};
pub use node::{info, wait_status};
