//! `replictl import`: documents made of what other programs know.
//!
//! What Ansible's inventory says of hosts becomes an `Inventory`, for a gateway, and a `Cluster`, for a server. The hosts
//! are read by the same code as a gateway reads them (`hosts` gets them), `carry` decides which variables come along, `shared`
//! finds what all nodes of a group have in common, and `notes` tells a person about all that stayed behind.

mod ansible;
mod carry;
mod command;
#[cfg(test)]
mod golden_tests;
mod hosts;
mod notes;
mod shared;

pub(crate) use command::{ImportCommand, import_command};
