//! `run list`.

use crate::api::wire::{Listing, RunView};
use crate::cli::client::Client;
use crate::cli::error::CliError;
use crate::cli::exit::Exit;
use crate::cli::output::Console;
use crate::cli::page::{PageArgs, say_damaged, say_if_more};
use crate::run::RunStatus;

/// Arguments of `run list`.
#[derive(Debug, clap::Args)]
pub struct List {
    /// Only runs against this cluster
    #[arg(short, long, value_name = "NAME")]
    pub cluster: Option<String>,
    /// Only runs with this status, for example PAUSED
    #[arg(long, value_name = "STATUS")]
    pub status: Option<RunStatus>,
    #[command(flatten)]
    pub page: PageArgs,
}

/// Runs `run list`.
pub(crate) async fn list(
    client: &Client,
    args: &List,
    console: &Console,
) -> Result<Exit, CliError> {
    let runs = client.runs().only("cluster", args.cluster.as_ref()).only("status", args.status);
    let runs: Listing<RunView> = runs.read(args.page.after.clone(), args.page.limit()).await?;
    console.list(&runs.items)?;
    say_damaged(console, &runs.damaged);
    say_if_more(console, runs.next.as_deref());
    Ok(Exit::Ok)
}
