//! What the demonstration puts up: a directory, a server and the agents, and how it is taken down.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use tokio::process::{Child, ChildStdin, Command};

use super::fleet::{Fleet, Node};
use super::process::Process;
use super::terminal::{pass_on, say_beside};

/// How long `replictl` may take to stop after a Ctrl-C that it got as well; it only has to tidy up
/// the terminal.
const CLIENT_STOP_LIMIT: Duration = Duration::from_secs(2);

/// The processes and files of one demonstration. Whatever is up when it is dropped is killed.
#[derive(Debug)]
pub(super) struct Scene {
    programs: Programs,
    dir: tempfile::TempDir,
    server: Option<Process>,
    platform: Option<Process>,
    fleet: Option<Fleet>,
    client: Option<(Child, Option<ChildStdin>)>,
}

/// The two binaries.
#[derive(Debug)]
struct Programs {
    replibook: PathBuf,
    replictl: PathBuf,
}

impl Programs {
    /// This binary, and `replictl` beside it.
    fn find() -> anyhow::Result<Self> {
        let replibook = std::env::current_exe().context("failed to find this program's file")?;
        let replictl = replibook.with_file_name("replictl");
        if !replictl.is_file() {
            anyhow::bail!(
                "failed to find replictl: expected it at {}, beside replibook",
                replictl.display()
            );
        }
        Ok(Self { replibook, replictl })
    }
}

impl Scene {
    /// An empty scene: only its directory is there.
    pub(super) fn new() -> anyhow::Result<Self> {
        let programs = Programs::find()?;
        let dir = tempfile::Builder::new().prefix("replibook-demo-").tempdir();
        let dir = dir.context("failed to make a directory for the demonstration")?;
        Ok(Self { programs, dir, server: None, platform: None, fleet: None, client: None })
    }

    /// Where the files are.
    pub(super) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Starts the server and returns its address.
    pub(super) async fn start_server(&mut self, store: Option<&str>) -> anyhow::Result<String> {
        let mut command = Command::new(&self.programs.replibook);
        command.args(["serve", "--listen", "127.0.0.1:0", "--until-stdin-closes", "--data"]);
        command.arg(self.dir().join("server"));
        if let Some(store) = store {
            // Not as an argument: an address may have a password in it.
            command.env("REPLIBOOK_STORE", store);
        }
        let log = self.dir().join("server.log");
        let server = Process::start("the server", command, &log).await?;
        Ok(self.server.insert(server).address().to_owned())
    }

    /// Starts the agents.
    pub(super) async fn start_agents(&mut self, nodes: Vec<Node>) -> anyhow::Result<&Fleet> {
        let fleet = Fleet::start(&self.programs.replibook, self.dir.path(), nodes).await?;
        Ok(self.fleet.insert(fleet))
    }

    /// Starts a platform that serves `file`, and returns its address.
    pub(super) async fn start_platform(&mut self, file: &Path) -> anyhow::Result<String> {
        let mut command = Command::new(&self.programs.replibook);
        command.args(["platform", "--listen", "127.0.0.1:0", "--until-stdin-closes", "--file"]);
        command.arg(file);
        let log = self.dir().join("platform.log");
        let platform = Process::start("the platform", command, &log).await?;
        Ok(self.platform.insert(platform).address().to_owned())
    }

    /// What runs commands while another one goes on; none before the server is there.
    pub(super) fn beside(&self) -> Option<Beside> {
        let server = self.server.as_ref()?.address().to_owned();
        Some(Beside { replictl: self.programs.replictl.clone(), server })
    }

    /// Runs a `replictl` command to its end; what it writes goes where ours goes.
    pub(super) async fn replictl<I>(&mut self, arguments: I) -> anyhow::Result<ExitStatus>
    where
        I: IntoIterator<Item: AsRef<std::ffi::OsStr>>,
    {
        let mut command = Command::new(&self.programs.replictl);
        // It goes with this process, however that ends.
        command.arg("--until-stdin-closes").args(arguments);
        command.stdin(Stdio::piped()).kill_on_drop(true);
        if let Some(server) = &self.server {
            command.env("REPLIBOOK_SERVER", server.address());
        }
        // Kept here and not in this future, so that a Ctrl-C lets it end by itself.
        let mut client = command.spawn().context("failed to start replictl")?;
        let stdin = client.stdin.take();
        let (client, _) = self.client.insert((client, stdin));
        let status = client.wait().await.context("failed to wait for replictl")?;
        self.client = None;
        Ok(status)
    }

    /// The end of the server's log.
    pub(super) fn server_log(&self) -> String {
        self.server.as_ref().map(Process::log_tail).unwrap_or_default()
    }

    /// Stops every process, waits until they are gone, and removes the directory.
    pub(super) async fn take_down(mut self) -> anyhow::Result<()> {
        if let Some((mut client, _stdin)) = self.client.take()
            && tokio::time::timeout(CLIENT_STOP_LIMIT, client.wait()).await.is_err()
        {
            client.kill().await.context("failed to stop replictl")?;
        }
        // The server first: it would report the agents as unreachable.
        if let Some(server) = self.server.take() {
            server.stop().await;
        }
        if let Some(platform) = self.platform.take() {
            platform.stop().await;
        }
        if let Some(fleet) = self.fleet.take() {
            fleet.stop().await;
        }
        self.dir.close().context("failed to remove the directory of the demonstration")
    }
}

/// Runs `replictl` commands while another one goes on, as in a second terminal.
#[derive(Debug)]
pub(super) struct Beside {
    replictl: PathBuf,
    server: String,
}

impl Beside {
    /// Address of the server.
    pub(super) fn server(&self) -> &str {
        &self.server
    }

    /// Runs a command to its end. What it writes appears in one piece then.
    pub(super) async fn replictl(&self, arguments: &[&str]) -> anyhow::Result<()> {
        let mut command = Command::new(&self.replictl);
        command.args(arguments).env("REPLIBOOK_SERVER", &self.server);
        command.stdin(Stdio::null()).kill_on_drop(true);
        let output = command.output().await.context("failed to run replictl")?;
        say_beside(&format!("\n$ replictl {}", arguments.join(" ")));
        pass_on(&output.stdout, &output.stderr);
        say_beside("");
        anyhow::ensure!(
            output.status.success(),
            "replictl {}: {}",
            arguments.join(" "),
            output.status
        );
        Ok(())
    }
}
