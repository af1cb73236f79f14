//! Starting a new run over agents of one that has ended, and why a run is as it is.

use replibook::run::{
    AgentState, Failure, FailureReason, Progress, ReasonCode, RunId, RunStatus, StatusReason,
    StepPhase, Timestamp,
};
use reqwest::header::HeaderMap;
use serde_json::{Value, json};

use crate::api::engine::{Engine, id_of};
use crate::api::server::{CLUSTER, Reply, Server, playbook, send};

/// A server with a run of a playbook that has these lines in its `spec`.
async fn started(spec: &str) -> (Server, RunId) {
    let server = Server::start().await;
    server.apply_cluster(CLUSTER).await.ok(201);
    server.apply(&playbook("restart", "1.0.0", spec)).await.ok(201);
    let body = json!({ "playbook": "restart", "cluster": "eu", "started_by": "ada" });
    let run = id_of(&server.post("/api/v1/runs", body).await.ok(201));
    (server, run)
}

/// Has the run end with agents in these states. If `cut_off`, the last one was cut off when it failed.
async fn end(server: &Server, run: RunId, states: &[AgentState], cut_off: bool) {
    end_with(server, run, states, cut_off, |_| {}).await;
}

/// The same with a change of how far the run came.
async fn end_with(
    server: &Server,
    run: RunId,
    states: &[AgentState],
    cut_off: bool,
    change: impl FnOnce(&mut Progress),
) {
    let engine = Engine::hold(server, run).await;
    let records = (0..).zip(states).map(|(seq, state)| {
        let mut record = engine.record(seq, *state);
        let is_last = usize::try_from(seq).unwrap() + 1 == states.len();
        let reason = match cut_off && is_last {
            true => FailureReason::Cancelled,
            false => FailureReason::ActionFailed,
        };
        let (step, at) = ("restart".to_owned(), Timestamp::from_millis(0));
        record.error = (*state == AgentState::Failed).then(|| Failure {
            reason,
            message: "no space".to_owned(),
            step,
            at,
        });
        record
    });
    let records: Vec<_> = records.collect();
    let write = |writes: &mut replibook::run::Writes| {
        let progress = writes.progress.as_mut().unwrap();
        for record in &records {
            *progress.counts.entry(record.state).or_insert(0) += 1;
        }
        progress.failures = u32::from(states.contains(&AgentState::Failed));
        change(progress);
        writes.records = records;
    };
    engine.set(RunStatus::Done, write).await;
}

async fn retry(server: &Server, run: RunId, body: Value) -> Reply {
    server.post(&format!("/api/v1/runs/{run}/retry"), body).await
}

const MIXED: [AgentState; 3] = [AgentState::Done, AgentState::Failed, AgentState::Skipped];

#[tokio::test]
async fn a_run_over_the_failed_agents_has_the_same_snapshot() {
    let (server, run) = started("concurrency: allow").await;
    end(&server, run, &MIXED, false).await;
    // A version that was applied since then changes nothing.
    server.apply(&playbook("restart", "1.0.1", "approval: required")).await.ok(201);
    let reply = retry(&server, run, json!({ "started_by": "bob", "reason": "mended" })).await;
    let location = reply.header("location").to_owned();
    let new = reply.ok(201);
    assert_ne!(id_of(&new), run);
    let of = json!({ "run": run, "failed": true, "skipped": false, "unfinished": false });
    assert_eq!((&new["retry_of"], &new["status"]), (&of, &json!("PENDING")));
    let mut shown = server.get(&location).await.ok(200);
    // No engine is there. Only those who look at the run are told, not the one who started it.
    assert!(shown.as_object_mut().unwrap().remove("waits").is_some(), "{shown}");
    assert_eq!(shown, new);
    let snapshot = |id: RunId| server_snapshot(&server, id);
    let (old, new) = (snapshot(run).await, snapshot(id_of(&new)).await);
    for kept in ["playbook", "params", "cluster"] {
        assert_eq!(new[kept], old[kept], "{kept}");
    }
    assert_eq!((&new["retry_of"], &new["started_by"]), (&of, &json!("bob")));
    let events = server.get(&format!("{location}/events")).await.ok(200);
    let told = events["items"][0]["reason"]["message"].as_str().unwrap();
    assert_eq!(told, format!("goes over the failed agents of run {run} again: mended"));
    server.stop().await;
}

#[tokio::test]
async fn agents_are_found_although_the_last_stage_was_on_the_run() {
    let (server, run) = started("concurrency: allow").await;
    let counts_itself = |progress: &mut Progress| {
        progress.stage.once = true;
        progress.counts = [(AgentState::Done, 1)].into();
    };
    end_with(&server, run, &MIXED, false, counts_itself).await;
    retry(&server, run, json!({})).await.ok(201);
    server.stop().await;
}

async fn server_snapshot(server: &Server, run: RunId) -> Value {
    server.get(&format!("/api/v1/runs/{run}/snapshot")).await.ok(200)
}

