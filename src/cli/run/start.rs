//! `run start`: starts a run, and follows it if asked to.

use serde_json::{Map, Value};
use uuid::Uuid;

use super::next::again;
use super::params::ParamArgs;
use super::plan::show_plan;
use super::watch::Follow;
use crate::api::wire::{RunView, StartRun};
use crate::cli::client::Client;
use crate::cli::error::{CliError, ClientError};
use crate::cli::exit::Exit;
use crate::cli::get::split_version;
use crate::cli::output::Console;
use crate::cli::who::who;
use crate::playbook::parse_playbook;

/// Arguments of `run start`.
#[derive(Debug, clap::Args)]
pub struct Start {
    /// The playbook; without a version, the highest one
    #[arg(value_name = "PLAYBOOK[@VERSION]")]
    pub playbook: String,
    /// The cluster to run against
    #[arg(short, long, value_name = "NAME")]
    pub cluster: String,
    #[command(flatten)]
    pub params: ParamArgs,
    /// Follow the run, and exit as it ends
    #[arg(short, long)]
    pub watch: bool,
    /// Check everything, and show what the run would be, but start nothing
    #[arg(long, conflicts_with_all = ["watch", "idempotency_key"])]
    pub dry_run: bool,
    #[command(flatten)]
    pub follow: Follow,
    /// Start at most one run with this key, however often this is repeated
    #[arg(long, value_name = "KEY")]
    pub idempotency_key: Option<String>,
}

pub(crate) async fn start(
    client: &Client,
    args: &Start,
    console: &Console,
) -> Result<Exit, CliError> {
    let schema = match args.params.need_schema()? {
        true => schema_of(client, &args.playbook).await?,
        false => Value::Null,
    };
    let params = args.params.read(&schema)?;
    if args.dry_run {
        let plan = client.plan_run(&request(&args.playbook, &args.cluster, params)).await?;
        return show_plan(&plan, console);
    }
    let key = args.idempotency_key.clone();
    let run = start_run(client, &args.playbook, &args.cluster, params, key).await?;
    if args.watch {
        console.say(&format!("run {} started", run.id));
        return args.follow.watch(client, run.id, None, console).await;
    }
    console.one(&run)?;
    console.say_command("follow it:", &again(client, &format!("run watch {}", run.id)));
    Ok(Exit::Ok)
}

/// The schema of a playbook's parameters. Null, which allows anything, if it can't be had: the start itself
/// then says what is wrong.
///
/// # Errors
/// The server can't be reached.
async fn schema_of(client: &Client, playbook: &str) -> Result<Value, ClientError> {
    let (name, version) = split_version(playbook);
    let text = match client.playbook(name, version).await {
        Ok(playbook) => playbook.document,
        Err(error) if error.retryable() => return Err(error),
        Err(_) => None,
    };
    let document = text.and_then(|text| parse_playbook(text.as_bytes()).ok());
    let params = document.and_then(|document| document.content().pointer("/spec/params").cloned());
    Ok(params.unwrap_or_default())
}

fn request(playbook: &str, cluster: &str, params: Map<String, Value>) -> StartRun {
    let (playbook, cluster) = (playbook.to_owned(), cluster.to_owned());
    StartRun { playbook, cluster, params, started_by: who() }
}

/// Starts a run in the name of the user of this machine. Without a key one is made up, so that the request can
/// be repeated when its answer is lost.
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
    let start = request(playbook, cluster, params);
    let key = idempotency_key.unwrap_or_else(|| Uuid::new_v4().to_string());
    client.start_run(&start, &key).await
}
