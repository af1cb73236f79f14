//! `run output`: what the last action of an agent has written.

use std::io::{self, IsTerminal as _};
use std::time::Duration;

use uuid::Uuid;

use super::find::find_run;
use super::gathered::gather;
use super::tail::{Lines, Looked, Piece, Tail};
use crate::agent::OutputStream;
use crate::cli::client::Client;
use crate::cli::closed::while_read;
use crate::cli::error::CliError;
use crate::cli::exit::Exit;
use crate::cli::output::{Console, Format, to_json_line, to_yaml};
use crate::run::{AgentId, AgentState, RunId, RunStatus};

/// How often an agent is asked that is followed: often enough for people to see its work go on.
const ASK_EVERY: Duration = Duration::from_millis(500);

/// The most bytes of a stream that are shown to somebody who does not follow it: what our own agents let an action write to
/// one. A command that never pauses would have no end otherwise.
const MAX_AT_ONCE: usize = 64 * 1024 * 1024;

/// What a piece counts as at least: small ones that come as fast as they are read must have an end, too.
const LEAST_PIECE: usize = 16 * 1024;

/// Arguments of `run output`.
#[derive(Debug, clap::Args)]
pub struct Output {
    /// Identifier of the run, 6 or more consecutive digits of it, or `last`
    pub run: String,
    /// The agent
    #[arg(long, value_name = "AGENT")]
    pub agent: String,
    /// Only `stdout` or only `stderr`, which then goes to standard output
    #[arg(long, value_name = "STREAM")]
    pub stream: Option<OutputStream>,
    /// Go on until the agent is through with the stage, or the run has ended; JSON then has one piece per line
    #[arg(short, long)]
    pub follow: bool,
}

pub(crate) async fn output(
    client: &Client,
    args: &Output,
    console: &Console,
) -> Result<Exit, CliError> {
    let run = find_run(client, &args.run).await?;
    let agent = AgentId(args.agent.clone());
    match (console.format, args.follow) {
        (Format::Json | Format::Yaml | Format::Name | Format::Picked, false) => {
            let record = client.agent(run, &agent).await?;
            console.one(&gather(client, &record).await?)?;
            Ok(Exit::Ok)
        }
        (Format::Name | Format::Picked, true) => {
            Err(CliError::Usage("--follow: expected the format table, json or yaml".to_owned()))
        }
        (Format::Table | Format::Wide, _) | (Format::Json | Format::Yaml, true) => {
            let mut writing = Writing::new(run, &agent, args.stream, console);
            let done = match args.follow {
                true => while_read(writing.follow(client, run, &agent)).await?,
                false => while_read(writing.once(client)).await?,
            };
            Ok(done.map_or(Exit::Interrupted, |()| Exit::Ok))
        }
    }
}

/// How many looks in a row may find that an agent has no output of an action: the attempt is known a moment before the
/// agent has the action.
const UNKNOWN_LOOKS: u32 = 10;

/// Writes what an agent's actions write.
struct Writing<'c> {
    tails: Vec<(Tail, Lines)>,
    /// Whether it is standard error alone that is wanted.
    only_one: bool,
    console: &'c Console,
    /// Whether all that comes is wanted, and not only what there is.
    follows: bool,
    /// Whether the person knows that the agent does not answer.
    told: bool,
    /// How many looks in a row found an action of which the agent has no output.
    unknown: u32,
    /// The action of which something was written last.
    shown: Option<Uuid>,
}

impl<'c> Writing<'c> {
    fn new(run: RunId, agent: &AgentId, only: Option<OutputStream>, console: &'c Console) -> Self {
        let wanted =
            OutputStream::ALL.into_iter().filter(|stream| only.is_none_or(|it| it == *stream));
        let tail = |stream| (Tail::new(run, agent.clone(), stream), Lines::default());
        let tails = wanted.map(tail).collect();
        let only_one = only.is_some();
        Self { tails, only_one, console, follows: false, told: false, unknown: 0, shown: None }
    }

    /// What there is now.
    async fn once(&mut self, client: &Client) -> Result<(), CliError> {
        self.write_new(client, false).await?;
        self.flush()
    }

    /// All that comes until the agent is through.
    async fn follow(
        &mut self,
        client: &Client,
        run: RunId,
        agent: &AgentId,
    ) -> Result<(), CliError> {
        self.follows = true;
        while !has_records(client.run(run).await?.status) {
            tokio::time::sleep(ASK_EVERY).await;
        }
        loop {
            // Before what is new is read, so that nothing comes after it.
            let is_over = is_through(client, run, agent).await?;
            self.write_new(client, !is_over).await?;
            if is_over {
                return self.flush();
            }
            tokio::time::sleep(ASK_EVERY).await;
        }
    }

