//! Runs that can't go on, and how they end. Documents that can't be read are left alone: the columns of the run
//! count.

use rusqlite::{Connection, Row, params};

use super::commit::{check_fence, write_event};
use super::finishing::stamp_some;
use super::leases::FREE;
use super::rows::{Decoded, change, column, decode, encode, first, found, millis, run_key};
use crate::contract::Result;
use crate::documents::{Abandon, Abandonment, Ending, Failed};
use crate::keys::page_limit;
use crate::options::Moment;
use crate::troubled;
use replibook_core::run::{EngineId, Progress, RunEvent, RunId, RunStatus, Timestamp, Trouble};

const TROUBLE: &str = "the trouble of a run";

/// A moment that never comes: until then nobody may claim an abandoned run.
const NEVER: i64 = i64::MAX;

pub(super) fn set_aside(
    connection: &Connection,
    run: RunId,
    epoch: u64,
    engine: &EngineId,
    failure: &Failed,
    at: &Moment,
) -> Result<Trouble> {
    check_fence(connection, run, epoch, at)?;
    let sql = "SELECT cluster FROM runs WHERE id = ?1";
    let cluster = first(connection, TROUBLE, sql, params![run_key(run)], |row| {
        Ok(row.get::<_, String>(0).ok())
    })?;
    let before = trouble(connection, run)?;
    let trouble = troubled::failed(before, (run, cluster.flatten()), engine, failure, at);
    set_free(connection, run, troubled::rests_until(&trouble, at).as_millis())?;
    keep(connection, &trouble)?;
    Ok(trouble)
}

pub(super) fn recover(connection: &Connection, run: RunId, epoch: u64, at: &Moment) -> Result<()> {
    check_fence(connection, run, epoch, at)?;
    let sql = "DELETE FROM troubles WHERE run = ?1";
    change(connection, TROUBLE, sql, params![run_key(run)]).map(drop)
}

pub(super) fn troubles(
    connection: &Connection,
    after: Option<RunId>,
    limit: u32,
) -> Result<Vec<Trouble>> {
    let sql = "SELECT t.body FROM troubles t JOIN runs r ON r.id = t.run \
               WHERE r.finish_ts IS NULL AND (?1 IS NULL OR t.run > ?1) ORDER BY t.run LIMIT ?2";
    let row = params![after.map(run_key), page_limit(limit)];
    let found = found(connection, TROUBLE, sql, row, |_| String::new(), read)?;
    Ok(found.into_iter().flatten().collect())
}

pub(super) fn troubles_of(
    connection: &Connection,
    runs: &[RunId],
    at: &Moment,
) -> Result<Vec<Trouble>> {
    let mut runs = runs.to_vec();
    runs.sort_unstable();
    let mut found = Vec::new();
    for run in runs {
        found.extend(trouble(connection, run)?.filter(|trouble| at.shows(trouble.finish_ts)));
    }
    Ok(found)
}

pub(super) fn rouse(connection: &Connection) -> Result<u64> {
    let sql = "UPDATE runs SET lease_until = ?1 WHERE id IN (SELECT run FROM troubles) \
               AND finish_ts IS NULL AND engine IS NULL AND parked <> 1 AND lease_until < ?2";
    Ok(change(connection, TROUBLE, sql, params![FREE, NEVER])? as u64)
}

/// What is known of a run that is to be ended.
struct Kept {
    cluster: Option<String>,
    status: Option<RunStatus>,
    /// The end of the lease that an engine has. None if no engine has one.
    lease_until: Option<Timestamp>,
    finishing_at: Option<Timestamp>,
    finish_ts: Option<Timestamp>,
    progress: Option<Progress>,
}

fn kept(connection: &Connection, run: RunId, at: &Moment) -> Result<Option<Kept>> {
    let sql = "SELECT progress, cluster, status, engine IS NOT NULL, lease_until, finishing_at, \
               finish_ts FROM runs WHERE id = ?1 AND (finish_ts IS NULL OR finish_ts >= ?2)";
    let moment = |row: &Row<'_>, index| row.get(index).ok().flatten().map(Timestamp::from_millis);
    first(connection, TROUBLE, sql, params![run_key(run), at.cutoff.as_millis()], |row| {
        let status: Option<String> = row.get(2).ok();
        let is_held: bool = column(TROUBLE, row, 3)?;
        Ok(Kept {
            progress: decode(row, 0).ok(),
            cluster: row.get(1).ok(),
            status: status.and_then(|word| word.parse().ok()),
            lease_until: moment(row, 4).filter(|_| is_held),
            finishing_at: moment(row, 5),
            finish_ts: moment(row, 6),
        })
    })
}

