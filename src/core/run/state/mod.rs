//! The state of a run in memory, and the only way in which it changes: [`evolve`], which applies one [`Event`]
//! after another.
//!
//! ```text
//! decide (../machine/)  ─▶ Event ─▶ evolve ─▶ State        the live run, and one that is taken up again
//! a stored RunEvent     ─▶ Event ─▶ evolve ─▶ State        the run as it was at any event (../roster_at.rs)
//!                            │
//!                            ├─▶ told      what of it the history says
//!                            └─▶ touches   which documents are to be written
//! ```
//!
//! The fields of [`State`] are private to this module, so that no other code can change them.

mod agent;
mod alarms;
mod around;
mod counting;
mod entering;
mod event;
mod evolve;
mod evolve_agent;
mod evolve_approval;
mod evolve_call;
mod evolve_strategy;
#[cfg(test)]
pub(crate) mod evolve_tests;
mod illegal;
mod index;
mod invariants;
mod read;
mod told;
mod touches;
mod value;
mod waiting;
mod weight;

pub(crate) use agent::{Agent, Attempt, Doing, Phase};
pub(crate) use counting::{allowed, group_of, is_well, node_status};
pub(crate) use entering::{Arrival, Changed, Joining, Standing};
pub(crate) use event::{
    Begins, Decided, EndKept, Event, Identified, OfAgent, OfCall, OfMembership, OfRun, OfStrategy,
    Sent, What,
};
pub(crate) use evolve::evolve;
pub use illegal::IllegalInput;
pub(crate) use told::told;
pub(crate) use touches::{Touch, touches};
pub(crate) use value::State;
pub(crate) use waiting::{Refreshing, StageAt, Work};
pub(crate) use weight::{answers_bytes, journal_bytes, record_bytes, size_of_answered};
