//! The commands of `replictl plugin`, and what they have in common.

use std::path::Path;

use clap::Subcommand;

use super::inspect::{Inspect, inspect};
use super::prove::{Prove, prove};
use super::pull::{Pull, pull};
use super::push::{Push, push};
use crate::cli::client::Client;
use crate::cli::error::{CliError, ClientError};
use crate::cli::exit::Exit;
use crate::cli::get::list_plugins;
use crate::cli::output::Console;
use crate::cli::page::PageArgs;
use crate::playbook::{OciReference, Source};

/// Commands on plugins.
#[derive(Debug, Subcommand)]
pub enum PluginCommand {
    /// Put the plugin of a file into a registry, with the signatures in FILE.minisig if that is there
    Push(Push),
    /// Write the plugin of a registry to a file, `-o FILE`, and its signatures to FILE.minisig
    Pull(Pull),
    /// Show what a plugin says about itself, and its signatures, from a file or a registry, without a server
    Inspect(Inspect),
    /// Try out what a strategy does, whatever agents and people do, without a server; exits with 1 if a property
    /// does not hold
    Prove(Box<Prove>),
    /// List the plugins of the server
    List(PageArgs),
}

pub(crate) async fn plugin_command(
    client: impl FnOnce() -> Result<Client, ClientError>,
    command: &PluginCommand,
    to: Option<&Path>,
    console: &Console,
) -> Result<Exit, CliError> {
    match command {
        PluginCommand::Push(args) => push(args, console).await,
        PluginCommand::Pull(args) => pull(args, to, console).await,
        PluginCommand::Inspect(args) => inspect(args, console).await,
        PluginCommand::Prove(args) => prove(args, console).await,
        PluginCommand::List(page) => {
            list_plugins(&client()?, page, console).await?;
            Ok(Exit::Ok)
        }
    }
}

/// Reads a reference with or without `oci://` before it.
pub(super) fn parse_reference(text: &str) -> Result<OciReference, String> {
    let whole = if text.starts_with("oci://") { text.to_owned() } else { format!("oci://{text}") };
    match Source::parse(&whole) {
        Some(Source::Oci(reference)) => Ok(reference),
        Some(Source::File(_) | Source::Store { .. }) | None => Err(format!(
            "found {text:?}, expected oci://HOST/REPOSITORY:TAG or oci://HOST/REPOSITORY@sha256:DIGEST"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_is_read_with_and_without_its_scheme() {
        for text in ["oci://a.example:5000/b/c:1", "a.example:5000/b/c:1"] {
            assert_eq!(parse_reference(text).unwrap().to_string(), "a.example:5000/b/c:1");
        }
        for bad in ["", "a.example/b", "file:a.wasm", "oci://a.example/b@sha256:1"] {
            assert!(parse_reference(bad).is_err(), "{bad}");
        }
    }
}
