//! A server with a policy: what it lets in, what it grants, and when it asks.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use replibook::playbook::policy::parse_policy;
use replibook::policy::{CurrentPolicy, runs_outside};
use replibook::run::{Digest, Run, RunId, Snapshot};
use replibook::store::{NewRun, Store as _};
use serde_json::{Value, json};

use crate::api::plugins::{strategy, using};
use crate::api::server::{CLUSTER, PLUGINS, Reply, Server, playbook, send};
use crate::minisign::Key;

/// A policy that knows `key` as `ops`, and has these rules.
pub(crate) fn policy(key: &Key, rules: &str) -> CurrentPolicy {
    policy_of(&[("ops", key)], rules)
}

/// A policy that knows these keys, and has these rules.
pub(crate) fn policy_of(keys: &[(&str, &Key)], rules: &str) -> CurrentPolicy {
    let keys: Vec<_> = keys.iter().map(|(name, key)| format!("{name}: '{}'", key.public)).collect();
    let keys = keys.join(", ");
    let text = format!(
        "apiVersion: replicante.io/v1\nkind: Policy\nmetadata: {{ name: house }}\nspec:\n  keys: {{ {keys} }}\n  \
         plugins: [{rules}]\n"
    );
    let content = Digest::of(text.as_bytes());
    CurrentPolicy::of(parse_policy(text.as_bytes()).unwrap(), content)
}

const SIGNED: &str = "{ match: 'file:*', signed_by: [ops] }";

pub(crate) async fn upload(server: &Server, bytes: Vec<u8>, signatures: &str) -> Reply {
    let request = server.request("PUT", "/api/v1/plugins").body(bytes);
    send(match signatures {
        "" => request,
        text => request.header("plugin-signatures", STANDARD.encode(text)),
    })
    .await
}

fn detail(problem: &Value) -> &str {
    problem["detail"].as_str().unwrap()
}

#[tokio::test]
async fn a_signed_plugin_comes_in_and_says_whose_it_is() {
    let key = Key::new();
    let bytes = strategy("signed");
    let digest = Digest::of(&bytes);
    for signature in [key.sign(&bytes), key.sign_directly(&bytes)] {
        let server = Server::with_policy(policy(&key, SIGNED)).await;
        let created = upload(&server, bytes.clone(), &signature).await.ok(201);
        let signature = &created["signatures"][0];
        assert_eq!(
            (&signature["signer"], &signature["trusted_comment"]),
            (&json!("ops"), &json!("made by a test"))
        );
        let shown = server.get(&format!("/api/v1/plugins/{digest}")).await.ok(200);
        assert_eq!(shown["signatures"], created["signatures"]);
        let uploaded = json!({ "document": using("file:x.wasm"), "uploads": { "own": digest } });
        let applied = server.post("/api/v1/playbooks", uploaded.clone()).await.ok(201);
        let signers = json!([{ "name": "ops", "key": key.public }]);
        assert_eq!(applied["plugins"]["own"]["signers"], signers);

        // Who had signed it then is kept with each run, whichever keys there are later.
        let lax = server.restarted(policy(&Key::new(), "{ match: 'file:*' }")).await;
        lax.apply_cluster(CLUSTER).await.ok(201);
        let start = json!({ "playbook": "restart", "cluster": "eu" });
        let run = lax.post("/api/v1/runs", start).await.ok(201);
        assert_eq!(run["plugins"]["own"]["signers"], signers);
        let snapshot = format!("/api/v1/runs/{}/snapshot", run["id"].as_str().unwrap());
        let snapshot = lax.get(&snapshot).await.ok(200);
        assert_eq!(snapshot["playbook"]["plugins"]["own"]["signers"], signers);
        lax.post("/api/v1/playbooks", uploaded.clone()).await.ok(200);
        let kept = lax.get("/api/v1/playbooks/restart").await.ok(200);
        assert_eq!(kept["plugins"]["own"]["signers"], signers, "it was applied before");
        let next = using("file:x.wasm").replace("version: 1.0.0", "version: 1.1.0");
        let next = json!({ "document": next, "uploads": { "own": digest } });
        let next = lax.post("/api/v1/playbooks", next).await.ok(201);
        assert!(next["plugins"]["own"].get("signers").is_none(), "{next}");
        lax.stop().await;
    }
}

