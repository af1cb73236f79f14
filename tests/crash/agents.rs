//! Agents that are processes, and are killed and started again. They prove what they did: their databases
//! know every action that they were sent and how often they began it, and every command leaves a line on
//! disk.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use replibook::cli::demo::Process;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::crash::server::{Client, LIMIT};
use crate::wait;

/// What an agent does for `crash.example.com/work`. `$1` is a file with a line for each command that really
/// ran.
const WORK: &str = r#"echo "$REPLIBOOK_ACTION_ID" >> "$1"; sleep 0.05; echo '{"moved": 3}'"#;

/// What it does for `crash.example.com/second-try`. `$2` is a file that exists after the first try.
const SECOND_TRY: &str = r#"echo "$REPLIBOOK_ACTION_ID" >> "$1"; sleep 0.05
if [ -e "$2" ]; then echo '{"changed": true}'; else touch "$2"; echo 'not this time' >&2; exit 1; fi"#;

/// What it does for `crash.example.com/wait`: nothing, until the file `$1.go` exists.
const WAIT: &str = r#"while [ ! -e "$1.go" ]; do sleep 0.05; done"#;

/// How many actions of the three stages end well on each agent.
pub(crate) const WELL: usize = 5;

/// How many actions of the three stages fail on each agent.
pub(crate) const BADLY: usize = 1;

pub(crate) struct Agents {
    members: Vec<Member>,
}

struct Member {
    id: String,
    dir: PathBuf,
    /// `IP:PORT`, the same after each start.
    address: String,
    process: Option<Process>,
}

impl Agents {
    pub(crate) async fn start(dir: &Path, count: usize) -> Self {
        let starting = (1..=count).map(|number| Member::start(dir, format!("node-{number}")));
        Self { members: futures::future::join_all(starting).await }
    }

    /// The `Cluster` document with all agents.
    pub(crate) fn cluster_document(&self) -> String {
        let agent = |member: &Member| json!({ "id": member.id, "address": member.url() });
        let document = json!({
            "apiVersion": "replicante.io/v1", "kind": "Cluster", "metadata": { "name": "crash" },
            "spec": { "agents": self.members.iter().map(agent).collect::<Vec<Value>>() },
        });
        document.to_string()
    }

    /// Kills an agent at once. A command that it has started goes on without it.
    pub(crate) async fn kill(&mut self, index: usize) {
        let process = self.members[index].process.take().unwrap();
        process.kill().await.unwrap();
    }

    /// Sends a signal to an agent.
    pub(crate) fn signal(&self, index: usize, signal: Signal) {
        let process = self.members[index].process.as_ref().and_then(Process::id).unwrap();
        kill_process(Pid::from_raw(process.try_into().unwrap()).unwrap(), signal).unwrap();
    }

    /// Base URL of an agent's API.
    pub(crate) fn api(&self, index: usize) -> String {
        format!("{}/api/unstable", self.members[index].url())
    }

    /// Lets the waiting actions of an agent end.
    pub(crate) fn let_go(&self, index: usize) {
        std::fs::write(self.members[index].dir.join("executed.go"), "").unwrap();
    }

    /// Starts an agent again, on the same address and database.
    pub(crate) async fn again(&mut self, index: usize) {
        let member = &mut self.members[index];
        // Another program may have got the port for a moment, for a connection of its own.
        let process = wait::until("the agent's own port", LIMIT, async || {
            match Process::start(&member.id, member.command(), &member.dir.join("log")).await {
                Ok(process) => Some(process),
                Err(error) if error.to_string().contains("in use") => None,
                Err(error) => panic!("{error}"),
            }
        })
        .await;
        member.process = Some(process);
    }

    pub(crate) async fn stop(self) {
        let running = self.members.into_iter().filter_map(|member| member.process);
        futures::future::join_all(running.map(Process::stop)).await;
    }

    /// Proves from the agents' own records that nothing was done twice and nothing is left. Returns how many
    /// actions of each agent ended well, and how many did not.
    pub(crate) async fn done_once(&self, client: &Client) -> Vec<(usize, usize)> {
        let mut ended = Vec::new();
        for member in &self.members {
            ended.push(member.done_once(client).await);
        }
        ended
    }
}

impl Member {
    async fn start(dir: &Path, id: String) -> Self {
        let dir = dir.join(&id);
        std::fs::create_dir_all(&dir).unwrap();
        let command = |script: &str, timeout: &str| {
            let (executed, tried) = (dir.join("executed"), dir.join("tried"));
            json!({ "command": ["sh", "-c", script, "sh", executed, tried], "timeout": timeout })
        };
        let config = json!({
            "node_id": id,
            "status": "HEALTHY",
            "actions": {
                "crash.example.com/work": command(WORK, "30s"),
                "crash.example.com/second-try": command(SECOND_TRY, "30s"),
                "crash.example.com/wait": command(WAIT, "10m"),
            },
        });
        std::fs::write(dir.join("agent.yaml"), config.to_string()).unwrap();
        let mut member = Self { id, dir, address: "127.0.0.1:0".to_owned(), process: None };
        let command = member.command();
        let process = Process::start(&member.id, command, &member.dir.join("log")).await.unwrap();
        member.address = process.address().trim_start_matches("http://").to_owned();
        member.process = Some(process);
        member
    }

    fn command(&self) -> Command {
        let (_, port) = self.address.rsplit_once(':').unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_replibook"));
        command.arg("agent").arg("--config").arg(self.dir.join("agent.yaml"));
        command.arg("--data").arg(self.dir.join("agent.sqlite"));
        command.args(["--port", port, "--tick", "20ms", "--until-stdin-closes"]);
        command
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How often each action really ran.
    fn executed(&self) -> BTreeMap<String, u32> {
        let text = std::fs::read_to_string(self.dir.join("executed")).unwrap_or_default();
        let mut executed = BTreeMap::new();
        for id in text.lines() {
            *executed.entry(id.to_owned()).or_default() += 1;
        }
        executed
    }

    async fn done_once(&self, client: &Client) -> (usize, usize) {
        let api = format!("{}/api/unstable", self.url());
        let queue: Value = client.get(&format!("{api}/actions/queue")).await;
        assert_eq!(queue["actions"], json!([]), "{}", self.id);
        let finished: Value = client.get(&format!("{api}/actions/finished")).await;
        let executed = self.executed();
        let (mut well, mut badly) = (0, 0);
        for action in finished["actions"].as_array().unwrap() {
            let id = action["id"].as_str().unwrap();
            let action: Value = client.get(&format!("{api}/action/{id}")).await;
            assert_eq!(action["executions"], 1, "{}: {action}", self.id);
            let times = executed.get(id).copied().unwrap_or_default();
            match action["state"]["phase"].as_str() {
                Some("DONE") => {
                    assert_eq!(times, 1, "{}: {action}", self.id);
                    well += 1;
                }
                _ => {
                    // An agent that dies before its command has begun says "interrupted" as well.
                    assert!(times <= 1, "{}: {times} times: {action}", self.id);
                    badly += 1;
                }
            }
        }
        let known = finished["actions"].as_array().unwrap().len();
        assert!(executed.len() <= known, "{}: more was executed than it was sent", self.id);
        (well, badly)
    }
}
