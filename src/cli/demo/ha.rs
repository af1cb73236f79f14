//! The scene with three engines on one store: in the middle of three runs one engine is killed and one is
//! drained. It checks at the end that every agent did everything exactly once.

use std::ffi::OsString;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::{Map, json};
use tokio::time::Instant;

use super::command::DemoArgs;
use super::fleet::{MAX_AGENTS, plan};
use super::scene::Scene;
use super::terminal::{exit_code, pass_on, say, type_in};
use crate::api::wire::{RunView, StartRun};
use crate::cli::client::Client;
use crate::cli::text::{short_id, time_of_day};
use crate::clock::{Clock as _, SystemClock};
use crate::run::{AgentState, RunStatus, Timestamp};

/// Number of engines, each in a server of its own.
pub(super) const ENGINES: usize = 3;

/// Number of runs, each over a cluster of its own.
const RUNS: u16 = 3;

/// How long a node gets to settle, in milliseconds: long enough that the runs have not ended when those of the
/// killed engine have been taken over.
const SETTLE: u64 = 3_000;

/// How often the runs are looked at: every engine keeps a run for longer than this.
const LOOK: Duration = Duration::from_millis(250);

/// How long each part of the story may take, even on a busy machine; all of it takes about a minute.
const PATIENCE: Duration = Duration::from_secs(300);

/// A run, and which engines drove it since when.
struct Told {
    cluster: String,
    run: RunView,
    by: Vec<(String, Timestamp)>,
}

/// Plays the scene. The exit code is 0 only if each run covered all its agents, and each agent did everything
/// once.
pub(super) async fn play(
    args: &DemoArgs,
    playbook: &str,
    path: &std::path::Path,
    scene: &mut Scene,
) -> anyhow::Result<u8> {
    let of_cluster = args.agents;
    anyhow::ensure!(
        (1..=MAX_AGENTS / RUNS).contains(&of_cluster),
        "found {of_cluster} agents, expected 1 to {} for each of {RUNS} clusters",
        MAX_AGENTS / RUNS
    );
    anyhow::ensure!(args.fail == 0, "found --fail, expected none: this scene is about engines");
    put_up(args, scene).await?;
    match apply(scene, path).await? {
        0 => {}
        failed => return Ok(failed),
    }
    let mut runs = start(scene, playbook).await?;
    until(scene, &mut runs, "all runs to begin", |runs| {
        runs.iter()
            .all(|told| !told.by.is_empty() && told.run.counts.contains_key(&AgentState::Done))
    })
    .await?;
    type_in(scene, &words(&["get", "engines"])).await?;

    // Never the last engine, which answers the requests.
    let killed = busiest(&runs, 1..=ENGINES - 1, None);
    say(&format!(
        "\n--- kill -9 of {killed}: its runs go on once its leases have run out, in 15 s"
    ));
    scene.kill_engine(&killed).await?;
    until(scene, &mut runs, "its runs to be taken over", |runs| is_free_of(runs, &killed)).await?;
    say(&format!("--- {killed} has no runs any more"));
    // A server whose engine is drained still answers requests, so it may be the one that is asked.
    let drained = busiest(&runs, 1..=ENGINES, Some(&killed));
    match type_in(scene, &words(&["engine", "drain", &drained])).await? {
        0 => {}
        failed => return Ok(failed),
    }
    until(scene, &mut runs, "its runs to be handed over", |runs| is_free_of(runs, &drained))
        .await?;
    type_in(scene, &words(&["get", "engines"])).await?;
    until(scene, &mut runs, "all runs to end", |runs| {
        runs.iter().all(|told| told.run.status.is_final())
    })
    .await?;
    conclude(scene, &runs, of_cluster, [&killed, &drained])
}

fn words(arguments: &[&str]) -> Vec<OsString> {
    arguments.iter().map(OsString::from).collect()
}

