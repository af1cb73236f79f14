//! Plugins whose signatures are in their registry, on a server with a policy.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use replibook::policy::CurrentPolicy;
use replibook::run::Digest;
use replibook::store::Store as _;
use serde_json::{Value, json};

use crate::api::imports::{ended, start};
use crate::api::plugins::{strategy, using};
use crate::api::policy::{policy, policy_of};
use crate::api::server::{PLUGINS, Server};
use crate::minisign::Key;
use crate::registry::artefact::Signed;
use crate::registry::liar::{Liar, Reply};

const SIGNED: &str = "{ match: 'oci://127.0.0.1:*/ops/*', signed_by: [ops] }";
const UNSIGNED: &str = "{ match: 'oci://127.0.0.1:*/ops/*' }";

/// A registry that has a plugin with these signatures.
pub(crate) async fn registry(component: &[u8], texts: &[String]) -> Liar {
    let truth = Signed { component: component.to_vec(), texts: texts.to_vec() };
    Liar::start(move |asked| truth.reply(asked)).await
}

/// Imports the plugin of a registry.
pub(crate) async fn import(server: &Server, registry: &Liar) -> Value {
    ended(server, &start(server, &source(registry)).await).await
}

fn source(registry: &Liar) -> String {
    format!("oci://{}/ops/own:1", registry.host)
}

/// How often the bytes of the plugin were asked for.
pub(crate) fn pulled(registry: &Liar, component: &[u8]) -> usize {
    let path = format!("/blobs/{}", Digest::of(component));
    registry.asked().iter().filter(|asked| asked.is_for(&path)).count()
}

#[tokio::test]
async fn a_plugin_that_was_signed_in_its_registry_is_let_in() {
    let (key, bytes) = (Key::new(), strategy("signed there"));
    let registry = registry(&bytes, &[Key::new().sign(&bytes), key.sign(&bytes)]).await;
    let server = Server::with_policy(policy(&key, SIGNED)).await;
    let done = import(&server, &registry).await;
    assert_eq!(done["state"], "done", "{done}");
    assert_eq!(pulled(&registry, &bytes), 1);
    let signatures = done["plugin"]["signatures"].as_array().unwrap();
    assert_eq!(signatures.len(), 2, "that of an unknown key is kept, too: {done}");
    assert_eq!(signatures.iter().filter(|one| one["signer"] == "ops").count(), 1);
    server.apply(&using(&source(&registry))).await.ok(201);
    // What the store has is neither pulled again nor signed twice.
    let again = import(&server, &registry).await;
    assert_eq!((&again["state"], &again["received"]), (&json!("done"), &json!(0)), "{again}");
    assert_eq!(again["plugin"]["signatures"], done["plugin"]["signatures"]);
    assert_eq!(pulled(&registry, &bytes), 1);
    server.stop().await;
}

#[tokio::test]
async fn what_nobody_signed_who_is_known_is_not_even_pulled() {
    let (key, bytes) = (Key::new(), strategy("signed by others"));
    let registry = registry(&bytes, &[Key::new().sign(&bytes)]).await;
    let server = Server::with_policy(policy(&key, SIGNED)).await;
    let failed = import(&server, &registry).await;
    assert_eq!(failed["problem"]["code"], "plugin-refused", "{failed}");
    let said = failed["problem"]["message"].as_str().unwrap();
    assert!(said.contains("found no signature of a key that the policy knows"), "{said}");
    assert_eq!(pulled(&registry, &bytes), 0);

    // Where no rule is about the plugin, no signature is asked for.
    let other = Server::with_policy(policy(&key, "{ match: 'file:*' }")).await;
    let before = registry.asked().len();
    let failed = import(&other, &registry).await;
    assert_eq!(failed["problem"]["code"], "plugin-refused", "{failed}");
    assert_eq!(registry.asked().len(), before + 1, "only the manifest");
    other.stop().await;
    assert!(!PLUGINS.is_loaded(&Digest::of(&bytes)));
    server.stop().await;
}

