//! The strategy `zone-by-zone` in every language.

use replibook_core::run::{AgentState, Decision, Next, PluginLine};
use serde_json::{Value, json};

use crate::conformance::languages;
use crate::fixtures::*;

/// A cluster, and the order in which its agents are expected to go.
struct Scenario {
    name: &'static str,
    arguments: Value,
    agents: Vec<Value>,
    max_start: u32,
    order: &'static [usize],
}

fn zones(names: &[&str]) -> Vec<Value> {
    names.iter().map(|name| json!({ "zone": name })).collect()
}

fn scenarios() -> Vec<Scenario> {
    let long = "ä".repeat(100);
    vec![
        Scenario {
            name: "no agents",
            arguments: json!({}),
            agents: vec![],
            max_start: 260,
            order: &[],
        },
        Scenario {
            name: "one after the other",
            arguments: json!({}),
            agents: zones(&["b", "a", "c", "a", "b"]),
            max_start: 260,
            order: &[1, 3, 0, 4, 2],
        },
        Scenario {
            name: "some at a time",
            arguments: json!({ "max_parallel": 3 }),
            agents: zones(&["b", "a", "a", "a", "a", "b", "b"]),
            max_start: 2,
            order: &[1, 2, 3, 4, 0, 5, 6],
        },
        Scenario {
            name: "names in the order of UTF-8, with all that needs an escape",
            arguments: json!({ "max_parallel": 300 }),
            agents: zones(&[
                "😀",
                "\u{ffff}",
                "z",
                "Z",
                "",
                "a\"\\/\u{8}\u{c}\n\r\t\u{1}\u{1f}\u{7f}",
                "ä",
                "a",
                "aa",
                &long,
                "__proto__",
                "10",
                "9",
            ]),
            max_start: 260,
            order: &[4, 11, 12, 3, 10, 7, 5, 8, 2, 6, 9, 1, 0],
        },
        Scenario {
            name: "attributes of every type",
            arguments: json!({ "attribute": "rack \"1\"" }),
            agents: [
                json!(true),
                json!(2),
                json!(1.0),
                json!(-1),
                json!(1e300),
                json!(u64::MAX),
                json!(null),
                json!({ "a": 1 }),
                json!(["a"]),
                json!("text"),
                json!(false),
            ]
            .map(|zone| json!({ "zone": "x", "rack \"1\"": zone, "a": { "rack \"1\"": 7 } }))
            .to_vec(),
            max_start: 260,
            order: &[6, 7, 8, 3, 2, 5, 4, 1, 10, 9, 0],
        },
        Scenario {
            name: "agents without the attribute go first",
            arguments: json!({}),
            agents: vec![json!({ "zone": "a" }), json!({}), json!({ "zone": "" })],
            max_start: 260,
            order: &[1, 2, 0],
        },
    ]
}

/// Plays a stage in which the first agent in flight ends whenever the strategy waits. Returns everything that
/// was decided and logged.
async fn play(
    plugin: &replibook_core::run::Digest,
    scenario: &Scenario,
) -> Vec<(Decision, Vec<PluginLine>)> {
    let mut agents = Agents::with(scenario.agents.clone());
    let (mut memo, mut decided) = (String::new(), Vec::new());
    for _ in 0..1_000 {
        let arguments = scenario.arguments.clone();
        let outcome = plan(plugin, arguments, &memo, scenario.max_start, &agents).await;
        let decision = outcome.result.unwrap();
        memo = decision.memo.clone();
        for agent in &decision.start {
            agents.set(agent, AgentState::Running);
        }
        let next = decision.next.clone();
        decided.push((decision, outcome.logs));
        match next {
            Next::Complete => return decided,
            Next::Wait => agents.set(&agents.in_state(AgentState::Running)[0], AgentState::Done),
            next => panic!("found {next:?}"),
        }
    }
    panic!("the stage never ends")
}

