//! The scene with a guard: a strategy that somebody else wrote starts everybody at once in three zones, and the guard of the
//! cluster lets one agent of one zone go at a time. In the middle a node turns ill by itself: the run waits, says why, and
//! goes on when the node is well.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use futures::StreamExt as _;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::command::{CLUSTER, DemoArgs};
use super::ending::{conclude, export, newest_run};
use super::fleet::{MAX_AGENTS, plan};
use super::scene::{Beside, Scene};
use super::terminal::{say, say_beside, type_in, watch_beside};
use super::zones::Zones;
use crate::cli::client::Client;
use crate::cli::feed::{FeedLimits, Update, follow};
use crate::cli::held;
use crate::clock::{Clock as _, SystemClock};
use crate::run::{AgentState, Happened, RunId};

/// The fewest agents: with fewer, the run would be over before the guard holds it because of the node that is ill.
const FEWEST: u16 = 9;

/// How many agents are done when the node turns ill.
const DONE_FIRST: usize = 3;

/// Name of the guard.
const GUARD: &str = "one-zone";

/// How long the node stays ill after the run was seen to be held because of it: as long as a person reads.
const ILL: Duration = Duration::from_secs(3);

/// How often to look whether the run is held because of the node.
const LOOK: Duration = Duration::from_millis(250);

/// How long to wait for that, even on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// The node that turns ill, and the file that tells its agent so.
struct Patient {
    id: String,
    file: PathBuf,
}

/// Plays the scene. The exit code is that of the run, or 1 if more than the guard allows was out at once.
pub(super) async fn play(
    args: &DemoArgs,
    playbook: &str,
    path: &std::path::Path,
    scene: &mut Scene,
) -> anyhow::Result<u8> {
    anyhow::ensure!(
        (FEWEST..=MAX_AGENTS).contains(&args.agents),
        "found {} agents, expected {FEWEST} to {MAX_AGENTS}: with fewer the run is over before anybody is held for long",
        args.agents
    );
    let nodes = plan(args.agents, args.fail)?;
    let zones = Zones::new(nodes.iter().map(|node| (node.id.clone(), node.zone)));
    say(&format!("starting a server and {} agents, a process and a port each", nodes.len()));
    let server = scene.start_server(args.store.as_deref(), &[]).await?;
    say(&format!("  server   {server}"));
    let fleet = scene.start_agents(nodes).await?;
    for (node, address) in fleet.agents() {
        let fails = if node.fails { "   its restart will fail" } else { "" };
        say(&format!("  {:<8} {address}   zone {}{fails}", node.id, node.zone));
    }
    let (first, _) = fleet.agents().next().context("found no agents")?;
    let id = first.id.clone();
    let patient = Patient { file: fleet.status_file(&id).context("found no such agent")?, id };
    let document = guarded(&fleet.cluster_document(CLUSTER)?)?;
    let file = scene.dir().join("cluster.yaml");
    std::fs::write(&file, document)
        .with_context(|| format!("failed to write {}", file.display()))?;

    say("\n--- the strategy names everybody at once; the guard of the cluster says who goes");
    say(&format!("  guards: [{{ name: {GUARD}, by: attributes.zone, max_out: 1, groups: 1 }}]"));
    let apply: [OsString; 5] = ["apply".into(), "-f".into(), file.into(), "-f".into(), path.into()];
    let mut code = type_in(scene, &apply).await?;
    if code == 0 {
        let start = ["run", "start", playbook, "--cluster", CLUSTER].map(OsString::from);
        code = type_in(scene, &start).await?;
    }
    if code == 0 {
        code = watch(scene, &server, patient, zones).await?;
        if let Some(file) = &args.export {
            code = export(scene, &Client::new(&server)?, &[], file, code).await?;
        }
    }
    conclude(args, &server, None, code).await
}

/// The `Cluster` document with the guard.
fn guarded(document: &str) -> anyhow::Result<String> {
    let mut document: Value =
        serde_yaml::from_str(document).context("failed to read a document")?;
    let spec = document.get_mut("spec").and_then(Value::as_object_mut);
    let guard = json!({ "name": GUARD, "by": "attributes.zone", "max_out": 1, "groups": 1 });
    spec.context("found no spec")?.insert("guards".to_owned(), json!([guard]));
    serde_yaml::to_string(&document).context("failed to write a document as YAML")
}

