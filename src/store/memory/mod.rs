//! The reference model: everything in memory, nothing clever, and faults on demand.
//!
//! It shows what the promise of [`Store`](super::Store) means, so that the other back ends can be compared with
//! it. Nothing survives the process.

mod check;
mod engines;
mod faults;
mod locks;
mod objects;
mod runs;
mod state;
mod store;
mod troubled;

pub use faults::{Damaged, FaultMoment, Faults};
pub use store::MemoryStore;
