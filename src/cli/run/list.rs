//! `run list`.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::sleep;

use crate::api::wire::{DamagedView, Listing, RunView};
use crate::cli::client::Client;
use crate::cli::endpoints::MAX_PAGE;
use crate::cli::error::{CliError, ClientError};
use crate::cli::exit::Exit;
use crate::cli::get::split_version;
use crate::cli::output::{Console, Row as _};
use crate::cli::page::{PageArgs, say_damaged, say_if_more};
use crate::cli::store::parse_length;
use crate::clock::{Clock as _, SystemClock};
use crate::run::{RunStatus, Timestamp};

/// How often a list that is watched is asked for: no faster than a person reads, and a server bears hundreds
/// who do.
const ASK_EVERY: Duration = Duration::from_secs(2);

/// Runs of the first page where some are left out: mostly the newest ones are meant.
const FIRST_PAGE: usize = 100;

/// Arguments of `run list`.
#[derive(Debug, clap::Args)]
pub struct List {
    /// Only runs against this cluster
    #[arg(short, long, value_name = "NAME")]
    pub cluster: Option<String>,
    /// Only runs with this status, for example PAUSED
    #[arg(long, value_name = "STATUS")]
    pub status: Option<RunStatus>,
    /// Only runs of this playbook
    #[arg(long, value_name = "NAME[@VERSION]")]
    pub playbook: Option<String>,
    /// Only runs that were created since then: a moment such as 2026-11-22T09:00:00Z, or so long ago, such as
    /// 2h or 7d
    #[arg(long, value_name = "TIME", value_parser = parse_since)]
    pub since: Option<Timestamp>,
    /// Go on, and write each run again when it changes, until Ctrl-C
    #[arg(short, long)]
    pub watch: bool,
    #[command(flatten)]
    pub page: PageArgs,
}

/// Reads a moment, or how long ago it was.
fn parse_since(text: &str) -> Result<Timestamp, String> {
    if let Some(length) = parse_length(text) {
        let ago = i64::try_from(length.0).unwrap_or(i64::MAX);
        return Ok(Timestamp::from_millis(SystemClock.now().as_millis().saturating_sub(ago)));
    }
    let expected = "expected a moment such as 2026-11-22T09:00:00Z, or a length of time such as 2h";
    text.parse().map_err(|_| format!("found {text:?}, {expected}"))
}

/// Runs `run list`.
pub(crate) async fn list(
    client: &Client,
    args: &List,
    console: &Console,
) -> Result<Exit, CliError> {
    let found = find(client, args).await?;
    console.list(&found.items)?;
    say_damaged(console, &found.damaged);
    say_if_more(console, found.next.as_deref());
    if !args.watch {
        return Ok(Exit::Ok);
    }
    tokio::select! {
        result = keep_on(client, args, found.items, console) => result,
        // Where Ctrl-C can't be listened for, it ends the process as ever.
        Ok(()) = tokio::signal::ctrl_c() => Ok(Exit::Ok),
    }
}

/// Writes the runs that are new or have changed, again and again.
async fn keep_on(
    client: &Client,
    args: &List,
    shown: Vec<RunView>,
    console: &Console,
) -> Result<Exit, CliError> {
    let mut known: HashMap<_, _> = shown.iter().map(|run| (run.id, run.cells(true))).collect();
    let mut away = false;
    loop {
        sleep(ASK_EVERY).await;
        let found = match find(client, args).await {
            Ok(found) => found,
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
        // The newest one last, as what follows comes below.
        for run in found.items.into_iter().rev() {
            let cells = run.cells(true);
            if known.get(&run.id) != Some(&cells) {
                console.further(&run)?;
                known.insert(run.id, cells);
            }
        }
    }
}

/// The runs that are asked for, newest first.
async fn find(client: &Client, args: &List) -> Result<Listing<RunView>, ClientError> {
    let limit = args.page.limit();
    let runs = client.runs().only("cluster", args.cluster.as_ref()).only("status", args.status);
    let mut after = args.page.after.clone();
    if args.playbook.is_none() && args.since.is_none() {
        return runs.read(after, limit).await;
    }
    // The server knows neither filter; it gives the newest first, so that all is seen where one is too old.
    let (mut items, mut damaged): (Vec<RunView>, Vec<DamagedView>) = (Vec::new(), Vec::new());
    let mut page = FIRST_PAGE.min(limit);
    loop {
        let found: Listing<RunView> = runs.read(after, page).await?;
        let old = |run: &RunView| args.since.is_some_and(|since| run.created_at < since);
        let all_new = !found.items.iter().any(old);
        for run in found.items.into_iter().filter(|run| is_wanted(run, args)) {
            if items.len() == limit {
                let next = items.last().map(|run: &RunView| run.id.to_string());
                return Ok(Listing { items, next, damaged });
            }
            items.push(run);
        }
        damaged.extend(found.damaged);
        after = found.next.filter(|_| all_new);
        if after.is_none() {
            return Ok(Listing { items, next: None, damaged });
        }
        page = MAX_PAGE;
    }
}

fn is_wanted(run: &RunView, args: &List) -> bool {
    let of_playbook = args.playbook.as_deref().is_none_or(|playbook| {
        let (name, version) = split_version(playbook);
        run.playbook == name && version.is_none_or(|version| run.version == version)
    });
    of_playbook && args.since.is_none_or(|since| run.created_at >= since)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::sample::run_view;
    use crate::run::Millis;

    #[test]
    fn a_moment_is_one_or_so_long_ago() {
        let now = SystemClock.now();
        let day_ago = parse_since("1d").unwrap();
        assert!(now.since(day_ago) >= Millis::from_secs(86_400), "{day_ago}");
        assert!(now.since(day_ago) < Millis::from_secs(86_500), "{day_ago}");
        let moment = parse_since("2026-11-22T09:00:00Z").unwrap();
        assert_eq!(moment.to_string(), "2026-11-22T09:00:00.000Z");
        for bad in ["", "yesterday", "2026", "-1d"] {
            assert!(parse_since(bad).unwrap_err().contains("expected a moment"), "{bad}");
        }
    }

    #[test]
    fn runs_are_those_of_the_playbook_and_the_time() {
        let run = run_view(RunStatus::Done);
        let args = |playbook: Option<&str>, since| List {
            cluster: None,
            status: None,
            playbook: playbook.map(str::to_owned),
            since,
            watch: false,
            page: PageArgs { limit: 1, after: None },
        };
        let (at, later) = (run.created_at, run.created_at.plus(Millis(1)));
        for (playbook, since, wanted) in [
            (None, None, true),
            (Some("rolling-restart"), Some(at), true),
            (Some("rolling-restart@1.4.0"), None, true),
            (Some("rolling-restart@1.4.1"), None, false),
            (Some("rolling"), None, false),
            (None, Some(later), false),
        ] {
            assert_eq!(is_wanted(&run, &args(playbook, since)), wanted, "{playbook:?} {since:?}");
        }
    }
}
