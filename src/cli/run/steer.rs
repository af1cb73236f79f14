//! `run reject|pause|resume|cancel|give-up`: submits a command and waits for its outcome. `run approve` is in
//! `approve`, and `run retry` in `retry`.

use std::time::Duration;

use serde::Serialize;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::find::find_run;
use super::watch::Follow;
use crate::api::wire::{CommandView, SubmitCommand};
use crate::cli::client::Client;
use crate::cli::error::{CliError, ClientError};
use crate::cli::exit::Exit;
use crate::cli::output::{Console, Row};
use crate::cli::table::Narrower;
use crate::cli::text::{Paint, clean, counts, short_id};
use crate::cli::who::who;
use crate::run::{AgentId, CommandId, CommandOutcome, Digest, RunId, Verb};

/// How long to wait for a command to be applied: engines look for commands every 250 ms, and an engine that
/// takes over a run from another one first waits for the end of that one's lease.
pub(crate) const MAX_WAIT: Duration = Duration::from_secs(30);

/// How often to ask for the outcome of a command: as often as engines look for commands.
pub(crate) const ASK_EVERY: Duration = Duration::from_millis(250);

/// The arguments that all of these commands have.
#[derive(Debug, clap::Args)]
pub struct Steer {
    /// Identifier of the run, 6 or more consecutive digits of it, or `last`
    pub run: String,
    /// Why, for the history of the run
    #[arg(long, visible_alias = "why", value_name = "TEXT")]
    pub reason: Option<String>,
}

/// Arguments of `run resume`.
#[derive(Debug, clap::Args)]
pub struct Resume {
    #[command(flatten)]
    pub go_on: GoOn,
    /// Override this guard of the cluster: it holds no agents of this run until it is changed; say why with --reason
    #[arg(long, value_name = "NAME", requires = "reason")]
    pub override_guard: Option<String>,
}

/// Arguments of the commands that let a run go on.
#[derive(Debug, clap::Args)]
pub struct GoOn {
    #[command(flatten)]
    pub steer: Steer,
    /// Follow the run from then on, and exit as it ends
    #[arg(short, long)]
    pub watch: bool,
    #[command(flatten)]
    pub follow: Follow,
}

/// Arguments of `run pause`.
#[derive(Debug, clap::Args)]
pub struct Pause {
    #[command(flatten)]
    pub steer: Steer,
    /// Also stop each agent that has started, after its present call
    #[arg(long)]
    pub now: bool,
}

/// Arguments of `run give-up`.
#[derive(Debug, clap::Args)]
pub struct GiveUp {
    #[command(flatten)]
    pub steer: Steer,
    /// The agent whose action may never end
    #[arg(short, long, value_name = "AGENT")]
    pub agent: String,
    /// Do not ask for confirmation
    #[arg(short = 'y', long, visible_alias = "yes")]
    pub force: bool,
}

/// Arguments of `run cancel`.
#[derive(Debug, clap::Args)]
pub struct Cancel {
    #[command(flatten)]
    pub steer: Steer,
    /// Do not ask for confirmation
    #[arg(short, long)]
    pub yes: bool,
}

/// What a run is asked to do.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) verb: Verb,
    pub(crate) agent: Option<AgentId>,
    /// Whether actions that succeeded too late are repeated.
    pub(crate) again: bool,
    /// The guard that is overridden.
    pub(crate) override_guard: Option<String>,
    /// The sum of what is approved.
    pub(crate) seen: Option<Digest>,
    pub(crate) reason: Option<String>,
}

impl Asked {
    /// A command to the whole run.
    pub(crate) fn new(verb: Verb, reason: Option<String>) -> Self {
        Self { verb, agent: None, again: false, override_guard: None, seen: None, reason }
    }
}

#[derive(Serialize)]
struct Steered(CommandView);

