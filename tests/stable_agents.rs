//! A whole run over agents of the released generation, as they are: each on a socket of its own, over TLS with client
//! certificates, driven by the server as a program. Nothing but their Cluster says what they are; the second server has to
//! find that out.

use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use replibook::cli::demo::Process;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::certificates::{Authority, Files, put};
use crate::stable_agent::{PING, Settings, StableAgent};

/// Far longer than the run takes, even on a busy machine.
const DEADLINE: Duration = Duration::from_secs(120);

const PLAYBOOK: &str = r#"
apiVersion: replicante.io/v1
kind: Playbook
metadata: { name: ping, version: 1.0.0 }
spec:
  stages:
    - name: followers
      select: 'agent.shards.exists(shard, shard.role == "SECONDARY")'
      strategy: { use: rolling }
      budget: { max_failed: 0, on_exceeded: abort }
      steps:
        - name: ping
          action: agent.replicante.io/test.ping
          args: { count: 2 }
          require: 'agent.node.node_status == "HEALTHY"'
"#;

async fn program(program: &str, server: &str, args: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(program);
    command.args(args).env("REPLIBOOK_SERVER", server);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let output = tokio::time::timeout(DEADLINE, command.output()).await.expect("in time");
    let Output { status, stdout, stderr } = output.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap_or(-1), text(stdout), text(stderr))
}

async fn replictl(server: &str, args: &[&str]) -> (i32, String, String) {
    program(env!("CARGO_BIN_EXE_replictl"), server, args).await
}

/// The credentials that these agents ask for.
fn credentials(dir: &Path, authority: &Authority, agents: &[StableAgent]) {
    let origins: Vec<&str> = agents.iter().map(|agent| agent.address.as_str()).collect();
    let own = authority.issue(&["engine"]);
    let (used, ca, identity) = ("agent", Some(authority), Some(&own));
    put(dir, "zoo", &Files { used, origins: &origins, ca, identity, token: None });
}

fn cluster(agents: &[StableAgent], more: Value) -> String {
    let listed = agents.iter().zip(1..);
    let listed =
        listed.map(|(agent, id)| json!({ "id": id.to_string(), "address": agent.address }));
    let mut spec = json!({ "agents": listed.collect::<Vec<_>>(), "cluster_id": "zoo" });
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({
        "apiVersion": "replicante.io/v1", "kind": "Cluster",
        "metadata": { "name": "zoo" }, "spec": spec,
    })
    .to_string()
}

async fn start(dir: &Path) -> (Process, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_replibook"));
    command.args(["serve", "--until-stdin-closes", "--listen", "127.0.0.1:0", "--data"]);
    command.arg(dir.join("data")).arg("--credentials").arg(dir.join("credentials"));
    let process = Process::start("the server", command, &dir.join("server.log")).await.unwrap();
    let address = process.address().to_owned();
    (process, address)
}

async fn apply(server: &str, dir: &Path, name: &str, text: &str) {
    let file = dir.join(name);
    std::fs::write(&file, text).unwrap();
    let (code, _, err) = replictl(server, &["apply", "-f", file.to_str().unwrap()]).await;
    assert_eq!(code, 0, "{err}");
}

async fn run(server: &str) -> (i32, String, String) {
    replictl(server, &["run", "start", "ping", "--cluster", "zoo", "--watch"]).await
}

async fn zoo(authority: &Authority) -> Vec<StableAgent> {
    let mut agents = Vec::new();
    for (node, role) in [("1", "primary"), ("2", "secondary"), ("3", "secondary")] {
        let settings = Settings { node: node.to_owned(), role: role.into(), ..Settings::default() };
        agents.push(StableAgent::start_secured(settings, authority).await);
    }
    agents
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_goes_over_agents_of_the_released_generation() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new("zoo");
    let agents = zoo(&authority).await;
    credentials(&dir.path().join("credentials"), &authority, &agents);
    let (server, address) = start(dir.path()).await;
    apply(&address, dir.path(), "playbook.yaml", PLAYBOOK).await;
    for (times, more) in [
        (1, json!({ "credentials": "zoo" })),
        (2, json!({ "credentials": "zoo", "dialect": "stable" })),
    ] {
        apply(&address, dir.path(), "cluster.yaml", &cluster(&agents, more)).await;
        let (code, out, err) = run(&address).await;
        assert_eq!(code, 0, "{out}{err}");
        let done: Vec<usize> = agents.iter().map(|agent| agent.actions().len()).collect();
        assert_eq!(done, [0, times, times], "only followers, once each");
    }
    for agent in &agents[1..] {
        let last = agent.actions().pop().unwrap();
        assert_eq!((&last["kind"], &last["state"]), (&json!(PING), &json!("DONE")));
        assert_eq!(last["headers"]["replibook.attempt"], "1");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new("zoo");
    let agents = zoo(&authority).await;
    credentials(&dir.path().join("credentials"), &authority, &agents);
    let (server, address) = start(dir.path()).await;
    apply(&address, dir.path(), "playbook.yaml", PLAYBOOK).await;
    // The other dialect.
    let wrong = json!({ "credentials": "zoo", "dialect": "main" });
    apply(&address, dir.path(), "cluster.yaml", &cluster(&agents, wrong)).await;
    let (code, out, err) = run(&address).await;
    assert_ne!(code, 0, "{out}{err}");
    // Agents that do no actions.
    for agent in &agents {
        agent.change(|settings| settings.actions = false);
    }
    let right = json!({ "credentials": "zoo" });
    apply(&address, dir.path(), "cluster.yaml", &cluster(&agents, right)).await;
    let (code, out, err) = run(&address).await;
    assert_ne!(code, 0, "{out}{err}");
    let (_, out, err) = replictl(&address, &["run", "agents", "last", "-o", "json"]).await;
    assert!(
        out.contains("its actions are switched off") && out.contains("`credentials:`"),
        "{out}{err}"
    );
    assert!(agents.iter().all(|agent| agent.actions().is_empty()));
    server.stop().await;
}
