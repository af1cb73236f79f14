//! The engines that share the store, and what runs say about them.

use std::collections::BTreeMap;

use replibook::playbook::parse_cluster;
use replibook::run::{
    Command, CommandId, CommandOutcome, Digest, EngineId, RunId, RunStatus, StatusReason,
    Timestamp, Verb, Writes,
};
use replibook::secrets::FakeSecrets;
use replibook::store::{
    CREDENTIALS_FOLDER, Cluster, EngineReport, POLICY_FILE, SECRETS_FOLDER, Store,
};
use serde_json::{Value, json};

use crate::api::engine::{Engine, id_of};
use crate::api::server::{Server, playbook, send};

fn report(id: &str, runs: u32, max_runs: u32) -> EngineReport {
    EngineReport {
        id: EngineId(id.to_owned()),
        name: format!("engine-{id}"),
        version: "1.2.3".to_owned(),
        host: "web".to_owned(),
        address: Some("http://127.0.0.1:1".to_owned()),
        started: Timestamp::from_millis(0),
        clock_ahead: 7,
        runs,
        queued: 2,
        max_runs,
        files: BTreeMap::new(),
    }
}

async fn drain(server: &Server, id: &str, body: Value) -> crate::api::server::Reply {
    let path = format!("/api/v1/engines/{id}/drain");
    send(server.request("PUT", &path).json(&body)).await
}

#[tokio::test]
async fn engines_are_listed_and_drained() {
    let server = Server::start().await;
    assert_eq!(server.get("/api/v1/engines").await.ok(200)["items"], json!([]));
    for id in ["b", "a"] {
        server.store.put_engine(&report(id, 3, 10)).await.unwrap();
    }
    let all = server.get("/api/v1/engines").await.ok(200);
    let one = &all["items"][0];
    assert_eq!(
        (&one["id"], &one["name"], &one["state"]),
        (&json!("a"), &json!("engine-a"), &json!("active"))
    );
    assert_eq!(
        (&one["runs"], &one["queued"], &one["max_runs"]),
        (&json!(3), &json!(2), &json!(10))
    );

    let body = json!({"drain": true, "actor": "ann", "reason": "new disk"});
    let told = drain(&server, "a", body).await.ok(200);
    assert_eq!((&told["state"], &told["drained_by"]), (&json!("draining"), &json!("ann")));
    assert_eq!(told["drain_reason"], json!("new disk"));
    let long = "x".repeat(5_000);
    drain(&server, "a", json!({"drain": true, "reason": long})).await.problem(400, "bad-body");
    let told = drain(&server, "a", json!({"drain": false})).await.ok(200);
    assert_eq!((&told["state"], told.get("drained_by")), (&json!("active"), None));
    drain(&server, "c", json!({"drain": true})).await.problem(404, "engine-not-found");
    drain(&server, "a", json!({"drain": "yes"})).await.problem(400, "bad-body");
    server.stop().await;
}

