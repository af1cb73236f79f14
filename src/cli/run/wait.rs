//! `run wait`: waits until a run has a status that was asked for, or has ended, so that a script can go on then. Unlike
//! `run watch` it shows no progress, and goes on waiting when the run waits for a person.

use std::time::Duration;

use futures::StreamExt;
use tokio::time::{Instant, sleep_until};

use super::find::find_run;
use super::next::say_why;
use crate::api::wire::RunView;
use crate::cli::client::Client;
use crate::cli::closed::while_read;
use crate::cli::error::{CliError, ClientError};
use crate::cli::exit::Exit;
use crate::cli::feed::{FeedLimits, Update, follow_after};
use crate::cli::output::Console;
use crate::run::{Happened, Millis, RunEvent, RunId, RunStatus, Timestamp};

/// How often to look at the run while no event comes: events alone do not show that a run can't go on at all.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Arguments of `run wait`.
#[derive(Debug, clap::Args)]
pub struct Wait {
    /// Identifier of the run, 6 or more consecutive digits of it, or `last`
    pub run: String,
    /// Wait for this status, or for one of several: DONE,PAUSED; without it, until the run has ended
    #[arg(long = "for", value_name = "STATUS", value_delimiter = ',')]
    pub statuses: Vec<RunStatus>,
    /// Wait at most this long, for example 10m; without it, as long as it takes
    #[arg(long, value_name = "LENGTH")]
    pub timeout: Option<Millis>,
    /// Exit with 0 instead of 10 if no agent was selected
    #[arg(long)]
    pub allow_nobody: bool,
}

/// How the wait ended.
enum Waited {
    /// The run has or had a wanted status, or has ended.
    Came(Box<RunView>, Exit),
    TimedOut,
    Interrupted,
}

pub(crate) async fn wait(
    client: &Client,
    args: &Wait,
    console: &Console,
) -> Result<Exit, CliError> {
    let run = find_run(client, &args.run).await?;
    let waited = tokio::select! {
        done = while_read(until(client, run, &args.statuses, console)) => match done? {
            Some((view, exit)) => Waited::Came(view, exit),
            None => Waited::Interrupted,
        },
        () = over(args.timeout) => Waited::TimedOut,
        // If Ctrl-C can't be listened for, it ends the process as usual.
        Ok(()) = tokio::signal::ctrl_c() => Waited::Interrupted,
    };
    match waited {
        Waited::Came(view, exit) => {
            console.one(&*view)?;
            Ok(exit.allowing_nobody(args.allow_nobody))
        }
        Waited::TimedOut => {
            let wanted = words(&args.statuses);
            let timeout = args.timeout.unwrap_or_default();
            console.say(&format!("run {run} did not {wanted} within {timeout}"));
            Ok(Exit::TimedOut)
        }
        Waited::Interrupted => {
            console.say(&format!("stopped waiting; run {run} goes on"));
            Ok(Exit::Interrupted)
        }
    }
}

/// Returns after the time, or never.
async fn over(timeout: Option<Millis>) {
    match timeout {
        Some(timeout) => sleep_until(Instant::now() + timeout.to_std()).await,
        None => std::future::pending().await,
    }
}

/// What is waited for, after "did not".
fn words(statuses: &[RunStatus]) -> String {
    match statuses {
        [] => "end".to_owned(),
        [status] => format!("become {status}"),
        several => {
            let names = several.iter().map(ToString::to_string).collect::<Vec<_>>();
            format!("become one of {}", names.join(", "))
        }
    }
}

/// Waits until the run has one of the statuses, or has ended. Returns its last known view and the exit code.
///
/// # Flow
/// The run is looked at first; after that the events count that are not in that view, so that no status is missed. Lost connections
/// are made again, for at most [`MAX_AWAY`](crate::cli::MAX_AWAY).
async fn until(
    client: &Client,
    run: RunId,
    statuses: &[RunStatus],
    console: &Console,
) -> Result<(Box<RunView>, Exit), CliError> {
    let mut view = Box::new(client.run(run).await?);
    let seen = Seen { last_event: view.last_event, since: view.since };
    let mut told = None;
    let feed = follow_after(client.clone(), run, seen.last_event, FeedLimits::default());
    let mut feed = std::pin::pin!(feed);
    loop {
        if let Some(exit) = exit_of(&view, statuses, console) {
            return Ok((view, exit));
        }
        say_if_it_waits(client, &view, &mut told, console).await;
        let look_at = Instant::now() + LOOK_EVERY;
        loop {
            tokio::select! {
                update = feed.next() => match update {
                    Some(Ok(Update::Event(event))) => match came(&event, seen, statuses) {
                        Came::Wanted => return Ok((look(client, view).await?, Exit::Ok)),
                        Came::Status => break,
                        Came::Other => {}
                    },
                    Some(Ok(Update::Lost { message })) => {
                        console.say(&format!("connection lost ({message}); trying again"));
                    }
                    Some(Ok(Update::Back)) => console.say("connected again"),
                    Some(Ok(Update::Ended(ended))) => {
                        let exit = exit_of(&ended, statuses, console).unwrap_or(Exit::Ok);
                        return Ok((ended, exit));
                    }
                    Some(Err(error)) => return Err(error.into()),
                    None => {
                        sleep_until(look_at).await;
                        break;
                    }
                },
                () = sleep_until(look_at) => break,
            }
        }
        view = look(client, view).await?;
    }
}

