//! The playbooks of `examples/playbooks/`, which docs/from-ansible.md shows beside those of Ansible, over a gateway. The nodes
//! are this machine; programs of the same names stand in for those that would change it, and write down who called them.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use replibook::cli::demo::Process;
use serde_json::{Value, json};
use tokio::process::Command;

/// Far longer than anything here takes, even on a busy machine.
const LIMIT: Duration = Duration::from_secs(240);

/// The programs that stand in, each with what it does. `$site` is the folder of the test, `$node` that of the node.
const STAND_INS: [(&str, &str); 7] = [
    ("ss", "true"),
    ("dpkg-query", "cat \"$node/version\""),
    (
        "apt-get",
        "case $* in *install*bad*) echo no such version >&2; exit 100 ;;\n\
         *install*) for last; do :; done; printf %s \"${last#*=}\" > \"$node/version\" ;; esac",
    ),
    (
        "systemctl",
        "ls -d \"$site\"/*/maintenance 2> /dev/null | wc -l >> \"$site/out-at-once\" || true",
    ),
    ("curl", "true"),
    ("chronyc", "true"),
    // The node is another one afterwards, and its database needs a while.
    (
        "shutdown",
        "echo after > \"$node/boot_id\"; rm \"$node/reboot-required\"; echo 2 > \"$node/ill\"",
    ),
];

struct Site {
    folder: tempfile::TempDir,
    gateway: Process,
    server: Process,
}

