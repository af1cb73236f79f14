//! A server that has the gateway within itself: `replibook serve --inventory`.

use std::process::Stdio;

use serde_json::json;
use tokio::process::Command;

use super::gateway_door::{LIMIT, Site, playbook, replictl_as};
use crate::wait;

/// A token, and an access file in which it may do everything.
async fn access(site: &Site) -> (String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_replibook"));
    let output = command.args(["token", "new", "ops"]).output().await.unwrap();
    let (token, said) = (output.stdout, String::from_utf8(output.stderr).unwrap());
    let line = said.lines().find(|line| line.contains("sha256")).unwrap();
    let text = format!(
        "apiVersion: replicante.io/v1\nkind: Access\nmetadata: {{ name: site }}\nspec:\n  tokens:\n{line}\n  rules: \
         [{{ who: ['token:ops'], may: [view, apply, operate, start, steer, exec] }}]\n"
    );
    std::fs::write(site.path("access.yaml"), text).unwrap();
    (String::from_utf8(token).unwrap().trim().to_owned(), site.text("access.yaml"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_reaches_nodes_of_its_inventory_without_a_port() {
    let site = Site::new();
    let nodes = ["node-1", "node-2", "node-3"];
    let inventory = site.write("inventory.yaml", &site.inventory(&nodes, json!({})));
    let (token, access) = access(&site).await;
    let server = site.server(&["--inventory", &inventory, "--access", &access]).await;
    let ctl = async |args: &[&str]| replictl_as(&token, server.address(), args).await;
    let discovery =
        json!({"url": "http://inventory.localhost", "cluster": "site", "interval": "1s"});
    let cluster = json!({"apiVersion": "replicante.io/v1", "kind": "Cluster", "metadata": {"name": "site"},
        "spec": {"discovery": discovery}});
    let steps = json!([{"name": "drain", "action": "demo.example.com/drain"}]);
    for (name, document) in [("playbook", playbook("drain", steps)), ("cluster", cluster)] {
        let file = site.write(name, &document);
        let (code, said) = ctl(&["apply", "-f", &file]).await;
        assert_eq!(code, 0, "{said}");
    }
    let (code, said) = ctl(&["run", "start", "drain", "--cluster", "site", "--watch"]).await;
    assert_eq!(code, 0, "{said}\n{}", site.read("server.log"));
    let done = site.read("done");
    let mut of: Vec<&str> = done.lines().filter_map(|line| line.split(' ').next()).collect();
    of.sort_unstable();
    assert_eq!(of, nodes, "{done}");
    let (code, said) = ctl(&["exec", "-c", "site", "--", "echo", "it answers"]).await;
    assert!(code == 0 && said.contains("it answers"), "{said}");

    // One that was started without an inventory does not know these nodes, and looks for them nowhere.
    server.stop().await;
    let server = site.server(&["--access", &access]).await;
    wait::until("the platform to be missed", LIMIT, async || {
        let describe = ["describe", "cluster", "site"];
        let (_, said) = replictl_as(&token, server.address(), &describe).await;
        said.contains("it was started without --inventory FILE").then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_inventory_in_a_server_wants_to_know_who_asks() {
    let site = Site::new();
    let inventory = site.write("inventory.yaml", &site.inventory(&["node-1"], json!({})));
    let refused = async |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_replibook"));
        command.args(["serve", "--listen", "127.0.0.1:0", "--data", &site.text("data")]).args(args);
        command.stdin(Stdio::null()).kill_on_drop(true);
        let output = tokio::time::timeout(LIMIT, command.output()).await.unwrap().unwrap();
        assert_ne!(output.status.code(), Some(0));
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let said = refused(&["--inventory", &inventory]).await;
    assert!(said.contains("expected --access FILE"), "{said}");
    let said = refused(&["--ssh-config", "/dev/null"]).await;
    assert!(said.contains("--inventory"), "{said}");
    std::fs::write(site.path("inventory.yaml"), "kind: Inventory\n").unwrap();
    let said = refused(&["--inventory", &inventory, "--insecure"]).await;
    assert!(said.contains("inventory.yaml") && said.contains("apiVersion"), "{said}");
}
