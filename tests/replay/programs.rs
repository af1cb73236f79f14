//! A small real run, exported and replayed by the real programs.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use replibook::cli::demo::{Fleet, Process, plan};
use serde_json::Value;
use tokio::process::Command;

use crate::{examples, exports, wait};

/// Far longer than any of this takes, even on a busy machine.
const LIMIT: Duration = Duration::from_secs(240);

pub(crate) struct Ctl<'a> {
    pub(crate) server: &'a str,
    /// The folder for compiled plugins.
    pub(crate) cache: &'a Path,
}

impl Ctl<'_> {
    pub(crate) async fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_replictl"));
        command.args(arguments).env("REPLIBOOK_SERVER", self.server);
        command.env("XDG_CACHE_HOME", self.cache).env("NO_COLOR", "1");
        command.stdin(Stdio::null()).kill_on_drop(true);
        let output = tokio::time::timeout(LIMIT, command.output()).await.unwrap().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }

    pub(crate) async fn ok(&self, arguments: &[&str]) -> String {
        let (code, out, err) = self.run(arguments).await;
        assert_eq!(code, 0, "{arguments:?}: {out}{err}");
        out
    }
}

async fn server(dir: &Path) -> Process {
    let mut command = Command::new(env!("CARGO_BIN_EXE_replibook"));
    command.args(["serve", "--until-stdin-closes", "--listen", "127.0.0.1:0", "--data"]);
    command.arg(dir.join("server"));
    Process::start("the server", command, &dir.join("server.log")).await.unwrap()
}

/// Starts a run of the example, and returns its identifier.
async fn start(ctl: &Ctl<'_>, fleet: &Fleet, dir: &Path) -> String {
    let cluster = dir.join("cluster.yaml");
    std::fs::write(&cluster, fleet.cluster_document("demo").unwrap()).unwrap();
    let playbook = examples::rolling_restart().join("playbook.yaml");
    let files = [cluster.to_str().unwrap(), playbook.to_str().unwrap()];
    ctl.ok(&["apply", "-f", files[0], "-f", files[1]]).await;
    let out = ctl.ok(&["run", "start", "rolling-restart", "--cluster", "demo", "-o", "json"]).await;
    let run: Value = serde_json::from_str(&out).unwrap();
    run["id"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_is_replayed_exported_and_replayed_without_a_server() {
    let dir = tempfile::tempdir().unwrap();
    let program = Path::new(env!("CARGO_BIN_EXE_replibook"));
    let fleet = Fleet::start(program, dir.path(), plan(3, 0).unwrap()).await.unwrap();
    let server = server(dir.path()).await;
    let address = server.address().to_owned();
    let cache = dir.path().join("cache");
    let ctl = Ctl { server: &address, cache: &cache };
    let id = start(&ctl, &fleet, dir.path()).await;

    // As long as the run goes on there is nothing to compare.
    let (code, out, err) = ctl.run(&["run", "replay", &id]).await;
    assert!(code == 4 || out.starts_with("same: "), "{code}: {out}{err}");
    wait::until("the run to end", LIMIT, async || {
        let run: Value =
            serde_json::from_str(&ctl.ok(&["get", "run", &id, "-o", "json"]).await).unwrap();
        let run = run.get(0).unwrap_or(&run);
        run["finish_ts"].is_string().then_some(())
    })
    .await;

    let out = ctl.ok(&["run", "replay", &id]).await;
    assert!(out.starts_with("same: "), "{out}");
    assert!(out.contains(" in 6 attempts replayed, 0 left out"), "{out}");
    let out = ctl.ok(&["run", "replay", &id, "--agent", "node-2"]).await;
    assert!(out.contains("0 decisions, "), "{out}");
    let with = r#"{"batch": 1}"#;
    let out = ctl.ok(&["run", "replay", &id, "--strategy", "rolling", "--with", with]).await;
    assert!(out.contains("start node-1"), "{out}");

    let file = dir.path().join("run.tar.zst");
    let name = file.to_str().unwrap();
    let out = ctl.ok(&["run", "export", &id, "-o", name]).await;
    assert!(out.contains(name), "{out}");
    server.stop().await;
    fleet.stop().await;

    exports::check(&file, "node-1", dir.path()).await;
}
