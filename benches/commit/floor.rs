//! The floor of a commit: the same rows, written with rusqlite and nothing else.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use replibook::clock::SystemClock;
use replibook::run::RunId;
use replibook::store::{SqliteStore, StoreOptions};
use rusqlite::{Connection, params};

use crate::support::{Sample, Usage, written};
use crate::{Measured, transitions};

/// The rows of one transition, already as text.
struct Rows {
    run: [u8; 16],
    seq: i64,
    number: u32,
    state: &'static str,
    progress: String,
    record: String,
    journal: String,
    event: String,
}

/// Writes what `callers` runs of one agent each write in `commits` rounds: one transaction for each round.
pub(crate) fn measure(dir: &Path, callers: u32, commits: u32) -> Measured {
    let connection = open(dir);
    let ids: Vec<RunId> =
        (0..callers).map(|caller| transitions::new_run(caller).run.id()).collect();
    for id in &ids {
        let sql = "INSERT INTO runs (id, cluster, status, engine, epoch, lease_until, progress) \
                   VALUES (?1, 'bench', 'RUNNING', 'bench', 1, 0, '')";
        connection.execute(sql, params![id.0.as_bytes()]).unwrap();
    }
    let rounds: Vec<Vec<Rows>> =
        (0..commits).map(|number| ids.iter().map(|id| rows(*id, number)).collect()).collect();
    let (before, usage) = (written(), Usage::start());
    let mut waits = Sample::default();
    for round in &rounds {
        waits.time(|| write(&connection, round));
    }
    let (took, cpu) = usage.since();
    Measured { took, cpu, waits, written: written() - before }
}

/// A database with the schema of the store and its settings.
fn open(dir: &Path) -> Connection {
    let clock = Arc::new(SystemClock);
    drop(SqliteStore::open(dir, StoreOptions::default(), clock).unwrap());
    let files = fs::read_dir(dir).unwrap().map(|file| file.unwrap().path());
    let is_database = |path: &std::path::PathBuf| {
        fs::read(path).unwrap_or_default().starts_with(b"SQLite format 3")
    };
    let path = files.into_iter().find(is_database).unwrap();
    let connection = Connection::open(path).unwrap();
    for (name, value) in [
        ("journal_mode", "WAL"),
        ("synchronous", "FULL"),
        ("wal_autocheckpoint", "4000"),
        ("cache_size", "-16384"),
        ("temp_store", "MEMORY"),
    ] {
        connection.pragma_update(None, name, value).unwrap();
    }
    connection
}

fn rows(run: RunId, number: u32) -> Rows {
    let writes = transitions::transition(run, 0, number, u64::from(number) + 2);
    let record = &writes.records[0];
    Rows {
        run: *run.0.as_bytes(),
        seq: i64::from(number) + 2,
        number,
        state: record.state.as_str(),
        progress: serde_json::to_string(&writes.progress).unwrap(),
        record: serde_json::to_string(record).unwrap(),
        journal: serde_json::to_string(&writes.journals[0]).unwrap(),
        event: serde_json::to_string(&writes.events[0]).unwrap(),
    }
}

fn write(connection: &Connection, rows: &[Rows]) {
    connection.execute_batch("BEGIN IMMEDIATE").unwrap();
    let run = "UPDATE runs SET progress = ?2 WHERE id = ?1";
    let record = "INSERT INTO agent_records (run, seq, agent, state, body) \
                  VALUES (?1, 0, 'node-0', ?2, ?3) \
                  ON CONFLICT (run, seq) DO UPDATE SET state = ?2, body = ?3";
    let journal = "INSERT INTO journals (run, agent, stage, step, attempt, body) \
                   VALUES (?1, 0, 0, 0, ?2, ?3) \
                   ON CONFLICT (run, agent, stage, step, attempt) DO UPDATE SET body = ?3";
    let event = "INSERT INTO events (run, seq, body) VALUES (?1, ?2, ?3)";
    let prepare = |sql| connection.prepare_cached(sql).unwrap();
    let (mut run, mut record) = (prepare(run), prepare(record));
    let (mut journal, mut event) = (prepare(journal), prepare(event));
    for row in rows {
        run.execute(params![row.run, row.progress]).unwrap();
        record.execute(params![row.run, row.state, row.record]).unwrap();
        journal.execute(params![row.run, row.number / 2 + 1, row.journal]).unwrap();
        event.execute(params![row.run, row.seq, row.event]).unwrap();
    }
    connection.execute_batch("COMMIT").unwrap();
}

/// How long this disk takes to make four KiB durable.
pub(crate) fn sync(dir: &Path) -> Sample {
    let mut file = File::create(dir.join("sync")).unwrap();
    let mut sample = Sample::default();
    for _ in 0..200 {
        sample.time(|| {
            file.write_all(&[1; 4096]).unwrap();
            file.sync_data().unwrap();
        });
    }
    sample
}
