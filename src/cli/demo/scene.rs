//! Everything that the demonstration starts: a directory, servers, agents and a platform; and how all of it is
//! stopped, whatever happened.

use std::ffi::OsString;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Output, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use futures::future::join_all;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, BufReader};
use tokio::process::{Child, ChildStdin, Command};

use super::fleet::{Fleet, Node};
use super::process::Process;
use super::terminal::{pass_on, say_beside};

/// How long `replictl` may take to stop after a Ctrl-C that it received too; it only has to tidy up the
/// terminal.
const CLIENT_STOP_LIMIT: Duration = Duration::from_secs(2);

/// What the person at the terminal has told `replictl` about servers of their own: it has nothing to do with the server here.
const OF_OTHERS: [&str; 5] = [
    "REPLIBOOK_CONTEXT",
    "REPLIBOOK_TOKEN",
    "REPLIBOOK_TOKEN_FILE",
    "REPLIBOOK_CA",
    "REPLIBOOK_CERT",
];

/// The processes and files of one demonstration. Whatever still runs when it is dropped is killed.
#[derive(Debug)]
pub(super) struct Scene {
    programs: Programs,
    dir: tempfile::TempDir,
    server: Option<Process>,
    /// The servers that share a store, with the names of their engines; requests go to the last one.
    engines: Vec<(String, Process)>,
    /// The platform, or the gateway.
    platform: Option<Process>,
    /// The registry, or sshd.
    registry: Option<Process>,
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
    /// This binary, and the `replictl` beside it.
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
    /// An empty scene: only its directory exists.
    pub(super) fn new() -> anyhow::Result<Self> {
        let programs = Programs::find()?;
        let mut dir = tempfile::Builder::new();
        // Keys and tokens may be in it.
        let dir =
            dir.prefix("replibook-demo-").permissions(Permissions::from_mode(0o700)).tempdir();
        let dir = dir.context("failed to make a directory for the demonstration")?;
        Ok(Self {
            programs,
            dir,
            server: None,
            engines: Vec::new(),
            platform: None,
            registry: None,
            fleet: None,
            client: None,
        })
    }

    /// The directory for all files.
    pub(super) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Starts the server, perhaps with more arguments, and returns its address.
    pub(super) async fn start_server(
        &mut self,
        store: Option<&str>,
        more: &[OsString],
    ) -> anyhow::Result<String> {
        let mut command = Command::new(&self.programs.replibook);
        command.args(["serve", "--listen", "127.0.0.1:0", "--until-stdin-closes", "--data"]);
        command.arg(self.dir().join("server")).args(more);
        if let Some(store) = store {
            // Not as an argument: an address may contain a password.
            command.env("REPLIBOOK_STORE", store);
        }
        let log = self.dir().join("server.log");
        let server = Process::start("the server", command, &log).await?;
        Ok(self.server.insert(server).address().to_owned())
    }

    /// Starts one of several servers that share a store, and returns its address.
    pub(super) async fn start_engine(&mut self, name: &str, store: &str) -> anyhow::Result<String> {
        let mut command = Command::new(&self.programs.replibook);
        command.args(["serve", "--listen", "127.0.0.1:0", "--until-stdin-closes"]);
        command.args(["--engine-name", name, "--data"]).arg(self.dir().join(name));
        command.env("REPLIBOOK_STORE", store);
        let server = Process::start(name, command, &self.dir().join(format!("{name}.log"))).await?;
        let address = server.address().to_owned();
        self.engines.push((name.to_owned(), server));
        Ok(address)
    }

    /// The names of the engines that share a store, with the addresses of their servers.
    pub(super) fn engines(&self) -> Vec<(String, String)> {
        let known = self.engines.iter();
        known.map(|(name, server)| (name.clone(), server.address().to_owned())).collect()
    }

    /// Kills one of these servers at once, as in a crash.
    pub(super) async fn kill_engine(&mut self, name: &str) -> anyhow::Result<()> {
        let found = self.engines.iter().position(|(known, _)| known == name);
        let index = found.with_context(|| format!("failed to find {name}"))?;
        let (_, server) = self.engines.remove(index);
        server.kill().await.with_context(|| format!("failed to kill {name}"))?;
        Ok(())
    }

