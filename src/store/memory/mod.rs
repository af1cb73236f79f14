//! The reference model: everything in memory, and nothing clever.
//!
//! It shows what the promise of [`Store`](super::Store) means, so that the other back ends can be compared with
//! it. Nothing survives the process.

mod check;
mod damaged;
mod engines;
#[cfg_attr(not(any(test, feature = "faults")), path = "faultless.rs")]
mod faults;
mod locks;
mod objects;
mod plugins;
mod runs;
mod state;
mod store;
mod troubled;

pub use damaged::Damaged;
#[cfg(any(test, feature = "faults"))]
pub use faults::{FaultMoment, Faults};
pub use store::MemoryStore;
