//! The command itself: what the demonstration shows, in order.

use std::ffi::OsString;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitStatus;

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};

use super::fleet::plan;
use super::scene::Scene;
use crate::api::wire::{Listing, RunView};
use crate::cli::client::Client;

/// Name of the demonstration's cluster.
const CLUSTER: &str = "demo";

/// Exit code of `replictl` for a run that is paused.
const PAUSED: u8 = 9;

/// Exit code of `replictl` for a run that waits for approval.
const WAITS_FOR_APPROVAL: u8 = 6;

/// Exit codes of `replictl` that tell how a run went, not that something is broken: done, done with
/// failures, waiting, cancelled, paused.
const TOLD_BY_THE_RUN: [u8; 5] = [0, 5, WAITS_FOR_APPROVAL, 7, PAUSED];

/// What is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Shown {
    /// Every node is restarted, zone by zone
    Restart,
    /// Some nodes are restarted, a person approves, the rest follows
    Approval,
    /// One node is restarted and watched, then more and more of the others
    Canary,
}

impl Shown {
    /// The example that it plays, from the root of the project.
    fn example(self) -> &'static str {
        match self {
            Self::Restart => "examples/rolling-restart",
            Self::Approval => "examples/approval",
            Self::Canary => "examples/canary",
        }
    }
}

/// Arguments of `replibook demo`.
#[derive(Clone, Debug, clap::Args)]
pub struct DemoArgs {
    /// Number of agents, 1 to 100; each is a process with a port of its own
    #[arg(long, value_name = "NUMBER", default_value_t = 12)]
    pub agents: u16,

    /// Number of agents whose restart fails; two are more than the playbook's budget allows
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    pub fail: u16,

    /// What to show
    #[arg(long, value_enum, default_value_t = Shown::Restart)]
    pub scene: Shown,

    /// Directory with the playbook.yaml to run; without it that of the scene, in `examples`
    #[arg(long, value_name = "DIR")]
    pub example: Option<PathBuf>,

    /// The server's store, as for `replibook serve`; without it a file in a temporary directory
    #[arg(long, value_name = "STORE")]
    pub store: Option<String>,

    /// After the run keep the server and the agents going until Ctrl-C
    #[arg(long)]
    pub keep: bool,
}

/// Plays the demonstration and returns the exit code: that of the last `replictl`, or 130 after a
/// Ctrl-C. When it returns, every process is stopped and every file removed.
pub async fn demo(args: DemoArgs) -> anyhow::Result<u8> {
    let mut scene = Scene::new()?;
    let stop = stop_signal()?;
    let outcome = tokio::select! {
        outcome = play(&args, &mut scene) => outcome,
        number = stop => {
            say("stopping the demonstration");
            Ok(128 + number)
        }
    };
    let log = match &outcome {
        Ok(code) if TOLD_BY_THE_RUN.contains(code) || *code > 128 => String::new(),
        Ok(_) | Err(_) => scene.server_log(),
    };
    if !log.is_empty() {
        say(&format!("the end of the server's log:\n{log}"));
    }
    scene.take_down().await?;
    outcome
}

async fn play(args: &DemoArgs, scene: &mut Scene) -> anyhow::Result<u8> {
    let nodes = plan(args.agents, args.fail)?;
    let example = args.example.clone().unwrap_or_else(|| args.scene.example().into());
    let playbook = example.join("playbook.yaml");
    if !playbook.is_file() {
        anyhow::bail!(
            "found no {}: expected the directory of an example; name it with --example",
            playbook.display()
        );
    }

    say(&format!("starting a server and {} agents, a process and a port each", args.agents));
    let server = scene.start_server(args.store.as_deref()).await?;
    say(&format!("  server   {server}"));
    let fleet = scene.start_agents(nodes).await?;
    for (node, address) in fleet.agents() {
        let note = if node.fails { "   its restart will fail" } else { "" };
        say(&format!("  {:<8} {address}   zone {}{note}", node.id, node.zone));
    }
    let document = fleet.cluster_document(CLUSTER)?;
    let cluster = scene.dir().join("cluster.yaml");
    std::fs::write(&cluster, document)
        .with_context(|| format!("failed to write {}", cluster.display()))?;

    let name = playbook_name(&playbook)?;
    let apply: [OsString; 3] = ["apply".into(), "-f".into(), cluster.into()];
    let apply = apply.into_iter().chain(["-f".into(), playbook.into()]);
    let start = ["run", "start", &name, "--cluster", CLUSTER, "--watch"].map(OsString::from);
    let mut code = type_in(scene, &apply.collect::<Vec<_>>()).await?;
    if code == 0 {
        code = type_in(scene, &start).await?;
        code = match args.scene {
            Shown::Restart | Shown::Canary => code,
            Shown::Approval => approve(scene, &server, code).await?,
        };
    }
    conclude(args, &server, code).await
}