impl Row for Steered {
    fn headings(_: bool) -> Vec<&'static str> {
        vec!["RUN", "COMMAND", "OUTCOME"]
    }

    fn cells(&self, _: bool) -> Vec<String> {
        let view = &self.0;
        let command = match &view.agent {
            Some(agent) => format!("{} {agent}", view.command),
            None => view.command.to_string(),
        };
        vec![view.run.to_string(), command, self.outcome().to_owned()]
    }

    fn paint(&self) -> (&str, Paint) {
        let paint = match self.0.outcome {
            Some(CommandOutcome::Applied) => Paint::Good,
            Some(CommandOutcome::Refused { .. }) => Paint::Bad,
            None => Paint::Busy,
        };
        (self.outcome(), paint)
    }

    fn narrower() -> &'static [Narrower] {
        &[Narrower::Short("RUN"), Narrower::Cut]
    }

    fn short(&self, heading: &str) -> Option<String> {
        (heading == "RUN").then(|| short_id(self.0.run))
    }

    fn name(&self) -> String {
        self.0.run.to_string()
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

/// Runs `run reject`.
pub(crate) async fn steer(
    client: &Client,
    verb: Verb,
    args: &Steer,
    console: &Console,
) -> Result<Exit, CliError> {
    let run = find_run(client, &args.run).await?;
    let view = submit(client, run, Asked::new(verb, args.reason.clone()), MAX_WAIT).await?;
    tell(view, console)
}

pub(crate) async fn pause(
    client: &Client,
    args: &Pause,
    console: &Console,
) -> Result<Exit, CliError> {
    let verb = if args.now { Verb::PauseNow } else { Verb::Pause };
    steer(client, verb, &args.steer, console).await
}

/// Runs `run resume`.
pub(crate) async fn resume(
    client: &Client,
    args: &Resume,
    console: &Console,
) -> Result<Exit, CliError> {
    let asked = Asked::new(Verb::Resume, args.go_on.steer.reason.clone());
    let asked = Asked { override_guard: args.override_guard.clone(), ..asked };
    let run = find_run(client, &args.go_on.steer.run).await?;
    go_on(client, run, &args.go_on, asked, console).await
}

/// Submits a command that lets a run go on, and follows the run if that is wanted.
pub(super) async fn go_on(
    client: &Client,
    run: RunId,
    args: &GoOn,
    asked: Asked,
    console: &Console,
) -> Result<Exit, CliError> {
    if !args.watch {
        return tell(submit(client, run, asked, MAX_WAIT).await?, console);
    }
    // What led to the pause was shown when it happened.
    let before = client.run(run).await?;
    let verb = asked.verb;
    let view = submit(client, run, asked, MAX_WAIT).await?;
    if view.outcome == Some(CommandOutcome::Applied) {
        console.say(&format!("{verb} applied"));
        return args.follow.watch(client, run, Some(before.since), console).await;
    }
    tell(view, console)
}

pub(crate) async fn cancel(
    client: &Client,
    args: &Cancel,
    console: &Console,
) -> Result<Exit, CliError> {
    let run = find_run(client, &args.steer.run).await?;
    let asked = Asked::new(Verb::Cancel, args.steer.reason.clone());
    if console.can_ask && !args.yes {
        let view = client.run(run).await?;
        if view.status.is_final() {
            // The server refuses it, so nobody needs to think it over first.
            return tell(submit(client, run, asked, MAX_WAIT).await?, console);
        }
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
    tell(submit(client, run, asked, MAX_WAIT).await?, console)
}

/// Runs `run give-up`.
pub(crate) async fn give_up(
    client: &Client,
    args: &GiveUp,
    console: &Console,
) -> Result<Exit, CliError> {
    let run = find_run(client, &args.steer.run).await?;
    let agent = AgentId(args.agent.clone());
    if console.can_ask && !args.force {
        let state = match client.agent(run, &agent).await {
            Ok(record) => format!(" ({})", record.state),
            // A busy server may not give the record, but takes the command all the same.
            Err(error) if error.retryable() => String::new(),
            Err(error) => return Err(error.into()),
        };
        let question = format!(
            "wait no longer for the action of {}{state}? it may still be running there, and what is \
             sent to the agent next runs beside it [y/N] ",
            agent.as_str(),
        );
        if !ask(&question)? {
            console.say("not given up");
            return Ok(Exit::Ok);
        }
    }
    let reason = args.steer.reason.clone();
    let asked = Asked { agent: Some(agent), ..Asked::new(Verb::GiveUp, reason) };
    tell(submit(client, run, asked, MAX_WAIT).await?, console)
}

/// Asks a question; any answer but yes means no.
pub(crate) fn ask(question: &str) -> Result<bool, CliError> {
    use std::io::Write;
    let mut out = std::io::stderr().lock();
    let _ = write!(out, "{}", clean(question)).and_then(|()| out.flush());
    let mut answer = String::new();
    std::io::stdin()
        .read_line(&mut answer)
        .map_err(|source| CliError::Read { path: "standard input".to_owned(), source })?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}

/// Submits a command and waits for its outcome, for at most `max_wait`. Submitting it again with the same
/// identifier asks the server for its outcome.
pub(crate) async fn submit(
    client: &Client,
    run: RunId,
    asked: Asked,
    max_wait: Duration,
) -> Result<CommandView, CliError> {
    let id = Some(CommandId(Uuid::new_v4()));
    let Asked { verb: command, agent, again, override_guard, seen, reason } = asked;
    let actor = who();
    let command = SubmitCommand { id, command, agent, again, override_guard, seen, actor, reason };
    until_outcome(max_wait, async || client.submit(run, &command).await).await
}

/// Asks for a command until it has its outcome, for at most `max_wait`.
pub(super) async fn until_outcome(
    max_wait: Duration,
    ask: impl AsyncFn() -> Result<CommandView, ClientError>,
) -> Result<CommandView, CliError> {
    let give_up = Instant::now() + max_wait;
    loop {
        let view = ask().await?;
        if view.outcome.is_some() || Instant::now() >= give_up {
            return Ok(view);
        }
        sleep(ASK_EVERY).await;
    }
}

pub(super) fn tell(view: CommandView, console: &Console) -> Result<Exit, CliError> {
    let exit = match &view.outcome {
        Some(CommandOutcome::Applied) => Exit::Ok,
        Some(CommandOutcome::Refused { reason }) => {
            console.say(&format!("{} was refused: {reason}", view.command));
            Exit::NotFound
        }
        None => {
            let verb = view.command;
            console.say(&format!(
                "{verb} is accepted, not yet applied: it stays in place until an engine takes it up"
            ));
            Exit::NotApplied
        }
    };
    console.one(&Steered(view))?;
    Ok(exit)
}
