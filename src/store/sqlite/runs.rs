//! Creates runs, and reads them.

use std::collections::BTreeSet;
use std::sync::Arc;

use rusqlite::{Connection, Row, params};

use super::commit::write_event;
use super::leases::FREE;
use super::locks::lock_at_once;
use super::objects::check_cluster;
use super::plugins::check_pins;
use super::rows::{
    Decoded, change, column, decode, encode, first, millis, run_id, run_key, same_word,
};
use super::upkeep::pin;
use crate::contract::{MAX_PAGE, Result};
use crate::damage::{Damage, DamagedRun, Glance, KeptRun};
use crate::documents::{Created, Head, NewRun};
use crate::error::StoreError;
use crate::options::Moment;
use replibook_core::run::{Digest, Progress, Run, RunId, Snapshot, Timestamp};

pub(super) const RUN: &str = "a run";

pub(super) fn create_run(connection: &Connection, new: &NewRun, at: &Moment) -> Result<Created> {
    let id = new.run.id();
    if let Some((before, request)) = known(connection, new, at)? {
        return if request == new.request.as_str() {
            Ok(Created::Before(before))
        } else {
            Err(StoreError::of_another_request(before))
        };
    }
    let pins = new.run.snapshot.pins();
    check_pins(connection, &pins)?;
    check_cluster(connection, &new.run.snapshot.cluster)?;
    lock_at_once(connection, &new.run)?;
    pin(connection, &pins)?;

    // An expired run that is still in the file gives up its key.
    let sql = "UPDATE snapshots SET idempotency_key = NULL WHERE idempotency_key = ?1";
    change(connection, RUN, sql, params![new.idempotency_key])?;
    let sql = "INSERT OR REPLACE INTO snapshots (run, idempotency_key, request, body) \
               VALUES (?1, ?2, ?3, ?4)";
    let body = encode(RUN, &new.run.snapshot)?;
    let row = params![run_key(id), new.idempotency_key, new.request.as_str(), body];
    change(connection, RUN, sql, row)?;

    let progress = &new.run.progress;
    let sql = "INSERT OR REPLACE INTO runs (id, cluster, status, engine, epoch, lease_until, \
               finishing_at, finish_ts, locks_cluster, progress, playbook, version) \
               VALUES (?1, ?2, ?3, NULL, 0, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";
    let row = params![
        run_key(id),
        new.run.snapshot.cluster,
        progress.status.as_str(),
        FREE,
        millis(progress.finishing_at),
        millis(progress.finish_ts),
        new.run.snapshot.locks_cluster(),
        encode(RUN, progress)?,
        new.run.snapshot.playbook.name,
        new.run.snapshot.playbook.version.to_string(),
    ];
    change(connection, RUN, sql, row)?;
    for digest in pins {
        let sql = "INSERT OR REPLACE INTO run_pins (digest, run) VALUES (?1, ?2)";
        change(connection, RUN, sql, params![digest.as_str(), run_key(id)])?;
    }
    for event in &new.events {
        let body = encode("an event", event)?;
        write_event(connection, id, event.seq, millis(event.finish_ts), &body)?;
    }
    Ok(Created::New(id))
}

/// The unexpired run that was created with this key, or else with this identifier, and its request.
fn known(connection: &Connection, new: &NewRun, at: &Moment) -> Result<Option<(RunId, String)>> {
    let cutoff = at.cutoff.as_millis();
    let read = |row: &Row<'_>| Ok((run_id(RUN, row, 0)?, column(RUN, row, 1)?));
    if let Some(key) = &new.idempotency_key {
        let sql = "SELECT run, request FROM snapshots JOIN runs ON id = run \
                   WHERE idempotency_key = ?1 AND (finish_ts IS NULL OR finish_ts >= ?2)";
        let known = first(connection, RUN, sql, params![key, cutoff], read)?;
        if known.is_some() {
            return Ok(known);
        }
    }
    let sql = "SELECT run, request FROM snapshots JOIN runs ON id = run \
               WHERE run = ?1 AND (finish_ts IS NULL OR finish_ts >= ?2)";
    first(connection, RUN, sql, params![run_key(new.run.id()), cutoff], read)
}

/// All columns from which a run is read.
pub(super) const COLUMNS: &str = "body, progress, id, cluster, status, finish_ts \
                       FROM runs LEFT JOIN snapshots ON run = id";

