//! Proofs about strategies: what a strategy does whatever happens, tried out over all small fleets, and over some larger ones.
//!
//! There is no second model of a run here: `world` is the run machine of the core itself, whose every move is chosen, and what
//! the host refuses is refused by that. All of it is pure: a strategy is something that answers a question
//! ([`Strategy`]); only `asked` knows that it is a plugin.
//!
//! ```text
//! Scene ─▶ World ──may──▶ Event ──happen──▶ World …      what may happen, and what comes of it
//!            │                       └─▶ Moved           what was decided, what is broken, what was looked at
//!            └─ key(looks) ─▶ Key                         which worlds are one state
//!
//! explore   everything that may happen to one fleet, shortest histories first
//! wander    random histories of larger fleets, made small again
//! proof     both, over all fleets; report and timeline say what was found
//! ```
//!
//! Two worlds are one state if they differ only in what the strategy never asks about. That is right because a strategy is a
//! pure function of what it is told. `looks` notes what it asks about, and whenever that is something new, the fleet is
//! begun again.

mod asked;
mod bounds;
mod check;
mod event;
mod explore;
mod fleet;
mod key;
mod looks;
mod moved;
mod proof;
#[cfg(test)]
mod proof_tests;
mod property;
mod report;
mod scene;
mod timeline;
mod wander;
mod world;

pub use asked::Plugin;
pub use bounds::{
    Bounds, DEFAULT_STATES, MAX_AGENTS, MAX_GROUPS, MAX_HAPPENINGS, MAX_LARGEST, MAX_SEEDS,
    MAX_STATES,
};
pub use proof::{Proof, prove};
pub use property::{Broken, Property, Wanted};
pub use report::{Counterexample, Covered, Finding, Moment, Named, Outcome, Report};
pub use scene::{Scene, Strategy};
