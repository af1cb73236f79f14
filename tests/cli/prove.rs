//! `replictl plugin prove`: strategies that make one mistake, and those that make none.

use std::sync::LazyLock;

use replibook::playbook::policy::{ALWAYS_PROVED, StrategyProof};
use serde_json::{Value, json};

use super::{NOWHERE, replictl};
use crate::plugins;

/// The strategy that makes the mistake which it is told to make.
static WRONG: LazyLock<String> = LazyLock::new(|| {
    let folder = plugins::build("tests/plugins");
    folder.join("wrong_strategy.wasm").to_str().unwrap().to_owned()
});

/// The most events that a person is shown of any of these mistakes.
const MOST_EVENTS: u64 = 10;

async fn prove(args: &[&str]) -> (i32, Value, String) {
    let whole = [&["plugin", "prove", "-o", "json"], args].concat();
    let (code, out, err) = replictl(NOWHERE, &whole).await;
    (code, serde_json::from_str(&out).unwrap_or_default(), err)
}

async fn finds(mistake: &str, options: &[&str], property: &str) {
    let with = format!("mistake={mistake}");
    let args = [&[WRONG.as_str(), "--set", &with], options].concat();
    let (code, report, err) = prove(&args).await;
    assert_eq!((code, &report["proved"]), (1, &json!(false)), "{mistake}: {err}");
    let all = report["properties"].as_array().unwrap();
    let found = all.iter().find(|it| it["property"] == property).unwrap();
    assert_eq!(found["result"], "broken", "{mistake}: {all:#?}");
    let events = found["counterexample"]["events"].as_u64().unwrap();
    assert!(events <= MOST_EVENTS, "{mistake}: {events} events: {found:#}");
    assert!(!found["counterexample"]["why"].as_str().unwrap().is_empty());
}

#[tokio::test]
async fn each_mistake_of_a_strategy_is_found_with_a_short_history() {
    for (mistake, options, property) in [
        ("rounds-across-zones", &["--one-group", "zone", "--changes", "0"][..], "one-group"),
        ("forgets-joined", &[], "everybody"),
        ("waits-after-failure", &[], "waits"),
        ("memo-grows", &[], "memo"),
        ("one-more-on-resume", &["--max-in-flight", "1"], "in-flight"),
        ("failed-again", &[], "once"),
        ("starts-who-left", &[], "named"),
        ("more-in-flight", &["--max-in-flight", "2"], "in-flight"),
        ("ends-early", &[], "everybody"),
        ("never-ends", &[], "ends"),
    ] {
        finds(mistake, options, property).await;
    }
}

#[tokio::test]
async fn built_in_strategies_keep_what_they_say() {
    let small = ["--agents", "2", "--seeds", "10", "--largest", "12"];
    for (strategy, options) in [
        ("all-at-once", &[][..]),
        ("rolling", &["--max-in-flight", "1"]),
        ("rolling", &["--set", "batch=2", "--max-in-flight", "2"]),
        ("rolling", &["--set", "batch=2", "--set", "mode=window", "--max-in-flight", "2"]),
        ("rolling", &["--set", "batch=50%"]),
        ("canary", &["--set", "soak=1m", "--groups", "2"]),
        ("grouped", &["--set", "by=zone", "--one-group", "zone", "--groups", "2"]),
    ] {
        let (code, report, err) = prove(&[&[strategy], options, &small].concat()).await;
        assert_eq!(
            (code, &report["proved"]),
            (0, &json!(true)),
            "{strategy} {options:?}: {err}\n{report:#}"
        );
    }
}

#[tokio::test]
async fn what_was_found_is_shown_to_people_in_80_columns() {
    let with = ["--set", "mistake=waits-after-failure", "--agents", "2"];
    let args = [&["plugin", "prove", WRONG.as_str()], &with[..]].concat();
    let (code, out, err) = replictl(NOWHERE, &args).await;
    assert_eq!(code, 1, "{err}");
    let too_long: Vec<_> = out.lines().skip(1).filter(|it| it.chars().count() > 80).collect();
    assert!(too_long.is_empty(), "{too_long:#?}");
    for part in [
        "  broken  waits only while something can change",
        "    0  the stage begins",
        "→ starts node-1, then wait",
        "    1  node-1 fails",
        "Taken for one:",
        "Not looked at:",
    ] {
        assert!(out.contains(part), "{part} in {out}");
    }
}