impl Site {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let programs = root.join("programs");
        std::fs::create_dir(&programs).unwrap();
        for (name, does) in STAND_INS {
            let text = format!(
                "#!/bin/sh\nset -e\nsite='{}' node=\"$site/$REPLIBOOK_NODE_ID\"\necho \"{name} $*\" >> \"$node/calls\"\n{does}\n",
                root.display()
            );
            program(&programs.join(name), &text);
        }
        // How a database is after it was ill for two looks.
        program(
            &programs.join("status"),
            "#!/bin/sh\nread -r ill 2> /dev/null < \"$1/ill\" || ill=0\n[ \"$ill\" -gt 0 ] || exit 0\n\
             echo $((ill - 1)) > \"$1/ill\"\nexit 1\n",
        );
        let nodes = ["web1", "web2", "web3", "web4", "db1", "db2", "db3"].map(|id| {
            let home = root.join(id);
            std::fs::create_dir_all(home.join("chrony")).unwrap();
            std::fs::write(home.join("version"), "1.0-1").unwrap();
            std::fs::write(home.join("boot_id"), "before\n").unwrap();
            let group = id.trim_end_matches(|c: char| c.is_ascii_digit());
            json!({"id": id, "groups": [group], "work_folder": home.join("work"),
                "node_status": {"command": [programs.join("status"), home]}})
        });
        let inventory = json!({
            "apiVersion": "replicante.io/v1", "kind": "Inventory", "metadata": {"name": "site"},
            "spec": {
                "groups": {"all": {"carrier": "local", "allow": ["command", "script", "put-file"]}, "web": {}, "db": {}},
                "nodes": nodes,
            },
        });
        let file = root.join("inventory.json");
        std::fs::write(&file, inventory.to_string()).unwrap();
        let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
        let mut gateway = Command::new(env!("CARGO_BIN_EXE_replibook"));
        gateway.args(["gateway", "--listen", "127.0.0.1:0", "--until-stdin-closes", "--inventory"]);
        gateway.arg(file).env("PATH", path);
        let gateway = Process::start("gateway", gateway, &root.join("gateway.log")).await.unwrap();
        let mut server = Command::new(env!("CARGO_BIN_EXE_replibook"));
        server.args(["serve", "--listen", "127.0.0.1:0", "--until-stdin-closes", "--data"]);
        server.arg(root.join("data"));
        let server = Process::start("server", server, &root.join("server.log")).await.unwrap();
        let site = Self { folder, gateway, server };
        let cluster = json!({
            "apiVersion": "replicante.io/v1", "kind": "Cluster", "metadata": {"name": "site"},
            "spec": {"discovery": {"url": site.gateway.address(), "cluster": "site"}},
        });
        site.apply("cluster.json", &cluster.to_string()).await;
        for name in ["rolling-upgrade", "rolling-reboot", "chrony"] {
            let text = std::fs::read_to_string(examples().join(format!("{name}.yaml"))).unwrap();
            site.apply(&format!("{name}.yaml"), &site.of_nodes(&text)).await;
        }
        site
    }

    /// A playbook with files of the nodes in the places of those of the machine, of which there is one.
    fn of_nodes(&self, text: &str) -> String {
        let root = self.folder.path().display();
        let mut text = text.to_owned();
        for (file, name) in [
            ("/run/maintenance", "maintenance"),
            ("/run/reboot-required", "reboot-required"),
            ("/proc/sys/kernel/random/boot_id", "boot_id"),
            ("/etc/chrony/chrony.conf", "chrony/chrony.conf"),
        ] {
            text = text.replace(file, &format!("{root}/${{{{ agent.id }}}}/{name}"));
        }
        text
    }

    async fn apply(&self, name: &str, text: &str) {
        let file = self.folder.path().join(name);
        std::fs::write(&file, text).unwrap();
        let (code, said) = self.replictl(&["apply", "-f", file.to_str().unwrap()]).await;
        assert_eq!(code, 0, "{said}");
    }

    async fn replictl(&self, args: &[&str]) -> (i32, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_replictl"));
        command.args(args).env("REPLIBOOK_SERVER", self.server.address());
        command.env("REPLIBOOK_CONFIG", self.folder.path().join("contexts.yaml"));
        command.stdin(Stdio::null()).kill_on_drop(true);
        let output = tokio::time::timeout(LIMIT, command.output()).await.unwrap().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code().unwrap_or(-1), text(&output.stdout) + &text(&output.stderr))
    }

    /// Runs a playbook until it has ended or waits for a person.
    async fn run(&self, playbook: &str, more: &[&str], expected: i32) -> String {
        let start = ["run", "start", playbook, "--cluster", "site", "--watch"];
        let (code, said) = self.replictl(&[&start[..], more].concat()).await;
        assert_eq!(code, expected, "{said}\n{}", self.read("gateway.log"));
        said
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder.path().join(name)).unwrap_or_default()
    }

    /// The programs that were called on a node since the last time, without their arguments.
    fn called(&self, id: &str) -> Vec<String> {
        let calls = self.read(&format!("{id}/calls"));
        let _ = std::fs::remove_file(self.folder.path().join(id).join("calls"));
        let first = |line: &str| line.split(' ').next().unwrap_or_default().to_owned();
        calls.lines().map(first).collect()
    }
}

