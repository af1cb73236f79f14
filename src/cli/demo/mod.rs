//! `replibook demo`: a server and a dozen agents, each a process of its own, and one run over them.
//!
//! The demonstration uses nothing that users do not have: it starts `replibook serve`, `replibook agent` and,
//! for a cluster that changes, `replibook platform`, and types `replictl` commands. So it is also a test of the
//! whole path. Only the scene with a registry needs programs of others, which make the registry and the signatures.
//! [`Process`] and [`Fleet`] are public so that tests can set up the same scene.

mod audited;
mod authority;
mod certificate;
mod command;
mod ending;
mod fleet;
mod guard;
mod ha;
mod membership;
mod process;
mod registry;
mod scene;
mod secure;
mod shell;
mod shown;
mod ssh;
mod ssh_server;
mod terminal;
mod zones;

pub use command::{DemoArgs, demo};
pub use fleet::{Fleet, FleetError, MAX_AGENTS, Node, plan};
pub use process::{Process, ProcessError};
pub use shown::Shown;
