//! Commands on agents, and what they write while they run, with the real programs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use replibook::cli::demo::Process;
use serde_json::Value;
use tokio::io::AsyncReadExt as _;
use tokio::process::Command;

use super::{command, replictl};
use crate::crash::server::Server;

/// What an agent does with a command: it says what it got, unless the command says what it shall do.
const SCRIPT: &str = r#"IFS= read -r args
case $args in
  *'"two"'*) echo one; echo two; echo three >&2 ;;
  *'"fail"'*) [ "$REPLIBOOK_NODE_ID" != node-2 ] || { echo broken >&2; exit 3; }; echo well ;;
  *'"wait"'*) printf 'begun \377\n'; while [ ! -e "$1" ]; do sleep 0.02; done; echo through ;;
  *) printf '%s\n' "$args" ;;
esac"#;

/// Agents that do commands, and a server that knows them as the cluster eu.
struct Site {
    folder: tempfile::TempDir,
    agents: Vec<Process>,
    server: Server,
    address: String,
}

impl Site {
    async fn start(agents: usize, does_commands: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut running = Vec::new();
        for number in 1..=agents {
            running.push(agent(folder.path(), number, does_commands).await);
        }
        let server = Server::start(folder.path(), None, None).await;
        let address = format!("http://{}", server.address);
        let lines = (1..).zip(&running).map(|(number, agent)| {
            format!("    - {{ id: node-{number}, address: \"{}\" }}\n", agent.address())
        });
        let cluster = format!(
            "apiVersion: replicante.io/v1\nkind: Cluster\nmetadata: {{ name: eu }}\nspec:\n  agents:\n{}",
            lines.collect::<String>()
        );
        let path = folder.path().join("cluster.yaml");
        fs::write(&path, cluster).unwrap();
        let (code, _, err) = replictl(&address, &["apply", "-f", path.to_str().unwrap()]).await;
        assert_eq!(code, 0, "{err}");
        Self { folder, agents: running, server, address }
    }

    fn go(&self) -> PathBuf {
        self.folder.path().join("go")
    }

    async fn exec(&self, args: &[&str]) -> (i32, String, String) {
        replictl(&self.address, &[&["exec"][..], args].concat()).await
    }

    async fn stop(self) {
        self.server.stop().await;
        for agent in self.agents {
            agent.stop().await;
        }
    }
}

async fn agent(folder: &Path, number: usize, does_commands: bool) -> Process {
    let dir = folder.join(format!("node-{number}"));
    fs::create_dir_all(&dir).unwrap();
    let actions = match does_commands {
        true => {
            serde_json::json!({ "replicante.io/command": { "command": ["sh", "-c", SCRIPT, "sh", folder.join("go")] } })
        }
        false => serde_json::json!({}),
    };
    let config = serde_json::json!({ "node_id": format!("node-{number}"), "actions": actions });
    let path = dir.join("agent.yaml");
    fs::write(&path, config.to_string()).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_replibook"));
    command.arg("agent").arg("--config").arg(&path).arg("--data").arg(dir.join("agent.sqlite"));
    command.args(["--port", "0", "--tick", "20ms", "--until-stdin-closes"]);
    Process::start("an agent", command, &dir.join("log")).await.unwrap()
}

/// The cells of the row of an agent; the last has the rest of the line.
fn row<'o>(out: &'o str, agent: &str) -> Vec<&'o str> {
    let line = out.lines().find(|line| line.starts_with(&format!("{agent} ")));
    let line = line.unwrap_or_else(|| panic!("no {agent} in {out}"));
    let mut cells: Vec<&str> = line.splitn(2, ' ').collect();
    for _ in 1..3 {
        let rest = cells.pop().unwrap().trim_start();
        cells.extend(rest.splitn(2, ' '));
    }
    let last = cells.pop().unwrap().trim();
    cells.push(last);
    cells
}

