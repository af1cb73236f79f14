//! What one activation costs, in each language: `make bench BENCHES=activation`.
//!
//! The step `safe-restart` is activated with two answers in its journal, so it stops at its third call. The
//! built-in step `action` is activated with the one answer that it needs, so it ends. Each is measured in
//! turns with its floor: bare wasmtime, which makes an instance of the same component and calls it, with host
//! functions that return the same answers and do nothing else.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

#[path = "activation/floor.rs"]
mod floor;
#[path = "activation/journal.rs"]
mod journal;

use std::hint::black_box;
use std::path::Path;
use std::process::id;
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use replibook::plugin::{HostConfig, PluginHost};
use replibook::run::{Activate, ActivationEnd};
use support::{
    Table, heading, interleaved, mib, ms, note, peak_memory, reset_peak_memory, times, us,
};

/// The time that one side of a comparison may take, and the most rounds that it is given.
const BUDGET: Duration = Duration::from_secs(3);
const MOST_ROUNDS: usize = 10_000;

/// The plugins that are built by `make example-plugins`.
const EXAMPLES: [(&str, &str); 4] = [
    ("Rust", "examples/plugins/rust/target/wasm32-wasip2/release/safe_restart.wasm"),
    ("C", "examples/plugins/c/target/safe_restart.wasm"),
    ("JavaScript", "examples/plugins/javascript/target/safe_restart.wasm"),
    ("Python", "examples/plugins/python/target/safe_restart.wasm"),
];

struct Plugin {
    name: String,
    bytes: Bytes,
    answers: usize,
}

fn main() {
    heading("activation");
    let plugins = plugins();
    let cache = tempfile::tempdir().unwrap();
    let (hosts, runtime) = (hosts(cache.path()), tokio::runtime::Runtime::new().unwrap());
    let mut table = Table::new([
        "plugin",
        "size",
        "compile",
        "load from cache",
        "activation",
        "p99",
        "floor",
        "of the floor",
        "1 thread",
        "2 threads",
        "gain",
        "gain of the floor",
        "memory",
    ]);
    for plugin in &plugins {
        let import = |host: &PluginHost| {
            let start = Instant::now();
            let info = runtime.block_on(host.import(plugin.bytes.clone())).unwrap();
            (info.digest, start.elapsed())
        };
        let (digest, compile) = import(&hosts[0]);
        let (_, load) = import(&hosts[1]);
        let host = &hosts[1];
        let make = || journal::activate(&digest, plugin.answers);
        let floor = floor::Floor::new(&plugin.bytes);
        check(host, make(), plugin.answers);

        reset_peak_memory(id());
        let before = peak_memory(id());
        let rounds = rounds(|| drop(black_box(host.activate_blocking(make()))));
        let memory = peak_memory(id()).saturating_sub(before);
        let warm_up = rounds / 10;
        let ours = |activate| drop(black_box(host.activate_blocking(activate)));
        let (ours, bare) = interleaved(warm_up, rounds, make, ours, || floor.run());
        let (one, two) = threads(rounds, || drop(black_box(host.activate_blocking(make()))));
        let (bare_one, bare_two) = threads(rounds, || floor.run());
        table.row([
            plugin.name.clone(),
            format!("{:.0} KiB", plugin.bytes.len() as f64 / 1024.0),
            if plugin.answers == 1 { "–".to_owned() } else { ms(compile) },
            if plugin.answers == 1 { "–".to_owned() } else { ms(load) },
            us(ours.median()),
            us(ours.p99()),
            us(bare.median()),
            times(ours.median(), bare.median()),
            format!("{one:.0}/s"),
            format!("{two:.0}/s"),
            format!("{:.2}×", two / one),
            format!("{:.2}×", bare_two / bare_one),
            mib(memory),
        ]);
    }
    table.print();
    note("activation, floor: medians on one thread, in turns; 1 and 2 threads: activations by all");
    note("memory: what the process had more at its peak, while it made the first activations");
}

fn plugins() -> Vec<Plugin> {
    let host = PluginHost::start(HostConfig::default()).unwrap();
    let action = host.builtins().iter().find(|plugin| plugin.info.name == "action").unwrap();
    let mut plugins = vec![Plugin {
        name: "built-in action".to_owned(),
        bytes: action.bytes.clone(),
        answers: 1,
    }];
    for (name, path) in EXAMPLES {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
        let bytes = std::fs::read(&path).unwrap_or_else(|error| {
            panic!("failed to read {}: {error}; `make example-plugins` builds it", path.display())
        });
        plugins.push(Plugin { name: name.to_owned(), bytes: bytes.into(), answers: 2 });
    }
    plugins
}

/// Two hosts that share a cache: the second loads what the first has compiled.
fn hosts(cache: &Path) -> [PluginHost; 2] {
    [0, 1].map(|_| {
        let cache = Some(cache.join("compiled"));
        PluginHost::start(HostConfig { cache, ..HostConfig::default() }).unwrap()
    })
}

/// Fails if the activation ends too early: such an activation would look fast.
fn check(host: &PluginHost, activate: Activate, answers: usize) {
    let activation = host.activate_blocking(activate);
    match (answers, &activation.end) {
        (1, ActivationEnd::Done(_)) | (2, ActivationEnd::Blocked(_)) => {}
        _ => panic!("found {activation:?}"),
    }
}

/// How many calls fit into the budget.
fn rounds(mut call: impl FnMut()) -> usize {
    let start = Instant::now();
    let mut calls = 0;
    while calls < 20 || (start.elapsed() < BUDGET / 10 && calls < MOST_ROUNDS) {
        call();
        calls += 1;
    }
    let each = start.elapsed().as_secs_f64() / calls as f64;
    ((BUDGET.as_secs_f64() / each) as usize).clamp(20, MOST_ROUNDS)
}

/// Activations per second on one thread, and on two together: medians of five turns.
fn threads(rounds: usize, call: impl Fn() + Sync) -> (f64, f64) {
    let rounds = (rounds / 5).max(10);
    let turn = |threads: usize| {
        let start = Instant::now();
        thread::scope(|scope| {
            for _ in 0..threads {
                let work = || (0..rounds).for_each(|_| call());
                // As large as the stack of the host's threads that run guests.
                thread::Builder::new().stack_size(4 << 20).spawn_scoped(scope, work).unwrap();
            }
        });
        (threads * rounds) as f64 / start.elapsed().as_secs_f64()
    };
    let (mut one, mut two) = (Vec::new(), Vec::new());
    for _ in 0..5 {
        one.push(turn(1));
        two.push(turn(2));
    }
    one.sort_by(f64::total_cmp);
    two.sort_by(f64::total_cmp);
    (one[2], two[2])
}