#[tokio::test]
async fn files_that_are_not_the_same_on_all_engines_are_told_of() {
    let server = Server::start().await;
    let put = async |id: &str, policy: Option<&[u8]>| {
        let files = BTreeMap::from([(POLICY_FILE.to_owned(), policy.map(Digest::of))]);
        server.store.put_engine(&EngineReport { files, ..report(id, 3, 10) }).await.unwrap();
    };
    let differs = async || server.get("/readyz").await.ok(200).get("files").cloned();
    assert_eq!(differs().await, None, "there is no engine");
    for id in ["a", "b"] {
        put(id, Some(b"house rules")).await;
    }
    // An engine of an earlier version does not say.
    server.store.put_engine(&report("old", 3, 10)).await.unwrap();
    assert_eq!(differs().await, None);
    put("c", None).await;
    let rules = Digest::of(b"house rules");
    let expected = json!([{ "file": "policy", "distinct": 2, "contents": [
        { "digest": rules, "count": 2, "engines": ["engine-a", "engine-b"] },
        { "digest": null, "count": 1, "engines": ["engine-c"] },
    ]}]);
    assert_eq!(differs().await, Some(expected));
    let all = server.get("/api/v1/engines").await.ok(200);
    let files: Vec<&Value> =
        all["items"].as_array().unwrap().iter().map(|one| &one["files"]).collect();
    let same = json!({ "policy": rules });
    assert_eq!(files, [&same, &same, &json!({ "policy": null }), &json!({})]);
    put("c", Some(b"house rules")).await;
    assert_eq!(differs().await, None);
    // Credentials are told of in the same way, whatever the policies are.
    for (id, credentials) in [("a", &b"one"[..]), ("b", b"other")] {
        let sums = [(POLICY_FILE, &b"house rules"[..]), (CREDENTIALS_FOLDER, credentials)];
        let files = sums.map(|(file, content)| (file.to_owned(), Some(Digest::of(content)))).into();
        server.store.put_engine(&EngineReport { files, ..report(id, 3, 10) }).await.unwrap();
    }
    let found = differs().await.unwrap();
    let [differing] = found.as_array().unwrap().as_slice() else { panic!("{found}") };
    assert_eq!((&differing["file"], &differing["distinct"]), (&json!("credentials"), &json!(2)));
    server.stop().await;
}

#[tokio::test]
async fn an_engine_that_takes_no_runs_because_of_its_clock_says_so() {
    let server = Server::start().await;
    let state = async |clock_ahead| {
        let report = EngineReport { clock_ahead, ..report("a", 3, 10) };
        server.store.put_engine(&report).await.unwrap();
        server.get("/api/v1/engines").await.ok(200)["items"][0]["state"].clone()
    };
    assert_eq!(state(60_001).await, json!("clock-off"));
    assert_eq!(state(-60_001).await, json!("clock-off"));
    assert_eq!(state(60_000).await, json!("active"));
    let told = drain(&server, "a", json!({"drain": true})).await.ok(200);
    assert_eq!(told["state"], json!("draining"));
    assert_eq!(state(60_001).await, json!("draining"), "which a person asked for");
    let states = server.get("/openapi.json").await.ok(200);
    let states = &states["components"]["schemas"]["EngineState"];
    assert!(states.to_string().contains("clock-off"), "{states}");
    server.stop().await;
}

#[tokio::test]
async fn a_run_says_who_drives_it_and_why_nobody_does() {
    let server = Server::start().await;
    server.apply(&playbook("restart", "1.0.0", "")).await.ok(201);
    let cluster = "apiVersion: replicante.io/v1\nkind: Cluster\nmetadata: { name: eu }\nspec: { agents: [] }\n";
    server.apply_cluster(cluster).await.ok(201);
    let body = json!({"playbook": "restart", "cluster": "eu"});
    for _ in 0..2 {
        server.post("/api/v1/runs", body.clone()).await.ok(201);
    }
    // Two runs of the same millisecond have no known order, and only the first one waits for a place.
    let runs = server.get("/api/v1/runs").await.ok(200);
    let path = format!("/api/v1/runs/{}", runs["items"][1]["id"].as_str().unwrap());
    let why = async || {
        let told = server.get(&format!("{path}/explanation")).await.ok(200);
        told["text"].as_str().unwrap().to_owned()
    };
    assert!(why().await.contains("It waits for an engine: none is there; start a server."));
    let off = EngineReport { clock_ahead: 61_000, ..report("a", 0, 10) };
    server.store.put_engine(&off).await.unwrap();
    let off = "waits for an engine: the clock of \"engine-a\" is wrong";
    assert!(why().await.contains(off), "{}", why().await);
    let waits = async || server.get("/api/v1/runs").await.ok(200)["items"][1]["waits"].clone();
    assert!(waits().await.as_str().unwrap().starts_with("waits for an engine: the clock"));
    server.store.put_engine(&report("a", 10, 10)).await.unwrap();
    assert_eq!(waits().await, "waits for a place on an engine");
    let full = "It waits for a place on an engine: the engine drives 10 of at most 10 runs, and 2 runs wait";
    assert!(why().await.contains(full), "{}", why().await);
    drain(&server, "a", json!({"drain": true})).await.ok(200);
    assert!(why().await.contains("It waits for an engine: the only one is being drained."));

    server.store.claim(&EngineId("a".to_owned()), 2).await.unwrap();
    let engine = &server.get(&path).await.ok(200)["engine"];
    assert_eq!((&engine["id"], &engine["name"]), (&json!("a"), &json!("engine-a")));
    assert!(!why().await.contains("It waits for an engine"));
    server.stop().await;
}