#[tokio::test]
async fn wrong_usage_says_what_was_expected() {
    let folder = tempfile::tempdir().unwrap();
    let cluster = folder.path().join("cluster.yaml");
    let text = "apiVersion: replicante.io/v1\nkind: Cluster\nmetadata: { name: eu }\nspec: { agents: [] }\n";
    std::fs::write(&cluster, text).unwrap();
    let cluster = cluster.to_str().unwrap();
    for (args, code, part) in [
        (&["luck"][..], 4, "expected a file or one of all-at-once, canary, grouped, rolling"),
        (&["http"], 2, "found the step http, expected a strategy"),
        (&["nowhere/x.wasm"], 3, "failed to read nowhere/x.wasm"),
        (&["rolling", "--set", "batch=none"], 3, "/batch"),
        (&["rolling", "--set", "size=2"], 3, "/size"),
        (&["rolling", "--arguments", "[]"], 2, "expected an object"),
        (&["rolling", "--arguments", "{"], 2, "no JSON"),
        (&["rolling", "--agents", "9"], 2, "9 is not in 1..=8"),
        (&["rolling", "--without", "luck"], 2, "expected one of answers, ends"),
        (&["rolling", "--guards", cluster], 2, "cluster eu has no guards"),
    ] {
        let (found, _, err) = prove(args).await;
        assert_eq!(found, code, "{args:?}: {err}");
        assert!(err.contains(part), "{args:?}: {err}");
    }
}

/// A strategy that takes two at a time keeps no guard that lets one go; one by one does.
#[tokio::test]
async fn the_guards_of_a_cluster_are_kept_or_not() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("cluster.yaml");
    let text = "apiVersion: replicante.io/v1\nkind: Cluster\nmetadata: { name: eu }\nspec:\n  \
        agents: []\n  guards: [{ name: one, by: attributes.rack, max_out: 1, groups: 1 }]\n";
    std::fs::write(&file, text).unwrap();
    let file = file.to_str().unwrap();
    let small = ["--agents", "2", "--seeds", "5", "--largest", "8", "--guards", file];
    let (code, report, err) = prove(&[&["rolling"][..], &small].concat()).await;
    assert_eq!(code, 0, "{err}\n{report:#}");
    let two = ["rolling", "--set", "batch=2"];
    let (code, report, err) = prove(&[&two[..], &small].concat()).await;
    assert_eq!(code, 1, "{err}");
    let all = report["properties"].as_array().unwrap();
    let broken: Vec<_> = all.iter().filter(|it| it["result"] == "broken").collect();
    assert_eq!(broken.len(), 1, "{broken:#?}");
    assert_eq!(broken[0]["sentence"], "keeps the guards of cluster eu");
}

#[tokio::test]
async fn a_certificate_says_what_was_proved_and_is_written_only_then() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("rolling.proof");
    let path = file.to_str().unwrap();
    let small = ["--agents", "2", "--seeds", "5", "--largest", "8", "--certificate", path];
    let two = ["rolling", "--set", "batch=2", "--max-in-flight"];
    let (code, ..) = prove(&[&two[..], &["1"], &small].concat()).await;
    assert_eq!((code, file.exists()), (1, false));
    let (code, report, err) = prove(&[&two[..], &["2"], &small].concat()).await;
    assert_eq!(code, 0, "{err}");
    assert!(err.contains("minisign -S -m COMPONENT -t \"$(cat "), "{err}");
    let proof = StrategyProof::read(&std::fs::read_to_string(&file).unwrap()).unwrap();
    assert_eq!(json!(proof.digest), report["strategy"]["digest"]);
    assert_eq!((proof.seeds, proof.arguments), (5, json!({"batch": 2})));
    assert_eq!(proof.bounds["agents"], 2);
    assert!(ALWAYS_PROVED.iter().all(|it| proof.properties.iter().any(|has| has == it)));
    assert!(proof.properties.contains(&"in-flight 2".to_owned()), "{:?}", proof.properties);
    let select = format!("select=agent.id != '{}'", "x".repeat(1_900));
    let approval = format!("approval={}", "x".repeat(1_000));
    let long = ["canary", "--set-string", &select, "--set-string", &approval, "--changes", "0"];
    let (code, _, err) = prove(&[&long[..], &small].concat()).await;
    assert_eq!(code, 2, "{err}");
    assert!(err.contains("the arguments are too long"), "{err}");
}
