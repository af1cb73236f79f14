//! The reference agent, asked with raw requests, by the HTTP client, and by the engine's code that follows
//! calls.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use replibook::agent::{
    AgentClient as _, AgentLimits, FollowContext, Scheduled, Start, info, run_action, wait_status,
};
use replibook::clock::SystemClock;
use replibook::run::{CallError, Millis, Wanted};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::agent::support::{ID, agent, client, post, raw, request, until, until_final};

const SUCCESS: &str = "agent.replicante.io/test.success";
const FAIL: &str = "agent.replicante.io/test.fail";
const LOOP: &str = "agent.replicante.io/test.loop";

#[tokio::test]
async fn the_conversation_is_as_recorded() {
    let folder = tempfile::tempdir().unwrap();
    let (agent, address) = agent(folder.path(), "{}").await;
    let empty = raw(&address, "GET", "/api/unstable/actions/queue", "").await;
    assert_eq!((empty.status, empty.body.as_str()), (200, r#"{"actions":[]}"#));

    let answer = post(&address, ID, LOOP, json!({"target": 3})).await;
    assert_eq!((answer.status, answer.body), (200, format!(r#"{{"id":"{ID}"}}"#)));
    let answer = post(&address, ID, LOOP, json!({"target": 3})).await;
    let used = r#"{"error":true,"error_msg":"The action ID is already used by another action"}"#;
    assert_eq!((answer.status, answer.body.as_str()), (409, used));

    let action = until_final(&address, ID).await;
    let keys: Vec<_> = action.as_object().unwrap().keys().map(String::as_str).collect();
    let recorded = [
        "args",
        "created_time",
        "finished_time",
        "id",
        "kind",
        "metadata",
        "scheduled_time",
        "state",
    ];
    assert_eq!(keys[..8], recorded);
    assert_eq!((keys[8], &action["executions"]), ("executions", &json!(1)));
    assert_eq!(action["created_time"], "2026-11-22T09:00:00Z");
    assert_eq!(action["metadata"], json!({"run": "r1"}));
    let state = r#"{"error":null,"payload":{"count":3,"target":3},"phase":"DONE"}"#;
    assert_eq!(action["state"].to_string(), state);

    let failed = Uuid::from_u128(2);
    post(&address, failed, FAIL, Value::Null).await;
    let action = until_final(&address, failed).await;
    assert_eq!(action["state"]["phase"], "FAILED");
    assert_eq!(action["state"]["error"]["error_msg"], "Test action failed as expected");
    let finished = raw(&address, "GET", "/api/unstable/actions/finished", "").await.json();
    let item = |id: Uuid, kind, phase| json!({"id": id, "kind": kind, "phase": phase});
    let expected = json!([item(failed, FAIL, "FAILED"), item(ID, LOOP, "DONE")]);
    assert_eq!(finished["actions"], expected);
    agent.stop().await.unwrap();
}

#[tokio::test]
async fn refusals_are_as_recorded() {
    let folder = tempfile::tempdir().unwrap();
    let (agent, address) = agent(folder.path(), "{}").await;
    let answer = post(&address, ID, "nope/x", Value::Null).await;
    let message = r#"{"error":true,"error_msg":"metadata for action nope/x not found"}"#;
    assert_eq!((answer.status, answer.body.as_str()), (400, message));

    let path = "/api/unstable/action";
    let offset =
        r#"{"kind":"agent.replicante.io/test.success","created_time":"2026-11-22T09:00:00+01:00"}"#;
    let answer = raw(&address, "POST", path, offset).await;
    let message = r#"{"error":true,"error_msg":"The provided created_time MUST be in UTC"}"#;
    assert_eq!((answer.status, answer.body.as_str()), (400, message));

    let answer = raw(&address, "POST", path, "{").await;
    let message = "Json deserialize error: EOF while parsing an object at line 1 column 1";
    assert_eq!((answer.status, answer.body.as_str()), (400, message));
    assert!(answer.head.contains("content-type: text/plain"), "{}", answer.head);

    let answer = raw(&address, "GET", &format!("{path}/{ID}"), "").await;
    assert_eq!((answer.status, answer.body.as_str()), (404, ""));
    let answer = raw(&address, "GET", &format!("{path}/nope"), "").await;
    assert!(answer.status == 404 && answer.head.contains("content-type: text/plain"));
    let answer = raw(&address, "POST", &format!("{path}/"), "{}").await;
    assert_eq!(answer.status, 404);

    // If a request has no identifier and no times, the agent chooses them.
    let answer = raw(&address, "POST", path, &json!({"kind": SUCCESS}).to_string()).await;
    let id = answer.json()["id"].as_str().unwrap().parse().unwrap();
    assert_eq!(until_final(&address, id).await["metadata"], json!({}));
    agent.stop().await.unwrap();
}

#[tokio::test]
async fn what_is_too_large_is_refused_with_the_limit() {
    let folder = tempfile::tempdir().unwrap();
    let (agent, address) = agent(folder.path(), "{}").await;
    let text = |bytes: usize| Value::String("x".repeat(bytes - 2));
    assert_eq!(post(&address, ID, SUCCESS, text(2_097_152)).await.status, 200);
    let action = until_final(&address, ID).await;
    assert_eq!(action["args"].as_str().unwrap().len(), 2_097_150);
    // Our own client reads an action of that size.
    assert!(client().action(&address, ID).await.unwrap().is_some());
    let answer = post(&address, Uuid::from_u128(2), SUCCESS, text(2_097_153)).await;
    assert_eq!(answer.status, 400);
    let message = "args: found 2097153 bytes of JSON, expected at most 2097152";
    assert_eq!(answer.json()["error_msg"], message);
    let answer = post(&address, Uuid::from_u128(3), &"k".repeat(257), Value::Null).await;
    let message = "kind: found 257 characters, expected at most 256";
    assert_eq!(answer.json()["error_msg"], message);
    let body = "x".repeat(3 * 1024 * 1024);
    let answer = raw(&address, "POST", "/api/unstable/action", &body).await;
    assert_eq!((answer.status, &answer.json()["error"]), (413, &json!(true)));
    agent.stop().await.unwrap();
}

#[tokio::test]
async fn one_action_at_a_time_and_the_others_wait() {
    let folder = tempfile::tempdir().unwrap();
    let (agent, address) = agent(folder.path(), "{}").await;
    let (first, second) = (Uuid::from_u128(1), Uuid::from_u128(2));
    post(&address, first, LOOP, json!({"target": 1_000_000})).await;
    post(&address, second, SUCCESS, Value::Null).await;
    // Many ticks later, the second action still waits.
    until(&address, first, |action| action["state"]["payload"]["count"].as_u64() > Some(5)).await;
    let queue = raw(&address, "GET", "/api/unstable/actions/queue", "").await.json();
    let phases = [&queue["actions"][0]["phase"], &queue["actions"][1]["phase"]];
    assert_eq!(phases, ["RUNNING", "NEW"]);
    agent.stop().await.unwrap();
}

fn context() -> FollowContext {
    FollowContext {
        client: Arc::new(client()),
        clock: Arc::new(SystemClock),
        limits: AgentLimits::default(),
    }
}

#[tokio::test]
async fn a_command_is_followed_to_its_payload_and_runs_once() {
    let folder = tempfile::tempdir().unwrap();
    let config = "actions: { demo.example.com/move: { command: [sh, -c, \
                  'sleep 0.2; printf \"{\\\"got\\\": %s, \\\"on\\\": \\\"$REPLIBOOK_NODE_ID\\\"}\" \"$(cat)\"'] } }";
    let (agent, address) = agent(folder.path(), config).await;
    let ctx = context();
    let request = request(ID, "demo.example.com/move", json!([1, 2]));
    let accepted = AtomicU32::new(0);
    let note = || {
        accepted.fetch_add(1, Ordering::SeqCst);
    };
    let fresh = Start::default();
    let payload = run_action(&ctx, &address, &request, fresh, note, async || true).await;
    let expected = json!({"got": [1, 2], "on": "node-1"});
    assert_eq!(payload, Ok(expected.clone().into()));
    assert_eq!(accepted.load(Ordering::SeqCst), 1);
    // A new engine takes the call up again after a crash.
    let again = Start { again: true, ..Start::default() };
    let payload = run_action(&ctx, &address, &request, again, || (), async || true).await;
    assert_eq!(payload, Ok(expected.into()));
    assert_eq!(until_final(&address, ID).await["executions"], 1);
    agent.stop().await.unwrap();
}

#[tokio::test]
async fn whatever_a_command_prints_is_a_result_that_an_engine_takes() {
    let folder = tempfile::tempdir().unwrap();
    let sh = |script: &str| json!({ "command": ["sh", "-c", script] });
    let zeros = "printf '['; yes 0, | head -n 500000 | tr -d '\\n'; printf '0]'";
    let deep = "printf '%0100d' 0 | tr 0 '['; printf '%0100d' 0 | tr 0 ']'";
    let config = json!({ "actions": {
        "a/text": sh("cat >/dev/null; echo well"),
        "a/json": sh("cat"),
        "a/nothing": sh("true"),
        "a/bytes": sh(r"printf 'caf\351'"),
        "a/zeros": sh(zeros),
        "a/deep": sh(deep),
        "a/twice": sh(r#"printf '{"a":1,"a":2}'"#),
        "a/long": sh("yes | head -c 3000000"),
    } });
    let (agent, address) = agent(folder.path(), &config.to_string()).await;
    let ctx = context();
    let mut number = 0;
    let mut run = async |kind: &str| {
        number += 1;
        let request = request(Uuid::from_u128(number), kind, json!({"moved": 3}));
        let start = Start::default();
        run_action(&ctx, &address, &request, start, || (), async || true).await.unwrap()
    };
    assert_eq!(run("a/text").await, json!({"stdout": "well"}));
    assert_eq!(run("a/json").await, json!({"moved": 3}));
    assert_eq!(run("a/nothing").await, Value::Null);
    assert_eq!(run("a/bytes").await, json!({"stdout": "caf\u{fffd}"}));
    assert_eq!(run("a/twice").await, json!({"stdout": r#"{"a":1,"a":2}"#}));
    let brackets = ["[".repeat(100), "]".repeat(100)].concat();
    assert_eq!(run("a/deep").await, json!({ "stdout": brackets }));
    for (kind, bytes) in [("a/zeros", 1_000_003), ("a/long", 3_000_000)] {
        let payload = run(kind).await.value();
        assert_eq!((&payload["cut"], &payload["bytes"]), (&json!(true), &json!(bytes)), "{kind}");
    }
    agent.stop().await.unwrap();
}

#[tokio::test]
async fn failures_refusals_and_losses_arrive_as_such() {
    let folder = tempfile::tempdir().unwrap();
    let config =
        "actions: { demo.example.com/no: { command: [sh, -c, 'echo no disk >&2; exit 4'] } }";
    let (agent, address) = agent(folder.path(), config).await;
    let ctx = context();
    let run = async |id: u128, kind: &str, accepted: bool| {
        let request = request(Uuid::from_u128(id), kind, Value::Null);
        let start = Start { again: accepted, accepted, ..Start::default() };
        run_action(&ctx, &address, &request, start, || (), async || true).await.unwrap_err()
    };
    let failed = "the command ended with exit status: 4: no disk".to_owned();
    assert_eq!(run(1, "demo.example.com/no", false).await, CallError::Failed(failed));
    let refused =
        format!("{address} answered 400: metadata for action demo.example.com/what not found");
    assert_eq!(run(2, "demo.example.com/what", false).await, CallError::Refused(refused));
    assert!(matches!(run(3, "demo.example.com/no", true).await, CallError::Lost(_)));
    agent.stop().await.unwrap();
}

#[tokio::test]
async fn the_node_is_told_and_its_status_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let status = folder.path().join("status");
    let config = format!("{{ attributes: {{ zone: a }}, status_file: {} }}", status.display());
    std::fs::write(&status, "UNKNOWN: starting").unwrap();
    let (agent, address) = agent(folder.path(), &config).await;
    let ctx = context();
    let node = info(&ctx, &address, Wanted::default()).await.unwrap();
    assert_eq!((node.status.as_str(), &node.attributes["zone"]), ("UNKNOWN", &json!("a")));
    let healthy = vec!["HEALTHY".to_owned()];
    let now = ctx.clock.now();
    let waited = wait_status(&ctx, &address, &healthy, now, Millis::from_secs(60), None);
    let change = async { std::fs::write(&status, "HEALTHY").unwrap() };
    assert_eq!(tokio::join!(waited, change).0, Ok("HEALTHY".to_owned()));
    agent.stop().await.unwrap();
}

#[tokio::test]
async fn the_store_and_its_shards_are_told_where_they_are_wanted() {
    let folder = tempfile::tempdir().unwrap();
    let config = "{ cluster_id: rs0, shards: [{ id: s0, role: Primary, lag: null, \
                   commit_offset: { unit: seconds, value: 42 } }] }";
    let (agent, address) = agent(folder.path(), config).await;
    let wanted = Wanted { store: true, shards: true, cluster: false };
    let said = info(&context(), &address, wanted).await.unwrap();
    assert_eq!(said.datastore.store, json!({"cluster_id": "rs0", "attributes": {}}));
    let offset = json!({"unit": "seconds", "value": 42});
    let shard = json!({"id": "s0", "role": "PRIMARY", "commit_offset": offset, "lag": null});
    assert_eq!(said.datastore.shards, json!([shard]));
    let said = info(&context(), &address, Wanted::default()).await.unwrap();
    assert!(said.datastore.is_empty());
    agent.stop().await.unwrap();
}

#[tokio::test]
async fn actions_outlast_the_agent() {
    let folder = tempfile::tempdir().unwrap();
    let (first, address) = agent(folder.path(), "{}").await;
    post(&address, ID, LOOP, json!({"target": 40})).await;
    let counted = |action: &Value| action["state"]["payload"]["count"].as_u64() > Some(3);
    until(&address, ID, counted).await;
    // As in a crash, nothing is ended: everything is only dropped.
    drop(first);
    let (second, address) = agent(folder.path(), "{}").await;
    let agents = client();
    let scheduled = agents.schedule(&address, &request(ID, LOOP, Value::Null)).await;
    assert_eq!(scheduled.unwrap(), Scheduled::Known);
    let action = until_final(&address, ID).await;
    assert_eq!(action["state"]["payload"], json!({"count": 40, "target": 40}));
    assert_eq!(action["executions"], 1);
    second.stop().await.unwrap();
}
