//! Components that the tool chains of others made, kept as bytes: each of them does one step as the host wants it, with
//! the output, sleep, clock and random numbers of its language. `tests/fixtures/toolchains/README.md` says how they
//! were made. Python is not among them, since a component of it is too large to be kept; `conformance` has one.

use std::collections::BTreeSet;

use replibook_core::playbook::PluginKind;
use replibook_core::run::{ActivationEnd, Answer, AttemptKey, Call, Digest, Millis, NodeInfo};
use replibook_host::Interfaces;
use serde_json::{Value, json};

use crate::fixtures::*;

/// The components, and what each calls itself.
const KEPT: [(&str, &str); 9] = [
    ("assemblyscript", "AssemblyScript"),
    ("c", "C"),
    ("composed", "C with AssemblyScript"),
    ("cpp", "C++"),
    ("go", "Go"),
    ("javascript-quickjs", "QuickJS"),
    ("javascript-starlingmonkey", "StarlingMonkey"),
    ("rust-wasip1", "Rust on WASI 0.1"),
    ("rust-wasip2", "Rust on WASI 0.2"),
];

/// QuickJS draws the seed of `Math.random` when the component is made.
const FROZEN: &str = "javascript-quickjs";

/// Plays one attempt of the step, and returns its calls, its lines and its result.
async fn played(plugin: &Digest, attempt: u32) -> (Vec<Call>, Vec<String>, Value) {
    let mut start = activate(plugin, json!({ "wait_ms": 250 }));
    start.grants = grants(&["demo/*"]);
    start.key = AttemptKey { attempt, ..start.key };
    start.journal.key = start.key;
    let (calls, lines, end) = drive(start, |call| match call {
        Call::Info => Answer::Info(Ok(NodeInfo {
            status: "HEALTHY".to_owned(),
            attributes: object(json!({})),
            raw: json!({}),
            datastore: Default::default(),
        }
        .into())),
        Call::Sleep { .. } => Answer::Sleep,
        Call::RunAction { .. } => Answer::RunAction(Ok(json!({ "done": true }).into())),
        Call::WaitStatus { .. } | Call::HttpSend { .. } | Call::WaitSignal { .. } => {
            panic!("it made {call:?}")
        }
    })
    .await;
    match end {
        ActivationEnd::Done(result) => (calls, lines, result.value()),
        end => panic!("found {end:?} after {calls:?} and {lines:?}, expected a result"),
    }
}

#[tokio::test]
async fn every_tool_chain_makes_a_step_that_can_be_played_again() {
    for (name, by) in KEPT {
        let info = host().import(made_elsewhere(name)).await;
        let info = info.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!((info.kind, info.name.as_str()), (PluginKind::Step, "toolchain"), "{name}");

        let first = played(&info.digest, 1).await;
        let (calls, lines, result) = &first;
        let dice = result["dice"].as_u64().unwrap();
        assert!(dice < 1_000_000, "{name}");
        let asked = json!({ "by": by, "dice": dice });
        let expected = [
            Call::Info,
            Call::Sleep { length: Millis(250) },
            Call::RunAction { kind: "demo/restart".to_owned(), arguments: asked.into() },
        ];
        assert_eq!(calls.as_slice(), expected, "{name}");
        assert_eq!(lines, &[format!("node-1 is HEALTHY, says {by}")], "{name}");
        // The clock is that of the second answer, the end of the sleep.
        let expected = json!({
            "by": by, "status": "HEALTHY", "dice": dice, "now": START.as_millis() + 2_000,
            "answer": { "done": true },
        });
        assert_eq!(result, &expected, "{name}");

        assert_eq!(played(&info.digest, 1).await, first, "{name}");
        let (_, _, other) = played(&info.digest, 2).await;
        assert_eq!(
            other["dice"] == result["dice"],
            name == FROZEN,
            "{name}: random numbers are not the attempt's"
        );
    }
}

/// The patch versions of WASI 0.2 differ from tool to tool, and are all the same to the host.
#[test]
fn the_components_speak_several_versions_of_wasi() {
    let mut versions = BTreeSet::new();
    for (name, _) in KEPT {
        for import in Interfaces::of(&made_elsewhere(name)).imports {
            let version = import.strip_prefix("wasi:").and_then(|name| name.split_once('@'));
            versions.extend(version.map(|(_, version)| version.to_owned()));
        }
    }
    assert!(versions.len() >= 3, "{versions:?}");
    assert!(versions.iter().all(|version| version.starts_with("0.2.")), "{versions:?}");
}

#[tokio::test]
async fn components_of_wasi_0_3_are_refused_with_the_flag_that_mends_them() {
    let cases = [
        // All its imports are of WASI 0.2, but its functions are asynchronous.
        ("wasi-0.3-functions", "asynchronous", "found a component with asynchronous functions"),
        (
            "wasi-0.3-imports",
            "unknown-import",
            "found imports that a step is not offered: wasi:clocks/monotonic-clock@0.3.0 (WASI 0.3",
        ),
    ];
    for (name, code, begins) in cases {
        let error = host().import(made_elsewhere(name)).await.unwrap_err();
        assert_eq!(error.code, code, "{error}");
        assert!(error.message.starts_with(begins), "{error}");
        for part in ["`--sync` of componentize-qjs", "docs/tool-chains.md"] {
            assert!(error.message.contains(part), "{part}: {error}");
        }
    }
}
