//! What one activation costs: `cargo bench --bench activation`.
//!
//! Prints the median in microseconds for the built-in step `action` on one thread: its first
//! activation, which ends at its call, and its second, which has the answer and returns. Below them
//! the floor: an instance that only describes itself. Beside them how many first activations all
//! threads of the host make together.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
// Figures are what this program is for.
#![allow(clippy::print_stdout)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use replibook::playbook::Grants;
use replibook::plugin::{HostConfig, PluginError, PluginHost};
use replibook::run::{
    Activate, ActivationEnd, AgentId, AgentSeq, Answer, Answered, AttemptKey, Call, Digest,
    Journal, RunId, Timestamp,
};
use serde_json::{Map, json};

/// Rounds before the clock runs, and rounds that count.
const WARM_UP: usize = 2_000;
const ROUNDS: usize = 20_000;

/// Activations that wait for the host at a time.
const IN_FLIGHT: usize = 64;

fn main() -> Result<(), PluginError> {
    let host = PluginHost::start(HostConfig::default())?;
    let find = |name: &str| host.builtins().iter().find(|plugin| plugin.info.name == name);
    let Some(plugin) = find("action").map(|plugin| plugin.info.digest.clone()) else {
        return Ok(());
    };
    let floor = median(|| black_box(host.describe_blocking(&plugin).is_ok()));
    report("floor: instance and describe", floor);
    let first = activate(&plugin, 0);
    let blocks = || matches!(host.activate_blocking(first.clone()).end, ActivationEnd::Blocked(_));
    report("activation of action, no answer yet", median(blocks));
    let second = activate(&plugin, 1);
    let returns = || matches!(host.activate_blocking(second.clone()).end, ActivationEnd::Done(_));
    report("activation of action, with its answer", median(returns));
    throughput(&host, &plugin);
    Ok(())
}

/// The median time of a call that must go well.
fn median(mut call: impl FnMut() -> bool) -> Duration {
    let mut times = Vec::with_capacity(ROUNDS);
    for round in 0..WARM_UP + ROUNDS {
        let start = Instant::now();
        assert!(call(), "the call failed");
        if round >= WARM_UP {
            times.push(start.elapsed());
        }
    }
    times.sort_unstable();
    times[ROUNDS / 2]
}

fn report(what: &str, time: Duration) {
    println!("{what:<40} {:>8.1} µs", time.as_secs_f64() * 1e6);
}

fn throughput(host: &PluginHost, plugin: &Digest) {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().build() else { return };
    let activate = activate(plugin, 0);
    let start = Instant::now();
    runtime.block_on(async {
        for _ in 0..ROUNDS / IN_FLIGHT {
            let calls = (0..IN_FLIGHT).map(|_| host.activate(activate.clone()));
            black_box(futures::future::join_all(calls).await);
        }
    });
    let rate = (ROUNDS / IN_FLIGHT * IN_FLIGHT) as f64 / start.elapsed().as_secs_f64();
    println!("{:<40} {rate:>8.0} /s", "all threads together");
}

/// An activation of `action` whose journal has so many answers: 0, or 1 for the one call it makes.
fn activate(plugin: &Digest, answers: usize) -> Activate {
    let key = AttemptKey { agent: AgentSeq(0), stage: 0, step: 0, attempt: 1 };
    let agent = AgentId::from("node-1");
    let kind = "agent.replicante.io/test.success".to_owned();
    let arguments = json!({ "grace": 30, "reason": "restart of the week" });
    let call = Call::RunAction { kind: kind.clone(), arguments: arguments.clone() };
    let answered = Answered {
        name: call.name(),
        arguments_hash: call.arguments_hash(),
        at: Timestamp::from_millis(1_763_802_000_000),
        answer: Answer::RunAction(Ok(json!({ "moved": 3 }))),
    };
    let journal = Journal {
        run: RunId(uuid::Uuid::nil()),
        key,
        agent: agent.clone(),
        step_name: "restart".to_owned(),
        started_at: Timestamp::from_millis(1_763_802_000_000),
        arguments: json!({ "kind": kind, "args": arguments }),
        answers: vec![answered; answers],
        pending: None,
        log_lines: 0,
        finish_ts: None,
    };
    Activate {
        key,
        plugin: plugin.clone(),
        grants: Grants { actions: vec!["*".to_owned()], http: Vec::new() },
        journal,
        agent,
        attributes: Map::new().into(),
        cluster: "bench".to_owned(),
        stage: "all".to_owned(),
    }
}
