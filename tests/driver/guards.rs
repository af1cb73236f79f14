//! Guards of clusters in whole runs: no strategy gets past them, they change while a run goes, and runs of a cluster with
//! guards never go side by side.

use std::collections::BTreeSet;

use replibook::agent::{Script, When};
use replibook::run::{
    AgentState, Happened, Millis, ReasonCode, RetryOf, Run, RunEvent, RunId, RunStatus, Timestamp,
    Verb,
};
use replibook::store::StoreError;
use replibook::store::memory::FaultMoment;
use serde_json::{Value, json};

use crate::driver::again::again;
use crate::scene::{Scene, address};

/// Every built-in strategy, as different as its arguments make it.
const STRATEGIES: [&str; 8] = [
    "{ use: all-at-once }",
    "{ use: rolling, with: { batch: 50% } }",
    "{ use: rolling, with: { batch: 4, mode: window } }",
    "{ use: canary, with: { soak: 5s, interval: 2s, batches: [2, 50%, 100%] } }",
    "{ use: canary, with: { canaries: 3, soak: 1s, batches: [100%] } }",
    "{ use: grouped, with: { by: zone, batch: 100% } }",
    "{ use: grouped, with: { by: zone, batch: 2, mode: window, soak: 1s } }",
    "{ use: grouped, with: { by: nothing, batch: 5 } }",
];

/// One agent of one zone at a time.
const ONE_ZONE: &str =
    r#"{ "name": "one-zone", "by": "attributes.zone", "max_out": 1, "groups": 1 }"#;

fn zone(index: usize) -> &'static str {
    ["a", "b", "c"][index % 3]
}

/// The `spec` of a cluster of so many agents in three zones, with these guards.
fn spec(agents: usize, guards: &[&str]) -> Value {
    let agents = (0..agents).map(|index| {
        let attributes = json!({ "zone": zone(index) });
        json!({ "id": format!("node-{index}"), "address": address(index), "attributes": attributes })
    });
    let guards: Vec<Value> =
        guards.iter().map(|guard| serde_json::from_str(guard).unwrap()).collect();
    json!({ "agents": agents.collect::<Vec<_>>(), "guards": guards })
}

async fn scene(agents: usize, guards: &[&str]) -> Scene {
    let scene = Scene::new(agents).await;
    scene.apply_cluster(spec(agents, guards)).await;
    scene
}

/// A cluster whose agents take longer for their actions than a changed Cluster takes to reach a run.
async fn slow_scene(agents: usize, guards: &[&str]) -> Scene {
    let scene = scene(agents, guards).await;
    for agent in 0..agents {
        let (when, payload) = (When::After(Millis::from_secs(4)), json!({}));
        scene.script(agent, Script::Succeed { when, payload });
    }
    scene
}

/// A run of a playbook with one action and this strategy.
async fn start(scene: &Scene, name: &str, strategy: &str, more: &str) -> RunId {
    start_with(scene, name, strategy, more, "max_failed: 0").await
}

async fn start_with(scene: &Scene, name: &str, strategy: &str, more: &str, budget: &str) -> RunId {
    let text = format!(
        "apiVersion: replicante.io/v1\nkind: Playbook\nmetadata: {{ name: {name}, version: 1.0.0 }}\n\
         spec:\n  {more}\n  stages:\n    - name: only\n      budget: {{ {budget} }}\n      \
         strategy: {strategy}\n      \
         steps: [{{ name: act, action: test.example.com/act }}]\n"
    );
    scene.start_playbook(&text).await.unwrap()
}

const ALL_AT_ONCE: &str = "{ use: all-at-once }";
const PLAIN: &str = "approval: granted";

/// The most agents that were at work at once, and the most zones that they were in, by the history alone.
fn most_at_work(events: &[RunEvent]) -> (usize, usize) {
    let (mut at_work, mut most) = (BTreeSet::new(), (0, 0));
    for event in events {
        let Happened::Agent { agent, to, .. } = &event.what else { continue };
        match to {
            AgentState::Running => at_work.insert(agent.clone()),
            AgentState::Added
            | AgentState::Pending
            | AgentState::Done
            | AgentState::Failed
            | AgentState::Skipped
            | AgentState::Removed => at_work.remove(agent),
        };
        let number = |agent: &str| agent.strip_prefix("node-").unwrap().parse::<usize>().unwrap();
        let zones: BTreeSet<_> = at_work.iter().map(|agent| zone(number(agent.as_str()))).collect();
        most = (most.0.max(at_work.len()), most.1.max(zones.len()));
    }
    most
}