#[tokio::test]
async fn a_command_goes_to_agents_and_what_they_answer_is_shown() {
    let site = Site::start(3, true).await;
    // The server has one cluster, so it need not be named.
    let (code, out, err) = site.exec(&["--", "uptime", "-a"]).await;
    assert_eq!(code, 0, "{err}");
    let said = r#"{"argv":["uptime","-a"]}"#;
    for agent in ["node-1", "node-2", "node-3"] {
        assert_eq!(row(&out, agent), [agent, "DONE", "0", said], "{out}");
    }
    assert!(out.ends_with("3 done\n"), "{out}");
    // The same again is no conflict, and narrower; nothing in it is taken for an expression.
    let (code, out, err) =
        site.exec(&["-c", "eu", "-l", "agent.id != \"node-1\"", "--", "uptime", "-a"]).await;
    assert_eq!((code, out.contains("node-1"), out.contains("node-3")), (0, false, true), "{err}");
    let (code, out, err) = site.exec(&["-o", "json", "--", "echo", "${{ 1 + 1 }}"]).await;
    assert_eq!(code, 0, "{err}");
    let list: Value = serde_json::from_str(&out).unwrap();
    let first = &list[0];
    assert_eq!(first["stdout"], "{\"argv\":[\"echo\",\"${{ 1 + 1 }}\"]}\n", "{list}");
    assert_eq!((&first["exit"], &first["agent"]), (&Value::from(0), &Value::from("node-1")));
    let (_, runs, _) = replictl(&site.address, &["run", "list", "-o", "json"]).await;
    let runs: Value = serde_json::from_str(&runs).unwrap();
    let names: Vec<&str> =
        runs.as_array().unwrap().iter().map(|run| run["playbook"].as_str().unwrap()).collect();
    assert!(names.iter().all(|name| name.starts_with("exec/")), "{names:?}");
    assert!(names[1] == names[2] && names[0] != names[1], "{names:?}");
    // It is no playbook that anybody could start.
    let (_, playbooks, _) = replictl(&site.address, &["get", "playbooks", "-o", "json"]).await;
    assert_eq!(playbooks.trim(), "[]");

    let (code, out, _) = site.exec(&["--", "two"]).await;
    assert_eq!(code, 0);
    assert_eq!(row(&out, "node-1")[3], "one (+2 lines)", "{out}");
    assert!(out.contains("\nnode-2:\n  one\n  two\n  three\n"), "{out}");
    site.stop().await;
}

#[tokio::test]
async fn failures_are_shown_with_exit_codes_and_stop_the_rest() {
    let site = Site::start(3, true).await;
    let (code, out, err) = site.exec(&["--max-failed", "1", "--", "fail"]).await;
    assert_eq!(code, 5, "{err}");
    assert_eq!(row(&out, "node-2"), ["node-2", "FAILED", "3", "broken"], "{out}");
    assert_eq!(row(&out, "node-3"), ["node-3", "DONE", "0", "well"], "{out}");
    // One at a time, and no failure is too many: the third does not begin.
    let (code, out, err) = site.exec(&["--batch", "1", "--", "fail"]).await;
    assert_eq!(code, 1, "{err}");
    assert_eq!(row(&out, "node-2")[1], "FAILED", "{out}");
    assert_eq!(row(&out, "node-3"), ["node-3", "PENDING", "-", "-"], "{out}");
    for (args, said) in [
        (&["--batch", "0", "--", "a"][..], "--batch"),
        (&["--max-failed", "many", "--", "a"], "--max-failed"),
        (&["--timeout", "soon", "--", "a"], "--timeout"),
        (&["-l", "agent.", "--", "a"], "expression"),
        (&["-l", "agents.id", "--", "a"], "agents"),
    ] {
        let (code, out, err) = site.exec(args).await;
        assert_eq!((code, out.as_str()), (3, ""), "{args:?}: {err}");
        assert!(err.contains(said), "{args:?}: {err}");
    }
    let (code, _, err) = site.exec(&["-c", "us", "--", "a"]).await;
    assert_eq!(code, 4, "{err}");
    assert_eq!(site.exec(&["-c", "eu"]).await.0, 2, "a command is needed");
    site.stop().await;
}

