//! The commands on runs, as the command line has them, and the function of each.

use std::path::Path;

use clap::Subcommand;

use super::abandon::{AbandonArgs, abandon};
use super::agents::{Agents, agents};
use super::approve::{Approve, approve};
use super::events::{Events, events};
use super::export::{Export, export};
use super::list::{List, list};
use super::logs::{Logs, logs};
use super::output::{Output, output};
use super::replay::{Replay, replay};
use super::retry::{Retry, retry};
use super::signal::{Signal, signal};
use super::start::{Start, start};
use super::steer::{Cancel, GiveUp, Pause, Resume, Steer, cancel, give_up, pause, resume, steer};
use super::wait::{Wait, wait};
use super::watch::{Watch, watch_command};
use crate::cli::client::Client;
use crate::cli::error::CliError;
use crate::cli::exit::Exit;
use crate::cli::output::Console;
use crate::run::Verb;

/// Commands on runs. A run is named by its identifier, with or without `run/` before it, by 6 or more
/// consecutive digits of it, or as `last`, which is the newest one.
#[derive(Debug, Subcommand)]
pub enum RunCommand {
    /// Start a run of a playbook against a cluster
    Start(Start),
    /// List runs, newest first
    List(List),
    /// Follow a run until it ends; in a script, until it ends, pauses or waits for approval
    Watch(Watch),
    /// Wait until a run has a status, or has ended, without showing its progress
    ///
    /// A status that the run has only for a moment counts too, if it comes after the wait began. The exit code is 0
    /// when the run gets a status that was asked for, except that DONE may give 5 or 10, as in `run watch`. It is 15
    /// when the time is over. If the run ends otherwise, the exit code is that of its end, or 4 if that would be 0.
    /// Without --for it is always that of the end.
    Wait(Wait),
    /// Show the agents of a run
    Agents(Agents),
    /// Show what the steps and the strategy of a run logged
    Logs(Logs),
    /// Show what an agent's last action has written, while it is at work and after it
    ///
    /// The agent is asked at that moment, so this works as long as the agent keeps it. What the action writes to
    /// standard output goes to standard output, as it is, and the rest to standard error.
    Output(Output),
    /// Show the history of a run
    Events(Events),
    /// Repeat every decision and activation of a run that has ended, and say where they differ
    Replay(Replay),
    /// Write everything that is kept of a run that has ended to a file: `-o run.tar.zst`
    Export(Export),
    /// Let a run go on that waits for approval, before its start or where its strategy asks for it
    Approve(Approve),
    /// Refuse a run that waits for approval, so that it is cancelled
    Reject(Steer),
    /// Start no new agent; those that have started finish their steps
    Pause(Pause),
    /// Go on after a pause, and accept the failures so far. If the run waits for approval, use `approve`
    Resume(Resume),
    /// End a run once the calls in flight have ended
    Cancel(Cancel),
    /// Try agents again: those of a paused run in that run, those of a finished one in a new run
    ///
    /// The failed agents of a paused run, or one of them, are put back in the queue; when the run goes on, they
    /// continue with the step that failed. For agents of a finished run a new run is started, with the same
    /// playbook, plugins and parameters, or with a repaired playbook (`--playbook`).
    Retry(Retry),
    /// Stop waiting for the action of an agent, which may never end
    ///
    /// An agent can't be told to stop an action. This only ends the wait for it: the attempt counts as failed,
    /// and further actions are sent to the agent.
    GiveUp(GiveUp),
    /// Send a signal to the steps of a run that wait for it, now or later
    ///
    /// A signal is kept until the run ends. It ends one wait of each attempt that waits for its name. `describe run`
    /// says which signals a run waits for.
    Signal(Signal),
    /// Give up a run that can't go on at all: it ends as FAILED, and its cluster is free
    ///
    /// This is for a run of which `describe run` says that it can't go on: what is stored of it is damaged, or
    /// what it would write can't be stored. The run itself is not asked, and nobody tells its agents to stop.
    /// Any other run should be cancelled instead.
    Abandon(AbandonArgs),
}

/// Runs one of the commands. `to` is the file of `--output`, for the command that writes a file.
pub(crate) async fn run_command(
    client: &Client,
    command: &RunCommand,
    to: Option<&Path>,
    console: &Console,
) -> Result<Exit, CliError> {
    match command {
        RunCommand::Start(args) => start(client, args, console).await,
        RunCommand::List(args) => list(client, args, console).await,
        RunCommand::Watch(args) => watch_command(client, args, console).await,
        RunCommand::Wait(args) => wait(client, args, console).await,
        RunCommand::Agents(args) => agents(client, args, console).await,
        RunCommand::Logs(args) => logs(client, args, console).await,
        RunCommand::Output(args) => output(client, args, console).await,
        RunCommand::Events(args) => events(client, args, console).await,
        RunCommand::Replay(args) => replay(client, args, console).await,
        RunCommand::Export(args) => export(client, args, to, console).await,
        RunCommand::Approve(args) => approve(client, args, console).await,
        RunCommand::Reject(args) => steer(client, Verb::Reject, args, console).await,
        RunCommand::Pause(args) => pause(client, args, console).await,
        RunCommand::Resume(args) => resume(client, args, console).await,
        RunCommand::Cancel(args) => cancel(client, args, console).await,
        RunCommand::Retry(args) => retry(client, args, console).await,
        RunCommand::GiveUp(args) => give_up(client, args, console).await,
        RunCommand::Signal(args) => signal(client, args, console).await,
        RunCommand::Abandon(args) => abandon(client, args, console).await,
    }
}
