//! Whether the server keeps to its own description, whoever asks: Schemathesis makes requests of `/openapi.json`, with the
//! token of each role and without one. `make schemathesis` installs it.
//!
//! `REPLIBOOK_SEED` has it make other requests.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use replibook::access::{new_token, token_sum};
use replibook::api::openapi_document;
use replibook::cli::demo::Process;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::wait;

/// Far longer than anything here takes, even on a busy machine.
const LIMIT: Duration = Duration::from_secs(600);

/// The seed of the requests, unless the environment has another one.
const SEED: u64 = 19;

/// How many requests are made at random for each operation, beside those that go through what its schema says.
const REQUESTS: &str = "8";

/// What is asked of each answer: no 5xx; only statuses, media types, headers and bodies that are described; and nothing done
/// that the table of verbs refuses.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,\
    response_schema_conformance,nobody_does_what_the_table_refuses";

/// Who asks, and what they may do with everything. The first has no token.
const ROLES: [(&str, &[&str]); 6] = [
    ("stranger", &[]),
    ("viewer", &["view"]),
    ("operator", &["view", "start", "steer"]),
    ("approver", &["view", "approve"]),
    ("author", &["view", "apply", "upload", "operate"]),
    (ADMIN, &["admin"]),
];

const ADMIN: &str = "admin";

/// What no made-up request gets done: for these, a person at an issuer, an agent that answers or has failed, a step that waits,
/// a signature, or a plugin that nothing uses would be wanted.
const NOT_DONE: [&str; 8] = [
    "deletePlugin",
    "getOutput",
    "login",
    "loginCallback",
    "logout",
    "retryRun",
    "sendSignal",
    "signPlugin",
];

const CLUSTER: &str = "apiVersion: replicante.io/v1\nkind: Cluster\nmetadata: { name: eu }\nspec:\n  agents:\n    \
    - { id: node-1, address: 'http://127.0.0.1:2' }\n";

const PLAYBOOK: &str = "apiVersion: replicante.io/v1\nkind: Playbook\nmetadata: { name: restart, version: 1.0.0 }\nspec:\n  \
    approval: required\n  concurrency: allow\n  stages:\n    - name: go\n      strategy: { use: all-at-once }\n      \
    steps: [{ name: act, action: agent.replicante.io/test.success }]\n";

/// The program.
fn schemathesis() -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(".tools/schemathesis/bin/schemathesis");
    let hint = "`make schemathesis` installs it, and needs python3 (3.10 or later) with venv";
    assert!(path.exists(), "found no {}; {hint}", path.display());
    path
}

/// The same token each time: what it is good for ends with the test.
fn token(role: &str) -> String {
    let mut random = [0; 32];
    random[..role.len()].copy_from_slice(role.as_bytes());
    new_token(random).0
}

/// A server with an access file and an audit, and some things on it.
struct Site {
    folder: tempfile::TempDir,
    server: Process,
    client: reqwest::Client,
}

impl Site {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let (mut tokens, mut rules) = (String::new(), String::new());
        for (role, verbs) in ROLES.iter().filter(|(_, verbs)| !verbs.is_empty()) {
            let sum = token_sum(&token(role));
            tokens += &format!(
                "    - {{ name: {role}, sha256: {sum}, expires: 2099-01-01T00:00:00Z }}\n"
            );
            rules += &format!("    - {{ who: ['token:{role}'], may: [{}] }}\n", verbs.join(", "));
        }
        let text = format!(
            "apiVersion: replicante.io/v1\nkind: Access\nmetadata: {{ name: site }}\nspec:\n  tokens:\n{tokens}  \
             rules:\n{rules}"
        );
        std::fs::write(path("access.yaml"), text).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_replibook"));
        command.args(["serve", "--listen", "127.0.0.1:0", "--until-stdin-closes", "--data"]);
        command.arg(path("data")).arg("--access").arg(path("access.yaml"));
        command.arg("--audit").arg(path("audit.jsonl"));
        let server = Process::start("the server", command, &path("server.log")).await.unwrap();
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { folder, server, client }
    }

    async fn ask(&self, method: &str, path: &str, body: Option<Value>) -> reqwest::Response {
        let url = format!("{}{path}", self.server.address());
        let request = self.client.request(method.parse().unwrap(), url).bearer_auth(token(ADMIN));
        let request = match body {
            Some(body) => request.json(&body),
            None => request,
        };
        request.send().await.unwrap().error_for_status().unwrap()
    }

    async fn post(&self, path: &str, body: Value) -> Value {
        self.ask("POST", path, Some(body)).await.json().await.unwrap()
    }

    /// Makes the things that requests are about, and tells what they are.
    async fn things(&self) -> Value {
        self.post("/api/v1/clusters", json!({ "document": CLUSTER })).await;
        self.post("/api/v1/playbooks", json!({ "document": PLAYBOOK })).await;
        let mut runs = Vec::new();
        for _ in 0..3 {
            let start = json!({ "playbook": "restart", "cluster": "eu" });
            let run = self.post("/api/v1/runs", start).await;
            runs.push(run["id"].as_str().unwrap().to_owned());
        }
        // One waits, one is over, and one goes on as far as an agent lets it that does not answer.
        let command = async |run: &str, command: &str| {
            let path = format!("/api/v1/runs/{run}/commands");
            self.post(&path, json!({ "command": command })).await["id"].clone()
        };
        command(&runs[1], "reject").await;
        let command = command(&runs[2], "approve").await;
        let agent = format!("/api/v1/runs/{}/agents?limit=1", runs[2]);
        wait::until("the agent's record", LIMIT, async || {
            let page: Value = self.ask("GET", &agent, None).await.json().await.unwrap();
            page["items"].get(0).is_some().then_some(())
        })
        .await;
        let plugins: Value = self.ask("GET", "/api/v1/plugins", None).await.json().await.unwrap();
        let plugin = plugins["items"][0]["digest"].as_str().unwrap().to_owned();
        let bytes = self.ask("GET", &format!("/api/v1/plugins/{plugin}/bytes"), None).await;
        let component = self.folder.path().join("plugin.wasm");
        std::fs::write(&component, bytes.bytes().await.unwrap()).unwrap();
        let spare = CLUSTER.replace("name: eu", "name: spare");
        self.post("/api/v1/clusters", json!({ "document": spare })).await;
        let source = "oci://127.0.0.1:1/plugin:1";
        let import = self.post("/api/v1/imports", json!({ "source": source })).await["id"].clone();
        json!({
            "runs": runs, "imports": [import], "clusters": ["eu", "spare"], "playbook": "restart", "plugin": plugin,
            "own": {
                "agent": "node-1", "cluster": "eu", "command": command, "playbook": "restart", "verb": "view", "version": "1.0.0",
            },
            "body": { "cluster": "eu", "playbook": "restart", "source": source },
            "commands": ["pause", "resume", "approve", "reject", "cancel"],
            "documents": [CLUSTER, PLAYBOOK], "component": component,
        })
    }
}

