//! A gateway and a server that are killed in the middle of a run over nodes behind a server of SSH, and come back. The nodes write
//! down themselves what was done there.

use std::time::Duration;

use replibook::cli::demo::Process;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::gateway_door::{Site, apply, cluster, replictl};
use crate::sshd::Sshd;
use crate::wait;

/// Far longer than anything here takes, even on a busy machine.
const LIMIT: Duration = Duration::from_secs(240);

const NODES: usize = 12;

/// What is killed, once the nodes have written so many lines.
const KILLS: [(usize, &str); 3] =
    [(4, "gateway"), (NODES + 4, "server"), (2 * NODES + 2, "gateway")];

/// A program that is killed, and started again where it was.
struct Mortal {
    name: &'static str,
    args: Vec<String>,
    process: Process,
}

impl Mortal {
    async fn start(site: &Site, name: &'static str, args: &[&str]) -> Self {
        let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        let process = Self::begin(site, name, &args, "127.0.0.1:0").await.unwrap();
        Self { name, args, process }
    }

    async fn begin(
        site: &Site,
        name: &str,
        args: &[String],
        listen: &str,
    ) -> Result<Process, String> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_replibook"));
        command.args(args).args(["--until-stdin-closes", "--listen", listen]);
        let log = site.path(&format!("{name}.log"));
        Process::start(name, command, &log).await.map_err(|error| error.to_string())
    }

    async fn dies_and_is_back(self, site: &Site) -> Self {
        let Self { name, args, process } = self;
        let listen = process.address().trim_start_matches("http://").to_owned();
        process.kill().await.unwrap();
        // Another program may have got the port for a moment, for a connection of its own.
        let process = wait::until("its own port", LIMIT, async || {
            match Self::begin(site, name, &args, &listen).await {
                Ok(process) => Some(process),
                Err(error) if error.contains("in use") => None,
                Err(error) => panic!("{error}"),
            }
        })
        .await;
        Self { name, args, process }
    }
}

fn node(number: usize) -> String {
    format!("node-{number}")
}

/// Each step writes its name into the file of its node.
fn playbook(site: &Site) -> Value {
    let steps = ["first", "second", "third"].map(|name| {
        let text = format!("echo {name} >> {}/${{{{ agent.id }}}}; echo {name}", site.text("done"));
        json!({"name": name, "action": "replicante.io/command", "args": {"argv": ["sh", "-c", text]}})
    });
    json!({"apiVersion": "replicante.io/v1", "kind": "Playbook", "metadata": {"name": "write", "version": "1.0.0"},
        "spec": {"stages": [{"name": "go", "strategy": {"use": "all-at-once"}, "steps": steps}]}})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_and_a_server_that_are_killed_do_nothing_twice_and_lose_nothing() {
    let (site, sshd) = (Site::new(), Sshd::start(""));
    std::fs::create_dir(site.path("done")).unwrap();
    let nodes = (1..=NODES).map(
        |number| json!({"id": node(number), "work_folder": site.text(&format!("work-{number}"))}),
    );
    let inventory = json!({
        "apiVersion": "replicante.io/v1", "kind": "Inventory", "metadata": {"name": "site"},
        "spec": {"groups": {"all": {"allow": ["command"]}}, "nodes": nodes.collect::<Vec<_>>()},
    });
    let (file, config) = (site.write("inventory.yaml", &inventory), sshd.config(sshd.port, "user"));
    let args = ["gateway", "--inventory", &file, "--ssh-config", config.to_str().unwrap()];
    let mut gateway = Mortal::start(&site, "gateway", &args).await;
    let mut server = Mortal::start(&site, "server", &["serve", "--data", &site.text("data")]).await;
    let cluster = cluster(&gateway.process, json!({}));
    let address = server.process.address().to_owned();
    apply(&site, &address, &[("playbook", playbook(&site)), ("cluster", cluster)]).await;
    let start = ["run", "start", "write", "--cluster", "site"];
    let (code, said) = replictl(&address, &start).await;
    assert_eq!(code, 0, "{said}");
    let read = |number| {
        let path = site.path("done").join(node(number));
        std::fs::read_to_string(path).unwrap_or_default()
    };
    for (lines, what) in KILLS {
        wait::until("the nodes to be at work", LIMIT, async || {
            let done = (1..=NODES).map(|number| read(number).lines().count()).sum::<usize>();
            (done >= lines).then_some(())
        })
        .await;
        match what {
            "gateway" => gateway = gateway.dies_and_is_back(&site).await,
            _ => server = server.dies_and_is_back(&site).await,
        }
    }
    let (code, said) = replictl(&address, &["run", "watch", "last"]).await;
    let logs = || format!("{}\n{}", site.read("gateway.log"), site.read("server.log"));
    assert_eq!(code, 0, "{said}\n{}", logs());
    for number in 1..=NODES {
        assert_eq!(read(number), "first\nsecond\nthird\n", "{}", node(number));
    }
}
