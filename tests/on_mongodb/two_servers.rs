//! Two servers on one store: what is withdrawn is withdrawn on both, each goes by files of its own, and an engine leaves a
//! run alone for which it lacks something.

use std::fs;
use std::path::Path;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::BoxStream;
use replibook::access::{TOKEN_BYTES, new_token};
use replibook::cli::demo::{Fleet, Process, plan};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::cli::replictl;
use crate::crash::server::Client;
use crate::wait;

/// Far longer than anything here takes, even on a busy machine.
const LIMIT: Duration = Duration::from_secs(120);

/// The names of the engines, and of the folders with the files of their servers.
const NAMES: [&str; 2] = ["left", "right"];

/// Servers on one store, each with a folder of its own.
struct Pair {
    folder: tempfile::TempDir,
    servers: Vec<Process>,
    client: Client,
}

impl Pair {
    /// Starts both, with these arguments, in which `DIR` stands for the folder of each.
    async fn start(folder: tempfile::TempDir, more: &[&str]) -> Self {
        let (store, mut servers) = (crate::on_mongodb::database(), Vec::new());
        for name in NAMES {
            let dir = folder.path().join(name);
            let mut command = Command::new(env!("CARGO_BIN_EXE_replibook"));
            command.args(["serve", "--until-stdin-closes", "--listen", "127.0.0.1:0"]);
            command.args(["--engine-name", name, "--data"]).arg(dir.join("data"));
            command.args(more.iter().map(|arg| arg.replace("DIR", dir.to_str().unwrap())));
            command.env("REPLIBOOK_STORE", &store);
            let log = dir.join("log");
            servers.push(Process::start(name, command, &log).await.unwrap());
        }
        Self { folder, servers, client: Client::new() }
    }

    fn log(&self, at: usize) -> String {
        fs::read_to_string(self.folder.path().join(NAMES[at]).join("log")).unwrap()
    }

    fn url(&self, at: usize, path: &str) -> String {
        format!("{}{path}", self.servers[at].address())
    }

    async fn send(&self, at: usize, token: Option<&str>, path: &str, body: Option<Value>) -> Sent {
        let client = &self.client.0;
        let request = match &body {
            Some(body) => client.post(self.url(at, path)).json(body),
            None => client.get(self.url(at, path)),
        };
        let request = token.into_iter().fold(request, reqwest::RequestBuilder::bearer_auth);
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        let text = answer.text().await.unwrap();
        Sent { status, body: serde_json::from_str(&text).unwrap_or(Value::String(text)) }
    }

    /// Waits until both servers name these files, and no others, as those that differ.
    async fn until_they_differ(&self, token: Option<&str>, files: &[&str]) {
        for (at, name) in NAMES.iter().enumerate() {
            let what = format!("{name} to say that {files:?} differ");
            wait::until(&what, LIMIT, async || {
                let ready = self.send(at, token, "/readyz", None).await.body;
                let found = ready["files"].as_array().cloned().unwrap_or_default();
                let named: Vec<&str> =
                    found.iter().map(|file| file["file"].as_str().unwrap()).collect();
                (named == files).then_some(())
            })
            .await;
        }
    }

    async fn stop(self) {
        for server in self.servers {
            server.stop().await;
        }
    }
}

struct Sent {
    status: u16,
    body: Value,
}

impl Sent {
    fn ok(self) -> Value {
        assert!(self.status < 300, "{}: {}", self.status, self.body);
        self.body
    }
}

/// The token of this name, and its line in the file of a server.
fn token(name: &str) -> (String, String) {
    let mut random = [7; TOKEN_BYTES];
    random[..name.len()].copy_from_slice(name.as_bytes());
    let (token, sum) = new_token(random);
    let line = format!("{{ name: {name}, sha256: {sum}, expires: 2099-01-01T00:00:00Z }}");
    (token, line)
}

/// A file that knows these tokens and has these rules.
fn access(tokens: &[&str], rules: &[&str]) -> String {
    let tokens: Vec<String> = tokens.iter().map(|name| token(name).1).collect();
    format!(
        "apiVersion: replicante.io/v1\nkind: Access\nmetadata: {{ name: house }}\nspec:\n  tokens: [{}]\n  rules: [{}]\n",
        tokens.join(", "),
        rules.join(", ")
    )
}

fn cluster(spec: Value) -> Value {
    let document = json!({
        "apiVersion": "replicante.io/v1", "kind": "Cluster", "metadata": {"name": "eu"}, "spec": spec,
    });
    json!({ "document": document.to_string() })
}

fn playbook(name: &str, approval: &str, step: Value) -> Value {
    let document = json!({
        "apiVersion": "replicante.io/v1", "kind": "Playbook",
        "metadata": {"name": name, "version": "1.0.0"},
        "spec": {"approval": approval, "stages": [{
            "name": "all", "strategy": {"use": "all-at-once"}, "steps": [step],
        }]},
    });
    json!({ "document": document.to_string() })
}

type Events = BoxStream<'static, reqwest::Result<bytes::Bytes>>;

