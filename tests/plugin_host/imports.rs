//! Which components are refused when they are imported, and which are not.

use bytes::Bytes;
use replibook_core::playbook::PluginKind;
use replibook_core::run::{Digest, FailureReason};
use replibook_host::{HostConfig, PluginHost};
use serde_json::json;

use crate::bytes::component;
use crate::fixtures::*;

async fn refused(bytes: Bytes) -> (&'static str, String) {
    let error = host().import(bytes).await.unwrap_err();
    (error.code, error.message)
}

#[tokio::test]
async fn the_builtins_describe_themselves() {
    let mut names: Vec<_> = host().builtins().iter().map(|it| it.info.name.as_str()).collect();
    names.sort_unstable();
    let expected = [
        "action",
        "all-at-once",
        "canary",
        "grouped",
        "http",
        "metric",
        "rolling",
        "wait-healthy",
        "wait-signal",
    ];
    assert_eq!(names, expected);
    for plugin in host().builtins() {
        assert_eq!(plugin.info.digest, Digest::of(&plugin.bytes));
        assert_eq!(plugin.info.size, plugin.bytes.len() as u64);
        assert!(host().is_loaded(&plugin.info.digest));
        assert!(plugin.info.arguments.is_object());
        assert_eq!(host().import(plugin.bytes.clone()).await.unwrap(), plugin.info);
    }
}

#[tokio::test]
async fn a_plugin_is_known_by_its_digest_once_it_is_imported() {
    let host = PluginHost::start(HostConfig { threads: Some(1), ..HostConfig::default() }).unwrap();
    let bytes = guest("hostile");
    let digest = Digest::of(&bytes);
    assert!(!host.is_loaded(&digest));
    let missing = host.activate(activate(&digest, json!({ "do": "ok" }))).await.end;
    let replibook_core::run::ActivationEnd::Failed { reason, retryable, .. } = missing else {
        panic!("found {missing:?}")
    };
    assert_eq!((reason, retryable), (FailureReason::PluginUnavailable, true));

    let info = host.import(bytes.clone()).await.unwrap();
    assert_eq!((info.kind, info.name.as_str()), (PluginKind::Step, "hostile"));
    assert_eq!((&info.digest, info.version.as_str()), (&digest, "0.1.0"));
    assert!(host.is_loaded(&digest));
    assert_eq!(host.import(bytes).await.unwrap(), info);
}

#[tokio::test]
async fn an_unknown_import_is_refused_with_the_list() {
    let (code, message) = refused(guest("unknown-import")).await;
    assert_eq!(code, "unknown-import");
    assert!(message.contains("test:extra/secrets"), "{message}");
    assert!(message.contains("wasi:sockets/tcp@0.2"), "{message}");
    assert!(!message.contains("wasi:cli/environment"), "{message}");
}

#[tokio::test]
async fn what_is_no_component_of_a_world_is_refused() {
    assert_eq!(refused(Bytes::from_static(b"hello")).await.0, "not-a-component");
    let (code, message) = refused(Bytes::from_static(b"\0asm\x01\0\0\0")).await;
    assert_eq!(code, "not-a-component");
    assert!(message.contains("core module"), "{message}");
    let (code, message) = refused(Bytes::from_static(b"\0asm\x0d\0\x01\0")).await;
    assert_eq!(code, "wrong-world");
    assert!(message.contains("nothing") && message.contains("working@0.1.0"), "{message}");
    assert_eq!(
        refused(Bytes::from_static(b"\0asm\x0d\0\x01\0garbage")).await.0,
        "invalid-component"
    );
    assert_eq!(refused(vec![0; (32 << 20) + 1].into()).await.0, "too-large");
}

#[tokio::test]
async fn a_component_has_a_number_of_instances_tables_and_memories() {
    for (instances, tables, memories) in [(64, 1, 0), (4, 1, 1)] {
        let (code, message) = refused(component(instances, tables, memories)).await;
        assert_eq!(code, "wrong-world", "{message}");
    }
    let cases = [
        (65, 0, 0, "65 core"),
        (5, 0, 1, "5 Wasm linear"),
        (1, 2, 0, "tables count of 2"),
        (1, 0, 2, "memories count of 2"),
    ];
    for (instances, tables, memories, found) in cases {
        let (code, message) = refused(component(instances, tables, memories)).await;
        assert_eq!(code, "invalid-component", "{message}");
        assert!(message.contains(found), "{message}");
    }
}

#[tokio::test]
async fn more_imports_than_may_wait_are_all_answered() {
    let imports = (0..50).map(|_| refused(component(1, 0, 0)));
    for (code, message) in futures::future::join_all(imports).await {
        assert_eq!(code, "wrong-world", "{message}");
    }
}

#[tokio::test]
async fn a_plugin_must_describe_itself_well_and_alone() {
    let (code, message) = refused(guest("describe-badly")).await;
    assert_eq!(code, "bad-description");
    assert!(message.contains("No Name"), "{message}");
    let (code, message) = refused(guest("describe-calls")).await;
    assert_eq!(code, "forbidden-call");
    assert!(message.contains("agent.info"), "{message}");
}

#[test]
fn the_host_works_from_a_runtime_of_one_thread_and_from_none() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let found = runtime.block_on(async {
        let plugin = imported("hostile").await;
        result(activate(&plugin, json!({ "do": "ok" }))).await
    });
    assert!(found.is_object());
    let plugin = host().builtins()[0].info.digest.clone();
    host().describe_blocking(&plugin).unwrap();
}
