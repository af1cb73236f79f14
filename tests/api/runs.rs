//! Runs: started, looked at, and steered.

use std::sync::Arc;

use replibook::run::{AgentState, CommandOutcome, RunId, RunStatus};
use replibook::store::memory::Damaged;
use reqwest::header::HeaderMap;
use serde_json::{Value, json};

use crate::api::engine::{Engine, id_of};
use crate::api::server::{CLUSTER, JumpingClock, Reply, Server, playbook, send};

/// A server with a cluster, and with a playbook that has these lines in its `spec`.
async fn server(spec: &str) -> Server {
    prepare(Server::start().await, spec).await
}

async fn prepare(server: Server, spec: &str) -> Server {
    server.apply_cluster(CLUSTER).await.ok(201);
    server.apply(&playbook("restart", "1.0.0", spec)).await.ok(201);
    server
}

async fn start(server: &Server, body: Value) -> Reply {
    server.post("/api/v1/runs", body).await
}

fn restart() -> Value {
    json!({ "playbook": "restart", "cluster": "eu" })
}

async fn start_as(server: &Server, key: &str, body: Value) -> Reply {
    let headers =
        HeaderMap::from_iter([("idempotency-key".parse().unwrap(), key.parse().unwrap())]);
    send(server.request("POST", "/api/v1/runs").headers(headers).json(&body)).await
}

const PARAMS: &str = "params:
    type: object
    properties: { grace: { type: integer, minimum: 0, default: 30 } }
    additionalProperties: false";

#[tokio::test]
async fn a_run_is_created_with_its_snapshot_and_first_event() {
    let server = server(PARAMS).await;
    let body = json!({ "playbook": "restart@1.0.0", "cluster": "eu", "started_by": "ada" });
    let reply = start(&server, body).await;
    let location = reply.header("location").to_owned();
    let run = reply.ok(201);
    assert_eq!((&run["status"], &run["stage"]), (&json!("PENDING"), &json!("restart")));
    assert_eq!((&run["params"], &run["started_by"]), (&json!({ "grace": 30 }), &json!("ada")));
    let mut shown = server.get(&location).await.ok(200);
    // No engine is there. Only those who look at the run are told, not the one who started it.
    assert!(shown.as_object_mut().unwrap().remove("waits").is_some(), "{shown}");
    assert_eq!(shown, run);

    let snapshot = server.get(&format!("{location}/snapshot")).await.ok(200);
    assert_eq!(snapshot["playbook"]["stages"][0]["name"], "restart");
    assert_eq!(snapshot["playbook"]["plugins"], run["plugins"]);
    let events = server.get(&format!("{location}/events")).await.ok(200);
    assert_eq!(events["items"].as_array().unwrap().len(), 1);
    assert_eq!(
        (&events["items"][0]["seq"], &events["items"][0]["actor"]),
        (&json!(1), &json!("ada"))
    );
    assert_eq!(events["items"][0]["to"], "PENDING");
    server.stop().await;
}

#[tokio::test]
async fn a_run_needs_a_playbook_a_cluster_and_parameters_that_fit() {
    let server = server(PARAMS).await;
    let with = |key: &str, value: Value| {
        let mut body = restart();
        body[key] = value;
        start(&server, body)
    };
    with("playbook", json!("other")).await.problem(404, "playbook-not-found");
    with("playbook", json!("restart@2.0.0")).await.problem(404, "playbook-not-found");
    with("playbook", json!("restart@x")).await.problem(400, "bad-body");
    with("cluster", json!("us")).await.problem(404, "cluster-not-found");
    with("started_by", json!("a".repeat(257))).await.problem(400, "bad-body");
    let problem = with("params", json!({ "grace": -1, "gracee": 2 })).await;
    let problem = problem.problem(422, "invalid-params");
    assert_eq!(problem["problems"].as_array().unwrap().len(), 2, "{problem}");
    assert_eq!(server.get("/api/v1/runs").await.ok(200)["items"], json!([]));
    server.stop().await;
}

#[tokio::test]
async fn a_playbook_that_asks_for_approval_waits_for_it() {
    let server = server("approval: required").await;
    let run = start(&server, restart()).await.ok(201);
    assert_eq!(run["status"], "PENDING_APPROVE");
    assert_eq!(run["reason"]["code"], "approval-required");
    server.stop().await;
}

