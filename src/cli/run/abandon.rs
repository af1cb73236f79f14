//! `run abandon`: the way out for a run that can't go on.

use tokio::time::{Instant, sleep};

use super::find::find_run;
use super::steer::{ASK_EVERY, MAX_WAIT};
use crate::api::wire::AbandonRun;
use crate::cli::client::Client;
use crate::cli::error::CliError;
use crate::cli::exit::Exit;
use crate::cli::output::Console;
use crate::cli::who::who;

/// Arguments of `run abandon`.
#[derive(Debug, clap::Args)]
pub struct AbandonArgs {
    /// Identifier of the run, 6 or more consecutive digits of it, or `last`
    pub run: String,
    /// Why, for the history of the run
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
    /// Give up even a run that can go on by itself; `run cancel` is better for that, as it waits for actions in
    /// flight
    #[arg(long)]
    pub force: bool,
}

pub(crate) async fn abandon(
    client: &Client,
    args: &AbandonArgs,
    console: &Console,
) -> Result<Exit, CliError> {
    let id = find_run(client, &args.run).await?;
    let request = AbandonRun { reason: args.reason.clone(), actor: who(), force: args.force };
    let mut run = client.abandon_run(id, &request).await?;
    let until = Instant::now() + MAX_WAIT;
    while run.finish_ts.is_none() && Instant::now() < until {
        sleep(ASK_EVERY).await;
        run = client.run(id).await?;
    }
    console.one(&run)?;
    if run.finish_ts.is_none() {
        console.say("the run is given up; a running server will end it");
    } else {
        console.say(
            "nobody told its agents to stop: an action that was out may still be running there",
        );
    }
    Ok(Exit::Ok)
}
