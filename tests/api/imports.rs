//! Imports from registries, and where plugins came from.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use replibook::run::Digest;
use serde_json::{Value, json};

use crate::api::plugins::strategy;
use crate::api::server::{DEADLINE, PLUGINS, Reply, Server, playbook};
use crate::registry::artefact::manifest;
use crate::registry::liar::{Asked, Liar, Reply as Said};
use crate::wait::until;

const ACTOR: &str = "ada@build-7";

/// A registry that has a plugin under every tag, as long as it is `open`.
pub(crate) async fn registry(bytes: Vec<u8>, open: Arc<AtomicBool>) -> Liar {
    Liar::start(move |asked: &Asked| {
        if asked.is_for_signatures() {
            return Said::status(404, "");
        }
        if asked.is_for("/manifests/") {
            return Said::json(&manifest(&bytes));
        }
        match open.load(Ordering::SeqCst) {
            true => Said::Whole(200, Vec::new(), bytes.clone()),
            false => Said::Silence,
        }
    })
    .await
}

pub(crate) fn opened() -> Arc<AtomicBool> {
    Arc::new(AtomicBool::new(true))
}

pub(crate) async fn start(server: &Server, source: &str) -> Value {
    let request = json!({ "source": source, "actor": ACTOR });
    let reply = server.post("/api/v1/imports", request).await;
    let location = reply.header("location").to_owned();
    let view = reply.ok(202);
    assert_eq!(location, path(&view));
    view
}

fn path(view: &Value) -> String {
    format!("/api/v1/imports/{}", view["id"].as_str().unwrap())
}

/// The import once it is in one of these states.
pub(crate) async fn reach(server: &Server, view: &Value, states: &[&str]) -> Value {
    let path = path(view);
    until("the import", DEADLINE, async || {
        let view = server.get(&path).await.ok(200);
        states.iter().any(|state| view["state"] == *state).then_some(view)
    })
    .await
}

pub(crate) async fn ended(server: &Server, view: &Value) -> Value {
    reach(server, view, &["done", "failed"]).await
}

async fn plugin(server: &Server, bytes: &[u8]) -> Reply {
    server.get(&format!("/api/v1/plugins/{}", Digest::of(bytes))).await
}

fn using(source: &str) -> String {
    let spec = format!("plugins: {{ own: {{ source: '{source}' }} }}");
    playbook("restart", "1.0.0", &spec).replace("use: rolling", "use: own")
}

#[tokio::test]
async fn a_plugin_is_imported_and_it_is_known_where_it_came_from() {
    let (server, bytes) = (Server::start().await, strategy("imported"));
    let registry = registry(bytes.clone(), opened()).await;
    let source = format!("oci://{}/ops/own:1", registry.host);
    // A playbook does not make the server ask a registry.
    let reply = server.apply(&using(&source)).await;
    let problem = &reply.problem(422, "invalid-document")["problems"][0];
    assert_eq!(problem["code"], "plugin-not-imported");
    assert_eq!((&problem["path"], registry.asked().len()), (&json!("/spec/plugins/own/source"), 0));

    let begun = start(&server, &source).await;
    let done = ended(&server, &begun).await;
    assert_eq!(done["state"], "done", "{done}");
    let digest = Digest::of(&bytes);
    let manifest = Digest::of(manifest(&bytes).to_string().as_bytes());
    assert_eq!((&done["manifest"], &done["plugin"]["digest"]), (&json!(manifest), &json!(digest)));
    assert_eq!((&done["received"], &done["total"]), (&json!(bytes.len()), &json!(bytes.len())));
    assert_eq!(done["plugin"]["change"], "created");
    let shown = plugin(&server, &bytes).await.ok(200);
    let came = &shown["provenance"][0];
    assert_eq!((&came["source"], &came["manifest"]), (&json!(source), &json!(manifest)));
    assert_eq!(came["by"], ACTOR);

    let applied = server.apply(&using(&source)).await.ok(201);
    assert_eq!(applied["plugins"]["own"]["digest"], json!(digest));
    assert_eq!(applied["plugins"]["own"]["provenance"], *came);

    // What the store has is not read again.
    let again = ended(&server, &start(&server, &source).await).await;
    assert_eq!((&again["state"], &again["received"]), (&json!("done"), &json!(0)));
    assert_eq!(registry.asked().iter().filter(|asked| asked.is_for("/blobs/")).count(), 1);
    // One that found the plugin takes nothing away.
    assert_eq!(server.delete(&path(&again)).await.status, 204);
    plugin(&server, &bytes).await.ok(200);
    server.stop().await;
}

