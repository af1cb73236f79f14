//! The scene with a registry: both plugins of the example are signed, pushed, pulled by their digests under a policy, and
//! run. Then one of them is changed after it was signed, and is refused. Registry and signer are programs of others.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde_json::{Value, json};
use tokio::process::Command;

use super::command::{CLUSTER, DemoArgs};
use super::ending::{conclude, export};
use super::fleet::plan;
use super::scene::Scene;
use super::shell::{folder, shell, write};
use super::terminal::{say, type_in};
use crate::cli::client::Client;

/// Starts a registry with the configuration `$1`. It would go on when its standard input closes, as that of a process that
/// dies does; so what waits for that is beside it, and ends it.
const REGISTRY: &str = r#"exec 3<&0
(trap '' INT TERM HUP; exec <&3 3<&-; cat; kill -9 $$) >/dev/null 2>&1 &
exec docker-registry serve "$1" </dev/null 2>&1 3<&-"#;

/// The version under which the plugins are pushed.
const VERSION: &str = "1.0.0";

/// Exit code of `replictl` for a document with problems; a plugin that is refused is one.
const INVALID: u8 = 3;

/// The playbook of the example, and the plugins that it names.
struct Example {
    folder: PathBuf,
    text: String,
    version: String,
    /// Their names, and their sources as they are written.
    plugins: Vec<(String, String)>,
}

/// Plays the scene. The exit code is that of the run, or 1 if the changed plugin is not refused.
pub(super) async fn play(
    args: &DemoArgs,
    name: &str,
    playbook: &Path,
    scene: &mut Scene,
) -> anyhow::Result<u8> {
    let nodes = plan(args.agents, args.fail)?;
    let example = Example::read(playbook)?;
    std::fs::create_dir(folder(scene)).context("failed to make a folder for the plugins")?;

    say("starting a registry: docker-registry, on a port of this machine");
    let host = start_registry(scene).await?;
    say(&format!("  registry http://{host}"));
    say("\n--- who makes the plugins signs them, and pushes them with their signatures");
    let references = push_all(scene, &example, &host).await?;

    say("\n--- the server takes only plugins of this registry that are signed, by its policy");
    write(scene, "policy.yaml", &policy(&host, &public_key(scene)?))?;
    shell(scene, "cat policy.yaml").await?.done()?;
    say("\n$ replibook serve --policy policy.yaml");
    let policy = folder(scene).join("policy.yaml");
    let more = ["--policy".into(), policy.into()];
    let server = scene.start_server(args.store.as_deref(), &more).await?;
    say(&format!("  server   {server}"));
    let fleet = scene.start_agents(nodes).await?;
    for (node, address) in fleet.agents() {
        say(&format!("  {:<8} {address}", node.id));
    }
    let cluster = fleet.cluster_document(CLUSTER)?;
    write(scene, "cluster.yaml", &cluster)?;

    say("\n--- the playbook names its plugins by digest: nobody can put others in their place");
    let text = example.naming(&references);
    write(scene, "playbook.yaml", &text)?;
    shell(scene, "grep source: playbook.yaml").await?.done()?;
    let applied = shell(scene, "replictl apply -f cluster.yaml -f playbook.yaml").await?.code;
    if applied != 0 {
        return conclude(args, &server, None, applied).await;
    }
    let start = ["run", "start", name, "--cluster", CLUSTER, "--watch"].map(OsString::from);
    let mut code = type_in(scene, &start).await?;
    if let Some(file) = &args.export {
        code = export(scene, &Client::new(&server)?, &[], file, code).await?;
    }
    if code == 0 {
        code = refuse(scene, &example, &host, &text, &references).await?;
    }
    conclude(args, &server, None, code).await
}

/// Somebody changes the first plugin, and uses the signature that it had. Returns 0 if the server refuses it.
async fn refuse(
    scene: &mut Scene,
    example: &Example,
    host: &str,
    text: &str,
    references: &[String],
) -> anyhow::Result<u8> {
    let Some(((name, _), right)) = example.plugins.iter().zip(references).next() else {
        anyhow::bail!("found no plugin in the example");
    };
    say(&format!("\n--- somebody changes {name}, and pushes it with the signature that it had"));
    // A section that says nothing: it is the same plugin, with other bytes.
    let change = format!("(cat {name}.wasm; printf '\\0\\2\\1x') > changed.wasm");
    shell(scene, &change).await?.done()?;
    shell(scene, &format!("cp {name}.wasm.minisig changed.wasm.minisig")).await?.done()?;
    let changed = push(scene, "changed.wasm", &format!("{host}/ops/{name}:changed")).await?;
    let Example { version, .. } = example;
    let text = text.replacen(&format!("version: {version}"), "version: 99.0.0", 1);
    write(scene, "changed.yaml", &text.replace(right, &changed))?;
    shell(scene, "grep source: changed.yaml").await?.done()?;
    let applied = shell(scene, "replictl apply -f changed.yaml").await?;
    say(&format!("\nexit code {}", applied.code));
    let words: Vec<&str> = applied.err.split_whitespace().collect();
    if applied.code == INVALID && words.join(" ").contains("is not over these bytes") {
        say("the changed plugin was refused, and nothing of it ran");
        return Ok(0);
    }
    say("the changed plugin was not refused, as it has to be");
    Ok(1)
}