/// Types the command that watches the run, and draws the zones beside it.
async fn watch(
    scene: &mut Scene,
    server: &str,
    patient: Patient,
    zones: Zones,
) -> anyhow::Result<u8> {
    let run = newest_run(&Client::new(server)?).await?.id;
    let beside = scene.beside().context("failed to find the server")?;
    let (code, most) = watch_beside(scene, run, tell(run, patient, zones, beside)).await?;
    // A run that pauses is over for this command, even before the story is.
    let Some(most) = most.context("failed to tell of the zones")? else { return Ok(code) };
    say(&format!(
        "at most {} out at once, in at most {}",
        agents(most.agents),
        zones_of(most.zones)
    ));
    if most.agents == 1 && most.zones == 1 {
        return Ok(0);
    }
    say("that is more than the guard allows");
    Ok(1)
}

fn agents(number: usize) -> String {
    if number == 1 { "1 agent".to_owned() } else { format!("{number} agents") }
}

fn zones_of(number: usize) -> String {
    if number == 1 { "1 zone".to_owned() } else { format!("{number} zones") }
}

/// The most that was at work at once.
#[derive(Clone, Copy, Debug, Default)]
struct Most {
    agents: usize,
    zones: usize,
}

/// Draws the zones whenever an agent begins or ends, and lets the node turn ill and well again. Returns the most agents
/// and zones at work at once.
async fn tell(
    run: RunId,
    patient: Patient,
    mut zones: Zones,
    beside: Beside,
) -> anyhow::Result<Most> {
    let client = Client::new(beside.server())?;
    let feed = follow(Client::new(beside.server())?, run, FeedLimits::default());
    let mut feed = std::pin::pin!(feed);
    let mut most = Most::default();
    let mut illness = None;
    loop {
        let update = tokio::select! {
            biased;
            update = feed.next() => update,
            ended = over(&mut illness) => {
                ended?;
                illness = None;
                zones.set_ill(&patient.id, false);
                continue;
            }
        };
        let Some(update) = update else { break };
        let Update::Event(event) = update? else { continue };
        let Happened::Agent { agent, from, to, .. } = &event.what else { continue };
        zones.set(agent.as_str(), *to);
        // Every agent has such an event when the run starts.
        if from.is_none() {
            continue;
        }
        let (agents, touched) = zones.at_work();
        most = Most { agents: most.agents.max(agents), zones: most.zones.max(touched) };
        say_beside(&format!("          {}", zones.draw()));
        let is_first_time = *to == AgentState::Done && zones.done() == DONE_FIRST;
        if is_first_time {
            zones.set_ill(&patient.id, true);
            illness = Some(Box::pin(be_ill(&client, run, &patient, &beside)));
        }
    }
    anyhow::ensure!(
        illness.is_none(),
        "the run ended before it was held because of {}",
        patient.id
    );
    Ok(most)
}

/// Returns when the node is well again; never, if it does not turn ill.
async fn over<F: Future<Output = anyhow::Result<()>> + Unpin>(
    illness: &mut Option<F>,
) -> anyhow::Result<()> {
    match illness {
        Some(illness) => illness.await,
        None => std::future::pending().await,
    }
}

/// Makes the node ill, and well again after the run was held because of that for a while.
async fn be_ill(
    client: &Client,
    run: RunId,
    patient: &Patient,
    beside: &Beside,
) -> anyhow::Result<()> {
    let Patient { id, file } = patient;
    std::fs::write(file, "UNAVAILABLE").context("failed to make a node ill")?;
    say_beside(&format!("--- {id}, which was done, turns ill by itself: it is UNAVAILABLE"));
    let until = Instant::now() + PATIENCE;
    while !is_held_because_of(client, run, id).await? {
        anyhow::ensure!(Instant::now() < until, "the run was not held because of {id}");
        SystemClock.sleep(LOOK).await;
    }
    beside.replictl(&["describe", "run", &run.to_string()]).await?;
    SystemClock.sleep(ILL).await;
    std::fs::remove_file(file).context("failed to make a node well")?;
    say_beside(&format!("--- {id} is well again: the run goes on by itself"));
    Ok(())
}

/// Whether nobody is at work, and an agent is held because of this one.
async fn is_held_because_of(client: &Client, run: RunId, id: &str) -> anyhow::Result<bool> {
    let view = client.run(run).await.context("failed to look at the run")?;
    let is_idle = view.counts.get(&AgentState::Running).is_none_or(|count| *count == 0);
    Ok(is_idle && held::is_because_of(&view.held, id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::playbook::parse_cluster;

    #[test]
    fn the_guard_becomes_part_of_the_document() {
        let document = "apiVersion: replicante.io/v1\nkind: Cluster\nmetadata: { name: demo }\nspec: { agents: [] }";
        let cluster = parse_cluster(guarded(document).unwrap().as_bytes()).unwrap();
        assert_eq!(cluster.guards.guards[0].name, GUARD);
        assert_eq!(cluster.guards.guards[0].groups, Some(1));
    }
}
