//! Plugins from registries, with the real programs and a real registry.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use replibook::cli::Client;
use replibook::cli::demo::Process;
use replibook::run::Digest;
use serde_json::Value;
use tokio::process::Command;

use crate::registry_server::{Registry, copied};
use crate::{examples, wait};

#[path = "../registry/artefact.rs"]
#[allow(dead_code, reason = "shared with the tests of the client")]
mod artefact;
#[path = "../registry/liar.rs"]
#[allow(dead_code, reason = "shared with the tests of the client")]
mod liar;
mod signed;

use liar::{Asked, Liar, Reply};

/// No command takes longer, even on a busy machine.
const DEADLINE: Duration = Duration::from_secs(120);

/// A server and the folder that everything of a test is in.
struct Scene {
    server: Process,
    folder: tempfile::TempDir,
}

impl Scene {
    async fn start() -> Self {
        Self::with_policy(None).await
    }

    /// With a server that has this policy.
    async fn with_policy(policy: Option<&str>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_replibook"));
        command.args(["serve", "--until-stdin-closes", "--listen", "127.0.0.1:0", "--data"]);
        command.arg(folder.path().join("server"));
        if let Some(policy) = policy {
            command.arg("--policy").arg(put(&folder.path().join("policy.yaml"), policy));
        }
        let log = folder.path().join("server.log");
        let server = Process::start("the server", command, &log).await.unwrap();
        Self { server, folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_replictl"));
        command.args(args).current_dir(self.folder.path()).env("HOME", self.folder.path());
        command.env("REPLIBOOK_SERVER", self.server.address());
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    async fn replictl(&self, args: &[&str]) -> (i32, String, String) {
        read(self.command(args).output()).await
    }

    /// The output of a command that succeeds.
    async fn ok(&self, args: &[&str]) -> String {
        let (code, out, err) = self.replictl(args).await;
        assert_eq!(code, 0, "{args:?}:\n{out}\n{err}");
        out
    }

    async fn json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.ok(&[args, &["-o", "json"]].concat()).await).unwrap()
    }
}

async fn read(output: impl Future<Output = std::io::Result<Output>>) -> (i32, String, String) {
    let output = tokio::time::timeout(DEADLINE, output).await.expect("in time").unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
}

fn example(name: &str) -> PathBuf {
    examples::all().join("plugins/rust/target/wasm32-wasip2/release").join(name)
}

fn playbook(version: &str, source: &str) -> String {
    format!(
        "# Of the team.\napiVersion: replicante.io/v1\nkind: Playbook\n\
         metadata: {{ name: zones, version: {version} }}\nspec:\n  approval: required\n  plugins:\n    zones:\n      \
         source: {source}   # theirs\n  stages:\n    - name: all\n      strategy: {{ use: zones }}\n      steps: \
         [{{ name: a, action: agent.replicante.io/test.success }}]\n"
    )
}

const CLUSTER: &str = "apiVersion: replicante.io/v1\nkind: Cluster\nmetadata: { name: eu }\nspec:\n  agents: \
     [{ id: node-1, address: 'http://127.0.0.1:1' }]\n";

