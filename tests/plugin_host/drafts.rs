//! A step that is built on drafts of WASI: where its arguments come from, and where its lines go.

use replibook_core::playbook::PluginKind;
use replibook_core::run::{ActivationEnd, Answer, Call, Millis};
use serde_json::json;

use crate::fixtures::*;

#[tokio::test]
async fn a_step_has_its_arguments_of_wasi_config_and_logs_with_wasi_logging() {
    let info = host().import(guest("drafts")).await.unwrap();
    assert_eq!((info.kind, info.name.as_str()), (PluginKind::Step, "drafts"));
    let arguments = json!({ "grace": 30, "mode": "fast \"x\"", "nodes": ["a", 1] });
    let (calls, lines, end) = drive(activate(&info.digest, arguments), |_| Answer::Sleep).await;
    assert_eq!(calls, [Call::Sleep { length: Millis(1_000) }]);
    let expected = [
        "settings: grace is 30",
        "settings: mode is fast \"x\"",
        "settings: nodes is [\"a\",1]",
        "unversioned: slept",
        "slept",
    ];
    assert_eq!(lines, expected, "each once, however often the step was activated");
    let ActivationEnd::Done(result) = end else { panic!("found {end:?}, expected a result") };
    let (mode, nodes) = ("fast \"x\"", "[\"a\",1]");
    assert_eq!(
        result.value(),
        json!({
            "all": [["grace", "30"], ["mode", mode], ["nodes", nodes]],
            "grace": "30", "mode": mode, "nodes": nodes, "other": null,
        })
    );
}

#[tokio::test]
async fn a_step_without_arguments_finds_none() {
    let plugin = imported("drafts").await;
    let (_, lines, end) = drive(activate(&plugin, json!({})), |_| Answer::Sleep).await;
    assert_eq!(lines, ["unversioned: slept", "slept"]);
    let ActivationEnd::Done(result) = end else { panic!("found {end:?}, expected a result") };
    assert_eq!((&result.value()["all"], &result.value()["other"]), (&json!([]), &json!(null)));
}
