//! What a replay finds in a run as it was, and in one that somebody has tampered with.

use replibook::replay::{Difference, MemberName, Other, Place, Player, ReplayError, Report};
use replibook::run::AgentId;
use serde_json::{Map, Value, json};

use crate::replay::recorded::{FAILS, Recorded};
use crate::scene::{Scene, address};

fn only(report: &Report) -> &Difference {
    assert!(!report.same);
    let [difference] = report.differences.as_slice() else { panic!("{report:#?}") };
    difference
}

fn place(agent: &str, stage: &str, step: &str, attempt: u32, call: u32) -> Place {
    let [agent, stage, step] = [agent, stage, step].map(str::to_owned);
    Place::Attempt { agent: AgentId(agent), stage, step, attempt, call }
}

/// The journal of this attempt among the lines.
fn journal<'a>(lines: &'a mut [Value], agent: &str, stage: u64, step: u64) -> &'a mut Value {
    let of = |line: &&mut Value| {
        line["agent"] == agent && line["key"]["stage"] == stage && line["key"]["step"] == step
    };
    lines.iter_mut().find(of).unwrap()
}

fn decisions(lines: &[Value]) -> Vec<usize> {
    let of = |index: &usize| lines[*index]["event"] == "decision";
    (0..lines.len()).filter(of).collect()
}

#[tokio::test(start_paused = true)]
async fn a_run_as_it_was_is_the_same_again() {
    let recorded = Recorded::new(10).await;
    let report = recorded.replay().await;
    assert!(report.same, "{report:#?}");
    assert_eq!(report.run, recorded.run);
    // Nine agents did two steps in the first stage and one in the second, each with one call; one agent
    // failed at once.
    assert_eq!((report.attempts, report.activations), (28, 56));
    assert!(report.decisions >= 6, "{report:#?}");
    assert_eq!((report.left_out, report.differing), (0, 0), "{report:#?}");
}