#[tokio::test]
async fn what_the_policy_does_not_let_in_is_never_compiled() {
    let (key, other) = (Key::new(), Key::new());
    let server = Server::with_policy(policy(&key, SIGNED)).await;
    let bytes = strategy("refused");
    let over_other_bytes = key.sign(b"other bytes");
    let other_comment = key.sign(&bytes).replace("made by a test", "made by an evil");
    for (signatures, status, code, says) in [
        (String::new(), 403, "plugin-refused", "found no signature of a key that the policy knows"),
        (other.sign(&bytes), 403, "plugin-refused", "expected one of ops"),
        (over_other_bytes, 422, "bad-signature", "is not over these bytes"),
        (other_comment, 422, "bad-signature", "is not over these bytes"),
        ("no signature".to_owned(), 422, "bad-signature", "expected the four lines"),
        (key.sign(&bytes).repeat(9), 422, "bad-signature", "expected at most 8"),
    ] {
        let problem = upload(&server, bytes.clone(), &signatures).await.problem(status, code);
        assert!(detail(&problem).contains(says), "{says} in {problem}");
    }
    let refused = server
        .request("PUT", "/api/v1/plugins")
        .body(bytes.clone())
        .header("plugin-signatures", "?");
    send(refused).await.problem(400, "bad-header");
    assert!(!PLUGINS.is_loaded(&Digest::of(&bytes)), "nothing was compiled, and so nothing ran");
    assert!(server.store.plugin(&Digest::of(&bytes)).await.unwrap().is_none());
    // Which signature came first does not matter.
    let both = other.sign(&bytes) + &key.sign_directly(&bytes);
    let signatures = upload(&server, bytes, &both).await.ok(201)["signatures"].clone();
    assert_eq!((&signatures[0]["signer"], &signatures[1]["signer"]), (&Value::Null, &json!("ops")));
    server.stop().await;
}

#[tokio::test]
async fn signatures_can_come_after_the_plugin() {
    let (key, other) = (Key::new(), Key::new());
    let server = Server::with_policy(policy(&key, "{ match: 'file:*' }")).await;
    let bytes = strategy("later");
    let digest = Digest::of(&bytes);
    let path = format!("/api/v1/plugins/{digest}/signatures");
    server.put(&path, key.sign(&bytes)).await.problem(404, "plugin-not-found");
    upload(&server, bytes.clone(), "").await.ok(201);
    let signature = key.sign(&bytes);
    let signed = server.put(&path, signature.clone()).await.ok(200);
    assert_eq!(
        (&signed["change"], &signed["signatures"][0]["signer"]),
        (&json!("updated"), &json!("ops"))
    );
    assert_eq!(server.put(&path, signature).await.ok(200)["change"], "unchanged");
    server.put(&path, key.sign(b"x")).await.problem(422, "bad-signature");
    server.put(&path, vec![0xff]).await.problem(422, "bad-signature");
    server.put(&path, "x".repeat(6 * 1024 + 1)).await.problem(413, "body-too-large");
    // Of a key that nobody knows, as many are kept as there is room for. They never push out one that counts.
    for n in 1..12 {
        let text =
            other.sign(&bytes).replace("untrusted comment: ", &format!("untrusted comment: {n} "));
        server.put(&path, text).await.ok(200);
    }
    // What a key signs again takes the place of what it signed before, whatever it is called.
    let again = key.sign_directly(&bytes);
    let signed = server.put(&path, again.repeat(2).replacen("comment: ", "comment: 1", 1)).await;
    let signed = signed.ok(200)["signatures"].as_array().unwrap().clone();
    assert_eq!(signed.len(), 8);
    assert_eq!(signed.iter().filter(|one| one["signer"] == "ops").count(), 1);
    server.stop().await;
}

#[tokio::test]
async fn of_uploads_at_once_each_brings_its_signatures() {
    let (key, other) = (Key::new(), Key::new());
    let server = Server::start().await;
    let bytes = strategy("at-once");
    let (one, two) = (key.sign(&bytes), other.sign(&bytes));
    let both =
        tokio::join!(upload(&server, bytes.clone(), &one), upload(&server, bytes.clone(), &two));
    assert!([both.0.status, both.1.status].iter().all(|status| [200, 201].contains(status)));
    let shown = server.get(&format!("/api/v1/plugins/{}", Digest::of(&bytes))).await.ok(200);
    assert_eq!(shown["signatures"].as_array().unwrap().len(), 2);
    server.stop().await;
}

