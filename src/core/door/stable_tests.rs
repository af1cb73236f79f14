//! The answers are written down from the source of the agents: replicante-io/agents, revision
//! 45035138689c8ef43b4b70ebed83b1071474da0e, `libs/rust/sdk/src/api`, with the types of `replicante_models_agent` 0.3.2
//! and errors as `SerializableFail` of `replicante_util_failure` writes them.

use super::*;

const ID: Uuid = Uuid::from_u128(0x308f_b8bc_79a1_49d9_bf71_1191_d7d6_c5d2);

/// What `actions/info/ID` says of an action in this state.
fn info(state: &str, payload: &str) -> String {
    let finished =
        if matches!(state, "DONE" | "FAILED") { r#""2019-08-30T20:40:37Z""# } else { "null" };
    format!(
        r#"{{"action":{{"args":{{"count":2}},"created_ts":"2019-08-30T20:40:24Z","finished_ts":{finished},"headers":{{"replibook.attempt":"1"}},"id":"{ID}","kind":"agent.replicante.io/test.ping","requester":"CORE_PLAYBOOK","scheduled_ts":"2019-08-30T20:40:24Z","state":"{state}","state_payload":{payload}}},"history":[{{"action_id":"{ID}","timestamp":"2019-08-30T20:40:24Z","state":"NEW","state_payload":null}}]}}"#
    )
}

fn read(body: &str) -> Result<ActionStatus, String> {
    read_stable_action(body.as_bytes(), ID).map_err(|error| error.to_string())
}

#[test]
fn actions_are_read_in_each_state() {
    let status = |phase, payload: Value| {
        let payload = payload.into();
        Ok(ActionStatus { phase, payload, unread: None, error: None })
    };
    let pong = json!(["Pong at 2019-08-30 20:40:33 UTC"]);
    assert_eq!(read(&info("NEW", "null")), status(ActionPhase::New, Value::Null));
    assert_eq!(
        read(&info("RUNNING", &pong.to_string())),
        status(ActionPhase::Running, pong.clone())
    );
    assert_eq!(read(&info("DONE", &pong.to_string())), status(ActionPhase::Done, pong));
}

#[test]
fn the_payload_of_a_failed_action_is_its_error() {
    for (payload, told) in [
        (
            r#"{"error":"triggered debugging action that fails","layers":["triggered debugging action that fails"],"trace":"   0: failure::backtrace…","variant":"FreeForm"}"#,
            Some("triggered debugging action that fails"),
        ),
        (
            r#"{"error":"service operation 'stop' failed","layers":["service operation 'stop' failed","exit 1"],"trace":null,"variant":"ServiceOpFailed"}"#,
            Some("service operation 'stop' failed: exit 1"),
        ),
        (r#"{"error":"no such unit"}"#, Some("no such unit")),
        ("null", None),
    ] {
        let failed = read(&info("FAILED", payload)).unwrap();
        assert_eq!((failed.phase, failed.error.as_deref()), (ActionPhase::Failed, told));
        assert_eq!((failed.payload, failed.unread), (Value::Null.into(), None));
    }
}

#[test]
fn what_is_no_such_action_is_malformed_and_says_where() {
    let other = Uuid::nil();
    for (body, told) in [
        ("[]".to_owned(), "the body: found [], expected a JSON object".to_owned()),
        ("{}".to_owned(), format!("/action/id: found nothing, expected {ID}")),
        (r#"{"action":7}"#.to_owned(), "/action: found 7, expected an object".to_owned()),
        (
            info("NEW", "null").replace(&ID.to_string(), &other.to_string()),
            format!("/action/id: found \"{other}\", expected {ID}"),
        ),
        (
            info("PAUSED", "null"),
            "/action/state: found \"PAUSED\", expected NEW, RUNNING, DONE or FAILED".to_owned(),
        ),
        // An answer of the other generation.
        (
            format!(r#"{{"id":"{ID}","state":{{"phase":"DONE"}}}}"#),
            format!("/action/id: found nothing, expected {ID}"),
        ),
    ] {
        assert_eq!(read(&body).unwrap_err(), told);
    }
    let large = read(&info("DONE", &format!("\"{}\"", "x".repeat(PAYLOAD.bytes)))).unwrap();
    assert!(large.phase == ActionPhase::Done && large.unread.is_some());
    let huge = format!(r#"{{"history":"{}"}}"#, "x".repeat(ACTION_BYTES));
    assert!(read(&huge).unwrap_err().ends_with("expected at most 4194304"));
}

#[test]
fn a_queue_is_read_and_what_is_none_is_refused() {
    let queue = |body: &str| read_stable_queue(body.as_bytes()).map_err(|error| error.to_string());
    let action = format!(r#"{{"kind":"replicante.io/store.stop","id":"{ID}","state":"RUNNING"}}"#);
    let read = queue(&format!(r#"[{action},{{"id":"{ID}","state":"NEW"}}]"#)).unwrap();
    assert_eq!((read[0].phase, read[1].phase), (ActionPhase::Running, ActionPhase::New));
    assert_eq!((read[0].kind.as_str(), read[1].kind.as_str()), ("replicante.io/store.stop", ""));
    for (body, told) in [
        ("{}", "the body: found {}, expected a JSON list"),
        (
            "<html>",
            "the body: found \"<html>\", expected a JSON list (expected value at line 1 column 1)",
        ),
        ("[7]", "/*/id: found nothing, expected an identifier"),
    ] {
        assert_eq!(queue(body).unwrap_err(), told);
    }
}

#[test]
fn a_node_is_put_together_of_agent_and_store() {
    let agent = br#"{"version":{"checkout":"11a24d9c","number":"0.5.0","taint":"not tainted"}}"#;
    let version = read_stable_agent(agent).unwrap();
    let store = br#"{"cluster_display_name":null,"cluster_id":"zoo","kind":"Zookeeper","node_id":"1","version":"3.4.13"}"#;
    let store = read_stable_store(store).unwrap();
    let node = stable_node(version.clone(), Some(&store));
    assert_eq!(
        node.raw,
        json!({
            "agent_version": {"checkout": "11a24d9c", "number": "0.5.0", "taint": "not tainted"},
            "attributes": {}, "node_id": "1", "node_status": "HEALTHY", "store_id": "Zookeeper",
            "store_version": {"checkout": null, "number": "3.4.13", "extra": null},
        })
    );
    assert_eq!(store.store(), json!({"cluster_id": "zoo", "attributes": {}}));
    let silent = stable_node(version, None);
    assert_eq!((silent.status.as_str(), &silent.raw["node_id"]), ("UNAVAILABLE", &Value::Null));

    // As the specification writes it.
    let other = br#"{"cluster_display_name":"prod-data","cluster_id":"rs","id":"host:27017","kind":"MongoDB","version":"3.4.5"}"#;
    let other = read_stable_store(other).unwrap();
    assert_eq!(other.store()["attributes"]["cluster_display_name"], "prod-data");
    assert_eq!(stable_node(Value::Null, Some(&other)).raw["node_id"], "host:27017");
    let wrong = read_stable_store(br#"{"cluster_id":7}"#).unwrap_err().to_string();
    assert_eq!(wrong, "/cluster_id: found 7, expected a text");
    let wrong = read_stable_agent(br#"{"node_id":"a"}"#).unwrap_err().to_string();
    assert_eq!(wrong, "/version: found nothing, expected an object");
}

#[test]
fn actions_are_off_only_if_the_agent_says_so() {
    assert!(says_actions_are_off(br#"{"actions":false}"#));
    for body in [r#"{"actions":true}"#, "{}", "[]", "", r#"{"actions":"false"}"#, "Not Found"] {
        assert!(!says_actions_are_off(body.as_bytes()), "{body}");
    }
}