/// These strategies decide by what nodes said at that moment, which has changed since.
#[tokio::test(start_paused = true)]
async fn strategies_that_look_at_nodes_decide_the_same_again() {
    let playbook = |strategy: &str| {
        format!(
            "apiVersion: replicante.io/v1\nkind: Playbook\n\
             metadata: {{ name: watched, version: 1.0.0 }}\nspec:\n  stages:\n    - name: first\n      \
             strategy: {strategy}\n      steps: [{{ name: act, action: test.example.com/act }}]\n"
        )
    };
    let canary = "{ use: canary, with: { select: agent.attributes.zone == 'b', soak: 30s } }";
    let grouped = "{ use: grouped, with: { by: zone, batch: 2, soak: 5s } }";
    for (strategy, decisions) in [(canary, 12), (grouped, 9)] {
        let scene = Scene::new(9).await;
        for (agent, zone) in "abcabcabc".chars().enumerate() {
            let attributes = Map::from_iter([("zone".to_owned(), json!(zone.to_string()))]);
            scene.agents.set_attributes(&address(agent), attributes);
        }
        let recorded = Recorded::of(scene, &playbook(strategy)).await;
        let report = recorded.replay().await;
        assert!(report.same, "{strategy}: {report:#?}");
        assert!(report.decisions >= decisions, "{strategy}: {report:#?}");
        assert_eq!((report.left_out, report.differing), (0, 0), "{strategy}: {report:#?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_of_a_node_that_was_changed_is_found_where_it_counts() {
    let playbook = "apiVersion: replicante.io/v1\nkind: Playbook\n\
        metadata: { name: watched, version: 1.0.0 }\nspec:\n  stages:\n    - name: first\n      \
        strategy: { use: canary, with: { soak: 30s, batches: [1, 100%] } }\n      \
        steps: [{ name: act, action: test.example.com/act }]\n";
    let recorded = Recorded::of(Scene::new(3).await, playbook).await;
    let ill = |lines: &mut Vec<Value>| {
        let of_canary =
            |line: &&mut Value| line["event"] == "agent-info" && line["agent"] == "node-0";
        let said = lines.iter_mut().rev().find(of_canary).unwrap();
        said["was"]["node"] = json!({ "node_status": "UNAVAILABLE" });
    };
    recorded.change(MemberName::Events, ill);
    let report = recorded.replay().await;
    assert!(!report.same && report.differing > 0, "{report:#?}");
}

#[tokio::test(start_paused = true)]
async fn a_changed_answer_is_found_where_it_changes_what_the_step_says() {
    let recorded = Recorded::new(6).await;
    recorded.change(MemberName::Journals, |lines| {
        let journal = journal(lines, "node-2", 0, 1);
        journal["answers"][0]["answer"] = json!({"run-action": {"Ok": {"ok": false}}});
    });
    let report = recorded.replay().await;
    let Difference { place: found, what, recorded, now } = only(&report);
    assert_eq!(*found, place("node-2", "first", "restart", 1, 1));
    assert_eq!(
        (*what, recorded.as_str(), now.as_str()),
        ("result", r#"{"ok":true}"#, r#"{"ok":false}"#)
    );
}

#[tokio::test(start_paused = true)]
async fn changed_arguments_are_found_at_the_first_call() {
    let recorded = Recorded::new(6).await;
    recorded.change(MemberName::Journals, |lines| {
        journal(lines, "node-1", 0, 0)["arguments"]["args"]["who"] = json!("node-9");
    });
    let report = recorded.replay().await;
    let Difference { place: found, what, recorded, now } = only(&report);
    assert_eq!((found, *what), (&place("node-1", "first", "drain", 1, 0), "call"));
    assert!(recorded.starts_with("agent.run-action with arguments of sum "), "{recorded}");
    assert!(now.ends_with(r#": test.example.com/drain {"who":"node-9"}"#), "{now}");
}

#[tokio::test(start_paused = true)]
async fn a_journal_that_was_taken_away_is_missed() {
    let recorded = Recorded::new(6).await;
    recorded.change(MemberName::Journals, |lines| {
        lines.retain(|line| !(line["agent"] == "node-3" && line["key"]["stage"] == 1));
    });
    let report = recorded.replay().await;
    let Difference { place: found, now, .. } = only(&report);
    assert_eq!(*found, place("node-3", "second", "drain", 1, 0));
    assert_eq!(now, "it has no journal");
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_compared_with_its_words() {
    let recorded = Recorded::new(6).await;
    recorded.change(MemberName::Events, |lines| {
        let failed = lines.iter_mut().find(|line| line["failure"].is_object()).unwrap();
        failed["failure"]["message"] = json!("it was nobody's fault");
    });
    let report = recorded.replay().await;
    // The strategy can see why an agent failed, but `rolling` does not use it.
    let Difference { place: found, recorded, now, .. } = only(&report);
    assert_eq!(*found, place(&format!("node-{FAILS}"), "first", "drain", 1, 1));
    assert!(recorded.ends_with("it was nobody's fault"), "{recorded}");
    assert!(now.contains("disk is full"), "{now}");
}

#[tokio::test(start_paused = true)]
async fn a_changed_decision_is_found_at_its_event() {
    let recorded = Recorded::new(6).await;
    let event = std::cell::Cell::new(0);
    recorded.change(MemberName::Events, |lines| {
        let second = decisions(lines)[1];
        event.set(lines[second]["seq"].as_u64().unwrap());
        lines[second]["next"] = json!("complete");
    });
    let report = recorded.replay().await;
    let Difference { place, what, recorded, now } = only(&report);
    assert_eq!((place, *what), (&Place::Event { event: event.get() }, "decision"));
    assert_eq!((recorded.as_str(), now.as_str()), ("then complete", "then wait"));
}

#[tokio::test(start_paused = true)]
async fn a_history_with_an_event_less_is_none() {
    let recorded = Recorded::new(6).await;
    recorded.change(MemberName::Events, |lines| drop(lines.remove(20)));
    let report = recorded.replay().await;
    let Difference { place, what, recorded, now } = only(&report);
    assert_eq!((place, *what), (&Place::Event { event: 22 }, "history"));
    assert_eq!((recorded.as_str(), now.as_str()), ("sequence 22", "expected 21"));
}

#[tokio::test(start_paused = true)]
async fn what_went_past_a_limit_is_listed_and_not_replayed() {
    let recorded = Recorded::new(6).await;
    recorded.change(MemberName::Events, |lines| {
        let failed = lines.iter_mut().find(|line| line["failure"].is_object()).unwrap();
        failed["failure"]["reason"] = json!("plugin-out-of-time");
    });
    let report = recorded.replay().await;
    assert!(report.same, "{report:#?}");
    assert_eq!(report.left_out, 1);
    assert!(report.not_replayed[0].why.starts_with("plugin-out-of-time: "), "{report:#?}");
}

#[tokio::test(start_paused = true)]
async fn one_agent_can_be_replayed_alone() {
    let recorded = Recorded::new(6).await;
    recorded.change(MemberName::Journals, |lines| {
        journal(lines, "node-1", 0, 0)["arguments"]["args"]["who"] = json!("node-9");
    });
    let recording = recorded.recording();
    let of = async |agent: &str| {
        let player = Player::new(&recorded.scene.plugins, &recording).await;
        player.only(AgentId::from(agent)).unwrap().replay().await.unwrap()
    };
    let report = of("node-2").await;
    assert_eq!((report.same, report.attempts, report.decisions), (true, 3, 0), "{report:#?}");
    assert!(!of("node-1").await.same);
    let player = Player::new(&recorded.scene.plugins, &recording).await;
    let unknown = player.only(AgentId::from("nobody")).err().unwrap();
    assert!(matches!(unknown, ReplayError::NotFound(_)), "{unknown}");
}

#[tokio::test(start_paused = true)]
async fn another_strategy_is_asked_at_the_same_moments() {
    let recorded = Recorded::new(6).await;
    let recording = recorded.recording();
    let builtins = recorded.scene.plugins.builtins();
    let rolling = builtins.iter().find(|builtin| builtin.info.name == "rolling").unwrap();
    let with = Some(json!({"batch": 1}));
    let other = Other { plugin: rolling.info.digest.clone(), with };
    let player = Player::new(&recorded.scene.plugins, &recording).await;
    let compared = player.compare(other).await.unwrap();
    let first = &compared[0];
    assert_eq!(first.stage, "first");
    assert_eq!(first.recorded, "start node-0, node-1, node-2; then wait");
    assert_eq!(first.other, "start node-0; then wait");
    assert!(compared.iter().any(|moment| moment.stage == "second"), "{compared:#?}");
}
