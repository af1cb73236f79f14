//! Commands on agents through the API: who may run them, and what they are afterwards. And what agents write.

use serde_json::{Value, json};

use crate::api::access::{ADMIN, ask, get, server, two_runs};
use crate::api::server::{Server, playbook};

async fn exec(server: &Server, who: &str, body: Value) -> crate::api::server::Reply {
    ask(server, who, "POST", "/api/v1/exec", Some(body)).await
}

fn uptime(cluster: &str) -> Value {
    json!({ "cluster": cluster, "argv": ["uptime", "-a"], "select": "agent.id != \"x\"", "started_by": "mallory" })
}

#[tokio::test]
async fn the_verb_exec_for_the_cluster_is_all_that_it_takes_and_no_other_verb_is_enough() {
    let all_others = "may: [view, start, steer, approve, apply, upload, operate]";
    let server = server(&[
        ADMIN,
        ("eu", &["may: [view, exec], clusters: [eu]"]),
        ("blind", &["may: [exec]"]),
        ("others", &[all_others]),
        ("lab", &["may: [view, exec], playbooks: ['lab/*']"]),
        ("lord", &["may: [view]", "may: [admin], playbooks: ['lab/*']"]),
    ])
    .await;
    two_runs(&server).await;
    let run = exec(&server, "eu", uptime("eu")).await.ok(201);
    assert_eq!((&run["started_by"], &run["cluster"]), (&json!("token:eu"), &json!("eu")));
    assert_eq!(run["params"], json!({ "argv": ["uptime", "-a"] }));
    assert_eq!(run["narrowed"]["select"], "agent.id != \"x\"");
    let name = run["playbook"].as_str().unwrap();
    assert!(name.starts_with("exec/"), "{name}");
    let of_admin = exec(&server, "admin", uptime("eu")).await.ok(201);
    assert_eq!(of_admin["playbook"], name, "the same command has the same name");
    // What may not be viewed does not exist.
    exec(&server, "eu", uptime("us")).await.problem(404, "cluster-not-found");
    exec(&server, "blind", uptime("eu")).await.problem(404, "cluster-not-found");
    for who in ["others", "lab", "lord"] {
        let problem = exec(&server, who, uptime("eu")).await.problem(403, "not-allowed");
        assert!(
            problem["detail"].as_str().unwrap().contains("expected the verb exec"),
            "{problem}"
        );
    }
    // Whoever may start everything can't start it a second time either.
    let again = format!("/api/v1/runs/{}/retry", run["id"].as_str().unwrap());
    let refused = ask(&server, "others", "POST", &again, Some(json!({}))).await;
    refused.problem(403, "not-allowed");
    let start = json!({ "playbook": name, "cluster": "eu" });
    let refused = ask(&server, "others", "POST", "/api/v1/runs", Some(start.clone())).await;
    refused.problem(403, "not-allowed");
    let gone = ask(&server, "admin", "POST", "/api/v1/runs", Some(start)).await;
    gone.problem(404, "playbook-not-found");
    let listed = get(&server, "eu", &format!("/api/v1/runs?playbook={name}")).await.ok(200);
    assert_eq!(listed["items"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn nobody_applies_what_looks_like_a_command() {
    let server = server(&[ADMIN]).await;
    let document = playbook("exec/0123456789ab", "1.0.0", "");
    for (path, body) in [
        ("/api/v1/playbooks", json!({ "document": document })),
        ("/api/v1/playbooks?dry_run=true", json!({ "document": document })),
        ("/api/v1/apply", json!({ "documents": [{ "document": document }] })),
    ] {
        let problem = ask(&server, "admin", "POST", path, Some(body)).await;
        let problem = problem.problem(422, "invalid-document");
        assert!(problem.to_string().contains("reserved-name"), "{problem}");
    }
}

#[tokio::test]
async fn a_command_that_makes_no_sense_says_where() {
    let server = server(&[ADMIN]).await;
    two_runs(&server).await;
    let with = |key: &str, value: Value| {
        let mut body = uptime("eu");
        body[key] = value;
        body
    };
    for (body, status, code) in [
        (with("argv", json!([])), 400, "bad-body"),
        (with("argv", json!(["a\0b"])), 400, "bad-body"),
        (with("argv", json!(vec!["a"; 1_001])), 400, "bad-body"),
        (with("argv", json!(["x".repeat(64 * 1024 + 1)])), 400, "bad-body"),
        (with("batch", json!(0)), 422, "invalid-document"),
        (with("batch", json!({})), 400, "bad-body"),
        (with("max_failed", json!("many")), 422, "invalid-document"),
        (with("timeout", json!("soon")), 422, "invalid-document"),
        (with("select", json!("agent.")), 422, "invalid-params"),
        (with("select", json!("secret(\"pager\")")), 422, "invalid-params"),
        (with("shell", json!(true)), 400, "bad-body"),
    ] {
        exec(&server, "admin", body).await.problem(status, code);
    }
    // Whatever the words are, they stay words.
    let words = json!(["sh", "-c", "echo ${{ secret(\"pager\") }}", "", "\n'\":#", "é"]);
    let run = exec(&server, "admin", with("argv", words.clone())).await.ok(201);
    assert_eq!(run["params"]["argv"], words);
    let path = format!("/api/v1/runs/{}/snapshot", run["id"].as_str().unwrap());
    let snapshot = get(&server, "admin", &path).await.ok(200);
    let step = &snapshot["playbook"]["stages"][0]["steps"][0];
    assert!(!step.to_string().contains("pager"), "{step}");
}

#[tokio::test]
async fn a_request_for_output_that_makes_no_sense_says_where() {
    let server = server(&[ADMIN]).await;
    let [run, _] = two_runs(&server).await;
    let path = format!("/api/v1/runs/{run}/agents/node-1/output");
    for bad in ["from=-1", "from=x", "stream=both", "action=x", "follow=true"] {
        get(&server, "admin", &format!("{path}?{bad}")).await.problem(400, "bad-parameter");
    }
    // Nobody drives the run, so it has no agents yet.
    get(&server, "admin", &path).await.problem(404, "agent-not-found");
}
