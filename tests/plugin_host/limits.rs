//! Guests that go past each limit: each gets an error of its own, and the host goes on.

use replibook_core::run::{Activate, ActivationEnd, Answer, FailureReason, MAX_LOG_LINES};
use replibook_host::{HostConfig, PluginHost};
use serde_json::{Value, json};

use crate::fixtures::*;

async fn hostile(what: &str, number: u64) -> Activate {
    activate(&imported("hostile").await, json!({ "do": what, "number": number }))
}

async fn reason(what: &str, number: u64) -> (FailureReason, String) {
    failure(hostile(what, number).await).await
}

#[tokio::test]
async fn a_trap_fails_the_attempt_and_its_message_is_in_the_log() {
    let activation = host().activate(hostile("trap", 0).await).await;
    let ActivationEnd::Failed { reason, retryable, .. } = activation.end else {
        panic!("found {:?}", activation.end)
    };
    assert_eq!((reason, retryable), (FailureReason::PluginTrapped, false));
    let said = activation.logs.iter().any(|line| line.message.contains("boom"));
    assert!(said, "{:?}", activation.logs);
}

#[tokio::test]
async fn a_panic_of_the_sdk_is_an_error_of_the_step() {
    let plugin = imported("panics").await;
    let step = |numbers: &[u32]| activate(&plugin, json!({ "numbers": numbers }));
    let (_, _, end) = drive(step(&[7]), |_| Answer::Sleep).await;
    assert_eq!(end, ActivationEnd::Done(json!(7).into()));
    let (calls, _, end) = drive(step(&[]), |_| Answer::Sleep).await;
    assert_eq!(calls.len(), 1);
    let ActivationEnd::Failed { reason, message, retryable } = end else { panic!("found {end:?}") };
    assert_eq!((reason, retryable), (FailureReason::StepFailed, false));
    assert!(message.starts_with("the plugin panicked at "), "{message}");
    assert!(message.contains("boom: found no number"), "{message}");
}

#[tokio::test]
async fn an_endless_loop_is_out_of_time_and_holds_up_nobody_else() {
    let host = PluginHost::start(HostConfig { threads: Some(1), ..HostConfig::default() }).unwrap();
    let plugin = host.import(guest("hostile")).await.unwrap().digest;
    let endless = activate(&plugin, json!({ "do": "loop" }));
    let ActivationEnd::Failed { reason, message, .. } = host.activate(endless.clone()).await.end
    else {
        panic!("the loop came to an end")
    };
    assert_eq!(reason, FailureReason::PluginOutOfTime, "{message}");
    assert!(message.starts_with("out-of-time: "), "{message}");

    // By now the host knows that this plugin takes long. If there were one queue for all, only the first of
    // the other activations could go before the loops.
    let loops = [(); 3].map(|()| {
        let (host, endless) = (host.clone(), endless.clone());
        tokio::spawn(async move { host.activate(endless).await })
    });
    for _ in 0..20 {
        host.activate(activate(&builtin("action"), json!({ "kind": "a/b" }))).await;
    }
    assert!(!loops.iter().all(tokio::task::JoinHandle::is_finished));
    loops.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test]
async fn a_memory_bomb_is_out_of_memory() {
    let (reason, message) = reason("memory", 0).await;
    assert_eq!(reason, FailureReason::PluginOutOfMemory, "{message}");
    assert!(message.contains("128 MiB"), "{message}");
}

#[tokio::test]
async fn deep_recursion_traps() {
    let (reason, message) = reason("recursion", 0).await;
    assert_eq!(reason, FailureReason::PluginTrapped, "{message}");
    let (reason, message) = super::limits::reason("lean-recursion", 0).await;
    assert_eq!(reason, FailureReason::PluginTrapped, "{message}");
    assert!(message.starts_with("stack-overflow: "), "{message}");
}

