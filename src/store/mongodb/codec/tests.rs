//! Every document comes back as it was written.

use mongodb::bson::{Bson, doc};
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{from_document, to_document, to_fields};
use replibook_core::run::{
    AgentId, Answer, Answered, CallError, CallName, CommandId, Happened, Progress, RunEvent, RunId,
    RunStatus, Timestamp, Was,
};

const AT: Timestamp = Timestamp::from_millis(1_700_000_000_123);

fn event(what: Happened) -> RunEvent {
    RunEvent { run: RunId(Uuid::from_u128(7)), seq: 1, at: AT, actor: None, what, finish_ts: None }
}

#[test]
fn documents_are_as_a_person_expects_them() {
    let status = Happened::Status { from: None, to: RunStatus::PendingApprove, reason: None };
    let written = to_document(&event(status)).unwrap();
    let id = mongodb::bson::Uuid::from_bytes(*Uuid::from_u128(7).as_bytes());
    let at = mongodb::bson::DateTime::from_millis(AT.as_millis());
    let expected = doc! {
        "run": id, "seq": 1, "at": at, "actor": Bson::Null, "event": "status", "from": Bson::Null,
        "to": "PENDING_APPROVE", "reason": Bson::Null, "finish_ts": Bson::Null,
    };
    for (key, value) in &expected {
        let found = written.get(key).unwrap_or(&Bson::Null);
        assert_eq!(found, value, "{key}");
    }
}

#[test]
fn fields_without_a_value_are_null_where_they_have_to_be_taken_back() {
    let progress = Progress::new(RunStatus::Pending, AT);
    assert!(!to_document(&progress).unwrap().contains_key("finish_ts"));
    assert_eq!(to_fields(&progress).unwrap().get("finish_ts"), Some(&Bson::Null));
    assert_eq!(from_document::<Progress>(to_fields(&progress).unwrap()).unwrap(), progress);
}

#[test]
fn identifiers_and_moments_survive_in_tagged_and_in_nested_values() {
    let command = Happened::Command {
        id: CommandId(Uuid::from_u128(u128::MAX)),
        command: "give-up".to_owned(),
        agent: Some(AgentId::from("node-1")),
        again: true,
        signal: None,
        override_guard: None,
        why: Some("lunch".to_owned()),
        refused: None,
    };
    let event = event(command);
    assert_eq!(from_document::<RunEvent>(to_document(&event).unwrap()).unwrap(), event);
    for answer in [
        Answer::RunAction(Ok(json!({"a": [1, null]}).into())),
        Answer::RunAction(Err(CallError::Lost("gone".to_owned()))),
        Answer::Sleep,
    ] {
        let name = CallName::RunAction;
        let answered =
            Answered { name, arguments_hash: "00".to_owned(), at: AT, answer, bytes: None };
        let back: Answered = from_document(to_document(&answered).unwrap()).unwrap();
        assert_eq!(back, answered);
    }
}

#[test]
fn null_and_nothing_are_told_apart_in_what_an_agent_had_said() {
    for node in [None, Some(Value::Null.into()), Some(json!({"attributes": {"rack": null}}).into())]
    {
        let was = Was { node, node_seen_at: Some(AT), ..Was::default() };
        let event = event(Happened::AgentInfo { agent: AgentId::from("node-1"), was });
        assert_eq!(from_document::<RunEvent>(to_document(&event).unwrap()).unwrap(), event);
    }
}

fn nested(depth: usize) -> Value {
    (0..depth)
        .fold(json!(1), |inner, n| if n % 2 == 0 { json!([inner]) } else { json!({"a": inner}) })
}

#[test]
fn what_is_nested_too_deep_for_a_server_survives_as_text() {
    for depth in [1, 79, 80, 81, 82, 120] {
        let map = Map::from_iter([("v".to_owned(), nested(depth))]);
        let written = to_document(&map).unwrap();
        assert_eq!(from_document::<Map<String, Value>>(written).unwrap(), map, "{depth}");
    }
    let deep =
        format!("{:?}", to_document(&Map::from_iter([("v".to_owned(), nested(100))])).unwrap());
    assert!(deep.contains("%json"));
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        prop::num::f64::NORMAL.prop_map(Value::from),
        "[a%$\0.é]{0,4}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        let key =
            prop_oneof!["[a%$\0.245]{0,5}", Just("%json".to_owned()), Just("$date".to_owned())];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((key, inner), 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn every_json_value_survives_the_bytes_of_bson(value in value()) {
        let map = Map::from_iter([("v".to_owned(), value)]);
        let bytes = to_document(&map).unwrap().to_vec().unwrap();
        let read = mongodb::bson::Document::from_reader(bytes.as_slice()).unwrap();
        prop_assert_eq!(from_document::<Map<String, Value>>(read).unwrap(), map);
    }
}

#[test]
fn what_agents_answer_survives() {
    let deep = format!("{}{}", "[".repeat(62), "]".repeat(62));
    for more in [
        r#""$set":1,"a.b":{"$x":{"%00":2}},"%":3,"%json":4,"":5"#,
        r#""a\u0000b":{"c\u0000":"\u0000"},"attributes":{"\u0000$":"\u0000"}"#,
        r#""n":[18446744073709551615,-9223372036854775808,1e308,-0.0,1E-320,0.1]"#,
        &format!(r#""deep":{deep}"#),
        &format!(r#""deep":{{"%json":{}}}"#, deep.replacen("[[", "", 1).replacen("]]", "", 1)),
    ] {
        let body = format!(r#"{{"node_status":"HEALTHY",{more}}}"#);
        let info: Value = serde_json::from_str(&body).unwrap();
        let document = to_document(&json!({ "answers": [info] })).unwrap();
        // In the same way in which the driver sends and receives it.
        let bytes = mongodb::bson::serialize_to_vec(&document).unwrap();
        let document = mongodb::bson::deserialize_from_slice(&bytes).unwrap();
        let back: Value = from_document(document).unwrap();
        assert_eq!(back, json!({ "answers": [info] }), "{more}");
    }
}
