//! A server that is killed again and again in the middle of a run: the run finishes, and no agent
//! did anything twice.
//!
//! `REPLIBOOK_SEED` repeats the moments of an earlier run of this test.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/examples.rs"]
mod examples;
#[path = "support/wait.rs"]
mod wait;

use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{Rng as _, SeedableRng as _};
use replibook::api::wire::{Listing, RunView, StartRun};
use replibook::cli::demo::{Fleet, Process, plan};
use replibook::run::{AgentState, RunEvent, RunStatus};
use serde_json::{Value, json};
use tokio::process::Command;

/// Agents of the run.
const AGENTS: u16 = 12;

/// Moments at which the server dies by chance. With the two exact points it dies ten times.
const BY_CHANCE: u32 = 8;

/// The points in the code at which a server in a debug build can be told to die: the call is
/// committed but not sent; it is sent but its answer is not committed.
const POINTS: [&str; 2] = ["before-post", "after-post"];

/// Far beyond what the whole run takes, also on a busy machine.
const LIMIT: Duration = Duration::from_secs(240);

/// SIGKILL.
const KILLED: i32 = 9;

/// When a server dies.
#[derive(Clone, Debug)]
enum Moment {
    /// It is killed so long after it began to listen: perhaps before it has taken up the run.
    Listening(Duration),
    /// It is killed so long after the run went on.
    GoingOn(Duration),
    /// It kills itself at a point in its code, when it comes there for the n-th time.
    Point(&'static str, u32),
}

fn moments(seed: u64) -> Vec<Moment> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut length = || Duration::from_millis(random.random_range(5..500));
    let first = Moment::GoingOn(length());
    let mut moments: Vec<Moment> = (1..BY_CHANCE)
        .map(|n| if n % 3 == 0 { Moment::Listening(length()) } else { Moment::GoingOn(length()) })
        .collect();
    moments.extend(POINTS.map(|point| Moment::Point(point, random.random_range(1..=3))));
    moments.shuffle(&mut random);
    // The first server is asked to start the run, so it must not die before it answered.
    moments.insert(0, first);
    moments
}

/// The server: killed and started again on the same address and the same data.
struct Server {
    data: PathBuf,
    log: PathBuf,
    address: String,
    process: Process,
}

impl Server {
    async fn start(dir: &Path, moment: &Moment) -> Self {
        let (data, log) = (dir.join("server"), dir.join("server.log"));
        let command = Self::command(&data, "127.0.0.1:0", Some(moment));
        let process = Process::start("the server", command, &log).await.unwrap();
        let address = process.address().trim_start_matches("http://").to_owned();
        Self { data, log, address, process }
    }

    fn command(data: &Path, listen: &str, moment: Option<&Moment>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_replibook"));
        command.args(["serve", "--until-stdin-closes", "--listen", listen, "--data"]).arg(data);
        if let Some(Moment::Point(point, passage)) = moment {
            command.env("REPLIBOOK_CRASH_POINT", point);
            command.env("REPLIBOOK_CRASH_AFTER", passage.to_string());
        }
        command
    }

    /// Waits for the moment at which this server dies, and until it is dead.
    async fn die(
        mut self,
        moment: &Moment,
        client: &Client,
        run: &str,
    ) -> (PathBuf, PathBuf, String) {
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
                tokio::time::sleep(*length).await;
                self.process.kill().await.unwrap()
            }
            None => tokio::time::timeout(LIMIT, self.process.wait())
                .await
                .unwrap_or_else(|_| panic!("the server never came to {moment:?}"))
                .unwrap(),
        };
        assert_eq!(status.signal(), Some(KILLED), "{moment:?}: {status}");
        (self.data, self.log, self.address)
    }

    /// Starts it again where the one before listened.
    async fn again(
        (data, log, address): (PathBuf, PathBuf, String),
        moment: Option<&Moment>,
    ) -> Self {
        // For a moment another program may have been given the port for a connection of its own.
        let process = wait::until("the server's own port", LIMIT, async || {
            let command = Self::command(&data, &address, moment);
            match Process::start("the server", command, &log).await {
                Ok(process) => Some(process),
                Err(error) if error.to_string().contains("in use") => None,
                Err(error) => panic!("{error}"),
            }
        })
        .await;
        Self { data, log, address, process }
    }
}

/// A client of the server's and the agents' API.
struct Client(reqwest::Client);

