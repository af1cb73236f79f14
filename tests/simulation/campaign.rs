//! Plays many seeds, one after another, on a few threads.

use std::io::Write as _;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{LazyLock, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use replibook::playbook::PluginInfo;
use replibook::plugin::{HostConfig, PluginHost};

use crate::documents::WAITS_TWICE;
use crate::gate::lock;
use crate::history::play;
use crate::ledger::Violation;
use crate::plan::Plan;
use crate::plugins;
use crate::shrink::shrink;

/// The most threads: a host that has no threads of its own has places for this many guests at once.
const MAX_THREADS: usize = 4;

/// How often a long campaign says how far it has come.
const PROGRESS: Duration = Duration::from_secs(20);

/// How many lines of the trace a failure shows.
const SHOWN: usize = 60;

/// The host with the plugins, which are compiled once for all histories of this process.
pub(crate) static PLUGINS: LazyLock<PluginHost> = LazyLock::new(|| {
    PluginHost::start(HostConfig { threads: Some(0), ..HostConfig::default() }).unwrap()
});

/// The strategy that logs all the time, and the step that waits for two signals. They are built for these tests and
/// imported into [`PLUGINS`].
pub(crate) static GUESTS: LazyLock<[(PluginInfo, Bytes); 2]> = LazyLock::new(|| {
    let folder = plugins::build("tests/plugins");
    ["chatty", WAITS_TWICE].map(|name| {
        let bytes = plugins::component(&folder, name);
        let info = futures::executor::block_on(PLUGINS.import(bytes.clone())).unwrap();
        (info, bytes)
    })
});

/// A seed whose history went wrong.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) seed: u64,
    pub(crate) violation: Violation,
}

/// Plays a plan. If its end must not depend on disturbances, plays it again without them and compares.
pub(crate) fn trial(plan: &Plan) -> Option<Violation> {
    let told = play(plan, &PLUGINS, false);
    if told.violation.is_some() || !plan.timeless {
        return told.violation;
    }
    let undisturbed = play(&plan.undisturbed(), &PLUGINS, false);
    undisturbed.violation.or_else(|| {
        (told.outcome != undisturbed.outcome).then(|| Violation {
            rule: "what disturbs a run does not show in its end",
            what: format!("{:?}\ninstead of\n{:?}", told.outcome, undisturbed.outcome),
            at: 0,
        })
    })
}

/// Plays the seeds until `failures` of them have failed, at least one. Returns the first failures, in the
/// order of their seeds, and how many seeds were played. `each` is called on every thread before it begins.
pub(crate) fn search(
    seeds: Range<u64>,
    failures: usize,
    each: impl Fn() + Sync,
) -> (Vec<Failure>, u64) {
    let threads = thread::available_parallelism().map_or(1, Into::into).min(MAX_THREADS);
    let next = AtomicU64::new(seeds.start);
    let failed: Mutex<Vec<Failure>> = Mutex::default();
    let start = Instant::now();
    let told = Mutex::new(start);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                each();
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    let before = lock(&failed).iter().filter(|failure| failure.seed < seed).count();
                    // No later seed can be among the first failures, but earlier ones are still being played.
                    if seed >= seeds.end || before >= failures.max(1) {
                        return;
                    }
                    if let Some(violation) = trial(&Plan::from_seed(seed)) {
                        if failures > 1 {
                            say(&format!("seed {seed}: {violation:?}"));
                        }
                        lock(&failed).push(Failure { seed, violation });
                    }
                    let mut told = lock(&told);
                    if told.elapsed() > PROGRESS {
                        *told = Instant::now();
                        say(&rate(seed + 1 - seeds.start, start));
                    }
                }
            });
        }
    });
    let played = next.load(Ordering::Relaxed).min(seeds.end) - seeds.start;
    let mut failed = std::mem::take(&mut *lock(&failed));
    failed.sort_by_key(|failure| failure.seed);
    failed.truncate(failures.max(1));
    (failed, played)
}

/// How many histories there were, and how many per second, as text.
pub(crate) fn rate(played: u64, start: Instant) -> String {
    let seconds = start.elapsed().as_secs_f64();
    format!("{played} histories in {seconds:.1} s: {:.0} a second", played as f64 / seconds)
}

/// Writes to stderr at once, even in a test whose output is captured.
pub(crate) fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "simulation: {text}");
}

/// Everything that helps to understand a failure: what went wrong, how to repeat it, and the smallest plan
/// that fails in the same way, with its trace.
pub(crate) fn explain(failure: &Failure) -> String {
    let Failure { seed, violation } = failure;
    let rule = violation.rule;
    let fails = |plan: &Plan| trial(plan).is_some_and(|violation| violation.rule == rule);
    let shrunk = shrink(Plan::from_seed(*seed), fails);
    let trace = play(&shrunk, &PLUGINS, true).trace;
    let shown = trace[trace.len().saturating_sub(SHOWN)..].join("\n");
    format!(
        "seed {seed} breaks the rule \"{rule}\" after {} ms: {}\n\
         repeat it with: make simulate SEED={seed}\n\n\
         the smallest plan that breaks it: {shrunk:#?}\n\nthe end of its trace:\n{shown}",
        violation.at, violation.what
    )
}