#[tokio::test]
async fn a_run_whose_secrets_the_server_can_not_read_says_so_and_none_is_started() {
    let secrets = FakeSecrets::default();
    let server = Server::with_secrets(secrets.clone()).await;
    let large: Vec<String> = (0..8).map(|number| format!("large-{number}")).collect();
    let names = large.iter().map(String::as_str).chain(["key", "other"]);
    let named: Vec<String> = names.map(|name| format!("\"${{{{ secret('{name}') }}}}\"")).collect();
    let args = format!("          args: {{ keys: [{}] }}\n", named.join(", "));
    server.apply(&(playbook("rotate", "1.0.0", "") + &args)).await.ok(201);
    large.iter().for_each(|name| secrets.put(name, "quite small"));
    let cluster = "apiVersion: replicante.io/v1\nkind: Cluster\nmetadata: { name: eu }\nspec: { agents: [] }\n";
    server.apply_cluster(cluster).await.ok(201);
    let start =
        async || server.post("/api/v1/runs", json!({"playbook": "rotate", "cluster": "eu"})).await;
    secrets.put("key", "correct horse");
    start().await.problem(409, "secret-unavailable");
    secrets.put("other", "battery staple");
    let run = start().await.ok(201);
    let path = format!("/api/v1/runs/{}", run["id"].as_str().unwrap());
    let told = async || {
        let waits = server.get(&path).await.ok(200)["waits"].clone();
        let why = server.get(&format!("{path}/explanation")).await.ok(200)["text"].to_string();
        (waits, why)
    };
    let without_engine = told().await.0;
    secrets.remove("other");
    assert_eq!(told().await.0, without_engine, "there is no engine that could read them");
    secrets.put("other", "battery staple");
    server.store.put_engine(&report("a", 0, 10)).await.unwrap();
    assert_eq!(told().await.0, Value::Null, "an engine takes it up at any moment");
    let says = "waits for an engine that can read its secrets: this server's can't";
    secrets.remove("other");
    let (waits, why) = told().await;
    assert_eq!(waits, says);
    assert!(why.contains(&format!("It {says}: secret-gone: ")), "{why}");
    // Each could be read alone.
    secrets.put("other", "battery staple");
    large.iter().for_each(|name| secrets.put(name, &"x".repeat(8 * 1024)));
    let (waits, why) = told().await;
    assert_eq!(waits, says);
    assert!(why.contains(&format!("It {says}: secret-too-much: ")), "{why}");
    // Another engine may have them.
    server.store.claim(&EngineId("a".to_owned()), 1).await.unwrap();
    assert_eq!(told().await.0, Value::Null);
    server.stop().await;
}

