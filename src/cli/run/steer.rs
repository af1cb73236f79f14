//! `run approve|reject|pause|resume|cancel`.

use std::time::Duration;

use serde::Serialize;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::find::find_run;
use super::start::who;
use super::watch::watch_after;
use crate::api::wire::{CommandView, SubmitCommand};
use crate::cli::client::Client;
use crate::cli::error::CliError;
use crate::cli::exit::Exit;
use crate::cli::output::{Console, Row};
use crate::cli::text::{Paint, counts};
use crate::run::{CommandId, CommandOutcome, RunId, Verb};

/// How long to wait for a command to be applied: engines look for commands every 250 ms, and one
/// that takes over a run of another engine first waits for that one's lease.
pub(crate) const MAX_WAIT: Duration = Duration::from_secs(30);

/// How often to ask what became of a command, for the same reason.
const ASK_EVERY: Duration = Duration::from_millis(250);

/// Arguments that all of these commands have.
#[derive(Debug, clap::Args)]
pub struct Steer {
    /// The run
    pub run: String,
    /// Why, for the history of the run
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
}

/// Arguments of the commands that let a run go on.
#[derive(Debug, clap::Args)]
pub struct GoOn {
    #[command(flatten)]
    pub steer: Steer,
    /// Follow the run from there, and exit as it ends
    #[arg(short, long)]
    pub watch: bool,
}

/// Arguments of `run cancel`.
#[derive(Debug, clap::Args)]
pub struct Cancel {
    #[command(flatten)]
    pub steer: Steer,
    /// Do not ask whether this is meant
    #[arg(short, long)]
    pub yes: bool,
}

#[derive(Serialize)]
struct Steered(CommandView);

impl Row for Steered {
    fn headings(_: bool) -> Vec<&'static str> {
        vec!["RUN", "COMMAND", "OUTCOME"]
    }

    fn cells(&self, _: bool) -> Vec<String> {
        let view = &self.0;
        vec![view.run.to_string(), view.command.to_string(), self.outcome().to_owned()]
    }

    fn paint(&self) -> (&str, Paint) {
        let paint = match self.0.outcome {
            Some(CommandOutcome::Applied) => Paint::Good,
            Some(CommandOutcome::Refused { .. }) => Paint::Bad,
            None => Paint::Busy,
        };
        (self.outcome(), paint)
    }

    fn name(&self) -> String {
        format!("run/{}", self.0.run)
    }
}

impl Steered {
    fn outcome(&self) -> &'static str {
        match self.0.outcome {
            Some(CommandOutcome::Applied) => "applied",
            Some(CommandOutcome::Refused { .. }) => "refused",
            None => "waiting",
        }
    }
}

/// Runs `run reject` and `run pause`.
pub(crate) async fn steer(
    client: &Client,
    verb: Verb,
    args: &Steer,
    console: &Console,
) -> Result<Exit, CliError> {
    let run = find_run(client, &args.run).await?;
    let view = submit(client, run, verb, args.reason.clone(), MAX_WAIT).await?;
    tell(view, console)
}

/// Runs `run approve` and `run resume`.
pub(crate) async fn go_on(
    client: &Client,
    verb: Verb,
    args: &GoOn,
    console: &Console,
) -> Result<Exit, CliError> {
    if !args.watch {
        return steer(client, verb, &args.steer, console).await;
    }
    let run = find_run(client, &args.steer.run).await?;
    // What led to the pause was told when it happened.
    let before = client.run(run).await?;
    let view = submit(client, run, verb, args.steer.reason.clone(), MAX_WAIT).await?;
    if view.outcome == Some(CommandOutcome::Applied) {
        console.say(&format!("{verb} applied"));
        return Ok(watch_after(client, run, Some(before.since), console).await?.exit);
    }
    tell(view, console)
}

/// Runs `run cancel`.
pub(crate) async fn cancel(
    client: &Client,
    args: &Cancel,
    console: &Console,
) -> Result<Exit, CliError> {
    let run = find_run(client, &args.steer.run).await?;
    if console.can_ask && !args.yes {
        let view = client.run(run).await?;
        let question = format!(
            "cancel the run of {}@{} on {} ({})? [y/N] ",
            view.playbook,
            view.version,
            view.cluster,
            counts(&view.counts)
        );
        if !ask(&question)? {
            console.say("not cancelled");
            return Ok(Exit::Ok);
        }
    }
    let view = submit(client, run, Verb::Cancel, args.steer.reason.clone(), MAX_WAIT).await?;
    tell(view, console)
}

/// Asks a question; anything but yes is no.
fn ask(question: &str) -> Result<bool, CliError> {
    use std::io::Write;
    let mut out = std::io::stderr().lock();
    let _ = write!(out, "{question}").and_then(|()| out.flush());
    let mut answer = String::new();
    std::io::stdin()
        .read_line(&mut answer)
        .map_err(|source| CliError::Read { path: "standard input".to_owned(), source })?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}

/// Submits a command and waits until it has an outcome, for at most `max_wait`. Asking again with the same
/// identifier is how the server is asked what became of it.
pub(crate) async fn submit(
    client: &Client,
    run: RunId,
    verb: Verb,
    reason: Option<String>,
    max_wait: Duration,
) -> Result<CommandView, CliError> {
    let id = Some(CommandId(Uuid::new_v4()));
    let command = SubmitCommand { id, command: verb, agent: None, actor: who(), reason };
    let give_up = Instant::now() + max_wait;
    loop {
        let view = client.submit(run, &command).await?;
        if view.outcome.is_some() || Instant::now() >= give_up {
            return Ok(view);
        }
        sleep(ASK_EVERY).await;
    }
}

fn tell(view: CommandView, console: &Console) -> Result<Exit, CliError> {
    let exit = match &view.outcome {
        Some(CommandOutcome::Applied) => Exit::Ok,
        Some(CommandOutcome::Refused { reason }) => {
            console.say(&format!("{} was refused: {reason}", view.command));
            Exit::NotFound
        }
        None => {
            console.say("no engine has taken the command yet; it stays in place until one does");
            Exit::Ok
        }
    };
    console.one(&Steered(view))?;
    Ok(exit)
}