impl Example {
    fn read(playbook: &Path) -> anyhow::Result<Self> {
        let failed = || format!("failed to read {}", playbook.display());
        let text = std::fs::read_to_string(playbook).with_context(failed)?;
        let document: Value = serde_yaml::from_str(&text).with_context(failed)?;
        let version = document.pointer("/metadata/version").and_then(Value::as_str);
        let version = version.context("found no version").with_context(failed)?.to_owned();
        let plugins = document.pointer("/spec/plugins").and_then(Value::as_object);
        let source = |(name, plugin): (&String, &Value)| {
            let source = plugin.get("source").and_then(Value::as_str)?;
            source.starts_with("file:").then(|| (name.clone(), source.to_owned()))
        };
        let plugins = plugins.into_iter().flatten().filter_map(source).collect();
        let folder = playbook.parent().unwrap_or(Path::new("")).to_owned();
        Ok(Self { folder, text, version, plugins })
    }

    /// The playbook with these references in place of files.
    fn naming(&self, references: &[String]) -> String {
        let sources = self.plugins.iter().map(|(_, source)| source).zip(references);
        sources.fold(self.text.clone(), |text, (source, reference)| text.replace(source, reference))
    }
}

async fn start_registry(scene: &mut Scene) -> anyhow::Result<String> {
    let config = json!({
        "version": 0.1,
        "log": { "level": "info" },
        "storage": { "filesystem": { "rootdirectory": scene.dir().join("registry") } },
        "http": { "addr": "127.0.0.1:0" },
    });
    let file = scene.dir().join("registry.json");
    std::fs::write(&file, config.to_string()).context("failed to write a configuration")?;
    let mut command = Command::new("sh");
    command.args(["-c", REGISTRY, "registry"]).arg(file).env("OTEL_TRACES_EXPORTER", "none");
    let started = scene.start_registry(command).await;
    started.context("this needs docker-registry, which `make test-registry` installs")
}

/// Makes a key, and signs and pushes each plugin. Returns their references by digest.
async fn push_all(scene: &mut Scene, example: &Example, host: &str) -> anyhow::Result<Vec<String>> {
    let made = shell(scene, "minisign -G -W -p ops.pub -s ops.key").await?;
    made.done().context("this needs minisign, which `make minisign` gets")?;
    let mut references = Vec::new();
    for (name, source) in &example.plugins {
        let file = example.folder.join(source.trim_start_matches("file:"));
        let copied = std::fs::copy(&file, folder(scene).join(format!("{name}.wasm")));
        copied.with_context(|| format!("failed to copy {}", file.display()))?;
        let sign = format!("minisign -S -s ops.key -m {name}.wasm -t '{name} {VERSION}'");
        shell(scene, &sign).await?.done()?;
        let place = format!("{host}/ops/{name}:{VERSION}");
        references.push(push(scene, &format!("{name}.wasm"), &place).await?);
    }
    Ok(references)
}

/// Pushes a plugin, and returns its reference by digest.
async fn push(scene: &mut Scene, file: &str, place: &str) -> anyhow::Result<String> {
    let pushed =
        shell(scene, &format!("replictl plugin push {file} oci://{place} -o name")).await?;
    let reference = pushed.out.trim().to_owned();
    pushed.done()?;
    Ok(reference)
}

/// The public key: the second line of its file.
fn public_key(scene: &Scene) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(folder(scene).join("ops.pub"));
    let text = text.context("failed to read the public key")?;
    Ok(text.lines().nth(1).context("found no public key in ops.pub")?.to_owned())
}

fn policy(host: &str, key: &str) -> String {
    format!(
        "apiVersion: replicante.io/v1\nkind: Policy\nmetadata: {{ name: demo }}\nspec:\n  keys:\n    ops: {key}\n  \
         plugins:\n    - match: oci://{host}/ops/*\n      signed_by: [ops]\n      \
         may: {{ actions: [\"demo.example.com/*\"] }}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::playbook::policy::parse_policy;
    use crate::playbook::{Source, parse_playbook};

    #[test]
    fn the_example_has_two_plugins_and_names_them_by_reference_afterwards() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let example = Example::read(&root.join("examples/rolling-restart/playbook.yaml")).unwrap();
        let names: Vec<_> = example.plugins.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["zone-by-zone", "safe-restart"]);
        let digest = crate::run::Digest::of(b"x");
        let of = |name: &&str| format!("oci://127.0.0.1:5000/ops/{name}@{digest}");
        let references: Vec<String> = names.iter().map(of).collect();
        let document = parse_playbook(example.naming(&references).as_bytes()).unwrap();
        assert!(document.plugins().iter().all(|one| matches!(one.source, Source::Oci(_))));
    }

    #[test]
    fn the_policy_is_one() {
        let key = "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3";
        let policy = parse_policy(policy("127.0.0.1:5000", key).as_bytes()).unwrap();
        assert_eq!(policy.plugins[0].signed_by, ["ops"]);
    }
}
