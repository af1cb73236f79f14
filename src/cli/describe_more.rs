//! `describe cluster`, `describe plugin` and `describe agent`. Each description is put together from several
//! requests.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::agent_rows::Plan;
use super::client::Client;
use super::cluster_agents::{MAX_ATTRIBUTES_SHOWN, about_platform, find_agent};
use super::describe::{Lines, for_people, signed_by};
use super::endpoints::{Asked, MAX_PAGE};
use super::error::{CliError, ClientError};
use super::get::find_plugins;
use super::guards;
use super::output::{Console, to_yaml};
use super::page::say_damaged;
use super::text::{clean, moment, plural, shorten};
use crate::api::wire::{
    ClusterAgentView, ClusterAgents, ClusterView, Listing, PlaybookView, PluginView, RunView,
};
use crate::playbook::Provenance;
use crate::run::{AgentId, Digest, RunStatus};

/// Agents that are shown with a cluster; `get agents` shows all.
const SHOWN_AGENTS: usize = 20;

/// Runs that are shown with a cluster, and runs in which an agent is looked up.
const SHOWN_RUNS: usize = 5;

/// How many of the playbooks that use a plugin are named.
const SHOWN_PLAYBOOKS: usize = 20;

/// The most playbooks that are searched for those that use a plugin: ten full pages.
const MAX_PLAYBOOKS: usize = 10 * MAX_PAGE;

/// Shows everything about a cluster.
pub(super) async fn describe_cluster(
    client: &Client,
    name: &str,
    console: &Console,
) -> Result<(), CliError> {
    let cluster = client.cluster(name).await?;
    if !for_people(console) {
        return console.one(&cluster);
    }
    let asked = Asked { cluster: name, selector: None, ask: true };
    let agents = client.cluster_agents(asked, None, SHOWN_AGENTS).await?;
    let going = RunStatus::ALL.into_iter().filter(|status| !status.is_final());
    let going = going.map(RunStatus::as_str).collect::<Vec<_>>().join(",");
    let runs = client.runs().only("cluster", Some(name)).only("status", Some(going));
    let runs: Listing<RunView> = runs.read(None, MAX_PAGE).await?;
    let going = Going::of(runs.items, runs.next.is_some());
    console.data(&cluster_text(&cluster, &agents, &going, console))?;
    say_damaged(console, &runs.damaged);
    if agents.next.is_some() {
        console.say(&format!("`replictl get agents --cluster {name}` shows all agents"));
    }
    Ok(())
}

/// The runs of a cluster that have not ended.
struct Going {
    /// The runs that hold the cluster, then those that wait for it, in the order of their turns.
    shown: Vec<RunView>,
    /// How many more runs there are.
    more: usize,
    /// Whether there may be even more than `more`.
    at_least: bool,
}

impl Going {
    fn of(mut runs: Vec<RunView>, at_least: bool) -> Self {
        runs.sort_by_key(|run| (!run.status.holds_cluster(), run.id));
        let more = runs.len().saturating_sub(SHOWN_RUNS);
        runs.truncate(SHOWN_RUNS);
        Self { shown: runs, more, at_least }
    }
}

fn cluster_text(
    cluster: &ClusterView,
    agents: &ClusterAgents,
    runs: &Going,
    console: &Console,
) -> String {
    let mut lines = Lines::within(console.data_room());
    lines.line("Cluster", &cluster.name);
    lines.line("Applied", &moment(cluster.applied_at));
    lines.line("Listed", &plural(cluster.agents.into(), "agent"));
    lines.line_if("Platform", agents.platform.as_ref().map(about_platform));
    lines.line_if(
        "Absent",
        agents.mass_absence.map(|mass| {
            format!("{} of {} agents at once; they do not count as gone", mass.absent, mass.known)
        }),
    );
    for (label, text) in cluster.guards.iter().flat_map(guards::lines) {
        lines.line(label, &text);
    }
    let text = &mut lines.text;
    if !agents.items.is_empty() {
        let _ = write!(text, "\n{}", console.table(&agents.items));
    }
    if !runs.shown.is_empty() {
        let _ = write!(text, "\n{}", console.table(&runs.shown));
    }
    if runs.more > 0 {
        let or_more = if runs.at_least { " or even more" } else { "" };
        let _ = writeln!(text, "and {} more{or_more}", runs.more);
    }
    lines.document(cluster.document.as_deref());
    lines.text
}

/// Shows everything about a plugin.
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
    let playbooks: Listing<PlaybookView> = client.playbooks().read(None, MAX_PLAYBOOKS).await?;
    console.data(&plugin_text(plugin, &playbooks.items, console)?)?;
    say_damaged(console, &playbooks.damaged);
    if playbooks.next.is_some() {
        console
            .say(&format!("only the first {MAX_PLAYBOOKS} playbooks were searched for its uses"));
    }
    Ok(())
}