impl Client {
    fn new() -> Self {
        // A second test in this process has it installed already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Self(
            reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(10)).build().unwrap(),
        )
    }

    async fn get<T: serde::de::DeserializeOwned>(&self, url: &str) -> T {
        let response = self.0.get(url).send().await.unwrap().error_for_status().unwrap();
        response.json().await.unwrap()
    }

    async fn run(&self, address: &str, id: &str) -> RunView {
        self.get(&format!("http://{address}/api/v1/runs/{id}")).await
    }

    /// Returns once the run has an event that it did not have.
    async fn wait_until_it_goes_on(&self, address: &str, id: &str) {
        let url = format!("http://{address}/api/v1/runs/{id}/events?limit=1000");
        let known: Listing<RunEvent> = self.get(&url).await;
        let last = known.items.last().map_or(0, |event| event.seq);
        wait::until("the run to go on", LIMIT, async || {
            let newer: Listing<RunEvent> = self.get(&format!("{url}&after={last}")).await;
            (!newer.items.is_empty()).then_some(())
        })
        .await;
    }
}

/// Applies the cluster and the example's playbook, and starts a run, one agent at a time.
async fn start_run(client: &Client, server: &Server, fleet: &Fleet, dir: &Path) -> String {
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
        started_by: None,
    };
    let url = format!("http://{}/api/v1/runs", server.address);
    let response = client.0.post(url).json(&start).send().await.unwrap();
    let run: RunView = response.error_for_status().unwrap().json().await.unwrap();
    run.id.to_string()
}

/// Proves from the agents' own records that each did its two actions, and each of them once.
async fn assert_done_once(client: &Client, fleet: &Fleet) {
    for (node, address) in fleet.agents() {
        // What the commands themselves left on disk.
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

/// The last server compiled nothing: it found what those before it had compiled.
async fn assert_loaded(client: &Client, server: &Server) {
    let metrics = client.0.get(format!("http://{}/metrics", server.address)).send().await.unwrap();
    let metrics = metrics.text().await.unwrap();
    let number = |name: &str| -> u64 {
        let line = metrics.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_else(|| panic!("no {name} in {metrics}")).trim().parse().unwrap()
    };
    assert_eq!(number("replibook_plugins_compiled_total"), 0);
    // The strategy of the run is asked by the last server too, beside the built-in plugins.
    assert!(number("replibook_plugins_loaded_total") > 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_ten_times_finishes_the_run_and_does_nothing_twice() {
    let seed = std::env::var("REPLIBOOK_SEED").ok().map(|text| text.parse().unwrap());
    let seed = seed.unwrap_or_else(rand::random::<u64>);
    let moments = moments(seed);
    println!("REPLIBOOK_SEED={seed}: {moments:?}");

    let dir = tempfile::tempdir().unwrap();
    let client = Client::new();
    let program = Path::new(env!("CARGO_BIN_EXE_replibook"));
    let fleet = Fleet::start(program, dir.path(), plan(AGENTS, 0).unwrap()).await.unwrap();
    let mut server = Server::start(dir.path(), &moments[0]).await;
    let id = start_run(&client, &server, &fleet, dir.path()).await;

    for (index, moment) in moments.iter().enumerate() {
        let remains = server.die(moment, &client, &id).await;
        println!("died {} times; the last was {moment:?}", index + 1);
        server = Server::again(remains, moments.get(index + 1)).await;
    }
    let run = client.run(&server.address, &id).await;
    assert!(!run.status.is_final(), "the run ended before the last kill: not enough was tested");

    let run = wait::until("the run to end", LIMIT, async || {
        let run = client.run(&server.address, &id).await;
        run.status.is_final().then_some(run)
    })
    .await;
    assert_eq!(run.status, RunStatus::Done, "{run:?}");
    assert_eq!(run.counts.get(&AgentState::Done), Some(&u32::from(AGENTS)), "{run:?}");
    assert!(run.finish_ts.is_some());
    assert_done_once(&client, &fleet).await;
    assert_loaded(&client, &server).await;

    server.process.stop().await;
    fleet.stop().await;
}

#[test]
fn the_moments_are_ten_and_repeat_with_their_seed() {
    let first = moments(7);
    assert_eq!(first.len(), 10);
    assert_eq!(format!("{first:?}"), format!("{:?}", moments(7)));
    assert_ne!(format!("{first:?}"), format!("{:?}", moments(8)));
    for point in POINTS {
        let at = |moment: &&Moment| matches!(moment, Moment::Point(name, _) if *name == point);
        assert_eq!(first.iter().filter(at).count(), 1);
    }
}