const PARAMS: &str = "params:
    type: object
    properties: { grace: { type: integer, default: 30 } }
    additionalProperties: false";

#[tokio::test]
async fn a_mended_version_goes_over_the_agents_that_are_left() {
    let (server, run) = started(PARAMS).await;
    let mended = |version: &str| json!({ "unfinished": true, "playbook": version });
    // A run keeps what it was started with: it has to end before another version can go over its agents.
    let problem = retry(&server, run, mended("restart@1.0.1")).await;
    let problem = problem.problem(409, "run-not-finished");
    assert!(problem["detail"].as_str().unwrap().ends_with("cancel it first"), "{problem}");
    end(&server, run, &[AgentState::Done, AgentState::Pending], false).await;
    retry(&server, run, mended("restart@1.0.1")).await.problem(404, "playbook-not-found");
    retry(&server, run, mended("restart@new")).await.problem(400, "bad-body");

    let newer = PARAMS.replace("grace: {", "patience: { type: integer, default: 5 }, grace: {");
    server.apply(&playbook("restart", "1.0.1", &newer)).await.ok(201);
    let other = PARAMS.replace("grace", "patience");
    server.apply(&playbook("restart", "2.0.0", &other)).await.ok(201);
    // The parameters of the old run have to fit the new version. Without a version the highest one is taken.
    let problem = retry(&server, run, mended("restart")).await.problem(422, "invalid-params");
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains(&run.to_string()) && detail.ends_with("restart@2.0.0"), "{detail}");

    let mut body = mended("restart@1.0.1");
    body["reason"] = json!("mended");
    let new = retry(&server, run, body).await.ok(201);
    assert_eq!((&new["version"], &new["cluster"]), (&json!("1.0.1"), &json!("eu")));
    assert_eq!(new["params"], json!({ "grace": 30, "patience": 5 }));
    assert_eq!(
        (&new["retry_of"]["run"], &new["retry_of"]["unfinished"]),
        (&json!(run), &json!(true))
    );
    let snapshot = server_snapshot(&server, id_of(&new)).await;
    assert_eq!(snapshot["playbook"]["version"], "1.0.1");
    assert_eq!(snapshot["retry_of"], new["retry_of"]);
    let events = server.get(&format!("/api/v1/runs/{}/events", id_of(&new))).await.ok(200);
    let told = events["items"][0]["reason"]["message"].as_str().unwrap();
    let expected = "again: with playbook restart@1.0.1; mended";
    assert!(told.ends_with(expected), "{told}");
    server.stop().await;
}

#[tokio::test]
async fn a_retry_with_another_version_is_another_request() {
    let (server, run) = started("concurrency: allow").await;
    end(&server, run, &MIXED, false).await;
    server.apply(&playbook("restart", "1.0.1", "")).await.ok(201);
    let retry_as = |body: Value| {
        let path = format!("/api/v1/runs/{run}/retry");
        let headers =
            HeaderMap::from_iter([("idempotency-key".parse().unwrap(), "key".parse().unwrap())]);
        send(server.request("POST", &path).headers(headers).json(&body))
    };
    let new = retry_as(json!({ "playbook": "restart@1.0.1" })).await.ok(201);
    retry_as(json!({})).await.problem(409, "idempotency-key-reused");
    server.delete("/api/v1/playbooks/restart?version=1.0.1").await.ok(204);
    let again = retry_as(json!({ "playbook": "restart@1.0.1" })).await.ok(200);
    assert_eq!(again["id"], new["id"]);
    server.stop().await;
}

#[tokio::test]
async fn a_playbook_that_asks_for_approval_asks_for_it_again() {
    let (server, run) = started("approval: required").await;
    end(&server, run, &MIXED, false).await;
    let new = retry(&server, run, json!({ "skipped": true })).await.ok(201);
    assert_eq!(
        (&new["status"], &new["retry_of"]["failed"]),
        (&json!("PENDING_APPROVE"), &json!(false))
    );
    server.stop().await;
}

#[tokio::test]
async fn only_a_run_that_has_ended_and_left_such_agents_is_gone_over_again() {
    let (server, run) = started("").await;
    let problem = retry(&server, run, json!({})).await.problem(409, "run-not-finished");
    assert!(problem["detail"].as_str().unwrap().contains("is PENDING"), "{problem}");
    let nowhere = RunId(uuid::Uuid::from_u128(7));
    retry(&server, nowhere, json!({})).await.problem(404, "run-not-found");
    retry(&server, run, json!({ "agent": "node-1" })).await.problem(400, "bad-body");
    let long = json!({ "reason": "x".repeat(4097) });
    retry(&server, run, long).await.problem(400, "bad-body");

    end(&server, run, &[AgentState::Done, AgentState::Failed], true).await;
    // The agent that failed was cut off.
    let problem = retry(&server, run, json!({ "failed": true, "skipped": true })).await;
    let problem = problem.problem(409, "nothing-to-retry");
    assert!(problem["detail"].as_str().unwrap().ends_with("no failed and skipped agents"));
    retry(&server, run, json!({ "unfinished": true })).await.ok(201);
    server.stop().await;
}