#[tokio::test]
async fn a_signature_that_is_found_wrong_later_counts_for_nothing_and_holds_up_nobody() {
    let key = Key::new();
    let lax = Server::start().await;
    let bytes = strategy("rebuilt");
    let digest = Digest::of(&bytes);
    // Without a policy nobody can tell that it is that of the plugin before.
    upload(&lax, bytes.clone(), &key.sign(b"the plugin before")).await.ok(201);
    let document = using("file:x.wasm");
    let uploaded = json!({ "document": document, "uploads": { "own": digest } });
    lax.post("/api/v1/playbooks", uploaded).await.ok(201);
    lax.apply_cluster(CLUSTER).await.ok(201);
    let strict = lax.restarted(policy(&key, SIGNED)).await;
    let start = json!({ "playbook": "restart", "cluster": "eu" });
    for _ in 0..2 {
        let refused = strict.post("/api/v1/runs", start.clone()).await;
        let problem = refused.problem(403, "plugin-refused");
        assert!(detail(&problem).contains("found no signature of a key"), "{problem}");
    }
    let path = format!("/api/v1/plugins/{digest}/signatures");
    strict.put(&path, key.sign(&bytes)).await.ok(200);
    strict.post("/api/v1/runs", start).await.ok(201);
    strict.stop().await;
}

#[tokio::test]
async fn a_stored_plugin_counts_as_what_it_once_came_from() {
    let key = Key::new();
    // It came in under a laxer rule.
    let lax = Server::start().await;
    let bytes = strategy("stored");
    let digest = Digest::of(&bytes);
    upload(&lax, bytes.clone(), "").await.ok(201);
    let version = version_of("rolling");
    let pinned = using(&format!("store:rolling@{version}', digest: '{digest}"));
    lax.apply(&pinned).await.ok(201);
    let strict = lax.restarted(policy(&key, SIGNED)).await;
    let problem = strict.apply(&pinned.replace("version: 1.0.0", "version: 1.1.0")).await;
    let problem = problem.problem(422, "invalid-document");
    let problem = &problem["problems"][0];
    assert_eq!(
        (&problem["code"], &problem["path"]),
        (&json!("policy"), &json!("/spec/plugins/own/source"))
    );
    assert_eq!(problem["line"], 5);
    assert!(
        problem["message"].as_str().unwrap().contains("rule 1 (file:*) of policy"),
        "{problem}"
    );

    // Nor is what was applied then started now.
    strict.apply_cluster(CLUSTER).await.ok(201);
    let start = json!({ "playbook": "restart", "cluster": "eu" });
    let problem = strict.post("/api/v1/runs", start.clone()).await.problem(403, "plugin-refused");
    assert!(
        detail(&problem).starts_with("playbook restart version 1.0.0, plugin \"own\": rule 1"),
        "{problem}"
    );

    // A signature that was kept unchecked counts once there is its key.
    let signature = json!(key.sign(&bytes));
    let path = format!("/api/v1/plugins/{digest}/signatures");
    let lax = strict.restarted(CurrentPolicy::default()).await;
    let kept = lax.put(&path, signature.as_str().unwrap().to_owned()).await.ok(200);
    assert_eq!(kept["signatures"][0]["signer"], Value::Null);
    let strict = lax.restarted(policy(&key, SIGNED)).await;
    strict.post("/api/v1/runs", start).await.ok(201);
    let shown = strict.get(&format!("/api/v1/plugins/{digest}")).await.ok(200);
    assert_eq!(shown["signatures"][0]["signer"], "ops");
    strict.stop().await;
}

