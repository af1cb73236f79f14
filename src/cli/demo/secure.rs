//! The scene of a server that may stand on a network: everything goes over TLS, everybody has a token and a role, and a run
//! starts once two people have approved it who did not start it. Whoever has the wrong role is refused, and the audit tells.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde_json::{Value, json};

use super::audited;
use super::authority::{Authority, Used};
use super::certificate::Purpose;
use super::command::{CLUSTER, DemoArgs};
use super::ending::{conclude, export, newest_run};
use super::fleet::{credentials_of, plan};
use super::scene::Scene;
use super::shell::{folder, shell, write};
use super::terminal::{say, type_in};
use crate::cli::client::{Client, Repeat};
use crate::cli::error::ClientError;
use crate::cli::trust::Trust;

/// The tokens: one that may do everything, one of a pipeline, and one for each of three operators.
const EVERYBODY: &str = "admin ci olga alice bob";

/// Who may do what.
const RULES: &str = "  rules:
    - { who: [\"token:admin\"], may: [admin] }
    - who: [\"token:ci\"]
      may: [view, apply, upload]
      playbooks: [\"approved-*\"]
    - who: [\"token:olga\", \"token:alice\", \"token:bob\"]
      may: [view, start, steer, approve]
      playbooks: [\"approved-*\"]
      clusters: [\"demo\"]
";

/// What the server shows to everybody who asks it.
const OF_SERVER: Used = Used { purpose: Purpose::Server, document: "use: server\n", checks: false };

/// What the server shows to the agents, and how it checks theirs.
const TOWARDS_AGENTS: Used = Used {
    purpose: Purpose::Client,
    document: "use: agent\norigins: [\"https://127.0.0.1:*\"]\n",
    checks: true,
};

/// What an agent shows, and how it checks whoever asks it.
const OF_AGENT: Used = Used { purpose: Purpose::Server, document: "use: server\n", checks: true };

/// Exit code of `replictl` for a run that waits for approval.
const WAITS: u8 = 6;

/// Exit code of `replictl` for what somebody may not do.
const NOT_ALLOWED: u8 = 11;

/// Plays the scene. The exit code is that of the run; it is an error if anybody is let through who should not be, or the
/// other way round.
pub(super) async fn play(
    args: &DemoArgs,
    playbook: &str,
    path: &Path,
    scene: &mut Scene,
) -> anyhow::Result<u8> {
    let (server, client) = put_up(args, scene).await?;
    say("\n--- an administrator tells of the agents; a pipeline applies the playbook");
    let cluster = scene.dir().join("cluster.yaml");
    for (who, file) in [("admin", cluster.as_path()), ("ci", path)] {
        let file = file.to_string_lossy();
        let code = typed_by(scene, who, &["apply", "-f", &file]).await?;
        if code != 0 {
            return conclude(args, &server, None, code).await;
        }
    }
    say("\n--- olga starts a run, which waits for two others");
    let start = ["run", "start", playbook, "--cluster", CLUSTER, "--watch"];
    let code = typed_by(scene, "olga", &start).await?;
    say(&format!("\nexit code {code}"));
    if code != WAITS {
        return conclude(args, &server, None, code).await;
    }
    refused_to_approve(scene).await?;
    let mut code = approved_by_two(scene, &client).await?;
    say("\n--- the audit has all of it; in short, what was changed or refused");
    say(&audited::in_short(&audit(scene))?);
    if let Some(file) = &args.export {
        code = export(scene, &client, &["--context", "olga"], file, code).await?;
    }
    if args.keep {
        say("\nreplictl knows the server and the tokens from these contexts; choose one with");
        say("--context NAME, after you have typed:");
        say(&format!("  export REPLIBOOK_CONFIG={}", scene.contexts().display()));
    }
    conclude(args, &server, None, code).await
}

/// Makes certificates and tokens, and starts the processes with them. Returns the address of the server, and a client that
/// may do everything.
async fn put_up(args: &DemoArgs, scene: &mut Scene) -> anyhow::Result<(String, Client)> {
    let nodes = plan(args.agents, args.fail)?;
    let work = folder(scene);
    std::fs::create_dir(&work).context("failed to make a folder for certificates")?;
    say("--- an authority of the demonstration signs a certificate for everybody");
    let authority = Authority::new("Replibook demonstration")?;
    authority.put(&work.join("credentials/server"), "server", &OF_SERVER)?;
    authority.put(&work.join("credentials/agents"), "replibook", &TOWARDS_AGENTS)?;
    for node in &nodes {
        authority.put(&credentials_of(scene.dir(), &node.id), &node.id, &OF_AGENT)?;
    }
    write(scene, "ca.pem", authority.pem())?;
    shell(scene, "ls credentials/*; cat credentials/agents/for.yaml").await?.done()?;

    say("\n--- everybody gets a token; the server only has the sums, and who may do what");
    let tokens = format!(
        "for who in {EVERYBODY}; do\n    \
         replibook token new $who --days 1 > $who.token 2>> sums\n  done"
    );
    shell(scene, &tokens).await?.done()?;
    write_access(scene)?;
    shell(scene, "sed -n '/rules:/,$p' access.yaml").await?.done()?;

    let server = start_server(args, scene).await?;
    let fleet = scene.start_secured_agents(nodes).await?;
    for (node, address) in fleet.agents() {
        let fails = if node.fails { "   its restart will fail" } else { "" };
        say(&format!("  {:<8} {address}   zone {}{fails}", node.id, node.zone));
    }
    let cluster = secured(&fleet.cluster_document(CLUSTER)?)?;
    check_strangers(scene, &work.join("ca.pem")).await?;
    std::fs::write(scene.dir().join("cluster.yaml"), cluster).context("failed to write a file")?;

    say("\n--- everybody keeps the server, its authority and a token in a context");
    let token = std::fs::read_to_string(work.join("admin.token"));
    let token = token.context("failed to read a token")?;
    let contexts = format!(
        "for who in {EVERYBODY}; do\n    \
         replictl --server {server} --ca ca.pem \\\n      \
         context set $who --token-stdin < $who.token\n  done; rm *.token"
    );
    shell(scene, &contexts).await?.done()?;
    let trust = Trust { ca: Some(work.join("ca.pem")), cert: None };
    let client = Client::trusting(&server, &trust)?.proving(token.trim())?;
    Ok((server, client))
}

/// The file that says who may do what, with the lines that the tokens were made with.
fn write_access(scene: &Scene) -> anyhow::Result<()> {
    let sums = std::fs::read_to_string(folder(scene).join("sums"));
    let sums = sums.context("failed to read what tokens were made")?;
    let tokens: String = sums
        .lines()
        .filter(|line| line.contains("sha256:"))
        .map(|line| format!("{line}\n"))
        .collect();
    let head = "apiVersion: replicante.io/v1\nkind: Access\nmetadata: { name: demo }\nspec:\n";
    write(scene, "access.yaml", &format!("{head}  tokens:\n{tokens}{RULES}"))
}

async fn start_server(args: &DemoArgs, scene: &mut Scene) -> anyhow::Result<String> {
    say("\n$ replibook serve --credentials credentials --tls server \\");
    say("    --access access.yaml --audit audit.jsonl");
    let at = |name: &str| OsString::from(folder(scene).join(name));
    let more = [
        "--credentials".into(),
        at("credentials"),
        "--tls".into(),
        "server".into(),
        "--access".into(),
        at("access.yaml"),
        "--audit".into(),
        audit(scene).into(),
    ];
    let server = scene.start_server(args.store.as_deref(), &more).await?;
    say(&format!("  server   {server}"));
    Ok(server)
}

fn audit(scene: &Scene) -> PathBuf {
    folder(scene).join("audit.jsonl")
}

/// Checks that an agent answers nobody who shows it no certificate, and no other agent either.
async fn check_strangers(scene: &Scene, ca: &Path) -> anyhow::Result<()> {
    let (id, address) = scene.first_agent()?;
    let own = credentials_of(scene.dir(), &id);
    let read =
        |file: &str| std::fs::read_to_string(own.join(file)).context("failed to read a file");
    let shown = folder(scene).join("stranger.pem");
    std::fs::write(&shown, read("cert.pem")? + &read("key.pem")?)
        .context("failed to write a file")?;
    for cert in [None, Some(shown)] {
        let stranger = Client::trusting(&address, &Trust { ca: Some(ca.to_owned()), cert })?;
        let asked = stranger.request(reqwest::Method::GET, &[]);
        let answered = stranger.json::<Value>(asked, Repeat::Unsent).await;
        // The handshake fails, so there is no answer of any kind.
        anyhow::ensure!(
            matches!(answered, Err(ClientError::Unreachable { .. })),
            "{id} answers a client that shows no certificate of a client"
        );
    }
    say("agents answer nobody without a certificate of that authority for clients");
    Ok(())
}

/// The `Cluster` document with the name of the credentials for its agents.
fn secured(document: &str) -> anyhow::Result<String> {
    let mut document: Value =
        serde_yaml::from_str(document).context("failed to read a document")?;
    let spec = document.get_mut("spec").and_then(Value::as_object_mut);
    spec.context("found no spec")?.insert("credentials".to_owned(), json!("agents"));
    serde_yaml::to_string(&document).context("failed to write a document as YAML")
}

/// Two try to approve the run who may not: the pipeline, and whoever has started it.
async fn refused_to_approve(scene: &mut Scene) -> anyhow::Result<()> {
    let approve = ["run", "approve", "last", "--yes"];
    for (title, who) in [
        ("the pipeline has another role", "ci"),
        ("olga may approve runs, but none that she has started", "olga"),
    ] {
        say(&format!("\n--- {title}"));
        let code = typed_by(scene, who, &approve).await?;
        say(&format!("\nexit code {code}; the audit has"));
        anyhow::ensure!(code == NOT_ALLOWED, "{who} was not refused: exit code {code}");
        say(&audited::refusal(&audit(scene), &format!("token:{who}"))?);
    }
    Ok(())
}

/// Alice and Bob approve the run; the second of them follows it to its end. Returns the exit code of that.
async fn approved_by_two(scene: &mut Scene, client: &Client) -> anyhow::Result<u8> {
    say("\n--- alice approves it: one more is wanted");
    let approve = ["run", "approve", "last", "--yes", "--reason", "CHG-17"];
    let code = typed_by(scene, "alice", &approve).await?;
    anyhow::ensure!(code == 0, "alice could not approve the run: exit code {code}");
    let given = newest_run(client).await?.asks.map_or(0, |asks| asks.given.len());
    anyhow::ensure!(given == 1, "found {given} approvals, expected the run to wait with 1");
    say("\n--- bob is the second: the run starts");
    let code = typed_by(scene, "bob", &[&approve[..], &["--watch"]].concat()).await?;
    say(&format!("\nexit code {code}"));
    Ok(code)
}

/// Types a command of one of them.
async fn typed_by(scene: &mut Scene, who: &str, arguments: &[&str]) -> anyhow::Result<u8> {
    let all = ["--context", who].into_iter().chain(arguments.iter().copied());
    type_in(scene, &all.map(OsString::from).collect::<Vec<_>>()).await
}
