//! The agents of a cluster, as the API shows them at the moment.

use replibook::agent::{Script, When};
use replibook::run::PlatformNode;
use serde_json::{Value, json};

use crate::api::server::Server;

const URL: &str = "http://platform";

const CLUSTER: &str = "
apiVersion: replicante.io/v1
kind: Cluster
metadata: { name: eu }
spec:
  agents:
    - { id: node-1, address: 'http://127.0.0.1:1', attributes: { zone: a } }
  discovery: { url: 'http://platform', cluster: p, interval: 30s }
";

fn ids(page: &Value) -> Vec<&str> {
    page["items"].as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_cluster_that_nobody_follows_has_its_platform_asked_once_for_all_pages() {
    let server = Server::start().await;
    server.apply_cluster(CLUSTER).await.ok(201);
    let node = |id: &str| PlatformNode {
        node_id: Some(id.to_owned()),
        agent_address: Some(format!("http://{id}")),
        node_class: Some("m5".to_owned()),
        node_group: None,
    };
    let nodes = vec![node("node-1"), node("node-2"), node("node-3"), PlatformNode::default()];
    server.platforms.set_nodes(URL, "p", nodes);
    let first = server.get("/api/v1/clusters/eu/agents?limit=2").await.ok(200);
    assert_eq!((ids(&first), &first["next"]), (vec!["node-1", "node-2"], &json!("node-2")));
    let second = server.get("/api/v1/clusters/eu/agents?limit=2&after=node-2").await.ok(200);
    assert_eq!((ids(&second), &second["next"]), (vec!["node-3"], &Value::Null));
    assert_eq!(server.platforms.asked(URL).len(), 1);

    let (declared, found) = (&first["items"][0], &first["items"][1]);
    assert_eq!(
        (&declared["source"], &declared["address"]),
        (&json!("declared"), &json!("http://127.0.0.1:1"))
    );
    assert_eq!(declared["attributes"], json!({"zone": "a", "node_class": "m5"}));
    assert_eq!(
        (&found["source"], &found["attributes"]),
        (&json!("discovered"), &json!({"node_class": "m5"}))
    );
    assert!(found["since"].is_string());
    assert_eq!((&first["followed"], &first["mass_absence"]), (&json!(false), &Value::Null));
    let platform = &first["platform"];
    assert_eq!((&platform["url"], &platform["cluster"]), (&json!(URL), &json!("p")));
    assert_eq!(platform["interval"], 30_000);
    let last = &platform["last_answer"];
    assert_eq!(last["outcome"], "ok");
    assert_eq!((&last["nodes"], &last["left_out"]), (&json!(4), &json!(1)));
    assert!(last["at"].is_string());
    server.stop().await;
}

#[tokio::test]
async fn a_platform_that_does_not_answer_is_part_of_the_answer() {
    let server = Server::start().await;
    server.apply_cluster(CLUSTER).await.ok(201);
    let page = server.get("/api/v1/clusters/eu/agents").await.ok(200);
    assert_eq!(ids(&page), ["node-1"]);
    let last = &page["platform"]["last_answer"];
    assert_eq!(last["outcome"], "failed");
    assert!(last["message"].as_str().unwrap().contains("connection refused"), "{last}");
    // After the cluster is applied again, nothing that was known of it before is shown.
    server.platforms.set(URL, "other", &[]);
    let changed = CLUSTER.replace("node-1", "node-9");
    server.apply_cluster(&changed).await.ok(200);
    let page = server.get("/api/v1/clusters/eu/agents").await.ok(200);
    assert_eq!(ids(&page), ["node-9"]);
    assert_eq!(page["platform"]["last_answer"]["outcome"], "without-cluster");
    server.delete("/api/v1/clusters/eu").await.ok(204);
    server.get("/api/v1/clusters/eu/agents").await.problem(404, "cluster-not-found");
    server.get("/api/v1/clusters/eu/agents?stat=x").await.problem(400, "bad-parameter");
    server.stop().await;
}

#[tokio::test]
async fn agents_are_asked_how_they_are_where_that_is_wanted() {
    let server = Server::start().await;
    let agents: String = ["a", "b", "c", "d"]
        .iter()
        .map(|id| format!("    - {{ id: {id}, address: 'http://{id}' }}\n"))
        .collect();
    let cluster = format!(
        "apiVersion: replicante.io/v1\nkind: Cluster\nmetadata: {{ name: eu }}\nspec:\n  agents:\n{agents}"
    );
    server.apply_cluster(&cluster).await.ok(201);
    for id in ["a", "b", "c"] {
        server.agents.add(
            &format!("http://{id}"),
            Script::Succeed { when: When::Looks(1), payload: json!({}) },
        );
        server.agents.set_node_id(&format!("http://{id}"), id);
    }
    server.agents.set_status("http://b", "UNAVAILABLE");
    server.agents.set_node_id("http://c", "other");
    let plain = server.get("/api/v1/clusters/eu/agents").await.ok(200);
    assert!(plain["items"][0].get("now").is_none(), "{plain}");
    assert!(server.agents.asked("http://a").is_empty());

    let asked = server.get("/api/v1/clusters/eu/agents?ask=true&limit=1000").await.ok(200);
    assert_eq!(ids(&asked), ["a", "b", "c", "d"]);
    let now = |at: usize| &asked["items"][at]["now"];
    let status = |at: usize| now(at)["status"].as_str();
    assert_eq!([0, 1, 2, 3].map(status), [Some("HEALTHY"), Some("UNAVAILABLE"), None, None]);
    assert!(now(0)["asked_at"].is_string() && now(0)["age"].is_u64(), "{asked}");
    let other = now(2)["error"].as_str().unwrap();
    assert_eq!(other, "the node there says that it is \"other\"");
    assert!(now(3)["error"].as_str().unwrap().contains("http://d"), "{asked}");
    server.stop().await;
}