/// Starts the servers and the agents, and writes a document for each cluster.
async fn put_up(args: &DemoArgs, scene: &mut Scene) -> anyhow::Result<()> {
    let store = args.store.clone().or_else(|| std::env::var("REPLIBOOK_STORE").ok());
    let store = store.unwrap_or_default();
    anyhow::ensure!(
        store.starts_with("mongodb"),
        "found no MongoDB for several servers: `make demo-ha` starts one, or name yours with --store"
    );
    let agents = args.agents * RUNS;
    say(&format!(
        "starting {ENGINES} servers on one store, and {agents} agents in {RUNS} clusters"
    ));
    for number in 1..=ENGINES {
        let name = format!("engine-{number}");
        let address = scene.start_engine(&name, &store).await?;
        say(&format!("  {name} {address}"));
    }
    let fleet = scene.start_agents(plan(agents, 0)?).await?;
    let documents = fleet.cluster_documents(args.agents.into(), (1..=RUNS).map(cluster))?;
    let dir = scene.dir().join("clusters");
    std::fs::create_dir(&dir).context("failed to make a directory for the clusters")?;
    for (name, document) in documents {
        let path = dir.join(format!("{name}.yaml"));
        std::fs::write(&path, document)
            .with_context(|| format!("failed to write {}", path.display()))?;
    }
    Ok(())
}

/// Applies the clusters and the playbook. The command is shown without the folders of the files, which are long
/// and of no interest.
async fn apply(scene: &mut Scene, playbook: &std::path::Path) -> anyhow::Result<u8> {
    let dir = scene.dir().join("clusters");
    let mut files: Vec<_> = (1..=RUNS).map(|n| dir.join(format!("{}.yaml", cluster(n)))).collect();
    files.push(playbook.to_owned());
    let name = |file: &std::path::PathBuf| {
        let name = file.file_name().map(|name| name.to_string_lossy().into_owned());
        format!(" -f {}", name.unwrap_or_default())
    };
    say(&format!("\n$ replictl apply{}", files.iter().map(name).collect::<String>()));
    let files = files.into_iter().flat_map(|file| ["-f".into(), file.into_os_string()]);
    let status = scene.replictl(std::iter::once("apply".into()).chain(files)).await?;
    Ok(exit_code(status))
}

/// The name of a cluster.
fn cluster(number: u16) -> String {
    format!("demo-{number}")
}

/// Starts a run on each cluster, each through a different server.
async fn start(scene: &Scene, playbook: &str) -> anyhow::Result<Vec<Told>> {
    let mut runs = Vec::new();
    let params = json!({ "max_parallel": 1, "settle_ms": SETTLE });
    let params: Map<_, _> = params.as_object().cloned().unwrap_or_default();
    say("");
    for (cluster, (name, address)) in (1..=RUNS).map(cluster).zip(scene.engines()) {
        let request = StartRun {
            playbook: playbook.to_owned(),
            cluster: cluster.clone(),
            params: params.clone(),
            select: None,
            limit: None,
            skip_stages: Vec::new(),
            start_at: None,
            started_by: None,
        };
        let run = Client::new(&address)?.start_run(&request, &cluster).await?;
        say(&format!("started run {} on {cluster} through {name}", run.id));
        runs.push(Told { cluster, run, by: Vec::new() });
    }
    Ok(runs)
}

/// Looks at the runs until `holds` is true, and notes which engines drive them.
async fn until(
    scene: &Scene,
    runs: &mut [Told],
    what: &str,
    holds: impl Fn(&[Told]) -> bool,
) -> anyhow::Result<()> {
    let (address, since) = (scene.server_address()?, Instant::now());
    let client = Client::new(&address)?;
    loop {
        for told in runs.iter_mut() {
            told.run = client.run(told.run.id).await?;
            let Some(engine) = &told.run.engine else { continue };
            let name = engine.name.clone().unwrap_or_else(|| engine.id.0.clone());
            if told.by.last().is_none_or(|(before, _)| *before != name) {
                told.by.push((name, engine.since));
            }
        }
        if holds(runs) {
            return Ok(());
        }
        anyhow::ensure!(since.elapsed() < PATIENCE, "waited too long for {what}");
        SystemClock.sleep(LOOK).await;
    }
}

/// The engine among `engines`, except `but`, that drives the most runs.
fn busiest(runs: &[Told], engines: impl Iterator<Item = usize>, but: Option<&str>) -> String {
    let names = engines.map(|number| format!("engine-{number}"));
    let drives = |name: &String| {
        let by = |told: &&Told| told.by.last().is_some_and(|(by, _)| by == name);
        runs.iter().filter(by).count()
    };
    names.filter(|name| but != Some(name)).max_by_key(drives).unwrap_or_default()
}

