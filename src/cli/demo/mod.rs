//! `replibook demo`: a server and a dozen agents, each a process of its own, and one run over them.
//!
//! The demonstration uses nothing that a user has not: it starts `replibook serve` and
//! `replibook agent`, and types `replictl` commands. [`Process`] and [`Fleet`] are public so that
//! tests put up the same scene.

mod command;
mod fleet;
mod process;
mod scene;

pub use command::{DemoArgs, Shown, demo};
pub use fleet::{Fleet, FleetError, MAX_AGENTS, Node, plan};
pub use process::{Process, ProcessError};