#[tokio::test]
async fn a_repeated_request_returns_the_run_that_it_created() {
    // Even with a playbook that a busy cluster refuses: here the run itself keeps the cluster busy.
    let server = server("concurrency: reject").await;
    let run = start_as(&server, "key-1", restart()).await.ok(201);
    let again = start_as(&server, "key-1", restart()).await.ok(200);
    assert_eq!(again["id"], run["id"]);
    let mut other = restart();
    other["started_by"] = json!("ada");
    start_as(&server, "key-1", other).await.problem(409, "idempotency-key-reused");
    start_as(&server, "key-2", restart()).await.problem(409, "cluster-busy");
    start_as(&server, &"k".repeat(256), restart()).await.problem(400, "bad-header");
    server.stop().await;
}

/// The same request comes again after what the run was started with is gone or has changed.
#[tokio::test]
async fn a_repeated_request_is_answered_whatever_became_of_the_playbook_and_the_cluster() {
    let gone = "/api/v1/playbooks/restart?version=1.0.0";
    for (spec, reference, since) in [
        ("", "restart@1.0.0", "the version is gone"),
        ("", "restart", "the playbook is gone"),
        (PARAMS, "restart", "a newer version refuses the parameters"),
        ("", "restart@1.0.0", "the cluster is gone"),
        ("concurrency: reject", "restart", "another run keeps the cluster busy"),
    ] {
        let server = server(spec).await;
        let mut body = json!({ "playbook": reference, "cluster": "eu" });
        if spec == PARAMS {
            body["params"] = json!({ "grace": 5 });
        }
        let run = start_as(&server, "key-1", body.clone()).await.ok(201);
        let end =
            async || Engine::hold(&server, id_of(&run)).await.set(RunStatus::Done, |_| {}).await;
        match since {
            "the version is gone" | "the playbook is gone" => {
                server.delete(gone).await.ok(204);
            }
            "a newer version refuses the parameters" => {
                let newer = PARAMS.replace("grace", "patience");
                server.apply(&playbook("restart", "2.0.0", &newer)).await.ok(201);
            }
            "the cluster is gone" => {
                end().await;
                server.delete("/api/v1/clusters/eu").await.ok(204);
            }
            _ => {
                end().await;
                start_as(&server, "key-2", body.clone()).await.ok(201);
            }
        }
        let again = start_as(&server, "key-1", body.clone()).await;
        assert_eq!(again.header("location"), format!("/api/v1/runs/{}", id_of(&run)), "{since}");
        assert_eq!(again.ok(200)["id"], run["id"], "{since}");
        let mut other = body.clone();
        other["started_by"] = json!("ada");
        let reused = start_as(&server, "key-1", other).await;
        reused.problem(409, "idempotency-key-reused");
        server.stop().await;
    }
}

#[tokio::test]
async fn a_busy_cluster_is_refused_when_the_playbook_says_so() {
    let server = server("concurrency: reject").await;
    server.apply(&playbook("beside", "1.0.0", "concurrency: allow")).await.ok(201);
    // A run that goes beside the others holds no cluster.
    start(&server, json!({ "playbook": "beside", "cluster": "eu" })).await.ok(201);
    let starts = (0..4).map(|_| start(&server, restart()));
    let replies = futures::future::join_all(starts).await;
    let (created, refused): (Vec<_>, Vec<_>) =
        replies.into_iter().partition(|reply| reply.status == 201);
    assert_eq!((created.len(), refused.len()), (1, 3));
    let run = id_of(&created[0].body);
    for reply in refused {
        let problem = reply.problem(409, "cluster-busy");
        assert!(problem["detail"].as_str().unwrap().contains(&run.to_string()), "{problem}");
    }
    let engine = Engine::hold(&server, run).await;
    engine.set(RunStatus::Done, |_| {}).await;
    start(&server, restart()).await.ok(201);
    server.stop().await;
}

#[tokio::test]
async fn a_cluster_is_busy_for_a_playbook_that_rejects_it_while_another_run_is_queued_or_goes() {
    let server = server("concurrency: reject").await;
    for (name, spec) in [("queued", ""), ("asks", "approval: required")] {
        server.apply(&playbook(name, "1.0.0", spec)).await.ok(201);
    }
    let other = |name: &str| json!({ "playbook": name, "cluster": "eu" });
    // A run that waits for approval is not queued yet.
    start(&server, other("asks")).await.ok(201);
    let run = id_of(&start(&server, other("queued")).await.ok(201));
    let detail = async |does: &str| {
        let problem = start(&server, restart()).await.problem(409, "cluster-busy");
        let expected = format!("cluster \"eu\" is {does} by run {run} of playbook queued");
        assert!(problem["detail"].as_str().unwrap().starts_with(&expected), "{problem}");
    };
    detail("queued for").await;
    let engine = Engine::hold(&server, run).await;
    engine.lock_cluster().await;
    engine.set(RunStatus::Paused, |_| {}).await;
    detail("held").await;
    // Other playbooks are queued behind it, or go beside it, as usual.
    start(&server, other("queued")).await.ok(201);
    server.stop().await;
}

