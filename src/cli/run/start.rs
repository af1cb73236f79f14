//! `run start`.

use std::path::PathBuf;

use serde_json::{Map, Value};
use uuid::Uuid;

use super::params::parameters;
use super::watch::{again, watch};
use crate::api::wire::{RunView, StartRun};
use crate::cli::client::Client;
use crate::cli::error::{CliError, ClientError};
use crate::cli::exit::Exit;
use crate::cli::output::Console;

/// Arguments of `run start`.
#[derive(Debug, clap::Args)]
pub struct Start {
    /// The playbook; without a version the highest one
    #[arg(value_name = "PLAYBOOK[@VERSION]")]
    pub playbook: String,
    /// The cluster to run against
    #[arg(short, long, value_name = "NAME")]
    pub cluster: String,
    /// Set a parameter; the value is read as YAML, and `a.b=1` sets `b` in the map `a`
    #[arg(short, long = "set", value_name = "KEY=VALUE")]
    pub sets: Vec<String>,
    /// Read parameters from a file, in YAML or JSON; `-` is standard input
    #[arg(short, long, value_name = "FILE")]
    pub params: Option<PathBuf>,
    /// Follow the run, and exit as it ends
    #[arg(short, long)]
    pub watch: bool,
    /// With `--watch`, exit with 0 instead of 10 if no agent was selected
    #[arg(long, requires = "watch")]
    pub allow_nobody: bool,
    /// Start at most one run with this key, however often it is asked for
    #[arg(long, value_name = "KEY")]
    pub idempotency_key: Option<String>,
}

/// Runs `run start`.
pub(crate) async fn start(
    client: &Client,
    args: &Start,
    console: &Console,
) -> Result<Exit, CliError> {
    let params = parameters(args.params.as_deref(), &args.sets)?;
    let key = args.idempotency_key.clone();
    let run = start_run(client, &args.playbook, &args.cluster, params, key).await?;
    if args.watch {
        console.say(&format!("run {} started", run.id));
        let watched = watch(client, run.id, console).await?;
        return Ok(watched.exit.allowing_nobody(args.allow_nobody));
    }
    console.one(&run)?;
    console.say(&format!("follow it: {}", again(client, &format!("run watch {}", run.id))));
    Ok(Exit::Ok)
}

/// Starts a run in the name of whoever is logged in. Without a key one is made up, so that the
/// request may be repeated when its answer is lost.
///
/// # Errors
/// [`ClientError::Refused`] with problems when the parameters do not fit.
pub async fn start_run(
    client: &Client,
    playbook: &str,
    cluster: &str,
    params: Map<String, Value>,
    idempotency_key: Option<String>,
) -> Result<RunView, ClientError> {
    let start = StartRun {
        playbook: playbook.to_owned(),
        cluster: cluster.to_owned(),
        params,
        started_by: who(),
    };
    let key = idempotency_key.unwrap_or_else(|| Uuid::new_v4().to_string());
    client.start_run(&start, &key).await
}

/// Who asks: the name of the login, as far as the environment tells.
pub(crate) fn who() -> Option<String> {
    let variables = ["REPLIBOOK_USER", "USER", "LOGNAME", "USERNAME"];
    let names = variables.iter().filter_map(|variable| std::env::var(variable).ok());
    names.into_iter().find(|name| !name.is_empty())
}
