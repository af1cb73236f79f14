//! Plugins of registries, on a server with a policy.

use replibook::playbook::policy::parse_policy;
use replibook::policy::CurrentPolicy;
use replibook::run::Digest;
use replibook::store::Store as _;
use serde_json::json;

use crate::api::imports::{ended, opened, registry, start};
use crate::api::plugins::{strategy, using};
use crate::api::server::{PLUGINS, Server};
use crate::minisign::Key;

pub(crate) fn policy(key: &Key, rules: &str) -> CurrentPolicy {
    let text = format!(
        "apiVersion: replicante.io/v1\nkind: Policy\nmetadata: {{ name: house }}\nspec:\n  keys: {{ ops: '{}' }}\n  \
         plugins: [{rules}]\n",
        key.public
    );
    let content = Digest::of(text.as_bytes());
    CurrentPolicy::of(parse_policy(text.as_bytes()).unwrap(), content)
}

#[tokio::test]
async fn what_the_policy_does_not_let_in_is_not_even_pulled() {
    let (key, bytes) = (Key::new(), strategy("unsigned"));
    let digest = Digest::of(&bytes);
    let registry = registry(bytes.clone(), opened()).await;
    let source = format!("oci://{}/ops/own:1", registry.host);
    let signed = "{ match: 'oci://127.0.0.1:*/ops/*', signed_by: [ops] }";
    let server = Server::with_policy(policy(&key, signed)).await;
    for _ in 0..2 {
        let failed = ended(&server, &start(&server, &source).await).await;
        let problem = &failed["problem"];
        assert_eq!(
            (&failed["state"], &problem["code"]),
            (&json!("failed"), &json!("plugin-refused"))
        );
        let said = problem["message"].as_str().unwrap();
        assert!(said.contains("found no signature of a key that the policy knows"), "{said}");
    }
    assert_eq!(registry.asked().iter().filter(|asked| asked.is_for("/blobs/")).count(), 0);
    assert!(!PLUGINS.is_loaded(&digest) && server.store.plugin(&digest).await.unwrap().is_none());

    // A refusal is not remembered: another policy may let the plugin in at once.
    let server = server.restarted(policy(&key, "{ match: 'oci://127.0.0.1:*/ops/*' }")).await;
    let elsewhere = source.replace("/ops/", "/dev/");
    let failed = ended(&server, &start(&server, &elsewhere).await).await;
    assert!(failed["problem"]["message"].as_str().unwrap().starts_with("no rule"), "{failed}");
    let done = ended(&server, &start(&server, &source).await).await;
    assert_eq!(done["state"], "done", "{done}");
    server.apply(&using(&source)).await.ok(201);

    // Signatures that were uploaded for the digest count for what comes from a registry.
    let server = server.restarted(policy(&key, signed)).await;
    let next = using(&source).replace("version: 1.0.0", "version: 1.1.0");
    let problem = server.apply(&next).await.problem(422, "invalid-document");
    assert_eq!(problem["problems"][0]["path"], "/spec/plugins/own/source");
    server.put(&format!("/api/v1/plugins/{digest}/signatures"), key.sign(&bytes)).await.ok(200);
    let done = ended(&server, &start(&server, &source).await).await;
    assert_eq!(done["plugin"]["signatures"][0]["signer"], "ops");
    server.apply(&next).await.ok(201);
    server.stop().await;
}

#[tokio::test]
async fn of_several_ways_in_which_a_plugin_came_the_one_that_the_playbook_names_counts() {
    let (key, bytes) = (Key::new(), strategy("both ways"));
    let digest = Digest::of(&bytes);
    let registry = registry(bytes.clone(), opened()).await;
    let source = format!("oci://{}/ops/own:1", registry.host);
    let server = Server::with_policy(CurrentPolicy::default()).await;
    let upload = "/api/v1/plugins?source=file:own.wasm";
    server.put(upload, bytes.clone()).await.ok(201);
    let done = ended(&server, &start(&server, &source).await).await;
    assert_eq!(done["plugin"]["provenance"].as_array().unwrap().len(), 2, "{done}");

    let version = done["plugin"]["version"].as_str().unwrap().to_owned();
    let store = format!("store:rolling@{version}', digest: '{digest}");
    let ways = ["file:own.wasm", "file:other.wasm", source.as_str(), store.as_str()];
    let mut server = server;
    for (rules, let_in) in [
        ("{ match: 'file:*' }", [true, true, false, true]),
        ("{ match: 'oci://127.0.0.1:*/ops/*' }", [false, false, true, false]),
    ] {
        server = server.restarted(policy(&key, rules)).await;
        for (way, let_in) in ways.iter().zip(let_in) {
            let document = json!({ "document": using(way), "uploads": { "own": digest } });
            let reply = server.post("/api/v1/playbooks?dry_run=true", document).await;
            assert_eq!(reply.status == 200, let_in, "{rules} {way}: {reply:?}");
        }
    }
    server.stop().await;
}
