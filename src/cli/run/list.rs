//! `run list`: lists runs, and with `--watch` goes on with those that change, without asking the server for all
//! runs each time.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use tokio::time::sleep;

use crate::api::wire::{Listing, RunView};
use crate::api::{Code, RUN_ROOTS, SELECTOR};
use crate::cli::choose::ChooseArgs;
use crate::cli::client::Client;
use crate::cli::closed::while_read;
use crate::cli::endpoints::{MAX_PAGE, Pages};
use crate::cli::error::{CliError, ClientError};
use crate::cli::exit::Exit;
use crate::cli::output::{Console, Growing, Row as _};
use crate::cli::page::{PageArgs, say_damaged, say_if_more};
use crate::clock::{Clock as _, SystemClock};
use crate::playbook::{LENGTH_EXPECTED, MAX_LENGTH};
use crate::run::{Millis, RunId, RunStatus, Timestamp};

/// How often a watched list is refreshed: no faster than a person reads, and slowly enough for a server with
/// hundreds of readers.
const ASK_EVERY: Duration = Duration::from_secs(2);

/// Runs of the first page when only new ones are looked for.
const NEW_PAGE: usize = 20;

/// The most runs that a watched list follows: nobody looks at more, and they are ten full pages of the server.
const MAX_LIVE: usize = 10_000;

/// The filters that older servers don't know.
const PLAYBOOK: &str = "playbook";
const SINCE: &str = "since";

/// The most runs that are asked for one by one in each round: those that have ended since the last round.
const MAX_ASKED: usize = 50;

/// Arguments of `run list`.
#[derive(Debug, clap::Args)]
pub struct List {
    /// Only runs against this cluster
    #[arg(short, long, value_name = "NAME")]
    pub cluster: Option<String>,
    /// Only runs with this status, for example PAUSED, or with one of several: PAUSED,RUNNING
    #[arg(long, value_name = "STATUS", value_delimiter = ',')]
    pub status: Vec<RunStatus>,
    /// Only runs of this playbook
    #[arg(long, value_name = "NAME[@VERSION]")]
    pub playbook: Option<String>,
    /// Only runs that were created since a time such as 2026-11-22T09:00:00Z, a day such as 2026-11-22 (in
    /// UTC), or a length of time ago, such as 2h or 7d
    #[arg(long, value_name = "TIME", value_parser = parse_since)]
    pub since: Option<Timestamp>,
    /// Keep watching, and write each run again when it changes, until Ctrl-C
    #[arg(short, long, conflicts_with_all = ["selector", "sort_by"])]
    pub watch: bool,
    #[command(flatten)]
    pub choose: ChooseArgs,
    #[command(flatten)]
    pub page: PageArgs,
}

/// Reads a time, or how long ago it was.
fn parse_since(text: &str) -> Result<Timestamp, String> {
    if let Ok(length) = text.parse::<Millis>() {
        let ago = i64::try_from(length.0).unwrap_or(i64::MAX);
        return Ok(Timestamp::from_millis(SystemClock.now().as_millis().saturating_sub(ago)));
    }
    if let Ok(moment) = text.parse() {
        return Ok(moment);
    }
    let day = text.parse::<jiff::civil::Date>().ok();
    let midnight = day.and_then(|day| format!("{day}T00:00:00Z").parse().ok());
    midnight.ok_or_else(|| {
        format!(
            "found {text:?}, expected a moment such as 2026-11-22T09:00:00Z, a day such as 2026-11-22, or \
             {LENGTH_EXPECTED}, of at most {MAX_LENGTH}"
        )
    })
}

pub(crate) async fn list(
    client: &Client,
    args: &List,
    console: &Console,
) -> Result<Exit, CliError> {
    args.choose.check(&RUN_ROOTS, console)?;
    // Fetched before the list, so that no run is missed between the two.
    let live =
        if args.watch { Some(live(client, args).await.map_err(of_older_server)?) } else { None };
    let found = find(client, args, console).await?;
    let growing = match &live {
        Some(_) => Some(console.begin(&found.items)?),
        None => console.list(&found.items).map(|()| None)?,
    };
    say_damaged(console, &found.damaged);
    say_if_more(console, found.next.as_deref());
    let (Some(live), Some(growing)) = (live, growing) else { return Ok(Exit::Ok) };
    let watched = Watched::new(args, growing, &found.items, &live);
    tokio::select! {
        done = while_read(keep_on(client, watched, console)) => {
            Ok(done?.unwrap_or(Exit::Interrupted))
        }
        // If Ctrl-C can't be listened for, it ends the process as usual.
        Ok(()) = tokio::signal::ctrl_c() => Ok(Exit::Ok),
    }
}

