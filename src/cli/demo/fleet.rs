//! The agents of the demonstration: each has a process, a port and a directory of its own. Each writes down
//! every command that it really executes, so that tests can count them.

use std::path::{Path, PathBuf};

use futures::future::{join_all, try_join_all};
use serde_json::{Value, json};
use tokio::process::Command;

use super::process::{Process, ProcessError};

/// The most agents of one fleet: each is a process, and a demonstration must leave the machine usable.
pub const MAX_AGENTS: u16 = 100;

/// Values of the attribute `zone`, given to the agents in turn.
const ZONES: [&str; 3] = ["a", "b", "c"];

/// What an agent does for `demo.example.com/drain`. `$1` is a file that gets one line each time a command is
/// really executed.
const DRAIN: &str = r#"echo drain >> "$1"; sleep 0.1; echo '{"moved": 3}'"#;

/// What an agent does for `demo.example.com/restart`.
const RESTART: &str = r#"echo restart >> "$1"; sleep 0.3; echo '{"restarted": true}'"#;

/// What an agent does for `demo.example.com/restart` if its service does not come back.
const RESTART_FAILS: &str =
    r#"echo restart >> "$1"; sleep 0.3; echo 'the service did not come back' >&2; exit 1"#;

/// How often an agent looks at its queue: nobody wants to watch a demonstration wait.
const TICK: &str = "50ms";

/// Name of the file that [`DRAIN`] and [`RESTART`] write to, in the agent's directory.
const EFFECTS: &str = "effects";

/// Name of the file with the status of an agent's node, in the agent's directory. While there is none, the node is well.
const STATUS: &str = "status";

/// Name of the folder of credentials in a directory of an agent that has some.
const CREDENTIALS: &str = "credentials";

/// Name of the credentials that such an agent shows.
const OWN: &str = "agent";

/// Why the agents could not be started.
#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    /// The number of agents is out of bounds.
    #[error("found {found} agents, expected 1 to {MAX_AGENTS}")]
    Agents {
        /// The number that was asked for.
        found: u16,
    },
    /// More agents are to fail than there are.
    #[error("found {fail} agents that are to fail, expected at most {agents}: all of them")]
    Fail {
        /// The number of agents that are to fail.
        fail: u16,
        /// The number of agents.
        agents: u16,
    },
    /// A file could not be written.
    #[error("failed to write {path}")]
    Write {
        /// Path of the file or directory.
        path: PathBuf,
        /// The error of the system.
        #[source]
        source: std::io::Error,
    },
    /// A document could not be written as YAML.
    #[error("failed to write a document as YAML")]
    Yaml(#[from] serde_yaml::Error),
    /// An agent did not start.
    #[error(transparent)]
    Process(#[from] ProcessError),
}

/// The properties of one agent of a fleet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Identifier: `node-1` and so on.
    pub id: String,
    /// Value of the attribute `zone`: `a`, `b` or `c`.
    pub zone: &'static str,
    /// Value of the attribute `role`: `PRIMARY` for the first agent, `SECONDARY` for the others.
    pub role: &'static str,
    /// Whether its restart fails.
    pub fails: bool,
}

/// Plans `agents` agents in three zones, `fail` of which will fail to restart. Those of zone b fail first, so
/// that a run that goes zone by zone gets through the first zone.
pub fn plan(agents: u16, fail: u16) -> Result<Vec<Node>, FleetError> {
    if agents == 0 || agents > MAX_AGENTS {
        return Err(FleetError::Agents { found: agents });
    }
    if fail > agents {
        return Err(FleetError::Fail { fail, agents });
    }
    let node = |(index, zone): (u16, &&'static str)| Node {
        id: format!("node-{}", index + 1),
        zone,
        role: if index == 0 { "PRIMARY" } else { "SECONDARY" },
        fails: false,
    };
    let mut nodes: Vec<Node> = (0..agents).zip(ZONES.iter().cycle()).map(node).collect();
    let mut first_to_fail: Vec<usize> = (0..nodes.len()).collect();
    first_to_fail.sort_by_key(|index| (index + ZONES.len() - 1) % ZONES.len());
    for index in first_to_fail.into_iter().take(usize::from(fail)) {
        if let Some(node) = nodes.get_mut(index) {
            node.fails = true;
        }
    }
    Ok(nodes)
}

