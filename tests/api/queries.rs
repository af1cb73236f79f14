//! Queries: lists that are searched, starts that are only tried, and `replictl` with both.

use std::process::Stdio;

use replibook::agent::{Script, When};
use replibook::run::RunStatus;
use serde_json::{Value, json};

use crate::api::engine::{Engine, id_of};
use crate::api::server::{CLUSTER, DEADLINE, Reply, Server, playbook, send};

async fn select(server: &Server, path: &str, query: &[(&str, &str)]) -> Reply {
    send(server.request("GET", path).query(query)).await
}

fn ids(page: &Value) -> Vec<&str> {
    page["items"].as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap()).collect()
}

/// A server with three runs, one of which is paused: all, in the order of lists, and the paused one.
async fn with_runs() -> (Server, Vec<String>, String) {
    let server = Server::start().await;
    server.apply_cluster(CLUSTER).await.ok(201);
    server.apply(&playbook("restart", "1.0.0", "concurrency: allow")).await.ok(201);
    let (mut runs, mut paused) = (Vec::new(), String::new());
    for number in 0..3 {
        let by = format!("p{number}");
        let start = json!({"playbook": "restart", "cluster": "eu", "started_by": by});
        let run = server.post("/api/v1/runs", start).await.ok(201);
        let id = run["id"].as_str().unwrap().to_owned();
        if number == 1 {
            Engine::hold(&server, id_of(&run)).await.set(RunStatus::Paused, |_| {}).await;
            paused.clone_from(&id);
        }
        runs.push(id);
    }
    // Those of the same millisecond are in no order.
    runs.sort();
    runs.reverse();
    (server, runs, paused)
}

