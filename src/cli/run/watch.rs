//! `run watch`: follows a run until there is nothing more to wait for. When that is depends on who waits: a
//! person can act, a script must not hang.

use std::time::Duration;

use futures::StreamExt;
use tokio::time::{Instant, sleep_until};

use super::agents::print_agents;
use super::find::find_run;
use super::next::{say_how_it_is, say_interrupted, say_why};
use super::why::{explain, paragraph};
use crate::api::wire::RunView;
use crate::cli::client::Client;
use crate::cli::closed::while_read;
use crate::cli::error::{CliError, ClientError};
use crate::cli::exit::Exit;
use crate::cli::feed::{FeedLimits, Update, follow};
use crate::cli::output::Console;
use crate::cli::progress::Progress;
use crate::run::{AgentState, FIRST_REST, Happened, RunId, Timestamp};

/// How long after an event the run is looked at: many events that come together then cost one look.
const LOOK_AFTER: Duration = Duration::from_millis(200);

/// How often the run is looked at while nothing happens: not everything that is shown has an event.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// How long a watch stays with a paused run until the agents that have started are through. A longer wait would
/// keep a script from learning of the pause.
pub(crate) const MAX_SETTLING: Duration = Duration::from_secs(10);

/// How long a watch stays with a run that can't go on and in which nothing happens. Longer than the engine
/// rests before it tries the run again ([`FIRST_REST`]), since a passing problem is over by that try.
pub(crate) const MAX_TROUBLED: Duration = Duration::from_millis(FIRST_REST.0 + 5_000);

/// How long the last events may take to arrive once the run is known to have ended.
const MAX_LAST_EVENTS: Duration = Duration::from_secs(2);

/// How a command that starts a run, or lets one go on, follows it.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Follow {
    /// With `--watch`, exit with 0 instead of 10 if no agent was selected
    #[arg(long, requires = "watch")]
    pub allow_nobody: bool,
    /// With `--watch`, stop at a pause (exit code 9) or when approval is needed (exit code 6), even on a
    /// terminal
    #[arg(long, requires = "watch", conflicts_with = "until_end")]
    pub until_pause: bool,
    /// With `--watch`, go on until the run ends, even in a script: somebody else has to continue it after a
    /// pause
    #[arg(long, requires = "watch")]
    pub until_end: bool,
}

impl Follow {
    /// Follows a run, without showing what happened until `after`.
    pub(crate) async fn watch(
        self,
        client: &Client,
        run: RunId,
        after: Option<Timestamp>,
        console: &Console,
    ) -> Result<Exit, CliError> {
        let stay = Stay { until_pause: self.until_pause, until_end: self.until_end };
        let watched = watch_until(client, run, stay, after, console).await?;
        Ok(watched.exit.allowing_nobody(self.allow_nobody))
    }
}

/// Whether a watch stays with a run that waits for a person.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub struct Stay {
    /// Stop at a pause (exit code 9) or when approval is needed (exit code 6), even on a terminal
    #[arg(long, conflicts_with = "until_end")]
    pub until_pause: bool,
    /// Go on until the run ends, even in a script: somebody else has to continue it after a pause
    #[arg(long)]
    pub until_end: bool,
}

impl Stay {
    /// Whether the watch goes on until the run ends. A person who watches is shown how to let the run go on; a
    /// script would wait for something that nobody does.
    const fn is_to_the_end(self, console: &Console) -> bool {
        self.until_end || (console.can_ask && !self.until_pause)
    }
}

/// How long a watch waits in which situation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// Whether it stays with a run that waits for a person.
    pub to_the_end: bool,
    /// With a paused run: [`MAX_SETTLING`].
    pub settling: Duration,
    /// With a run that can't go on: [`MAX_TROUBLED`].
    pub troubled: Duration,
    /// For the last events: [`MAX_LAST_EVENTS`].
    pub last_events: Duration,
    /// For a silent stream, and for the server to come back.
    pub feed: FeedLimits,
}

impl Default for Patience {
    fn default() -> Self {
        let feed = FeedLimits::default();
        let (settling, troubled) = (MAX_SETTLING, MAX_TROUBLED);
        Self { to_the_end: false, settling, troubled, last_events: MAX_LAST_EVENTS, feed }
    }
}

/// Arguments of `run watch`.
#[derive(Debug, clap::Args)]
pub struct Watch {
    /// Identifier of the run, 6 or more consecutive digits of it, or `last`
    pub run: String,
    /// Exit with 0 instead of 10 if no agent was selected
    #[arg(long)]
    pub allow_nobody: bool,
    #[command(flatten)]
    pub stay: Stay,
}

/// The result of a watch.
#[derive(Clone, Debug)]
pub struct Watched {
    /// The last known view of the run.
    pub run: RunView,
    /// The exit code for that state.
    pub exit: Exit,
}

