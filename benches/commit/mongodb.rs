//! The same commits on MongoDB, and how many round trips and how much CPU time of the server each one takes.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use replibook::clock::SystemClock;
use replibook::run::{EngineId, RunId, Writes};
use replibook::store::mongodb::MongoOptions;
use replibook::store::{Lease, MongoStore, Store, StoreOptions};
use tokio::task::JoinSet;

use crate::support::{Sample, Table, Usage, cpu_time, mongodb_id, ms, rate, us, with_database};
use crate::{merged, transitions};

/// Callers at a time: more than there are connections, and few enough that none waits as long as a
/// call may take on a slow server.
const CALLERS: u32 = 100;

/// Commits of each caller.
const COMMITS: u32 = 20;

/// Transitions that are merged into one commit of a run, and the number of such commits.
const MERGED: u32 = 333;
const MERGES: u32 = 30;

/// What commits cost: the engine's side, and the server's CPU time where it can be read.
struct Measured {
    transitions: u32,
    commits: u32,
    documents: usize,
    round_trips: u64,
    took: Duration,
    cpu: Duration,
    servers_cpu: Option<Duration>,
    waits: Sample,
}

/// A store of its own, whose round trips are counted.
struct Counted {
    store: Arc<MongoStore>,
    round_trips: Arc<AtomicU64>,
    leases: Vec<Lease>,
}

async fn open(address: &str, bulk_write: bool, runs: u32) -> Counted {
    let round_trips = Arc::new(AtomicU64::new(0));
    let count = round_trips.clone();
    let name = format!("bench_{}", uuid::Uuid::new_v4().simple());
    let mut mongo = MongoOptions::new(with_database(address, &name));
    mongo.bulk_write = bulk_write;
    mongo.watch = Some(Arc::new(move |_, _| {
        count.fetch_add(1, Ordering::Relaxed);
    }));
    let store = MongoStore::open(&mongo, StoreOptions::default(), Arc::new(SystemClock)).await;
    let store = Arc::new(store.unwrap());
    store.put_cluster(&transitions::cluster()).await.unwrap();
    for run in 0..runs {
        store.create_run(&transitions::new_run(run)).await.unwrap();
    }
    let leases = store.claim(&EngineId("bench".to_owned()), runs).await.unwrap();
    assert_eq!(leases.len(), runs as usize);
    Counted { store, round_trips, leases }
}

/// Measures both ways to write a commit: with one command for all of it, and with one for each collection.
pub(crate) async fn measure(address: &str) -> Table {
    let mut table = Table::new([
        "what, on MongoDB",
        "transitions",
        "transitions/s",
        "CPU each",
        "p50",
        "p99",
        "documents per commit",
        "round trips per commit",
        "the server's CPU per commit",
        "processors that it used",
    ]);
    for (bulk_write, how) in [(true, "bulkWrite"), (false, "a command for each collection")] {
        let counted = open(address, bulk_write, CALLERS).await;
        row(&mut table, &format!("{CALLERS} runs, {how}"), &many(counted).await);
        let counted = open(address, bulk_write, 1).await;
        row(&mut table, &format!("one run, as the driver merges, {how}"), &one(counted).await);
    }
    table
}

fn row(table: &mut Table, what: &str, measured: &Measured) {
    let Measured { transitions, commits, documents, round_trips, took, cpu, servers_cpu, waits } =
        measured;
    let unknown = || "–".to_owned();
    table.row([
        what.to_owned(),
        transitions.to_string(),
        rate(*transitions as usize, *took),
        us(*cpu / *transitions),
        ms(waits.median()),
        ms(waits.p99()),
        documents.to_string(),
        format!("{:.2}", *round_trips as f64 / f64::from(*commits)),
        servers_cpu.map_or_else(unknown, |cpu| us(cpu / *commits)),
        servers_cpu
            .map_or_else(unknown, |cpu| format!("{:.2}", cpu.as_secs_f64() / took.as_secs_f64())),
    ]);
}

/// Counts time and round trips from its start until it is asked.
struct Count {
    usage: Usage,
    servers: Option<Duration>,
    trips: u64,
}

impl Count {
    fn start(round_trips: &AtomicU64) -> Self {
        let servers = mongodb_id().map(cpu_time);
        Self { usage: Usage::start(), servers, trips: round_trips.load(Ordering::Relaxed) }
    }

    fn measured(
        &self,
        round_trips: &AtomicU64,
        transitions: u32,
        commits: u32,
        (documents, waits): (usize, Sample),
    ) -> Measured {
        let (took, cpu) = self.usage.since();
        let servers_cpu = self.servers.and_then(|before| Some(cpu_time(mongodb_id()?) - before));
        let round_trips = round_trips.load(Ordering::Relaxed) - self.trips;
        Measured { transitions, commits, documents, round_trips, took, cpu, servers_cpu, waits }
    }
}

/// How many documents a commit writes, the run's own among them.
fn documents(writes: &Writes) -> usize {
    writes.documents() + 1
}

/// Each caller has a run. What a store asks only once, at its first transactions, is not counted.
async fn many(Counted { store, round_trips, leases }: Counted) -> Measured {
    commit_each(&store, &leases, 0..1).await;
    let count = Count::start(&round_trips);
    let waits = commit_each(&store, &leases, 1..COMMITS + 1).await;
    let all = CALLERS * COMMITS;
    let one = transitions::transition(RunId(uuid::Uuid::nil()), 0, 0, 1);
    count.measured(&round_trips, all, all, (documents(&one), waits))
}

async fn commit_each(store: &Arc<MongoStore>, leases: &[Lease], numbers: Range<u32>) -> Sample {
    let mut callers = JoinSet::new();
    for Lease { run, epoch, .. } in leases.iter().cloned() {
        let (store, numbers) = (Arc::clone(store), numbers.clone());
        callers.spawn(async move {
            let mut waits = Vec::new();
            for number in numbers {
                let writes = transitions::transition(run, 0, number, u64::from(number) + 2);
                let start = std::time::Instant::now();
                store.commit(run, epoch, &writes).await.unwrap();
                waits.push(start.elapsed());
            }
            waits
        });
    }
    callers.join_all().await.into_iter().flatten().collect()
}

/// All transitions are of one run; those that wait are merged into one commit.
async fn one(Counted { store, round_trips, leases }: Counted) -> Measured {
    let Lease { run, epoch, .. } = leases[0];
    let count = Count::start(&round_trips);
    let (mut waits, mut event, mut largest) = (Sample::default(), 2, 0);
    let agents: Vec<u32> = (0..MERGED).collect();
    for number in 0..MERGES {
        let writes = merged(run, &agents, number, &mut event);
        largest = largest.max(documents(&writes));
        let start = std::time::Instant::now();
        store.commit(run, epoch, &writes).await.unwrap();
        waits.push(start.elapsed());
    }
    count.measured(&round_trips, MERGED * MERGES, MERGES, (largest, waits))
}
