//! How long it takes, in virtual time, until a run has seen a change of its cluster's members.

use std::time::Duration;

use replibook::agent::{Script, When};
use replibook::run::{AgentState, Millis, RunId};
use serde_json::json;

use crate::scene::{Scene, address};
use crate::support::{Sample, Table, note};

const URL: &str = "http://platform";

/// Members at first.
const MEMBERS: usize = 20;

/// Agents that join and then leave, one after the other.
const CHANGES: usize = 40;

/// How long the platform takes for an answer: the better part of a second.
const LATENCY: Millis = Millis(900);

/// Prints the table.
pub(crate) fn measure() {
    let mut table = Table::new(["interval", "change", "changes", "median", "longest", "at most"]);
    for interval in [Millis::from_secs(1), Millis::from_secs(10), Millis::from_secs(60)] {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().start_paused(true).build().unwrap();
        let (joined, left) = runtime.block_on(changes(interval));
        for (change, times, intervals) in [("joins", joined, 1), ("leaves", left, 3)] {
            let most = interval.to_std() * intervals + Duration::from_secs(1);
            assert!(times.quantile(1.0) <= most, "{:?}", times.quantile(1.0));
            table.row([
                seconds(interval.to_std()),
                change.to_owned(),
                CHANGES.to_string(),
                seconds(times.median()),
                seconds(times.quantile(1.0)),
                seconds(most),
            ]);
        }
    }
    table.print();
    note(
        "in virtual time; the platform takes 0.9 s for an answer; who leaves is believed gone after three",
    );
}

fn seconds(time: Duration) -> String {
    format!("{:.2} s", time.as_secs_f64())
}

/// How long the joins and the leaves took to be seen.
async fn changes(interval: Millis) -> (Sample, Sample) {
    let scene = Scene::new(MEMBERS + CHANGES).await;
    let discovery = json!({"url": URL, "cluster": "p", "interval": format!("{}ms", interval.0)});
    scene.apply_cluster(json!({"discovery": discovery})).await;
    scene.platforms.set_latency(URL, LATENCY);
    // No agent ends before all changes are made, so the run goes on that long.
    for agent in 0..MEMBERS + CHANGES {
        let when = When::After(Millis::from_secs(7 * 24 * 3_600));
        scene.script(agent, Script::Succeed { when, payload: json!({}) });
    }
    tell(&scene, MEMBERS);
    let run = scene.start_run_of("seen", "timeout: 30d").await;
    let engine = scene.engine("engine-1");
    scene.until(run, |run| run.progress.count(AgentState::Running) > 0).await;
    let (mut joined, mut left) = (Sample::default(), Sample::default());
    for change in 1..=CHANGES {
        let wanted = u32::try_from(MEMBERS + change).unwrap();
        scene.wait(moment(interval, change)).await;
        tell(&scene, MEMBERS + change);
        joined.push(until(&scene, run, |known, _| known == wanted).await);
    }
    for change in 1..=CHANGES {
        let wanted = u32::try_from(change).unwrap();
        scene.wait(moment(interval, change)).await;
        tell(&scene, MEMBERS + CHANGES - change);
        left.push(until(&scene, run, |_, removed| removed == wanted).await);
    }
    engine.kill().await;
    (joined, left)
}

/// How long after the previous change this one comes: each at another moment between two questions.
fn moment(interval: Millis, change: usize) -> Millis {
    let change = u64::try_from(change).unwrap();
    let all = u64::try_from(CHANGES).unwrap();
    // 7 and 40 have no factor in common, so that every part of the interval has its turn.
    Millis(interval.0 * (change * 7 % all) / all + 1)
}

/// Has the platform tell of `nodes` nodes.
fn tell(scene: &Scene, nodes: usize) {
    let nodes: Vec<_> = (0..nodes).map(|at| (format!("node-{at}"), address(at))).collect();
    let nodes: Vec<_> = nodes.iter().map(|(id, at)| (id.as_str(), at.as_str())).collect();
    scene.platforms.set(URL, "p", &nodes);
}

/// How long it takes until `wanted` holds of the run's numbers of agents: all, and removed.
async fn until(scene: &Scene, run: RunId, wanted: impl Fn(u32, u32) -> bool) -> Duration {
    let since = scene.now();
    let is_so = |run: &replibook::run::Run| {
        let all = run.progress.counts.values().sum();
        wanted(all, run.progress.count(AgentState::Removed))
    };
    scene.until(run, is_so).await;
    scene.now().since(since).to_std()
}
