//! Replibook runs playbooks over the agents of a cluster, with WebAssembly plugins that decide who
//! goes next and what is done on one node.
//!
//! # The path of the data
//!
//! A person applies a document. [`playbook`] reads the YAML, reports everything that is wrong with it,
//! and resolves it into a [`Playbook`] that is valid by construction, with each plugin pinned by its
//! digest. The [`store`] keeps it.
//!
//! A person starts a run. [`run`] makes a snapshot of everything that the run needs, and from then on turns one
//! input after another into transitions: what to write, and what to perform once it is written. It is pure; the
//! [`driver`] gives it time, commits what it writes, and performs its effects:
//!
//! - it asks a strategy for a decision, and activates steps, through the [`plugin`] host;
//! - it has agents perform actions, through a client of [`agent`];
//! - it waits, by the [`clock`] that it was given.
//!
//! The result of an effect is the next input. When nothing is left to do, everything that belongs to the run
//! gets one `finish_ts`, the run last.
//!
//! A run has only tokens of [`secrets`]. The driver puts the values in their place when it performs a call.
//!
//! [`registry`] brings plugins from OCI registries, with the [`credentials`] that the operator gave for them.
//!
//! [`prove`] tries out what a strategy does, whatever happens, over fleets that are made up.
//!
//! [`replay`] repeats all decisions and activations of a finished run from what was kept of it.
//!
//! [`api`] is the way in from outside, and [`cli`] has the two programs: `replibook`, which serves all of this,
//! and `replictl`, which knows only the API. [`why`] tells people why a run is as it is. [`web`] is what all
//! HTTP servers here share, and [`descriptors`] counts the files and connections that a process may have.
//!
//! Which plugins a server takes, and what they may ever be granted, is said by a [`policy`]: a file of the server, which it
//! reads again when it changes ([`watched_file`]).

pub mod access;
pub mod agent;
pub mod api;
pub mod cli;
pub mod credentials;
pub mod descriptors;
pub mod driver;
pub mod folder_sum;
pub mod outbound;
pub mod policy;
pub mod prove;
pub mod registry;
pub mod replay;
pub mod secrets;
pub mod watched_file;
pub mod web;
pub mod why;

#[cfg(test)]
#[path = "../tests/support/certificates.rs"]
mod certificates;

pub use replibook_base::{clock, listen, stop};
pub use replibook_core::{mutants, playbook, run, shown};
pub use replibook_host as plugin;
pub use replibook_store as store;

pub use driver::{Engine, World};
pub use playbook::Playbook;
pub use plugin::PluginHost;
pub use run::{Machine, Run};
pub use store::Store;