pub(super) fn run_of_request(
    connection: &Connection,
    key: &str,
    request: &Digest,
    at: &Moment,
) -> Result<Option<Run>> {
    let sql = format!(
        "SELECT request, {COLUMNS} WHERE idempotency_key = ?1 \
         AND (finish_ts IS NULL OR finish_ts >= ?2)"
    );
    let read = |row: &Row<'_>| {
        let run = read_run_from(row, 1)?.map_err(|damaged| damaged.damage)?;
        Ok((run, column::<String>(RUN, row, 0)?))
    };
    match first(connection, RUN, &sql, params![key, at.cutoff.as_millis()], read)? {
        Some((run, known)) if known == request.as_str() => Ok(Some(run)),
        Some((run, _)) => Err(StoreError::of_another_request(run.id())),
        None => Ok(None),
    }
}

pub(super) fn run(connection: &Connection, id: RunId, at: &Moment) -> Result<Option<KeptRun>> {
    let sql = format!("SELECT {COLUMNS} WHERE id = ?1 AND (finish_ts IS NULL OR finish_ts >= ?2)");
    first(connection, RUN, &sql, params![run_key(id), at.cutoff.as_millis()], read_run)
}

/// How far these runs are.
pub(super) fn heads(connection: &Connection, runs: &[RunId], at: &Moment) -> Result<Vec<Head>> {
    let sql = "SELECT status, CASE WHEN json_valid(progress) \
               THEN json_extract(progress, '$.next_event') END FROM runs \
               WHERE id = ?1 AND (finish_ts IS NULL OR finish_ts >= ?2)";
    let runs: BTreeSet<_> = runs.iter().take(MAX_PAGE as usize).copied().collect();
    let mut heads = Vec::new();
    for run in runs {
        let row = params![run_key(run), at.cutoff.as_millis()];
        heads.extend(first(connection, RUN, sql, row, |row| {
            // A damaged column may contain anything.
            let status = row.get::<_, String>(0).ok().and_then(|word| word.parse().ok());
            let next_event = row.get::<_, i64>(1).ok().map(i64::unsigned_abs);
            Ok(Head { run, status, next_event })
        })?);
    }
    Ok(heads)
}

/// Reads a run from these columns: its snapshot, progress, status and cluster.
pub(super) fn read_whole(
    row: &Row<'_>,
    [snapshot, progress, status, cluster]: [usize; 4],
) -> Decoded<Run> {
    let snapshot = read_snapshot(row, snapshot).map_err(|why| format!("its snapshot: {why}"))?;
    let progress = read_progress(row, progress, status)?;
    same_word(row, cluster, "cluster", &snapshot.cluster)?;
    Ok(Run { snapshot, progress })
}

fn read_snapshot(row: &Row<'_>, column: usize) -> Decoded<Arc<Snapshot>> {
    decode(row, column).map(Arc::new)
}

/// Reads the progress of a run. Lists find runs by the status in its column, so the two must agree.
fn read_progress(row: &Row<'_>, progress: usize, status: usize) -> Decoded<Progress> {
    let progress: Progress = decode(row, progress)?;
    same_word(row, status, "status", progress.status.as_str())?;
    Ok(progress)
}

/// Reads a run, or what is known of it if one of its two documents can't be read.
pub(super) fn read_run(row: &Row<'_>) -> Result<KeptRun> {
    read_run_from(row, 0)
}

/// The same, with [`COLUMNS`] beginning at column `from`.
fn read_run_from(row: &Row<'_>, from: usize) -> Result<KeptRun> {
    let why = match read_whole(row, [from, from + 1, from + 4, from + 3]) {
        Ok(run) => return Ok(Ok(run)),
        Err(why) => why,
    };
    let snapshot = read_snapshot(row, from).ok();
    let status: Option<String> = row.get(from + 4).ok();
    let finish_ts: Option<i64> = row.get(from + 5).ok().flatten();
    let id = run_id(RUN, row, from + 2)?;
    let glance = Glance {
        id,
        cluster: match &snapshot {
            Some(snapshot) => Some(snapshot.cluster.clone()),
            None => row.get(from + 3).ok(),
        },
        status: status.and_then(|word| word.parse().ok()),
        finish_ts: finish_ts.map(Timestamp::from_millis),
        snapshot,
    };
    Ok(Err(Box::new(DamagedRun { glance, damage: Damage::new(RUN, id.to_string(), &why) })))
}
