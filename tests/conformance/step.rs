//! The step `safe-restart` in every language.

use replibook_core::run::{
    ActivationEnd, Answer, Call, CallError, FailureReason, Millis, NodeInfo,
};
use serde_json::{Value, json};

use crate::conformance::languages;
use crate::fixtures::*;

/// What the step is given, the answers to its calls, and how it ends.
struct Scenario {
    name: &'static str,
    arguments: Value,
    answers: Vec<Answer>,
    end: Expected,
}

enum Expected {
    /// The calls after `info`, and the result.
    Done(Vec<Call>, Value),
    Failed(FailureReason, &'static str, bool),
}

fn info(status: &str) -> Answer {
    let (status, attributes, raw) = (status.to_owned(), object(json!({})), json!({ "a": 1.0 }));
    Answer::Info(Ok(NodeInfo { status, attributes, raw, datastore: Default::default() }.into()))
}

fn found(status: &str) -> Answer {
    Answer::WaitStatus(Ok(status.to_owned()))
}

fn restarted(payload: Value) -> Answer {
    Answer::RunAction(Ok(payload.into()))
}

fn calls(kind: &str, arguments: Value, settle: u64, timeout: u64) -> Vec<Call> {
    vec![
        Call::RunAction { kind: kind.to_owned(), arguments: arguments.into() },
        Call::Sleep { length: Millis(settle) },
        Call::WaitStatus {
            statuses: vec!["HEALTHY".to_owned()],
            timeout: Millis::from_secs(timeout),
        },
    ]
}

/// Values of which a language could lose a part on their way through it.
fn treacherous() -> Value {
    json!({
        "whole": 1.0, "zero": 0, "minus": -0.5, "tiny": 5e-324, "huge": 1.797e308, "tenth": 0.1,
        "unsigned": u64::MAX, "signed": i64::MIN, "beyond": 9_007_199_254_740_993_u64,
        "10": "keys that look like numbers", "9": "in this order", "": "an empty key",
        "text": "\"\\/\u{8}\u{c}\n\r\t\u{1f}\u{7f}\u{2028}äß\u{ffff}😀{[]},:", "escape\\\"d": null,
        "__proto__": { "constructor": [] }, "nothing": [{}, [], "", null, true, false],
        "deep": nested(60),
    })
}

fn nested(depth: usize) -> Value {
    (0..depth).fold(json!("bottom"), |inner, _| json!([inner]))
}

fn scenarios() -> Vec<Scenario> {
    let well = |payload| vec![info("HEALTHY"), restarted(payload), Answer::Sleep, found("HEALTHY")];
    let result = |payload: Value| json!({ "before": "HEALTHY", "after": "HEALTHY", "restart": payload, "took_ms": 4_000 });
    let mut all = vec![
        Scenario {
            name: "defaults",
            arguments: json!({ "kind": "demo/restart" }),
            answers: well(Value::Null),
            end: Expected::Done(calls("demo/restart", Value::Null, 100, 120), result(Value::Null)),
        },
        Scenario {
            name: "all arguments",
            arguments: json!({
                "timeout_seconds": 86_400, "settle_ms": 0, "args": { "reason": "x" },
                "kind": "demo/ä \"quoted\" \\ 😀", "only_healthy": true,
            }),
            answers: well(json!("done")),
            end: Expected::Done(
                calls("demo/ä \"quoted\" \\ 😀", json!({ "reason": "x" }), 0, 86_400),
                result(json!("done")),
            ),
        },
        Scenario {
            name: "values that are hard to hand on",
            arguments: json!({ "kind": "demo/restart", "args": treacherous() }),
            answers: well(treacherous()),
            end: Expected::Done(
                calls("demo/restart", treacherous(), 100, 120),
                result(treacherous()),
            ),
        },
        Scenario {
            name: "a node that is not healthy",
            arguments: json!({ "kind": "demo/restart" }),
            answers: vec![info("UNAVAILABLE")],
            end: Expected::Failed(
                FailureReason::StepFailed,
                "found the node UNAVAILABLE before the restart, expected HEALTHY",
                true,
            ),
        },
        Scenario {
            name: "a node that need not be healthy",
            arguments: json!({ "kind": "demo/restart", "only_healthy": false }),
            answers: vec![
                info("\"ODD\"\n😀"),
                restarted(json!([])),
                Answer::Sleep,
                found("HEALTHY"),
            ],
            end: Expected::Done(
                calls("demo/restart", Value::Null, 100, 120),
                json!({ "before": "\"ODD\"\n😀", "after": "HEALTHY", "restart": [], "took_ms": 4_000 }),
            ),
        },
        Scenario {
            name: "an action that is not granted",
            arguments: json!({ "kind": "other/restart" }),
            answers: vec![info("HEALTHY")],
            end: Expected::Failed(FailureReason::NotGranted, "other/restart", false),
        },
        Scenario {
            name: "a kind that is not valid",
            arguments: json!({ "kind": "demo/\u{7}" }),
            answers: vec![info("HEALTHY")],
            end: Expected::Failed(FailureReason::StepFailed, "control characters", false),
        },
        Scenario {
            name: "arguments of the action that are too deep",
            arguments: json!({ "kind": "demo/restart", "args": nested(65) }),
            answers: vec![info("HEALTHY")],
            end: Expected::Failed(FailureReason::StepFailed, "nested 65 deep", false),
        },
    ];
    all.extend(failures());
    all
}

/// Every error of the agent, at every call that can return it.
fn failures() -> Vec<Scenario> {
    type Kind = (fn(String) -> CallError, FailureReason, bool);
    let errors: [Kind; 6] = [
        (CallError::Failed, FailureReason::ActionFailed, true),
        (CallError::Refused, FailureReason::Refused, false),
        (CallError::Malformed, FailureReason::Malformed, true),
        (CallError::Unreachable, FailureReason::Unreachable, true),
        (CallError::Lost, FailureReason::ActionLost, true),
        (CallError::TimedOut, FailureReason::TimedOut, true),
    ];
    const MESSAGE: &str = "it said: \"nö\" 😀";
    let scenarios = errors.into_iter().flat_map(|(error, reason, retryable)| {
        let error = move || error(MESSAGE.to_owned());
        let well = || vec![info("HEALTHY"), restarted(Value::Null), Answer::Sleep];
        let before = |number: usize, answer: Answer| {
            let mut answers = well();
            answers.truncate(number);
            answers.push(answer);
            answers
        };
        [
            before(0, Answer::Info(Err(error()))),
            before(1, Answer::RunAction(Err(error()))),
            before(3, Answer::WaitStatus(Err(error()))),
        ]
        .map(|answers| Scenario {
            name: "an error of the agent",
            arguments: json!({ "kind": "demo/restart" }),
            answers,
            end: Expected::Failed(reason, MESSAGE, retryable),
        })
    });
    scenarios.collect()
}

#[tokio::test]
async fn every_language_takes_the_same_step() {
    let languages = languages::all("safe-restart").await;
    languages::same_description(&languages);
    for Scenario { name, arguments, answers, end } in scenarios() {
        let mut expected = None;
        for (language, plugin) in &languages {
            let mut start = activate(&plugin.digest, arguments.clone());
            start.grants = grants(&["demo/*"]);
            let mut answers = answers.clone().into_iter();
            let driven = drive(start, |call| {
                answers.next().unwrap_or_else(|| panic!("{name} in {language}: asked {call:?}"))
            });
            let driven = driven.await;
            assert_eq!(answers.len(), 0, "{name} in {language}: {driven:?}");
            check(&driven, &end, &format!("{name} in {language}"));
            assert_eq!(&driven, expected.get_or_insert(driven.clone()), "{name} in {language}");
        }
    }
}

fn check(driven: &(Vec<Call>, Vec<String>, ActivationEnd), expected: &Expected, place: &str) {
    let (calls, _, end) = driven;
    match (expected, end) {
        (Expected::Done(others, result), ActivationEnd::Done(found)) => {
            assert_eq!(&calls[1..], others.as_slice(), "{place}");
            assert_eq!(found, result, "{place}");
            let hashes =
                |calls: &[Call]| calls.iter().map(Call::arguments_hash).collect::<Vec<_>>();
            assert_eq!(hashes(&calls[1..]), hashes(others), "{place}");
        }
        (
            Expected::Failed(reason, text, again),
            ActivationEnd::Failed { reason: found, message, retryable },
        ) => {
            assert_eq!((found, retryable), (reason, again), "{place}: {message}");
            assert!(message.contains(text), "{place}: {message}");
        }
        _ => panic!("{place}: found {end:?}"),
    }
}

#[tokio::test]
async fn every_language_writes_the_same_lines() {
    for (language, plugin) in languages::all("safe-restart").await {
        let mut start = activate(&plugin.digest, json!({ "kind": "demo/restart" }));
        start.grants = grants(&["demo/*"]);
        let (_, lines, _) = drive(start, |call| match call {
            Call::Info => info("HEALTHY"),
            Call::RunAction { .. } => restarted(Value::Null),
            Call::Sleep { .. } => Answer::Sleep,
            Call::WaitStatus { .. } => found("HEALTHY"),
            Call::HttpSend { .. } | Call::WaitSignal { .. } => panic!("{language} made {call:?}"),
        })
        .await;
        let expected = ["node-1 is HEALTHY; restarting it", "node-1 is HEALTHY after 4000 ms"];
        assert_eq!(lines, expected, "{language}");
    }
}
