//! What is wrong with nodes, as people read it who describe a run over them: with the programs themselves, a server of SSH, and
//! disks that are full and read-only.

use std::time::Duration;

use replibook::cli::demo::Process;
use serde_json::{Value, json};

use crate::gateway_door::{Site, apply, cluster, replictl};
use crate::mounts::Mounts;
use crate::sshd::Sshd;
use crate::wait;

/// Longer than an engine waits for agents that can't be reached, even on a busy machine.
const LIMIT: Duration = Duration::from_secs(240);

/// What is said of each node, and what to do.
const SAID: [(&str, &[&str]); 7] = [
    ("changed", &["the host key of changed is another one than before", "ssh-keygen -R"]),
    ("stranger", &["stranger refused to let us in", "needs a key or an agent"]),
    ("behind", &["failed to reach behind through its jump host", "to the jump host works"]),
    ("asks", &["a password is required", "needs a rule with NOPASSWD in sudoers"]),
    ("full", &["the disk of this machine is full", "make room where"]),
    ("read-only", &["is on a read-only file system", "name another folder in the inventory"]),
    ("killed", &["lost: the job's processes were killed on the node before it ended"]),
];

/// The folders of `full` and `read-only`, if anything may be mounted here.
fn mounts(site: &Site) -> Option<Mounts> {
    for name in ["full", "read-only"] {
        std::fs::create_dir(site.path(name)).unwrap();
    }
    let (full, read_only) = (site.text("full"), site.text("read-only"));
    let made = Mounts::made_by(&format!(
        "mount -t tmpfs -o size=64k tmpfs {full}; head -c 100000 /dev/zero > {full}/fill || :; \
         mount -t tmpfs -o ro tmpfs {read_only}"
    ));
    if made.is_none() {
        println!("nobody may mount anything here, so no disk is full or read-only");
    }
    made
}

fn inventory(site: &Site, has_mounts: bool) -> Value {
    let local = |id: &str, work: &str| json!({"id": id, "carrier": "local", "work_folder": site.text(work)});
    let mut nodes = vec![
        json!({"id": "changed"}),
        json!({"id": "stranger"}),
        json!({"id": "behind"}),
        json!({"id": "asks", "carrier": "local", "work_folder": site.text("asks"), "become": "deploy"}),
        local("killed", "killed"),
    ];
    if has_mounts {
        nodes.extend([local("full", "full/work"), local("read-only", "read-only/work")]);
    }
    json!({
        "apiVersion": "replicante.io/v1", "kind": "Inventory", "metadata": {"name": "site"},
        "spec": {"groups": {"all": {"allow": ["command"]}}, "nodes": nodes},
    })
}

/// Each of these hosts is the same server, and something is wrong with the way to it.
fn ssh_config(sshd: &Sshd) -> String {
    let key = |name: &str| std::fs::read_to_string(sshd.path(&format!("{name}.pub"))).unwrap();
    let known = format!("right {}wrong {}", key("host"), key("other"));
    std::fs::write(sshd.path("known"), known).unwrap();
    let path = sshd.path("ssh_config");
    let at = |name: &str| sshd.path(name).display().to_string();
    // Identities add up, so the stranger has none but its own.
    let config = format!(
        "Host changed\n  HostKeyAlias wrong\nHost behind\n  ProxyJump jump\nHost jump\n  Port 1\n\
         Host stranger\n  IdentityFile {}\nHost * !stranger\n  IdentityFile {}\n\
         Host *\n  HostName 127.0.0.1\n  Port {}\n  HostKeyAlias right\n  IdentitiesOnly yes\n  \
         UserKnownHostsFile {}\n  GlobalKnownHostsFile /dev/null\n",
        at("other"),
        at("user"),
        sshd.port,
        at("known"),
    );
    std::fs::write(&path, config).unwrap();
    path.display().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_describes_a_run_reads_what_is_wrong_with_its_nodes_and_what_to_do() {
    let (site, sshd) = (Site::new(), Sshd::start(""));
    let mounts = mounts(&site);
    std::fs::create_dir(site.path("bin")).unwrap();
    let sudo = site.path("bin/sudo");
    std::fs::write(&sudo, "#!/bin/sh\necho 'sudo: a password is required' >&2\nexit 1\n").unwrap();
    let may_run = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&sudo, may_run).unwrap();
    let file = site.write("inventory.yaml", &inventory(&site, mounts.is_some()));
    let program = env!("CARGO_BIN_EXE_replibook");
    let mut gateway = match &mounts {
        Some(mounts) => mounts.command(program),
        None => std::process::Command::new(program),
    };
    let path = format!("{}:{}", site.text("bin"), std::env::var("PATH").unwrap());
    gateway.args([
        "gateway",
        "--listen",
        "127.0.0.1:0",
        "--until-stdin-closes",
        "--inventory",
        &file,
    ]);
    gateway.args(["--ssh-config", &ssh_config(&sshd)]).env("PATH", path);
    let gateway =
        Process::start("gateway", gateway.into(), &site.path("gateway.log")).await.unwrap();
    let server = site.server(&[]).await;
    // The parent of what runs is what watches over it.
    let words = "${{ agent.id == 'killed' ? 'kill -9 $PPID' : 'true' }}";
    let playbook = json!({
        "apiVersion": "replicante.io/v1", "kind": "Playbook", "metadata": {"name": "try", "version": "1.0.0"},
        "spec": {"stages": [{"name": "go", "strategy": {"use": "all-at-once"}, "budget": {"max_failed": "100%"},
            "steps": [{"name": "try", "action": "replicante.io/command", "args": {"argv": ["sh", "-c", words]}}]}]},
    });
    apply(
        &site,
        server.address(),
        &[("playbook", playbook), ("cluster", cluster(&gateway, json!({})))],
    )
    .await;
    let start = ["run", "start", "try", "--cluster", "site"];
    let (code, said) = replictl(server.address(), &start).await;
    assert_eq!(code, 0, "{said}");
    let (_, run) =
        replictl(server.address(), &["get", "runs", "-o", "jsonpath={.items[0].id}"]).await;
    let expected: Vec<_> = SAID
        .iter()
        .filter(|(id, _)| mounts.is_some() || !["full", "read-only"].contains(id))
        .collect();
    // Who can't be reached is said to be at once; that it failed only after a while.
    wait::until("the agents to say it", LIMIT, async || {
        let (_, agents) =
            replictl(server.address(), &["run", "agents", run.trim(), "-o", "json"]).await;
        expected
            .iter()
            .all(|(_, texts)| texts.iter().all(|text| agents.contains(text)))
            .then_some(())
    })
    .await;
    let (_, described) =
        replictl(server.address(), &["describe", "run", run.trim(), "-o", "wide"]).await;
    for (id, texts) in &expected {
        assert!(texts.iter().all(|text| described.contains(text)), "{id}: {described}");
    }
    let (_, agent) =
        replictl(server.address(), &["describe", "agent", "changed", "--cluster", "site"]).await;
    assert!(
        agent.contains("another one than before") && agent.contains("ssh-keygen -R"),
        "{agent}"
    );
    let (code, said) = replictl(server.address(), &["run", "cancel", run.trim()]).await;
    assert_eq!(code, 0, "{said}");
}
