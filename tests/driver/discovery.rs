//! Runs over clusters whose members come from a platform.

use replibook::agent::{Script, When};
use replibook::run::{AgentState, Happened, Millis, ReasonCode, Run, RunId, RunStatus, Verb};
use serde_json::json;

use super::PLAIN;
use super::scene::{Scene, address};

const URL: &str = "http://platform";

impl Scene {
    /// Applies the cluster again: it lists the first `declared` agents, and a platform tells of the others.
    async fn discover(&self, declared: usize) {
        self.discover_each(declared, "10s").await;
    }

    /// The same with this interval between two questions to the platform.
    async fn discover_each(&self, declared: usize, interval: &str) {
        let list: Vec<_> = (0..declared)
            .map(|index| json!({"id": format!("node-{index}"), "address": address(index)}))
            .collect();
        let discovery = json!({"url": URL, "cluster": "p", "interval": interval});
        self.apply_cluster(json!({"agents": list, "discovery": discovery})).await;
    }

    /// Creates a run of a rolling playbook with two stages of one action.
    async fn start_two_stages(&self) -> RunId {
        let stage = |number| {
            format!(
                "    - name: stage-{number}\n      strategy: {{ use: rolling, with: {{ batch: 25% }} }}\n\
                 \x20     steps:\n        - {{ name: act, action: test.example.com/act }}\n"
            )
        };
        let text = format!(
            "apiVersion: replicante.io/v1\nkind: Playbook\n\
             metadata: {{ name: two, version: 1.0.0 }}\nspec:\n  stages:\n{}{}",
            stage(1),
            stage(2)
        );
        self.start_playbook(&text).await.unwrap()
    }

    /// Lets each action take `seconds` seconds.
    fn slow(&self, seconds: u64) {
        for agent in 0..self.executions().len() {
            let when = When::After(Millis::from_secs(seconds));
            self.script(agent, Script::Succeed { when, payload: json!({"ok": true}) });
        }
    }

    /// Waits until the platform has been asked `times` times more than `asked`.
    async fn until_asked(&self, asked: usize, times: usize) {
        while self.platforms.asked(URL).len() < asked + times {
            self.wait(Millis(50)).await;
        }
    }

