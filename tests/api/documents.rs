//! Playbooks and clusters: applied, shown, and refused.

use replibook::store::memory::Damaged;
use serde_json::{Value, json};

use crate::api::server::{CLUSTER, PLUGINS, Server, playbook};

#[tokio::test]
async fn a_playbook_is_applied_once_and_its_plugins_are_pinned() {
    let server = Server::start().await;
    let document = playbook("restart", "1.0.0", "summary: Restart every node.");
    let reply = server.apply(&document).await;
    assert_eq!(reply.header("location"), "/api/v1/playbooks/restart?version=1.0.0");
    let created = reply.ok(201);
    assert_eq!(created["change"], "created");
    assert_eq!(created["stages"], json!(["restart"]));
    assert_eq!(created["document"], Value::Null);
    let rolling = PLUGINS.builtins().iter().find(|one| one.info.name == "rolling").unwrap();
    assert_eq!(created["plugins"]["rolling"]["digest"], rolling.info.digest.as_str());
    assert_eq!(created["plugins"]["rolling"]["source"], "builtin:rolling");

    let again = server.apply(&format!("# a comment\n{document}")).await.ok(200);
    assert_eq!(again["change"], "unchanged");
    assert_eq!(again["applied_at"], created["applied_at"]);

    let other = playbook("restart", "1.0.0", "summary: Something else.");
    let problem = server.apply(&other).await.problem(409, "conflict");
    assert!(problem["detail"].as_str().unwrap().contains("1.0.0"), "{problem}");

    let read = server.get("/api/v1/playbooks/restart").await.ok(200);
    assert_eq!(read["document"], document);
    assert_eq!(read["change"], Value::Null);
    server.stop().await;
}

#[tokio::test]
async fn playbooks_are_listed_in_pages_and_found_by_version() {
    let server = Server::start().await;
    for (name, version) in [("a", "1.9.0"), ("a", "1.10.0"), ("team/b", "0.1.0")] {
        server.apply(&playbook(name, version, "")).await.ok(201);
    }
    let first = server.get("/api/v1/playbooks?limit=2").await.ok(200);
    let keys = |page: &Value| -> Vec<String> {
        let key = |one: &Value| format!("{}@{}", one["name"], one["version"]).replace('"', "");
        page["items"].as_array().unwrap().iter().map(key).collect()
    };
    assert_eq!(keys(&first), ["a@1.9.0", "a@1.10.0"]);
    let next = first["next"].as_str().unwrap();
    let second = server.get(&format!("/api/v1/playbooks?limit=2&after={next}")).await.ok(200);
    assert_eq!(keys(&second), ["team/b@0.1.0"]);
    assert_eq!(second["next"], Value::Null);

    let highest = server.get("/api/v1/playbooks/a").await.ok(200);
    assert_eq!(highest["version"], "1.10.0");
    let one = server.get("/api/v1/playbooks/a?version=1.9.0").await.ok(200);
    assert_eq!(one["version"], "1.9.0");
    assert_eq!(server.get("/api/v1/playbooks/team%2Fb").await.ok(200)["name"], "team/b");

    server.delete("/api/v1/playbooks/a").await.problem(400, "bad-parameter");
    server.delete("/api/v1/playbooks/a?version=1.10.0").await.ok(204);
    server.delete("/api/v1/playbooks/a?version=1.10.0").await.problem(404, "playbook-not-found");
    assert_eq!(server.get("/api/v1/playbooks/a").await.ok(200)["version"], "1.9.0");
    server.get("/api/v1/playbooks/c").await.problem(404, "playbook-not-found");
    server.get("/api/v1/playbooks/a?version=1").await.problem(400, "bad-parameter");
    server.stop().await;
}

