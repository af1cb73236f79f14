//! `describe cluster`, `plugin` and `agent`.

use std::fmt::Write as _;

use super::agent_rows::Plan;
use super::client::Client;
use super::cluster_agents::{MAX_ATTRIBUTES_SHOWN, about_platform, find_agent};
use super::describe::{Lines, for_people};
use super::endpoints::MAX_PAGE;
use super::error::{CliError, ClientError};
use super::get::find_plugins;
use super::output::{Console, to_yaml};
use super::page::say_damaged;
use super::text::{clean, moment, plural, shorten};
use crate::api::wire::{
    ClusterAgentView, ClusterAgents, ClusterView, Listing, PlaybookView, PluginView, RunView,
};
use crate::run::{AgentId, RunStatus};

/// Agents of a cluster that are shown with it; `get agents` shows all.
const SHOWN_AGENTS: usize = 20;

/// Runs of a cluster that are shown with it, or in which an agent is looked for: the newest ones.
const SHOWN_RUNS: usize = 5;

/// Playbooks that use a plugin which are named.
const SHOWN_PLAYBOOKS: usize = 20;

/// Shows all about a cluster.
pub(super) async fn describe_cluster(
    client: &Client,
    name: &str,
    console: &Console,
) -> Result<(), CliError> {
    let cluster = client.cluster(name).await?;
    if !for_people(console) {
        return console.one(&cluster);
    }
    let agents = client.cluster_agents(name, None, SHOWN_AGENTS, true).await?;
    let going = RunStatus::ALL.into_iter().filter(|status| !status.is_final());
    let going = going.map(RunStatus::as_str).collect::<Vec<_>>().join(",");
    let runs = client.runs().only("cluster", Some(name)).only("status", Some(going));
    let runs: Listing<RunView> = runs.read(None, SHOWN_RUNS).await?;
    console.data(&cluster_text(&cluster, &agents, &runs.items, console))?;
    say_damaged(console, &runs.damaged);
    if agents.next.is_some() {
        console.say(&format!("`replictl get agents --cluster {name}` shows all agents"));
    }
    Ok(())
}

fn cluster_text(
    cluster: &ClusterView,
    agents: &ClusterAgents,
    runs: &[RunView],
    console: &Console,
) -> String {
    let mut lines = Lines::default();
    lines.line("Cluster", &cluster.name);
    lines.line("Applied", &moment(cluster.applied_at));
    lines.line("Listed", &plural(cluster.agents.into(), "agent"));
    lines.line_if("Platform", agents.platform.as_ref().map(about_platform));
    lines.line_if(
        "Absent",
        agents.mass_absence.map(|mass| {
            format!("{} of {} agents at once; they are not taken for gone", mass.absent, mass.known)
        }),
    );
    let mut text = lines.0;
    if !agents.items.is_empty() {
        let _ = write!(text, "\n{}", console.table(&agents.items));
    }
    if !runs.is_empty() {
        let _ = write!(text, "\n{}", console.table(runs));
    }
    let mut lines = Lines(text);
    lines.document(cluster.document.as_deref());
    lines.0
}

/// Shows all about a plugin.
pub(super) async fn describe_plugin(
    client: &Client,
    name: &str,
    console: &Console,
) -> Result<(), CliError> {
    let found = find_plugins(client, name).await?;
    let [plugin] = found.as_slice() else {
        let digests = found.iter().map(|one| one.info.digest.to_string()).collect::<Vec<_>>();
        return Err(CliError::NotFound(format!(
            "{} plugins go by {name:?}; give the digest: {}",
            found.len(),
            digests.join(", ")
        )));
    };
    if !for_people(console) {
        return console.one(plugin);
    }
    let playbooks: Listing<PlaybookView> = client.playbooks().read(None, MAX_PAGE).await?;
    console.data(&plugin_text(plugin, &playbooks.items)?)?;
    say_damaged(console, &playbooks.damaged);
    Ok(())
}

fn plugin_text(plugin: &PluginView, playbooks: &[PlaybookView]) -> Result<String, CliError> {
    let info = &plugin.info;
    let mut lines = Lines::default();
    lines.line("Plugin", &format!("{}@{}", info.name, info.version));
    lines.line("Kind", info.kind.as_str());
    lines.line("Summary", &info.summary);
    lines.line("Digest", info.digest.as_str());
    lines.line("Size", &format!("{} KiB", info.size.div_ceil(1024)));
    lines.line("Added", &moment(plugin.added_at));
    let pins =
        |playbook: &&PlaybookView| playbook.plugins.values().any(|pin| pin.digest == info.digest);
    let users: Vec<_> = playbooks.iter().filter(pins).collect();
    for playbook in users.iter().take(SHOWN_PLAYBOOKS) {
        lines.line("Used by", &format!("{}@{}", playbook.name, playbook.version));
    }
    if let Some(more) = users.len().checked_sub(SHOWN_PLAYBOOKS).filter(|more| *more > 0) {
        lines.line("Used by", &format!("{more} more"));
    }
    let schema = to_yaml(&info.arguments)?;
    let _ = write!(lines.0, "\nArguments, as a JSON Schema:\n");
    for line in schema.lines() {
        let _ = writeln!(lines.0, "  {}", clean(line));
    }
    Ok(lines.0)
}

/// Shows all about an agent of a cluster.
pub(super) async fn describe_agent(
    client: &Client,
    cluster: &str,
    agent: &str,
    console: &Console,
) -> Result<(), CliError> {
    let (found, all) = find_agent(client, cluster, agent).await?;
    if !for_people(console) {
        return console.one(&found);
    }
    let runs = client.runs().only("cluster", Some(cluster));
    let runs: Listing<RunView> = runs.read(None, SHOWN_RUNS).await?;
    let mut text = agent_text(cluster, &found, &all);
    for run in &runs.items {
        let record = match client.agent(run.id, &AgentId(agent.to_owned())).await {
            Ok(record) => record,
            // It was no member then, or the run has expired since.
            Err(ClientError::Refused(problem)) if problem.status == 404 => continue,
            Err(error) => return Err(error.into()),
        };
        let playbook = clean(&format!("{}@{}", run.playbook, run.version));
        let _ = write!(text, "\nRun {} of {playbook}, {}:\n", run.id, run.status);
        text.push_str(&Plan::of_run(client, run.id).await.table(vec![record], console));
    }
    console.data(&text)
}

fn agent_text(cluster: &str, agent: &ClusterAgentView, all: &ClusterAgents) -> String {
    let mut lines = Lines::default();
    lines.line("Agent", agent.id.as_str());
    lines.line("Cluster", cluster);
    lines.line("Address", &agent.address);
    lines.line("Known", &format!("{} since {}", agent.source.as_str(), moment(agent.since)));
    lines.line_if("Platform", all.platform.as_ref().map(about_platform));
    if let Some(now) = &agent.now {
        lines.line("Asked", &moment(now.asked_at));
        lines.line_if("Status", now.status.clone());
        lines.line_if("No answer", now.error.clone());
        lines.line_if("Agent version", now.agent_version.clone());
        lines.line_if("Store", now.store.clone());
        for (name, value) in &now.attributes {
            let value = shorten(&value.to_string(), MAX_ATTRIBUTES_SHOWN);
            lines.line("Says", &format!("{name} = {value}"));
        }
    }
    for (name, value) in &agent.attributes {
        let value = shorten(&value.to_string(), MAX_ATTRIBUTES_SHOWN);
        lines.line("Attribute", &format!("{name} = {value}"));
    }
    lines.0
}
