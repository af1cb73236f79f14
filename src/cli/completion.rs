//! `completion`: prints a completion script for a shell.

use clap::CommandFactory;
use clap_complete::Shell;

use super::error::CliError;
use super::exit::Exit;
use super::output::Console;
use super::root::Cli;

/// Arguments of `completion`.
#[derive(Debug, clap::Args)]
pub struct Completion {
    /// The shell to make it for
    pub shell: Shell,
}

pub(crate) fn completion(args: &Completion, console: &Console) -> Result<Exit, CliError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "replictl", &mut script);
    console.raw(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Ok)
}
