//! The gateway as a program: an engine whose Cluster discovers it runs a playbook over nodes that have no agent. The nodes are
//! this machine, each with a work folder of its own.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use replibook::cli::demo::Process;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::certificates::{Authority, Files, put};
use crate::wait;

/// Far longer than anything here takes, even on a busy machine.
pub(crate) const LIMIT: Duration = Duration::from_secs(180);

/// A site: a server, a gateway, and nodes in folders.
pub(crate) struct Site {
    folder: tempfile::TempDir,
}

impl Site {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    pub(crate) fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    /// Replaced at once, so that nobody sees half a file.
    pub(crate) fn write(&self, name: &str, document: &Value) -> String {
        std::fs::write(self.path("new"), document.to_string()).unwrap();
        std::fs::rename(self.path("new"), self.path(name)).unwrap();
        self.text(name)
    }

    async fn start(&self, name: &str, args: &[&str]) -> Process {
        let mut command = Command::new(env!("CARGO_BIN_EXE_replibook"));
        command.args(args).arg("--until-stdin-closes");
        Process::start(name, command, &self.path(&format!("{name}.log"))).await.unwrap()
    }

    async fn gateway(&self, inventory: &Value, more: &[&str]) -> Process {
        let file = self.write("inventory.yaml", inventory);
        let args = ["gateway", "--inventory", &file, "--listen", "127.0.0.1:0"];
        self.start("gateway", &[&args[..], more].concat()).await
    }

    pub(crate) async fn server(&self, more: &[&str]) -> Process {
        let data = self.text("data");
        let args = ["serve", "--listen", "127.0.0.1:0", "--data", &data];
        self.start("server", &[&args[..], more].concat()).await
    }

    /// An inventory of these nodes. Each writes what it does into a file of its own.
    pub(crate) fn inventory(&self, nodes: &[&str], more: Value) -> Value {
        let nodes = nodes.iter().map(|id| {
            let zone = if id.ends_with(['1', '2']) { "a" } else { "b" };
            json!({"id": id, "groups": ["local"], "work_folder": self.text(&format!("work-{id}")), "attributes": {"zone": zone}})
        });
        let done = "read args; printf '%s %s\\n' \"$REPLIBOOK_NODE_ID\" \"$args\" >> \"$0\"; echo '{\"drained\": true}'";
        let drain = json!({"command": ["sh", "-c", done, self.text("done")], "timeout": "1m"});
        let mut document = json!({
            "apiVersion": "replicante.io/v1", "kind": "Inventory", "metadata": {"name": "site"},
            "spec": {
                "groups": {
                    "all": {"allow": ["command", "script", "put-file"], "actions": {"demo.example.com/drain": drain}},
                    "local": {"carrier": "local", "attributes": {"role": "front"}},
                },
                "nodes": nodes.collect::<Vec<_>>(),
            },
        });
        for (key, value) in more.as_object().unwrap() {
            document["spec"]["groups"]["all"][key] = value.clone();
        }
        document
    }
}

pub(crate) async fn replictl(server: &str, args: &[&str]) -> (i32, String) {
    replictl_as("", server, args).await
}

/// With a token, unless it is empty.
pub(crate) async fn replictl_as(token: &str, server: &str, args: &[&str]) -> (i32, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_replictl"));
    command.args(args).env("REPLIBOOK_SERVER", server).stdin(Stdio::null()).kill_on_drop(true);
    if !token.is_empty() {
        command.env("REPLIBOOK_TOKEN", token);
    }
    let output = tokio::time::timeout(LIMIT, command.output()).await.unwrap().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(&output.stdout) + &text(&output.stderr))
}

pub(crate) async fn apply(site: &Site, server: &str, documents: &[(&str, Value)]) {
    for (name, document) in documents {
        let file = site.write(name, document);
        let (code, said) = replictl(server, &["apply", "-f", &file]).await;
        assert_eq!(code, 0, "{said}");
    }
}

pub(crate) fn cluster(gateway: &Process, more: Value) -> Value {
    let mut spec =
        json!({"discovery": {"url": gateway.address(), "cluster": "site", "interval": "1s"}});
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({"apiVersion": "replicante.io/v1", "kind": "Cluster", "metadata": {"name": "site"}, "spec": spec})
}

pub(crate) fn playbook(name: &str, steps: Value) -> Value {
    json!({"apiVersion": "replicante.io/v1", "kind": "Playbook", "metadata": {"name": name, "version": "1.0.0"},
        "spec": {"stages": [{"name": "go", "select": "'group.local' in agent.attributes && agent.attributes.role == 'front'",
            "strategy": {"use": "grouped", "with": {"by": "zone"}}, "budget": {"max_failed": 0, "on_exceeded": "abort"},
            "steps": steps}]}})
}

