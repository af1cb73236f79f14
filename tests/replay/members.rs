//! Replays of runs whose agents joined, left, returned and moved meanwhile.

use std::collections::BTreeSet;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use replibook::agent::{Script, When};
use replibook::run::{AgentState, Happened, Millis, ReasonCode, RunId, RunStatus, Verb};
use replibook::store::MAX_PAGE;
use serde_json::{Map, json};

use crate::replay::recorded::Recorded;
use crate::scene::{Scene, address};

const URL: &str = "http://platform";

/// How many agents there are; each has a second address to which it may move.
const AGENTS: usize = 14;

/// How many histories are played for each strategy, each with a seed of its own.
const SEEDS: u64 = 4;

fn playbook(strategy: &str) -> String {
    let stage = |name: &str, membership: &str| {
        format!(
            "    - name: {name}\n      strategy: {strategy}\n      budget: {{ max_failed: 100 }}\n      \
             membership: {membership}\n      steps:\n        - name: first\n          \
             action: test.example.com/first\n          args: {{ zone: '${{{{ agent.attributes.zone }}}}' }}\n          \
             timeout: 40s\n          retry: {{ attempts: 2, initial: 5s }}\n        \
             - {{ name: second, action: test.example.com/second, args: {{ was: '${{{{ steps.first.result }}}}' }} }}\n"
        )
    };
    let stages = stage("one", "{ added: include, removed: ignore }")
        + &stage("two", "{ added: skip, removed: fail }");
    format!(
        "apiVersion: replicante.io/v1\nkind: Playbook\nmetadata: {{ name: changing, version: 1.0.0 }}\n\
         spec:\n  stages:\n{stages}"
    )
}

/// Agents that answer after some time, and say in which zone they are.
async fn scene(seed: &mut StdRng) -> Scene {
    let scene = Scene::new(2 * AGENTS).await;
    for index in 0..2 * AGENTS {
        let when = When::After(Millis::from_secs(seed.random_range(1..30)));
        let script = match seed.random_range(0..8) {
            0 => Script::Fail { when, message: "disk is full".to_owned() },
            _ => Script::Succeed { when, payload: json!({ "of": index }) },
        };
        scene.script(index, script);
        let zone = json!(["a", "b", "c"][index % 3]);
        scene.agents.set_attributes(&address(index), Map::from_iter([("zone".to_owned(), zone)]));
    }
    let discovery = json!({ "url": URL, "cluster": "p", "interval": "2s" });
    scene.apply_cluster(json!({ "discovery": discovery })).await;
    scene
}

/// Which agents the platform tells of, and which of them have moved.
struct Told {
    members: BTreeSet<usize>,
    moved: BTreeSet<usize>,
}

impl Told {
    fn tell(&self, scene: &Scene) {
        let at = |index: usize| if self.moved.contains(&index) { index + AGENTS } else { index };
        let nodes = self.members.iter().map(|&it| (format!("node-{it}"), address(at(it))));
        let nodes: Vec<_> = nodes.collect();
        let nodes: Vec<_> = nodes.iter().map(|(id, at)| (id.as_str(), at.as_str())).collect();
        scene.platforms.set(URL, "p", &nodes);
    }

    /// Lets some agents come, go or move.
    fn change(&mut self, seed: &mut StdRng) {
        for _ in 0..seed.random_range(1..4) {
            let index = seed.random_range(0..AGENTS);
            let set =
                if seed.random_range(0..4) == 0 { &mut self.moved } else { &mut self.members };
            if !set.remove(&index) {
                set.insert(index);
            }
        }
        self.members.insert(0);
    }
}

/// Changes the cluster until the run is over, and lets the run go on whenever it waits for a person.
async fn change(scene: &Scene, run: RunId, mut told: Told, mut seed: StdRng) {
    loop {
        let progress = scene.store.run(run).await.unwrap().unwrap().progress;
        if progress.status.is_final() {
            return;
        }
        if progress.status == RunStatus::Paused {
            let asks = progress.reason.is_some_and(|why| why.code == ReasonCode::Approval);
            scene.command(run, if asks { Verb::Approve } else { Verb::Resume }).await;
        }
        told.change(&mut seed);
        told.tell(scene);
        scene.wait(Millis::from_secs(seed.random_range(1..15))).await;
    }
}

/// What happened in the histories, so that the test can see whether they cover it.
#[derive(Debug, Default)]
struct Seen {
    joined: usize,
    left: usize,
    at_work: usize,
    returned: usize,
    moved: usize,
    paused: usize,
}

impl Seen {
    async fn note(&mut self, recorded: &Recorded) {
        let mut after = 0;
        loop {
            let events = recorded.scene.store.events(recorded.run, after, MAX_PAGE).await.unwrap();
            let Some(last) = events.last() else { return };
            after = last.seq;
            for event in events {
                use AgentState::{Added, Removed, Running};
                match event.what {
                    Happened::Agent { from: None, to: Added, .. } => self.joined += 1,
                    Happened::Agent { from: Some(Removed), to: Added, .. } => self.returned += 1,
                    Happened::Agent { from: Some(from), to: Removed, .. } => {
                        self.left += 1;
                        self.at_work += usize::from(from == Running);
                    }
                    Happened::Moved { .. } => self.moved += 1,
                    Happened::Status { to: RunStatus::Paused, .. } => self.paused += 1,
                    _ => {}
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_strategies_decided_while_agents_came_and_went_they_decide_again() {
    let mut seen = Seen::default();
    for strategy in [
        "{ use: rolling, with: { batch: 3 } }",
        "{ use: grouped, with: { by: zone, batch: 2, soak: 10s } }",
        "{ use: canary, with: { soak: 10s, batches: [1, 20%, 100%], on_ill: approval } }",
        "{ use: all-at-once }",
    ] {
        for number in 0..SEEDS {
            let mut seed = StdRng::seed_from_u64(number);
            let scene = scene(&mut seed).await;
            let told = Told { members: (0..AGENTS - 4).collect(), moved: BTreeSet::new() };
            told.tell(&scene);
            let recorded = Recorded::during(scene, &playbook(strategy), async |scene, run| {
                change(scene, run, told, seed).await;
            })
            .await;
            let report = recorded.replay().await;
            assert!(report.same, "{strategy}, seed {number}: {report:#?}");
            seen.note(&recorded).await;
        }
    }
    let Seen { joined, left, at_work, returned, moved, paused } = &seen;
    for (what, count) in [
        ("joined", joined),
        ("left", left),
        ("left while at work", at_work),
        ("returned", returned),
        ("moved", moved),
        ("paused", paused),
    ] {
        assert!(*count > 10, "too few {what}: {seen:?}");
    }
}
