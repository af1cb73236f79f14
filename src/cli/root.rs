//! `replictl` as a whole: its arguments, and the way from an error to a message and an exit code. Commands
//! return errors, and this prints them, so that all errors look the same.

use std::error::Error;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use super::apply::{Apply, apply};
use super::auth::{AuthCommand, auth_command};
use super::client::Client;
use super::completion::{Completion, completion};
use super::context::{ContextCommand, Given, GivenArgs, context_command};
use super::delete::{Delete, delete};
use super::describe::{Describe, describe};
use super::diff_files::{DiffFiles, diff_files};
use super::engine::{EngineCommand, engine_command};
use super::error::{CliError, ClientError};
use super::exec::{Exec, exec};
use super::exit::Exit;
use super::explain::{Explain, explain};
use super::get::{Get, get};
use super::import::{ImportCommand, import_command};
use super::login::{LoginArgs, login, logout};
use super::output::{Console, Format};
use super::output_arg::{Output, OutputParser};
use super::pin::{Pin, pin};
use super::plugin::{PluginCommand, plugin_command};
use super::problems;
use super::run::{RunCommand, run_command};
use super::text::{Paint, clean};
use super::trust::Trust;
use super::typed::parse;
use super::validate::{Validate, validate};
use crate::stop::stdin_closed;

/// Steers a Replibook server.
///
/// Data goes to standard output, all else to standard error.
#[derive(Debug, Parser)]
#[command(name = "replictl", version, max_term_width = HELP_WIDTH, after_help = after_help())]
pub struct Cli {
    /// Which server is asked, and how it is proved who asks
    #[command(flatten)]
    pub given: GivenArgs,
    /// File with the certificates, in PEM, that an https server is checked against, and no others; without it those that the
    /// system trusts
    #[arg(long, global = true, env = CA_VARIABLE, hide_env_values = true, value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// File with the certificate and the key, in PEM, that this shows to an https server which asks for one
    #[arg(long, global = true, env = CERT_VARIABLE, hide_env_values = true, value_name = "FILE")]
    pub cert: Option<PathBuf>,
    /// How to write data, for example `custom-columns=RUN:.id,SINCE:.since` or
    /// `jsonpath={.items[*].id}`; for `run export` and `plugin pull`, the file to write
    #[arg(short, long, global = true, value_parser = OutputParser, default_value = "table",
          value_name = "FORMAT")]
    pub output: Output,
    /// Stop when standard input closes, so that this ends with the program that started it
    #[arg(long, global = true, hide = true)]
    pub until_stdin_closes: bool,
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// The environment variable that names the server.
pub const SERVER_VARIABLE: &str = "REPLIBOOK_SERVER";

/// The environment variable that names the certificates which the server is checked against.
pub(super) const CA_VARIABLE: &str = "REPLIBOOK_CA";

/// The environment variable that names the file with the certificate and key of the client.
pub(super) const CERT_VARIABLE: &str = "REPLIBOOK_CERT";

/// Columns of the help, which fits the narrowest terminal that most people use, even in a pager.
pub const HELP_WIDTH: usize = 80;

fn after_help() -> String {
    let codes = Exit::MEANINGS.map(|(exit, meaning)| format!("  {:>3}  {meaning}", exit.code()));
    let codes = codes.join("\n");
    format!(
        "To a server that asks nobody, who asks is the user of this machine; with REPLIBOOK_USER=NAME in the environment \
         `USER@HOST, as NAME`. To any other it is whoever proves to be somebody.\n\n\
         Exit codes:\n{codes}"
    )
}

