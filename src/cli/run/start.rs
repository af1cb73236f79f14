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
    #[command(flatten)]
    pub narrow: Narrow,
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

/// What makes a run narrower than its playbook.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Narrow {
    /// Only agents for which this expression is true, of those that the stages select
    #[arg(long, value_name = "EXPRESSION")]
    pub select: Option<String>,
    /// At most this many agents in the whole run: the first that a stage selects
    #[arg(long, value_name = "N")]
    pub limit: Option<u32>,
    /// Leave this stage out; may be repeated
    #[arg(long = "skip-stage", value_name = "STAGE")]
    pub skip_stages: Vec<String>,
    /// Begin with this stage, and leave out those before it
    #[arg(long, value_name = "STAGE")]
    pub start_at: Option<String>,
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
    let Narrow { select, limit, skip_stages, start_at } = args.narrow.clone();
    let start = StartRun {
        select,
        limit,
        skip_stages,
        start_at,
        ..whole_run(&args.playbook, &args.cluster, params)
    };
    if args.dry_run {
        return show_plan(&client.plan_run(&start).await?, console);
    }
    let key = args.idempotency_key.clone();
    let run = start_run(client, &start, key).await?;
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

/// A request for a run of the whole playbook, in the name of the user of this machine.
fn whole_run(playbook: &str, cluster: &str, params: Map<String, Value>) -> StartRun {
    StartRun {
        playbook: playbook.to_owned(),
        cluster: cluster.to_owned(),
        params,
        select: None,
        limit: None,
        skip_stages: Vec::new(),
        start_at: None,
        started_by: who(),
    }
}

/// Starts a run. Without a key it makes one up, so that the request can be repeated when its answer is lost.
///
/// # Errors
/// [`ClientError::Refused`] with problems when the parameters, or what narrows the run, do not fit.
pub async fn start_run(
    client: &Client,
    start: &StartRun,
    idempotency_key: Option<String>,
) -> Result<RunView, ClientError> {
    let key = idempotency_key.unwrap_or_else(|| Uuid::new_v4().to_string());
    client.start_run(start, &key).await
}