#[tokio::test]
async fn the_cluster_and_the_plugins_must_still_be_there() {
    let (server, run) = started("").await;
    end(&server, run, &MIXED, false).await;
    server.delete("/api/v1/clusters/eu").await.ok(204);
    let problem = retry(&server, run, json!({})).await.problem(409, "cluster-gone");
    assert!(problem["detail"].as_str().unwrap().contains("\"eu\""), "{problem}");
    assert_eq!(server.get("/api/v1/runs").await.ok(200)["items"].as_array().unwrap().len(), 1);
    server.stop().await;
}

#[tokio::test]
async fn a_repeated_retry_returns_the_run_that_it_started_and_concurrency_is_kept() {
    let (server, run) = started("concurrency: reject").await;
    end(&server, run, &MIXED, false).await;
    let retry_as = |key: &str, body: Value| {
        let path = format!("/api/v1/runs/{run}/retry");
        let headers =
            HeaderMap::from_iter([("idempotency-key".parse().unwrap(), key.parse().unwrap())]);
        send(server.request("POST", &path).headers(headers).json(&body))
    };
    let new = retry_as("key-1", json!({})).await.ok(201);
    assert_eq!(retry_as("key-1", json!({ "failed": true })).await.ok(200)["id"], new["id"]);
    let other = json!({ "skipped": true });
    retry_as("key-1", other).await.problem(409, "idempotency-key-reused");
    retry_as("key-2", json!({})).await.problem(409, "cluster-busy");
    server.stop().await;
}

#[tokio::test]
async fn a_repeated_retry_is_answered_after_its_cluster_is_gone() {
    let (server, run) = started("").await;
    end(&server, run, &MIXED, false).await;
    let retry_as = |body: Value| {
        let path = format!("/api/v1/runs/{run}/retry");
        let headers =
            HeaderMap::from_iter([("idempotency-key".parse().unwrap(), "key".parse().unwrap())]);
        send(server.request("POST", &path).headers(headers).json(&body))
    };
    let new = retry_as(json!({})).await.ok(201);
    end(&server, id_of(&new), &[AgentState::Done], false).await;
    server.delete("/api/v1/clusters/eu").await.ok(204);
    assert_eq!(retry_as(json!({})).await.ok(200)["id"], new["id"]);
    retry_as(json!({ "skipped": true })).await.problem(409, "idempotency-key-reused");
    server.stop().await;
}

#[tokio::test]
async fn a_run_is_explained_with_its_agents() {
    let (server, run) = started("").await;
    let path = format!("/api/v1/runs/{run}/explanation");
    let queued = server.get(&path).await.ok(200);
    assert_eq!(queued["status"], "PENDING");
    assert_eq!(queued["next"][0]["command"], format!("run cancel {run}"));

    let engine = Engine::hold(&server, run).await;
    let mut record = engine.record(0, AgentState::Running);
    record.phase = StepPhase::Settling { until: Timestamp::from_millis(0), again: false };
    let reason = StatusReason {
        code: ReasonCode::BudgetExceeded,
        message: "2 agents failed, the budget allows 1".to_owned(),
    };
    let write = |writes: &mut replibook::run::Writes| {
        let progress = writes.progress.as_mut().unwrap();
        progress.counts = [(AgentState::Running, 1)].into();
        progress.reason = Some(reason);
        writes.records = vec![record];
    };
    engine.set(RunStatus::Paused, write).await;
    let paused = server.get(&path).await.ok(200);
    let text = paused["text"].as_str().unwrap();
    assert!(text.contains("Its budget is exceeded: 2 agents failed, the budget allows 1."));
    assert!(text.contains("rack/node-0 has had an action of step"), "{text}");
    assert_eq!(paused["next"][0]["command"], format!("run resume {run}"));
    let nowhere = format!("/api/v1/runs/{}/explanation", uuid::Uuid::from_u128(7));
    server.get(&nowhere).await.problem(404, "run-not-found");
    server.stop().await;
}

#[tokio::test]
async fn a_command_names_its_agent() {
    let (server, run) = started("").await;
    let engine = Engine::hold(&server, run).await;
    let path = format!("/api/v1/runs/{run}/commands");
    let command = json!({ "command": "give-up", "agent": "rack/node-1", "actor": "ada" });
    let applied = replibook::run::CommandOutcome::Applied;
    let (reply, ()) = tokio::join!(server.post(&path, command), engine.answer_next(applied));
    let view = reply.ok(200);
    assert_eq!((&view["command"], &view["agent"]), (&json!("give-up"), &json!("rack/node-1")));
    let other = json!({ "id": view["id"], "command": "give-up", "agent": "rack/node-2" });
    server.post(&path, other).await.problem(409, "command-id-reused");
    let long = json!({ "command": "retry", "agent": "x".repeat(1025) });
    server.post(&path, long).await.problem(400, "bad-body");
    server.stop().await;
}