    /// Has the platform tell of these agents: number of the agent, number of its address.
    fn tell(&self, nodes: &[(usize, usize)]) {
        let nodes: Vec<_> =
            nodes.iter().map(|(id, at)| (format!("node-{id}"), address(*at))).collect();
        let nodes: Vec<_> = nodes.iter().map(|(id, at)| (id.as_str(), at.as_str())).collect();
        self.platforms.set(URL, "p", &nodes);
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_goes_over_declared_and_discovered_agents() {
    let scene = Scene::new(4).await;
    scene.discover(1).await;
    scene.tell(&[(1, 1), (2, 2), (3, 3)]);
    let run = scene.start_run("first", PLAIN).await;
    let engine = scene.engine("engine-1");
    let done = scene.until_final(run).await;
    assert_eq!(done.progress.status, RunStatus::Done, "{:?}", done.progress);
    assert_eq!(scene.executions(), vec![1; 4]);
    engine.stop().await;
    // The cluster of a run that is over is no longer followed.
    let asked = scene.platforms.asked(URL).len();
    scene.wait(Millis::from_secs(100)).await;
    assert_eq!(scene.platforms.asked(URL).len(), asked);
}

#[tokio::test(start_paused = true)]
async fn a_platform_that_does_not_answer_fails_the_start_and_says_so() {
    let scene = Scene::new(2).await;
    scene.discover(1).await;
    let run = scene.start_run("first", PLAIN).await;
    let engine = scene.engine("engine-1");
    let failed = scene.until_final(run).await;
    let reason = failed.progress.reason.unwrap();
    assert_eq!((failed.progress.status, reason.code), (RunStatus::Failed, ReasonCode::StartFailed));
    assert_eq!(
        reason.message,
        "the platform at http://platform told no members of its cluster p within 30 s: \
         failed to get an answer from http://platform: connection refused"
    );
    assert_eq!(scene.executions(), vec![0; 2], "also not on the agent that is declared");
    engine.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_moves_while_the_run_goes_is_asked_at_its_new_address() {
    let scene = Scene::new(6).await;
    let start = &[(0, 0), (1, 1), (2, 2), (3, 3)];
    scene.discover(0).await;
    scene.tell(start);
    scene.slow(30);
    let run = scene.start_run("first", PLAIN).await;
    let engine = scene.engine("engine-1");
    // One agent goes at a time: the last two move before it is their turn.
    scene.until(run, |run| run.progress.count(AgentState::Running) == 1).await;
    scene.tell(&[(0, 0), (1, 1), (2, 4), (3, 5)]);
    let done = scene.until_final(run).await;
    assert_eq!(done.progress.status, RunStatus::Done, "{:?}", done.progress);
    assert_eq!(scene.executions(), [1, 1, 0, 0, 1, 1]);
    let records = scene.store.records(run, None, None, 100).await.unwrap();
    let addresses: Vec<_> = records.iter().map(|record| record.address.clone()).collect();
    assert_eq!(addresses, [0, 1, 4, 5].map(address));
    engine.stop().await;
}

#[tokio::test(start_paused = true)]
async fn runs_of_one_cluster_share_its_follower() {
    let scene = Scene::new(4).await;
    scene.discover(0).await;
    scene.tell(&[(0, 0), (1, 1), (2, 2), (3, 3)]);
    scene.slow(60);
    let runs = [scene.start_run("first", PLAIN).await, scene.start_run("second", PLAIN).await];
    let start = scene.clock.now();
    let engine = scene.engine("engine-1");
    for run in runs {
        assert_eq!(scene.until_final(run).await.progress.status, RunStatus::Done);
    }
    engine.stop().await;
    let asked = scene.platforms.asked(URL).len() as u64;
    let intervals = scene.clock.now().since(start).0 / 10_000;
    assert!(asked <= intervals + 2, "{asked} questions in {intervals} intervals");
}

/// An agent left while the engine of one run was dead. It is gone for a run of another engine. It stays gone
/// when that engine takes over the first run, which still knows it.
#[tokio::test(start_paused = true)]
async fn who_left_joins_no_run_because_another_one_still_knows_it() {
    let scene = Scene::new(6).await;
    // So short that an absent agent is gone before a lease has run out.
    scene.discover_each(0, "2s").await;
    let all = [(0, 0), (1, 1), (2, 2), (3, 3), (4, 4), (5, 5)];
    scene.tell(&all);
    scene.slow(300);
    let is_at_work = |run: &Run| run.progress.count(AgentState::Running) > 0;
    let is_gone = |run: &Run| run.progress.count(AgentState::Removed) == 1;
    let first = scene.start_run_with("first", PLAIN, "concurrency: allow").await.unwrap();
    let dies = scene.engine_with("engine-1", 1);
    scene.until(first, is_at_work).await;
    let second = scene.start_run_with("second", PLAIN, "concurrency: allow").await.unwrap();
    let stays = scene.engine("engine-2");
    scene.until(second, is_at_work).await;
    dies.kill().await;
    let killed = scene.clock.now();
    scene.tell(&all[..5]);
    scene.until(second, is_gone).await;
    assert!(
        scene.clock.now().since(killed) < Millis::from_secs(10),
        "nobody goes on with the first"
    );
    scene.until(first, is_gone).await;
    scene.wait(Millis::from_secs(20)).await;
    for event in scene.events(second).await {
        let joined = matches!(event.what, Happened::Agent { to: AgentState::Added, .. });
        assert!(!joined, "{event:?}");
    }
    stays.stop().await;
}

/// The next engine does not need what a dead one knew of a cluster: it knows the members from the run's
/// records, and takes over a change that no engine saw.
#[tokio::test(start_paused = true)]
async fn a_move_while_no_engine_runs_is_taken_over_by_the_next_one() {
    let scene = Scene::new(5).await;
    scene.discover(0).await;
    scene.tell(&[(0, 0), (1, 1), (2, 2), (3, 3)]);
    scene.slow(40);
    let run = scene.start_run("first", PLAIN).await;
    let engine = scene.engine("engine-1");
    scene.until(run, |run| run.progress.count(AgentState::Running) == 1).await;
    engine.kill().await;
    scene.tell(&[(0, 0), (1, 1), (2, 2), (3, 4)]);
    let engine = scene.engine("engine-2");
    let done = scene.until_final(run).await;
    assert_eq!(done.progress.status, RunStatus::Done, "{:?}", done.progress);
    assert_eq!(scene.executions(), [1, 1, 1, 0, 1]);
    engine.stop().await;
}

#[tokio::test(start_paused = true)]
async fn the_next_stage_begins_with_who_is_there_then() {
    let scene = Scene::new(5).await;
    scene.discover(0).await;
    scene.tell(&[(0, 0), (1, 1), (2, 2)]);
    scene.slow(30);
    let run = scene.start_two_stages().await;
    let engine = scene.engine("engine-1");
    scene.until(run, |run| run.progress.count(AgentState::Running) == 1).await;
    // One agent joins and one moves while the first stage goes on.
    scene.tell(&[(0, 0), (1, 1), (2, 4), (3, 3)]);
    let done = scene.until_final(run).await;
    assert_eq!(done.progress.status, RunStatus::Done, "{:?}", done.progress);
    assert_eq!(scene.executions(), [2, 2, 0, 2, 2], "who joined took part in the first one too");
    engine.stop().await;
}

#[tokio::test(start_paused = true)]
async fn one_joins_and_one_leaves_while_the_stage_goes() {
    let scene = Scene::new(7).await;
    scene.discover(0).await;
    scene.tell(&[(0, 0), (1, 1), (2, 2), (3, 3), (4, 4), (5, 5)]);
    scene.slow(30);
    let run = scene.start_run("first", PLAIN).await;
    let engine = scene.engine("engine-1");
    scene.until(run, |run| run.progress.count(AgentState::Running) == 1).await;
    scene.tell(&[(0, 0), (1, 1), (2, 2), (3, 3), (4, 4), (6, 6)]);
    let since = scene.clock.now();
    scene.until(run, |run| run.progress.counts.values().sum::<u32>() == 7).await;
    assert!(scene.clock.now().since(since) <= Millis::from_secs(11), "within interval + 1 s");
    let done = scene.until_final(run).await;
    assert_eq!(done.progress.status, RunStatus::Done, "{:?}", done.progress);
    assert_eq!(done.progress.count(AgentState::Removed), 1);
    assert_eq!(scene.executions(), [1, 1, 1, 1, 1, 0, 1]);
    engine.stop().await;
}

#[tokio::test(start_paused = true)]
async fn many_absent_at_once_pause_the_run_until_a_person_takes_them_for_gone() {
    let scene = Scene::new(4).await;
    let all: &[(usize, usize)] = &[(0, 0), (1, 1), (2, 2), (3, 3)];
    scene.discover(0).await;
    scene.tell(all);
    scene.slow(30);
    let run = scene.start_run("first", PLAIN).await;
    let engine = scene.engine("engine-1");
    scene.until(run, |run| run.progress.count(AgentState::Running) == 1).await;
    scene.tell(&[(0, 0), (1, 1)]);
    let paused = scene.until(run, |run| run.progress.status == RunStatus::Paused).await;
    assert_eq!(paused.progress.reason.unwrap().code, ReasonCode::MassAbsence);
    scene.wait(Millis::from_secs(100)).await;
    let still = scene.store.run(run).await.unwrap().unwrap();
    assert_eq!(still.progress.count(AgentState::Removed), 0);
    scene.command(run, Verb::Resume).await;
    let done = scene.until_final(run).await;
    assert_eq!(done.progress.status, RunStatus::Done, "{:?}", done.progress);
    assert_eq!(done.progress.count(AgentState::Removed), 2);
    assert_eq!(scene.executions(), [1, 1, 0, 0]);
    engine.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_applied_while_the_stage_goes_counts_too() {
    let scene = Scene::new(4).await;
    scene.slow(30);
    let run = scene.start_run("first", PLAIN).await;
    let engine = scene.engine("engine-1");
    scene.until(run, |run| run.progress.count(AgentState::Running) == 1).await;
    let agent = |index: usize| json!({"id": format!("node-{index}"), "address": address(index)});
    scene.apply_cluster(json!({"agents": [agent(0), agent(1), agent(2)]})).await;
    let done = scene.until_final(run).await;
    assert_eq!(done.progress.status, RunStatus::Done, "{:?}", done.progress);
    assert_eq!(scene.executions(), [1, 1, 1, 0]);
    engine.stop().await;
}

#[tokio::test(start_paused = true)]
async fn who_is_back_before_it_was_gone_is_a_member_also_for_the_next_engine() {
    let scene = Scene::new(6).await;
    let all: Vec<_> = (0..6).map(|n| (n, n)).collect();
    scene.discover(0).await;
    scene.tell(&all);
    scene.slow(100);
    let run = scene.start_run("first", PLAIN).await;
    let engine = scene.engine("engine-1");
    scene.until(run, |run| run.progress.count(AgentState::Running) == 1).await;
    scene.tell(&all[1..]);
    // Three absences: the agent is to go once its action has ended.
    scene.wait(Millis::from_secs(45)).await;
    let records = scene.store.records(run, None, None, 10).await.unwrap();
    assert!(records[0].leaving, "{:?}", records[0]);
    engine.kill().await;
    scene.tell(&all);
    let engine = scene.engine("engine-2");
    let done = scene.until_final(run).await;
    assert_eq!(done.progress.status, RunStatus::Done, "{:?}", done.progress);
    assert_eq!(done.progress.count(AgentState::Done), 6);
    assert_eq!(scene.executions(), [1; 6]);
    engine.stop().await;
}

/// What a person accepted once does not count the next time, even if the numbers are the same and another
/// stage goes on.
#[tokio::test(start_paused = true)]
async fn a_second_mass_absence_has_to_be_accepted_too() {
    let scene = Scene::new(4).await;
    let all: &[(usize, usize)] = &[(0, 0), (1, 1), (2, 2), (3, 3)];
    scene.discover(0).await;
    scene.tell(all);
    scene.slow(60);
    let run = scene.start_two_stages().await;
    let engine = scene.engine("engine-1");
    scene.until(run, |run| run.progress.count(AgentState::Running) == 1).await;
    scene.tell(&all[..2]);
    scene.until(run, |run| run.progress.status == RunStatus::Paused).await;
    scene.command(run, Verb::Resume).await;
    scene.until(run, |run| run.progress.stage.index == 1 && !run.progress.stage.entering).await;
    scene.tell(all);
    scene.until(run, |run| run.progress.count(AgentState::Removed) == 0).await;
    scene.tell(&all[..2]);
    let paused = scene.until(run, |run| run.progress.status == RunStatus::Paused).await;
    assert_eq!(paused.progress.reason.unwrap().code, ReasonCode::MassAbsence);
    engine.stop().await;
}

/// If a person resumes the run before the next engine has asked the platform, they can't have seen what it
/// will say.
#[tokio::test(start_paused = true)]
async fn a_mass_absence_that_the_next_engine_sees_after_a_resume_has_to_be_accepted_too() {
    let scene = Scene::new(4).await;
    let all: &[(usize, usize)] = &[(0, 0), (1, 1), (2, 2), (3, 3)];
    scene.discover(0).await;
    scene.tell(all);
    scene.slow(300);
    let run = scene.start_run("first", PLAIN).await;
    let engine = scene.engine("engine-1");
    scene.until(run, |run| run.progress.count(AgentState::Running) == 1).await;
    scene.tell(&all[..2]);
    scene.until(run, |run| run.progress.status == RunStatus::Paused).await;
    engine.kill().await;
    scene.platforms.fail(URL, Some("no"));
    let asked = scene.platforms.asked(URL).len();
    let engine = scene.engine("engine-2");
    scene.until_asked(asked, 3).await;
    let paused = scene.store.run(run).await.unwrap().unwrap();
    assert!(paused.progress.mass_absence.is_some(), "nobody knows that it is over");
    scene.command(run, Verb::Resume).await;
    scene.until(run, |run| run.progress.status == RunStatus::Running).await;
    scene.platforms.fail(URL, None);
    let paused = scene.until(run, |run| run.progress.status == RunStatus::Paused).await;
    assert_eq!(paused.progress.reason.unwrap().code, ReasonCode::MassAbsence);
    scene.command(run, Verb::Resume).await;
    let done = scene.until_final(run).await;
    assert_eq!(done.progress.count(AgentState::Removed), 2, "{:?}", done.progress);
    assert_eq!(scene.executions(), [1, 1, 0, 0]);
    engine.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_newcomer_that_moves_while_it_is_asked_joins_where_it_is() {
    let scene = Scene::new(8).await;
    let mut all: Vec<_> = (0..6).map(|n| (n, n)).collect();
    scene.discover_each(0, "2s").await;
    scene.tell(&all);
    scene.slow(60);
    let run = scene.start_run("first", PLAIN).await;
    let engine = scene.engine("engine-1");
    scene.until(run, |run| run.progress.count(AgentState::Running) > 0).await;
    // The agent is asked for longer than it takes until the platform tells where it went.
    scene.agents.set_latency(&address(6), Millis(2_900));
    all.push((6, 6));
    scene.tell(&all);
    let asked = scene.platforms.asked(URL).len();
    scene.until_asked(asked, 1).await;
    all[6] = (6, 7);
    scene.tell(&all);
    scene.until(run, |run| run.progress.counts.values().sum::<u32>() == 7).await;
    for event in scene.events(run).await {
        assert!(!matches!(event.what, Happened::Moved { .. }), "{event:?}");
    }
    let done = scene.until_final(run).await;
    assert_eq!(done.progress.status, RunStatus::Done, "{:?}", done.progress);
    assert_eq!(scene.executions(), [1, 1, 1, 1, 1, 1, 0, 1]);
    engine.stop().await;
}

/// Sixty-four agents are asked at a time, each for three seconds.
#[tokio::test(start_paused = true)]
async fn newcomers_that_hang_hold_up_no_other_change() {
    const NEW: usize = 1_200;
    let scene = Scene::new(7).await;
    scene.discover(0).await;
    let all: Vec<_> = (0..6).map(|n| (n, n)).collect();
    scene.tell(&all);
    scene.slow(600);
    let run = scene.start_run("first", PLAIN).await;
    let engine = scene.engine("engine-1");
    scene.until(run, |run| run.progress.count(AgentState::Running) == 1).await;
    let mut hanging = all.clone();
    for new in 100..100 + NEW {
        scene.agents.add(&address(new), Script::Stall);
        scene.agents.set_latency(&address(new), Millis::from_secs(10));
        hanging.push((new, new));
    }
    scene.tell(&hanging);
    scene.until(run, |run| run.progress.counts.values().sum::<u32>() > 6).await;
    // One agent moves while the others are asked.
    hanging[5] = (5, 6);
    scene.tell(&hanging);
    let asked = scene.platforms.asked(URL).len();
    scene.until_asked(asked, 1).await;
    scene.wait(Millis(50)).await;
    let records = scene.store.records(run, None, None, 1_000).await.unwrap();
    let counts = scene.store.run(run).await.unwrap().unwrap().progress.counts;
    let known: u32 = counts.values().sum();
    assert!((known as usize) < 6 + NEW, "some are still asked");
    assert_eq!(records[5].address, address(6), "it is told at once");
    engine.kill().await;
}