#[tokio::test]
async fn a_run_is_found_as_the_newest_and_by_a_part_of_its_identifier() {
    let server = server("").await;
    let find = async |query: &str| server.get(&format!("/api/v1/runs/find{query}")).await.ok(200);
    assert_eq!(find("").await, json!({ "ids": [], "count": 0 }));
    let mut ids = Vec::new();
    for _ in 0..12 {
        ids.push(id_of(&start(&server, restart()).await.ok(201)).to_string());
    }
    ids.sort();
    let newest = ids.last().unwrap().clone();
    assert_eq!(find("").await, json!({ "ids": [newest], "count": 1 }));
    let digits = newest.replace('-', "");
    let end = digits[20..].to_uppercase();
    assert_eq!(find(&format!("?part={end}")).await, json!({ "ids": [newest], "count": 1 }));
    assert_eq!(find("?part=ffffffffffffffff").await, json!({ "ids": [], "count": 0 }));
    // The digits of the time of creation, with which all identifiers begin.
    let several = find(&format!("?part={}", &digits[..6])).await;
    assert_eq!((several["ids"].as_array().unwrap().len(), &several["count"]), (10, &json!(12)));
    for bad in ["?part=", "?part=12345", "?part=01-92ab", "?part=xxxxxx", "?limit=1"] {
        server.get(&format!("/api/v1/runs/find{bad}")).await.problem(400, "bad-parameter");
    }
    let long = "0".repeat(33);
    server.get(&format!("/api/v1/runs/find?part={long}")).await.problem(400, "bad-parameter");
}

#[tokio::test]
async fn runs_are_listed_newest_first_and_by_status() {
    let server = server("").await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(id_of(&start(&server, restart()).await.ok(201)));
    }
    ids.sort();
    ids.reverse();
    let list = |query: String| {
        let server = &server;
        async move {
            let page = server.get(&format!("/api/v1/runs?{query}")).await.ok(200);
            let found = page["items"].as_array().unwrap().iter().map(id_of).collect::<Vec<_>>();
            (found, page["next"].as_str().map(str::to_owned))
        }
    };
    assert_eq!(list(String::new()).await, (ids.clone(), None));
    let (first, next) = list("limit=2".to_owned()).await;
    assert_eq!(first, ids[..2]);
    let (second, next) = list(format!("limit=2&after={}", next.unwrap())).await;
    assert_eq!((second.as_slice(), next), (&ids[2..], None));

    let engine = Engine::hold(&server, ids[1]).await;
    engine.set(RunStatus::Running, |_| {}).await;
    let running = vec![ids[1]];
    assert_eq!(list("status=running,paused".to_owned()).await.0, running);
    assert_eq!(list("cluster=eu&status=RUNNING".to_owned()).await.0, running);
    assert_eq!(list("cluster=us".to_owned()).await.0, []);
    server.get("/api/v1/runs?status=GONE").await.problem(400, "bad-parameter");
    // The list can be narrowed by playbook and by time as well.
    let all = list(String::new()).await.0;
    assert_eq!(list("playbook=restart".to_owned()).await.0, all);
    assert_eq!(list("playbook=restart@1.0.0&status=RUNNING".to_owned()).await.0, running);
    assert_eq!(list("playbook=restart@1.0.1".to_owned()).await.0, []);
    assert_eq!(list("playbook=upgrade".to_owned()).await.0, []);
    let newest = server.get(&format!("/api/v1/runs/{}", all[0])).await.ok(200);
    let since = newest["created_at"].as_str().unwrap();
    let found = list(format!("since={since}")).await.0;
    assert!(found.contains(&all[0]) && all.starts_with(&found), "{found:?} of {all:?}");
    assert_eq!(list("since=2100-01-01T00:00:00Z".to_owned()).await.0, []);
    for bad in ["since=soon", "playbook=restart@new", "playbook=a&playbook=b"] {
        server.get(&format!("/api/v1/runs?{bad}")).await.problem(400, "bad-parameter");
    }
    server.get("/api/v1/runs?after=x").await.problem(400, "bad-parameter");
    server.stop().await;
}