impl Node {
    /// The agent's configuration, as `replibook agent` reads it.
    fn config(&self, dir: &Path) -> Value {
        let command = |script: &str| {
            let effects = dir.join(EFFECTS);
            json!({ "command": ["sh", "-c", script, "sh", effects], "timeout": "30s" })
        };
        json!({
            "node_id": self.id,
            "attributes": { "zone": self.zone, "role": self.role },
            "status": "HEALTHY",
            "status_file": dir.join(STATUS),
            "actions": {
                "demo.example.com/drain": command(DRAIN),
                "demo.example.com/restart": command(if self.fails { RESTART_FAILS } else { RESTART }),
            },
        })
    }

    async fn start(
        self,
        program: &Path,
        dir: PathBuf,
        is_secured: bool,
    ) -> Result<Member, FleetError> {
        write(&dir, |path| std::fs::create_dir_all(path))?;
        let config = dir.join("agent.yaml");
        let text = serde_yaml::to_string(&self.config(&dir))?;
        write(&config, |path| std::fs::write(path, text))?;
        let mut command = Command::new(program);
        command.arg("agent").arg("--config").arg(&config);
        command.arg("--data").arg(dir.join("agent.sqlite"));
        command.args(["--port", "0", "--tick", TICK, "--until-stdin-closes"]);
        if is_secured {
            command.arg("--credentials").arg(dir.join(CREDENTIALS)).args(["--tls", OWN]);
        }
        let process = Process::start(&self.id, command, &dir.join("log")).await?;
        Ok(Member { node: self, dir, process })
    }
}

/// Running agents, each in a process of its own.
#[derive(Debug)]
pub struct Fleet {
    members: Vec<Member>,
}

#[derive(Debug)]
struct Member {
    node: Node,
    dir: PathBuf,
    process: Process,
}

impl Fleet {
    /// Starts an agent for each of `nodes` with the binary `program` (`replibook`). Each keeps its files in a
    /// directory of its own in `dir`.
    pub async fn start(program: &Path, dir: &Path, nodes: Vec<Node>) -> Result<Self, FleetError> {
        Self::start_all(program, dir, nodes, false).await
    }

    /// Like [`start`](Self::start), over TLS: the credentials of each agent are in its [folder](credentials_of).
    pub(super) async fn start_secured(
        program: &Path,
        dir: &Path,
        nodes: Vec<Node>,
    ) -> Result<Self, FleetError> {
        Self::start_all(program, dir, nodes, true).await
    }

    async fn start_all(
        program: &Path,
        dir: &Path,
        nodes: Vec<Node>,
        are_secured: bool,
    ) -> Result<Self, FleetError> {
        let starting = nodes.into_iter().map(|node| {
            let own = dir.join(&node.id);
            node.start(program, own, are_secured)
        });
        Ok(Self { members: try_join_all(starting).await? })
    }

    /// Each agent, with the base URL that it listens on.
    pub fn agents(&self) -> impl Iterator<Item = (&Node, &str)> {
        self.members.iter().map(|member| (&member.node, member.process.address()))
    }

