//! `run events`: the history of a run, as a list or followed live.

use futures::StreamExt;

use super::find::find_run;
use super::lines::{Detail, TIME_COLUMNS, agent_of, by, line_of, tell};
use crate::api::wire::Listing;
use crate::cli::client::Client;
use crate::cli::closed::while_read;
use crate::cli::error::CliError;
use crate::cli::exit::Exit;
use crate::cli::feed::{FeedLimits, Update, follow};
use crate::cli::output::{Console, Format, Row, to_json_line, to_yaml};
use crate::cli::page::{PageArgs, say_damaged, say_if_more};
use crate::cli::rows::or_dash;
use crate::cli::table::Narrower;
use crate::cli::text::{clean, moment, short_moment};
use crate::run::{RunEvent, RunId};

/// Arguments of `run events`.
#[derive(Debug, clap::Args)]
pub struct Events {
    /// Identifier of the run, 6 or more consecutive digits of it, or `last`
    pub run: String,
    /// Write events as they happen, from the first one until the run has ended; JSON then has one event per
    /// line
    #[arg(long, conflicts_with_all = ["limit", "after"])]
    pub follow: bool,
    #[command(flatten)]
    pub page: PageArgs,
}

impl Row for RunEvent {
    fn headings(wide: bool) -> Vec<&'static str> {
        if wide { vec!["SEQ", "TIME", "BY", "AGENT", "WHAT"] } else { vec!["SEQ", "TIME", "WHAT"] }
    }

    fn cells(&self, wide: bool) -> Vec<String> {
        let mut cells = vec![self.seq.to_string(), moment(self.at)];
        let what = tell(&self.what).1;
        match (wide, &self.actor) {
            (true, actor) => {
                let agent = agent_of(&self.what).map(ToString::to_string);
                cells.extend([or_dash(actor.as_deref()), or_dash(agent.as_deref()), what]);
            }
            (false, _) => cells.push(format!("{what}{}", by(self, &what))),
        }
        cells
    }

    fn narrower() -> &'static [Narrower] {
        &[Narrower::Short("TIME"), Narrower::Fold]
    }

    fn short(&self, heading: &str) -> Option<String> {
        (heading == "TIME").then(|| short_moment(self.at))
    }

    fn name(&self) -> String {
        format!("event/{}/{}", self.run, self.seq)
    }
}

pub(crate) async fn events(
    client: &Client,
    args: &Events,
    console: &Console,
) -> Result<Exit, CliError> {
    let run = find_run(client, &args.run).await?;
    if args.follow {
        let done = while_read(follow_events(client, run, console)).await?;
        return Ok(done.unwrap_or(Exit::Interrupted));
    }
    let events: Listing<RunEvent> =
        client.events(run).read_to_show(args.page.after.clone(), args.page.limit()).await?;
    console.list(&events.items)?;
    say_damaged(console, &events.damaged);
    say_if_more(console, events.next.as_deref());
    Ok(Exit::Ok)
}

async fn follow_events(client: &Client, run: RunId, console: &Console) -> Result<Exit, CliError> {
    let mut feed = std::pin::pin!(follow(client.clone(), run, FeedLimits::default()));
    let mut picked = match console.format {
        Format::Picked => Some(console.begin::<RunEvent>(&[])?),
        Format::Table | Format::Wide | Format::Json | Format::Yaml | Format::Name => None,
    };
    while let Some(update) = feed.next().await {
        match update? {
            Update::Event(event) => match &mut picked {
                Some(list) => list.add(&*event)?,
                None => write_event(&event, console)?,
            },
            Update::Lost { message } => {
                console.say(&format!("connection lost ({message}); trying again"));
            }
            Update::Back => console.say("connected again"),
            Update::Ended(_) => {}
        }
    }
    Ok(Exit::Ok)
}

fn write_event(event: &RunEvent, console: &Console) -> Result<(), CliError> {
    match console.format {
        Format::Table | Format::Wide => {
            let write = |line: String| console.data_indented(&line, TIME_COLUMNS);
            line_of(event, Detail::All).map_or(Ok(()), write)
        }
        Format::Json => console.raw(&to_json_line(event)?),
        Format::Yaml => console.raw(&format!("---\n{}", to_yaml(event)?)),
        Format::Name => console.data(&clean(&event.name())),
        Format::Picked => console.pick(event),
    }
}