#[tokio::test]
async fn all_problems_of_a_document_are_reported_with_their_places() {
    let server = Server::start().await;
    let spec = "sumary: x\n  approval: perhaps";
    let problem = server.apply(&playbook("restart", "1.0.0", spec)).await;
    let problem = problem.problem(422, "invalid-document");
    let problems = problem["problems"].as_array().unwrap();
    let place = |one: &Value| (one["path"].clone(), one["line"].clone());
    assert_eq!(
        problems.iter().map(place).collect::<Vec<_>>(),
        [(json!("/spec/sumary"), json!(5)), (json!("/spec/approval"), json!(6)),]
    );
    assert_eq!(problem["detail"], "the document has 2 problems");
    server.apply("").await.problem(422, "invalid-document");
    server.stop().await;
}

#[tokio::test]
async fn a_dry_run_keeps_nothing_and_says_what_the_store_would() {
    let server = Server::start().await;
    let path = "/api/v1/playbooks?dry_run=true";
    let dry = |document: String| server.post(path, json!({ "document": document }));
    let first = playbook("restart", "1.0.0", "");
    assert_eq!(dry(first.clone()).await.ok(200)["change"], "valid");
    server.get("/api/v1/playbooks/restart").await.problem(404, "playbook-not-found");
    server.apply(&first).await.ok(201);
    assert_eq!(dry(first).await.ok(200)["change"], "valid");
    let other = playbook("restart", "1.0.0", "summary: Something else.");
    dry(other).await.problem(409, "conflict");
    server
        .post("/api/v1/playbooks?dry_run=yes", json!({ "document": "" }))
        .await
        .problem(400, "bad-parameter");
    server.stop().await;
}

#[tokio::test]
async fn the_last_cluster_that_was_applied_counts() {
    let server = Server::start().await;
    let created = server.apply_cluster(CLUSTER).await.ok(201);
    assert_eq!((&created["change"], &created["agents"]), (&json!("created"), &json!(2)));
    assert_eq!(server.apply_cluster(CLUSTER).await.ok(200)["change"], "unchanged");
    let larger = format!("{CLUSTER}    - {{ id: node-3, address: 'http://127.0.0.1:3' }}\n");
    let updated = server.apply_cluster(&larger).await.ok(200);
    assert_eq!((&updated["change"], &updated["agents"]), (&json!("updated"), &json!(3)));

    assert_eq!(server.get("/api/v1/clusters/eu").await.ok(200)["document"], larger);
    let list = server.get("/api/v1/clusters").await.ok(200);
    assert_eq!(list["items"].as_array().unwrap().len(), 1);
    assert_eq!(list["items"][0]["document"], Value::Null);

    let wrong = CLUSTER.replace("agents:", "agent:");
    server.apply_cluster(&wrong).await.problem(422, "invalid-document");
    server.delete("/api/v1/clusters/eu").await.ok(204);
    server.delete("/api/v1/clusters/eu").await.problem(404, "cluster-not-found");
    server.get("/api/v1/clusters/eu").await.problem(404, "cluster-not-found");
    server.stop().await;
}

/// Applies these documents, with no plugins uploaded.
async fn apply_all(server: &Server, query: &str, documents: &[&str]) -> crate::api::server::Reply {
    let documents: Vec<_> = documents.iter().map(|text| json!({ "document": text })).collect();
    server.post(&format!("/api/v1/apply{query}"), json!({ "documents": documents })).await
}