#[tokio::test]
async fn a_grant_counts_where_both_sides_give_it() {
    let key = Key::new();
    let rules = "{ match: 'builtin:action', may: { actions: ['agent.replicante.io/*'] } }";
    let server = Server::with_policy(policy(&key, rules)).await;
    let document = |version: &str, grants: &str, action: &str| {
        let source = format!("store:action@{}", version_of("action"));
        let spec = format!(
            "plugins: {{ own: {{ source: '{source}', grants: {{ actions: {grants} }} }} }}"
        );
        let step = format!(
            "use: own\n          with: {{ kind: agent.replicante.io/test.success }}\n        - name: b\n          action: {action}"
        );
        playbook("restart", version, &spec)
            .replace("action: agent.replicante.io/test.success", &step)
    };
    server
        .apply(&document("1.0.0", "['agent.replicante.io/*']", "agent.replicante.io/test.fail"))
        .await
        .ok(201);
    let wide = document("1.1.0", "['agent.replicante.io/x', '*']", "mongodb.replicante.io/drop");
    let problem = server.apply(&wide).await.problem(422, "invalid-document");
    let found: Vec<(&str, u64)> = problem["problems"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["path"].as_str().unwrap(), one["line"].as_u64().unwrap()))
        .collect();
    let expected =
        [("/spec/plugins/own/grants/actions/1", 5), ("/spec/stages/0/steps/1/action", 14)];
    assert_eq!(found, expected, "{problem}");
    assert_eq!(problem["problems"][0]["expected"], "agent.replicante.io/*");
    server.stop().await;
}

fn version_of(name: &str) -> String {
    PLUGINS.builtins().iter().find(|one| one.info.name == name).unwrap().info.version.clone()
}

#[tokio::test]
async fn a_policy_is_not_applied_and_readyz_says_which_one_counts() {
    let key = Key::new();
    let server = Server::with_policy(policy(&key, SIGNED)).await;
    let text = "apiVersion: replicante.io/v1\nkind: Policy\nmetadata: { name: x }\nspec: {}\n";
    let all = json!({ "documents": [{ "document": text }] });
    let problem = server.post("/api/v1/apply", all).await.problem(422, "invalid-document");
    let found = &problem["documents"][0]["problems"][0];
    assert_eq!((&found["path"], &found["line"]), (&json!("/kind"), &json!(2)));
    server.apply(text).await.problem(422, "invalid-document");
    let ready = server.get("/readyz").await.ok(200);
    assert_eq!(ready["policy"]["name"], "house");
    assert!(ready["policy"].get("problem").is_none(), "{ready}");
    server.stop().await;
    let server = Server::start().await;
    assert!(server.get("/readyz").await.ok(200).get("policy").is_none());
    server.stop().await;
}

#[tokio::test]
async fn unfinished_runs_outside_of_a_policy_are_counted_up_to_a_limit() {
    let server = Server::start().await;
    let bytes = strategy("live");
    upload(&server, bytes.clone(), "").await.ok(201);
    let uploaded =
        json!({ "document": using("file:x.wasm"), "uploads": { "own": Digest::of(&bytes) } });
    server.post("/api/v1/playbooks", uploaded).await.ok(201);
    server.apply_cluster(CLUSTER).await.ok(201);
    let start = json!({ "playbook": "restart", "cluster": "eu" });
    let started = server.post("/api/v1/runs", start).await.ok(201);
    let id: RunId = started["id"].as_str().unwrap().parse().unwrap();
    let store = server.store.clone();
    let run = store.run(id).await.unwrap().unwrap();
    let house = policy(&Key::new(), SIGNED).now().unwrap();
    let found = runs_outside(&house, store.as_ref(), &PLUGINS).await.unwrap();
    assert_eq!((found.runs, found.first), (1, vec![id]));
    assert!(found.why.is_some_and(|why| why.starts_with("plugin \"own\": rule 1 (file:*)")));

    let newer = |n: u128| RunId(uuid::Uuid::from_u128(id.0.as_u128() + n));
    for n in 1..=2_050 {
        let mut snapshot = Snapshot::clone(&run.snapshot);
        snapshot.id = newer(n);
        let run = Run { snapshot: Arc::new(snapshot), progress: run.progress.clone() };
        let request = Digest::of(&n.to_le_bytes());
        let new = NewRun { run, events: Vec::new(), idempotency_key: None, request };
        store.create_run(&new).await.unwrap();
    }
    let found = runs_outside(&house, store.as_ref(), &PLUGINS).await.unwrap();
    assert_eq!((found.runs, found.first.len(), found.first[0]), (2_000, 10, newer(2_050)));
    let none = policy(&Key::new(), "{ match: 'file:*' }").now().unwrap();
    assert_eq!(runs_outside(&none, store.as_ref(), &PLUGINS).await.unwrap().runs, 0);
    server.stop().await;
}
