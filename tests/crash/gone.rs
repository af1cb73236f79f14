//! A database that goes away under the running server.

use crate::crash::server::{Client, LIMIT, Server};
use crate::wait;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_removed_or_replaced_is_noticed_and_nothing_is_written() {
    let (dir, client) = (tempfile::tempdir().unwrap(), Client::new());
    let server = Server::start(dir.path(), None, None).await;
    let data = dir.path().join("server");
    let (database, aside) = (data.join("replibook.db"), dir.path().join("aside.db"));
    let url = format!("http://{}/readyz", server.address);
    let until = async |status: u16, says: &str| {
        wait::until(says, LIMIT, async || {
            let answer = client.0.get(&url).send().await.unwrap();
            let found = (answer.status().as_u16(), answer.text().await.unwrap());
            (found.0 == status && found.1.contains(says)).then_some(())
        })
        .await;
    };
    until(200, "ready").await;
    std::fs::rename(&database, &aside).unwrap();
    until(503, "was removed under the running server").await;
    let clusters = format!("http://{}/api/v1/clusters", server.address);
    let document =
        "{apiVersion: replicante.io/v1, kind: Cluster, metadata: {name: a}, spec: {agents: []}}";
    let body = serde_json::json!({ "document": document });
    let refused = client.0.post(clusters).json(&body).send().await.unwrap();
    assert_eq!(refused.status(), 503);
    std::fs::write(&database, "").unwrap();
    until(503, "was replaced under the running server").await;
    std::fs::rename(&aside, &database).unwrap();
    until(200, "ready").await;
    assert!(server.log().contains("the store is gone"), "{}", server.log());
    server.stop().await;
}