fn program(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/playbooks")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_package_is_upgraded_two_servers_at_a_time() {
    let site = Site::start().await;
    site.run("rolling-upgrade", &["--set", "version=1.1-1"], 0).await;
    for id in ["web1", "web2", "web3", "web4"] {
        let expected = ["ss", "dpkg-query", "apt-get", "apt-get", "systemctl", "curl"];
        assert_eq!(site.called(id), expected, "{id}");
        assert_eq!(site.read(&format!("{id}/version")), "1.1-1");
        assert!(!site.folder.path().join(id).join("maintenance").exists(), "{id}");
    }
    let most =
        site.read("out-at-once").lines().map(|line| line.trim().parse::<u32>().unwrap()).max();
    assert!(most.is_some_and(|most| (1..=2).contains(&most)), "{most:?}");
    assert!(site.called("db1").is_empty());
    // What is there already is not installed again, and nothing is restarted.
    site.run("rolling-upgrade", &["--set", "version=1.1-1"], 0).await;
    for id in ["web1", "web2", "web3", "web4"] {
        assert_eq!(site.called(id), ["ss", "dpkg-query", "curl"], "{id}");
    }
    // A server that fails stays out of the load balancer; the run asks a person, and the others are as they were.
    let said = site.run("rolling-upgrade", &["--set", "version=2.0-bad"], 9).await;
    assert!(said.contains("no such version"), "{said}");
    let out = |id: &&str| site.folder.path().join(id).join("maintenance").exists();
    assert_eq!(["web1", "web2", "web3", "web4"].iter().filter(|id| out(id)).count(), 2);
    assert_eq!(site.called("web4").len() + site.called("web3").len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_need_it_are_rebooted_one_by_one() {
    let site = Site::start().await;
    for id in ["db1", "db3"] {
        std::fs::write(site.folder.path().join(id).join("reboot-required"), "").unwrap();
    }
    site.run("rolling-reboot", &[], 0).await;
    for (id, boot, calls) in [("db1", "after\n", 1), ("db2", "before\n", 0), ("db3", "after\n", 1)]
    {
        assert_eq!(site.read(&format!("{id}/boot_id")), boot, "{id}");
        assert_eq!(site.called(id).len(), calls, "{id}");
    }
    // The gate waited until each of them was well again.
    assert_eq!(site.read("db1/ill").trim(), "0");
    assert_eq!(site.read("db3/ill").trim(), "0");
    // One that is ill already is not rebooted.
    std::fs::write(site.folder.path().join("db1/reboot-required"), "").unwrap();
    std::fs::write(site.folder.path().join("db1/ill"), "1000\n").unwrap();
    site.run("rolling-reboot", &[], 1).await;
    assert!(site.called("db1").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_written_and_a_service_restarted_where_it_changed() {
    let site = Site::start().await;
    site.run("chrony", &["--set", "check=true"], 0).await;
    assert_eq!(site.read("web1/chrony/chrony.conf"), "");
    assert!(site.called("web1").is_empty());
    site.run("chrony", &[], 0).await;
    for id in ["web1", "db3"] {
        assert!(
            site.read(&format!("{id}/chrony/chrony.conf"))
                .contains("server ntp.example.com iburst\n")
        );
        assert_eq!(site.called(id), ["systemctl", "chronyc"]);
    }
    std::fs::write(site.folder.path().join("web1/chrony/chrony.conf"), "edited by hand\n").unwrap();
    site.run("chrony", &[], 0).await;
    assert_eq!(site.called("web1"), ["systemctl", "chronyc"]);
    assert!(site.called("db3").is_empty());
}

/// The page shows the files as they are.
#[test]
fn the_page_shows_what_is_run() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/from-ansible.md");
    let page = std::fs::read_to_string(page).unwrap();
    for name in ["rolling-upgrade", "rolling-reboot", "chrony"] {
        for file in [format!("ansible/{name}.yml"), format!("{name}.yaml")] {
            let text = std::fs::read_to_string(examples().join(&file)).unwrap();
            // What is about the file itself is left out there.
            let shown = text.lines().skip_while(|line| line.starts_with('#'));
            let shown = shown.map(|line| format!("{line}\n")).collect::<String>();
            assert!(
                page.contains(&format!("```yaml\n{shown}```\n")),
                "{file} is not in docs/from-ansible.md"
            );
        }
    }
}

/// The document beside the playbooks is what `replictl import ansible` makes, but for what is added by hand.
#[tokio::test]
async fn the_inventory_is_what_the_import_makes() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_replictl"));
    command.args(["import", "ansible", "--name", "site", "--allow", "command,script,put-file"]);
    command.args(["-o", "json"]).arg(examples().join("ansible/hosts.ini")).stdin(Stdio::null());
    let output = tokio::time::timeout(LIMIT, command.output()).await.unwrap().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("7 nodes in 2 groups; nothing was left out"), "{said}");
    let made: Value = serde_json::from_slice(&output.stdout).unwrap();
    let text = std::fs::read_to_string(examples().join("inventory.yaml")).unwrap();
    let mut kept: Value = serde_yaml::from_str(&text).unwrap();
    kept["spec"]["groups"]["db"].as_object_mut().unwrap().remove("node_status");
    assert_eq!(made[0], kept);
    assert_eq!(made[1]["spec"]["discovery"]["cluster"], "site");
}
