//! What one decision costs over many agents, and what it costs that agents join, leave and move while
//! a run goes: `make bench BENCHES=plan`.
//!
//! **A decision.** The strategy `rolling` starts 10 agents. The whole path is timed as the driver goes it:
//! the machine's question, the plugin's answer with the roster lent to it, on a thread of the host, and
//! the check, the change of state and the documents to write that follow.
//!
//! **Changes of the members.** 1,000 of them, 1 % of 100,000 agents, come into the machine in the parts
//! that the driver makes of them; beside it the same 1,000 in smaller rosters. The floor of a cost that is
//! that of the changes is the same cost everywhere.
//!
//! **Answers of a platform.** What follows a cluster reads each answer whole, so an answer costs what its
//! nodes cost; what comes of it afterwards must not.
//!
//! **Until a change is seen**, in virtual time: from the moment at which a platform would tell of it, up
//! to the commit in which the run takes notice.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, dead_code)]

mod support;

#[path = "plan/answers.rs"]
mod answers;
#[path = "../tests/support/engine.rs"]
mod engine;
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
            // The first warms everything up.
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
