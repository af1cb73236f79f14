//! How fast a recorded run is played again: `make bench BENCHES=replay`.
//!
//! A run over 2,000 agents is made in virtual time with scripted agents, and recorded. Then it is
//! replayed from the files of the recording, which are read each time: every decision is asked for
//! and every activation made again, with the threads that a host has by itself.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, dead_code)]

mod support;

#[path = "../tests/support/engine.rs"]
mod engine;
#[allow(dead_code, reason = "the tests use all of it")]
#[path = "../tests/support/exports.rs"]
mod exports;
#[path = "../tests/replay/recorded.rs"]
mod recorded;
#[path = "../tests/driver/scene.rs"]
mod scene;

use std::time::Instant;

use recorded::Recorded;
use replibook::plugin::{HostConfig, PluginHost};
use replibook::replay::Player;
use support::{Table, heading, note};

const AGENTS: usize = 2_000;

fn main() {
    heading("replay");
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let virtual_time = runtime.enable_all().start_paused(true).build().unwrap();
    let recorded = virtual_time.block_on(Recorded::new(AGENTS));
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().build().unwrap();
    let host = PluginHost::start(HostConfig::default()).unwrap();
    let mut table =
        Table::new(["agents", "events", "decisions", "activations", "time", "activations/s"]);
    for _ in 0..3 {
        let recording = recorded.recording();
        let events = recording.events().unwrap().count();
        let start = Instant::now();
        let report = runtime
            .block_on(async { Player::new(&host, &recording).await.replay().await.unwrap() });
        let time = start.elapsed();
        assert!(report.same && report.left_out == 0, "{report:#?}");
        table.row([
            AGENTS.to_string(),
            events.to_string(),
            report.decisions.to_string(),
            report.activations.to_string(),
            format!("{:.2} s", time.as_secs_f64()),
            format!("{:.0}/s", report.activations as f64 / time.as_secs_f64()),
        ]);
    }
    table.print();
    note("one row for each time; the files of the recording are read in it");
}
