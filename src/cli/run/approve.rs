//! `run approve`: shows what is asked, and approves exactly that.

use super::find::find_run;
use super::steer::{Asked, GoOn, ask, go_on};
use crate::api::wire::RunView;
use crate::cli::client::Client;
use crate::cli::error::CliError;
use crate::cli::exit::Exit;
use crate::cli::output::Console;
use crate::cli::text::counts;
use crate::run::{Asks, Digest, RunStatus, Verb};

/// Arguments of `run approve`.
#[derive(Debug, clap::Args)]
pub struct Approve {
    #[command(flatten)]
    pub go_on: GoOn,
    /// Approve what has this sum, as `describe run` shows it, and nothing else; without it what is asked is shown first
    #[arg(long, value_name = "SUM")]
    pub seen: Option<Digest>,
    /// Do not ask for confirmation
    #[arg(short, long)]
    pub yes: bool,
}

/// Runs `run approve`.
pub(crate) async fn approve(
    client: &Client,
    args: &Approve,
    console: &Console,
) -> Result<Exit, CliError> {
    let run = find_run(client, &args.go_on.steer.run).await?;
    let reason = args.go_on.steer.reason.clone();
    let asked = Asked::new(Verb::Approve, reason);
    if let Some(seen) = &args.seen {
        let asked = Asked { seen: Some(seen.clone()), ..asked };
        return go_on(client, run, &args.go_on, asked, console).await;
    }
    let view = client.run(run).await?;
    // A run that asks nothing refuses it, and says why.
    let Some(asks) = &view.asks else {
        return go_on(client, run, &args.go_on, asked, console).await;
    };
    shown(&view, asks).lines().for_each(|line| console.say(line));
    if console.can_ask && !args.yes && !ask("approve it? [y/N] ")? {
        console.say("not approved");
        return Ok(Exit::Ok);
    }
    let asked = Asked { seen: Some(asks.seen.clone()), ..asked };
    let exit = go_on(client, run, &args.go_on, asked, console).await?;
    if exit == Exit::Ok && !args.go_on.watch {
        say_missing(client, asks, run, console).await;
    }
    Ok(exit)
}

/// What a person approves, on a few lines.
fn shown(run: &RunView, asks: &Asks) -> String {
    let mut lines = vec![format!(
        "run {} of {}@{} on {}: {}",
        run.id, run.playbook, run.version, run.cluster, asks.message
    )];
    if run.status != RunStatus::PendingApprove {
        lines.push(format!("  in stage {}, {}", run.stage, counts(&run.counts)));
    }
    if let Some(by) = &run.started_by {
        lines.push(format!("  started by {by}"));
    }
    if !run.narrowed.is_none() {
        lines.push(format!("  narrower than its playbook: {}", run.narrowed));
    }
    for (name, value) in &run.params {
        lines.push(format!("  {name} = {value}"));
    }
    if asks.has_rules() {
        lines.push(format!("  {}", asks.so_far()));
    }
    lines.push(format!("  sum: {}", asks.seen));
    lines.join("\n")
}

/// Says whose approval is still missing, if the run asks the same as before.
async fn say_missing(client: &Client, asked: &Asks, run: crate::run::RunId, console: &Console) {
    // The approval is given, whether this can be said or not.
    let Ok(view) = client.run(run).await else { return };
    if let Some(asks) = view.asks.filter(|asks| asks.number == asked.number) {
        console.say(&format!("it still waits: {}", asks.so_far()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::sample::{asks, run_view};

    #[test]
    fn what_is_approved_is_shown_with_its_sum_and_who_is_wanted() {
        let mut run = run_view(RunStatus::PendingApprove);
        run.params.insert("grace".to_owned(), 30.into());
        run.started_by = Some("user:id/eve".to_owned());
        let asks = asks();
        let text = shown(&run, &asks);
        assert_eq!(
            text,
            format!(
                "run {} of rolling-restart@1.4.0 on mongo-eu: all well?\n  started by user:id/eve\n  grace = 30\n  \
                 1 of 2 approvals, by user:id/alice; wants group:id/dba or user:id/alice; not by who started the run; \
                 until 2025-11-22T11:00:00Z, then it is cancelled\n  sum: {}",
                run.id, asks.seen
            )
        );
        run.status = RunStatus::Paused;
        assert!(shown(&run, &asks).contains("in stage restart"));
    }
}
