//! A server that dies and comes back, and the client that uses it.

use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use replibook::api::wire::{Listing, RunView, StartRun};
use replibook::cli::demo::{Fleet, Process};
use replibook::run::RunEvent;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::crash::moments::Moment;
use crate::{examples, wait};

/// Far longer than the whole run takes, even on a busy machine.
pub(crate) const LIMIT: Duration = Duration::from_secs(240);

/// The number of SIGKILL.
const KILLED: i32 = 9;

/// How a server is started, each time.
#[derive(Clone)]
pub(crate) struct Settings {
    /// Path of the program that is started.
    pub(crate) program: PathBuf,
    /// The address of its store; none for a store in the data directory.
    pub(crate) store: Option<String>,
    pub(crate) data: PathBuf,
    pub(crate) log: PathBuf,
    pub(crate) args: Vec<&'static str>,
    pub(crate) env: Vec<(&'static str, PathBuf)>,
    /// The user that it runs as; none for the user of the test.
    pub(crate) user: Option<u32>,
}

impl Settings {
    /// A server with all its files in `dir`.
    pub(crate) fn in_dir(dir: &Path) -> Self {
        Self {
            program: PathBuf::from(env!("CARGO_BIN_EXE_replibook")),
            store: None,
            data: dir.join("server"),
            log: dir.join("server.log"),
            args: Vec::new(),
            env: Vec::new(),
            user: None,
        }
    }

    pub(crate) fn command(&self, listen: &str, moment: Option<&Moment>) -> Command {
        let mut command = Command::new(&self.program);
        command.args(["serve", "--until-stdin-closes", "--listen", listen, "--data"]);
        command.arg(&self.data).args(&self.args);
        command.env("REPLIBOOK_STORE", self.store.as_deref().unwrap_or("sqlite"));
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        if let Some(user) = self.user {
            command.uid(user).gid(user);
        }
        if let Some(Moment::Point(point, passage)) = moment {
            command.env("REPLIBOOK_CRASH_POINT", point);
            command.env("REPLIBOOK_CRASH_AFTER", passage.to_string());
        }
        command
    }
}

/// A running server, which can be killed and started again on the same address and the same data.
pub(crate) struct Server {
    settings: Settings,
    pub(crate) address: String,
    pub(crate) process: Process,
}

impl Server {
    /// Starts a server, with a store in its own directory or at an address.
    pub(crate) async fn start(dir: &Path, store: Option<&str>, moment: Option<&Moment>) -> Self {
        let settings = Settings { store: store.map(str::to_owned), ..Settings::in_dir(dir) };
        Self::start_with(settings, moment).await
    }

    pub(crate) async fn start_with(settings: Settings, moment: Option<&Moment>) -> Self {
        let command = settings.command("127.0.0.1:0", moment);
        let process = Process::start("the server", command, &settings.log).await.unwrap();
        let address = process.address().trim_start_matches("http://").to_owned();
        Self { settings, address, process }
    }

    /// Everything that this server and its predecessors have logged.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.settings.log).unwrap()
    }

    /// Kills the server at once.
    pub(crate) async fn kill(self) -> Remains {
        let status = self.process.kill().await.unwrap();
        assert_eq!(status.signal(), Some(KILLED), "{status}");
        Remains { settings: self.settings, address: self.address }
    }

    /// Asks the server to stop, and waits until it has.
    pub(crate) async fn stop(self) -> Remains {
        self.process.stop().await;
        Remains { settings: self.settings, address: self.address }
    }

    /// Waits for the moment at which this server dies, and until it is dead.
    pub(crate) async fn die(mut self, moment: &Moment, client: &Client, run: &str) -> Remains {
        let length = match moment {
            Moment::Listening(length) => Some(length),
            Moment::GoingOn(length) => {
                client.wait_until_it_goes_on(&self.address, run).await;
                Some(length)
            }
            Moment::Point(..) => None,
        };
        let status = match length {
            Some(length) => {
                pass(*length).await;
                self.process.kill().await.unwrap()
            }
            None => tokio::time::timeout(LIMIT, self.process.wait())
                .await
                .unwrap_or_else(|_| panic!("the server never came to {moment:?}"))
                .unwrap(),
        };
        assert_eq!(status.signal(), Some(KILLED), "{moment:?}: {status}");
        Remains { settings: self.settings, address: self.address }
    }

    /// Starts a server where its predecessor listened.
    pub(crate) async fn again(remains: Remains, moment: Option<&Moment>) -> Self {
        let Remains { settings, address } = remains;
        // Another program may have got the port for a moment, for a connection of its own.
        let process = wait::until("the server's own port", LIMIT, async || {
            let command = settings.command(&address, moment);
            match Process::start("the server", command, &settings.log).await {
                Ok(process) => Some(process),
                Err(error) if error.to_string().contains("in use") => None,
                Err(error) => panic!("{error}"),
            }
        })
        .await;
        Self { settings, address, process }
    }
}

/// Lets time pass, after which something is killed.
pub(crate) async fn pass(length: Duration) {
    tokio::time::sleep(length).await;
}