#[tokio::test]
async fn a_cancelled_import_leaves_nothing() {
    let (server, bytes, open) = (Server::start().await, strategy("cancelled"), opened());
    open.store(false, Ordering::SeqCst);
    let registry = registry(bytes.clone(), open.clone()).await;
    let source = format!("oci://{}/own:1", registry.host);
    let begun = start(&server, &source).await;
    let pulling = reach(&server, &begun, &["pulling"]).await;
    assert_eq!((&pulling["plugin"], &pulling["ended_at"]), (&Value::Null, &Value::Null));
    assert_eq!(server.delete(&path(&begun)).await.status, 204);
    server.get(&path(&begun)).await.problem(404, "import-not-found");
    server.delete(&path(&begun)).await.problem(404, "import-not-found");
    plugin(&server, &bytes).await.problem(404, "plugin-not-found");

    // One that has ended takes its plugin along, unless something pins it.
    open.store(true, Ordering::SeqCst);
    let done = ended(&server, &start(&server, &source).await).await;
    assert_eq!(done["state"], "done", "{done}");
    assert_eq!(server.delete(&path(&done)).await.status, 204);
    plugin(&server, &bytes).await.problem(404, "plugin-not-found");
    let done = ended(&server, &start(&server, &source).await).await;
    server.apply(&using(&source)).await.ok(201);
    assert_eq!(server.delete(&path(&done)).await.status, 204);
    plugin(&server, &bytes).await.ok(200);
    server.stop().await;
}

#[tokio::test]
async fn what_failed_is_not_tried_again_at_once() {
    let server = Server::start().await;
    let registry = registry(b"\0asm\x0d\0\x01\0".to_vec(), opened()).await;
    let source = format!("oci://{}/own:1", registry.host);
    let failed = ended(&server, &start(&server, &source).await).await;
    assert_eq!((&failed["state"], &failed["plugin"]), (&json!("failed"), &Value::Null));
    assert_eq!(failed["problem"]["code"], "wrong-world", "{failed}");
    let asked = registry.asked().len();
    let again = start(&server, &source).await;
    assert_eq!(
        (&again["state"], &again["problem"]["code"]),
        (&json!("failed"), &json!("wrong-world"))
    );
    assert!(again["problem"]["message"].as_str().unwrap().contains("not tried again"), "{again}");
    assert_eq!(registry.asked().len(), asked);

    // Under another name the bytes are known by their digest, and are not even read.
    let other = format!("oci://{}/other:1", registry.host);
    let other = ended(&server, &start(&server, &other).await).await;
    assert_eq!((&other["problem"]["code"], &other["received"]), (&json!("wrong-world"), &json!(0)));
    server.stop().await;
}

#[tokio::test]
async fn bytes_that_were_refused_once_are_not_even_read_the_next_time() {
    let server = Server::start().await;
    let bytes = [b"\0asm\x0d\0\x01\0".as_slice(), &[0, 6, 5], b"again"].concat();
    let refused = server.put("/api/v1/plugins", bytes.clone()).await;
    let refused = refused.problem(422, "invalid-plugin");
    let again = server.put("/api/v1/plugins", bytes.clone()).await;
    assert_eq!(again.problem(422, "invalid-plugin"), refused);
    // What an upload brought is known to imports too.
    let registry = registry(bytes, opened()).await;
    let source = format!("oci://{}/own:1", registry.host);
    let failed = ended(&server, &start(&server, &source).await).await;
    assert_eq!(failed["problem"]["code"], refused["problems"][0]["code"], "{failed}");
    assert!(!registry.asked().iter().any(|asked| asked.is_for("/blobs/")));
    server.stop().await;
}

