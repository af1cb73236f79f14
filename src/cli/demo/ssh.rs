//! The scene with nodes behind SSH: an inventory of Ansible is imported, a gateway reaches its nodes through a real sshd, and
//! a script goes over them in batches with a health gate. One node fails, and its output is shown while it works.

use std::ffi::OsString;
use std::path::Path;

use anyhow::Context as _;
use futures::StreamExt as _;
use serde_json::{Value, json};

use super::command::{CLUSTER, DemoArgs};
use super::ending::{conclude, export, newest_run};
use super::fleet::MAX_AGENTS;
use super::scene::{Beside, Scene};
use super::shell::{folder, shell, write};
use super::ssh_server::{address, free_port, start_sshd};
use super::terminal::{say, say_beside, type_in, watch_beside};
use crate::cli::client::Client;
use crate::cli::feed::{FeedLimits, Update, follow};
use crate::run::{AgentState, Happened, RunId};

/// The node that fails first, if any does: in the second batch, so that a person sees one that goes well.
const FIRST_THAT_FAILS: u16 = 4;

/// Plays the scene. The exit code is that of the run.
pub(super) async fn play(
    args: &DemoArgs,
    playbook: &str,
    path: &Path,
    scene: &mut Scene,
) -> anyhow::Result<u8> {
    anyhow::ensure!(
        (1..=MAX_AGENTS).contains(&args.agents) && args.fail <= args.agents,
        "found {} agents, {} of which fail; expected 1 to {MAX_AGENTS}",
        args.agents,
        args.fail
    );
    std::fs::create_dir(folder(scene)).context("failed to make a folder to work in")?;
    say(
        "starting an sshd with keys of its own, which answers at an address of 127.0.0.0/8 for each node",
    );
    let port = start_sshd(scene).await?;
    say(&format!("  sshd     port {port}"));

    say("\n--- this is an inventory of Ansible");
    let hosts = hosts(args);
    write(scene, "hosts.ini", &hosts.text)?;
    shell(scene, "cat hosts.ini").await?.done()?;
    let gateway = format!("http://127.0.0.1:{}", free_port()?);
    let import = format!(
        "replictl import ansible hosts.ini --name {CLUSTER} --gateway {gateway} --allow script --to ."
    );
    shell(scene, &import).await?.done()?;
    say(
        "\n--- what tells the status of a node is added by hand; then a gateway reaches them over SSH",
    );
    add_status(scene)?;
    shell(scene, "head -n 16 inventory.yaml; echo …; cat cluster.yaml").await?.done()?;
    let own = folder(scene);
    let listen = gateway.trim_start_matches("http://").to_owned();
    say(&format!(
        "\n$ replibook gateway --inventory inventory.yaml --ssh-config ssh_config --listen {listen}"
    ));
    let more: [OsString; 6] = [
        "--inventory".into(),
        own.join("inventory.yaml").into(),
        "--ssh-config".into(),
        own.join("ssh_config").into(),
        "--listen".into(),
        listen.into(),
    ];
    scene.start_gateway(&more).await?;
    let server = scene.start_server(args.store.as_deref(), &[]).await?;
    say(&format!("  gateway  {gateway}\n  server   {server}"));

    let apply = ["apply".into(), "-f".into(), own.join("cluster.yaml").into()];
    let apply: Vec<OsString> = apply.into_iter().chain(["-f".into(), path.into()]).collect();
    let mut code = type_in(scene, &apply).await?;
    if code == 0 {
        let start = ["run", "start", playbook, "--cluster", CLUSTER].map(OsString::from);
        code = type_in(scene, &start).await?;
    }
    if code != 0 {
        return conclude(args, &server, None, code).await;
    }
    let run = newest_run(&Client::new(&server)?).await?.id;
    let beside = scene.beside().context("failed to find the server")?;
    let shown = hosts.shown;
    let (watched, told) = watch_beside(scene, run, tell(run, shown, beside)).await?;
    told.context("failed to show the output of a node")?;
    code = watched;
    if let Some(file) = &args.export {
        code = export(scene, &Client::new(&server)?, &[], file, code).await?;
    }
    say(&format!("\nexit code {code}"));
    conclude(args, &server, None, code).await
}