/// Writes runs that are new or have changed, until it fails.
async fn keep_on(
    client: &Client,
    mut watched: Watched<'_>,
    console: &Console,
) -> Result<Exit, CliError> {
    let mut away = false;
    loop {
        sleep(ASK_EVERY).await;
        let runs = match watched.look(client).await {
            Ok(runs) => runs,
            Err(error) if error.retryable() => {
                if !std::mem::replace(&mut away, true) {
                    console.say(&format!("connection lost ({error}); trying again"));
                }
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        if std::mem::replace(&mut away, false) {
            console.say("connected again");
        }
        runs.iter().try_for_each(|run| watched.tell(run))?;
    }
}

/// The state of a watched list.
struct Watched<'a> {
    args: &'a List,
    growing: Growing<'a>,
    /// The runs that were written, each with the cells as they were then.
    written: HashMap<RunId, Vec<String>>,
    /// The runs that were beyond the limit when the list began.
    left_out: HashSet<RunId>,
    /// The runs that had not ended at the last look.
    live: HashSet<RunId>,
    /// The newest run at the last look.
    newest: Option<RunId>,
}

impl<'a> Watched<'a> {
    fn new(args: &'a List, growing: Growing<'a>, listed: &[RunView], live: &[RunView]) -> Self {
        let written: HashMap<_, _> = listed.iter().map(|run| (run.id, run.cells(true))).collect();
        let of_others = |run: &&RunView| !written.contains_key(&run.id) && has_status(run, args);
        let left_out = live.iter().filter(of_others).map(|run| run.id).collect();
        let newest = listed.iter().chain(live).map(|run| run.id).max();
        let live = listed.iter().chain(live).filter(|run| !run.status.is_final());
        Self { args, growing, left_out, live: live.map(|run| run.id).collect(), newest, written }
    }

    /// The runs that may have changed: those that have not ended, those that are new, and those that have ended
    /// since the last look. The newest one is last, since further lines come below.
    async fn look(&mut self, client: &Client) -> Result<Vec<RunView>, ClientError> {
        let going = live(client, self.args).await?;
        let new = self.new_ones(client).await?;
        let mut runs: HashMap<RunId, RunView> =
            new.into_iter().chain(going).map(|run| (run.id, run)).collect();
        let mut ended: Vec<RunId> =
            self.live.iter().copied().filter(|id| !runs.contains_key(id)).collect();
        ended.sort();
        let later = ended.split_off(ended.len().min(MAX_ASKED));
        for id in ended {
            match client.run(id).await {
                Ok(run) => drop(runs.insert(id, run)),
                // The run has expired in the meantime.
                Err(ClientError::Refused(problem)) if problem.status == 404 => {}
                Err(error) => return Err(error),
            }
        }
        let still = runs.values().filter(|run| !run.status.is_final()).map(|run| run.id);
        self.live = still.chain(later).collect();
        self.newest = runs.keys().copied().chain(self.newest).max();
        let mut runs: Vec<RunView> = runs.into_values().collect();
        runs.sort_by_key(|run| run.id);
        Ok(runs)
    }

    /// The runs that were created since the last look.
    async fn new_ones(&self, client: &Client) -> Result<Vec<RunView>, ClientError> {
        let (mut new, mut after, mut page) = (Vec::new(), None, NEW_PAGE);
        while new.len() < MAX_LIVE {
            let found: Listing<RunView> = wanted(client, self.args).read(after, page).await?;
            let is_new = |run: &RunView| self.newest.is_none_or(|newest| run.id > newest);
            let all_new = found.items.iter().all(is_new);
            new.extend(found.items.into_iter().filter(is_new));
            after = found.next.filter(|_| all_new);
            if after.is_none() {
                break;
            }
            page = MAX_PAGE;
        }
        Ok(new)
    }

    /// Writes a run if it belongs to the list, or did so before, and has changed.
    fn tell(&mut self, run: &RunView) -> Result<(), CliError> {
        let is_listed = self.written.contains_key(&run.id)
            || (has_status(run, self.args) && !self.left_out.contains(&run.id));
        let cells = run.cells(true);
        if is_listed && self.written.get(&run.id) != Some(&cells) {
            self.growing.add(run)?;
            self.written.insert(run.id, cells);
        }
        Ok(())
    }
}

/// The runs that the arguments ask for, whatever their status.
fn wanted<'c>(client: &'c Client, args: &List) -> Pages<'c> {
    let runs = client.runs().only("cluster", args.cluster.as_ref());
    runs.only(PLAYBOOK, args.playbook.as_ref()).only(SINCE, args.since)
}

