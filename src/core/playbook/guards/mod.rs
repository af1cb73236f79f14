//! Guards of a cluster: how much of it may be out at once, and when its agents may be started at all.
//!
//! A [`Guard`] limits how many agents of a group are out. A [`Window`] says when agents may be started, and a
//! [`Freeze`] when they may not: both are guards over time, which a [`Calendar`] works out. Nothing here counts agents;
//! the run does, in `run/state/counting.rs`.

mod calendar;
mod document;
mod model;
mod read;

pub use calendar::{Calendar, ClosedBy, Gate};
pub(super) use document::{FreezeFile, GuardFile, WindowFile};
pub use model::{
    CLOSED, ClusterGuards, FREEZE, Freeze, Guard, HEALTHY, MAX_FREEZES, MAX_GUARDS, MAX_HEALTHY,
    MAX_REASON_CHARS, MAX_WINDOWS, WINDOWS, Window,
};
pub(super) use read::guards;
