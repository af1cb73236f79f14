//! The answers of the reference agent, compared row by row with those that were recorded from an agent of the
//! SDK.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::agent::support::{Answer, ID, agent, post, raw, until, until_final};

const ACTION: &str = "/api/unstable/action";
const LOOP: &str = "agent.replicante.io/test.loop";
const FAIL: &str = "agent.replicante.io/test.fail";

/// Replaces what differs from agent to agent, the version and the times, by what was recorded.
fn as_recorded(answer: &Answer) -> String {
    let mut body = answer.json();
    if body.get("agent_version").is_some() {
        body["agent_version"] = json!({"checkout": "c", "number": "0.1.0", "taint": "not tainted"});
    }
    for time in ["scheduled_time", "finished_time"] {
        if body.get(time).is_some_and(Value::is_string) {
            let text = body[time].as_str().unwrap();
            assert!(text.parse::<jiff::Timestamp>().is_ok() && text.ends_with('Z'), "{text}");
            body[time] = json!("TIME");
        }
    }
    // A field that only the reference agent has.
    if let Some(body) = body.as_object_mut() {
        body.remove("executions");
    }
    body.to_string()
}

async fn get(address: &str, path: &str) -> String {
    let answer = raw(address, "GET", &format!("/api/unstable/{path}"), "").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(answer.head.contains("content-type: application/json"), "{answer:?}");
    as_recorded(&answer)
}

