//! `run logs --follow`: log lines as they are written, and between them what the actions of agents write, as far as their
//! agents can tell.

use std::collections::BTreeMap;
use std::time::Duration;

use super::tail::{Lines, Looked, Tail};
use crate::agent::OutputStream;
use crate::api::wire::{Listing, RunView};
use crate::cli::client::Client;
use crate::cli::error::CliError;
use crate::cli::output::{Console, Growing};
use crate::clock::{Clock as _, SystemClock};
use crate::run::{AgentId, AgentRecord, AgentState, LogLevel, LogLine, RunId};

/// How often is looked for more.
const LOOK_EVERY: Duration = Duration::from_millis(1_000);

/// Log lines of one look.
const MOST_LINES: usize = 1_000;

/// Of how many agents at work the output is shown at a time: nobody reads more, and each costs two requests a second.
const MOST_AGENTS: usize = 20;

/// The most pieces of a stream in one look, so that one that writes without end does not keep others from being seen.
const MOST_PIECES: usize = 16;

/// What is followed, and how far it has been read.
pub(super) struct Following<'a> {
    client: &'a Client,
    run: RunId,
    only: Option<AgentId>,
    after: Option<String>,
    tails: BTreeMap<AgentId, Vec<(Tail, Lines)>>,
    /// Whether the person knows that there are more agents at work than are followed.
    told: bool,
}

impl<'a> Following<'a> {
    pub(super) fn new(client: &'a Client, run: RunId, only: Option<AgentId>) -> Self {
        Self { client, run, only, after: None, tails: BTreeMap::new(), told: false }
    }

    /// Writes what comes until the run has ended.
    pub(super) async fn follow(mut self, console: &Console) -> Result<(), CliError> {
        let mut list: Option<Growing<'_>> = None;
        loop {
            // Before what is new is read, so that nothing comes after it.
            let view = self.client.run(self.run).await?;
            let mut lines = self.logged().await?;
            lines.extend(self.written(&view, console).await?);
            match &mut list {
                Some(list) => lines.iter().try_for_each(|line| list.add(line))?,
                // The columns are as wide as the first lines need them to be.
                None if !lines.is_empty() => list = Some(console.begin(&lines)?),
                None => {}
            }
            if view.status.is_final() || view.set_aside().is_some() {
                return Ok(());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// The log lines that were not read before.
    async fn logged(&mut self) -> Result<Vec<LogLine>, CliError> {
        let mut all = Vec::new();
        loop {
            let logs = self.client.logs(self.run).only("agent", self.only.as_ref());
            let page: Listing<LogLine> = logs.read(self.after.clone(), MOST_LINES).await?;
            let Some(last) = page.items.last() else { return Ok(all) };
            self.after = Some(place_of(last));
            let is_last = page.items.len() < MOST_LINES;
            all.extend(page.items);
            if is_last {
                return Ok(all);
            }
        }
    }

    /// The lines that actions have written and that were not read before.
    async fn written(
        &mut self,
        view: &RunView,
        console: &Console,
    ) -> Result<Vec<LogLine>, CliError> {
        let at_work = self.at_work(view, console).await?;
        let run = self.run;
        for agent in &at_work {
            self.tails.entry(agent.clone()).or_insert_with(|| {
                let tail = |stream| (Tail::new(run, agent.clone(), stream), Lines::default());
                OutputStream::ALL.map(tail).into()
            });
        }
        let mut all = Vec::new();
        for (tail, lines) in self.tails.values_mut().flatten() {
            read_new(self.client, tail, lines, &mut all).await?;
        }
        // Those that are through have been looked at once more. The others stay, also where the agent has no output of one
        // stream: what was shown of the other would be shown again.
        self.tails.retain(|agent, tails| {
            let stays = at_work.contains(agent);
            if !stays {
                for (tail, lines) in tails {
                    all.extend(lines_of(tail, &lines.rest()));
                }
            }
            stays
        });
        Ok(all)
    }

    /// The agents at work whose output is shown.
    async fn at_work(
        &mut self,
        view: &RunView,
        console: &Console,
    ) -> Result<Vec<AgentId>, CliError> {
        let running = view.counts.get(&AgentState::Running).copied().unwrap_or(0);
        if running == 0 || view.status.is_final() {
            return Ok(Vec::new());
        }
        if let Some(agent) = &self.only {
            let record = self.client.agent(self.run, agent).await?;
            let is_at_work = record.state == AgentState::Running;
            return Ok(is_at_work.then(|| agent.clone()).into_iter().collect());
        }
        let running = self.client.agents(self.run).only("state", Some(AgentState::Running));
        let found: Listing<AgentRecord> = running.read(None, MOST_AGENTS).await?;
        if found.next.is_some() && !std::mem::replace(&mut self.told, true) {
            console.say(&format!(
                "what {MOST_AGENTS} agents at a time write is shown; --agent shows that of one"
            ));
        }
        Ok(found.items.into_iter().map(|record| record.agent).collect())
    }
}

/// Reads what is new of one stream.
async fn read_new(
    client: &Client,
    tail: &mut Tail,
    lines: &mut Lines,
    all: &mut Vec<LogLine>,
) -> Result<(), CliError> {
    for _ in 0..MOST_PIECES {
        match tail.look(client).await? {
            Looked::Piece(piece) => {
                if piece.begins {
                    all.extend(lines_of(tail, &lines.rest()));
                }
                let whole = lines.add(&piece.view.bytes());
                all.extend(lines_of(tail, &whole));
                if piece.view.ended {
                    all.extend(lines_of(tail, &lines.rest()));
                }
            }
            // It may answer again, and what it writes is kept until then.
            Looked::Nothing(_) | Looked::NoAction(_) | Looked::Away(_) | Looked::Unknown(_) => {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Lines of output in the form of log lines, which they are not: nothing keeps them, so they have no event.
fn lines_of(tail: &Tail, bytes: &[u8]) -> Vec<LogLine> {
    let text = String::from_utf8_lossy(bytes);
    let line = |message: &str| LogLine {
        run: tail.run(),
        attempt: None,
        agent: Some(tail.agent().clone()),
        source: tail.stream().as_str().to_owned(),
        line: 0,
        event: 0,
        number: 0,
        at: SystemClock.now(),
        level: LogLevel::Info,
        message: message.to_owned(),
        finish_ts: None,
    };
    text.lines().map(line).collect()
}

/// The place of a line in the list, as the server writes it.
fn place_of(line: &LogLine) -> String {
    let agent = line.agent.as_ref().map(AgentId::as_str).unwrap_or_default();
    format!("{}.{}.{agent}", line.event, line.line)
}