pub(super) fn abandon(
    connection: &Connection,
    run: RunId,
    request: &Abandon,
    at: &Moment,
) -> Result<Abandonment> {
    let Some(mut kept) = kept(connection, run, at)? else { return Ok(Abandonment::Unknown) };
    let before = trouble(connection, run)?;
    match before {
        Some(known) if known.abandoned.is_some() => return Ok(Abandonment::Begun(known)),
        _ if kept.finish_ts.is_some() => return Ok(Abandonment::Finished),
        None if !request.force => return Ok(Abandonment::NotTroubled),
        Some(_) | None => {}
    }
    let of = (run, kept.cluster.take());
    let trouble = troubled::abandoned(before, of, request, kept.lease_until, kept.finishing_at, at);
    set_free(connection, run, NEVER)?;
    if let Some(abandoned) = &trouble.abandoned {
        let seq = next_event(connection, run)?;
        let begun = abandoned.begin(run, kept.status, kept.progress.as_mut(), seq);
        let sql = "UPDATE runs SET status = ?2, finishing_at = ?3 WHERE id = ?1";
        let row = params![run_key(run), RunStatus::Finishing.as_str(), abandoned.at.as_millis()];
        change(connection, TROUBLE, sql, row)?;
        write(connection, run, kept.progress.as_ref(), begun.as_ref())?;
    }
    keep(connection, &trouble)?;
    Ok(Abandonment::Begun(trouble))
}

pub(super) fn end_abandoned(connection: &Connection, run: RunId, at: &Moment) -> Result<Ending> {
    let Some(trouble) = trouble(connection, run)? else { return Ok(Ending::Ended) };
    let Some(abandoned) = trouble.abandoned.clone() else { return Ok(Ending::Ended) };
    let Some(mut kept) = kept(connection, run, at)?.filter(|kept| kept.finish_ts.is_none()) else {
        return Ok(Ending::Ended);
    };
    if stamp_some(connection, run, abandoned.at)? > 0 {
        return Ok(Ending::Going);
    }
    if at.now < abandoned.not_before {
        return Ok(Ending::Waits(abandoned.not_before));
    }
    let seq = next_event(connection, run)?;
    let ended = abandoned.end(run, kept.progress.as_mut(), seq);
    let sql = "UPDATE runs SET status = ?2, finish_ts = ?3 WHERE id = ?1";
    let row = params![run_key(run), RunStatus::Failed.as_str(), abandoned.at.as_millis()];
    change(connection, TROUBLE, sql, row)?;
    write(connection, run, kept.progress.as_ref(), Some(&ended))?;
    keep(connection, &Trouble { finish_ts: Some(abandoned.at), ..trouble })?;
    Ok(Ending::Ended)
}

fn read(row: &Row<'_>) -> Decoded<Trouble> {
    decode(row, 0)
}

/// The trouble of a run. A trouble that can't be read counts as none, and is written anew.
fn trouble(connection: &Connection, run: RunId) -> Result<Option<Trouble>> {
    let sql = "SELECT body FROM troubles WHERE run = ?1";
    let found = first(connection, TROUBLE, sql, params![run_key(run)], |row| Ok(read(row).ok()))?;
    Ok(found.flatten())
}

fn keep(connection: &Connection, trouble: &Trouble) -> Result<()> {
    let sql = "INSERT OR REPLACE INTO troubles (run, finish_ts, body) VALUES (?1, ?2, ?3)";
    let body = encode(TROUBLE, trouble)?;
    let row = params![run_key(trouble.run), millis(trouble.finish_ts), body];
    change(connection, TROUBLE, sql, row).map(drop)
}

/// Takes the run from the engine that has it. Nobody may claim it before `until`.
fn set_free(connection: &Connection, run: RunId, until: i64) -> Result<()> {
    let sql = "UPDATE runs SET engine = NULL, epoch = epoch + 1, lease_until = ?2, parked = 0 \
               WHERE id = ?1";
    change(connection, TROUBLE, sql, params![run_key(run), until]).map(drop)
}

fn write(
    connection: &Connection,
    run: RunId,
    progress: Option<&Progress>,
    event: Option<&RunEvent>,
) -> Result<()> {
    if let Some(progress) = progress {
        let sql = "UPDATE runs SET progress = ?2 WHERE id = ?1";
        change(connection, TROUBLE, sql, params![run_key(run), encode("a run", progress)?])?;
    }
    if let Some(event) = event {
        let body = encode("an event", event)?;
        write_event(connection, run, event.seq, millis(event.finish_ts), &body)?;
    }
    Ok(())
}

/// The sequence of the event that follows the last one of a run.
fn next_event(connection: &Connection, run: RunId) -> Result<u64> {
    let sql = "SELECT coalesce(max(seq), 0) FROM events WHERE run = ?1";
    let last = first(connection, TROUBLE, sql, params![run_key(run)], |row| {
        column::<i64>(TROUBLE, row, 0)
    })?;
    Ok(last.map_or(1, |last| last.unsigned_abs() + 1))
}
