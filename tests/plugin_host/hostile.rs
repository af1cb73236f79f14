//! Guests that each do one bad thing. Each gets the code that `docs/plugin-errors.md` promises, and the host
//! works on.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use replibook_core::run::{ActivationEnd, Answer, Call, Millis};
use serde_json::{Value, json};

use crate::bytes::*;
use crate::fixtures::*;

/// Checks that the host still does its work.
async fn works_on() {
    let mut ordinary = activate(&builtin("action"), json!({ "kind": "a/b" }));
    ordinary.grants = grants(&["*"]);
    let (_, _, end) = drive(ordinary, |_| Answer::RunAction(Ok(json!(7).into()))).await;
    assert_eq!(end, ActivationEnd::Done(json!(7).into()));
}

/// The code of the error with which one activation of the hostile step fails.
async fn code(arguments: Value) -> String {
    let message = failure(activate(&imported("hostile").await, arguments)).await.1;
    works_on().await;
    message.split_once(": ").map_or(message.clone(), |(code, _)| code.to_owned())
}

async fn refused(bytes: impl Into<Bytes>) -> &'static str {
    let error = host().import(bytes.into()).await.unwrap_err();
    works_on().await;
    error.code
}

#[tokio::test]
async fn each_step_that_misbehaves_has_its_code() {
    let cases = [
        ("trap", "trapped"),
        ("exit", "exited"),
        ("loop", "out-of-time"),
        ("calls", "out-of-time"),
        ("refused-calls", "out-of-time"),
        ("poll", "out-of-time"),
        ("memory", "out-of-memory"),
        ("lean-recursion", "stack-overflow"),
        ("recursion", "trapped"),
        ("not-utf8", "bad-text"),
        ("log-not-utf8", "bad-text"),
        ("not-json", "bad-result"),
        ("endless-line", "log-limit"),
        ("endless-stdout", "log-limit"),
        ("handles", "handle-limit"),
        ("random-flood", "random-limit"),
    ];
    for (what, expected) in cases {
        assert_eq!(code(json!({ "do": what })).await, expected, "{what}");
    }
    let sizes = [
        ("log", 1_000_000, "log-limit"),
        ("print", 1_000_000, "log-limit"),
        ("long-line", 1 << 20, "log-limit"),
        ("result", 2 << 20, "result-limit"),
        ("result", 20 << 20, "data-limit"),
        ("deep-result", 100_000, "result-limit"),
    ];
    for (what, number, expected) in sizes {
        let found = code(json!({ "do": what, "number": number })).await;
        assert_eq!(found, expected, "{what} {number}");
    }
}

#[tokio::test]
async fn no_function_of_the_host_takes_a_giant() {
    for to in ["log", "kind", "arguments", "statuses", "status", "signal", "url", "body", "error"] {
        assert_eq!(code(json!({ "do": "giant", "to": to })).await, "data-limit", "{to}");
    }
}

#[tokio::test]
async fn a_million_calls_that_have_no_effect_are_just_done() {
    let many =
        activate(&imported("hostile").await, json!({ "do": "many-calls", "number": 1_000_000 }));
    assert!(result(many).await.is_null());
    let (calls, _, end) = drive(
        activate(&imported("hostile").await, json!({ "do": "sleeps", "number": 300 })),
        |_| Answer::Sleep,
    )
    .await;
    assert_eq!(calls.len(), 256);
    let ActivationEnd::Failed { message, .. } = end else { panic!("found {end:?}") };
    assert!(message.starts_with("calls-limit: "), "{message}");
}

#[tokio::test]
async fn clocks_and_random_bytes_do_not_make_activations_differ() {
    let dice = activate(&imported("hostile").await, json!({ "do": "dice", "number": 20 }));
    let (calls, _, end) = drive(dice, |_| Answer::Sleep).await;
    let thrown = calls.iter().map(|call| match call {
        Call::Sleep { length } => json!(length.0),
        other => panic!("found {other:?}"),
    });
    assert_eq!(end, ActivationEnd::Done(Value::Array(thrown.collect()).into()));

    let mut start = activate(&imported("hostile").await, json!({ "do": "sleeps", "number": 2 }));
    start.journal.answers.push(answered(0, &Call::Info, Answer::Sleep));
    let message = failure(start).await.1;
    assert!(message.starts_with("not-deterministic: "), "{message}");
}

#[tokio::test]
async fn a_timer_of_wasi_that_never_ends_is_a_wait_like_any_other() {
    let block = activate(&imported("hostile").await, json!({ "do": "block" }));
    let ActivationEnd::Blocked(Call::Sleep { length }) = host().activate(block).await.end else {
        panic!("it did not wait")
    };
    assert!(length > Millis::from_secs(3_600 * 24 * 365));
}