fn put(path: &Path, text: &str) -> String {
    std::fs::write(path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_plugin_goes_from_a_file_through_a_registry_into_a_run() {
    let (scene, registry) = (Scene::start().await, Registry::start());
    let file = example("zone_by_zone.wasm");
    let (path, reference) = (file.to_str().unwrap(), registry.reference("ops/zones:1"));
    let digest = Digest::of(&std::fs::read(&file).unwrap());
    let pushed = scene.json(&["plugin", "push", path, &reference]).await;
    assert_eq!(pushed["digest"], digest.as_str());
    let manifest = pushed["manifest"].as_str().unwrap().to_owned();

    // From the registry it is the same plugin, and the same file.
    let (of_file, of_registry) = (
        scene.json(&["plugin", "inspect", path]).await,
        scene.json(&["plugin", "inspect", &reference]).await,
    );
    assert_eq!(
        (&of_file["digest"], &of_file["imports"]),
        (&of_registry["digest"], &of_registry["imports"])
    );
    assert_eq!(
        (&of_file["name"], &of_registry["manifest"]),
        (&"zone-by-zone".into(), &manifest.as_str().into())
    );
    let imports = of_file["imports"].as_array().unwrap();
    assert!(imports.iter().any(|name| name == "replicante:playbook/roster@0.1.0"), "{imports:?}");
    let people = scene.ok(&["plugin", "inspect", path]).await;
    assert!(people.contains("Imports:  replicante:playbook/roster@0.1.0"), "{people}");
    let copy = scene.path("copy.wasm");
    scene.ok(&["plugin", "pull", &reference, "-o", copy.to_str().unwrap()]).await;
    assert_eq!(std::fs::read(&copy).unwrap(), std::fs::read(&file).unwrap());
    let (code, _, err) = scene.replictl(&["plugin", "pull", &reference]).await;
    assert_eq!(code, 2, "{err}");

    let document = put(&scene.path("zones.yaml"), &playbook("1.0.0", &reference));
    let (code, out, err) = scene.replictl(&["apply", "-f", &document]).await;
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("imported"), "{out}");
    let size = std::fs::metadata(&file).unwrap().len();
    assert!(err.contains(&format!("imported {reference}: {size} of {size} bytes")), "{err}");
    assert!(scene.ok(&["apply", "-f", &document]).await.contains("unchanged"));
    let listed = scene.json(&["plugin", "list"]).await;
    assert_eq!(listed, scene.json(&["get", "plugins"]).await);

    // Where it came from is with the plugin, the playbook and the run.
    let described = scene.ok(&["describe", "plugin", digest.as_str()]).await;
    assert!(described.contains(&reference) && described.contains(&manifest), "{described}");
    let pin = &scene.json(&["get", "playbook", "zones@1.0.0"]).await["plugins"]["zones"];
    assert_eq!(
        (&pin["provenance"]["manifest"], &pin["source"]),
        (&manifest.into(), &reference.into())
    );
    assert!(pin["provenance"]["by"].as_str().is_some_and(|by| !by.is_empty()), "{pin}");
    put(&scene.path("eu.yaml"), CLUSTER);
    scene.ok(&["apply", "-f", "eu.yaml"]).await;
    scene.replictl(&["run", "start", "zones@1.0.0", "--cluster", "eu"]).await;
    let run = scene.json(&["run", "list"]).await[0]["id"].as_str().unwrap().to_owned();
    let client = Client::new(scene.server.address()).unwrap();
    let snapshot = client.snapshot(run.parse().unwrap()).await.unwrap();
    assert_eq!(serde_json::to_value(&snapshot.playbook.plugins["zones"]).unwrap(), *pin);
}

#[tokio::test]
async fn a_moved_tag_is_seen_and_a_pinned_one_is_not_followed() {
    let (scene, registry) = (Scene::start().await, Registry::start());
    let reference = registry.reference("ops/zones:1");
    let (zones, asks) = (example("zone_by_zone.wasm"), example("ask_first.wasm"));
    let digest = |file: &Path| Digest::of(&std::fs::read(file).unwrap());
    scene.ok(&["plugin", "push", zones.to_str().unwrap(), &reference]).await;
    let text = playbook("1.0.0", &reference);
    let document = put(&scene.path("zones.yaml"), &text);
    scene.ok(&["apply", "-f", &document]).await;

    // Nothing but the line with the digest is new.
    let (code, out, err) = scene.replictl(&["pin", "-f", &document]).await;
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("pinned"), "{out}");
    let line = format!("   # theirs\n      digest: {}\n", digest(&zones));
    let pinned = std::fs::read_to_string(&document).unwrap();
    assert_eq!(pinned, text.replace("   # theirs\n", &line));
    assert!(scene.ok(&["pin", "-f", &document]).await.contains("unchanged"));

    // Another client moves the tag.
    scene.ok(&["plugin", "push", asks.to_str().unwrap(), &registry.reference("ops/asks:1")]).await;
    let place = |name: &str| format!("docker://{}/ops/{name}:1", registry.host);
    copied(&registry.skopeo(&place("asks"), &place("zones")));
    let second = put(&scene.path("again.yaml"), &text);
    let (code, _, err) = scene.replictl(&["apply", "-f", &second]).await;
    assert_eq!(code, 4, "{err}");
    let flat: String = err.split_whitespace().collect();
    for digest in [digest(&zones), digest(&asks)] {
        assert!(flat.contains(digest.as_str()), "{err}");
    }
    let (code, _, err) = scene.replictl(&["apply", "-f", &document]).await;
    assert_eq!(code, 3, "{err}");
    assert!(err.contains("has the plugin sha256:") && err.contains("zones.yaml:9:15"), "{err}");
    let (code, _, err) = scene.replictl(&["pin", "-f", &document]).await;
    assert_eq!(code, 3, "{err}");
    assert_eq!(std::fs::read_to_string(&document).unwrap(), pinned);
    assert!(scene.ok(&["pin", "-f", &document, "--update"]).await.contains("updated"));
    assert!(std::fs::read_to_string(&document).unwrap().contains(digest(&asks).as_str()));
}