#[tokio::test]
async fn of_a_damaged_run_only_what_is_so_is_told() {
    let server = server("").await;
    let ended = id_of(&start(&server, restart()).await.ok(201));
    let driven = id_of(&start(&server, restart()).await.ok(201));
    let engine = Engine::hold(&server, ended).await;
    engine.set(RunStatus::Running, |_| {}).await;
    engine.set(RunStatus::Done, |_| {}).await;
    let explained = async |run: RunId| -> (String, Vec<String>) {
        let path = format!("/api/v1/runs/{run}/explanation");
        let told = server.get(&path).await.ok(200);
        let next = told["next"].as_array().unwrap();
        let next = next.iter().map(|next| next["command"].as_str().unwrap().to_owned());
        (told["text"].as_str().unwrap().to_owned(), next.collect())
    };
    for part in [Damaged::Snapshot, Damaged::Progress] {
        for run in [ended, driven] {
            server.store.damage(part(run));
        }
        let (text, next) = explained(ended).await;
        assert!(text.starts_with("The run ended as DONE. It can't be read any more"), "{text}");
        assert!(next.is_empty(), "{next:?}");
        let (text, next) = explained(driven).await;
        assert!(text.contains("No engine has failed at it"), "{text}");
        assert_eq!(next, [format!("run cancel {driven}")]);
    }
    server.stop().await;
}

#[tokio::test]
async fn a_command_is_answered_with_its_outcome() {
    let server = server("").await;
    let run = id_of(&start(&server, restart()).await.ok(201));
    let engine = Engine::hold(&server, run).await;
    let path = format!("/api/v1/runs/{run}/commands");
    let pause = json!({ "command": "pause", "actor": "ada", "reason": "lunch" });
    let (reply, ()) =
        tokio::join!(server.post(&path, pause), engine.answer_next(CommandOutcome::Applied));
    let applied = reply.ok(200);
    assert_eq!(applied["outcome"], json!({ "outcome": "applied" }));
    let one = format!("{path}/{}", applied["id"].as_str().unwrap());
    assert_eq!(server.get(&one).await.ok(200), applied);

    let resume = json!({ "command": "resume" });
    let refused = CommandOutcome::Refused { reason: "the run is not paused".to_owned() };
    let (reply, ()) = tokio::join!(server.post(&path, resume), engine.answer_next(refused));
    assert_eq!(reply.problem(409, "command-refused")["detail"], "the run is not paused");

    // Repeating a command changes nothing, even after the run has ended.
    engine.set(RunStatus::Done, |_| {}).await;
    let again = json!({ "id": applied["id"], "command": "pause" });
    assert_eq!(server.post(&path, again).await.ok(200), applied);
    let reused = json!({ "id": applied["id"], "command": "cancel" });
    server.post(&path, reused).await.problem(409, "command-id-reused");
    let late = server.post(&path, json!({ "command": "cancel" })).await;
    let problem = late.problem(409, "command-refused");
    assert!(problem["detail"].as_str().unwrap().ends_with("has ended as DONE"), "{problem}");
    server.stop().await;
}

#[tokio::test]
async fn a_command_that_nobody_picks_up_is_kept() {
    let clock = Arc::new(JumpingClock::default());
    let server = prepare(Server::with_clock(clock).await, "").await;
    let run = id_of(&start(&server, restart()).await.ok(201));
    let path = format!("/api/v1/runs/{run}/commands");
    let waiting = server.post(&path, json!({ "command": "cancel" })).await.ok(202);
    assert_eq!(waiting["outcome"], Value::Null);
    let unknown = json!({ "command": "stop" });
    server.post(&path, unknown).await.problem(400, "bad-body");
    let long = json!({ "command": "cancel", "reason": "x".repeat(4097) });
    server.post(&path, long).await.problem(400, "bad-body");
    let nowhere = format!("/api/v1/runs/{}/commands", uuid::Uuid::from_u128(7));
    server.post(&nowhere, json!({ "command": "cancel" })).await.problem(404, "run-not-found");
    let missing = format!("{path}/{}", uuid::Uuid::from_u128(7));
    server.get(&missing).await.problem(404, "command-not-found");
    server.stop().await;
}

