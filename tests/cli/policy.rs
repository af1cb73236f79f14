//! A real server with a policy, real signatures, and `replictl` beside it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use replibook::credentials::Credentials;
use replibook::plugin::{HostConfig, PluginHost};
use replibook::run::Digest;
use serde_json::Value;

use super::replictl;
use crate::crash::server::{Client, Server, Settings};
use crate::minisign::Key;
use crate::wait;

/// Far longer than a look at the file takes, even on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

/// A server with a policy, and a folder for it and for documents.
struct Scene {
    folder: tempfile::TempDir,
    key: Key,
    server: Server,
    client: Client,
}

impl Scene {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let key = Key::new();
        let file = folder.path().join("policy.yaml");
        std::fs::write(&file, policy("house", &key.public, RULES)).unwrap();
        let credentials = folder.path().join("credentials");
        std::fs::create_dir_all(credentials.join("house")).unwrap();
        let about = "use: registry\norigins: [https://registry.example.com]\n";
        std::fs::write(credentials.join("house/for.yaml"), about).unwrap();
        // The settings of a server are few and live as long as the test.
        let kept = |path: &Path| -> &'static str {
            Box::leak(path.to_str().unwrap().to_owned().into_boxed_str())
        };
        let args = vec!["--policy", kept(&file), "--credentials", kept(&credentials)];
        let settings = Settings { args, ..Settings::in_dir(folder.path()) };
        let server = Server::start_with(settings, None).await;
        Self { folder, key, server, client: Client::new() }
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    }

    async fn ctl(&self, args: &[&str]) -> (i32, String, String) {
        replictl(&format!("http://{}", self.server.address), args).await
    }

    /// What `/readyz` says about the policy, once `wanted` holds for it.
    async fn policy_now(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let url = format!("http://{}/readyz", self.server.address);
        wait::until(what, LIMIT, async || {
            let ready: Value = self.client.get(&url).await;
            Some(ready["policy"].clone()).filter(&wanted)
        })
        .await
    }

    fn hang_up(&self) {
        let id = i32::try_from(self.server.process.id().unwrap()).unwrap();
        let process = rustix::process::Pid::from_raw(id).unwrap();
        rustix::process::kill_process(process, rustix::process::Signal::HUP).unwrap();
    }
}

const RULES: &str =
    "{ match: 'file:*', signed_by: [ops], may: { actions: ['agent.replicante.io/*'] } }";

fn policy(name: &str, key: &str, rules: &str) -> String {
    format!(
        "apiVersion: replicante.io/v1\nkind: Policy\nmetadata: {{ name: {name} }}\nspec:\n  keys: {{ ops: '{key}' }}\n  \
         plugins: [{rules}]\n"
    )
}

fn playbook(version: &str, grants: &str) -> String {
    format!(
        "apiVersion: replicante.io/v1
kind: Playbook
metadata: {{ name: restart, version: {version} }}
spec:
  approval: required
  plugins:
    own: {{ source: 'file:own.wasm'{grants} }}
  stages:
    - name: all
      strategy: {{ use: rolling }}
      steps: [{{ name: own, use: own, with: {{ kind: agent.replicante.io/test.success }} }}]
"
    )
}

const CLUSTER: &str = "apiVersion: replicante.io/v1
kind: Cluster
metadata: { name: eu }
spec: { agents: [{ id: node-1, address: 'http://127.0.0.1:1' }] }
";

/// The built-in step `action`, with a digest of its own.
fn step(tag: u8) -> Vec<u8> {
    let host = PluginHost::start(HostConfig { threads: Some(0), ..HostConfig::default() }).unwrap();
    let action = host.builtins().iter().find(|one| one.info.name == "action").unwrap();
    let mut bytes = action.bytes.to_vec();
    bytes.extend([0, 2, 1, tag]);
    bytes
}