#[tokio::test]
async fn each_strategy_that_misbehaves_has_its_code() {
    let plugin = imported("hostile-strategy").await;
    let cases = [
        ("trap", "trapped"),
        ("loop", "out-of-time"),
        ("calls", "out-of-time"),
        ("memory", "out-of-memory"),
        ("recursion", "stack-overflow"),
        ("refuse", "strategy-failed"),
        ("give-up", "strategy-failed"),
        ("sleep", "forbidden-call"),
        ("memo", "bad-decision"),
        ("skip", "bad-decision"),
        ("flood", "data-limit"),
        ("giant-memo", "data-limit"),
        ("giant-details", "data-limit"),
        ("giant-page", "data-limit"),
        ("giant-expression", "data-limit"),
        ("giant-refresh", "data-limit"),
        ("refresh", "refresh-limit"),
        ("expressions", "expression-limit"),
        ("evaluations", "out-of-time"),
        ("log", "log-limit"),
    ];
    for (what, code) in cases {
        let outcome = plan(&plugin, json!({ "do": what }), "", 300, &Agents::waiting(1_001)).await;
        assert_eq!(outcome.result.unwrap_err().code, code, "{what}");
        works_on().await;
    }
}

#[tokio::test]
async fn each_file_that_is_no_plugin_has_its_code() {
    let hostile = guest("hostile");
    for length in [9, 100, hostile.len() / 2, hostile.len() - 1] {
        assert_eq!(refused(hostile.slice(..length)).await, "invalid-component", "{length}");
    }
    assert_eq!(refused(hostile.slice(..7)).await, "not-a-component");
    let random: Vec<u8> =
        (0..4_096_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    assert_eq!(refused(random.clone()).await, "not-a-component");
    let headed = [b"\0asm\x0d\0\x01\0".to_vec(), random].concat();
    assert_eq!(refused(headed).await, "invalid-component");
    assert_eq!(refused(deep(100)).await, "too-complex");
    assert_eq!(refused(guest("describe-loops")).await, "out-of-time");
    assert_eq!(refused(guest("describe-calls")).await, "forbidden-call");
}

#[tokio::test]
async fn a_component_implements_one_world_and_no_more() {
    let [step, strategy] =
        ["working", "planning"].map(|it| format!("replicante:playbook/{it}@0.1.0"));
    assert_eq!(refused(exporting(&["a:b/c"])).await, "wrong-world");
    assert_eq!(refused(exporting(&[&step, &strategy])).await, "wrong-world");
    assert_eq!(refused(exporting(&[&step, "a:b/c"])).await, "unknown-export");
    assert_eq!(refused(exporting(&[&step])).await, "wrong-type");
    assert_eq!(refused(exporting_module(&guest("hostile"))).await, "unknown-export");
    assert_eq!(refused(guest("unknown-import")).await, "unknown-import");
}

#[tokio::test]
async fn what_happens_while_a_module_starts_is_limited_too() {
    let hostile = guest("hostile");
    let cases =
        [(LOOPS, "out-of-time"), (GROWS_ITS_TABLE, "table-limit"), (GROWS, "out-of-memory")];
    for (body, code) in cases {
        assert_eq!(refused(starting(&hostile, body)).await, code);
    }
}

fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

#[test]
fn every_code_is_documented_and_tested() {
    let root = crate::plugins::root();
    let all = |pattern: &str, text: &str| -> BTreeSet<String> {
        let pattern = regex::Regex::new(pattern).unwrap();
        pattern.captures_iter(text).map(|found| found[1].to_owned()).collect()
    };
    let (mut used, mut tests) = (BTreeSet::new(), String::new());
    for path in files(&root.join("src/host")) {
        let source = text(&path);
        let (code, test) = source.split_once("#[cfg(test)]").unwrap_or((&source, ""));
        used.extend(all(r#"(?:new|refused)\(\s*"([a-z-]+)""#, code));
        used.extend(all(r#"code: "([a-z-]+)""#, code));
        tests.push_str(test);
    }
    for path in files(&root.join("tests/plugin_host")) {
        tests.push_str(&text(&path));
    }
    let documented = all(r"(?m)^\| `([a-z-]+)`", &text(&root.join("docs/plugin-errors.md")));
    assert_eq!(used, documented);
    let untested: Vec<_> =
        used.iter().filter(|code| !tests.contains(&format!("\"{code}"))).collect();
    assert!(untested.is_empty(), "{untested:?}");
}
