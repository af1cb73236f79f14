//! Activations: replay, logical time, random bytes, grants, and the built-in steps.

use replibook_core::run::{
    ActivationEnd, AgentId, Answer, AttemptKey, Call, CallError, FailureReason, JsonText, LogLevel,
    Millis, NodeInfo,
};
use replibook_host::{HostConfig, PluginHost};
use serde_json::{Value, json};

use crate::fixtures::*;

fn sleep(length: u64) -> Call {
    Call::Sleep { length: Millis(length) }
}

#[tokio::test]
async fn a_step_is_activated_from_its_start_until_it_has_all_answers() {
    let plugin = imported("hostile").await;
    let start = activate(&plugin, json!({ "do": "sleeps", "number": 3 }));
    let (calls, lines, end) = drive(start, |_| Answer::Sleep).await;
    assert_eq!(calls, [sleep(0), sleep(1), sleep(2)]);
    assert_eq!(end, ActivationEnd::Done(Value::Null.into()));
    // Four activations wrote ten lines; each different one is kept once.
    assert_eq!(lines, ["before 0", "before 1", "before 2", "out", "err"]);
}

#[tokio::test]
async fn the_same_activation_comes_out_the_same() {
    let plugin = imported("hostile").await;
    let mut start = activate(&plugin, json!({ "do": "sleeps", "number": 2 }));
    start.journal.answers.push(answered(0, &sleep(0), Answer::Sleep));
    let first = host().activate(start.clone()).await;
    assert_eq!(first.end, ActivationEnd::Blocked(sleep(1)));
    assert_eq!(first, host().activate(start).await);
}

#[tokio::test]
async fn a_pending_call_must_be_repeated() {
    let plugin = imported("hostile").await;
    let mut start = activate(&plugin, json!({ "do": "sleeps", "number": 2 }));
    start.journal.pending = Some(pending(&sleep(0)));
    let again = host().activate(start.clone()).await;
    assert_eq!(again.end, ActivationEnd::Blocked(sleep(0)));

    start.journal.pending = Some(pending(&sleep(9)));
    let (reason, message) = failure(start).await;
    assert_eq!(reason, FailureReason::NotDeterministic);
    assert!(message.contains("call number 0") && message.contains("timer.sleep"), "{message}");
}

#[tokio::test]
async fn calls_that_differ_from_the_journal_are_not_deterministic() {
    let plugin = imported("hostile").await;
    for (number, known) in [(2, sleep(9)), (2, Call::Info), (0, sleep(0))] {
        let mut start = activate(&plugin, json!({ "do": "sleeps", "number": number }));
        let answer = match known {
            Call::Info => Answer::Info(Err(CallError::TimedOut(String::new()))),
            Call::RunAction { .. }
            | Call::WaitStatus { .. }
            | Call::HttpSend { .. }
            | Call::WaitSignal { .. }
            | Call::Sleep { .. } => Answer::Sleep,
        };
        start.journal.answers.push(answered(0, &known, answer));
        let (reason, message) = failure(start).await;
        assert_eq!(reason, FailureReason::NotDeterministic, "{message}");
    }
    let mut start = activate(&plugin, json!({ "do": "ok" }));
    start.journal.pending = Some(pending(&sleep(0)));
    assert_eq!(failure(start).await.0, FailureReason::NotDeterministic);
}

#[tokio::test]
async fn random_bytes_are_those_of_the_attempt() {
    let plugin = imported("hostile").await;
    let start = activate(&plugin, json!({ "do": "random" }));
    let first = result(start.clone()).await;
    assert_eq!(first, result(start.clone()).await);
    assert_eq!(first[0].as_array().unwrap().len(), 8);

    let mut other = start;
    other.key = AttemptKey { attempt: 2, ..other.key };
    other.journal.key = other.key;
    assert_ne!(first, result(other).await);
}