fn plugin_text(
    plugin: &PluginView,
    playbooks: &[PlaybookView],
    console: &Console,
) -> Result<String, CliError> {
    let info = &plugin.info;
    let mut lines = Lines::within(console.data_room());
    lines.line("Plugin", &format!("{}@{}", info.name, info.version));
    lines.line("Kind", info.kind.as_str());
    lines.line("Summary", &info.summary);
    lines.line("Digest", &lines.digest(&info.digest));
    lines.line("Size", &format!("{} KiB", info.size.div_ceil(1024)));
    lines.line("Added", &moment(plugin.added_at));
    let since = plugin.unpinned_at.map(|since| format!("nothing since {}", moment(since)));
    lines.line_if("Pinned by", since);
    let expires =
        |at| format!("{}, unless something pins it or it is uploaded again first", moment(at));
    lines.line_if("Expires", plugin.goes_at.map(expires));
    for came in &plugin.provenance {
        lines.line("From", &origin(came));
    }
    for signature in &plugin.signatures {
        lines.line("Signed", &signed_by(signature));
    }
    let pins =
        |playbook: &&PlaybookView| playbook.plugins.values().any(|pin| pin.digest == info.digest);
    let users: Vec<_> = playbooks.iter().filter(pins).collect();
    for playbook in users.iter().take(SHOWN_PLAYBOOKS) {
        let signers = signers_then(playbook, &info.digest);
        lines.line("Used by", &format!("{}@{}{signers}", playbook.name, playbook.version));
    }
    if let Some(more) = users.len().checked_sub(SHOWN_PLAYBOOKS).filter(|more| *more > 0) {
        lines.line("Used by", &format!("{more} more"));
    }
    let schema = to_yaml(&info.arguments)?;
    let _ = write!(lines.text, "\nArguments, as a JSON Schema:\n");
    for line in schema.lines() {
        let _ = writeln!(lines.text, "  {}", clean(line));
    }
    Ok(lines.text)
}

/// Who had signed a plugin when a playbook was applied that uses it, as the end of a line.
fn signers_then(playbook: &PlaybookView, digest: &Digest) -> String {
    let pins = playbook.plugins.values().filter(|pin| pin.digest == *digest);
    let names: BTreeSet<&str> =
        pins.flat_map(|pin| &pin.signers).map(|one| one.name.as_str()).collect();
    match names.is_empty() {
        true => String::new(),
        false => {
            let names = Vec::from_iter(names).join(", ");
            format!(" (plugin signed by {names} when it was applied)")
        }
    }
}

/// Where a plugin came from, when, and who had it brought.
pub(super) fn origin(came: &Provenance) -> String {
    let manifest = came.manifest.as_ref().map(|digest| format!(" (manifest {digest})"));
    let by = came.by.as_ref().map(|by| format!(" by {by}"));
    let at = moment(came.at);
    format!("{}{}, {at}{}", came.source, manifest.unwrap_or_default(), by.unwrap_or_default())
}

/// Shows everything about an agent of a cluster.
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
    let mut text = agent_text(cluster, &found, &all, console);
    for run in &runs.items {
        let record = match client.agent(run.id, &AgentId(agent.to_owned())).await {
            Ok(record) => record,
            // The agent was not a member then, or the run has expired in the meantime.
            Err(ClientError::Refused(problem)) if problem.status == 404 => continue,
            Err(error) => return Err(error.into()),
        };
        let playbook = clean(&format!("{}@{}", run.playbook, run.version));
        let _ = write!(text, "\nRun {} of {playbook}, {}:\n", run.id, run.status);
        text.push_str(&Plan::of_run(client, run.id).await.table(vec![record], console));
    }
    console.data(&text)
}

fn agent_text(
    cluster: &str,
    agent: &ClusterAgentView,
    all: &ClusterAgents,
    console: &Console,
) -> String {
    let mut lines = Lines::within(console.data_room());
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
    lines.text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::sample::run_view;
    use crate::run::RunId;

    #[test]
    fn the_run_that_goes_comes_first_and_the_rest_is_counted() {
        let run = |number, status| {
            let mut run = run_view(status);
            run.id = RunId(uuid::Uuid::from_u128(number));
            run
        };
        // In the order of the server: the newest one first.
        let mut runs: Vec<_> = (2..9).rev().map(|n| run(n, RunStatus::Pending)).collect();
        runs.push(run(1, RunStatus::Running));
        let going = Going::of(runs, false);
        let ids: Vec<u128> = going.shown.iter().map(|run| run.id.0.as_u128()).collect();
        assert_eq!((ids, going.more), (vec![1, 2, 3, 4, 5], 3));
        // A run with `concurrency: allow` may hold the cluster beside others.
        let runs = vec![run(3, RunStatus::Paused), run(2, RunStatus::Pending)];
        let first = Going::of(runs, false).shown[0].status;
        assert_eq!(first, RunStatus::Paused);
    }
}