/// Types a `replictl` command and returns its exit code.
async fn type_in(scene: &mut Scene, arguments: &[OsString]) -> anyhow::Result<u8> {
    let shown: Vec<_> = arguments.iter().map(|word| shell_word(&word.to_string_lossy())).collect();
    say(&format!("\n$ replictl {}", shown.join(" ")));
    Ok(exit_code(scene.replictl(arguments).await?))
}

/// A word as a person types it.
fn shell_word(word: &str) -> String {
    if word.contains(' ') { format!("'{word}'") } else { word.to_owned() }
}

/// Approves the run that waits for that, as another person in another terminal would, and shows both
/// exit codes.
async fn approve(scene: &mut Scene, server: &str, code: u8) -> anyhow::Result<u8> {
    say(&format!("\nexit code {code}"));
    if code != WAITS_FOR_APPROVAL {
        return Ok(code);
    }
    let client = Client::new(server)?;
    let newest: Listing<RunView> = client.runs().read(None, 1).await?;
    let run = newest.items.first().context("failed to find the run that waits")?.id;
    let id = run.to_string();
    let arguments = ["run", "approve", &id, "--reason", "they look well", "--watch"];
    let code = type_in(scene, &arguments.map(OsString::from)).await?;
    say(&format!("\nexit code {code}"));
    Ok(code)
}

/// Says what comes next after `replictl` ended with `code`.
async fn conclude(args: &DemoArgs, server: &str, code: u8) -> anyhow::Result<u8> {
    if args.keep {
        say("\nthe server and the agents go on until Ctrl-C. replictl is beside replibook; before");
        say("you use it in another terminal, type:");
        say(&format!("  export REPLIBOOK_SERVER={server}"));
        std::future::pending::<()>().await;
    }
    if code == PAUSED {
        say("\nthe run is paused, and waits until a person resumes or cancels it with one of the");
        say("commands above. this is a demonstration: its server and its agents stop now, and the");
        say("run with them. to have them go on, so that you can type the commands:");
        say(&format!("  make demo FAIL={} KEEP=1        (replibook demo --keep)", args.fail));
    }
    Ok(code)
}

/// The name that the playbook gives itself.
fn playbook_name(path: &std::path::Path) -> anyhow::Result<String> {
    let failed = || format!("failed to read {}", path.display());
    let text = std::fs::read_to_string(path).with_context(failed)?;
    let document: serde_json::Value = serde_yaml::from_str(&text).with_context(failed)?;
    match document.pointer("/metadata/name").and_then(serde_json::Value::as_str) {
        Some(name) => Ok(name.to_owned()),
        None => Err(anyhow::anyhow!("found no name at metadata.name").context(failed())),
    }
}

/// The exit code as a shell shows it: 128 and the signal for a process that was killed.
fn exit_code(status: ExitStatus) -> u8 {
    use std::os::unix::process::ExitStatusExt as _;
    let killed = || status.signal().map(|number| 128_i32.saturating_add(number));
    status.code().or_else(killed).and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}

/// Resolves to the number of the signal that asks this process to stop.
fn stop_signal() -> anyhow::Result<impl Future<Output = u8>> {
    let listen = |kind| signal(kind).context("failed to listen for signals");
    let mut interrupt = listen(SignalKind::interrupt())?;
    let mut terminate = listen(SignalKind::terminate())?;
    let mut hangup = listen(SignalKind::hangup())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => 2,
            _ = terminate.recv() => 15,
            _ = hangup.recv() => 1,
        }
    })
}

/// Tells the person at the terminal; stdout is for the commands' own data.
fn say(text: &str) {
    // A closed stderr is no reason to stop: the exit code still tells how it went.
    let _ = writeln!(std::io::stderr(), "{text}");
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;

    use super::*;

    #[test]
    fn exit_codes_are_those_that_a_shell_shows() {
        assert_eq!(exit_code(ExitStatus::from_raw(9 << 8)), 9);
        assert_eq!(exit_code(ExitStatus::from_raw(9)), 137);
    }

    #[test]
    fn a_playbook_without_a_name_is_an_error_that_names_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("playbook.yaml");
        std::fs::write(&path, "metadata: { name: a }").unwrap();
        assert_eq!(playbook_name(&path).unwrap(), "a");
        std::fs::write(&path, "metadata: {}").unwrap();
        let error = format!("{:#}", playbook_name(&path).unwrap_err());
        assert!(error.contains("playbook.yaml") && error.contains("metadata.name"), "{error}");
    }
}