#[tokio::test]
async fn time_is_logical_and_a_sleep_of_the_language_is_journaled() {
    let plugin = imported("hostile").await;
    let start = activate(&plugin, json!({ "do": "time" }));
    let (calls, _, end) = drive(start, |_| Answer::Sleep).await;
    assert_eq!(calls, [sleep(250)]);
    let begun = START.as_millis() as f64;
    let expected = json!({
        "before": [begun, begun],
        "after": [begun + 1_000.0, begun + 1_000.0],
        "passed": 1_000,
    });
    assert_eq!(end, ActivationEnd::Done(expected.into()));
}

#[tokio::test]
async fn a_step_finds_nothing_of_the_machine() {
    let plugin = imported("hostile").await;
    let found = result(activate(&plugin, json!({ "do": "machine" }))).await;
    assert_eq!(found, json!({ "arguments": 0, "variables": 0, "files": false }));
}

#[tokio::test]
async fn what_the_cluster_says_about_an_agent_counts_over_what_it_says_itself() {
    let plugin = imported("hostile").await;
    let attributes = object(json!({ "zone": "own", "disk": "ssd" }));
    let (status, raw) = ("HEALTHY".to_owned(), json!({ "node_id": "n" }));
    let answer =
        Answer::Info(
            Ok(NodeInfo { status, attributes, raw, datastore: Default::default() }.into()),
        );
    let start = activate(&plugin, json!({ "do": "info" }));
    let (_, _, end) = drive(start, |_| answer.clone()).await;
    let attributes = json!({ "zone": "a", "disk": "ssd" });
    let expected = json!({ "id": "node-1", "status": "HEALTHY", "attributes": attributes });
    assert_eq!(end, ActivationEnd::Done(expected.into()));
}

#[tokio::test]
async fn the_action_step_returns_what_the_action_returned() {
    let plugin = builtin("action");
    let mut start = activate(&plugin, json!({ "kind": "a/b", "args": { "b": 1, "a": [2] } }));
    start.grants = grants(&["a/*"]);
    let payload = JsonText::from(json!({ "moved": 3 }));
    let (calls, _, end) = drive(start, |_| Answer::RunAction(Ok(payload.clone()))).await;
    let (kind, arguments) = ("a/b".to_owned(), json!({ "b": 1, "a": [2] }).into());
    assert_eq!(calls, [Call::RunAction { kind, arguments }]);
    let ActivationEnd::Done(result) = end else { panic!("{end:?}") };
    assert!(result.is_shared_with(&payload), "{result}, and not in memory twice");

    let mut start = activate(&plugin, json!({ "kind": "a/b" }));
    start.grants = grants(&["a/b"]);
    let (kind, arguments) = ("a/b".to_owned(), Value::Null.into());
    let blocked = ActivationEnd::Blocked(Call::RunAction { kind, arguments });
    assert_eq!(host().activate(start).await.end, blocked);

    let mut start = activate(&plugin, json!({ "kind": "a/b", "args": { "b": 1, "a": [2] } }));
    start.grants = grants(&["a/b"]);
    let of_step = start.journal.arguments.clone();
    let ActivationEnd::Blocked(Call::RunAction { arguments, .. }) =
        host().activate(start).await.end
    else {
        panic!("not blocked")
    };
    assert!(arguments.is_shared_with(&of_step), "{arguments}");
}

#[tokio::test]
async fn what_happened_to_a_call_is_the_reason_of_the_error_that_follows() {
    let plugin = builtin("action");
    let cases = [
        (CallError::Failed("m".to_owned()), FailureReason::ActionFailed, true),
        (CallError::Refused("m".to_owned()), FailureReason::Refused, false),
        (CallError::Malformed("m".to_owned()), FailureReason::Malformed, true),
        (CallError::Unreachable("m".to_owned()), FailureReason::Unreachable, true),
        (CallError::Lost("m".to_owned()), FailureReason::ActionLost, true),
        (CallError::TimedOut("m".to_owned()), FailureReason::TimedOut, true),
    ];
    for (error, reason, retryable) in cases {
        let mut start = activate(&plugin, json!({ "kind": "a/b" }));
        start.grants = grants(&["*"]);
        let (_, _, end) = drive(start, |_| Answer::RunAction(Err(error.clone()))).await;
        assert_eq!(end, ActivationEnd::Failed { reason, message: "m".to_owned(), retryable });
    }
}