#[tokio::test]
async fn runs_are_selected_by_an_expression() {
    let (server, runs, paused) = with_runs().await;
    let all: Vec<&str> = runs.iter().map(String::as_str).collect();
    let others: Vec<&str> = all.iter().copied().filter(|id| *id != paused).collect();
    let (paused, none) = (vec![paused.as_str()], vec![]);
    for (selector, expected) in [
        (r#"run.status == "PAUSED""#, &paused),
        (r#"run.status != "PAUSED" && run.cluster == "eu""#, &others),
        (r#"run.started_by in ["p0", "p2"]"#, &others),
        ("run.finish_ts == null", &all),
        ("has(run.params.grace)", &none),
        ("run.params.grace > 1", &none),
        (r#"run.created_at > "2020-01-01""#, &all),
        (r#"run.stages.exists(stage, stage == "restart")"#, &all),
    ] {
        let page = select(&server, "/api/v1/runs", &[("selector", selector)]).await.ok(200);
        assert_eq!(ids(&page), *expected, "{selector}");
        assert_eq!(page["next"], Value::Null);
    }
    // It goes with the other filters, and pages lead on.
    let query = [("selector", r#"run.status != "PAUSED""#), ("cluster", "eu"), ("limit", "1")];
    let page = select(&server, "/api/v1/runs", &query).await.ok(200);
    assert_eq!((ids(&page), &page["next"]), (vec![others[0]], &json!(others[0])));
    let further = [query[0], query[1], query[2], ("after", others[0])];
    let page = select(&server, "/api/v1/runs", &further).await.ok(200);
    assert_eq!(ids(&page), [others[1]]);
    server.stop().await;
}

#[tokio::test]
async fn a_wrong_expression_is_said_with_its_place() {
    let (server, ..) = with_runs().await;
    for (selector, message) in [
        ("run.sttus == 1", r#""run" has no "sttus": did you mean "status"? (at its character 5)"#),
        ("agent.id == 1", r#"unknown name "agent", expected one of run (at its character 1)"#),
        ("run.status ==", "Syntax error"),
        ("run.failures", "found 0, expected true or false (of "),
        (r#"run.failures > "a""#, "failed to compute"),
        (r#"run.engine == null"#, r#""run" has no "engine""#),
    ] {
        let reply = select(&server, "/api/v1/runs", &[("selector", selector)]).await;
        let problem = reply.problem(400, "bad-parameter");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.starts_with("query parameter `selector`: "), "{detail}");
        assert!(detail.contains(message), "{selector}: {detail}");
    }
    server.stop().await;
}

const AGENTS: &str = "
apiVersion: replicante.io/v1
kind: Cluster
metadata: { name: us }
spec:
  agents:
    - { id: a, address: 'http://a', attributes: { zone: x } }
    - { id: b, address: 'http://b', attributes: { zone: y } }
    - { id: c, address: 'http://c' }
    - { id: d, address: 'http://d' }
";

/// A server with four agents: `c` reports the zone that it is in, and nothing answers at the address of `d`.
async fn with_agents() -> Server {
    let server = Server::start().await;
    server.apply_cluster(AGENTS).await.ok(201);
    for id in ["a", "b", "c"] {
        let address = format!("http://{id}");
        server.agents.add(&address, Script::Succeed { when: When::Looks(1), payload: json!({}) });
        server.agents.set_node_id(&address, id);
    }
    let zone = json!({"zone": "x"});
    server.agents.set_attributes("http://c", zone.as_object().unwrap().clone());
    server.agents.set_status("http://b", "UNAVAILABLE");
    server
}

#[tokio::test]
async fn agents_are_selected_by_what_is_known_and_by_what_they_say() {
    let server = with_agents().await;
    let path = "/api/v1/clusters/us/agents";
    let in_zone = r#"agent.attributes.zone == "x""#;
    let page = select(&server, path, &[("selector", in_zone)]).await.ok(200);
    assert_eq!((ids(&page), &page["undecided"]), (vec!["a"], &json!(0)));
    assert!(server.agents.asked("http://a").is_empty());

    let asked = [("selector", in_zone), ("ask", "true")];
    let page = select(&server, path, &asked).await.ok(200);
    assert_eq!((ids(&page), &page["undecided"]), (vec!["a", "c"], &json!(1)), "{page}");
    assert_eq!(page["items"][0]["now"]["status"], "HEALTHY");
    assert!(server.agents.asked("http://b").is_empty(), "it is known without it");

    for (selector, expected, undecided) in [
        (r#"agent.node.node_status == "UNAVAILABLE""#, &["b"][..], 1),
        (r#"agent.now.status == "HEALTHY" && agent.id != "d""#, &["a", "c"], 0),
        (r#"cluster.name == "us" && agent.source == "declared""#, &["a", "b", "c", "d"], 0),
        (r#"agent.id == "d" || agent.attributes.zone == "y""#, &["b", "d"], 0),
    ] {
        let query = [("selector", selector), ("ask", "true")];
        let page = select(&server, path, &query).await.ok(200);
        assert_eq!(ids(&page), expected, "{selector}");
        assert_eq!(page["undecided"], undecided, "{selector}");
    }
    // Page by page, without asking the others.
    let query = [("selector", r#"agent.id >= "b""#), ("limit", "1")];
    let page = select(&server, path, &query).await.ok(200);
    assert_eq!((ids(&page), &page["next"]), (vec!["b"], &json!("b")));
    let reply = select(&server, path, &[("selector", "agent.zone == 1")]).await;
    let problem = reply.problem(400, "bad-parameter");
    assert!(problem["detail"].as_str().unwrap().contains(r#""agent" has no "zone""#), "{problem}");
    server.stop().await;
}

const STAGES: &str = "
apiVersion: replicante.io/v1
kind: Playbook
metadata: { name: zones, version: 1.0.0 }
spec:
  approval: required
  params:
    type: object
    properties: { zone: { type: string, default: x } }
    additionalProperties: false
  stages:
    - name: first
      select: agent.attributes.zone == params.zone
      strategy: { use: rolling, with: { batch: 2 } }
      steps: [{ name: ok, action: agent.replicante.io/test.success }]
    - name: rest
      strategy: { use: rolling }
      steps: [{ name: ok, action: agent.replicante.io/test.success }]
";

#[tokio::test]
async fn a_start_is_tried_without_starting_anything() {
    let server = with_agents().await;
    server.apply(STAGES).await.ok(201);
    let start = json!({"playbook": "zones", "cluster": "us"});
    let plan = server.post("/api/v1/runs/plan", start.clone()).await.ok(200);
    assert_eq!(
        (&plan["playbook"], &plan["version"], &plan["cluster"]),
        (&json!("zones"), &json!("1.0.0"), &json!("us"))
    );
    assert_eq!((&plan["status"], &plan["agents"]), (&json!("PENDING_APPROVE"), &json!(4)));
    assert_eq!((&plan["params"], &plan["members_problem"]), (&json!({"zone": "x"}), &Value::Null));
    let first = &plan["stages"][0];
    assert_eq!((&first["selected"], &first["first"]), (&json!(2), &json!(["a", "c"])));
    assert_eq!((&first["undecided"], &first["error"]), (&json!(1), &Value::Null));
    assert_eq!(
        (&first["strategy"], &first["arguments"]),
        (&json!("rolling"), &json!({"batch": 2}))
    );
    let rest = &plan["stages"][1];
    assert_eq!((&rest["selected"], &rest["undecided"]), (&json!(4), &json!(0)));
    assert_eq!(rest["select"], Value::Null);
    let plugins = plan["plugins"].as_object().unwrap();
    assert!(plugins.keys().eq(["action", "rolling"]), "{plugins:?}");
    let waits = plan["waits"].as_array().unwrap();
    assert!(waits.len() == 2 && waits[1].as_str().unwrap().contains("an engine"), "{waits:?}");
    assert_eq!(server.get("/api/v1/runs").await.ok(200)["items"], json!([]));

    // It is refused as a start would be.
    let with = |key: &str, value: Value| {
        let mut body = start.clone();
        body[key] = value;
        server.post("/api/v1/runs/plan", body)
    };
    with("cluster", json!("none")).await.problem(404, "cluster-not-found");
    with("playbook", json!("none")).await.problem(404, "playbook-not-found");
    with("params", json!({"zone": 1})).await.problem(422, "invalid-params");
    with("params", json!({"zone": "nowhere"})).await.ok(200);
    server.stop().await;
}

#[tokio::test]
async fn a_start_that_would_wait_or_be_refused_says_so() {
    let server = Server::start().await;
    server.apply_cluster(CLUSTER).await.ok(201);
    server.apply(&playbook("restart", "1.0.0", "")).await.ok(201);
    server.apply(&playbook("now", "1.0.0", "concurrency: reject")).await.ok(201);
    let of = |playbook: &str| json!({"playbook": playbook, "cluster": "eu"});
    server.post("/api/v1/runs/plan", of("now")).await.ok(200);
    let run = server.post("/api/v1/runs", of("restart")).await.ok(201);
    let plan = server.post("/api/v1/runs/plan", of("restart")).await.ok(200);
    let expected = format!("waits for run {} to end", run["id"].as_str().unwrap());
    assert_eq!(plan["waits"][0], expected, "{plan}");
    let problem = server.post("/api/v1/runs/plan", of("now")).await.problem(409, "cluster-busy");
    assert!(problem["detail"].as_str().unwrap().contains(run["id"].as_str().unwrap()), "{problem}");
    server.stop().await;
}

#[tokio::test]
async fn a_start_that_is_tried_shows_the_guards_of_its_cluster_and_waits_for_its_run() {
    let server = Server::start().await;
    server.apply_cluster(CLUSTER).await.ok(201);
    server.apply(&playbook("restart", "1.0.0", "concurrency: allow")).await.ok(201);
    let start = json!({"playbook": "restart", "cluster": "eu"});
    let plan = server.post("/api/v1/runs/plan", start.clone()).await.ok(200);
    assert_eq!(plan["guards"], Value::Null);
    let run = server.post("/api/v1/runs", start.clone()).await.ok(201);
    Engine::hold(&server, id_of(&run)).await.set(RunStatus::Running, |_| {}).await;
    let plan = server.post("/api/v1/runs/plan", start.clone()).await.ok(200);
    assert!(plan["waits"][0].as_str().unwrap().contains("an engine"), "runs go side by side");

    let guarded = "  guards: [{ name: few, max_out: 1 }]\n  freeze:\n    - { from: '2020-01-01T00:00:00Z', \
                   to: '2900-01-01T00:00:00Z', reason: the fair }\n";
    for address in ["http://127.0.0.1:1", "http://127.0.0.1:2"] {
        server.agents.add(address, Script::Succeed { when: When::Looks(1), payload: json!({}) });
    }
    server.agents.set_status("http://127.0.0.1:2", "UNAVAILABLE");
    server.apply_cluster(&format!("{CLUSTER}{guarded}")).await.ok(200);
    let plan = server.post("/api/v1/runs/plan", start.clone()).await.ok(200);
    let guards = &plan["guards"];
    let by = json!({"kind": "agents", "guard": "few", "group": null, "of": 2, "out": 1, "allowed": 1,
                    "because": ["node-2"]});
    assert_eq!(guards["held"], json!({"agents": 1, "some": [{"agent": "node-1", "by": by}]}));
    server.agents.set_status("http://127.0.0.1:2", "HEALTHY");
    let well = server.post("/api/v1/runs/plan", start).await.ok(200);
    assert_eq!(well["guards"]["held"], json!({"agents": 0, "some": []}));
    assert_eq!(guards["guards"]["guards"][0], json!({"name": "few", "max_out": {"count": 1}}));
    assert_eq!((&guards["open"], &guards["freeze"]), (&json!(false), &json!("the fair")));
    assert_eq!(guards["until"], "2900-01-01T00:00:00.000Z");
    let waits: Vec<_> = plan["waits"].as_array().unwrap().iter().flat_map(Value::as_str).collect();
    let other = format!("waits for run {} to end", run["id"].as_str().unwrap());
    assert!(waits.contains(&other.as_str()), "{waits:?}");
    let freeze =
        "waits for the end of a freeze of the cluster, until 2900-01-01T00:00:00.000Z: the fair";
    assert!(waits.contains(&freeze), "{waits:?}");

    let args = ["run", "start", "restart", "--cluster", "eu", "--dry-run"];
    let (code, out, err) = replictl(&server, &args).await;
    assert_eq!(code, 0, "{err}");
    for part in [
        "Guard:      few: at most 1 of all out at once\n",
        "Freeze:     no agent starts from 2020-01-01T00:00:00Z to 2900-01-01T00:00:00Z: the fair\n",
        "Held:       nobody now\n",
        "Starts:     not before 2900-01-01T00:00:00Z: the fair\n",
        &format!("Waits:      for run {} to end\n", run["id"].as_str().unwrap()),
    ] {
        assert!(out.contains(part), "{part:?} in\n{out}");
    }
    server.stop().await;
}

async fn replictl(server: &Server, args: &[&str]) -> (i32, String, String) {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_replictl"));
    command.args(args).env("REPLIBOOK_SERVER", server.url("")).stdin(Stdio::null());
    let output = tokio::time::timeout(DEADLINE, command.kill_on_drop(true).output());
    let output = output.await.expect("in time").unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
}

#[tokio::test]
async fn the_command_line_selects_sorts_and_picks() {
    let (server, runs, paused) = with_runs().await;
    let other = runs.iter().find(|id| **id != paused).unwrap();
    for (args, expected) in [
        (
            &["get", "runs", "-l", r#"run.status == "PAUSED""#, "-o", "name"][..],
            format!("{paused}\n"),
        ),
        (
            &["get", "runs", "--sort-by", ".started_by", "-o", "jsonpath={.items[*].started_by}"],
            "p0 p1 p2\n".to_owned(),
        ),
        (
            &[
                "run",
                "list",
                "--sort-by",
                ".started_by",
                "--limit",
                "2",
                "-o",
                "custom-columns=BY:.started_by",
            ],
            "BY\np0\np1\n".to_owned(),
        ),
    ] {
        let (code, out, err) = replictl(&server, args).await;
        assert_eq!((code, out.as_str()), (0, expected.as_str()), "{args:?}: {err}");
    }
    let (code, out, err) = replictl(&server, &["run", "wait", &paused, "--for", "paused"]).await;
    assert_eq!((code, out.contains("PAUSED")), (0, true), "{err}");
    let args = ["run", "wait", other, "--for=DONE,FAILED", "--timeout", "1s", "-o", "name"];
    let (code, out, err) = replictl(&server, &args).await;
    assert_eq!((code, out.as_str()), (15, ""), "{err}");
    assert!(err.contains("did not become one of DONE, FAILED within 1s"), "{err}");
    server.stop().await;

    let server = with_agents().await;
    server.apply(STAGES).await.ok(201);
    let select =
        ["get", "agents", "--cluster", "us", "-l", r#"agent.attributes.zone == "x""#, "-o", "name"];
    let (code, out, err) = replictl(&server, &select).await;
    assert_eq!((code, out.as_str()), (0, "a\nc\n"), "{err}");
    assert!(err.contains("1 agent gave no answer, and might be in the list with one"), "{err}");
    let try_start = ["run", "start", "zones", "--cluster", "us", "--dry-run"];
    let (code, out, err) = replictl(&server, &try_start).await;
    assert_eq!(code, 0, "{err}");
    for part in
        ["Parameter:  zone = \"x\"\n", "  Agents:   2 of 4: a, c\n", "  Perhaps:  1 more agent"]
    {
        assert!(out.contains(part), "{part:?} in\n{out}");
    }
    assert!(err.contains("nothing was started"), "{err}");
    assert_eq!(server.get("/api/v1/runs").await.ok(200)["items"], json!([]));
    server.stop().await;
}