    /// The commands that the agent really executed, in order: `drain` and `restart`. Empty for an unknown
    /// agent.
    pub fn effects(&self, id: &str) -> std::io::Result<Vec<String>> {
        let Some(member) = self.members.iter().find(|member| member.node.id == id) else {
            return Ok(Vec::new());
        };
        match std::fs::read_to_string(member.dir.join(EFFECTS)) {
            Ok(text) => Ok(text.lines().map(str::to_owned).collect()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// The file with the status of this agent's node while it is not well. `None` for an unknown agent.
    pub fn status_file(&self, id: &str) -> Option<PathBuf> {
        let member = self.members.iter().find(|member| member.node.id == id)?;
        Some(member.dir.join(STATUS))
    }

    /// The `Cluster` document with all agents.
    pub fn cluster_document(&self, name: &str) -> Result<String, FleetError> {
        document(name, &self.members)
    }

    /// `Cluster` documents with `of_each` agents each, with their names.
    pub fn cluster_documents(
        &self,
        of_each: usize,
        names: impl Iterator<Item = String>,
    ) -> Result<Vec<(String, String)>, FleetError> {
        let documents = names.zip(self.members.chunks(of_each.max(1))).map(|(name, members)| {
            let document = document(&name, members)?;
            Ok((name, document))
        });
        documents.collect()
    }

    /// The agents that executed other commands than `effects`, or in another order.
    pub fn other_than(&self, effects: &[&str]) -> std::io::Result<Vec<String>> {
        let mut others = Vec::new();
        for member in &self.members {
            if self.effects(&member.node.id)? != effects {
                others.push(member.node.id.clone());
            }
        }
        Ok(others)
    }

    /// Stops all agents and waits until they are gone.
    pub async fn stop(self) {
        join_all(self.members.into_iter().map(|member| member.process.stop())).await;
    }
}

/// Where an agent of a fleet in `dir` finds the credentials that it shows.
pub(super) fn credentials_of(dir: &Path, id: &str) -> PathBuf {
    dir.join(id).join(CREDENTIALS).join(OWN)
}

/// The `Cluster` document with these agents.
fn document(name: &str, members: &[Member]) -> Result<String, FleetError> {
    let agent = |Member { node, process, .. }: &Member| {
        let attributes = json!({ "zone": node.zone, "role": node.role });
        json!({ "id": node.id, "address": process.address(), "attributes": attributes })
    };
    let document = json!({
        "apiVersion": "replicante.io/v1",
        "kind": "Cluster",
        "metadata": { "name": name },
        "spec": { "agents": members.iter().map(agent).collect::<Vec<Value>>() },
    });
    Ok(serde_yaml::to_string(&document)?)
}

fn write(path: &Path, how: impl FnOnce(&Path) -> std::io::Result<()>) -> Result<(), FleetError> {
    how(path).map_err(|source| FleetError::Write { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agents_are_spread_over_the_zones_and_those_of_zone_b_fail_first() {
        let nodes = plan(12, 2).unwrap();
        let failing: Vec<&str> = nodes.iter().filter(|n| n.fails).map(|n| n.id.as_str()).collect();
        assert_eq!(failing, ["node-2", "node-5"]);
        assert!(nodes.iter().filter(|node| node.fails).all(|node| node.zone == "b"));
        assert_eq!(nodes.iter().filter(|node| node.zone == "c").count(), 4);
        assert_eq!(plan(1, 1).unwrap().iter().filter(|node| node.fails).count(), 1);
    }

    #[test]
    fn numbers_out_of_bounds_are_refused() {
        assert!(plan(MAX_AGENTS, 0).is_ok());
        assert!(matches!(plan(0, 0), Err(FleetError::Agents { found: 0 })));
        assert!(matches!(plan(MAX_AGENTS + 1, 0), Err(FleetError::Agents { .. })));
        let error = plan(2, 3).unwrap_err().to_string();
        assert_eq!(error, "found 3 agents that are to fail, expected at most 2: all of them");
    }

    #[test]
    fn the_configuration_names_both_commands_and_the_file_of_their_effects() {
        let node = plan(1, 1).unwrap().remove(0);
        let config = node.config(Path::new("d"));
        let restart = &config["actions"]["demo.example.com/restart"]["command"];
        assert_eq!(restart[2], RESTART_FAILS);
        assert_eq!(restart[4], "d/effects");
        assert_eq!(config["actions"]["demo.example.com/drain"]["command"][2], DRAIN);
    }
}