/// The events of a run as they come. The first ones have come.
async fn follow(pair: &Pair, at: usize, token: &str, path: &str) -> Events {
    let request = pair.client.0.get(pair.url(at, &format!("{path}/events"))).bearer_auth(token);
    let request = request.header("accept", "text/event-stream").timeout(2 * LIMIT);
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let mut events = answer.bytes_stream().boxed();
    assert!(events.next().await.is_some_and(|event| event.is_ok()));
    events
}

/// Waits until a stream ends, properly.
async fn ends(mut events: Events) {
    let end = async { while events.next().await.is_some_and(|event| event.is_ok()) {} };
    tokio::time::timeout(LIMIT, end).await.expect("it ends");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_withdrawn_is_withdrawn_on_both_servers() {
    const ADMIN: &str = "{ who: ['token:admin'], may: [admin] }";
    const OPS: &str = "{ who: ['token:ops'], may: [view], playbooks: ['ops/*'] }";
    const LAB: &str = "{ who: ['token:ops'], may: [view], playbooks: ['lab/*'] }";
    const CI: &str = "{ who: ['token:ci'], may: [view] }";
    let all = access(&["admin", "ops", "ci"], &[ADMIN, OPS, LAB, CI]);
    let without_rule = access(&["admin", "ops", "ci"], &[ADMIN, LAB, CI]);
    let without_token = access(&["admin", "ops"], &[ADMIN]);
    let folder = tempfile::tempdir().unwrap();
    let path = |at: usize| folder.path().join(NAMES[at]).join("access.yaml");
    let paths = [path(0), path(1)];
    for path in &paths {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, &all).unwrap();
    }
    let pair = Pair::start(folder, &["--access", "DIR/access.yaml"]).await;
    let [admin, ops, ci] = ["admin", "ops", "ci"].map(|name| token(name).0);
    let by_admin = Some(admin.as_str());
    let step = json!({"name": "s", "action": "agent.replicante.io/test.success"});
    pair.send(0, by_admin, "/api/v1/clusters", Some(cluster(json!({"agents": []})))).await.ok();
    let waits = playbook("ops/wait", "required", step);
    pair.send(0, by_admin, "/api/v1/playbooks", Some(waits)).await.ok();
    let start = json!({"playbook": "ops/wait", "cluster": "eu"});
    let run = pair.send(0, by_admin, "/api/v1/runs", Some(start)).await.ok();
    let run = format!("/api/v1/runs/{}", run["id"].as_str().unwrap());
    pair.until_they_differ(by_admin, &[]).await;
    let status = async |at: usize, token: &str| pair.send(at, Some(token), &run, None).await.status;

    // A rule goes: first on one server, which alone goes by it, and both say that they differ.
    let left = follow(&pair, 0, &ops, &run).await;
    let right = follow(&pair, 1, &ops, &run).await;
    fs::write(&paths[0], &without_rule).unwrap();
    ends(left).await;
    assert_eq!((status(0, &ops).await, status(1, &ops).await), (404, 200));
    pair.until_they_differ(by_admin, &["access"]).await;
    fs::write(&paths[1], &without_rule).unwrap();
    ends(right).await;
    assert_eq!((status(0, &ops).await, status(1, &ops).await), (404, 404));
    pair.until_they_differ(by_admin, &[]).await;

    // A token goes.
    let both = [follow(&pair, 0, &ci, &run).await, follow(&pair, 1, &ci, &run).await];
    let still = follow(&pair, 1, &admin, &run).await;
    paths.iter().for_each(|path| fs::write(path, &without_token).unwrap());
    for stream in both {
        ends(stream).await;
    }
    assert_eq!((status(0, &ci).await, status(1, &ci).await), (401, 401));
    assert_eq!((status(0, &admin).await, status(1, &admin).await), (200, 200));
    // That of somebody else goes on, to the end of the run.
    let cancel = json!({ "command": "cancel" });
    pair.send(0, by_admin, &format!("{run}/commands"), Some(cancel)).await.ok();
    ends(still).await;
    pair.stop().await;
}

/// The files of a server that has all that the runs of the next test need.
fn fill(dir: &Path) {
    let put = |name: &str, text: &str| {
        fs::create_dir_all(dir.join(name).parent().unwrap()).unwrap();
        fs::write(dir.join(name), text).unwrap();
    };
    put("credentials/house/for.yaml", "use: agent\norigins: ['http://127.0.0.1:*']\n");
    put("credentials/house/token", "t0ken");
    put("secrets/pager", "correct-horse");
    put("policy.yaml", &policy("house"));
}