    /// The address of the server that requests go to.
    pub(super) fn server_address(&self) -> anyhow::Result<String> {
        Ok(self.asked().context("failed to find a server")?.address().to_owned())
    }

    fn asked(&self) -> Option<&Process> {
        self.server.as_ref().or(self.engines.last().map(|(_, server)| server))
    }

    /// The agents that executed other commands than `effects`, or in another order.
    pub(super) fn agents_that_did_not(&self, effects: &[&str]) -> anyhow::Result<Vec<String>> {
        let fleet = self.fleet.as_ref().context("failed to find the agents")?;
        fleet.other_than(effects).context("failed to read what agents did")
    }

    /// The identifier and the address of one of the agents.
    pub(super) fn first_agent(&self) -> anyhow::Result<(String, String)> {
        let first = self.fleet.as_ref().and_then(|fleet| fleet.agents().next());
        let (node, address) = first.context("failed to find an agent")?;
        Ok((node.id.clone(), address.to_owned()))
    }

    /// Starts the agents.
    pub(super) async fn start_agents(&mut self, nodes: Vec<Node>) -> anyhow::Result<&Fleet> {
        let fleet = Fleet::start(&self.programs.replibook, self.dir.path(), nodes).await?;
        Ok(self.fleet.insert(fleet))
    }

    /// Starts the agents, each with the credentials that are in its folder already.
    pub(super) async fn start_secured_agents(
        &mut self,
        nodes: Vec<Node>,
    ) -> anyhow::Result<&Fleet> {
        let dir = self.dir.path();
        let fleet = Fleet::start_secured(&self.programs.replibook, dir, nodes).await?;
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

    /// Starts a gateway, which tells of its nodes as a platform does, and returns its address.
    pub(super) async fn start_gateway(&mut self, more: &[OsString]) -> anyhow::Result<String> {
        let mut command = Command::new(&self.programs.replibook);
        command.args(["gateway", "--until-stdin-closes"]).args(more);
        let log = self.dir().join("gateway.log");
        let gateway = Process::start("the gateway", command, &log).await?;
        Ok(self.platform.insert(gateway).address().to_owned())
    }

    /// Starts an sshd, a program of others. It ends after the gateway, whose connections it has.
    pub(super) async fn start_sshd(&mut self, command: Command) -> anyhow::Result<()> {
        let log = self.dir().join("sshd.log");
        self.registry = Some(Process::start("sshd", command, &log).await?);
        Ok(())
    }

    /// Starts a registry, a program of others, and returns its host and port.
    pub(super) async fn start_registry(&mut self, command: Command) -> anyhow::Result<String> {
        let log = self.dir().join("registry.log");
        let registry = Process::start("the registry", command, &log).await?;
        Ok(self.registry.insert(registry).address().to_owned())
    }

    /// The program of `replictl`.
    pub(super) fn replictl_program(&self) -> &Path {
        &self.programs.replictl
    }

    /// The file in which `replictl` keeps its contexts.
    pub(super) fn contexts(&self) -> PathBuf {
        self.dir().join("contexts.yaml")
    }

    /// Has a command that asks a server ask the one of the scene, and know nothing of others.
    pub(super) fn give_environment(&self, command: &mut Command) {
        give_environment(command, self.server_address().ok().as_deref(), &self.contexts());
    }

    /// Runs commands while another one is running; `None` before the server is started.
    pub(super) fn beside(&self) -> Option<Beside> {
        let server = self.server.as_ref()?.address().to_owned();
        let replictl = self.programs.replictl.clone();
        Some(Beside { replictl, server, contexts: self.contexts() })
    }

    /// Runs a `replictl` command to its end. Its output goes to the output of this process.
    pub(super) async fn replictl<I>(&mut self, arguments: I) -> anyhow::Result<ExitStatus>
    where
        I: IntoIterator<Item: AsRef<std::ffi::OsStr>>,
    {
        let mut command = Command::new(&self.programs.replictl);
        // It ends with this process, however that ends.
        command.arg("--until-stdin-closes").args(arguments);
        command.stdin(Stdio::piped()).kill_on_drop(true);
        self.give_environment(&mut command);
        // The child is kept in `self` and not in this future, so that it can end by itself after Ctrl-C.
        let mut client = command.spawn().context("failed to start replictl")?;
        let stdin = client.stdin.take();
        let (client, _) = self.client.insert((client, stdin));
        let status = client.wait().await.context("failed to wait for replictl")?;
        self.client = None;
        Ok(status)
    }

    /// Runs a program to its end, and returns what it said. It is kept as the client is, so that it can end by itself, too.
    pub(super) async fn run(&mut self, mut command: Command) -> anyhow::Result<Output> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.kill_on_drop(true).spawn().context("failed to start a command")?;
        let (out, err) = (child.stdout.take(), child.stderr.take());
        let (child, _) = self.client.insert((child, None));
        let (status, stdout, stderr) = tokio::join!(child.wait(), whole(out), whole(err));
        self.client = None;
        Ok(Output { status: status.context("failed to wait for a command")?, stdout, stderr })
    }

