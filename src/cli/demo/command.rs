//! The command itself: what the demonstration shows, in order. How processes are started and stopped is in
//! `scene`.

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};

use super::ending::{TOLD_BY_THE_RUN, approve, check_export, conclude, export, newest_run};
use super::fleet::plan;
use super::guard;
use super::ha;
use super::membership::{Change, NodesFile, cluster_document, tell};
use super::registry;
use super::scene::Scene;
use super::secure;
use super::shown::Shown;
use super::ssh;
use super::terminal::{say, type_in, watch_beside};
use crate::cli::client::Client;

/// Name of the demonstration's cluster.
pub(super) const CLUSTER: &str = "demo";

/// Arguments of `replibook demo`.
#[derive(Clone, Debug, clap::Args)]
pub struct DemoArgs {
    /// Number of agents, 1 to 100; each is a process with its own port. If there are several clusters, this is
    /// for each
    #[arg(long, value_name = "NUMBER", default_value_t = 12)]
    pub agents: u16,

    /// Number of agents whose restart fails; two are more than the playbook's budget allows
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    pub fail: u16,

    /// What to show
    #[arg(long, value_enum, default_value_t = Shown::Restart)]
    pub scene: Shown,

    /// Directory with the playbook.yaml to run; without it, that of the scene in `examples`
    #[arg(long, value_name = "DIR")]
    pub example: Option<PathBuf>,

    /// The server's store, as for `replibook serve`; without it, a file in a temporary directory
    #[arg(long, value_name = "STORE")]
    pub store: Option<String>,

    /// After the run, write its export to this file, which `replictl run replay` reads
    #[arg(long, value_name = "FILE")]
    pub export: Option<PathBuf>,

    /// After the run, keep the server and the agents running until Ctrl-C
    #[arg(long)]
    pub keep: bool,
}

/// Plays the demonstration and returns the exit code: that of the last `replictl`, or 130 after Ctrl-C. When it
/// returns, every process is stopped and every file removed.
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
    let example = args.example.clone().unwrap_or_else(|| args.scene.example().into());
    let playbook = example.join("playbook.yaml");
    if !playbook.is_file() {
        anyhow::bail!(
            "found no {}: expected the directory of an example; name it with --example",
            playbook.display()
        );
    }
    let name = playbook_name(&playbook)?;
    args.export.as_deref().map_or(Ok(()), check_export)?;
    if args.scene == Shown::Ha {
        return ha::play(args, &name, &playbook, scene).await;
    }
    if args.scene == Shown::Registry {
        return registry::play(args, &name, &playbook, scene).await;
    }
    if args.scene == Shown::Guard {
        return guard::play(args, &name, &playbook, scene).await;
    }
    if args.scene == Shown::Ssh {
        return ssh::play(args, &name, &playbook, scene).await;
    }
    if args.scene == Shown::Secure {
        return secure::play(args, &name, &playbook, scene).await;
    }
    let (server, cluster, story) = put_up(args, scene).await?;
    let path = scene.dir().join("cluster.yaml");
    std::fs::write(&path, cluster)
        .with_context(|| format!("failed to write {}", path.display()))?;

    let apply: [OsString; 3] = ["apply".into(), "-f".into(), path.into()];
    let apply = apply.into_iter().chain(["-f".into(), playbook.into()]);
    let start = ["run", "start", &name, "--cluster", CLUSTER].map(OsString::from);
    let mut code = type_in(scene, &apply.collect::<Vec<_>>()).await?;
    let nodes = story.as_ref().map(|(_, file)| file.path().to_owned());
    if code == 0 {
        code = match story {
            Some((change, file)) => match type_in(scene, &start).await? {
                0 => watch_and_change(scene, &server, change, file).await?,
                failed => failed,
            },
            None => {
                let watched = start.into_iter().chain(["--watch".into()]);
                type_in(scene, &watched.collect::<Vec<_>>()).await?
            }
        };
        code = match args.scene {
            Shown::Restart
            | Shown::Canary
            | Shown::Membership
            | Shown::Ha
            | Shown::Registry
            | Shown::Guard
            | Shown::Ssh
            | Shown::Secure => code,
            Shown::Approval => approve(scene, &server, code).await?,
        };
        if let Some(file) = &args.export {
            code = export(scene, &Client::new(&server)?, &[], file, code).await?;
        }
    }
    conclude(args, &server, nodes, code).await
}

/// How the cluster changes, and the file that makes it change; `None` if it does not.
type Story = Option<(Change, NodesFile)>;

/// Starts the processes and prints where they are. Returns the server's address, the `Cluster` document, and
/// how the cluster changes.
async fn put_up(args: &DemoArgs, scene: &mut Scene) -> anyhow::Result<(String, String, Story)> {
    let (change, nodes) = match args.scene {
        Shown::Restart
        | Shown::Approval
        | Shown::Canary
        | Shown::Ha
        | Shown::Registry
        | Shown::Guard
        | Shown::Ssh
        | Shown::Secure => (None, plan(args.agents, args.fail)?),
        Shown::Membership => {
            let (change, nodes) = Change::plan(args.agents, args.fail)?;
            (Some(change), nodes)
        }
    };
    let and_platform = if change.is_some() { ", a platform" } else { "" };
    let agents = nodes.len();
    say(&format!("starting a server{and_platform} and {agents} agents, a process and a port each"));
    let server = scene.start_server(args.store.as_deref(), &[]).await?;
    say(&format!("  server   {server}"));
    let file = scene.dir().join("nodes.yaml");
    let fleet = scene.start_agents(nodes).await?;
    for (node, address) in fleet.agents() {
        let fails = if node.fails { "   its restart will fail" } else { "" };
        let note = change.as_ref().map_or("", |change| change.note(&node.id));
        say(&format!("  {:<8} {address}   zone {}{fails}{note}", node.id, node.zone));
    }
    let Some(change) = change else {
        let document = fleet.cluster_document(CLUSTER)?;
        return Ok((server, document, None));
    };
    let file = NodesFile::new(file, CLUSTER, fleet);
    file.write(&[&change.joins])?;
    let platform = scene.start_platform(file.path()).await?;
    say(&format!("  platform {platform}   tells of all of them but {}", change.joins));
    Ok((server, cluster_document(CLUSTER, &platform)?, Some((change, file))))
}

/// Types the command that watches the run, and changes the cluster while it runs.
async fn watch_and_change(
    scene: &mut Scene,
    server: &str,
    change: Change,
    file: NodesFile,
) -> anyhow::Result<u8> {
    let run = newest_run(&Client::new(server)?).await?.id;
    let beside = scene.beside().context("failed to find the server")?;
    let (code, told) = watch_beside(scene, run, tell(run, change, file, beside)).await?;
    told.context("failed to change the cluster")?;
    Ok(code)
}

/// The name in a playbook's own document.
fn playbook_name(path: &std::path::Path) -> anyhow::Result<String> {
    let failed = || format!("failed to read {}", path.display());
    let text = std::fs::read_to_string(path).with_context(failed)?;
    let document: serde_json::Value = serde_yaml::from_str(&text).with_context(failed)?;
    match document.pointer("/metadata/name").and_then(serde_json::Value::as_str) {
        Some(name) => Ok(name.to_owned()),
        None => Err(anyhow::anyhow!("found no name at metadata.name").context(failed())),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

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