#[tokio::test]
async fn several_documents_are_applied_together_or_not_at_all() {
    let server = Server::start().await;
    let known = playbook("known", "1.0.0", "");
    server.apply(&known).await.ok(201);
    let changed = playbook("known", "1.0.0", "summary: Something else.");
    let other = playbook("other", "1.0.0", "");

    // The second document is in conflict; the first and the third are fine.
    let problem = apply_all(&server, "", &[CLUSTER, &changed, &other]).await;
    let problem = problem.problem(409, "conflict");
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("playbook known version 1.0.0"), "{detail}");
    assert!(detail.ends_with("; nothing was applied"), "{detail}");
    // Two of the documents are not valid: all problems are reported, each with its document.
    let wrong = CLUSTER.replace("agents:", "agent:");
    let sandwich = "apiVersion: replicante.io/v1\nkind: Sandwich\n";
    let problem = apply_all(&server, "", &[&other, &wrong, sandwich]).await;
    let problem = problem.problem(422, "invalid-document");
    let of = |index: usize| &problem["documents"][index];
    assert_eq!((&of(0)["document"], &of(1)["document"]), (&json!(1), &json!(2)), "{problem}");
    assert!(of(0)["problems"][0]["line"].is_number(), "{problem}");
    assert!(problem["detail"].as_str().unwrap().ends_with("; nothing was applied"), "{problem}");
    // The same version twice, with different contents.
    let again = other.replace("name: restart", "name: again");
    let problem = apply_all(&server, "", &[&other, &again]).await.problem(409, "conflict");
    assert!(problem["detail"].as_str().unwrap().contains("twice"), "{problem}");
    for gone in ["/api/v1/clusters/eu", "/api/v1/playbooks/other"] {
        assert_eq!(server.get(gone).await.status, 404, "{gone}");
    }

    let dry = apply_all(&server, "?dry_run=true", &[CLUSTER, &other]).await.ok(200);
    assert_eq!(
        (&dry["items"][0]["change"], &dry["items"][1]["kind"]),
        (&json!("valid"), &json!("playbook"))
    );
    apply_all(&server, "?dry_run=true", &[CLUSTER, &changed]).await.problem(409, "conflict");
    server.get("/api/v1/clusters/eu").await.problem(404, "cluster-not-found");

    let applied = apply_all(&server, "", &[CLUSTER, &known, &other]).await.ok(200);
    let items = applied["items"].as_array().unwrap();
    let told = |item: &Value| format!("{} {} {}", item["kind"], item["name"], item["change"]);
    assert_eq!(
        items.iter().map(|item| told(item).replace('"', "")).collect::<Vec<_>>(),
        ["cluster eu created", "playbook known unchanged", "playbook other created"]
    );
    server.get("/api/v1/clusters/eu").await.ok(200);
    let many = vec![CLUSTER; 101];
    apply_all(&server, "", &many).await.problem(400, "bad-body");
    server.stop().await;
}

#[tokio::test]
async fn a_damaged_playbook_is_mended_by_applying_it_and_fails_nothing_beside_it() {
    let server = Server::start().await;
    let known = playbook("known", "1.0.0", "");
    server.apply(&known).await.ok(201);
    let place = Damaged::Playbook("known".to_owned(), "1.0.0".parse().unwrap());
    server.store.damage(place.clone());
    assert!(server.get("/api/v1/playbooks/known").await.status >= 500);
    apply_all(&server, "?dry_run=true", &[&known, CLUSTER]).await.ok(200);
    let applied = apply_all(&server, "", &[&known, CLUSTER]).await.ok(200);
    let changes = [&applied["items"][0]["change"], &applied["items"][1]["change"]];
    assert_eq!(changes, [&json!("updated"), &json!("created")]);
    server.get("/api/v1/playbooks/known").await.ok(200);
    server.get("/api/v1/clusters/eu").await.ok(200);

    server.store.damage(place);
    assert_eq!(server.apply(&known).await.ok(200)["change"], "updated");
    assert_eq!(server.apply(&known).await.ok(200)["change"], "unchanged");
    server.stop().await;
}

#[tokio::test]
async fn a_cluster_is_not_removed_while_a_run_of_it_has_not_ended() {
    let server = Server::start().await;
    server.apply_cluster(CLUSTER).await.ok(201);
    server.apply(&playbook("restart", "1.0.0", "approval: required")).await.ok(201);
    let start = json!({"playbook": "restart", "cluster": "eu"});
    let run = server.post("/api/v1/runs", start).await.ok(201);
    let problem = server.delete("/api/v1/clusters/eu").await.problem(409, "cluster-in-use");
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains(run["id"].as_str().unwrap()), "{detail}");
    server.get("/api/v1/clusters/eu").await.ok(200);
    server.stop().await;
}