#[tokio::test]
async fn every_language_decides_the_same() {
    let languages = languages::all("zone-by-zone").await;
    languages::same_description(&languages);
    for scenario in scenarios() {
        let mut expected = None;
        for (language, plugin) in &languages {
            let decided = play(&plugin.digest, &scenario).await;
            let place = format!("{} in {language}", scenario.name);
            let started = decided.iter().flat_map(|(decision, _)| &decision.start);
            let started: Vec<_> = started.map(|agent| agent.0.clone()).collect();
            let order: Vec<_> =
                scenario.order.iter().map(|number| format!("node-{number}")).collect();
            assert_eq!(started, order, "{place}");
            assert_eq!(&decided, expected.get_or_insert(decided.clone()), "{place}");
        }
    }
}

#[tokio::test]
async fn every_language_goes_on_from_a_memo_when_the_membership_changed() {
    let languages = languages::all("zone-by-zone").await;
    // The memo has one zone that is gone and lacks one that turned up later; an agent may be in flight.
    let memo = r#"{"zones":["gone \u00e4","b","c"]}"#;
    for running in [0, 1] {
        let mut agents = Agents::with(zones(&["d", "b", "c"]));
        for agent in &agents.in_state(AgentState::Pending)[1..1 + running] {
            agents.set(agent, AgentState::Running);
        }
        let mut expected = None;
        for (language, plugin) in &languages {
            let outcome = plan(&plugin.digest, json!({}), memo, 260, &agents).await;
            let (decision, lines) = (outcome.result.unwrap(), outcome.logs);
            match running {
                0 => assert_eq!(decision.label.as_deref(), Some("zone b"), "{language}"),
                _ => assert_eq!(decision.label, None, "{language}"),
            }
            let found = (decision, lines);
            assert_eq!(&found, expected.get_or_insert(found.clone()), "{language}");
        }
    }
}

#[tokio::test]
async fn every_language_reads_a_roster_of_many_pages() {
    let agents: Vec<_> = (0..2_500)
        .map(|number| json!({ "zone": if number < 2_400 { "b" } else { "a" } }))
        .collect();
    let agents = Agents::with(agents);
    let mut expected = None;
    for (language, plugin) in languages::all("zone-by-zone").await {
        let outcome = plan(&plugin.digest, json!({ "max_parallel": 3 }), "", 260, &agents).await;
        let decision = outcome.result.unwrap();
        assert_eq!(decision.start, ["node-2400".into(), "node-2401".into(), "node-2402".into()]);
        assert_eq!(&decision, expected.get_or_insert(decision.clone()), "{language}");
    }
}

/// Plays a stage under a guard that lets one agent of one zone go at a time, while a node of another zone is ill for
/// the first few decisions. Returns everything that was decided.
async fn play_guarded(plugin: &replibook_core::run::Digest, arguments: &Value) -> Vec<Decision> {
    let mut agents = Agents::with(zones(&["b", "a", "c", "a", "b", "c", "a"]));
    let (mut memo, mut decided) = (String::new(), Vec::new());
    for number in 0..1_000 {
        let outcome = plan(plugin, arguments.clone(), &memo, 260, &agents).await;
        let decision = outcome.result.unwrap();
        memo = decision.memo.clone();
        // As long as a node is ill, nobody goes; after that the first one of those that are named does.
        let is_free = number >= 3 && agents.in_state(AgentState::Running).is_empty();
        if let Some(first) = decision.start.first().filter(|_| is_free) {
            agents.set(first, AgentState::Running);
        }
        let next = decision.next.clone();
        decided.push(decision);
        match next {
            Next::Complete => return decided,
            Next::Wait | Next::WaitUntil(_) => {
                if let Some(one) = agents.in_state(AgentState::Running).first() {
                    agents.set(one, AgentState::Done);
                }
            }
            next => panic!("found {next:?}"),
        }
    }
    panic!("the stage never ends")
}

#[tokio::test]
async fn every_language_ends_under_guards() {
    for arguments in [json!({}), json!({ "max_parallel": 300 })] {
        let mut expected = None;
        for (language, plugin) in languages::all("zone-by-zone").await {
            let decided = play_guarded(&plugin.digest, &arguments).await;
            let named = |agent: &str| {
                decided.iter().any(|decision| decision.start.iter().any(|id| id.0 == agent))
            };
            assert!((0..7).all(|number| named(&format!("node-{number}"))), "{language}");
            assert_eq!(&decided, expected.get_or_insert(decided.clone()), "{language}");
        }
    }
}
