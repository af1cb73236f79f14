//! Strategies of which a policy wants a proof. A certificate is the trusted comment of a signature, so it comes in with that.

use replibook::playbook::policy::{ALWAYS_PROVED, PROOF_FORM, StrategyProof};
use replibook::run::Digest;
use serde_json::{Value, json};

use crate::api::plugins::{strategy, using};
use crate::api::policy::{policy, policy_of, upload};
use crate::api::policy_signed::{import, pulled, registry};
use crate::api::server::Server;
use crate::minisign::Key;

const PROVED: &str = "{ match: 'file:*', signed_by: [ops], proved: { seeds: 100 } }";

/// A certificate of these bytes, with these arguments.
fn certificate(bytes: &[u8], arguments: Value, seeds: u32) -> String {
    let proof = StrategyProof {
        form: PROOF_FORM.to_owned(),
        digest: Digest::of(bytes),
        arguments,
        properties: ALWAYS_PROVED.map(str::to_owned).to_vec(),
        seeds,
        bounds: [("agents".to_owned(), 4)].into(),
        version: "0.1.0".to_owned(),
    };
    proof.to_line().unwrap()
}

fn said(problem: &Value) -> String {
    problem.to_string()
}

#[tokio::test]
async fn a_strategy_comes_in_with_a_signed_certificate_and_is_used_with_its_arguments() {
    let (key, bytes) = (Key::new(), strategy("proved"));
    let server = Server::with_policy(policy(&key, PROVED)).await;
    for (signature, part) in [
        (key.sign(&bytes), "found no proof that a key of the policy has signed"),
        (key.sign_saying(&certificate(&bytes, json!({}), 99), &bytes), "over 99 seeds"),
        (
            key.sign_saying(&certificate(b"other", json!({}), 100), &bytes),
            "found a proof of other bytes",
        ),
    ] {
        let refused =
            upload(&server, bytes.clone(), &signature).await.problem(403, "plugin-refused");
        assert!(said(&refused).contains(part), "{refused}");
    }
    let signed = key.sign_saying(&certificate(&bytes, json!({}), 100), &bytes);
    upload(&server, bytes.clone(), &signed).await.ok(201);
    let uploads = json!({ "own": Digest::of(&bytes) });
    let document = using("file:x.wasm");
    let applied = json!({ "document": document, "uploads": uploads });
    server.post("/api/v1/playbooks", applied).await.ok(201);
    // It was not proved with other arguments.
    let other = document
        .replace("{ use: own }", "{ use: own, with: { batch: 2 } }")
        .replace("version: 1.0.0", "version: 1.1.0");
    assert!(other.contains("batch: 2"), "{other}");
    let applied = json!({ "document": other, "uploads": uploads });
    let refused = server.post("/api/v1/playbooks", applied).await.problem(422, "invalid-document");
    assert!(said(&refused).contains("asks for a proof with these arguments"), "{refused}");
    server.stop().await;
}

#[tokio::test]
async fn nobody_vouches_for_a_certificate_whose_key_is_not_in_the_rule() {
    let (ops, dev, bytes) = (Key::new(), Key::new(), strategy("proved by others"));
    let by_dev = dev.sign_saying(&certificate(&bytes, json!({}), 100), &bytes);
    let both = format!("{}{by_dev}", ops.sign(&bytes));
    let server = Server::with_policy(policy_of(&[("ops", &ops), ("dev", &dev)], PROVED)).await;
    let refused = upload(&server, bytes.clone(), &both).await.problem(403, "plugin-refused");
    assert!(said(&refused).contains("signed by dev"), "{refused}");
    // A comment that was changed after it was signed is a wrong signature.
    let few = ops.sign_saying(&certificate(&bytes, json!({}), 10), &bytes);
    let forged = few.replace("\"seeds\":10", "\"seeds\":100");
    assert_ne!(few, forged);
    upload(&server, bytes, &forged).await.problem(422, "bad-signature");
    server.stop().await;
}

#[tokio::test]
async fn a_certificate_of_a_registry_counts_and_without_one_nothing_is_pulled() {
    let (key, bytes) = (Key::new(), strategy("proved in a registry"));
    let rule = "{ match: 'oci://127.0.0.1:*/ops/*', proved: { seeds: 100 } }";
    let server = Server::with_policy(policy(&key, rule)).await;
    let bare = registry(&bytes, &[key.sign(&bytes)]).await;
    let failed = import(&server, &bare).await;
    assert_eq!(failed["problem"]["code"], "plugin-refused", "{failed}");
    assert_eq!(pulled(&bare, &bytes), 0);
    let text = key.sign_saying(&certificate(&bytes, json!({}), 100), &bytes);
    let proved = registry(&bytes, &[text]).await;
    let done = import(&server, &proved).await;
    assert_eq!(done["state"], "done", "{done}");
    server.stop().await;
}