    /// Writes all that is new. If there may be more later, an agent that has no action or does not answer is no error.
    async fn write_new(&mut self, client: &Client, later: bool) -> Result<(), CliError> {
        let mut tails = std::mem::take(&mut self.tails);
        for (tail, lines) in &mut tails {
            let mut room = Room::default();
            loop {
                match tail.look(client).await? {
                    Looked::Piece(piece) => {
                        self.write(tail.stream(), lines, &piece)?;
                        if self.follows || room.takes(piece.view.bytes().len()) {
                            continue;
                        }
                        if !piece.view.ended {
                            let stream = tail.stream().as_str();
                            self.console.say(&format!("({stream} goes on; --follow shows more)"));
                        }
                        break;
                    }
                    Looked::Nothing(_) => break,
                    Looked::NoAction(_) if later => break,
                    Looked::Unknown(_) if later && self.unknown < UNKNOWN_LOOKS => {
                        self.unknown += 1;
                        break;
                    }
                    Looked::Away(error) if later => {
                        if !std::mem::replace(&mut self.told, true) {
                            self.console.say(&format!("{error}; trying again"));
                        }
                        break;
                    }
                    Looked::NoAction(error) | Looked::Unknown(error) | Looked::Away(error) => {
                        return Err(error.into());
                    }
                }
            }
        }
        self.tails = tails;
        Ok(())
    }

    fn write(
        &mut self,
        stream: OutputStream,
        lines: &mut Lines,
        piece: &Piece,
    ) -> Result<(), CliError> {
        let view = &piece.view;
        (self.told, self.unknown) = (false, 0);
        if piece.begins {
            self.write_lines(stream, &lines.rest())?;
        }
        if self.shown.replace(view.action_id).is_some_and(|shown| shown != view.action_id) {
            let (step, attempt) = (&view.step, view.attempt);
            self.console.say(&format!("-- step {step}, attempt {attempt} --"));
        }
        if piece.skipped > 0 {
            let skipped = piece.skipped;
            self.console
                .say(&format!("({skipped} bytes of {} are not kept any more)", view.stream));
        }
        match self.console.format {
            Format::Json => self.console.raw(&to_json_line(view)?),
            Format::Yaml => self.console.raw(&format!("---\n{}", to_yaml(view)?)),
            Format::Table | Format::Wide | Format::Name | Format::Picked => {
                let bytes = view.bytes();
                if self.is_exact(stream) {
                    return self.console.bytes(&bytes);
                }
                self.write_lines(stream, &lines.add(&bytes))
            }
        }
    }

    /// Whether bytes are written as they are. A terminal gets whole lines.
    fn is_exact(&self, stream: OutputStream) -> bool {
        self.goes_to_stdout(stream) && !io::stdout().is_terminal()
    }

    fn goes_to_stdout(&self, stream: OutputStream) -> bool {
        match stream {
            OutputStream::Stdout => true,
            OutputStream::Stderr => self.only_one,
        }
    }

    fn write_lines(&self, stream: OutputStream, lines: &[u8]) -> Result<(), CliError> {
        match (lines.is_empty(), self.goes_to_stdout(stream)) {
            (true, _) => Ok(()),
            (false, true) => self.console.bytes(lines),
            (false, false) => {
                self.console.say_lines(&String::from_utf8_lossy(lines));
                Ok(())
            }
        }
    }

    fn flush(&mut self) -> Result<(), CliError> {
        let mut tails = std::mem::take(&mut self.tails);
        for (tail, lines) in &mut tails {
            self.write_lines(tail.stream(), &lines.rest())?;
        }
        Ok(())
    }
}

/// How much of a stream has been read.
#[derive(Default)]
struct Room {
    read: usize,
}

impl Room {
    /// Whether there is room for more after a piece of so many bytes.
    fn takes(&mut self, bytes: usize) -> bool {
        self.read = self.read.saturating_add(bytes.max(LEAST_PIECE));
        self.read < MAX_AT_ONCE
    }
}

/// Whether a run of this status knows its agents, if it ever will.
fn has_records(status: RunStatus) -> bool {
    !matches!(status, RunStatus::PendingApprove | RunStatus::Pending | RunStatus::Starting)
}

/// Whether nothing more comes of the agent in this run.
async fn is_through(client: &Client, run: RunId, agent: &AgentId) -> Result<bool, CliError> {
    let view = client.run(run).await?;
    if view.status.is_final() || view.set_aside().is_some() {
        return Ok(true);
    }
    Ok(match client.agent(run, agent).await?.state {
        AgentState::Added | AgentState::Pending | AgentState::Running => false,
        // There is a stage after this one in which it may take part.
        AgentState::Done | AgentState::Failed | AgentState::Skipped => {
            usize::from(view.stage_index) + 1 >= view.stages.len()
        }
        AgentState::Removed => true,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_has_an_end_however_much_is_written() {
        for (piece, expected) in [(64 * 1024, 1_024), (LEAST_PIECE, 4_096), (1, 4_096)] {
            let mut room = Room::default();
            let pieces = 1 + (0..10_000).take_while(|_| room.takes(piece)).count();
            assert_eq!(pieces, expected, "{piece} bytes each");
        }
        assert!(!Room::default().takes(MAX_AT_ONCE + 1));
    }
}