#[tokio::test]
async fn a_run_whose_cluster_names_credentials_that_are_not_here_does_not_speak_of_secrets() {
    let server = Server::start().await;
    server.apply(&playbook("restart", "1.0.0", "")).await.ok(201);
    let cluster = "apiVersion: replicante.io/v1\nkind: Cluster\nmetadata: { name: eu }\nspec: { agents: [] }\n";
    server.apply_cluster(cluster).await.ok(201);
    let body = json!({"playbook": "restart", "cluster": "eu"});
    let run = id_of(&server.post("/api/v1/runs", body).await.ok(201));
    // Another server, which has them, takes this document.
    let text = cluster.replace("agents: []", "credentials: prod, agents: []");
    let spec = parse_cluster(text.as_bytes()).unwrap();
    let applied_at = Timestamp::from_millis(1);
    server.store.put_cluster(&Cluster { text, spec, applied_at }).await.unwrap();
    server.store.put_engine(&report("a", 0, 10)).await.unwrap();
    let path = format!("/api/v1/runs/{run}");
    let says =
        "waits for an engine that can use the credentials of its cluster: this server's can't";
    assert_eq!(server.get(&path).await.ok(200)["waits"], says);
    let why = server.get(&format!("{path}/explanation")).await.ok(200)["text"].to_string();
    assert!(why.contains(&format!("It {says}: ")) && why.contains("prod"), "{why}");
    assert!(!why.contains("secret"), "{why}");
    server.stop().await;
}

#[tokio::test]
async fn a_run_that_lacks_secrets_and_credentials_names_both_also_while_an_engine_keeps_it() {
    let secrets = FakeSecrets::default();
    let server = Server::with_secrets(secrets.clone()).await;
    let args = "          args: { key: \"${{ secret('key') }}\" }\n";
    server.apply(&(playbook("rotate", "1.0.0", "") + args)).await.ok(201);
    let cluster = "apiVersion: replicante.io/v1\nkind: Cluster\nmetadata: { name: eu }\nspec: { agents: [] }\n";
    server.apply_cluster(cluster).await.ok(201);
    secrets.put("key", "correct horse");
    let body = json!({"playbook": "rotate", "cluster": "eu"});
    let run = id_of(&server.post("/api/v1/runs", body).await.ok(201));
    secrets.remove("key");
    let text = cluster.replace("agents: []", "credentials: prod, agents: []");
    let spec = parse_cluster(text.as_bytes()).unwrap();
    let applied_at = Timestamp::from_millis(1);
    server.store.put_cluster(&Cluster { text, spec, applied_at }).await.unwrap();
    let put = async |id: &str, secrets: &[u8]| {
        let files = BTreeMap::from([
            (CREDENTIALS_FOLDER.to_owned(), None),
            (SECRETS_FOLDER.to_owned(), Some(Digest::of(secrets))),
        ]);
        let report = EngineReport { files, ..report(id, 0, 10) };
        server.store.put_engine(&report).await.unwrap();
    };
    put("a", b"one").await;
    put("b", b"one").await;
    let says = "waits for an engine that can read its secrets and use the credentials of its cluster: this server's can \
                do neither";
    let told = async || {
        let waits = server.get(&format!("/api/v1/runs/{run}")).await.ok(200)["waits"].clone();
        let why = server.get(&format!("/api/v1/runs/{run}/explanation")).await.ok(200);
        (waits, why["text"].to_string())
    };
    for is_kept in [false, true] {
        if is_kept {
            server.store.claim(&EngineId("a".to_owned()), 1).await.unwrap();
        }
        let (waits, why) = told().await;
        assert_eq!(waits, says, "{is_kept}");
        assert!(why.contains("secret-gone") && why.contains("prod"), "{why}");
    }
    // The engine that has it may have what is lacking here.
    put("a", b"other").await;
    assert_eq!(told().await.0, Value::Null);
    server.stop().await;
}

