use serde_json::json;

use super::*;

const ID: Uuid = Uuid::from_u128(0x1111_1111_2222_4333_8444_5555_5555_5555);

/// An answer as it was recorded from a real agent, with `state` in it.
fn recorded(state: &str) -> String {
    format!(
        r#"{{"args":{{"target":3}},"created_time":"2026-11-22T09:00:00Z","finished_time":null,"id":"{ID}","kind":"agent.replicante.io/test.loop","metadata":{{"run":"r1"}},"scheduled_time":"2026-11-22T08:59:27.403646945Z","state":{state}}}"#
    )
}

fn read(state: &str) -> ActionStatus {
    read_action(recorded(state).as_bytes(), ID).unwrap()
}

#[test]
fn recorded_actions_are_read() {
    let status = |phase, payload: Value| {
        let payload = payload.into();
        ActionStatus { phase, payload, unread: None, error: None }
    };
    assert_eq!(
        read(r#"{"error":null,"payload":null,"phase":"NEW"}"#),
        status(ActionPhase::New, Value::Null)
    );
    assert_eq!(
        read(r#"{"error":null,"payload":{"count":2,"target":3},"phase":"RUNNING"}"#),
        status(ActionPhase::Running, json!({"count": 2, "target": 3}))
    );
    let failed = r#"{"error":{"error_backtrace":"   0: anyhow::error::…","error_msg":"Test action failed as expected"},"payload":null,"phase":"FAILED"}"#;
    let failed = read(failed);
    assert_eq!(failed.phase, ActionPhase::Failed);
    assert_eq!(failed.error.as_deref(), Some("Test action failed as expected"));
}

#[test]
fn an_action_that_is_none_is_refused_with_place_found_and_expected() {
    let read = |body: &str| read_action(body.as_bytes(), ID).unwrap_err().to_string();
    assert_eq!(
        read(&recorded(r#"{"phase":"PAUSED"}"#)),
        "/state/phase: found \"PAUSED\", expected NEW, RUNNING, DONE or FAILED"
    );
    for state in ["", r#","state":{}"#] {
        assert_eq!(
            read(&format!(r#"{{"id":"{ID}"{state}}}"#)),
            "/state/phase: found nothing, expected NEW, RUNNING, DONE or FAILED"
        );
    }
    assert_eq!(
        read(&format!(r#"{{"id":"{ID}","state":"DONE"}}"#)),
        "/state: found \"DONE\", expected an object"
    );
    assert_eq!(
        read(&format!(r#"{{"id":"{}"}}"#, Uuid::nil())),
        format!("/id: found \"{}\", expected {ID}", Uuid::nil())
    );
    assert!(read("<html>").starts_with("the body: found \"<html>\", expected a JSON object"));
    assert_eq!(read("[]"), "the body: found [], expected a JSON object");
    let twice = recorded(r#"{"phase":"RUNNING","phase":"DONE"}"#);
    assert!(read(&twice).contains("/state/phase: found the key twice"), "{}", read(&twice));
    let long = recorded(&format!(r#"{{"phase":"{}"}}"#, "D".repeat(3_000_000)));
    assert!(read(&long).starts_with("/state/phase: found a text of 3000000 bytes"));
    let large = recorded(&format!(r#"{{"phase":"DONE","x":"{}"}}"#, "x".repeat(ACTION_BYTES)));
    assert!(read(&large).ends_with("expected at most 4194304"), "{}", read(&large));
}

#[test]
fn the_identifier_may_be_written_in_any_case() {
    let body =
        recorded(r#"{"phase":"DONE"}"#).replace(&ID.to_string(), &ID.to_string().to_uppercase());
    assert_eq!(read_action(body.as_bytes(), ID).unwrap().phase, ActionPhase::Done);
    assert!(read_scheduled(format!(r#"{{"id":"{}"}}"#, ID.simple()).as_bytes(), ID).is_ok());
}

#[test]
fn a_payload_that_is_too_much_is_left_out_and_the_phase_is_known_all_the_same() {
    let deep = |levels| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    for (payload, told) in [
        (format!("[{}0]", "0,".repeat(500_000)), "found more than 20000 values"),
        (deep(65), "found more than 64 levels"),
        (deep(100_000), "found more than 64 levels"),
        (format!("\"{}\"", "x".repeat(1_048_577)), "found a text of 1048577 bytes"),
        (format!("\"{}\"", "x".repeat(1_048_575)), "found 1048577 bytes, expected at most 1048576"),
        (r#"{"a":1,"a":2}"#.to_owned(), "found the key \"a\" twice"),
    ] {
        let status = read(&format!(r#"{{"payload":{payload},"phase":"DONE"}}"#));
        assert!(status.phase == ActionPhase::Done && status.payload.is_null());
        let unread = status.unread.unwrap();
        assert!(unread.starts_with(told), "{unread}");
    }
    assert_eq!(read(&format!(r#"{{"payload":{},"phase":"DONE"}}"#, deep(64))).unread, None);
}

#[test]
fn arguments_of_any_size_are_passed_over() {
    let body = recorded(r#"{"phase":"DONE"}"#)
        .replace(r#"{"target":3}"#, &format!("[{}0]", "[],".repeat(1_000_000)));
    assert_eq!(read_action(body.as_bytes(), ID).unwrap().phase, ActionPhase::Done);
}

#[test]
fn causes_are_told() {
    let error =
        r#"{"error_msg":"a","error_cause":"b","error_trail":["b","c"],"error_backtrace":"x"}"#;
    let failed = read(&format!(r#"{{"phase":"FAILED","error":{error}}}"#));
    assert_eq!(failed.error.as_deref(), Some("a: b: c"));
    let huge = format!(r#"{{"error_msg":"{}"}}"#, "x".repeat(3_000_000));
    let failed = read(&format!(r#"{{"phase":"FAILED","error":{huge}}}"#));
    assert!(failed.error.unwrap().len() < 9_000);
    let wide = format!(r#"{{"phase":"FAILED","error":[{}0]}}"#, "0,".repeat(1_000));
    let told = read(&wide).error.unwrap();
    assert!(told.starts_with("(the error is too large to show: found more than 1000"), "{told}");
}