#[tokio::test]
async fn agents_without_commands_are_said_to_need_them() {
    let site = Site::start(1, false).await;
    let (code, out, err) = site.exec(&["--", "uptime"]).await;
    assert_eq!(code, 1, "{err}");
    assert_eq!(row(&out, "node-1")[1], "FAILED", "{out}");
    assert!(out.contains("replicante.io/command"), "{out}");
    assert!(err.contains("hint: agents do commands only if"), "{err}");
    let (code, _, err) =
        replictl(&site.address, &["run", "output", "last", "--agent", "node-1"]).await;
    assert_eq!(code, 4, "{err}");
    assert!(err.contains("can't tell what action"), "{err}");
    let (code, _, err) =
        replictl(&site.address, &["run", "output", "last", "--agent", "node-9"]).await;
    assert_eq!(code, 4, "{err}");
    site.stop().await;
}

#[tokio::test]
async fn what_a_command_writes_is_seen_before_it_ends() {
    let site = Site::start(1, true).await;
    let exec = command(&site.address, &["exec", "--", "wait"]).spawn().unwrap();
    let last = crate::wait::until("the run", crate::crash::server::LIMIT, async || {
        let (_, runs, _) = replictl(&site.address, &["run", "list", "-o", "name"]).await;
        runs.lines().next().map(str::to_owned)
    })
    .await;
    let output = ["run", "output", &last, "--agent", "node-1", "--follow"];
    let mut follow = command(&site.address, &output).stdout(Stdio::piped()).spawn().unwrap();
    let logs = ["run", "logs", &last, "--follow", "-o", "json"];
    let mut lines = command(&site.address, &logs).stdout(Stdio::piped()).spawn().unwrap();

    // The bytes come as they are, while the command waits.
    let mut seen = Vec::new();
    let mut stdout = follow.stdout.take().unwrap();
    while !seen.ends_with(b"begun \xFF\n") {
        assert_ne!(stdout.read_buf(&mut seen).await.unwrap(), 0, "{seen:?}");
    }
    let mut logged = Vec::new();
    let mut logs = lines.stdout.take().unwrap();
    while !String::from_utf8_lossy(&logged).contains("begun \u{fffd}") {
        assert_ne!(logs.read_buf(&mut logged).await.unwrap(), 0, "{logged:?}");
    }
    let (_, now, _) = replictl(&site.address, &[&output[..5], &["-o", "json"]].concat()).await;
    let now: Value = serde_json::from_str(&now).unwrap();
    assert_eq!(now["stdout"]["base64"], "YmVndW4g/wo=", "{now}");
    assert_eq!((&now["exit"], &now["state"]), (&Value::Null, &Value::from("RUNNING")));

    fs::write(site.go(), "").unwrap();
    stdout.read_to_end(&mut seen).await.unwrap();
    assert_eq!(seen, b"begun \xFF\nthrough\n");
    assert_eq!(follow.wait().await.unwrap().code(), Some(0));
    logs.read_to_end(&mut logged).await.unwrap();
    let logged = String::from_utf8_lossy(&logged);
    let of_stdout: Vec<&str> = logged.lines().filter(|line| line.contains("\"stdout\"")).collect();
    assert_eq!(of_stdout.len(), 2, "{logged}");
    assert_eq!(lines.wait().await.unwrap().code(), Some(0));
    let done = exec.wait_with_output().await.unwrap();
    assert_eq!(done.status.code(), Some(0), "{}", String::from_utf8_lossy(&done.stderr));
    // After its end too, and nothing of it is in the journals.
    let (code, after, _) = {
        let done = command(&site.address, &output[..5]).output().await.unwrap();
        (done.status.code(), done.stdout, done.stderr)
    };
    assert_eq!((code, after.as_slice()), (Some(0), &b"begun \xFF\nthrough\n"[..]));
    site.stop().await;
}