/// All of these runs that have not ended, whatever `--status` says.
async fn live(client: &Client, args: &List) -> Result<Vec<RunView>, ClientError> {
    let going = RunStatus::ALL.into_iter().filter(|status| !status.is_final());
    let going = going.map(RunStatus::as_str).collect::<Vec<_>>().join(",");
    let going = wanted(client, args).only("status", Some(going));
    let found: Listing<RunView> = going.read(None, MAX_LIVE).await?;
    Ok(found.items)
}

/// The runs that the arguments ask for, newest first.
async fn find(
    client: &Client,
    args: &List,
    console: &Console,
) -> Result<Listing<RunView>, CliError> {
    let statuses = args.status.iter().map(|status| status.as_str()).collect::<Vec<_>>().join(",");
    let statuses = Some(statuses).filter(|statuses| !statuses.is_empty());
    let runs = wanted(client, args).only("status", statuses);
    match args.choose.read(runs, &args.page, console).await {
        Err(CliError::Client(error)) => Err(of_older_server(error)),
        found => found,
    }
}

/// A message for an older server, which refuses a filter that it does not know and never ignores one.
fn of_older_server(error: ClientError) -> CliError {
    let refused = match &error {
        ClientError::Refused(problem) if problem.code == Code::BadParameter.as_str() => problem,
        ClientError::Refused(_)
        | ClientError::Address { .. }
        | ClientError::Unreachable { .. }
        | ClientError::Malformed { .. }
        | ClientError::TooLarge { .. } => return error.into(),
    };
    let unknown = |name: &&str| refused.detail.starts_with(&format!("query: found \"{name}\""));
    match [PLAYBOOK, SINCE, SELECTOR].into_iter().find(unknown) {
        Some(name) => CliError::Unfit(format!(
            "the server does not know --{name}: it is older than this replictl. Update the server, or omit --{name}"
        )),
        None => error.into(),
    }
}

fn has_status(run: &RunView, args: &List) -> bool {
    args.status.is_empty() || args.status.contains(&run.status)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::wire::ProblemDetails;

    #[test]
    fn a_moment_is_one_or_so_long_ago() {
        let (before, day) = (SystemClock.now(), Millis::from_secs(86_400));
        let day_ago = parse_since("1d").unwrap();
        let after = SystemClock.now();
        assert!(before.since(day_ago) <= day && after.since(day_ago) >= day, "{day_ago}");
        let moment = parse_since("2026-11-22T09:00:00Z").unwrap();
        assert_eq!(moment.to_string(), "2026-11-22T09:00:00.000Z");
        let day = parse_since("2026-11-29").unwrap();
        assert_eq!(day.to_string(), "2026-11-29T00:00:00.000Z");
        for bad in ["", "yesterday", "2026", "-1d", "2026-02-30"] {
            assert!(parse_since(bad).unwrap_err().contains("expected a moment"), "{bad}");
        }
    }

    #[test]
    fn a_server_that_does_not_know_a_filter_is_said_to_be_older() {
        let refused = |detail: &str| {
            ClientError::Refused(Box::new(ProblemDetails {
                kind: "about:blank".to_owned(),
                title: "Bad Request".to_owned(),
                status: 400,
                detail: detail.to_owned(),
                code: Code::BadParameter.as_str().to_owned(),
                problems: Vec::new(),
                documents: Vec::new(),
            }))
        };
        let detail = "query: found \"since\", expected one of cluster, status, after, limit";
        let said = of_older_server(refused(detail)).to_string();
        assert!(said.starts_with("the server does not know --since: it is older"), "{said}");
        let detail = "query parameter `playbook`: found \"a@b\"";
        assert_eq!(of_older_server(refused(detail)).to_string(), detail);
    }
}
