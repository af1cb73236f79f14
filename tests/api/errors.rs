//! What requests may have wrong, and what every operation has to document.

use std::time::Duration;

use replibook::api::{MAX_PLAYBOOK_BODY, MAX_PLUGIN_BODY};
use replibook::store::memory::FaultMoment;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::api::server::{DEADLINE, Server, send};

/// The operations in `/openapi.json`: path, method, description.
async fn operations(server: &Server) -> Vec<(String, String, Value)> {
    let document = server.get("/openapi.json").await.ok(200);
    assert_eq!(document["openapi"], "3.1.0");
    let mut found = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            found.push((path.clone(), method.to_uppercase(), operation.clone()));
        }
    }
    found
}

/// Fills each parameter of a path.
fn fill(path: &str) -> String {
    let id = uuid::Uuid::from_u128(7).to_string();
    let digest = replibook::run::Digest::of(b"");
    path.replace("{id}", &id)
        .replace("{command}", &id)
        .replace("{digest}", digest.as_str())
        .replace("{name}", "x")
        .replace("{agent}", "x")
}

#[tokio::test]
async fn every_operation_of_the_document_is_there() {
    let server = Server::start().await;
    let operations = operations(&server).await;
    assert!(operations.len() > 20);
    for (path, method, _) in operations {
        let reply = server.request(&method, &fill(&path)).send().await.unwrap();
        let status = reply.status().as_u16();
        let text = reply.text().await.unwrap();
        let code = serde_json::from_str::<Value>(&text).map(|body| body["code"].clone());
        assert!(status != 405, "{method} {path}: {text}");
        assert_ne!(code.unwrap_or_default(), "route-not-found", "{method} {path}");
        assert!(status < 500, "{method} {path}: {text}");
    }
    server.stop().await;
}

#[tokio::test]
async fn exactly_the_query_parameters_of_the_document_are_known() {
    let server = Server::start().await;
    for (path, method, operation) in operations(&server).await {
        if !path.starts_with("/api/") || method != "GET" {
            continue;
        }
        let reply = server.get(&format!("{}?nonsense=1", fill(&path))).await;
        let problem = reply.problem(400, "bad-parameter");
        let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
        let query = parameters.iter().filter(|one| one["in"] == "query");
        let mut names: Vec<_> = query.map(|one| one["name"].as_str().unwrap()).collect();
        let detail = problem["detail"].as_str().unwrap();
        let expected = detail.strip_prefix("query: found \"nonsense\", expected ").unwrap();
        if names.is_empty() {
            assert_eq!(expected, "no query parameters", "{path}");
            continue;
        }
        let mut known: Vec<_> = expected.strip_prefix("one of ").unwrap().split(", ").collect();
        names.sort_unstable();
        known.sort_unstable();
        assert_eq!(known, names, "{path}");
    }
    server.stop().await;
}

#[tokio::test]
async fn what_is_not_there_is_a_problem_too() {
    let server = Server::start().await;
    server.get("/").await.problem(404, "route-not-found");
    server.get("/api/v1/nothing").await.problem(404, "route-not-found");
    let reply = server.delete("/api/v1/runs").await;
    let mut allowed: Vec<_> = reply.header("allow").split(',').collect();
    allowed.sort_unstable();
    assert_eq!(allowed, ["GET", "HEAD", "POST"]);
    reply.problem(405, "method-not-allowed");
    server.stop().await;
}

#[tokio::test]
async fn bodies_must_be_json_of_the_right_shape() {
    let server = Server::start().await;
    let post = |kind: &'static str, body: &'static str| {
        let request = server.request("POST", "/api/v1/playbooks").header("content-type", kind);
        send(request.body(body))
    };
    post("text/plain", "{}").await.problem(415, "unsupported-media-type");
    post("application/json", "{").await.problem(400, "bad-body");
    let problem = post("application/json", "{\"doc\": 1}").await.problem(400, "bad-body");
    assert!(problem["detail"].as_str().unwrap().contains("unknown field `doc`"), "{problem}");
    server.stop().await;
}