/// The commands, in the order of the help.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Apply playbooks and clusters; upload the plugins beside them, and have those in registries imported
    Apply(Apply),
    /// Show what `apply` would change: documents compared with those that the server has; exits with 1 if any
    /// differs
    Diff(DiffFiles),
    /// Check playbooks, clusters and the plugins beside them, without a server
    Validate(Validate),
    /// Write the digests of plugins into playbooks, and change nothing else in them
    Pin(Pin),
    /// Make documents of what other programs know, without a server
    #[command(subcommand)]
    Import(ImportCommand),
    /// Explain the fields of documents, without a server
    Explain(Explain),
    /// Show playbooks, clusters, plugins, runs, engines, or the agents of a cluster
    Get(Get),
    /// Show everything about one thing
    #[command(subcommand)]
    Describe(Describe),
    /// Remove a playbook, a cluster or a plugin
    #[command(subcommand)]
    Delete(Delete),
    /// Push, pull, inspect and list plugins
    #[command(subcommand)]
    Plugin(PluginCommand),
    /// Make an engine hand over its runs, or take runs again
    #[command(subcommand)]
    Engine(EngineCommand),
    /// Start, watch and steer runs
    #[command(subcommand)]
    Run(RunCommand),
    /// Run a command on agents of a cluster, and show what each of them answered
    ///
    /// This starts a run like any other, of a playbook that the server makes: it is listed, watched and cancelled as runs
    /// are. The agents need the action `replicante.io/command`, and whoever asks needs the verb `exec` for the cluster.
    /// When the number of --max-failed is exceeded, no further agent begins.
    Exec(Exec),
    /// Choose which server is asked, and how it is proved who asks
    #[command(subcommand)]
    Context(ContextCommand),
    /// Ask who one is to the server, and what one may do
    #[command(subcommand)]
    Auth(AuthCommand),
    /// Log in at an issuer that the server knows
    Login(LoginArgs),
    /// Forget the login of the context
    Logout,
    /// Write the completion script of a shell
    Completion(Completion),
}

