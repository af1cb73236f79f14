//! Contexts: which server is asked, and how the one who asks proves who they are, under a name. They are kept in
//! `~/.config/replibook/config.yaml`, which only its user can read.
//!
//! `config` is that file, `command` changes it, and `given` decides which server and which proof count for a command.

mod command;
mod config;
mod given;

pub(crate) use command::{ContextCommand, context_command};
pub(crate) use given::{Given, GivenArgs};
