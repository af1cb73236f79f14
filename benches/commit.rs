//! What commits cost: `make bench`, or `make bench BENCHES=commit`.
//!
//! A transition is one agent record, one journal and one event, with the run's own progress, as the driver
//! writes them. 500 callers commit to the SQLite store at once, each as soon as its last commit is on the
//! disk. At first each of them has a run of its own; then all of them share one run, and transitions that
//! arrive while a commit is being written are merged into the next one, as the driver does it. The floor is
//! measured in turns with both: bare rusqlite that writes the same rows, already as text, into the same
//! schema with the same settings, 500 transitions to a transaction. `STORE=mongodb` measures the same on
//! MongoDB, in a table of its own.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod support;

#[path = "commit/floor.rs"]
mod floor;
#[path = "commit/mongodb.rs"]
mod mongodb;
#[path = "commit/transitions.rs"]
mod transitions;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use replibook::clock::SystemClock;
use replibook::run::{EngineId, RunId, Writes};
use replibook::store::{Lease, SqliteStore, Store, StoreOptions};
use support::{Sample, Table, Usage, heading, ms, note, rate, written};
use tokio::task::JoinSet;

/// Callers at a time: as many as the window of the fleet benchmark.
const CALLERS: u32 = 500;

/// Commits of each caller in a round, and the number of rounds.
const COMMITS: u32 = 60;
const ROUNDS: usize = 3;

/// Transitions that are merged into one commit of a run: it must stay below the bound of 1,000 documents.
const MERGED: u32 = 333;

struct Measured {
    took: Duration,
    cpu: Duration,
    waits: Sample,
    written: u64,
}

fn main() {
    heading("commit");
    let parent = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let mut table = Table::new([
        "what",
        "transitions",
        "transitions/s",
        "CPU each",
        "p50",
        "p99",
        "written each",
    ]);
    for round in 0..ROUNDS {
        let dir = |name: &str| parent.path().join(format!("{name}-{round}"));
        let floor = floor::measure(&dir("floor"), CALLERS, COMMITS);
        row(&mut table, "floor: bare rusqlite, one thread", &floor);
        row(&mut table, "500 runs", &runtime.block_on(many(&dir("many"))));
        row(&mut table, "one run, as the driver merges", &runtime.block_on(one(&dir("one"))));
    }
    let (sync, count) = (floor::sync(parent.path()), CALLERS);
    table.print();
    let (median, p99) = (ms(sync.median()), ms(sync.p99()));
    note(&format!("one fdatasync of 4 KiB on this disk: median {median}, p99 {p99}"));
    note(&format!("p50 and p99: from the call of one of the {count} callers to its answer"));
    if let Some(address) = support::mongodb() {
        println!();
        runtime.block_on(mongodb::measure(&address)).print();
    }
}

fn row(table: &mut Table, what: &str, measured: &Measured) {
    let Measured { took, cpu, waits, written } = measured;
    let count = (CALLERS * COMMITS) as usize;
    table.row([
        what.to_owned(),
        count.to_string(),
        rate(count, *took),
        support::us(*cpu / CALLERS / COMMITS),
        ms(waits.median()),
        ms(waits.p99()),
        format!("{:.1} KiB", *written as f64 / 1024.0 / count as f64),
    ]);
}

async fn open(dir: &Path, runs: u32) -> (Arc<SqliteStore>, Vec<Lease>) {
    let store = SqliteStore::open(dir, StoreOptions::default(), Arc::new(SystemClock)).unwrap();
    store.put_cluster(&transitions::cluster()).await.unwrap();
    for run in 0..runs {
        store.create_run(&transitions::new_run(run)).await.unwrap();
    }
    let leases = store.claim(&EngineId("bench".to_owned()), runs).await.unwrap();
    assert_eq!(leases.len(), runs as usize);
    (Arc::new(store), leases)
}

/// Each caller has a run.
async fn many(dir: &Path) -> Measured {
    let (store, leases) = open(dir, CALLERS).await;
    let (before, usage) = (written(), Usage::start());
    let mut callers = JoinSet::new();
    for Lease { run, epoch, .. } in leases {
        let store = Arc::clone(&store);
        callers.spawn(async move {
            let mut waits = Vec::new();
            for number in 0..COMMITS {
                let writes = transitions::transition(run, 0, number, u64::from(number) + 2);
                let start = std::time::Instant::now();
                store.commit(run, epoch, &writes).await.unwrap();
                waits.push(start.elapsed());
            }
            waits
        });
    }
    let waits = callers.join_all().await.into_iter().flatten().collect();
    let (took, cpu) = usage.since();
    Measured { took, cpu, waits, written: written() - before }
}

/// All callers have an agent of one run; the transitions that wait are merged into one commit.
async fn one(dir: &Path) -> Measured {
    let (store, leases) = open(dir, 1).await;
    let Lease { run, epoch, .. } = leases[0];
    let (before, usage) = (written(), Usage::start());
    let mut waits = Sample::default();
    let mut event = 2;
    let agents: Vec<u32> = (0..CALLERS).collect();
    for number in 0..COMMITS {
        for agents in agents.chunks(MERGED as usize) {
            let start = std::time::Instant::now();
            let writes = merged(run, agents, number, &mut event);
            store.commit(run, epoch, &writes).await.unwrap();
            for _ in agents {
                waits.push(start.elapsed());
            }
        }
    }
    let (took, cpu) = usage.since();
    Measured { took, cpu, waits, written: written() - before }
}

fn merged(run: RunId, agents: &[u32], number: u32, event: &mut u64) -> Writes {
    let mut all = Writes::default();
    for agent in agents {
        let one = transitions::transition(run, *agent, number, *event);
        *event += 1;
        all.progress = one.progress;
        all.records.extend(one.records);
        all.journals.extend(one.journals);
        all.events.extend(one.events);
    }
    all
}