fn is_free_of(runs: &[Told], engine: &str) -> bool {
    runs.iter().all(|told| {
        let by = told.run.engine.as_ref().map(|by| by.name.as_deref() == Some(engine));
        told.run.status.is_final() || by == Some(false)
    })
}

/// Shows which engine drove which run, and checks that everything went well.
fn conclude(
    scene: &Scene,
    runs: &[Told],
    of_cluster: u16,
    [killed, drained]: [&str; 2],
) -> anyhow::Result<u8> {
    pass_on(table(runs, killed, drained).as_bytes(), b"");
    let mut bad = 0;
    for told in runs {
        let done = told.run.counts.get(&AgentState::Done).copied().unwrap_or_default();
        let all = told.run.counts.values().sum::<u32>();
        say(&format!("run on {}: {}, {done} done", told.cluster, told.run.status));
        let well =
            told.run.status == RunStatus::Done && all == done && done == u32::from(of_cluster);
        bad += u32::from(!well);
    }
    let twice = scene.agents_that_did_not(&["drain", "restart"])?;
    if twice.is_empty() {
        say("each agent was drained and restarted once");
    } else {
        say(&format!(
            "these agents were not drained and restarted exactly once: {}",
            twice.join(", ")
        ));
    }
    Ok(u8::from(bad > 0 || !twice.is_empty()))
}

/// One line for each time that an engine had a run, in at most 80 columns.
fn table(runs: &[Told], killed: &str, drained: &str) -> String {
    let mut text = format!(
        "\n{:<9}{:<10}{:<11}{:<10}{:<10}HOW\n",
        "CLUSTER", "RUN", "ENGINE", "FROM", "UNTIL"
    );
    for told in runs {
        let id = short_id(told.run.id);
        for (index, (engine, from)) in told.by.iter().enumerate() {
            let next = told.by.get(index + 1).map(|(_, at)| *at).or(told.run.finish_ts);
            let until = next.map_or_else(|| "-".to_owned(), time_of_day);
            let before = index.checked_sub(1).and_then(|before| told.by.get(before));
            let how = match before.map(|(name, _)| name.as_str()) {
                None => "started it".to_owned(),
                Some(name) if name == killed => format!("taken from {name}, killed"),
                Some(name) if name == drained => format!("handed over by {name}"),
                Some(name) => format!("handed over by {name}, to share the work"),
            };
            let (cluster, from) = (&told.cluster, time_of_day(*from));
            text.push_str(&format!("{cluster:<9}{id:<10}{engine:<11}{from:<10}{until:<10}{how}\n"));
        }
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::sample::run_view;

    fn told(by: &[(&str, i64)]) -> Told {
        let by = by.iter().map(|(name, at)| ((*name).to_owned(), Timestamp::from_millis(*at)));
        let run = run_view(RunStatus::Done);
        Told { cluster: "demo-1".to_owned(), run, by: by.collect() }
    }

    #[test]
    fn who_drives_most_is_picked_by_who_drives_now() {
        let runs = [
            told(&[("engine-2", 0), ("engine-1", 1)]),
            told(&[("engine-3", 0)]),
            told(&[("engine-3", 0)]),
        ];
        assert_eq!(busiest(&runs, 1..=2, None), "engine-1");
        assert_eq!(busiest(&runs, 1..=ENGINES, Some("engine-1")), "engine-3");
    }

    #[test]
    fn the_table_fits_a_terminal_and_says_why_a_run_changed_hands() {
        let runs = [told(&[("engine-1", 0), ("engine-2", 20_000), ("engine-3", 30_000)])];
        let shown = table(&runs, "engine-1", "engine-2");
        assert!(shown.lines().all(|line| line.chars().count() <= 80), "{shown}");
        for part in ["started it", "taken from engine-1, killed", "handed over by engine-2"] {
            assert!(shown.contains(part), "{part} in {shown}");
        }
        assert!(shown.contains("00:00:00  00:00:20"), "{shown}");
    }
}