/// Runs `run watch`.
pub(crate) async fn watch_command(
    client: &Client,
    args: &Watch,
    console: &Console,
) -> Result<Exit, CliError> {
    let run = find_run(client, &args.run).await?;
    let watched = watch_until(client, run, args.stay, None, console).await?;
    Ok(watched.exit.allowing_nobody(args.allow_nobody))
}

/// Follows a run with live progress, until it ends, pauses, waits for approval or can't go on, or a person
/// presses Ctrl-C. At the end it writes the table of the agents, and says what to type next if the run waits
/// for somebody.
///
/// Lost connections are made anew, for at most [`MAX_AWAY`](crate::cli::MAX_AWAY). When nobody reads the output
/// any more, the watch ends.
///
/// # Errors
/// Those of every request.
pub async fn watch(client: &Client, run: RunId, console: &Console) -> Result<Watched, CliError> {
    let stay = Stay { until_pause: true, until_end: false };
    watch_until(client, run, stay, None, console).await
}

/// Follows a run like [`watch`], but stops as `stay` says, and does not show what happened until `after`.
async fn watch_until(
    client: &Client,
    run: RunId,
    stay: Stay,
    after: Option<Timestamp>,
    console: &Console,
) -> Result<Watched, CliError> {
    let show = async |view: &RunView| print_agents(client, view, console).await;
    watch_and_show(client, (run, stay, after), console, show).await
}

/// Follows a run like [`watch_until`], and shows at the end by `show` what became of its agents.
pub(crate) async fn watch_and_show(
    client: &Client,
    (run, stay, after): (RunId, Stay, Option<Timestamp>),
    console: &Console,
    show: impl AsyncFnOnce(&RunView) -> Result<(), CliError>,
) -> Result<Watched, CliError> {
    let mut view = client.run(run).await?;
    let mut progress = Progress::new(console).after(after);
    let to_the_end = stay.is_to_the_end(console);
    let patience = Patience { to_the_end, ..Patience::default() };
    let interrupted = tokio::select! {
        done = while_read(observe(client, &mut view, &mut progress, patience)) => {
            done.map(|done| done.map(|()| false))
        }
        // If Ctrl-C can't be listened for, it ends the process as usual.
        Ok(()) = tokio::signal::ctrl_c() => Ok(Some(true)),
    };
    progress.end();
    let Some(interrupted) = interrupted? else {
        return Ok(Watched { run: view, exit: Exit::Interrupted });
    };
    if interrupted {
        // For a run that can't go on, this says what it needs.
        if view.set_aside().is_none() || !say_why(client, &view, Exit::Paused, console).await {
            say_interrupted(client, &view, console);
        }
        return Ok(Watched { run: view, exit: Exit::Interrupted });
    }
    show(&view).await?;
    let exit = Exit::of_run(&view).unwrap_or(Exit::Interrupted);
    if !say_why(client, &view, exit, console).await {
        say_how_it_is(client, &view, exit, console);
    }
    Ok(Watched { run: view, exit })
}

/// Follows the run until there is nothing more to wait for. Leaves the last known view of the run in `view`.
pub(crate) async fn observe(
    client: &Client,
    view: &mut RunView,
    progress: &mut Progress,
    patience: Patience,
) -> Result<(), CliError> {
    progress.show(view);
    let mut told = None;
    say_if_it_waits(client, view, progress, patience, &mut told).await;
    let mut leave_by = match patience.with(view) {
        None => None,
        Some(Duration::ZERO) => return Ok(()),
        Some(_) if view.status.is_final() => return Ok(()),
        Some(patience) => Some(Instant::now() + patience),
    };
    let mut look_at = Instant::now() + LOOK_EVERY;
    let mut feed = std::pin::pin!(follow(client.clone(), view.id, patience.feed));
    loop {
        tokio::select! {
            update = feed.next() => match update {
                Some(Ok(Update::Event(event))) => {
                    progress.event(&event);
                    if view.set_aside().is_some() {
                        // The event is old, or the run goes on: its present state is looked at again.
                        leave_by = None;
                    }
                    let urgent = matches!(event.what, Happened::Status { .. });
                    let wait = if urgent { Duration::ZERO } else { LOOK_AFTER };
                    look_at = look_at.min(Instant::now() + wait);
                }
                Some(Ok(Update::Lost { message })) => {
                    progress.say(&format!("connection lost ({message}); trying again"));
                }
                Some(Ok(Update::Back)) => progress.say("connected again"),
                Some(Ok(Update::Ended(ended))) => {
                    *view = *ended;
                    return Ok(());
                }
                Some(Err(error)) => return Err(error.into()),
                None => return Ok(()),
            },
            () = sleep_until(look_at) => {
                look_at = Instant::now() + LOOK_EVERY;
                // While the server is away, the feed reports that and decides when to give up.
                if !look(client, view).await? {
                    continue;
                }
                progress.show(view);
                say_if_it_waits(client, view, progress, patience, &mut told).await;
                leave_by = match patience.with(view) {
                    None => None,
                    Some(Duration::ZERO) => return Ok(()),
                    Some(patience) => Some(leave_by.unwrap_or(Instant::now() + patience)),
                };
            }
            () = at(leave_by) => {
                look(client, view).await?;
                if patience.with(view).is_some() {
                    return Ok(());
                }
                // The run goes on by now.
                leave_by = None;
            }
        }
    }
}

