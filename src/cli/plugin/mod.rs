//! `replictl plugin`: plugins in files, in registries and on a server.

mod command;
mod inspect;
mod prove;
mod prove_text;
mod pull;
mod push;
mod signatures;

pub(crate) use command::{PluginCommand, plugin_command};
