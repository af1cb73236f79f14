//! The scene in which the cluster changes: a platform serves a file, and the file is replaced while the run
//! goes, so that one agent joins and one leaves.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use futures::{Stream, StreamExt as _};
use serde_json::{Value, json};

use super::fleet::{Fleet, MAX_AGENTS, Node, plan};
use super::scene::Beside;
use super::terminal::say_beside;
use crate::cli::client::Client;
use crate::cli::error::ClientError;
use crate::cli::feed::{FeedLimits, Update, follow};
use crate::run::{AgentState, Happened, RunId};

/// The fewest agents: if there were fewer, one that leaves would be more than a fifth of the cluster, which a
/// run takes for a mistake of the platform.
const FEWEST: u16 = 5;

/// How often the platform is asked: nobody wants to watch a demonstration wait.
const INTERVAL: &str = "1s";

/// Which agent joins and which leaves, by identifier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Change {
    /// The agent that joins; its process runs from the beginning.
    pub(super) joins: String,
    /// The agent that leaves.
    pub(super) leaves: String,
}

impl Change {
    /// Plans `agents` agents, `fail` of which will fail to restart, and one more. That one takes the place of
    /// an agent of the last zone: a run that goes zone by zone has not reached either of the two when the
    /// cluster changes.
    pub(super) fn plan(agents: u16, fail: u16) -> anyhow::Result<(Self, Vec<Node>)> {
        if !(FEWEST..MAX_AGENTS).contains(&agents) {
            anyhow::bail!(
                "found {agents} agents, expected {FEWEST} to {}: in this scene one more joins, and one \
                 that leaves must be at most a fifth",
                MAX_AGENTS - 1
            );
        }
        let mut nodes = plan(agents, fail)?;
        let leaves = nodes.iter().max_by_key(|node| node.zone).context("found no agents")?.clone();
        let joins = Node { id: format!("node-{}", agents + 1), fails: false, ..leaves.clone() };
        let change = Self { joins: joins.id.clone(), leaves: leaves.id };
        nodes.push(joins);
        Ok((change, nodes))
    }

    /// What the list of agents at the beginning says about an agent.
    pub(super) fn note(&self, id: &str) -> &'static str {
        match id {
            _ if id == self.joins => "   joins while the run goes",
            _ if id == self.leaves => "   leaves while the run goes",
            _ => "",
        }
    }
}

/// The `Cluster` document, which lists no agents but names a platform.
pub(super) fn cluster_document(name: &str, platform: &str) -> anyhow::Result<String> {
    let document = json!({
        "apiVersion": "replicante.io/v1",
        "kind": "Cluster",
        "metadata": { "name": name },
        "spec": { "discovery": { "url": platform, "cluster": name, "interval": INTERVAL } },
    });
    serde_yaml::to_string(&document).context("failed to write a document as YAML")
}

/// The file that the platform serves.
#[derive(Clone, Debug)]
pub(super) struct NodesFile {
    path: PathBuf,
    cluster: String,
    /// Identifier and address of every agent, whether it is listed in the file or not.
    agents: Vec<(String, String)>,
}