#[tokio::test]
async fn what_can_not_be_imported_is_shown_at_its_place_and_nothing_is_applied() {
    let (scene, registry) = (Scene::start().await, Registry::start());
    let document =
        put(&scene.path("zones.yaml"), &playbook("1.0.0", &registry.reference("ops/none:1")));
    put(&scene.path("eu.yaml"), CLUSTER);
    let (code, _, err) = scene.replictl(&["apply", "-f", &document, "eu.yaml"]).await;
    assert_eq!(code, 3, "{err}");
    assert!(err.contains("zones.yaml:9:15") && err.contains("MANIFEST_UNKNOWN"), "{err}");
    let (code, ..) = scene.replictl(&["get", "cluster", "eu"]).await;
    assert_eq!(code, 4);
    let (code, _, err) =
        scene.replictl(&["plugin", "inspect", &registry.reference("ops/none:1")]).await;
    assert_eq!(code, 4, "{err}");
    let (code, _, err) =
        scene.replictl(&["plugin", "push", &document, &registry.reference("a:1")]).await;
    assert_eq!(code, 3, "{err}");
}

#[tokio::test]
async fn an_interrupted_apply_leaves_nothing() {
    let scene = Scene::start().await;
    let bytes = std::fs::read(example("zone_by_zone.wasm")).unwrap();
    let manifest = artefact::manifest(&bytes);
    let registry = Liar::start(move |asked: &Asked| match asked.is_for("/manifests/") {
        _ if asked.is_for_signatures() => Reply::status(404, ""),
        true => Reply::json(&manifest),
        false => Reply::Silence,
    })
    .await;
    let before = scene.json(&["get", "plugins"]).await;
    let source = format!("oci://{}/zones:1", registry.host);
    let document = put(&scene.path("zones.yaml"), &playbook("1.0.0", &source));
    let mut apply = scene.command(&["apply", "-f", &document]).spawn().unwrap();
    wait::until("the blob to be asked for", DEADLINE, async || {
        registry.asked().iter().any(|asked| asked.is_for("/blobs/")).then_some(())
    })
    .await;
    let id = apply.id().unwrap().to_string();
    assert!(Command::new("kill").args(["-INT", &id]).status().await.unwrap().success());
    let status = tokio::time::timeout(DEADLINE, apply.wait()).await.unwrap().unwrap();
    assert_eq!(status.code(), Some(130));
    assert_eq!(scene.json(&["get", "plugins"]).await, before);
    let (code, ..) = scene.replictl(&["get", "playbook", "zones"]).await;
    assert_eq!(code, 4);
}