    /// The end of the server's log.
    pub(super) fn server_log(&self) -> String {
        self.asked().map(Process::log_tail).unwrap_or_default()
    }

    /// Stops every process, waits until they are gone, and removes the directory.
    pub(super) async fn take_down(mut self) -> anyhow::Result<()> {
        if let Some((mut client, _stdin)) = self.client.take()
            && tokio::time::timeout(CLIENT_STOP_LIMIT, client.wait()).await.is_err()
        {
            client.kill().await.context("failed to stop a command")?;
        }
        // The server goes first, since it would report the agents as unreachable.
        if let Some(server) = self.server.take() {
            server.stop().await;
        }
        join_all(self.engines.drain(..).map(|(_, server)| server.stop())).await;
        if let Some(platform) = self.platform.take() {
            platform.stop().await;
        }
        if let Some(registry) = self.registry.take() {
            registry.stop().await;
        }
        if let Some(fleet) = self.fleet.take() {
            fleet.stop().await;
        }
        self.dir.close().context("failed to remove the directory of the demonstration")
    }
}

fn give_environment(command: &mut Command, server: Option<&str>, contexts: &Path) {
    for name in OF_OTHERS {
        command.env_remove(name);
    }
    command.env("REPLIBOOK_CONFIG", contexts);
    if let Some(server) = server {
        command.env("REPLIBOOK_SERVER", server);
    }
}

/// Everything that a program writes. A pipe that breaks ends it as well.
async fn whole(pipe: Option<impl AsyncRead + Unpin>) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Some(mut pipe) = pipe {
        let _ = pipe.read_to_end(&mut bytes).await;
    }
    bytes
}

/// Prints each line as it comes. A pipe that breaks ends it as well.
async fn pass_lines(pipe: Option<impl AsyncRead + Unpin>) {
    let Some(pipe) = pipe else { return };
    let mut lines = BufReader::new(pipe).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        say_beside(&format!("  {line}"));
    }
}

/// Runs `replictl` commands while another one is running, as in a second terminal.
#[derive(Debug)]
pub(super) struct Beside {
    replictl: PathBuf,
    server: String,
    contexts: PathBuf,
}

impl Beside {
    /// Address of the server.
    pub(super) fn server(&self) -> &str {
        &self.server
    }

    /// Runs a command to its end, and prints each line of its output as it comes.
    pub(super) async fn live(&self, arguments: &[&str]) -> anyhow::Result<()> {
        let mut command = Command::new(&self.replictl);
        command.args(arguments);
        give_environment(&mut command, Some(&self.server), &self.contexts);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        say_beside(&format!("\n$ replictl {}", arguments.join(" ")));
        let mut child = command.kill_on_drop(true).spawn().context("failed to run replictl")?;
        let (out, err) = (child.stdout.take(), child.stderr.take());
        let (status, (), ()) = tokio::join!(child.wait(), pass_lines(out), pass_lines(err));
        let status = status.context("failed to wait for replictl")?;
        say_beside("");
        anyhow::ensure!(status.success(), "replictl {}: {status}", arguments.join(" "));
        Ok(())
    }

    /// Runs a command to its end, and then prints its output in one piece.
    pub(super) async fn replictl(&self, arguments: &[&str]) -> anyhow::Result<()> {
        let mut command = Command::new(&self.replictl);
        command.args(arguments);
        give_environment(&mut command, Some(&self.server), &self.contexts);
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