impl NodesFile {
    pub(super) fn new(path: PathBuf, cluster: &str, fleet: &Fleet) -> Self {
        let agents = fleet.agents();
        let agents = agents.map(|(node, address)| (node.id.clone(), address.to_owned())).collect();
        Self { path, cluster: cluster.to_owned(), agents }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Replaces the file atomically by one with all agents except `without`.
    pub(super) fn write(&self, without: &[&str]) -> anyhow::Result<()> {
        let listed = self.agents.iter().filter(|(id, _)| !without.contains(&id.as_str()));
        let nodes = listed.map(|(id, address)| json!({ "node_id": id, "agent_address": address }));
        let clusters =
            json!([{ "cluster_id": self.cluster, "nodes": nodes.collect::<Vec<Value>>() }]);
        let text = serde_yaml::to_string(&json!({ "clusters": clusters }))?;
        let beside = self.path.with_extension("new");
        std::fs::write(&beside, text)
            .and_then(|()| std::fs::rename(&beside, &self.path))
            .with_context(|| format!("failed to write {}", self.path.display()))
    }
}

/// Changes the cluster once a first agent is done, prints that, and shows the agents of the run once it has
/// noticed both changes. Meanwhile another command writes to the terminal.
pub(super) async fn tell(
    run: RunId,
    change: Change,
    file: NodesFile,
    beside: Beside,
) -> anyhow::Result<()> {
    let Change { joins, leaves } = &change;
    let feed = follow(Client::new(beside.server())?, run, FeedLimits::default());
    let mut feed = std::pin::pin!(feed);
    until(&mut feed, |_, state| state == AgentState::Done).await?;
    say_beside(&format!("--- {joins} joins: the platform tells of it from now on"));
    file.write(&[])?;
    // The agent is ADDED first; by the time of the next change whoever watches has seen that.
    until(&mut feed, |agent, state| agent == joins && state != AgentState::Added).await?;
    say_beside(&format!("--- {leaves} leaves: the platform does not tell of it any more"));
    say_beside(&format!(
        "    it is gone after three answers in a row without it, {INTERVAL} apart"
    ));
    file.write(&[leaves])?;
    until(&mut feed, |agent, state| agent == leaves && state == AgentState::Removed).await?;
    beside.replictl(&["run", "agents", &run.to_string()]).await
}

/// Waits until an agent of the run enters a state.
async fn until(
    feed: &mut (impl Stream<Item = Result<Update, ClientError>> + Unpin),
    is_meant: impl Fn(&str, AgentState) -> bool,
) -> anyhow::Result<()> {
    while let Some(update) = feed.next().await {
        match update? {
            Update::Event(event) => {
                if let Happened::Agent { agent, to, .. } = &event.what
                    && is_meant(agent.as_str(), *to)
                {
                    return Ok(());
                }
            }
            Update::Lost { .. } | Update::Back | Update::Ended(_) => {}
        }
    }
    anyhow::bail!("the run ended before the cluster had changed")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_more_agent_takes_the_place_of_the_last_one_of_the_last_zone() {
        let (change, nodes) = Change::plan(12, 0).unwrap();
        assert_eq!((change.joins.as_str(), change.leaves.as_str()), ("node-13", "node-12"));
        assert_eq!((nodes.len(), nodes[12].zone, nodes[11].zone), (13, "c", "c"));
        let (change, nodes) = Change::plan(FEWEST, FEWEST).unwrap();
        assert_eq!((change.joins.as_str(), change.leaves.as_str()), ("node-6", "node-3"));
        assert_eq!(nodes.iter().filter(|node| node.fails).count(), 5, "who joins is well");
        assert!(
            change.note("node-3").contains("leaves") && change.note("node-6").contains("joins")
        );
    }

    #[test]
    fn too_few_for_one_to_leave_and_too_many_for_one_to_join_are_refused() {
        for agents in [0, FEWEST - 1, MAX_AGENTS, u16::MAX] {
            let error = Change::plan(agents, 0).unwrap_err().to_string();
            assert!(
                error.starts_with(&format!("found {agents} agents, expected 5 to 99")),
                "{error}"
            );
        }
        assert!(Change::plan(MAX_AGENTS - 1, 0).is_ok());
        assert!(Change::plan(6, 7).unwrap_err().to_string().contains("expected at most 6"));
    }

    #[test]
    fn the_file_has_all_agents_but_those_that_are_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let agents = ["node-1", "node-2"].map(|id| (id.to_owned(), format!("http://{id}")));
        let path = dir.path().join("nodes.yaml");
        let file =
            NodesFile { path: path.clone(), cluster: "demo".to_owned(), agents: agents.into() };
        file.write(&["node-2"]).unwrap();
        file.write(&["node-1"]).unwrap();
        let text = std::fs::read_to_string(path).unwrap();
        let value: Value = serde_yaml::from_str(&text).unwrap();
        let nodes = json!([{ "node_id": "node-2", "agent_address": "http://node-2" }]);
        assert_eq!(value, json!({ "clusters": [{ "cluster_id": "demo", "nodes": nodes }] }));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left beside it");
    }
}