#[tokio::test]
async fn a_result_has_a_size_and_must_be_json() {
    let most = 1 << 20;
    let largest = result(hostile("result", most - 2).await).await;
    assert_eq!(largest.as_str().unwrap().len() as u64, most - 2);
    let (why, message) = reason("result", most - 1).await;
    assert_eq!(why, FailureReason::PluginLimit);
    assert!(message.contains("1048577 bytes"), "{message}");
    let (why, message) = reason("result", 30 << 20).await;
    assert_eq!(why, FailureReason::PluginLimit, "{message}");
    assert!(result(hostile("deep-result", 64).await).await.is_array());
    // The second depth is more than a JSON reader accepts.
    for depth in [65, 500] {
        let (why, message) = reason("deep-result", depth).await;
        assert_eq!(why, FailureReason::PluginLimit);
        assert!(message.contains(&format!("nested {depth} deep")), "{message}");
    }
    let (why, message) = reason("not-json", 0).await;
    assert_eq!(why, FailureReason::StepFailed);
    assert!(message.contains("not JSON"), "{message}");
}

#[tokio::test]
async fn a_log_has_a_length() {
    let most = MAX_LOG_LINES as u64;
    let activation = host().activate(hostile("log", most).await).await;
    let found = (activation.end, activation.logs.len());
    assert_eq!(found, (ActivationEnd::Done(Value::Null.into()), MAX_LOG_LINES));
    for what in ["log", "print"] {
        let activation = host().activate(hostile(what, most + 1).await).await;
        assert_eq!(activation.logs.len(), MAX_LOG_LINES);
        let ActivationEnd::Failed { reason, message, .. } = activation.end else {
            panic!("not stopped")
        };
        assert_eq!(reason, FailureReason::PluginLimit);
        assert!(message.starts_with("log-limit: "), "{message}");
    }
    assert!(result(hostile("long-line", 8_192).await).await.is_null());
    assert_eq!(reason("long-line", 8_193).await.0, FailureReason::PluginLimit);
}

#[tokio::test]
async fn an_attempt_has_a_number_of_calls() {
    let (calls, lines, end) = drive(hostile("sleeps", 256).await, |_| Answer::Sleep).await;
    assert_eq!((calls.len(), end), (256, ActivationEnd::Done(Value::Null.into())));
    assert_eq!(lines.len(), 256 + 2);
    let (calls, _, end) = drive(hostile("sleeps", 257).await, |_| Answer::Sleep).await;
    assert_eq!(calls.len(), 256);
    let ActivationEnd::Failed { reason, message, .. } = end else { panic!("not stopped") };
    assert_eq!(reason, FailureReason::PluginLimit, "{message}");
}

#[tokio::test]
async fn random_bytes_have_a_number_and_messages_a_length() {
    let (why, message) = reason("random-flood", 0).await;
    assert_eq!(why, FailureReason::PluginLimit);
    assert!(message.starts_with("random-limit: "), "{message}");
    let (why, message) = reason("permanent", 0).await;
    assert_eq!(why, FailureReason::StepFailed);
    assert_eq!(message.chars().count(), 4_097);
}

#[tokio::test]
async fn errors_of_a_step_are_its_own() {
    let end = host().activate(hostile("retryable", 0).await).await.end;
    let (reason, message) = (FailureReason::StepFailed, "later".to_owned());
    assert_eq!(end, ActivationEnd::Failed { reason, message, retryable: true });
    let (why, message) = super::limits::reason("exit", 0).await;
    assert_eq!(why, FailureReason::PluginTrapped);
    assert!(message.contains("exit code"), "{message}");
    let (why, message) = super::limits::reason("invalid", 0).await;
    assert_eq!(why, FailureReason::StepFailed);
    assert!(message.contains("not JSON"), "{message}");
    let (why, message) = super::limits::reason("deep-arguments", 65).await;
    assert_eq!(why, FailureReason::StepFailed);
    assert!(message.contains("nested 65 deep"), "{message}");
}

#[tokio::test]
async fn more_calls_than_threads_are_all_answered() {
    let plugin = imported("hostile").await;
    let calls = (0..2_000).map(|_| host().activate(activate(&plugin, json!({ "do": "ok" }))));
    for activation in futures::future::join_all(calls).await {
        assert!(matches!(activation.end, ActivationEnd::Done(_)), "{:?}", activation.end);
    }
}
