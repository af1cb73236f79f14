//! The gateway: an agent for many nodes that have none.
//!
//! [`nodes`] reaches them.

pub mod nodes;