/// Says how a run that waits for a person can go on, once each time that it waits.
async fn say_if_it_waits(
    client: &Client,
    run: &RunView,
    progress: &Progress,
    patience: Patience,
    told: &mut Option<Timestamp>,
) {
    let waits = patience.stays_with(run) && Exit::of_run(run).is_some();
    if !waits || *told == Some(run.since) {
        return;
    }
    match explain(client, run.id).await {
        Ok(Some(why)) if why.since == run.since => {
            progress.say_lines(paragraph(client, &why, progress.message_room()).trim_end());
        }
        Ok(None) => progress.say(&format!(
            "the run is {}; `replictl describe run {}` says why",
            run.status, run.id
        )),
        // The explanation is from before the pause, or there is none: the next look will tell.
        Ok(Some(_)) | Err(_) => return,
    }
    *told = Some(run.since);
}

impl Patience {
    /// Whether the watch stays with the run until its end, even while it waits for a person.
    fn stays_with(self, run: &RunView) -> bool {
        self.to_the_end && !run.status.is_final() && run.set_aside().is_none()
    }

    /// How long to stay with a run that does not go on by itself; `None` if it does, or if the watch stays to
    /// the end.
    fn with(self, run: &RunView) -> Option<Duration> {
        Exit::of_run(run)?;
        if self.stays_with(run) {
            return None;
        }
        let in_flight = run.counts.get(&AgentState::Running).is_some_and(|count| *count > 0);
        if run.status.is_final() {
            Some(self.last_events)
        } else if run.set_aside().is_some() {
            Some(self.troubled)
        } else if in_flight {
            Some(self.settling)
        } else {
            Some(Duration::ZERO)
        }
    }
}

/// Looks at the run and updates `view`; false when the server is away.
async fn look(client: &Client, view: &mut RunView) -> Result<bool, ClientError> {
    match client.run(view.id).await {
        Ok(now) => {
            *view = now;
            Ok(true)
        }
        Err(error) if error.retryable() => Ok(false),
        Err(error) => Err(error),
    }
}

async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::sample::{run_view, trouble};
    use crate::run::RunStatus;

    #[test]
    fn a_person_watches_to_the_end_and_a_script_until_a_pause() {
        let mut console = Console::of_process(Default::default());
        for (can_ask, until_pause, until_end, expected) in [
            (true, false, false, true),
            (true, true, false, false),
            (false, false, false, false),
            (false, false, true, true),
        ] {
            console.can_ask = can_ask;
            assert_eq!(Stay { until_pause, until_end }.is_to_the_end(&console), expected);
        }
        let patience = Patience { to_the_end: true, ..Patience::default() };
        assert_eq!(patience.with(&run_view(RunStatus::Paused)), None);
        assert_eq!(patience.with(&run_view(RunStatus::Done)), Some(MAX_LAST_EVENTS));
        let mut ill = run_view(RunStatus::Running);
        ill.trouble = Some(trouble(None));
        assert_eq!(patience.with(&ill), Some(MAX_TROUBLED), "nobody mends it by resuming it");
    }

    fn patience(run: &RunView) -> Option<Duration> {
        Patience::default().with(run)
    }

    #[test]
    fn a_watch_stays_while_the_run_goes_on_or_settles() {
        for status in [RunStatus::Pending, RunStatus::Running, RunStatus::Finishing] {
            assert_eq!(patience(&run_view(status)), None, "{status}");
        }
        let mut paused = run_view(RunStatus::Paused);
        assert_eq!(patience(&paused), Some(Duration::ZERO));
        paused.counts.insert(AgentState::Running, 1);
        assert_eq!(patience(&paused), Some(MAX_SETTLING));
        assert_eq!(patience(&run_view(RunStatus::Done)), Some(MAX_LAST_EVENTS));
        let mut ill = run_view(RunStatus::Running);
        ill.trouble = Some(trouble(None));
        assert_eq!(patience(&ill), Some(MAX_TROUBLED));
        ill.trouble = Some(trouble(Some("ann")));
        assert_eq!(patience(&ill), None, "it is about to end");
    }
}