fn policy(name: &str) -> String {
    let may = "http: ['http://127.0.0.1:*'], networks: [127.0.0.0/8], secrets: [pager]";
    format!(
        "apiVersion: replicante.io/v1\nkind: Policy\nmetadata: {{ name: {name} }}\nspec:\n  plugins:\n    \
         - {{ match: 'builtin:*', may: {{ actions: ['*'], {may} }} }}\n"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_that_lacks_something_says_so_and_leaves_the_run_to_the_other() {
    let folder = tempfile::tempdir().unwrap();
    let dirs = NAMES.map(|name| folder.path().join(name));
    fill(&dirs[0]);
    for empty in ["credentials", "secrets"] {
        fs::create_dir_all(dirs[1].join(empty)).unwrap();
    }
    fs::write(dirs[1].join("policy.yaml"), policy("other")).unwrap();
    let program = Path::new(env!("CARGO_BIN_EXE_replibook"));
    let fleet = Fleet::start(program, folder.path(), plan(1, 0).unwrap()).await.unwrap();
    let files = ["--credentials", "DIR/credentials", "--secrets", "DIR/secrets"];
    let pair = Pair::start(folder, &[&files[..], &["--policy", "DIR/policy.yaml"]].concat()).await;

    // Both say that they differ, and in what.
    let differ = ["credentials", "policy", "secrets"];
    pair.until_they_differ(None, &differ).await;
    for at in 0..NAMES.len() {
        let (code, shown, said) = replictl(pair.servers[at].address(), &["get", "engines"]).await;
        assert!(code == 0 && NAMES.iter().all(|name| shown.contains(name)), "{shown}{said}");
        for file in differ {
            assert!(said.contains(&format!("engines do not have the same {file}: ")), "{said}");
        }
    }

    // One cluster needs credentials, and one playbook a secret. The server without them starts no such run.
    let (node, address) = fleet.agents().next().unwrap();
    let agents = json!([{"id": node.id, "address": address}]);
    let eu = cluster(json!({"credentials": "house", "agents": agents}));
    let us = cluster(json!({"agents": agents}))["document"].as_str().unwrap().replace("eu", "us");
    let acts = json!({"name": "s", "action": "agent.replicante.io/test.success"});
    let pages = json!({"name": "s", "use": "http", "when": "false", "with": {
        "url": "http://127.0.0.1:9/page", "headers": {"x-token": "${{ secret('pager') }}"},
    }});
    for (path, document) in [
        ("clusters", eu),
        ("clusters", json!({ "document": us })),
        ("playbooks", playbook("act", "granted", acts)),
        ("playbooks", playbook("page", "granted", pages)),
    ] {
        pair.send(0, None, &format!("/api/v1/{path}"), Some(document)).await.ok();
    }
    let starts = [("act", "eu", "credentials-unavailable"), ("page", "us", "secret-")];
    let start = async |at: usize, playbook: &str, cluster: &str| {
        let body = json!({"playbook": playbook, "cluster": cluster});
        pair.send(at, None, "/api/v1/runs", Some(body)).await
    };
    for (playbook, cluster, code) in starts {
        let refused = start(1, playbook, cluster).await;
        let found = refused.body["code"].as_str().unwrap_or_default();
        assert!(refused.status >= 400 && found.starts_with(code), "{}", refused.body);
    }

    // The engine that has all of it takes no runs for a while, and the other one leaves them alone.
    let tell_left = async |verb: &str, said: &str| {
        let times = || pair.log(0).matches(said).count();
        let before = times();
        let address = pair.servers[0].address();
        let (code, _, error) = replictl(address, &["engine", verb, NAMES[0]]).await;
        assert_eq!(code, 0, "{error}");
        wait::until("the engine to know", LIMIT, async || (times() > before).then_some(())).await;
    };
    let drain = async || tell_left("drain", "taking no more").await;
    drain().await;
    let mut runs = Vec::new();
    for (playbook, cluster, _) in starts {
        let run = start(0, playbook, cluster).await.ok();
        runs.push(run["id"].as_str().unwrap().to_owned());
    }
    for (run, lacks) in runs.iter().zip(["credentials \"house\"", "pager"]) {
        wait::until(&format!("the log to say that {lacks} is lacking"), LIMIT, async || {
            let log = pair.log(1);
            log.lines().any(|line| line.contains(run) && line.contains(lacks)).then_some(())
        })
        .await;
    }
    let view =
        async |run: &str| pair.send(1, None, &format!("/api/v1/runs/{run}"), None).await.ok();
    for run in &runs {
        let view = view(run).await;
        assert!(["PENDING", "STARTING"].contains(&view["status"].as_str().unwrap()), "{view}");
    }
    tell_left("undrain", "taking runs again").await;
    let until_done = async |run: &str| {
        wait::until("the run to be done", LIMIT, async || {
            let view = view(run).await;
            assert!(!["FAILED", "PAUSED"].contains(&view["status"].as_str().unwrap()), "{view}");
            (view["status"] == "DONE").then_some(())
        })
        .await;
    };
    for run in &runs {
        until_done(run).await;
    }

    // Once it has the same files, nothing differs, and it takes such runs itself.
    fill(&dirs[1]);
    pair.until_they_differ(None, &[]).await;
    drain().await;
    for (playbook, cluster, _) in starts {
        let run = start(1, playbook, cluster).await.ok();
        until_done(run["id"].as_str().unwrap()).await;
    }
    pair.stop().await;
    fleet.stop().await;
}