#[tokio::test]
async fn a_moved_tag_is_a_conflict_that_shows_both_digests() {
    let server = Server::start().await;
    let (first, second) = (strategy("moved-1"), strategy("moved-2"));
    let moved = Arc::new(AtomicBool::new(false));
    let (one, two, now) = (first.clone(), second.clone(), moved.clone());
    let registry = Liar::start(move |asked: &Asked| {
        let bytes = if now.load(Ordering::SeqCst) { &two } else { &one };
        match asked.is_for("/manifests/") {
            _ if asked.is_for_signatures() => Said::status(404, ""),
            true => Said::json(&manifest(bytes)),
            false => Said::Whole(200, Vec::new(), bytes.clone()),
        }
    })
    .await;
    let source = format!("oci://{}/own:1", registry.host);
    ended(&server, &start(&server, &source).await).await;
    server.apply(&using(&source)).await.ok(201);
    moved.store(true, Ordering::SeqCst);
    ended(&server, &start(&server, &source).await).await;
    let digests = [Digest::of(&first), Digest::of(&second)];
    for reply in [
        server.apply(&using(&source)).await,
        server.post("/api/v1/playbooks?dry_run=true", json!({ "document": using(&source) })).await,
        server
            .post("/api/v1/apply", json!({ "documents": [{ "document": using(&source) }] }))
            .await,
    ] {
        let detail = reply.problem(409, "conflict")["detail"].as_str().unwrap().to_owned();
        assert!(digests.iter().all(|digest| detail.contains(digest.as_str())), "{detail}");
        assert!(detail.contains("the tag was moved"), "{detail}");
    }
    // The digest says which of the two is meant.
    let request = json!({ "document": using(&source), "uploads": { "own": digests[0] } });
    assert_eq!(server.post("/api/v1/playbooks", request).await.ok(200)["change"], "unchanged");
    server.stop().await;
}

#[tokio::test]
async fn an_import_knows_which_digest_is_wanted() {
    let (server, bytes) = (Server::start().await, strategy("wanted"));
    let registry = registry(bytes.clone(), opened()).await;
    let source = format!("oci://{}/own:1", registry.host);
    let other = Digest::of(b"other");
    let request = json!({ "source": source, "digest": other });
    let begun = server.post("/api/v1/imports", request).await.ok(202);
    let failed = ended(&server, &begun).await;
    assert_eq!(failed["problem"]["code"], "digest-mismatch", "{failed}");
    let message = failed["problem"]["message"].as_str().unwrap();
    assert!(message.contains(other.as_str()) && message.contains(Digest::of(&bytes).as_str()));
    assert!(!registry.asked().iter().any(|asked| asked.is_for("/blobs/")));
    for source in ["file:a.wasm", "store:a@1.0.0", "oci://", "http://127.0.0.1:1/"] {
        let reply = server.post("/api/v1/imports", json!({ "source": source })).await;
        reply.problem(400, "bad-parameter");
    }
    let long = json!({ "source": source, "actor": "x".repeat(257) });
    assert!(server.post("/api/v1/imports", long).await.status >= 400);
    server.stop().await;
}

#[tokio::test]
async fn an_upload_says_where_it_came_from_and_nothing_else() {
    let (server, bytes) = (Server::start().await, strategy("uploaded"));
    let path = "/api/v1/plugins?source=file:plugins/own.wasm&actor=ada";
    let created = server.put(path, bytes.clone()).await.ok(201);
    let came = &created["provenance"][0];
    assert_eq!((&came["source"], &came["by"]), (&json!("file:plugins/own.wasm"), &json!("ada")));
    assert_eq!(came.get("manifest"), None);
    for bad in ["oci://a.example/b:1", "store:a@1.0.0", "x", "builtin:rolling"] {
        let path = format!("/api/v1/plugins?source={bad}");
        server.put(&path, bytes.clone()).await.problem(400, "bad-parameter");
    }
    let again = server.put("/api/v1/plugins?source=file:other.wasm", bytes.clone()).await.ok(200);
    assert_eq!(again["provenance"].as_array().unwrap().len(), 2);
    assert_eq!(plugin(&server, &bytes).await.ok(200)["provenance"], again["provenance"]);

    // One that was in the store came from where it came from first.
    let store = using("store:rolling@").replace("rolling@", &format!("rolling@{}", version()));
    let document =
        store.replace("source: ", &format!("digest: '{}', source: ", Digest::of(&bytes)));
    let applied = server.apply(&document).await.ok(201);
    assert_eq!(applied["plugins"]["own"]["provenance"], *came);
    server.stop().await;
}

fn version() -> String {
    let rolling = PLUGINS.builtins().iter().find(|one| one.info.name == "rolling").unwrap();
    rolling.info.version.clone()
}

#[tokio::test]
async fn imports_end_with_the_server() {
    let (server, open) = (Server::start().await, Arc::new(AtomicBool::new(false)));
    let registry = registry(strategy("ends"), open).await;
    let begun = start(&server, &format!("oci://{}/own:1", registry.host)).await;
    reach(&server, &begun, &["pulling"]).await;
    tokio::time::timeout(Duration::from_secs(10), server.stop()).await.unwrap();
}
