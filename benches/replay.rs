//! How fast a recorded run is played again, and how large its export is: `make bench BENCHES=replay`.
//!
//! Runs are made in virtual time with scripted agents, recorded, and packed into a file as `replictl run
//! export` does. Another process, so that its memory can be measured alone, unpacks that file and replays it
//! three times. Each time it reads the files of the recording, asks for every decision and makes every
//! activation again, with as many threads as a host has by default.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, dead_code)]

mod support;

#[path = "../tests/support/engine.rs"]
mod engine;
#[path = "../tests/support/exports.rs"]
mod exports;
#[path = "../tests/replay/recorded.rs"]
mod recorded;
#[path = "../tests/driver/scene.rs"]
mod scene;

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use recorded::Recorded;
use replibook::plugin::{HostConfig, PluginHost};
use replibook::replay::{ArchiveLimits, Player, Recording, pack, unpack};
use serde::{Deserialize, Serialize};
use support::{Table, heading, mib, note, peak_memory};

const AGENTS: [usize; 2] = [2_000, 10_000];

/// The variable that makes this program the other process. Its value is the path of the file to replay.
const FILE: &str = "REPLIBOOK_BENCH_REPLAY";

/// What the other process found, which it prints as JSON.
#[derive(Serialize, Deserialize)]
struct Found {
    events: usize,
    decisions: u64,
    activations: u64,
    unpacked: Duration,
    replayed: Vec<Duration>,
    peak: u64,
}

fn main() {
    if let Some(file) = std::env::var_os(FILE) {
        println!("{}", serde_json::to_string(&replay(Path::new(&file))).unwrap());
        return;
    }
    heading("replay");
    let mut speed =
        Table::new(["agents", "events", "decisions", "activations", "time", "activations/s"]);
    let mut files =
        Table::new(["agents", "documents", "file", "packing", "unpacking", "peak memory"]);
    for agents in AGENTS {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("run.tar.zst");
        let (documents, packed) = record(agents, &file);
        let size = std::fs::metadata(&file).unwrap().len();
        let found = in_another_process(&file);
        for time in &found.replayed {
            speed.row([
                agents.to_string(),
                found.events.to_string(),
                found.decisions.to_string(),
                found.activations.to_string(),
                seconds(*time),
                format!("{:.0}/s", found.activations as f64 / time.as_secs_f64()),
            ]);
        }
        files.row([
            agents.to_string(),
            mib(documents),
            mib(size),
            seconds(packed),
            seconds(found.unpacked),
            mib(found.peak),
        ]);
    }
    speed.print();
    note("one row for each time; the files of the recording are read in it");
    files.print();
    note("peak memory is that of the process that unpacks and replays, with all its plugins");
}

fn seconds(time: Duration) -> String {
    format!("{:.2} s", time.as_secs_f64())
}

/// Makes a run and packs its recording. Returns the bytes before packing, and how long packing took.
fn record(agents: usize, file: &Path) -> (u64, Duration) {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let virtual_time = runtime.enable_all().start_paused(true).build().unwrap();
    let recorded = virtual_time.block_on(Recorded::new(agents));
    let start = Instant::now();
    pack(recorded.folder.path(), &recorded.manifest, file).unwrap();
    let took = start.elapsed();
    (recorded.manifest.members.iter().map(|member| member.bytes).sum(), took)
}

fn in_another_process(file: &Path) -> Found {
    let program = std::env::current_exe().unwrap();
    let output = Command::new(program).env(FILE, file).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn replay(file: &Path) -> Found {
    let folder = tempfile::tempdir().unwrap();
    let start = Instant::now();
    unpack(file, folder.path(), ArchiveLimits::default()).unwrap();
    let unpacked = start.elapsed();
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().build().unwrap();
    let host = PluginHost::start(HostConfig::default()).unwrap();
    let recording = Recording::open(folder.path()).unwrap();
    let events = recording.events().unwrap().count();
    let mut found =
        Found { events, decisions: 0, activations: 0, unpacked, replayed: Vec::new(), peak: 0 };
    for _ in 0..3 {
        let start = Instant::now();
        let report = runtime
            .block_on(async { Player::new(&host, &recording).await.replay().await.unwrap() });
        found.replayed.push(start.elapsed());
        assert!(report.same && report.left_out == 0, "{report:#?}");
        (found.decisions, found.activations) = (report.decisions, report.activations);
    }
    found.peak = peak_memory(std::process::id());
    found
}