#[tokio::test]
async fn agent_records_are_read_in_pages_and_by_state() {
    let server = server("").await;
    let run = id_of(&start(&server, restart()).await.ok(201));
    let engine = Engine::hold(&server, run).await;
    let states = [AgentState::Done, AgentState::Failed, AgentState::Done, AgentState::Pending];
    let records = (0..).zip(states).map(|(seq, state)| engine.record(seq, state)).collect();
    engine.set(RunStatus::Running, |writes| writes.records = records).await;
    let path = format!("/api/v1/runs/{run}/agents");
    let list = |query: &str| {
        let path = format!("{path}?{query}");
        let server = &server;
        async move {
            let page = server.get(&path).await.ok(200);
            let seqs = page["items"].as_array().unwrap().iter();
            (seqs.map(|one| one["seq"].as_u64().unwrap()).collect::<Vec<_>>(), page["next"].clone())
        }
    };
    assert_eq!(list("limit=3").await, (vec![0, 1, 2], json!("2")));
    assert_eq!(list("limit=3&after=2").await, (vec![3], Value::Null));
    assert_eq!(list("state=done").await.0, [0, 2]);
    let one = server.get(&format!("{path}/rack%2Fnode-1")).await.ok(200);
    assert_eq!((&one["agent"], &one["state"]), (&json!("rack/node-1"), &json!("FAILED")));
    server.get(&format!("{path}/node-9")).await.problem(404, "agent-not-found");
    server.get(&format!("{path}?state=GONE")).await.problem(400, "bad-parameter");
    server.get(&format!("{path}?after=x")).await.problem(400, "bad-parameter");
    for rest in ["journals", "logs"] {
        let path = format!("/api/v1/runs/{run}/{rest}");
        assert_eq!(server.get(&path).await.ok(200)["items"], json!([]));
        server.get(&format!("{path}?after=x")).await.problem(400, "bad-parameter");
    }
    let path = format!("/api/v1/runs/{run}/journals?agent=node-9");
    server.get(&path).await.problem(404, "agent-not-found");
    server.stop().await;
}

#[tokio::test]
async fn a_run_that_is_not_there_is_said_to_be_so_everywhere() {
    let server = Server::start().await;
    let run = uuid::Uuid::from_u128(7);
    for rest in ["", "/snapshot", "/agents", "/agents/a", "/journals", "/logs", "/events"] {
        let reply = server.get(&format!("/api/v1/runs/{run}{rest}")).await;
        reply.problem(404, "run-not-found");
        let reply = server.get(&format!("/api/v1/runs/last{rest}")).await;
        reply.problem(400, "bad-parameter");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_signal_is_kept_as_a_command_and_bounded() {
    let server = server("").await;
    let id = start(&server, restart()).await.ok(201)["id"].as_str().unwrap().to_owned();
    let path = format!("/api/v1/runs/{id}/signals");
    let command = "00000000-0000-4000-8000-000000000001";
    let signal = json!({ "id": command, "name": "go", "payload": {"ticket": 1}, "actor": "ada" });
    // No engine drives the run here.
    let kept = server.post(&path, signal.clone()).await.ok(202);
    assert_eq!((&kept["id"], &kept["command"]), (&json!(command), &json!("signal")));
    server.post(&path, signal).await.ok(202);
    let other = json!({ "id": command, "name": "go", "payload": {"ticket": 2} });
    server.post(&path, other).await.problem(409, "command-id-reused");
    let nested = (0..65).fold(json!(1), |inner, _| json!([inner]));
    for (body, expected) in [
        (
            json!({ "name": "go", "payload": "x".repeat(17_000) }),
            "found 17002 bytes, expected at most 16384",
        ),
        (
            json!({ "name": "go", "payload": nested }),
            "found JSON nested 65 deep, expected at most 64",
        ),
        (json!({ "name": "" }), "`name`: found \"\", expected 1 to 256 visible characters"),
        (json!({ "name": "g o" }), "`name`: found \"g o\""),
        (json!({ "name": "x".repeat(2_000) }), "found 2000 bytes"),
        (json!({ "payload": 1 }), "name"),
        (json!({ "name": "go", "to": "node-1" }), "to"),
    ] {
        let problem = server.post(&path, body).await.problem(400, "bad-body");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains(expected), "{detail}");
    }
    let large = json!({ "name": "go", "payload": "x".repeat(10 << 20) });
    server.post(&path, large).await.problem(413, "body-too-large");
    let command = json!({ "command": "signal" });
    let commands = format!("/api/v1/runs/{id}/commands");
    let problem = server.post(&commands, command).await.problem(400, "bad-body");
    assert!(problem["detail"].as_str().unwrap().contains("/signals"), "{problem}");
}