/// What a server leaves when it has ended.
pub(crate) struct Remains {
    pub(crate) settings: Settings,
    address: String,
}

/// A client for the server's and the agents' API.
pub(crate) struct Client(pub(crate) reqwest::Client);

impl Client {
    pub(crate) fn new() -> Self {
        // Another test of this process may have installed the provider before.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Self(
            reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(10)).build().unwrap(),
        )
    }

    pub(crate) async fn get<T: serde::de::DeserializeOwned>(&self, url: &str) -> T {
        let response = self.0.get(url).send().await.unwrap().error_for_status().unwrap();
        response.json().await.unwrap()
    }

    pub(crate) async fn run(&self, address: &str, id: &str) -> RunView {
        self.get(&format!("http://{address}/api/v1/runs/{id}")).await
    }

    /// All events of a run.
    pub(crate) async fn events(&self, address: &str, id: &str) -> Vec<RunEvent> {
        let url = format!("http://{address}/api/v1/runs/{id}/events?limit=1000");
        let page: Listing<RunEvent> = self.get(&url).await;
        assert!(page.next.is_none(), "more events than a page has");
        page.items
    }

    /// Returns once the run has a new event.
    pub(crate) async fn wait_until_it_goes_on(&self, address: &str, id: &str) {
        let last = self.events(address, id).await.last().map_or(0, |event| event.seq);
        let url = format!("http://{address}/api/v1/runs/{id}/events?limit=1000&after={last}");
        wait::until("the run to go on", LIMIT, async || {
            let newer: Listing<RunEvent> = self.get(&url).await;
            (!newer.items.is_empty()).then_some(())
        })
        .await;
    }

    /// Waits until the run has ended, and returns it.
    pub(crate) async fn until_final(&self, address: &str, id: &str) -> RunView {
        wait::until("the run to end", LIMIT, async || {
            let run = self.run(address, id).await;
            run.status.is_final().then_some(run)
        })
        .await
    }
}

/// Applies the cluster and the example's playbook, and starts a run that goes one agent at a time.
pub(crate) async fn start_run(
    client: &Client,
    server: &Server,
    fleet: &Fleet,
    dir: &Path,
) -> String {
    let cluster = dir.join("cluster.yaml");
    std::fs::write(&cluster, fleet.cluster_document("crash").unwrap()).unwrap();
    let applied = Command::new(env!("CARGO_BIN_EXE_replictl"))
        .env("REPLIBOOK_SERVER", format!("http://{}", server.address))
        .args(["apply", "-f"])
        .arg(cluster)
        .arg("-f")
        .arg(examples::rolling_restart().join("playbook.yaml"))
        .output()
        .await
        .unwrap();
    assert!(applied.status.success(), "{}", String::from_utf8_lossy(&applied.stderr));
    let params = json!({ "max_parallel": 1 });
    let start = StartRun {
        playbook: "rolling-restart".to_owned(),
        cluster: "crash".to_owned(),
        params: params.as_object().unwrap().clone(),
        select: None,
        limit: None,
        skip_stages: Vec::new(),
        start_at: None,
        started_by: None,
    };
    let url = format!("http://{}/api/v1/runs", server.address);
    let response = client.0.post(url).json(&start).send().await.unwrap();
    let run: RunView = response.error_for_status().unwrap().json().await.unwrap();
    run.id.to_string()
}

/// Proves from the agents' own records that each did its two actions, and did each of them once.
pub(crate) async fn assert_done_once(client: &Client, fleet: &Fleet) {
    for (node, address) in fleet.agents() {
        // The lines that the commands themselves left on disk.
        assert_eq!(fleet.effects(&node.id).unwrap(), ["drain", "restart"], "{}", node.id);
        let api = format!("{address}/api/unstable");
        let finished: Value = client.get(&format!("{api}/actions/finished")).await;
        let actions = finished["actions"].as_array().unwrap();
        assert_eq!(actions.len(), 2, "{}: {finished}", node.id);
        for action in actions {
            let id = action["id"].as_str().unwrap();
            let action: Value = client.get(&format!("{api}/action/{id}")).await;
            assert_eq!(action["executions"], 1, "{}: {action}", node.id);
            assert_eq!(action["state"]["phase"], "DONE", "{}: {action}", node.id);
        }
        let queue: Value = client.get(&format!("{api}/actions/queue")).await;
        assert_eq!(queue["actions"], json!([]), "{}", node.id);
    }
}

/// Checks that the last server compiled nothing: it found what its predecessors had compiled.
pub(crate) async fn assert_loaded(client: &Client, server: &Server) {
    let metrics = client.0.get(format!("http://{}/metrics", server.address)).send().await.unwrap();
    let metrics = metrics.text().await.unwrap();
    let number = |name: &str| -> u64 {
        let line = metrics.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_else(|| panic!("no {name} in {metrics}")).trim().parse().unwrap()
    };
    assert_eq!(number("replibook_plugins_compiled_total"), 0);
    // The last server too asks the strategy of the run, beside the built-in plugins.
    assert!(number("replibook_plugins_loaded_total") > 4);
}
