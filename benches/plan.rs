//! What one decision over many agents costs, and what it costs when agents join, leave and move during a run:
//! `make bench BENCHES=plan`.
//!
//! **A decision.** The strategy `rolling` starts 10 agents. What is timed is the whole path of the driver:
//! the machine's question, then the plugin's answer on a thread of the host, with the roster lent to it, then
//! the check, the change of state and the documents to write.
//!
//! **Guards.** The same decision over 100,000 agents with and without three guards of the cluster, and what it costs when
//! the status of a node changes.
//!
//! **Changes of the members.** 1,000 changes, which are 1 % of 100,000 agents, reach the machine in the parts
//! that the driver makes of them; the same 1,000 are made in smaller rosters. A cost that depends only on the
//! number of changes is the same in all of them.
//!
//! **Answers of a platform.** The follower of a cluster reads each answer whole, so reading one costs time
//! for each node. What happens afterwards must not.
//!
//! **Until a change is seen**, in virtual time: from the moment at which the platform would tell of a change
//! to the commit in which the run takes notice of it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, dead_code)]

mod support;

#[path = "plan/answers.rs"]
mod answers;
#[path = "../tests/support/engine.rs"]
mod engine;
#[path = "plan/guards.rs"]
mod guards;
#[path = "plan/membership.rs"]
mod membership;
#[path = "../tests/driver/scene.rs"]
mod scene;
#[path = "plan/seen.rs"]
mod seen;
#[path = "plan/stage.rs"]
mod stage;

use std::time::Instant;

use replibook::plugin::{HostConfig, PluginHost};
use stage::{STARTED, Times};
use support::{Sample, Table, heading, note, us};

const AGENTS: [u32; 3] = [1_000, 10_000, 100_000];
const ROUNDS: usize = 60;

fn main() {
    heading("plan");
    let host = PluginHost::start(HostConfig::default()).unwrap();
    decisions(&host);
    guards::measure(&host);
    membership::measure(&host);
    answers::measure();
    seen::measure();
}

fn decisions(host: &PluginHost) {
    let snapshot = stage::snapshot(host);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut table =
        Table::new(["agents", "decision", "p99", "question", "plugin", "check and change"]);
    for agents in AGENTS {
        let mut machine = stage::load(&snapshot, agents);
        let (mut whole, mut times) = (Sample::default(), Times::default());
        for round in 0..ROUNDS {
            let start = Instant::now();
            let decided;
            (machine, decided) = runtime.block_on(stage::decide(host, machine, &mut times));
            // The first round only warms everything up.
            if round > 0 {
                whole.push(start.elapsed());
            }
            drop(decided);
            stage::finish(&mut machine);
        }
        table.row([
            agents.to_string(),
            us(whole.median()),
            us(whole.p99()),
            us(times.ask.median()),
            us(times.plugin.median()),
            us(times.obey.median()),
        ]);
    }
    table.print();
    note(&format!("each decision starts {STARTED} agents; medians of {ROUNDS} decisions"));
}
