//! Whatever agents answer, everything that comes in at the door fits one commit wherever the core writes it,
//! and is the same when it is read back.

use std::fmt::Debug;

use proptest::prelude::*;
use replibook_core::door::{ActionPhase, ActionStatus, read_action, read_node};
use replibook_core::run::{CallError, JsonText, NodeInfo, RunStatus, Writes};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::parts::{Setup, Work};
use crate::world::World;

const ID: Uuid = Uuid::from_u128(7);

/// How a call about a node ends if this is the answer.
pub(crate) fn node_said(body: &[u8]) -> Result<NodeInfo, CallError> {
    read_node(body).map_err(|error| CallError::Malformed(error.to_string()))
}

/// How an action ends if this is the answer about it.
pub(crate) fn action_said(body: &[u8]) -> Result<JsonText, CallError> {
    match read_action(body, ID) {
        Ok(ActionStatus { phase: ActionPhase::Done, payload, unread: None, .. }) => Ok(payload),
        Ok(ActionStatus { unread: Some(what), .. }) => Err(CallError::Failed(what)),
        Ok(ActionStatus { error, .. }) => Err(CallError::Failed(error.unwrap_or_default())),
        Err(error) => Err(CallError::Malformed(error.to_string())),
    }
}

/// Whether the driver keeps this much about one agent in its record.
pub(crate) fn fits(node: &NodeInfo) -> bool {
    let attributes = Value::Object(node.attributes.clone()).to_string().len();
    attributes + node.raw.to_string().len() <= 8 * 1024
}

/// Checks that every document of a commit is the same when it is read back.
pub(crate) fn check_read_back(writes: &Writes) {
    fn same<T: Serialize + DeserializeOwned + PartialEq + Debug>(document: &T) {
        let text = serde_json::to_string(document).unwrap();
        let back: T = serde_json::from_str(&text)
            .unwrap_or_else(|error| panic!("{error}: {}", &text[..text.len().min(1_000)]));
        assert!(&back == document, "{}", &text[..text.len().min(1_000)]);
    }
    writes.records.iter().for_each(same);
    writes.journals.iter().for_each(same);
    writes.events.iter().for_each(same);
    writes.logs.iter().for_each(same);
}

/// Texts that are long, odd, or both.
fn texts() -> impl Strategy<Value = String> {
    let repeated = (
        prop::sample::select(vec!["x", "é", "\"", "\\", "\u{1}", "\u{0}", "\u{7f}", "$", "😀"]),
        prop::sample::select(vec![1, 60, 250, 1_000, 5_000, 20_000, 70_000]),
    );
    prop_oneof![any::<String>(), repeated.prop_map(|(text, times)| text.repeat(times))]
}

/// JSON as text: deep, wide, with long keys, and with numbers that no value can hold.
fn json_text() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        any::<f64>().prop_map(|n| format!("{n:?}")),
        (0_u64.., -330_i32..330).prop_map(|(n, e)| format!("{n}e{e}")),
        (1_usize..420).prop_map(|digits| "7".repeat(digits)),
        texts().prop_map(|text| Value::from(text).to_string()),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        let members = prop::collection::vec((texts(), inner.clone()), 0..6);
        let wide = prop::sample::select(vec![3, 100, 3_900, 19_900, 40_000]);
        prop_oneof![
            members.prop_map(|members| {
                let member = |(key, value)| format!("{}:{value}", Value::from(key));
                format!("{{{}}}", members.into_iter().map(member).collect::<Vec<_>>().join(","))
            }),
            (inner.clone(), 1_usize..130).prop_map(|(inner, n)| format!(
                "{}{inner}{}",
                "[".repeat(n),
                "]".repeat(n)
            )),
            (inner, wide).prop_map(|(inner, n)| format!("[{}{inner}]", "0,".repeat(n))),
        ]
    })
}

/// Answers about a node and about an action. They are right except for one part, which may be anything.
fn answers() -> impl Strategy<Value = Vec<u8>> {
    let node = (texts(), json_text()).prop_map(|(key, value)| {
        let key = Value::from(key);
        [
            format!(r#"{{"node_status":"HEALTHY","ok":true,{key}:{value}}}"#),
            format!(r#"{{"node_status":{value},"ok":true}}"#),
            format!(r#"{{"node_status":"HEALTHY","attributes":{{{key}:{value}}}}}"#),
            format!(r#"{{"node_status":"HEALTHY","attributes":{{{key}:1.5}},"ok":{key}}}"#),
        ]
    });
    let node = (node, 0_usize..4).prop_map(|(bodies, which)| bodies[which].clone().into_bytes());
    let action =
        (prop::sample::select(vec!["DONE", "FAILED"]), texts(), json_text(), any::<bool>());
    let action = action.prop_map(|(phase, text, value, plain)| {
        let error = match plain {
            true => json!({"error_msg": text, "error_trail": vec![text.clone(); 20]}).to_string(),
            false => value.clone(),
        };
        let state = format!(r#"{{"phase":"{phase}","payload":{value},"error":{error}}}"#);
        format!(r#"{{"id":"{ID}","state":{state}}}"#).into_bytes()
    });
    prop_oneof![4 => action, 4 => node, 1 => prop::collection::vec(any::<u8>(), 0..40)]
}

/// Effects after which each kind of answer was given to each agent many times.
const ENOUGH: usize = 2_000;

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn what_comes_in_can_be_committed_and_read_back(
        says in prop::collection::vec(answers(), 1..5),
        looks in any::<bool>(),
        require in any::<bool>(),
        continues in any::<bool>(),
    ) {
        let setup = Setup { require, continues, stages: 2, attempts: 2, ..Setup::plain(6, 6) };
        let mut world = World::new(Setup { batch: 6, ..setup });
        world.work = if looks { Work::Info } else { Work::Action };
        world.retryable = true;
        world.says = says;
        // No agent may ever say how its action ended. The world checks each commit when it is made.
        world.rests_after(ENOUGH);
        world.crash_now();
        world.rests_after(ENOUGH);
    }
}

#[test]
fn three_agents_with_a_status_or_a_name_of_megabytes_end_and_are_told_apart() {
    let long = "N".repeat(3_900_000);
    for (body, told) in [
        (format!(r#"{{"node_status":"{long}"}}"#), "expected at most 262144"),
        (format!(r#"{{"node_status":"UP","attributes":{{"{long}":{{}}}}}}"#), "at most 262144"),
        (
            format!(r#"{{"node_status":"UP","x":{}{}}}"#, "[".repeat(126), "]".repeat(126)),
            "found more than 64 levels",
        ),
    ] {
        let setup = Setup { batch: 3, require: true, ..Setup::plain(3, 3) };
        let mut world = World::new(setup);
        world.says = vec![body.into_bytes()];
        world.run_dry();
        assert_eq!(world.progress().status, RunStatus::Done, "{:?}", world.progress().reason);
        for record in world.records() {
            let error = record.error.as_ref().unwrap();
            assert_eq!(error.reason.as_str(), "malformed");
            assert!(error.message.contains(told), "{}", error.message);
        }
    }
}

#[test]
fn hundreds_of_agents_with_long_failures_in_every_stage_fit_commits() {
    let long = "\"".repeat(100_000);
    let state = json!({"phase": "FAILED", "error": {"error_msg": long}});
    let body = json!({"id": ID, "state": state}).to_string().into_bytes();
    let setup = Setup { batch: 300, stages: 4, continues: true, ..Setup::plain(300, 300) };
    let mut world = World::new(setup);
    world.says = vec![body];
    world.run_dry();
    assert_eq!(world.progress().status, RunStatus::Done, "{:?}", world.progress().reason);
}
