//! `run retry`: tries agents again. In a paused run they are put back in the queue; for a finished run, which
//! never changes, a new run is started.

use uuid::Uuid;

use super::find::find_run;
use super::next::again;
use super::steer::{Asked, MAX_WAIT, submit, tell};
use super::watch::Follow;
use crate::api::wire::{RetryRun, RunView};
use crate::cli::client::Client;
use crate::cli::error::{CliError, ClientError};
use crate::cli::exit::Exit;
use crate::cli::output::Console;
use crate::cli::who::who;
use crate::run::{AgentId, CommandOutcome, ReasonCode, RunId, Verb};

/// Arguments of `run retry`.
#[derive(Debug, clap::Args)]
pub struct Retry {
    /// Identifier of the run, 6 or more consecutive digits of it, or `last`
    pub run: String,
    /// For a paused run: only this agent
    #[arg(
        short, long, value_name = "AGENT",
        conflicts_with_all = ["failed", "skipped", "unfinished", "playbook", "watch", "idempotency_key"],
    )]
    pub agent: Option<String>,
    /// The agents that failed; the default if no kind is named
    #[arg(long)]
    pub failed: bool,
    /// For a paused run: also repeat actions that succeeded after their step had timed out; without this an
    /// agent goes on with their results. A run over agents of a finished one begins with the first step, and
    /// does all of it again in any case
    #[arg(long)]
    pub again: bool,
    /// For a finished run: agents that were skipped in its last stage
    #[arg(long)]
    pub skipped: bool,
    /// For a finished run: agents that were not started, or were cut off
    #[arg(long)]
    pub unfinished: bool,
    /// For a finished run: use this playbook, for example a repaired version, instead of the old run's
    #[arg(long, value_name = "NAME[@VERSION]")]
    pub playbook: Option<String>,
    /// Why, for the history of the run
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// For a finished run: follow the new run, and exit as it ends
    #[arg(short, long)]
    pub watch: bool,
    #[command(flatten)]
    pub follow: Follow,
    /// For a finished run: start at most one new run with this key, however often this is repeated
    #[arg(long, value_name = "KEY")]
    pub idempotency_key: Option<String>,
}

pub(crate) async fn retry(
    client: &Client,
    args: &Retry,
    console: &Console,
) -> Result<Exit, CliError> {
    let id = find_run(client, &args.run).await?;
    let run = match client.run(id).await {
        // A repeated request is answered even if the old run has expired in the meantime.
        Err(ClientError::Refused(problem))
            if problem.status == 404 && args.idempotency_key.is_some() =>
        {
            return start_over(client, id, args, console).await;
        }
        run => run?,
    };
    if run.status.is_final() {
        retry_finished(client, &run, args, console).await
    } else {
        put_back(client, &run, args, console).await
    }
}

/// Puts failed agents of a run that has not ended back in the queue.
async fn put_back(
    client: &Client,
    run: &RunView,
    args: &Retry,
    console: &Console,
) -> Result<Exit, CliError> {
    if let Some(playbook) = &args.playbook {
        // A run keeps what it was started with.
        let words = format!("run retry {} --unfinished --playbook {playbook}", run.id);
        console.say_prose(
            "to go on with a mended playbook, end this run and start a new one over the agents that are left:",
        );
        console.say_command(" ", &again(client, &format!("run cancel {}", run.id)));
        console.say_command(" ", &again(client, &words));
        return Err(CliError::Unfit(format!(
            "run {} is {}: --playbook is for a run that has ended",
            run.id, run.status
        )));
    }
    let for_finished = [
        (args.skipped, "--skipped"),
        (args.unfinished, "--unfinished"),
        (args.watch, "--watch"),
        (args.idempotency_key.is_some(), "--idempotency-key"),
    ];
    if let Some((_, option)) = for_finished.iter().find(|(given, _)| *given) {
        return Err(CliError::Unfit(format!(
            "run {} is {}: {option} is for a run that has ended",
            run.id, run.status
        )));
    }
    let (agent, reason) = (args.agent.clone().map(AgentId), args.reason.clone());
    let asked = Asked { agent, again: args.again, ..Asked::new(Verb::Retry, reason) };
    let view = submit(client, run.id, asked, MAX_WAIT).await?;
    let applied = view.outcome == Some(CommandOutcome::Applied);
    let exit = tell(view, console)?;
    if applied {
        let approval = run.reason.as_ref().is_some_and(|why| why.code == ReasonCode::Approval);
        let verb = if approval { Verb::Approve } else { Verb::Resume };
        let go_on = again(client, &format!("run {verb} {}", run.id));
        console.say_command("they are tried again once the run goes on:", &go_on);
    }
    Ok(exit)
}

/// Starts a run over agents of one that has ended.
async fn retry_finished(
    client: &Client,
    run: &RunView,
    args: &Retry,
    console: &Console,
) -> Result<Exit, CliError> {
    let for_paused = [(args.agent.is_some(), "--agent"), (args.again, "--again")];
    if let Some((_, option)) = for_paused.iter().find(|(given, _)| *given) {
        return Err(CliError::Unfit(format!(
            "run {} has ended as {}: {option} is for a paused run",
            run.id, run.status
        )));
    }
    start_over(client, run.id, args, console).await
}

async fn start_over(
    client: &Client,
    of: RunId,
    args: &Retry,
    console: &Console,
) -> Result<Exit, CliError> {
    let request = RetryRun {
        failed: args.failed,
        skipped: args.skipped,
        unfinished: args.unfinished,
        playbook: args.playbook.clone(),
        started_by: who(),
        reason: args.reason.clone(),
    };
    let key = args.idempotency_key.clone().unwrap_or_else(|| Uuid::new_v4().to_string());
    let new = client.retry_run(of, &request, &key).await?;
    if args.watch {
        console.say(&format!("run {} started, over agents of run {of}", new.id));
        return args.follow.watch(client, new.id, None, console).await;
    }
    console.one(&new)?;
    console.say_command("follow it:", &again(client, &format!("run watch {}", new.id)));
    Ok(Exit::Ok)
}