/// The answer of the server to a request of which only the head is sent.
async fn answer_to(server: &Server, head: &str) -> String {
    let mut stream = TcpStream::connect(&server.address).await.unwrap();
    let head = head.replace('\n', "\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    tokio::time::timeout(DEADLINE, read).await.unwrap().unwrap();
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn a_body_that_declares_too_much_is_refused_before_it_is_sent() {
    let server = Server::start().await;
    for (method, path, limit) in [
        ("PUT", "/api/v1/plugins", MAX_PLUGIN_BODY),
        ("POST", "/api/v1/playbooks", MAX_PLAYBOOK_BODY),
    ] {
        let head = format!(
            "{method} {path} HTTP/1.1\nhost: {}\nconnection: close\n\
             content-type: application/json\ncontent-length: {}\n\n",
            server.address,
            limit + 1,
        );
        let answer = answer_to(&server, &head).await;
        assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
        assert!(answer.contains("\"code\":\"body-too-large\""), "{answer}");
        assert!(answer.contains(&format!("larger than {limit} bytes")), "{answer}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_request_that_never_ends_does_not_keep_the_server_from_stopping() {
    let server = Server::start().await;
    let mut stream = TcpStream::connect(&server.address).await.unwrap();
    let head = format!(
        "PUT /api/v1/plugins HTTP/1.1\r\nhost: {}\r\ncontent-length: 10\r\n\
         expect: 100-continue\r\n\r\n",
        server.address,
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    // The server says this once it waits for the body.
    let mut answer = [0; 12];
    let read = stream.read_exact(&mut answer);
    tokio::time::timeout(DEADLINE, read).await.unwrap().unwrap();
    assert_eq!(&answer, b"HTTP/1.1 100");
    tokio::time::pause();
    let begun = tokio::time::Instant::now();
    server.stop().await;
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    let mut rest = String::new();
    stream.read_to_string(&mut rest).await.unwrap();
    assert!(rest.contains("HTTP/1.1 503") && rest.contains("\"code\":\"not-ready\""), "{rest}");
}

#[tokio::test]
async fn the_server_answers_only_under_its_own_names() {
    let server = Server::start().await;
    let ask = |host: &'static str| send(server.request("GET", "/healthz").header("host", host));
    ask("localhost:8900").await.ok(200);
    ask("evil.example").await.problem(403, "host-refused");
    server.stop().await;
}

#[tokio::test]
async fn health_is_of_the_process_and_readiness_of_the_store() {
    let server = Server::start().await;
    assert_eq!(server.get("/healthz").await.ok(200)["status"], "ok");
    let ready = server.get("/readyz").await.ok(200);
    assert_eq!((&ready["status"], &ready["store"]), (&json!("ready"), &json!("memory")));
    assert_eq!(ready["troubled"]["runs"], 0);
    server.store.faults().fail_calls_but_pings(FaultMoment::Before);
    let ready = server.get("/readyz").await.ok(200);
    assert_eq!((&ready["status"], ready.get("troubled")), (&json!("ready"), None));
    server.store.faults().fail_calls(FaultMoment::Before);
    let reply = server.get("/readyz").await;
    assert_eq!(reply.header("retry-after"), "1");
    reply.problem(503, "not-ready");
    server.get("/api/v1/runs").await.problem(503, "store-unavailable");
    server.get("/healthz").await.ok(200);
    server.stop().await;
}

#[tokio::test]
async fn metrics_count_requests_by_route_and_runs_by_status() {
    let server = Server::start().await;
    server.apply_cluster(crate::api::server::CLUSTER).await.ok(201);
    server.apply(&crate::api::server::playbook("restart", "1.0.0", "")).await.ok(201);
    let body = json!({ "playbook": "restart", "cluster": "eu" });
    server.post("/api/v1/runs", body).await.ok(201);
    server.get("/api/v1/clusters/other").await.problem(404, "cluster-not-found");
    server.get("/made/up").await.problem(404, "route-not-found");
    let open = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    let response = server.request("GET", "/metrics").header("accept", open).send().await.unwrap();
    assert_eq!(response.headers()["content-type"], open);
    assert!(response.text().await.unwrap().ends_with("# EOF\n"));
    let response = server.request("GET", "/metrics").send().await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    let text = response.text().await.unwrap();
    for name in [
        "process_cpu_seconds_total",
        "process_start_time_seconds",
        "process_resident_memory_bytes",
        "process_open_fds",
        "process_max_fds",
    ] {
        let is_of = |line: &str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(' '));
        assert!(text.lines().any(is_of), "{name}\n{text}");
    }
    for line in [
        "replibook_http_requests_total{method=\"POST\",route=\"/api/v1/runs\",status=\"201\"} 1",
        "replibook_http_requests_total{method=\"GET\",route=\"/api/v1/clusters/{name}\",status=\"404\"} 1",
        "replibook_http_requests_total{method=\"GET\",route=\"none\",status=\"404\"} 1",
        "replibook_runs_started_total 1",
        "replibook_unfinished_runs{status=\"PENDING\"} 1",
        "replibook_unfinished_runs{status=\"RUNNING\"} 0",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
    server.stop().await;
}