#[tokio::test]
async fn a_server_holds_plugins_to_its_policy() {
    let scene = Scene::start().await;
    let bytes = step(b'a');
    scene.write("own.wasm", &bytes);
    let first = scene.write("first.yaml", playbook("1.0.0", ""));
    let (code, out, err) = scene.ctl(&["apply", "-f", &first]).await;
    assert_eq!((code, out.as_str()), (3, ""), "{err}");
    assert!(err.contains("first.yaml:7:"), "{err}");
    assert!(err.contains("found no signature of a key that the policy knows"), "{err}");

    scene.write("own.wasm.minisig", Key::new().sign(&bytes));
    assert_eq!(scene.ctl(&["apply", "-f", &first]).await.0, 3, "that of another key");
    scene.write("own.wasm.minisig", scene.key.sign(b"other bytes"));
    let (code, _, err) = scene.ctl(&["apply", "-f", &first]).await;
    assert!(code == 3 && err.contains("is not over these bytes"), "{err}");
    scene.write("own.wasm.minisig", "no signature");
    let (code, _, err) = scene.ctl(&["apply", "-f", &first]).await;
    assert!(
        code == 3 && err.contains("failed to read the signature: found 1 of its lines"),
        "{err}"
    );

    scene.write("own.wasm.minisig", scene.key.sign(&bytes));
    let (code, out, err) = scene.ctl(&["apply", "-f", &first]).await;
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("uploaded") && out.contains("created"), "{out}");
    let (_, out, _) = scene.ctl(&["describe", "playbook", "restart"]).await;
    assert!(out.contains("Signed:   by ops (key ") && out.contains("made by a test"), "{out}");

    // A grant that the policy does not give has its place.
    let wide = scene.write("wide.yaml", playbook("1.1.0", ", grants: { actions: ['*'] }"));
    let (code, _, err) = scene.ctl(&["apply", "--yes", "-f", &wide]).await;
    assert_eq!(code, 3, "{err}");
    assert!(
        err.contains("wide.yaml:7:") && err.contains("/spec/plugins/own/grants/actions/0"),
        "{err}"
    );
    assert!(
        err.contains("found: actions *") && err.contains("expected: agent.replicante.io/*"),
        "{err}"
    );

    // Grants that grow are shown, and want a yes.
    let more = scene.write(
        "more.yaml",
        playbook("1.1.0", ", grants: { actions: [agent.replicante.io/test.success] }"),
    );
    let (code, out, err) = scene.ctl(&["apply", "-f", &more]).await;
    assert_eq!((code, out.as_str()), (2, ""), "{err}");
    assert!(
        err.contains("grants of playbook restart version 1.1.0, since version 1.0.0:\n"),
        "{err}"
    );
    assert!(err.contains("  + own: actions agent.replicante.io/test.success\n"), "{err}");
    assert!(
        err.contains("there is no terminal to ask at; nothing was applied, expected --yes"),
        "{err}"
    );
    let (code, _, err) = scene.ctl(&["apply", "--dry-run", "-f", &more]).await;
    assert!(code == 0 && err.contains("+ own: actions"), "{err}");
    let (code, _, err) = scene.ctl(&["apply", "--yes", "-f", &more]).await;
    assert_eq!(code, 0, "{err}");
    let (code, _, err) = scene.ctl(&["apply", "-f", &more]).await;
    assert!(code == 0 && !err.contains("grants of"), "nothing changes: {err}");
    let less = scene.write("less.yaml", playbook("1.2.0", ""));
    let (code, _, err) = scene.ctl(&["apply", "-f", &less]).await;
    assert!(
        code == 0 && err.contains("  - own: actions agent.replicante.io/test.success\n"),
        "{err}"
    );
    scene.server.stop().await;
}

#[tokio::test]
async fn who_signed_is_kept_with_the_playbook_and_engines_say_which_files_they_have() {
    let scene = Scene::start().await;
    let bytes = step(b'd');
    scene.write("own.wasm", &bytes);
    scene.write("own.wasm.minisig", scene.key.sign(&bytes));
    let first = scene.write("first.yaml", playbook("1.0.0", ""));
    let (code, _, err) = scene.ctl(&["apply", "-f", &first]).await;
    assert_eq!(code, 0, "{err}");
    let (_, out, _) = scene.ctl(&["describe", "playbook", "restart"]).await;
    assert!(out.contains("Signers:  when applied: ops (key "), "{out}");
    let (_, out, _) = scene.ctl(&["describe", "plugin", Digest::of(&bytes).as_str()]).await;
    assert!(out.contains("restart@1.0.0 (plugin signed by ops when it was applied)\n"), "{out}");

    let house = Digest::of(policy("house", &scene.key.public, RULES).as_bytes());
    let (_, out, err) = scene.ctl(&["get", "engines", "-o", "wide"]).await;
    assert!(out.contains("  POLICY  ") && out.contains(house.short()), "{out}{err}");
    let credentials = Credentials::open(&scene.folder.path().join("credentials")).unwrap();
    let sum = credentials.sum().unwrap();
    assert!(out.contains("  CREDENTIALS  ") && out.contains(sum.short()), "{out}{err}");
    scene.server.stop().await;
}

