//! `run agents`, and the table of agents at the end of a run. Both are limited: a run may have 100,000 agents.

use std::collections::BTreeMap;

use super::find::find_run;
use crate::api::wire::{Listing, RunView};
use crate::cli::agent_rows::Plan;
use crate::cli::client::Client;
use crate::cli::error::CliError;
use crate::cli::exit::Exit;
use crate::cli::output::{Console, Format};
use crate::cli::page::{PageArgs, say_damaged, say_if_more};
use crate::cli::rows::agents_of;
use crate::cli::text::{Paint, plural};
use crate::run::{AgentId, AgentRecord, AgentState, RunId};

/// The most agents in the table at the end of a run. For a larger run only those that failed are shown, since
/// nobody reads more.
pub(crate) const MAX_SHOWN: u32 = 200;

/// Arguments of `run agents`.
#[derive(Debug, clap::Args)]
pub struct Agents {
    /// Identifier of the run, 6 or more consecutive digits of it, or `last`
    pub run: String,
    /// Only this agent
    pub agent: Option<String>,
    /// Only agents in this state, for example FAILED
    #[arg(long, value_name = "STATE", conflicts_with = "agent")]
    pub state: Option<AgentState>,
    #[command(flatten)]
    pub page: PageArgs,
}

pub(crate) async fn agents(
    client: &Client,
    args: &Agents,
    console: &Console,
) -> Result<Exit, CliError> {
    let run = find_run(client, &args.run).await?;
    if let Some(agent) = &args.agent {
        let record = client.agent(run, &AgentId(agent.clone())).await?;
        plan_for(client, run, console).await.one(record, console)?;
        return Ok(Exit::Ok);
    }
    let agents = client.agents(run).only("state", args.state);
    let agents: Listing<AgentRecord> =
        agents.read_to_show(args.page.after.clone(), args.page.limit()).await?;
    plan_for(client, run, console).await.list(agents.items, console)?;
    say_damaged(console, &agents.damaged);
    say_if_more(console, agents.next.as_deref());
    Ok(Exit::Ok)
}

/// What a table needs from the playbook; empty for other formats.
async fn plan_for(client: &Client, run: RunId, console: &Console) -> Plan {
    match console.format {
        Format::Table | Format::Wide => Plan::of_run(client, run).await,
        Format::Json | Format::Yaml | Format::Name | Format::Picked => Plan::default(),
    }
}

/// Writes the table of a run's agents and a line that sums it up, such as `10 done, 2 failed`. Formats other
/// than tables write the run itself.
///
/// # Errors
/// Those of every request, and when the output can't be written.
pub async fn print_agents(
    client: &Client,
    run: &RunView,
    console: &Console,
) -> Result<(), CliError> {
    match console.format {
        Format::Json | Format::Yaml | Format::Name | Format::Picked => return console.one(run),
        Format::Table | Format::Wide => {}
    }
    let all = run.counts.values().fold(0_u32, |sum, count| sum.saturating_add(*count));
    let only = (all > MAX_SHOWN).then_some(AgentState::Failed);
    let limit = usize::try_from(MAX_SHOWN).unwrap_or(usize::MAX);
    let agents: Listing<AgentRecord> =
        client.agents(run.id).only("state", only).read(None, limit).await?;
    let left_out = u64::from(all).saturating_sub(agents.items.len() as u64);
    if !agents.items.is_empty() {
        Plan::of_run(client, run.id).await.list(agents.items, console)?;
        console.data("\n")?;
    }
    if left_out > 0 {
        console.say(&format!(
            "{} not shown; `replictl run agents {}` shows them",
            plural(left_out, "agent"),
            run.id
        ));
    }
    let failed = |counts: &BTreeMap<AgentState, u32>| {
        counts.get(&AgentState::Failed).is_some_and(|count| *count > 0)
    };
    let paint = match failed(&run.counts) || failed(&run.outcomes) {
        true => Paint::Bad,
        false if run.nobody || !run.passed_over.is_none() => Paint::Busy,
        false => Paint::Good,
    };
    console.data(&paint.on(&agents_of(run), console.colour))
}