#[tokio::test]
async fn a_wrong_signature_is_refused_and_nothing_is_compiled() {
    let (key, bytes) = (Key::new(), strategy("signed wrongly"));
    let (wrong, digest) = (key.sign(b"other bytes"), Digest::of(&bytes));
    let evil = key.sign(&bytes).replace("made by a test", "made by an evil");
    for rules in [SIGNED, UNSIGNED] {
        for text in [&wrong, &evil] {
            let registry = registry(&bytes, std::slice::from_ref(text)).await;
            let server = Server::with_policy(policy(&key, rules)).await;
            let failed = import(&server, &registry).await;
            assert_eq!(failed["problem"]["code"], "bad-signature", "{failed}");
            let said = failed["problem"]["message"].as_str().unwrap();
            assert!(said.contains("is not over these bytes"), "{said}");
            assert!(!PLUGINS.is_loaded(&digest), "nothing was compiled, and so nothing ran");
            assert!(server.store.plugin(&digest).await.unwrap().is_none());
            server.stop().await;
        }
    }
    // A wrong one stays in its registry for ever, so a right one by the same key is enough.
    let registry = registry(&bytes, &[wrong, key.sign(&bytes)]).await;
    let server = Server::with_policy(policy(&key, SIGNED)).await;
    let done = import(&server, &registry).await;
    assert_eq!(done["plugin"]["signatures"].as_array().unwrap().len(), 1, "{done}");
    server.stop().await;

    // Nor can somebody who may push keep out what another key has signed rightly.
    let (dev, bytes) = (Key::new(), strategy("signed by dev"));
    let wrong = key.sign(b"other bytes");
    let registry = self::registry(&bytes, &[wrong, dev.sign(&bytes)]).await;
    let by_dev = "{ match: 'oci://127.0.0.1:*/ops/*', signed_by: [dev] }";
    let server = Server::with_policy(policy_of(&[("ops", &key), ("dev", &dev)], by_dev)).await;
    let done = import(&server, &registry).await;
    assert_eq!(done["plugin"]["signatures"][0]["signer"], "dev", "{done}");
    server.stop().await;
}

#[tokio::test]
async fn signatures_that_nobody_asks_for_are_kept_for_later() {
    let (key, bytes) = (Key::new(), strategy("signed before"));
    let registry = registry(&bytes, &[key.sign(&bytes)]).await;
    let server = Server::with_policy(CurrentPolicy::default()).await;
    let done = import(&server, &registry).await;
    assert_eq!(done["plugin"]["signatures"][0]["signer"], Value::Null, "{done}");
    let server = server.restarted(policy(&key, SIGNED)).await;
    server.apply(&using(&source(&registry))).await.ok(201);
    server.stop().await;
}

#[tokio::test]
async fn signatures_that_come_later_are_learned() {
    let (key, bytes) = (Key::new(), strategy("signed later"));
    let is_signed = Arc::new(AtomicBool::new(false));
    let (now, text, component) = (is_signed.clone(), key.sign(&bytes), bytes.clone());
    let registry = Liar::start(move |asked| {
        let texts = if now.load(Ordering::SeqCst) { vec![text.clone()] } else { Vec::new() };
        Signed { component: component.clone(), texts }.reply(asked)
    })
    .await;
    let server = Server::with_policy(CurrentPolicy::default()).await;
    assert_eq!(import(&server, &registry).await["state"], "done");
    let server = server.restarted(policy(&key, SIGNED)).await;
    let failed = import(&server, &registry).await;
    assert_eq!(failed["problem"]["code"], "plugin-refused", "{failed}");
    is_signed.store(true, Ordering::SeqCst);
    let done = import(&server, &registry).await;
    assert_eq!(done["plugin"]["signatures"][0]["signer"], "ops", "{done}");
    assert_eq!(pulled(&registry, &bytes), 1, "its bytes are in the store");
    server.stop().await;
}

#[tokio::test]
async fn a_registry_that_can_not_list_signatures_matters_only_where_they_do() {
    let (key, bytes) = (Key::new(), strategy("no list"));
    let truth = Signed { component: bytes.clone(), texts: Vec::new() };
    let registry = Liar::start(move |asked| match asked.is_for_signatures() {
        true => Reply::status(403, ""),
        false => truth.reply(asked),
    })
    .await;
    let server = Server::with_policy(policy(&key, SIGNED)).await;
    let failed = import(&server, &registry).await;
    assert_eq!(failed["problem"]["code"], "registry-denied", "{failed}");
    assert_eq!(pulled(&registry, &bytes), 0);
    for policy in [policy(&key, UNSIGNED), CurrentPolicy::default()] {
        let server = Server::with_policy(policy).await;
        let done = import(&server, &registry).await;
        assert_eq!(done["state"], "done", "{done}");
        server.stop().await;
    }
    server.stop().await;
}