/// An inventory of Ansible.
struct Hosts {
    text: String,
    /// The node whose output is shown: the first that fails, or the first.
    shown: String,
}

fn hosts(args: &DemoArgs) -> Hosts {
    let first = FIRST_THAT_FAILS.min(args.agents - args.fail);
    let fails = |index: u16| (first..first + args.fail).contains(&index);
    let name = |index: u16| format!("web-{:02}", index + 1);
    let lines = (0..args.agents).map(|index| {
        let disk = if fails(index) { " disk=full" } else { "" };
        format!("{} ansible_host={}{disk}\n", name(index), address(index))
    });
    let lines: String = lines.collect();
    let text =
        format!("[web]\n{lines}\n[web:vars]\ndisk=ok\nansible_ssh_private_key_file=keys/user\n");
    Hosts { text, shown: name(if args.fail > 0 { first } else { 0 }) }
}

/// Says in the inventory what tells the status of a node.
fn add_status(scene: &Scene) -> anyhow::Result<()> {
    let path = folder(scene).join("inventory.yaml");
    let text = std::fs::read_to_string(&path).context("failed to read the inventory")?;
    write(scene, "inventory.yaml", &with_status(&text)?)
}

fn with_status(text: &str) -> anyhow::Result<String> {
    let mut document: Value = serde_yaml::from_str(text).context("failed to read a document")?;
    let all = document.pointer_mut("/spec/groups/all").and_then(Value::as_object_mut);
    let status = json!({ "command": ["sh", "-c", "~/service status"] });
    all.context("found no group `all`")?.insert("node_status".to_owned(), status);
    serde_yaml::to_string(&document).context("failed to write a document as YAML")
}

/// Shows what a node writes, once it is at work.
async fn tell(run: RunId, node: String, beside: Beside) -> anyhow::Result<()> {
    let feed = follow(Client::new(beside.server())?, run, FeedLimits::default());
    let mut feed = std::pin::pin!(feed);
    while let Some(update) = feed.next().await {
        let Update::Event(event) = update? else { continue };
        let Happened::Agent { agent, to, .. } = &event.what else { continue };
        if agent.as_str() == node && *to == AgentState::Running {
            say_beside(&format!("\n--- in another terminal: what {node} writes while it works"));
            let run = run.to_string();
            return beside.live(&["run", "output", &run, "--agent", &node, "--follow"]).await;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::playbook::inventory::parse_inventory;

    #[test]
    fn as_many_nodes_fail_as_are_asked_for() {
        for (agents, fail) in [(12, 1), (12, 0), (1, 1), (3, 3), (5, 2)] {
            let scene = super::super::Shown::Restart;
            let args = DemoArgs {
                agents,
                fail,
                scene,
                example: None,
                store: None,
                export: None,
                keep: false,
            };
            let Hosts { text, shown } = hosts(&args);
            assert_eq!(text.matches("ansible_host=").count(), usize::from(agents));
            assert_eq!(text.matches("disk=full").count(), usize::from(fail));
            let line = text.lines().find(|line| line.starts_with(&shown)).unwrap();
            assert_eq!(line.contains("disk=full"), fail > 0, "{text}");
        }
    }

    #[test]
    fn the_status_is_added_to_what_was_imported() {
        let text = "apiVersion: replicante.io/v1\nkind: Inventory\nmetadata: { name: demo }\nspec:\n  groups: { all: { allow: [script] } }\n  \
                    nodes: [{ id: a }]\n";
        let inventory = parse_inventory(with_status(text).unwrap().as_bytes()).unwrap();
        assert_eq!(inventory.nodes[0].node_status.as_ref().unwrap()[2], "~/service status");
        assert!(with_status("spec: {}").is_err());
    }
}