async fn get(url: &str) -> (u16, String) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let answer = client.get(url).send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_playbook_runs_over_nodes_that_have_no_agent() {
    let site = Site::new();
    let nodes = ["node-1", "node-2", "node-3", "node-4"];
    let gateway = site.gateway(&site.inventory(&nodes, json!({})), &[]).await;
    let server = site.server(&[]).await;
    let steps = json!([
        {"name": "drain", "action": "demo.example.com/drain", "args": {"n": "${{ agent.id }}"}},
        {"name": "put", "action": "replicante.io/put-file", "args": {
            "path": format!("{}-${{{{ agent.id }}}}", site.text("motd")), "content": "hello ${{ agent.attributes.hostname }}\n", "mode": "0640"}},
        {"name": "count", "action": "replicante.io/script", "when": "steps.drain.result.drained && steps.put.result.changed",
            "args": {"text": format!("wc -l < {}", site.text("done"))}},
        {"name": "healthy", "use": "wait-healthy"},
    ]);
    apply(
        &site,
        server.address(),
        &[("playbook", playbook("roll", steps)), ("cluster", cluster(&gateway, json!({})))],
    )
    .await;
    let (code, said) =
        replictl(server.address(), &["run", "start", "roll", "--cluster", "site", "--watch"]).await;
    assert_eq!(code, 0, "{said}\n{}", site.read("gateway.log"));
    let done = site.read("done");
    let mut of: Vec<&str> = done.lines().filter_map(|line| line.split(' ').next()).collect();
    // One zone after the other, and each node once.
    let zones: Vec<bool> = of.iter().map(|id| id.ends_with(['1', '2'])).collect();
    assert!(zones == [true, true, false, false] || zones == [false, false, true, true], "{done}");
    of.sort_unstable();
    assert_eq!(of, nodes, "{done}");
    for id in nodes {
        assert!(done.contains(&format!("{id} {{\"n\":\"{id}\"}}")), "{done}");
        assert!(site.read(&format!("motd-{id}")).starts_with("hello "), "{id}");
        assert!(site.path(&format!("work-{id}")).is_dir(), "{id}");
    }
    // The nodes know what was done there; a gateway that was just started tells it.
    let path = "/nodes/node-1/api/unstable/actions/finished";
    let (_, before) = get(&format!("{}{path}", gateway.address())).await;
    drop(gateway);
    let gateway = site.gateway(&site.inventory(&nodes, json!({})), &[]).await;
    let (_, after) = get(&format!("{}{path}", gateway.address())).await;
    let before: Value = serde_json::from_str(&before).unwrap();
    let after: Value = serde_json::from_str(&after).unwrap();
    assert_eq!((&before, before["actions"].as_array().unwrap().len()), (&after, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_node_is_told_on_its_agent() {
    let site = Site::new();
    let mut inventory =
        site.inventory(&["node-1", "node-2"], json!({"become": "nobody-of-this-name"}));
    let gateway = site.gateway(&inventory, &[]).await;
    let server = site.server(&[]).await;
    let steps = json!([{"name": "drain", "action": "demo.example.com/drain"}]);
    apply(
        &site,
        server.address(),
        &[("playbook", playbook("drain", steps)), ("cluster", cluster(&gateway, json!({})))],
    )
    .await;
    let start = ["run", "start", "drain", "--cluster", "site", "--watch"];
    let (code, said) = replictl(server.address(), &start).await;
    assert_eq!(code, 1, "{said}");
    let (_, described) =
        replictl(server.address(), &["get", "runs", "-o", "jsonpath={.items[0].id}"]).await;
    let (_, agents) =
        replictl(server.address(), &["run", "agents", described.trim(), "-o", "json"]).await;
    assert!(
        agents.contains("nobody-of-this-name") && agents.contains("sudo"),
        "{described}: {agents}"
    );
    assert_eq!(site.read("done"), "");
    // The inventory is mended while the gateway runs. Before that it is broken, which changes nothing.
    std::fs::write(site.path("inventory.yaml"), "spec: [").unwrap();
    wait::until("the log to say what is wrong", LIMIT, async || {
        site.read("gateway.log").contains("the last good inventory counts").then_some(())
    })
    .await;
    inventory["spec"]["groups"]["all"].as_object_mut().unwrap().remove("become");
    site.write("inventory.yaml", &inventory);
    wait::until("the log to say that it changed", LIMIT, async || {
        site.read("gateway.log").contains("the inventory changed").then_some(())
    })
    .await;
    let (code, said) = replictl(server.address(), &start).await;
    assert_eq!(code, 0, "{said}");
    assert_eq!(site.read("done").lines().count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_of_ansible_are_nodes_and_the_inventory_says_what_may_be_done() {
    let site = Site::new();
    let hosts =
        "[local]\nhost-1 ansible_connection=local zone=a\nhost-3 ansible_connection=local zone=b\n";
    std::fs::write(site.path("hosts.ini"), hosts).unwrap();
    let from = format!("ansible:{}", site.text("hosts.ini"));
    let inventory = site.inventory(&[], json!({"work_folder": site.text("work")}));
    let gateway = site.gateway(&inventory, &["--hosts-from", &from, "--host-var", "zone"]).await;
    let (status, found) = get(&format!("{}/discover", gateway.address())).await;
    assert!(status == 200 && found.contains("host-1") && found.contains("host-3"), "{found}");
    let server = site.server(&[]).await;
    let steps = json!([{"name": "drain", "action": "demo.example.com/drain", "args": {"zone": "${{ agent.attributes.zone }}"}}]);
    apply(
        &site,
        server.address(),
        &[("playbook", playbook("drain", steps)), ("cluster", cluster(&gateway, json!({})))],
    )
    .await;
    let (code, said) =
        replictl(server.address(), &["run", "start", "drain", "--cluster", "site", "--watch"])
            .await;
    assert_eq!(code, 0, "{said}");
    let done = site.read("done");
    assert!(
        done.contains("host-1 {\"zone\":\"a\"}") && done.contains("host-3 {\"zone\":\"b\"}"),
        "{done}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_door_is_as_strong_as_what_it_opens() {
    let site = Site::new();
    let file = site.write("inventory.yaml", &site.inventory(&["node-1"], json!({})));
    let refused = async |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_replibook"));
        command
            .args(["gateway", "--inventory", &file])
            .args(args)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        let output = tokio::time::timeout(LIMIT, command.output()).await.unwrap().unwrap();
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let open = refused(&["--listen", "0.0.0.0:0"]).await;
    assert!(open.contains("others can reach it; expected --tls NAME"), "{open}");
    let authority = Authority::new("the site");
    let (ours, theirs) = (authority.issue(&["127.0.0.1"]), authority.issue(&["127.0.0.1"]));
    let (here, there) = (site.path("ours"), site.path("theirs"));
    put(&there, "open", &Files { used: "server", identity: Some(&theirs), ..Files::default() });
    let (ca, identity) = (Some(&authority), Some(&theirs));
    put(
        &there,
        "web",
        &Files { used: "server", ca, identity, token: Some("t0ken"), ..Files::default() },
    );
    let theirs = site.text("theirs");
    let open = refused(&["--listen", "0.0.0.0:0", "--credentials", &theirs, "--tls", "open"]).await;
    assert!(open.contains("expected a ca.pem or a token"), "{open}");
    let inventory = site.inventory(&["node-1", "node-3"], json!({}));
    let gateway = site.gateway(&inventory, &["--credentials", &theirs, "--tls", "web"]).await;
    assert!(gateway.address().starts_with("https://"), "{}", gateway.address());
    let origins = ["https://127.0.0.1:*"];
    for (name, used) in [("agents", "agent"), ("platform", "platform")] {
        let (ca, identity, token) = (Some(&authority), Some(&ours), Some("t0ken"));
        put(&here, name, &Files { used, origins: &origins, ca, identity, token });
    }
    let (ca, identity) = (Some(&authority), Some(&ours));
    put(&here, "no-token", &Files { used: "agent", origins: &origins, ca, identity, token: None });
    let ours = site.text("ours");
    let server = site.server(&["--credentials", &ours]).await;
    let discovery = json!({"url": gateway.address(), "cluster": "site", "interval": "1s", "credentials": "platform"});
    let steps = json!([{"name": "drain", "action": "demo.example.com/drain"}]);
    let with = |name: &str| cluster(&gateway, json!({"credentials": name, "discovery": discovery}));
    apply(
        &site,
        server.address(),
        &[("playbook", playbook("drain", steps)), ("cluster", with("agents"))],
    )
    .await;
    let start = ["run", "start", "drain", "--cluster", "site", "--watch"];
    let (code, said) = replictl(server.address(), &start).await;
    assert_eq!(code, 0, "{said}");
    assert_eq!(site.read("done").lines().count(), 2);
    apply(&site, server.address(), &[("cluster", with("no-token"))]).await;
    let (code, said) = replictl(server.address(), &start).await;
    assert_ne!(code, 0, "{said}");
    assert_eq!(site.read("done").lines().count(), 2, "nothing was done");
}

#[tokio::test]
async fn the_example_is_valid_and_explained() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/inventory.yaml");
    let (code, said) =
        replictl("http://127.0.0.1:1", &["validate", "-f", example.to_str().unwrap()]).await;
    assert_eq!(code, 0, "{said}");
    let (code, said) = replictl("http://127.0.0.1:1", &["explain", "inventory.spec.nodes"]).await;
    assert!(code == 0 && said.contains("work_folder"), "{said}");
    let (code, said) =
        replictl("http://127.0.0.1:1", &["apply", "-f", example.to_str().unwrap()]).await;
    assert!(code == 3 && said.contains("an inventory is a file of the gateway"), "{said}");
}
