//! Plugins, and playbooks that use uploaded ones.

use replibook::run::{Digest, Timestamp};
use replibook::store::Store as _;
use serde_json::{Value, json};

use crate::api::server::{DEADLINE, PLUGINS, Server, playbook};
use crate::wait::until;

/// A plugin with a digest of its own: a built-in strategy with a custom section behind it.
pub(crate) fn strategy(tag: &str) -> Vec<u8> {
    let rolling = PLUGINS.builtins().iter().find(|one| one.info.name == "rolling").unwrap();
    let mut bytes = rolling.bytes.to_vec();
    let length = u8::try_from(tag.len()).unwrap();
    bytes.extend([0, length + 1, length]);
    bytes.extend(tag.as_bytes());
    bytes
}

pub(crate) fn using(source: &str) -> String {
    let spec = format!("plugins: {{ own: {{ source: '{source}' }} }}");
    playbook("restart", "1.0.0", &spec).replace("use: rolling", "use: own")
}

#[tokio::test]
async fn a_plugin_is_uploaded_once_and_shown() {
    let server = Server::start().await;
    let bytes = strategy("a");
    let digest = Digest::of(&bytes);
    let path = format!("/api/v1/plugins?digest={digest}");
    let reply = server.put(&path, bytes.clone()).await;
    assert_eq!(reply.header("location"), format!("/api/v1/plugins/{digest}"));
    let created = reply.ok(201);
    assert_eq!(created["change"], "created");
    assert_eq!((&created["name"], &created["kind"]), (&json!("rolling"), &json!("strategy")));
    assert_eq!(created["size"], bytes.len());
    assert_eq!(server.put("/api/v1/plugins", bytes).await.ok(200)["change"], "unchanged");

    let shown = server.get(&format!("/api/v1/plugins/{digest}")).await.ok(200);
    assert_eq!((&shown["digest"], &shown["change"]), (&json!(digest), &Value::Null));
    let list = server.get("/api/v1/plugins").await.ok(200);
    assert_eq!(list["items"].as_array().unwrap().len(), PLUGINS.builtins().len() + 1);
    server.stop().await;
}

/// The retention of plugins in these tests, in seconds.
const RETENTION: u64 = 30 * 86_400;

