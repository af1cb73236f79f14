//! `run logs`: what the steps and the strategy of a run logged.

use super::find::find_run;
use super::logs_follow::Following;
use crate::api::wire::Listing;
use crate::cli::client::Client;
use crate::cli::closed::while_read;
use crate::cli::error::CliError;
use crate::cli::exit::Exit;
use crate::cli::output::{Console, Row};
use crate::cli::page::{PageArgs, say_damaged, say_if_more};
use crate::cli::table::Narrower;
use crate::cli::text::{Paint, moment, short_moment};
use crate::run::{AgentId, LogLevel, LogLine, dropped_in_words};

/// Arguments of `run logs`.
#[derive(Debug, clap::Args)]
pub struct Logs {
    /// Identifier of the run, 6 or more consecutive digits of it, or `last`
    pub run: String,
    /// Only lines of this agent's steps
    #[arg(long, value_name = "AGENT")]
    pub agent: Option<String>,
    /// Write lines as they are logged until the run has ended, and between them what the actions of agents at work write,
    /// as lines from `stdout` and `stderr`; JSON then has one line per line
    #[arg(short, long, conflicts_with_all = ["limit", "after"])]
    pub follow: bool,
    #[command(flatten)]
    pub page: PageArgs,
}

impl Row for LogLine {
    fn headings(wide: bool) -> Vec<&'static str> {
        if wide {
            vec!["TIME", "AGENT", "FROM", "ATTEMPT", "LEVEL", "MESSAGE"]
        } else {
            vec!["TIME", "AGENT", "FROM", "LEVEL", "MESSAGE"]
        }
    }

    fn cells(&self, wide: bool) -> Vec<String> {
        let agent = self.agent.as_ref().map_or("-", |agent| agent.as_str());
        let attempt = self.attempt.map_or("-".to_owned(), |key| key.attempt.to_string());
        let mut cells = vec![moment(self.at), agent.to_owned(), self.source.clone()];
        cells.extend(wide.then_some(attempt));
        cells.extend([level(self.level).0.to_owned(), self.message.clone()]);
        cells
    }

    fn paint(&self) -> (&str, Paint) {
        level(self.level)
    }

    fn narrower() -> &'static [Narrower] {
        &[Narrower::Short("TIME"), Narrower::Fold, Narrower::Without("FROM"), Narrower::Fold]
    }

    fn short(&self, heading: &str) -> Option<String> {
        (heading == "TIME").then(|| short_moment(self.at))
    }

    fn name(&self) -> String {
        let agent = self.agent.as_ref().map_or("", |agent| agent.as_str());
        format!("log/{}/{agent}/{}", self.event, self.line)
    }
}

fn level(level: LogLevel) -> (&'static str, Paint) {
    match level {
        LogLevel::Debug => ("debug", Paint::Faint),
        LogLevel::Info => ("info", Paint::Plain),
        LogLevel::Warn => ("warn", Paint::Busy),
        LogLevel::Error => ("error", Paint::Bad),
    }
}

pub(crate) async fn logs(
    client: &Client,
    args: &Logs,
    console: &Console,
) -> Result<Exit, CliError> {
    let run = find_run(client, &args.run).await?;
    if args.follow {
        let only = args.agent.clone().map(AgentId);
        let following = Following::new(client, run, only);
        let done = while_read(following.follow(console)).await?;
        return Ok(done.map_or(Exit::Interrupted, |()| Exit::Ok));
    }
    let lines = client.logs(run).only("agent", args.agent.as_ref());
    let lines: Listing<LogLine> =
        lines.read_to_show(args.page.after.clone(), args.page.limit()).await?;
    if let (Some(agent), [], None) = (&args.agent, lines.items.as_slice(), &args.page.after) {
        // A misspelt agent has no lines either, so its existence is checked.
        client.agent(run, &AgentId(agent.clone())).await?;
    }
    console.list(&lines.items)?;
    say_damaged(console, &lines.damaged);
    // Only a person who looks at the beginning would miss the removed lines.
    if args.page.after.is_none()
        && let Some(gone) = dropped_in_words(&client.run(run).await?.dropped_lines)
    {
        console.say(&gone);
    }
    say_if_more(console, lines.next.as_deref());
    Ok(Exit::Ok)
}
