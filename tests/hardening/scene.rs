//! A server and an agent that do one run, each started in a way of the test's own.

use std::fs;
use std::path::Path;
use std::process::Output;

use replibook::cli::demo::Process;
use tokio::process::Command;

/// A command that starts a program of this project with some arguments in front of it.
pub(crate) type Started<'s> = &'s dyn Fn(&'static str) -> Command;

/// Starts a program as it is.
pub(crate) fn plainly(program: &'static str) -> Command {
    Command::new(program)
}

pub(crate) struct Scene {
    pub(crate) server: Process,
    agent: Process,
    address: String,
}

impl Scene {
    /// A server and an agent with all their files in `dir`.
    pub(crate) async fn start(dir: &Path, server: Started<'_>, agent: Started<'_>) -> Self {
        let mut command = agent(env!("CARGO_BIN_EXE_replibook"));
        command.args(["agent", "--until-stdin-closes", "--port", "0", "--node-id", "node-1"]);
        command.args(["--tick", "10ms", "--data"]).arg(dir.join("agent/db.sqlite"));
        let agent = Process::start("the agent", command, &dir.join("agent.log")).await.unwrap();
        let mut command = server(env!("CARGO_BIN_EXE_replibook"));
        command.args(["serve", "--until-stdin-closes", "--listen", "127.0.0.1:0", "--data"]);
        command.arg(dir.join("server"));
        let server = Process::start("the server", command, &dir.join("server.log")).await.unwrap();
        let address = server.address().to_owned();
        Self { server, agent, address }
    }

    /// Runs `replictl`, which has to end well.
    pub(crate) async fn replictl(&self, started: Started<'_>, args: &[&str]) {
        let mut command = started(env!("CARGO_BIN_EXE_replictl"));
        let output = command.args(args).env("REPLIBOOK_SERVER", &self.address).output().await;
        let Output { status, stderr, .. } = output.unwrap();
        assert!(status.success(), "{args:?}: {}", String::from_utf8_lossy(&stderr));
    }

    /// Applies a playbook and a cluster, and plays it.
    pub(crate) async fn run(&self, dir: &Path, started: Started<'_>) {
        let file = dir.join("documents.yaml");
        let documents = format!(
            "apiVersion: replicante.io/v1\nkind: Cluster\nmetadata: {{ name: one }}\nspec:\n  agents:\n    \
             - {{ id: node-1, address: \"{}\" }}\n---\napiVersion: replicante.io/v1\nkind: Playbook\n\
             metadata: {{ name: one, version: 1.0.0 }}\nspec:\n  stages:\n    - name: only\n      \
             strategy: {{ use: all-at-once }}\n      \
             steps: [{{ name: act, action: agent.replicante.io/test.success }}]\n",
            self.agent.address()
        );
        fs::write(&file, documents).unwrap();
        self.replictl(started, &["apply", "-f", file.to_str().unwrap()]).await;
        self.replictl(started, &["run", "start", "one", "--cluster", "one", "--watch"]).await;
    }

    pub(crate) async fn stop(self) {
        self.server.stop().await;
        self.agent.stop().await;
    }
}