#[tokio::test]
async fn a_plugin_says_since_when_nothing_pins_it_and_when_it_goes() {
    let server = Server::start().await;
    let bytes = strategy("a");
    let path = format!("/api/v1/plugins/{}", Digest::of(&bytes));
    let moment = |view: &Value, field: &str| -> Timestamp {
        serde_json::from_value(view[field].clone()).unwrap_or_else(|_| panic!("{field}: {view}"))
    };
    let goes = |view: &Value| {
        let (since, goes_at) = (moment(view, "unpinned_at"), moment(view, "goes_at"));
        assert_eq!(goes_at.since(since).0, RETENTION * 1_000, "{view}");
        since
    };
    let created = server.put("/api/v1/plugins", bytes.clone()).await.ok(201);
    assert_eq!(goes(&created), moment(&created, "added_at"));
    // Another upload of the same bytes renews it.
    let again = until("the clock to go on", DEADLINE, async || {
        let again = server.put("/api/v1/plugins", bytes.clone()).await.ok(200);
        assert_eq!(
            (&again["change"], &again["added_at"]),
            (&json!("unchanged"), &created["added_at"])
        );
        (goes(&again) > goes(&created)).then_some(again)
    })
    .await;
    assert_eq!(server.get(&path).await.ok(200)["goes_at"], again["goes_at"]);

    let source = format!("store:rolling@{}", created["version"].as_str().unwrap());
    let digest = format!("', digest: '{}' }} }}", Digest::of(&bytes));
    server.apply(&using(&source).replace("' } }", &digest)).await.ok(201);
    let pinned = server.get(&path).await.ok(200);
    assert_eq!([&pinned["unpinned_at"], &pinned["goes_at"]], [&Value::Null; 2]);
    server.delete("/api/v1/playbooks/restart?version=1.0.0").await.ok(204);
    server.store.sweep_plugins(20).await.unwrap().unwrap();
    assert!(goes(&server.get(&path).await.ok(200)) > goes(&created));

    let list = server.get("/api/v1/plugins").await.ok(200);
    for plugin in list["items"].as_array().unwrap() {
        let is_built_in = plugin["digest"] != json!(Digest::of(&bytes));
        assert_eq!(plugin["goes_at"].is_null(), is_built_in, "{plugin}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_plugin_that_is_gone_is_there_again_once_it_is_uploaded() {
    let server = Server::start().await;
    let bytes = strategy("a");
    let digest = Digest::of(&bytes);
    let query = "/api/v1/plugins?source=file:a.wasm";
    server.put(query, bytes.clone()).await.ok(201);
    assert!(server.store.delete_plugin(&digest).await.unwrap());
    server.get(&format!("/api/v1/plugins/{digest}")).await.problem(404, "plugin-not-found");
    let again = server.put("/api/v1/plugins", bytes).await.ok(201);
    assert_eq!((&again["change"], again.get("provenance")), (&json!("created"), None));
    server.stop().await;
}

#[tokio::test]
async fn the_bytes_of_a_plugin_are_given_as_they_are_kept() {
    let server = Server::start().await;
    let bytes = strategy("a");
    server.put("/api/v1/plugins", bytes.clone()).await.ok(201);
    let builtin = &PLUGINS.builtins()[0];
    for (digest, bytes) in
        [(Digest::of(&bytes), bytes), (builtin.info.digest.clone(), builtin.bytes.to_vec())]
    {
        let path = format!("/api/v1/plugins/{digest}/bytes");
        let answer = server.request("GET", &path).send().await.unwrap();
        assert_eq!(
            (answer.status().as_u16(), &answer.headers()["content-type"]),
            (200, &"application/wasm".parse().unwrap())
        );
        assert_eq!(answer.bytes().await.unwrap(), bytes);
    }
    let unknown = format!("/api/v1/plugins/{}/bytes", Digest::of(b"unknown"));
    server.get(&unknown).await.problem(404, "plugin-not-found");
    server.stop().await;
}

#[tokio::test]
async fn bytes_that_are_no_plugin_or_not_the_expected_one_are_refused() {
    let server = Server::start().await;
    let problem = server.put("/api/v1/plugins", "hello").await.problem(422, "invalid-plugin");
    assert_eq!(problem["problems"].as_array().unwrap().len(), 1);
    server.put("/api/v1/plugins", "").await.problem(422, "invalid-plugin");
    let other = Digest::of(b"other");
    let path = format!("/api/v1/plugins?digest={other}");
    let problem = server.put(&path, strategy("a")).await.problem(400, "digest-mismatch");
    assert!(problem["detail"].as_str().unwrap().contains(other.as_str()), "{problem}");
    server.put("/api/v1/plugins?digest=sha256:1", "").await.problem(400, "bad-parameter");
    server.get("/api/v1/plugins/sha256:1").await.problem(400, "bad-parameter");
    server.get(&format!("/api/v1/plugins/{other}")).await.problem(404, "plugin-not-found");
    server.stop().await;
}

#[tokio::test]
async fn a_playbook_uses_uploaded_plugins_and_keeps_them() {
    let server = Server::start().await;
    let document = using("file:one.wasm");
    let problem = server.apply(&document).await.problem(422, "invalid-document");
    let problems = problem["problems"].as_array().unwrap();
    assert_eq!(problems.len(), 1, "{problem}");
    assert_eq!(problems[0]["path"], "/spec/plugins/own/source");
    assert_eq!(problems[0]["code"], "plugin-not-uploaded");
    assert_eq!(problems[0]["line"], 5);

    let bytes = strategy("b");
    let digest = Digest::of(&bytes);
    let uploaded = json!({ "document": document, "uploads": { "own": digest } });
    let problem = server.post("/api/v1/playbooks", uploaded.clone()).await;
    let problem = problem.problem(422, "invalid-document");
    assert_eq!(problem["problems"][0]["code"], "plugin-missing");

    server.put("/api/v1/plugins", bytes).await.ok(201);
    let created = server.post("/api/v1/playbooks", uploaded).await.ok(201);
    assert_eq!(created["plugins"]["own"]["digest"], json!(digest));

    let path = format!("/api/v1/plugins/{digest}");
    let problem = server.delete(&path).await.problem(409, "plugin-pinned");
    assert!(problem["detail"].as_str().unwrap().contains("restart"), "{problem}");
    server.delete("/api/v1/playbooks/restart?version=1.0.0").await.ok(204);
    server.delete(&path).await.ok(204);
    server.delete(&path).await.problem(404, "plugin-not-found");
    server.stop().await;
}

#[tokio::test]
async fn a_plugin_in_the_store_is_found_by_name_and_version() {
    let server = Server::start().await;
    let rolling = PLUGINS.builtins().iter().find(|one| one.info.name == "rolling").unwrap();
    let source = format!("store:rolling@{}", rolling.info.version);
    let created = server.apply(&using(&source)).await.ok(201);
    assert_eq!(created["plugins"]["own"]["digest"], rolling.info.digest.as_str());
    assert_eq!(created["plugins"]["own"]["source"], source);
    let problem = server.apply(&using("store:rolling@99.0.0")).await;
    let problem = problem.problem(422, "invalid-document");
    assert_eq!(problem["problems"][0]["code"], "plugin-missing");
    server.stop().await;
}

#[tokio::test]
async fn a_name_and_version_of_two_plugins_is_not_clear_without_a_digest() {
    let server = Server::start().await;
    let rolling = PLUGINS.builtins().iter().find(|one| one.info.name == "rolling").unwrap();
    let source = format!("store:rolling@{}", rolling.info.version);
    let other = strategy("other");
    let digest = Digest::of(&other);
    server.put(&format!("/api/v1/plugins?digest={digest}"), other).await.ok(201);
    let problem = server.apply(&using(&source)).await.problem(422, "invalid-document");
    let problem = &problem["problems"][0];
    assert_eq!(problem["code"], "plugin-ambiguous");
    let message = problem["message"].as_str().unwrap();
    for (version, one) in [("1.0.0", &digest), ("1.1.0", &rolling.info.digest)] {
        assert!(message.contains(one.as_str()), "{message}");
        let pinned = using(&source).replace("' } }", &format!("', digest: '{one}' }} }}"));
        let pinned = pinned.replace("version: 1.0.0", &format!("version: {version}"));
        let created = server.apply(&pinned).await;
        assert_eq!(created.ok(201)["plugins"]["own"]["digest"], one.as_str(), "{pinned}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_step_without_grants_is_warned_of_and_applied() {
    let server = Server::start().await;
    let action = PLUGINS.builtins().iter().find(|one| one.info.name == "action").unwrap();
    assert_eq!(action.info.calls, ["agent.run-action"]);
    // In larger steps the compiler leaves what they never call.
    let larger = ["action", "http", "metric", "wait-signal"];
    let others = PLUGINS.builtins().iter().filter(|one| !larger.contains(&one.info.name.as_str()));
    assert!(others.into_iter().all(|one| one.info.calls.is_empty()), "they have nobody act");
    let source = format!("store:action@{}", action.info.version);
    let document = |version: &str, grants: &str| {
        let spec = format!("plugins: {{ own: {{ source: '{source}'{grants} }} }}");
        let step = "use: own\n          with: { kind: agent.replicante.io/test.success }";
        let text = playbook("restart", version, &spec);
        text.replace("action: agent.replicante.io/test.success", step)
    };
    let created = server.apply(&document("1.0.0", "")).await.ok(201);
    assert_eq!(created["warnings"][0]["code"], "not-granted");
    assert_eq!(created["warnings"][0]["path"], "/spec/plugins/own");
    let all = json!({ "documents": [{ "document": document("1.1.0", "") }] });
    let applied = server.post("/api/v1/apply", all).await.ok(200);
    assert_eq!(applied["items"][0]["warnings"][0]["line"], created["warnings"][0]["line"]);
    let read = server.get("/api/v1/playbooks/restart").await.ok(200);
    assert!(read.get("warnings").is_none(), "{read}");
    let granted = document("1.2.0", ", grants: { actions: ['agent.replicante.io/*'] }");
    let created = server.apply(&granted).await.ok(201);
    assert!(created.get("warnings").is_none(), "{created}");
    server.stop().await;
}

#[tokio::test]
async fn an_upload_that_the_document_does_not_name_is_a_mistake() {
    let server = Server::start().await;
    let document = playbook("restart", "1.0.0", "");
    let uploads = json!({ "other": PLUGINS.builtins()[0].info.digest });
    let reply =
        server.post("/api/v1/playbooks", json!({ "document": document, "uploads": uploads }));
    let problem = reply.await.problem(422, "invalid-document");
    assert_eq!(problem["problems"][0]["code"], "unknown-upload");
    server.stop().await;
}