/// Runs `replictl` with `args`, the first of which is the program's own name.
pub fn replictl(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    let cli: Cli = match parse(&args) {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    let console = match &cli.output {
        Output::As(format) => Console::of_process(*format),
        Output::Of(picked) => Console::picking(picked),
        Output::To(_) => Console::of_process(Format::Table),
    };
    match start(&cli, &console) {
        Ok(exit) => exit.into(),
        Err(error) => {
            report(&error, &console);
            error.exit().into()
        }
    }
}

fn start(cli: &Cli, console: &Console) -> Result<Exit, CliError> {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().build().map_err(CliError::Setup)?;
    if !cli.until_stdin_closes {
        return runtime.block_on(perform(cli, console));
    }
    let closed = stdin_closed().map_err(CliError::Setup)?;
    runtime.block_on(async {
        tokio::select! {
            done = perform(cli, console) => done,
            _ = closed => Ok(Exit::Interrupted),
        }
    })
}

async fn perform(cli: &Cli, console: &Console) -> Result<Exit, CliError> {
    let trust = Trust { ca: cli.ca.clone(), cert: cli.cert.clone() };
    let given = || Given::of(&cli.given, trust.clone());
    let client = async || given()?.client().await;
    let to = match (&cli.output, &cli.command) {
        (Output::As(_) | Output::Of(_), _) => None,
        (
            Output::To(file),
            Command::Run(RunCommand::Export(_)) | Command::Plugin(PluginCommand::Pull(_)),
        ) => Some(file.as_path()),
        (Output::To(file), _) => {
            let expected = "expected table, wide, json, yaml, name, custom-columns=HEADING:PATH,… or jsonpath=TEMPLATE";
            return Err(CliError::Usage(format!("--output: found {file:?}, {expected}")));
        }
    };
    match &cli.command {
        Command::Apply(args) => apply(&client().await?, args, console).await,
        Command::Diff(args) => diff_files(&client().await?, args, console).await,
        Command::Validate(args) => validate(args, console).await,
        Command::Pin(args) => {
            let client = later(client().await)?;
            pin(|| client, args, console).await
        }
        Command::Plugin(command) => {
            let client = later(client().await)?;
            plugin_command(|| client, command, to, console).await
        }
        Command::Import(command) => import_command(command, console).await,
        Command::Explain(args) => explain(args, console),
        Command::Get(args) => get(&client().await?, args, console).await,
        Command::Describe(what) => describe(&client().await?, what, console).await,
        Command::Delete(what) => delete(&client().await?, what, console).await,
        Command::Engine(command) => engine_command(&client().await?, command, console).await,
        Command::Run(command) => run_command(&client().await?, command, to, console).await,
        Command::Exec(args) => exec(&client().await?, args, console).await,
        Command::Context(command) => context_command(command, &cli.given, &trust, console),
        Command::Auth(command) => auth_command(&client().await?, command, console).await,
        Command::Login(args) => {
            let given = given()?;
            login(&given.stranger()?, args, &given.login_place()?, console).await
        }
        Command::Logout => logout(&given()?.login_place()?, console).await,
        Command::Completion(args) => completion(args, console),
    }
}

/// Keeps the error of a client for a command that may not need one. A context that can't be used is an error at once.
fn later(client: Result<Client, CliError>) -> Result<Result<Client, ClientError>, CliError> {
    match client {
        Ok(client) => Ok(Ok(client)),
        Err(CliError::Client(error)) => Ok(Err(error)),
        Err(error) => Err(error),
    }
}

/// Prints what went wrong, down to its cause, and what to try next.
pub fn report(error: &CliError, console: &Console) {
    if error.exit() == Exit::Ok {
        return;
    }
    let colour = console.colour_messages;
    match error {
        CliError::Invalid { shown, .. } => console.say_lines(shown.trim_end()),
        CliError::Client(ClientError::Refused(refusal)) if !refusal.problems.is_empty() => {
            console.say_lines(
                problems::show_without_text(&refusal.problems, console.look()).trim_end(),
            );
        }
        CliError::Client(_)
        | CliError::Usage(_)
        | CliError::NotFound(_)
        | CliError::Unfit(_)
        | CliError::Read { .. }
        | CliError::PluginHost(_)
        | CliError::Plugin { .. }
        | CliError::Registry(_)
        | CliError::Credentials(_)
        | CliError::Login(_)
        | CliError::Interrupted(_)
        | CliError::Replay(_)
        | CliError::Output(_)
        | CliError::Encode { .. }
        | CliError::Setup(_) => {}
    }
    let mut message = error.to_string();
    let mut cause = error.source();
    while let Some(deeper) = cause {
        message = format!("{message}: {deeper}");
        cause = deeper.source();
    }
    console.say_prose(&format!("{} {}", Paint::Bad.on("error:", colour), clean(&message)));
    if let Some(hint) = error.hint() {
        console.say_prose(&format!("hint: {hint}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::text::width;
    use clap::CommandFactory;

    #[test]
    fn the_arguments_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_help_fits_80_columns() {
        fn check(command: &mut clap::Command) {
            for help in [command.render_help(), command.render_long_help()] {
                for line in help.to_string().lines() {
                    assert!(width(line) <= HELP_WIDTH, "{}: {line}", command.get_name());
                }
            }
            command.get_subcommands_mut().for_each(check);
        }
        let mut command = Cli::command();
        command.build();
        check(&mut command);
        let help = command.render_help().to_string();
        assert!(help.contains("\nExit codes:\n    0  all went well\n"), "{help}");
        assert_eq!(help.matches("Exit codes").count(), 1);
    }

    #[test]
    fn every_command_and_argument_has_a_help_text() {
        fn check(command: &clap::Command) {
            assert!(command.get_about().is_some(), "{}", command.get_name());
            for argument in command.get_arguments() {
                let name = (command.get_name(), argument.get_id());
                assert!(argument.get_help().is_some(), "{name:?}");
            }
            command.get_subcommands().for_each(check);
        }
        check(&Cli::command());
    }
}