#[tokio::test]
async fn a_policy_that_is_tightened_or_broken_is_told_of_and_live_runs_go_on() {
    let scene = Scene::start().await;
    let bytes = step(b'b');
    scene.write("own.wasm", &bytes);
    scene.write("own.wasm.minisig", scene.key.sign(&bytes));
    let (first, cluster) =
        (scene.write("p.yaml", playbook("1.0.0", "")), scene.write("c.yaml", CLUSTER));
    let (code, _, err) = scene.ctl(&["apply", "-f", &first, "-f", &cluster]).await;
    assert_eq!(code, 0, "{err}");
    let start = ["run", "start", "restart", "--cluster", "eu", "-o", "name"];
    let (code, run, err) = scene.ctl(&start).await;
    assert_eq!(code, 0, "{err}");

    scene.write("policy.yaml", "kind: Policy\nspec: [");
    let now = scene.policy_now("the broken policy", |now| !now["problem"].is_null()).await;
    assert_eq!(now["name"], "house", "the last good one counts");
    assert!(now["problem"].as_str().unwrap().contains("policy.yaml"), "{now}");
    scene.write("own.wasm", step(b'c'));
    let other = scene.write("other.yaml", playbook("2.0.0", ""));
    std::fs::remove_file(scene.folder.path().join("own.wasm.minisig")).unwrap();
    assert_eq!(scene.ctl(&["apply", "-f", &other]).await.0, 3, "by the last good policy");

    scene.write("policy.yaml", policy("tight", &Key::new().public, RULES));
    scene.hang_up();
    let is_tight = |now: &Value| now["name"] == "tight" && !now["outside"].is_null();
    let now = scene.policy_now("the tight policy", is_tight).await;
    assert!(now.get("problem").is_none(), "{now}");
    assert_eq!(
        (&now["outside"]["runs"], now["outside"]["first"][0].as_str()),
        (&1.into(), Some(run.trim()))
    );
    let (code, _, err) = scene.ctl(&start).await;
    assert_eq!(code, 11, "{err}");
    assert!(
        err.contains(
            "playbook restart version 1.0.0, plugin \"own\": rule 1 (file:*) of policy \"tight\""
        ),
        "{err}"
    );

    let (_, out, _) = scene.ctl(&["describe", "run", run.trim()]).await;
    let signers = "Signers:  when applied: ops (key ";
    assert!(out.contains(signers), "the policy has another key now: {out}");

    // The run that waited goes on.
    let (code, _, err) = scene.ctl(&["run", "approve", run.trim()]).await;
    assert_eq!(code, 0, "{err}");
    let log = scene.server.log();
    assert!(log.contains("the last good policy still counts"), "{log}");
    assert!(log.contains("unfinished runs go on that this policy would not let start"), "{log}");
    scene.server.stop().await;
}

#[tokio::test]
async fn a_policy_is_validated_and_explained_and_not_applied() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: String| -> PathBuf {
        let path: &Path = folder.path();
        std::fs::write(path.join(name), text).unwrap();
        path.join(name)
    };
    let good = write("good.yaml", policy("house", &Key::new().public, RULES));
    let good = good.to_str().unwrap();
    let (code, out, err) = replictl(super::NOWHERE, &["validate", "-f", good]).await;
    assert!(code == 0 && out.contains("policy") && out.contains("house"), "{out}{err}");
    let (code, _, err) = replictl(super::NOWHERE, &["apply", "-f", good]).await;
    assert_eq!(code, 3, "{err}");
    assert!(
        err.contains("good.yaml:2:7: /kind: a policy is a file of the server, and is not applied"),
        "{err}"
    );
    let bad = write("bad.yaml", policy("house", "RWQ", RULES));
    let (code, _, err) = replictl(super::NOWHERE, &["validate", "-f", bad.to_str().unwrap()]).await;
    assert!(code == 3 && err.contains("bad.yaml:5:16: /spec/keys/ops: not a valid key"), "{err}");
    let (code, out, _) = replictl(super::NOWHERE, &["explain", "policy.spec.plugins.may"]).await;
    assert!(code == 0 && out.contains("networks: a list, of each: a text"), "{out}");
    let (code, out, _) = replictl(super::NOWHERE, &["explain", "policy", "--schema"]).await;
    assert_eq!((code, out.as_str()), (0, include_str!("../../schemas/policy.json")));
}

#[tokio::test]
async fn a_server_does_not_start_without_the_policy_that_was_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("policy.yaml");
    let misspelt = policy("house", &Key::new().public, "{ match: 'builtin:metrics' }");
    for (content, says) in [
        (None, "failed to read"),
        (Some("kind: Policy\n"), "failed to use"),
        (Some(misspelt.as_str()), "rule 1 is about the built-in plugin \"metrics\""),
    ] {
        if let Some(content) = content {
            std::fs::write(&file, content).unwrap();
        }
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_replibook"));
        command
            .args(["serve", "--listen", "127.0.0.1:0", "--data"])
            .arg(folder.path().join("data"));
        command.arg("--policy").arg(&file).env("REPLIBOOK_STORE", "sqlite");
        command.stdin(std::process::Stdio::null()).kill_on_drop(true);
        let (code, out, err) = super::read(command.output()).await;
        assert!(code != 0 && out.is_empty() && err.contains(says), "{says} in {err}");
    }
}