#[tokio::test]
async fn a_run_says_which_commands_were_not_applied_yet() {
    let server = Server::start().await;
    server.apply(&playbook("restart", "1.0.0", "")).await.ok(201);
    let cluster = "apiVersion: replicante.io/v1\nkind: Cluster\nmetadata: { name: eu }\nspec: { agents: [] }\n";
    server.apply_cluster(cluster).await.ok(201);
    let body = json!({"playbook": "restart", "cluster": "eu"});
    let run = id_of(&server.post("/api/v1/runs", body).await.ok(201));
    let told = async || {
        let told = server.get(&format!("/api/v1/runs/{run}/explanation")).await.ok(200);
        told["text"].as_str().unwrap().to_owned()
    };
    assert!(!told().await.contains("not applied yet"), "{}", told().await);
    let command = Command {
        id: CommandId(uuid::Uuid::from_u128(7)),
        run,
        verb: Verb::Cancel,
        agent: None,
        again: false,
        signal: None,
        override_guard: None,
        approves: None,
        actor: Some("ann".to_owned()),
        why: None,
        at: server.store.time(),
        outcome: None,
        finish_ts: None,
    };
    server.store.submit(&command).await.unwrap();
    let waits = "Accepted, and not applied yet: cancel by ann since ";
    assert!(told().await.contains(waits), "{}", told().await);
    assert!(told().await.contains("It waits for an engine: none is there"), "{}", told().await);
    let engine = Engine::hold(&server, run).await;
    engine.set(RunStatus::Paused, |_| {}).await;
    assert!(told().await.contains(waits), "{}", told().await);

    // Engines that are full take the run up all the same, for the command.
    server.store.release_all(&EngineId("test".to_owned())).await.unwrap();
    server.store.put_engine(&report("a", 10, 10)).await.unwrap();
    let paused = told().await;
    assert!(paused.contains(waits) && !paused.contains("waits for a place"), "{paused}");
    drain(&server, "a", json!({"drain": true})).await.ok(200);
    let drained = "It waits for an engine: the only one is being drained";
    assert!(told().await.contains(drained), "{}", told().await);
    let engine = Engine::hold(&server, run).await;
    let done = Command { outcome: Some(CommandOutcome::Applied), ..command };
    engine.set(RunStatus::Running, |writes| writes.commands.push(done)).await;
    assert!(!told().await.contains("not applied yet"), "{}", told().await);
    server.stop().await;
}

#[tokio::test]
async fn a_run_whose_turn_it_is_waits_for_a_place_on_its_engine() {
    let server = Server::start().await;
    server.apply(&playbook("restart", "1.0.0", "")).await.ok(201);
    let cluster = "apiVersion: replicante.io/v1\nkind: Cluster\nmetadata: { name: eu }\nspec: { agents: [] }\n";
    server.apply_cluster(cluster).await.ok(201);
    let body = json!({"playbook": "restart", "cluster": "eu"});
    let run = server.post("/api/v1/runs", body).await.ok(201);
    let id: RunId = run["id"].as_str().unwrap().parse().unwrap();
    let lease = server.store.claim(&EngineId("a".to_owned()), 1).await.unwrap().pop().unwrap();
    let before = RunId(uuid::Uuid::from_u128(7));
    let mut progress = server.store.run(id).await.unwrap().unwrap().progress;
    progress.reason = Some(StatusReason::cluster_busy(before, 0));
    let writes = Writes { progress: Some(progress), ..Writes::default() };
    server.store.commit(id, lease.epoch, &writes).await.unwrap();
    let path = format!("/api/v1/runs/{id}");
    let told = async || {
        let told = server.get(&format!("{path}/explanation")).await.ok(200);
        told["text"].as_str().unwrap().to_owned()
    };
    assert!(told().await.contains(&before.to_string()), "{}", told().await);

    server.store.put_engine(&report("a", 10, 10)).await.unwrap();
    let place = "waits for a place on its engine: engine-a drives 10 of at most 10 runs";
    assert!(told().await.contains(place), "{}", told().await);
    assert!(!told().await.contains(&before.to_string()), "{}", told().await);
    // The run says the same alone and in the list of all runs.
    let all = server.get("/api/v1/runs").await.ok(200);
    for view in [&server.get(&path).await.ok(200), &all["items"][0]] {
        assert!(view["reason"].is_null(), "{view}");
        assert_eq!(view["waits"], "waits for a place on its engine");
    }
    // An engine with room is about to start the run.
    server.store.put_engine(&report("a", 4, 10)).await.unwrap();
    assert!(server.get(&path).await.ok(200).get("waits").is_none());
    server.stop().await;
}