#[tokio::test]
async fn what_it_says_of_its_node_is_as_recorded() {
    let folder = tempfile::tempdir().unwrap();
    let config = "{ node_id: node-1, store_id: demo, store_version: 1.2.3, cluster_id: rs0, \
                  attributes: { rack: null, role: SECONDARY }, \
                  address: { client: '127.0.0.1:27017' }, \
                  shards: [{ commit_offset: { unit: seconds, value: 42 }, lag: null, \
                             role: Secondary, id: rs0 }] }";
    let (agent, address) = agent(folder.path(), config).await;
    for (path, recorded) in [
        (
            "info/node",
            r#"{"address":{"client":"127.0.0.1:27017","member":null},"agent_version":{"checkout":"c","number":"0.1.0","taint":"not tainted"},"attributes":{"rack":null,"role":"SECONDARY"},"node_id":"node-1","node_status":"HEALTHY","store_id":"demo","store_version":{"checkout":null,"number":"1.2.3","extra":null}}"#,
        ),
        ("info/store", r#"{"cluster_id":"rs0","attributes":{}}"#),
        (
            "info/shards",
            r#"{"shards":[{"commit_offset":{"unit":"seconds","value":42},"lag":null,"role":"Secondary","id":"rs0"}]}"#,
        ),
        ("actions/queue", r#"{"actions":[]}"#),
    ] {
        assert_eq!(get(&address, path).await, recorded, "{path}");
    }
    agent.stop().await.unwrap();
}

#[tokio::test]
async fn an_action_is_answered_as_recorded_in_each_phase() {
    let folder = tempfile::tempdir().unwrap();
    let (agent, address) = agent(folder.path(), "{}").await;
    // While this action runs, the other one stays NEW.
    let before = Uuid::from_u128(1);
    post(&address, before, LOOP, json!({"target": 600})).await;
    let answer = post(&address, ID, LOOP, json!({"target": 3})).await;
    assert_eq!((answer.status, answer.body), (200, format!(r#"{{"id":"{ID}"}}"#)));
    let again = post(&address, ID, LOOP, json!({"target": 3})).await;
    let used = r#"{"error":true,"error_msg":"The action ID is already used by another action"}"#;
    assert_eq!((again.status, again.body.as_str()), (409, used));
    let path = format!("action/{ID}");
    let recorded = |finished: &str, state: &str| {
        format!(
            r#"{{"args":{{"target":3}},"created_time":"2026-11-22T09:00:00Z","finished_time":{finished},"id":"{ID}","kind":"{LOOP}","metadata":{{"run":"r1"}},"scheduled_time":"TIME","state":{state}}}"#
        )
    };
    let new = r#"{"error":null,"payload":null,"phase":"NEW"}"#;
    assert_eq!(get(&address, &path).await, recorded("null", new));
    let running = |action: &Value| action["state"]["payload"]["count"].as_u64() > Some(0);
    until(&address, before, running).await;
    let running = r#""state":{"error":null,"payload":{"count":"#;
    let at_work = get(&address, &format!("action/{before}")).await;
    assert!(at_work.contains(running) && at_work.ends_with(r#""phase":"RUNNING"}}"#), "{at_work}");
    until_final(&address, ID).await;
    let done = r#"{"error":null,"payload":{"count":3,"target":3},"phase":"DONE"}"#;
    assert_eq!(get(&address, &path).await, recorded("\"TIME\"", done));

    let failed = Uuid::from_u128(2);
    let body = json!({"kind": FAIL, "id": failed, "created_time": "2026-11-22T09:00:00Z"});
    assert_eq!(raw(&address, "POST", ACTION, &body.to_string()).await.status, 200);
    until_final(&address, failed).await;
    // The backtrace is null, as in an SDK that records none.
    let recorded = format!(
        r#"{{"args":null,"created_time":"2026-11-22T09:00:00Z","finished_time":"TIME","id":"{failed}","kind":"{FAIL}","metadata":{{}},"scheduled_time":"TIME","state":{{"error":{{"error_backtrace":null,"error_msg":"Test action failed as expected"}},"payload":null,"phase":"FAILED"}}}}"#
    );
    assert_eq!(get(&address, &format!("action/{failed}")).await, recorded);
    agent.stop().await.unwrap();
}

#[tokio::test]
async fn what_the_sdk_refuses_is_refused_as_there() {
    let folder = tempfile::tempdir().unwrap();
    let (agent, address) = agent(folder.path(), "{}").await;
    let action = |more: &str| format!(r#"{{"kind":"agent.replicante.io/test.success"{more}}}"#);
    let deep = "[".repeat(128) + &"]".repeat(128);
    let error = |message: &str| json!({"error": true, "error_msg": message}).to_string();
    let unread = |message: &str| format!("Json deserialize error: {message}");
    let utc = error("The provided created_time MUST be in UTC");
    // The body that is sent, the answer to it, and whether that is JSON.
    for (body, expected, json) in [
        (r#"{"kind":"nope/x"}"#.to_owned(), error("metadata for action nope/x not found"), true),
        (action(r#","created_time":"2026-11-22T09:00:00+01:00""#), utc.clone(), true),
        (action(r#","created_time":"2026-11-22T09:00:00-00:30""#), utc, true),
        ("{".to_owned(), unread("EOF while parsing an object at line 1 column 1"), false),
        (String::new(), unread("EOF while parsing a value at line 1 column 0"), false),
        ("{}".to_owned(), unread("missing field `kind` at line 1 column 2"), false),
        (
            action(r#","metadata":{"run":1}"#),
            unread("invalid type: integer `1`, expected a string at line 1 column "),
            false,
        ),
        (
            action(r#","metadata":{"run":null}"#),
            unread("invalid type: null, expected a string at line 1 column "),
            false,
        ),
        (
            action(r#","metadata":{"run":{"a":"b"}}"#),
            unread("invalid type: map, expected a string at line 1 column "),
            false,
        ),
        (
            action(r#","metadata":["run"]"#),
            unread("invalid type: sequence, expected a map at line 1 column "),
            false,
        ),
        (
            action(r#","metadata":null"#),
            unread("invalid type: null, expected a map at line 1 column "),
            false,
        ),
        (
            action(&format!(r#","args":{deep}"#)),
            unread("args: recursion limit exceeded at line 1 column 128"),
            false,
        ),
        (
            action(r#","args":"\ud800""#),
            unread("args: unexpected end of hex escape at line 1 column 8"),
            false,
        ),
    ] {
        let answer = raw(&address, "POST", ACTION, &body).await;
        assert_eq!(answer.status, 400, "{body}");
        // The answer also says where in the body the mistake is.
        assert!(answer.body.starts_with(&expected), "{body}: {answer:?}");
        let kind = if json { "application/json" } else { "text/plain" };
        assert!(answer.head.contains(&format!("content-type: {kind}")), "{answer:?}");
    }
    for bad in [r#","id":"nope""#, r#","created_time":"soon""#, r#","created_time":1"#] {
        let answer = raw(&address, "POST", ACTION, &action(bad)).await;
        assert_eq!(answer.status, 400, "{bad}");
        assert!(answer.body.starts_with("Json deserialize error: "), "{answer:?}");
    }
    // Neither path is known to the agent.
    let answer = raw(&address, "GET", &format!("{ACTION}/{ID}"), "").await;
    assert_eq!((answer.status, answer.body.as_str()), (404, ""));
    let answer = raw(&address, "GET", &format!("{ACTION}/nope"), "").await;
    assert!(answer.status == 404 && answer.head.contains("content-type: text/plain"));
    let answer = raw(&address, "POST", &format!("{ACTION}/"), &action("")).await;
    assert_eq!(answer.status, 404);
    let queue = raw(&address, "GET", "/api/unstable/actions/queue", "").await.json();
    assert_eq!(queue["actions"], json!([]));
    agent.stop().await.unwrap();
}

#[tokio::test]
async fn metadata_and_arguments_come_back_as_they_came() {
    let folder = tempfile::tempdir().unwrap();
    let (agent, address) = agent(folder.path(), "{}").await;
    for (number, (args, metadata)) in [
        (json!(null), json!({})),
        (json!([1, 1.5, -0.0, "ä\u{0}", {"b": 1, "a": []}]), json!({"a": "", "b": "ä\"\\"})),
        (json!("x".repeat(100_000)), json!({"long": "y".repeat(100_000)})),
    ]
    .into_iter()
    .enumerate()
    {
        let id = Uuid::from_u128(number as u128);
        let body = json!({
            "kind": FAIL, "id": id, "args": args, "metadata": metadata,
        });
        let answer = raw(&address, "POST", ACTION, &body.to_string()).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let action = until_final(&address, id).await;
        assert_eq!((&action["args"], &action["metadata"]), (&args, &metadata));
    }
    agent.stop().await.unwrap();
}