/// How often each operation was answered with which status.
type Answers = BTreeMap<String, BTreeMap<String, u32>>;

/// Has Schemathesis ask a server of its own as this role. Returns what went wrong, and what was answered.
async fn asked(role: &str, verbs: &[&str], seed: u64) -> (Result<(), String>, Answers) {
    let site = Site::start().await;
    let mut things = site.things().await;
    let report = site.folder.path().join("report.json");
    things["verbs"] = json!(verbs);
    things["seed"] = json!(seed);
    things["report"] = json!(report);
    let mut command = Command::new(schemathesis());
    command.args(["run", "--checks", CHECKS, "--seed", &seed.to_string(), "--workers", "1"]);
    command.args(["--max-examples", REQUESTS, "--request-timeout", "60", "--warnings", "off"]);
    // Those who may do everything get the furthest, so only their requests go through all that the schemas say.
    let phases = if role == ADMIN { "coverage,fuzzing" } else { "fuzzing" };
    command.args(["--phases", phases, "--continue-on-failure", "--no-shrink"]);
    if !verbs.is_empty() {
        command.args(["--header", &format!("Authorization: Bearer {}", token(role))]);
    }
    command.arg(format!("{}/openapi.json", site.server.address()));
    let hooks = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/openapi/hooks.py");
    command.env("SCHEMATHESIS_HOOKS", hooks).env("SITE", things.to_string());
    command.env("PYTHONDONTWRITEBYTECODE", "1").env("NO_PROXY", "*").env("NO_COLOR", "1");
    command.current_dir(site.folder.path()).stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(LIMIT, command.output()).await.expect("in time").unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    let log = std::fs::read_to_string(site.folder.path().join("server.log")).unwrap();
    let panics = log.lines().filter(|line| line.contains("panicked")).collect::<Vec<_>>();
    let result = match output.status.success() && panics.is_empty() {
        true => Ok(()),
        false => Err(format!("as {role}: {}\n{said}\n{}", output.status, panics.join("\n"))),
    };
    let answers = std::fs::read(&report).ok();
    let answers = answers.map(|text| serde_json::from_slice(&text).unwrap()).unwrap_or_default();
    site.server.stop().await;
    (result, answers)
}

/// All operations of the description. Schemathesis leaves out the one that it has the description from.
fn operations() -> BTreeSet<String> {
    let document = openapi_document();
    let items = document["paths"].as_object().unwrap().values();
    let operations = items.flat_map(|item| item.as_object().unwrap().values());
    let names = operations.map(|one| one["operationId"].as_str().unwrap().to_owned());
    names.filter(|name| name != "getOpenApi").collect()
}

#[tokio::test]
async fn every_role_is_answered_as_the_description_and_the_table_say() {
    let seed = std::env::var("REPLIBOOK_SEED").map_or(SEED, |text| text.parse().unwrap());
    println!("REPLIBOOK_SEED={seed}");
    let all = ROLES.map(|(role, verbs)| asked(role, verbs, seed));
    let found = futures::future::join_all(all).await;
    let mut wrong = Vec::new();
    for ((role, _), (result, answers)) in ROLES.iter().zip(found) {
        println!("{role}: {answers:?}");
        wrong.extend(result.err());
        // Nothing was left out, and much of it was done, so that the checks had something to look at.
        let asked: BTreeSet<_> = answers.keys().cloned().collect();
        assert_eq!(operations().difference(&asked).collect::<Vec<_>>(), [""; 0], "as {role}");
        if *role == ADMIN {
            let done = |name: &&String| answers[*name].keys().any(|status| status.as_str() < "400");
            let not_done: Vec<_> = asked.iter().filter(|name| !done(name)).collect();
            let unexpected: Vec<_> =
                not_done.into_iter().filter(|name| !NOT_DONE.contains(&name.as_str())).collect();
            assert_eq!(unexpected, [""; 0], "nobody did this");
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}