async fn all_events(scene: &Scene, run: RunId) -> Vec<RunEvent> {
    let mut all: Vec<RunEvent> = Vec::new();
    loop {
        let after = all.last().map_or(0, |event| event.seq);
        let page = scene.store.events(run, after, 1_000).await.unwrap();
        if page.is_empty() {
            return all;
        }
        all.extend(page);
    }
}

fn is_held(run: &Run) -> bool {
    !run.progress.held_agents.is_nobody()
}

fn is_idle(run: &Run) -> bool {
    run.progress.count(AgentState::Running) == 0
}

/// How many agents were started within that time.
async fn started_within(scene: &Scene, run: RunId, length: Millis) -> usize {
    let started = async || {
        let events = all_events(scene, run).await;
        let starts = events
            .iter()
            .filter(|event| matches!(&event.what, Happened::Agent { to: AgentState::Running, .. }));
        starts.count()
    };
    let before = started().await;
    scene.wait(length).await;
    started().await - before
}

#[tokio::test(start_paused = true)]
async fn every_built_in_strategy_ends_and_keeps_within_the_guards() {
    for strategy in STRATEGIES {
        let quorum = r#"{ "name": "quorum", "max_out": "34%" }"#;
        for (guards, most) in [(&[ONE_ZONE][..], (1, 1)), (&[quorum], (3, 3))] {
            let scene = scene(9, guards).await;
            let run = start(&scene, "p", strategy, PLAIN).await;
            let engine = scene.engine("engine-1");
            let done = scene.until_final(run).await;
            let place = format!("{strategy} under {guards:?}");
            assert_eq!(done.progress.status, RunStatus::Done, "{place}: {:?}", done.progress);
            assert_eq!(scene.executions(), vec![1; 9], "{place}");
            let at_work = most_at_work(&all_events(&scene, run).await);
            assert!(at_work.0 <= most.0 && at_work.1 <= most.1, "{place}: {at_work:?}");
            engine.stop().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_ill_or_silent_holds_the_others_until_it_is_well() {
    for silent in [false, true] {
        let scene = slow_scene(6, &[ONE_ZONE]).await;
        let run = start(&scene, "p", ALL_AT_ONCE, PLAIN).await;
        let engine = scene.engine("engine-1");
        scene.until(run, |run| run.progress.count(AgentState::Done) == 2).await;
        match silent {
            true => {
                let until = scene.now().plus(Millis::from_secs(120));
                scene.agents.set_unreachable_until(&address(0), until);
            }
            false => scene.agents.set_status(&address(0), "UNAVAILABLE"),
        }
        scene.until(run, |run| is_held(run) && is_idle(run)).await;
        // What was started before the illness was noticed has ended by now.
        assert_eq!(started_within(&scene, run, Millis::from_secs(60)).await, 0, "{silent}");
        scene.agents.set_status(&address(0), "HEALTHY");
        let done = scene.until_final(run).await;
        assert_eq!(done.progress.status, RunStatus::Done, "{:?}", done.progress);
        assert_eq!(scene.executions(), vec![1; 6]);
        engine.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn guards_are_tightened_and_loosened_while_a_run_goes() {
    let scene = slow_scene(12, &[r#"{ "name": "some", "max_out": 2 }"#]).await;
    let run = start(&scene, "p", ALL_AT_ONCE, PLAIN).await;
    let engine = scene.engine("engine-1");
    scene.until(run, |run| run.progress.count(AgentState::Done) >= 2).await;
    scene.apply_cluster(spec(12, &[r#"{ "name": "some", "max_out": 0 }"#])).await;
    scene.wait(Millis::from_secs(3)).await;
    let held = scene.until(run, is_idle).await;
    assert!(held.progress.count(AgentState::Pending) > 0, "{:?}", held.progress);
    assert_eq!(started_within(&scene, run, Millis::from_secs(30)).await, 0);
    scene.apply_cluster(spec(12, &[])).await;
    let done = scene.until_final(run).await;
    assert_eq!(done.progress.status, RunStatus::Done, "{:?}", done.progress);
    let (at_work, _) = most_at_work(&all_events(&scene, run).await);
    assert!(at_work > 2, "{at_work}: without guards they all go");
    engine.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_takes_a_run_over_knows_what_changed_before_it_starts_anybody() {
    let scene = scene(6, &[r#"{ "name": "some", "max_out": 1 }"#]).await;
    scene.script(1, Script::Stall);
    let run = start(&scene, "p", ALL_AT_ONCE, PLAIN).await;
    let first = scene.engine("engine-1");
    scene.until(run, |run| run.progress.count(AgentState::Done) == 1).await;
    first.kill().await;
    scene.apply_cluster(spec(6, &[r#"{ "name": "some", "max_out": 0 }"#])).await;
    let payload = json!({});
    scene.script(1, Script::Succeed { when: When::Looks(1), payload });
    let second = scene.engine("engine-2");
    scene.until(run, is_idle).await;
    let started = started_within(&scene, run, Millis::from_secs(60)).await;
    assert_eq!(started, 0, "nobody may be out any more");
    scene.apply_cluster(spec(6, &[r#"{ "name": "some", "max_out": 1 }"#])).await;
    let done = scene.until_final(run).await;
    assert_eq!(done.progress.status, RunStatus::Done, "{:?}", done.progress);
    second.stop().await;
}

#[tokio::test(start_paused = true)]
async fn runs_of_a_cluster_with_guards_never_go_side_by_side() {
    let scene = scene(6, &[ONE_ZONE]).await;
    let mut runs = Vec::new();
    for name in ["p", "q", "r"] {
        runs.push(start(&scene, name, ALL_AT_ONCE, "concurrency: allow").await);
    }
    let engines = [scene.engine("engine-1"), scene.engine("engine-2")];
    let waiting = scene.until(runs[2], |run| run.progress.reason.is_some()).await;
    assert_eq!(waiting.progress.reason.unwrap().code, ReasonCode::ClusterBusy);
    let mut spans = Vec::new();
    for run in runs {
        let done = scene.until_final(run).await;
        assert_eq!(done.progress.status, RunStatus::Done, "{:?}", done.progress);
        spans.push((done.progress.started_at.unwrap(), done.progress.finish_ts.unwrap()));
    }
    spans.sort_unstable();
    assert!(spans.windows(2).all(|two| two[0].1 <= two[1].0), "{spans:?}");
    for engine in engines {
        engine.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_that_waits_for_guards_alone_goes_once_they_are_gone() {
    let scene = scene(2, &[ONE_ZONE]).await;
    scene.script(0, Script::Stall);
    let first = start(&scene, "p", ALL_AT_ONCE, "concurrency: allow").await;
    let engine = scene.engine("engine-1");
    scene.until(first, |run| !is_idle(run)).await;
    let second = start(&scene, "q", "{ use: rolling }", "concurrency: allow").await;
    scene.until(second, |run| run.progress.reason.is_some()).await;
    scene.apply_cluster(spec(2, &[])).await;
    scene.until(second, |run| run.progress.status == RunStatus::Running).await;
    engine.stop().await;
}

async fn starts(scene: &Scene, run: RunId) -> Vec<Timestamp> {
    let events = all_events(scene, run).await.into_iter();
    let starts = events
        .filter(|event| matches!(&event.what, Happened::Agent { to: AgentState::Running, .. }));
    starts.map(|event| event.at).collect()
}

/// Whatever the second run knows, and however soon it comes.
#[tokio::test(start_paused = true)]
async fn a_run_that_goes_alone_has_the_cluster_for_itself_once_there_are_guards() {
    for concurrency in ["concurrency: allow", "concurrency: queue"] {
        let scene = slow_scene(6, &[]).await;
        let first = start(&scene, "p", "{ use: rolling }", "concurrency: allow").await;
        let engine = scene.engine("engine-1");
        scene.until(first, |run| run.progress.count(AgentState::Done) >= 1).await;
        // A run that was created before may get the lock at any moment.
        scene.apply_cluster(spec(6, &[ONE_ZONE])).await;
        let second = start(&scene, "q", "{ use: rolling }", concurrency).await;
        let done = scene.until_final(first).await;
        assert_eq!(done.progress.status, RunStatus::Done, "{:?}", done.progress);
        scene.until_final(second).await;
        let ended = done.progress.finish_ts.unwrap();
        let before = starts(&scene, second).await.into_iter().filter(|at| *at < ended).count();
        assert_eq!(before, 0, "{concurrency}");
        engine.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_cluster_on_which_runs_go_side_by_side_gets_no_guards() {
    let scene = slow_scene(6, &[]).await;
    for name in ["p", "q"] {
        let run = start(&scene, name, "{ use: rolling }", "concurrency: allow").await;
        let engine = scene.engine(name);
        scene.until(run, |run| run.progress.count(AgentState::Done) >= 1).await;
        if name == "q" {
            let refused = scene.try_apply_cluster(spec(6, &[ONE_ZONE])).await;
            assert!(matches!(refused, Err(StoreError::ClusterInUse { .. })), "{refused:?}");
        }
        engine.stop().await;
    }
}

/// It saw no guards, and they come before its status says that it goes.
#[tokio::test(start_paused = true)]
async fn a_run_that_begins_while_guards_come_starts_nobody_beside_another() {
    let scene = slow_scene(6, &[]).await;
    let first = start(&scene, "p", "{ use: rolling }", "concurrency: allow").await;
    let engine = scene.engine("engine-1");
    scene.until(first, |run| run.progress.count(AgentState::Done) >= 1).await;
    let second = start(&scene, "q", "{ use: rolling }", "concurrency: allow").await;
    scene.memory.faults().fail_commits(u32::MAX, FaultMoment::Before);
    scene.wait(Millis::from_secs(3)).await;
    scene.apply_cluster(spec(6, &[ONE_ZONE])).await;
    scene.memory.faults().heal();
    scene.until(second, |run| run.progress.status == RunStatus::Running).await;
    let running = scene.store.run(first).await.unwrap().unwrap();
    assert_eq!(running.progress.status, RunStatus::Running, "they go side by side");
    let done = scene.until_final(first).await;
    let ended = done.progress.finish_ts.unwrap();
    let last = scene.until_final(second).await;
    assert_eq!(last.progress.status, RunStatus::Done, "{:?}", last.progress);
    let begun = starts(&scene, second).await;
    assert!(begun.len() == 6 && begun.iter().all(|at| *at >= ended), "{begun:?} {ended:?}");
    engine.stop().await;
}

/// The others are counted all at once, however long each of them takes to answer.
#[tokio::test(start_paused = true)]
async fn a_retry_that_gets_guards_knows_all_members_before_it_starts_anybody_under_them() {
    let scene = slow_scene(9, &[]).await;
    let text = "{ use: rolling, with: { batch: 1 } }";
    for agent in [0, 1, 2] {
        let (when, message) = (When::After(Millis::from_secs(4)), "broken".to_owned());
        scene.script(agent, Script::Fail { when, message });
    }
    let first = start_with(&scene, "p", text, PLAIN, "max_failed: 9").await;
    let engine = scene.engine("engine-1");
    scene.until_final(first).await;
    scene.script(0, Script::Stall);
    let soon = || Script::Succeed { when: When::Looks(1), payload: json!({}) };
    for agent in [1, 2] {
        scene.script(agent, soon());
    }
    let failed = RetryOf { run: first, failed: true, skipped: false, unfinished: false };
    let retry = again(&scene, failed).await;
    scene.until(retry, |run| run.progress.count(AgentState::Running) == 1).await;
    // One of the others is ill, and the last one to be heard: after the agent at work has ended.
    scene.agents.set_status(&address(8), "UNAVAILABLE");
    scene.agents.set_latency(&address(8), Millis(2_900));
    scene.apply_cluster(spec(9, &[r#"{ "name": "few", "max_out": 1 }"#])).await;
    scene.until(retry, |run| !run.progress.guards.guards.is_empty()).await;
    scene.script(0, soon());
    let held = scene.until(retry, |run| is_idle(run) && is_held(run)).await;
    assert_eq!(started_within(&scene, retry, Millis::from_secs(60)).await, 0);
    assert_eq!(held.progress.count(AgentState::Done), 1, "{:?}", held.progress);
    let records = scene.store.records(retry, None, None, 100).await.unwrap();
    assert_eq!(records.len(), 9);
    scene.agents.set_status(&address(8), "HEALTHY");
    let done = scene.until_final(retry).await;
    assert_eq!(done.progress.status, RunStatus::Done, "{:?}", done.progress);
    engine.stop().await;
}

/// Its last stage starts nobody until it knows them, and a cancel waits for five minutes at most.
#[tokio::test(start_paused = true)]
async fn a_retry_that_is_cancelled_while_it_gets_guards_learns_of_the_others_and_tidies_up() {
    let scene = slow_scene(9, &[]).await;
    let text = "apiVersion: replicante.io/v1\nkind: Playbook\nmetadata: { name: p, version: 1.0.0 }\n\
                spec:\n  stages:\n    - name: only\n      budget: { max_failed: 9 }\n      \
                strategy: { use: rolling, with: { batch: 1 } }\n      \
                steps: [{ name: act, action: test.example.com/act }]\n    - name: tidy\n      \
                always: true\n      strategy: { use: all-at-once }\n      \
                steps: [{ name: undo, action: test.example.com/undo }]\n";
    for agent in [0, 1, 2] {
        let (when, message) = (When::After(Millis::from_secs(4)), "broken".to_owned());
        scene.script(agent, Script::Fail { when, message });
    }
    let first = scene.start_playbook(text).await.unwrap();
    let engine = scene.engine("engine-1");
    scene.until_final(first).await;
    scene.script(0, Script::Stall);
    let soon = || Script::Succeed { when: When::Looks(1), payload: json!({}) };
    for agent in [1, 2] {
        scene.script(agent, soon());
    }
    let failed = RetryOf { run: first, failed: true, skipped: false, unfinished: false };
    let retry = again(&scene, failed).await;
    scene.until(retry, |run| run.progress.count(AgentState::Running) == 1).await;
    // It is cancelled before the last one of the others has answered.
    scene.agents.set_latency(&address(8), Millis(2_900));
    scene.apply_cluster(spec(9, &[r#"{ "name": "few", "max_out": 1 }"#])).await;
    scene.until(retry, |run| run.progress.guards.is_closed()).await;
    scene.command(retry, Verb::Cancel).await;
    let cancelled = scene.until(retry, |run| run.progress.status == RunStatus::Cancelling).await;
    assert!(cancelled.progress.guards.is_closed(), "it does not know all others yet");
    let (since, before) = (scene.now(), scene.executions());
    scene.script(0, soon());
    let done = scene.until_final(retry).await;
    assert_eq!(done.progress.status, RunStatus::Cancelled, "{:?}", done.progress);
    assert!(scene.now().since(since) < Millis::from_secs(60), "it was held until the deadline");
    let undone: Vec<u32> = scene.executions().iter().zip(before).map(|(all, b)| all - b).collect();
    assert_eq!(
        undone,
        [0, 1, 1, 0, 0, 0, 0, 0, 0],
        "those that had not begun when it was cancelled"
    );
    engine.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_guard_is_overridden_for_one_run_with_a_reason() {
    let never = r#"{ "name": "never", "max_out": 0 }"#;
    let scene = scene(3, &[never]).await;
    let run = start(&scene, "p", ALL_AT_ONCE, PLAIN).await;
    let engine = scene.engine("engine-1");
    scene.until(run, is_held).await;
    assert_eq!(started_within(&scene, run, Millis::from_secs(30)).await, 0);
    for (guard, why) in [("never", None), ("other", Some("I know better"))] {
        scene.override_guard(run, guard, why).await;
        assert_eq!(started_within(&scene, run, Millis::from_secs(30)).await, 0, "{guard} {why:?}");
    }
    scene.override_guard(run, "never", Some("I know better")).await;
    let done = scene.until_final(run).await;
    assert_eq!(done.progress.status, RunStatus::Done, "{:?}", done.progress);
    let told = all_events(&scene, run).await.into_iter().any(|event| match event.what {
        Happened::Command { command, why, refused: None, .. } => {
            command == Verb::Resume.as_str() && why.as_deref() == Some("I know better")
        }
        _ => false,
    });
    assert!(told, "the history has it");
    engine.stop().await;
}