/// How far the history was when the wait began.
#[derive(Clone, Copy, Debug)]
struct Seen {
    /// Sequence of the last event. Earlier servers don't say it (0), and then the time decides.
    last_event: u64,
    since: Timestamp,
}

impl Seen {
    fn has(self, event: &RunEvent) -> bool {
        match self.last_event {
            0 => event.at <= self.since,
            last => event.seq <= last,
        }
    }
}

/// What an event means for the wait.
enum Came {
    /// The run has got a wanted status.
    Wanted,
    /// The run has another status.
    Status,
    /// Something else happened, or something before the wait began.
    Other,
}

fn came(event: &RunEvent, seen: Seen, statuses: &[RunStatus]) -> Came {
    match status_of(event).filter(|_| !seen.has(event)) {
        // How a run ended is in its last view.
        Some(status) if statuses.contains(&status) && !status.is_final() => Came::Wanted,
        Some(_) => Came::Status,
        None => Came::Other,
    }
}

/// The status that the run has after an event, if the event changes it.
const fn status_of(event: &RunEvent) -> Option<RunStatus> {
    if let Happened::Status { to, .. } = &event.what { Some(*to) } else { None }
}

/// The run as it is now, or as it was last known if the server is away. The feed reports that, and decides when to give up.
async fn look(client: &Client, known: Box<RunView>) -> Result<Box<RunView>, ClientError> {
    match client.run(known.id).await {
        Ok(view) => Ok(Box::new(view)),
        Err(error) if error.retryable() => Ok(known),
        Err(error) => Err(error),
    }
}

/// The exit code if the wait is over with this view.
fn exit_of(view: &RunView, statuses: &[RunStatus], console: &Console) -> Option<Exit> {
    let is_wanted = statuses.contains(&view.status);
    if !view.status.is_final() {
        return is_wanted.then_some(Exit::Ok);
    }
    let of_end = Exit::of_run(view).unwrap_or(Exit::Ok);
    if statuses.is_empty() || (is_wanted && view.status == RunStatus::Done) {
        return Some(of_end);
    }
    if is_wanted {
        return Some(Exit::Ok);
    }
    console.say(&format!(
        "run {} is {}, and will not {} any more",
        view.id,
        view.status,
        words(statuses)
    ));
    Some(if of_end == Exit::Ok { Exit::NotFound } else { of_end })
}

/// Says how a run that waits for a person can go on, once for each such wait.
async fn say_if_it_waits(
    client: &Client,
    view: &RunView,
    told: &mut Option<Timestamp>,
    console: &Console,
) {
    let Some(exit) = Exit::of_run(view).filter(|_| *told != Some(view.since)) else { return };
    if say_why(client, view, exit, console).await {
        *told = Some(view.since);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::Format;
    use crate::cli::sample::run_view;

    #[test]
    fn the_exit_code_says_whether_the_run_is_as_was_asked() {
        let console = Console::of_process(Format::Table);
        use RunStatus::{Cancelled, Done, Failed, Paused, Pending, Running};
        for (status, wanted, expected) in [
            (Running, &[][..], None),
            (Running, &[Done][..], None),
            (Running, &[Running, Done], Some(0)),
            (Paused, &[Paused], Some(0)),
            (Paused, &[Done], None),
            (Done, &[], Some(0)),
            (Done, &[Done], Some(0)),
            (Failed, &[], Some(1)),
            (Failed, &[Done], Some(1)),
            (Failed, &[Failed], Some(0)),
            (Cancelled, &[Done, Failed], Some(7)),
            (Done, &[Failed], Some(4)),
            (Done, &[Pending], Some(4)),
        ] {
            let exit = exit_of(&run_view(status), wanted, &console);
            assert_eq!(exit.map(Exit::code), expected, "{status} {wanted:?}");
        }
        let mut nobody = run_view(Done);
        nobody.nobody = true;
        assert_eq!(exit_of(&nobody, &[Done], &console), Some(Exit::Nobody));
        assert_eq!(words(&[]), "end");
        assert_eq!(words(&[Done, Paused]), "become one of DONE, PAUSED");
    }

    #[test]
    fn a_status_of_the_same_millisecond_is_not_missed() {
        let since = crate::cli::sample::moment();
        let event = |seq| {
            let (from, to) = (Some(RunStatus::Running), RunStatus::Paused);
            let what = Happened::Status { from, to, reason: None };
            let run = run_view(RunStatus::Running).id;
            RunEvent { run, seq, at: since, actor: None, what, finish_ts: None }
        };
        let came = |seq, last_event| {
            let came = came(&event(seq), Seen { last_event, since }, &[RunStatus::Paused]);
            matches!(came, Came::Wanted)
        };
        assert!(came(8, 7) && !came(7, 7) && !came(3, 7));
        // Of an earlier server only the time is known.
        assert!(!came(8, 0));
    }
}
