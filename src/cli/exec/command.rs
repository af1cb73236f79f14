//! `replictl exec`: starts the run of a command, follows it, and shows what each agent answered.

use futures::{StreamExt as _, TryStreamExt as _, stream};
use uuid::Uuid;

use crate::api::wire::{ClusterView, ExecCommand, HowMany, Listing, RunView};
use crate::cli::client::Client;
use crate::cli::endpoints::MAX_PAGE;
use crate::cli::error::{CliError, ClientError};
use crate::cli::exit::Exit;
use crate::cli::output::{Console, Format};
use crate::cli::rows::agents_of;
use crate::cli::run::{AgentOutput, Stay, gather, watch_and_show};
use crate::cli::who::who;
use crate::cli::work::Work;
use crate::run::{AgentRecord, AgentState};

/// How many agents are asked at a time what they wrote.
const ASKED_AT_ONCE: usize = 8;

/// The most bytes of output that are gathered of all agents together, since they are in memory. Of the others what is known
/// without asking them is shown.
const MOST_BYTES: usize = 64 * 1024 * 1024;

/// The most lines of one agent below the table.
const MOST_LINES: usize = 1_000;

/// Arguments of `exec`.
#[derive(Debug, clap::Args)]
pub struct Exec {
    /// Only agents for which this expression is true, such as `agent.attributes.zone == "a"`
    #[arg(short = 'l', long, value_name = "EXPRESSION")]
    pub selector: Option<String>,
    /// The cluster; may be left out if the server has only one
    #[arg(short, long, value_name = "NAME")]
    pub cluster: Option<String>,
    /// On how many agents at a time: a number, or a share such as `25%`
    #[arg(long, value_name = "N|%", default_value = "10")]
    pub batch: String,
    /// How many agents may fail before no further one begins and the run fails
    #[arg(long, value_name = "N|%", default_value = "0")]
    pub max_failed: String,
    /// How long the command may take on an agent before it counts as failed, such as `5m`
    #[arg(long, value_name = "LENGTH")]
    pub timeout: Option<String>,
    #[command(flatten)]
    pub stay: Stay,
    /// The program and its arguments; no shell reads them
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub command: Vec<String>,
}

pub(crate) async fn exec(
    client: &Client,
    args: &Exec,
    console: &Console,
) -> Result<Exit, CliError> {
    let cluster = match &args.cluster {
        Some(cluster) => cluster.clone(),
        None => only_cluster(client).await?,
    };
    let request = ExecCommand {
        cluster,
        argv: args.command.clone(),
        select: args.selector.clone(),
        batch: Some(number_or_share(&args.batch)),
        max_failed: Some(number_or_share(&args.max_failed)),
        timeout: args.timeout.clone(),
        started_by: who(),
    };
    let key = Uuid::new_v4().to_string();
    let run = client.exec(&request, &key).await.map_err(named)?;
    console.say(&format!("run {} started", run.id));
    let show = async |view: &RunView| show(client, view, console).await;
    let watched = watch_and_show(client, (run.id, args.stay, None), console, show).await?;
    Ok(watched.exit)
}

/// Names the options in what the server says of the playbook that it makes of them.
fn named(mut error: ClientError) -> ClientError {
    if let ClientError::Refused(refusal) = &mut error {
        for problem in &mut refusal.problems {
            let option = [
                ("/select", "--selector"),
                ("/spec/stages/0/strategy/with/batch", "--batch"),
                ("/spec/stages/0/budget/max_failed", "--max-failed"),
                ("/spec/stages/0/steps/0/timeout", "--timeout"),
            ]
            .into_iter()
            .find(|(path, _)| problem.path == *path);
            if let Some((_, option)) = option {
                // The place is one in a document that nobody has written.
                (problem.path, problem.line, problem.column) = (option.to_owned(), None, None);
            }
        }
    }
    error
}

/// A number, and anything else as text, which the server judges.
fn number_or_share(text: &str) -> HowMany {
    text.parse().map_or_else(|_| HowMany::Share(text.to_owned()), HowMany::Count)
}

async fn only_cluster(client: &Client) -> Result<String, CliError> {
    let found: Listing<ClusterView> = client.clusters().read(None, 2).await?;
    match found.items.as_slice() {
        [one] => Ok(one.name.clone()),
        [] => Err(CliError::NotFound("there is no cluster".to_owned())),
        [_, ..] => Err(CliError::Usage(
            "the server has several clusters: expected --cluster NAME".to_owned(),
        )),
    }
}

/// Shows what each agent has written, and how it ended.
async fn show(client: &Client, run: &RunView, console: &Console) -> Result<(), CliError> {
    let mut outputs = Vec::new();
    let (mut after, mut bytes) = (None, 0);
    let work = Work::new(console);
    loop {
        let page: Listing<AgentRecord> = client.agents(run.id).read(after, MAX_PAGE).await?;
        let part = page.items.into_iter().filter(takes_part);
        let asked = stream::iter(part.collect::<Vec<_>>()).map(|record| async move {
            // The size is counted only after each is there, so a few more may come.
            gather(client, &record).await
        });
        let mut asked = asked.buffered(ASKED_AT_ONCE);
        while let Some(output) = asked.try_next().await? {
            bytes += output.stdout.bytes() + output.stderr.bytes();
            outputs.push(output);
            work.at(|| format!("asking agents what they wrote · {}", outputs.len()));
            if bytes > MOST_BYTES {
                let message = "there is more output than this gathers; `replictl run output` shows that of an agent";
                console.say(message);
                return write(run, &outputs, console);
            }
        }
        after = page.next;
        if after.is_none() {
            drop(work);
            return write(run, &outputs, console);
        }
    }
}

/// Whether the command was meant for the agent.
fn takes_part(record: &AgentRecord) -> bool {
    !record.bystander && !matches!(record.state, AgentState::Skipped)
}

fn write(run: &RunView, outputs: &[AgentOutput], console: &Console) -> Result<(), CliError> {
    console.list(outputs)?;
    match console.format {
        Format::Table | Format::Wide => {}
        Format::Json | Format::Yaml | Format::Name | Format::Picked => return Ok(()),
    }
    for output in outputs {
        let lines = output.more_lines();
        if lines.is_empty() {
            continue;
        }
        console.data("\n")?;
        console.data(&format!("{}:", output.agent))?;
        for line in lines.iter().take(MOST_LINES) {
            console.data_indented(&format!("  {line}"), 4)?;
        }
        if lines.len() > MOST_LINES || output.cut {
            console.say(&format!(
                "({} has more; `replictl run output {} --agent {}` shows it)",
                output.agent, run.id, output.agent
            ));
        }
    }
    console.data("\n")?;
    console.data(&agents_of(run))?;
    if let Some(not_told) = outputs.iter().find_map(|output| output.not_told.as_ref()) {
        console.say(&format!(
            "some output is only as far as it was the result of the action: {not_told}"
        ));
    }
    if outputs.iter().any(knows_no_commands) {
        console.say_prose(
            "hint: agents do commands only if they have the action replicante.io/command: a reference agent declares it in its \
             configuration, a gateway in its inventory (docs/exec.md)",
        );
    }
    Ok(())
}

/// Whether the agent refused the kind of action.
fn knows_no_commands(output: &AgentOutput) -> bool {
    output.error.as_ref().is_some_and(|error| {
        error.contains("answered 400") && error.contains("replicante.io/command")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_one_and_a_share_is_text() {
        assert_eq!(number_or_share("3"), HowMany::Count(3));
        for text in ["25%", "many", "-1"] {
            assert_eq!(number_or_share(text), HowMany::Share(text.to_owned()));
        }
    }
}