#[tokio::test]
async fn what_is_not_granted_is_refused_and_not_journaled() {
    let action = activate(&builtin("action"), json!({ "kind": "a/b" }));
    let (reason, message) = failure(action).await;
    assert_eq!(reason, FailureReason::NotGranted);
    assert!(message.contains("a/b"), "{message}");

    let plugin = imported("hostile").await;
    for what in ["http", "signal"] {
        let (reason, message) = failure(activate(&plugin, json!({ "do": what }))).await;
        assert_eq!(reason, FailureReason::NotGranted);
        assert!(message.contains("not-granted") || message.contains("NotGranted"), "{message}");
    }
    let ignored = activate(&plugin, json!({ "do": "action-ignored" }));
    let (calls, _, end) = drive(ignored, |_| Answer::Sleep).await;
    assert_eq!(calls, [sleep(1)]);
    let reason = FailureReason::StepFailed;
    let message = "for another reason".to_owned();
    assert_eq!(end, ActivationEnd::Failed { reason, message, retryable: false });
}

#[tokio::test]
async fn the_wait_step_waits_for_the_statuses_it_is_given() {
    let plugin = builtin("wait-healthy");
    let wait = |statuses: &[&str], timeout| Call::WaitStatus {
        statuses: statuses.iter().map(|status| (*status).to_owned()).collect(),
        timeout: Millis::from_secs(timeout),
    };
    let found = || Answer::WaitStatus(Ok("DEGRADED".to_owned()));
    let (calls, _, end) = drive(activate(&plugin, json!({})), |_| found()).await;
    assert_eq!(calls, [wait(&["HEALTHY"], 300)]);
    assert_eq!(end, ActivationEnd::Done(json!({ "status": "DEGRADED" }).into()));

    let arguments = json!({ "statuses": ["HEALTHY", "DEGRADED"], "timeout_seconds": 5 });
    let (calls, _, _) = drive(activate(&plugin, arguments), |_| found()).await;
    assert_eq!(calls, [wait(&["HEALTHY", "DEGRADED"], 5)]);
}

#[tokio::test]
async fn a_step_is_told_where_it_is() {
    let plugin = imported("hostile").await;
    let mut start = activate(&plugin, json!({ "do": "ok" }));
    start.agent = AgentId::from("node-9");
    assert_eq!(result(start).await, json!({ "agent": "node-9", "attempt": 1 }));
}

#[tokio::test]
async fn standard_streams_are_lines_of_the_log() {
    let plugin = imported("hostile").await;
    let logs =
        host().activate(activate(&plugin, json!({ "do": "sleeps", "number": 0 }))).await.logs;
    let lines: Vec<_> = logs.iter().map(|line| (line.level, line.message.as_str())).collect();
    assert_eq!(lines, [(LogLevel::Info, "out"), (LogLevel::Warn, "err")]);
}

#[tokio::test]
async fn a_line_that_was_not_ended_before_a_call_appears_once() {
    let plugin = imported("hostile").await;
    let start = activate(&plugin, json!({ "do": "unfinished", "number": 2 }));
    let (_, lines, end) = drive(start, |_| Answer::Sleep).await;
    assert_eq!(end, ActivationEnd::Done(Value::Null.into()));
    assert_eq!(lines, ["moving 0 ", "moving 1 ", "ok"]);
}

#[tokio::test(flavor = "current_thread")]
async fn a_host_without_threads_runs_guests_that_print() {
    let host = PluginHost::start(HostConfig { threads: Some(0), ..HostConfig::default() }).unwrap();
    let plugin = host.import(guest("hostile")).await.unwrap().digest;
    let start = activate(&plugin, json!({ "do": "print", "number": 2 }));
    let activation = host.activate(start).await;
    assert_eq!(activation.end, ActivationEnd::Done(Value::Null.into()));
    let lines: Vec<_> = activation.logs.iter().map(|line| line.message.as_str()).collect();
    assert_eq!(lines, ["line 0", "line 1"]);
}
