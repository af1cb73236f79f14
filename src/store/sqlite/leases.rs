//! Leases: who may commit to a run.

use rusqlite::{Connection, params};

use super::rows::{all, change, column, integer, run_id, run_key};
use crate::run::{EngineId, RunId};
use crate::store::contract::{Lease, Result};
use crate::store::keys::page_limit;
use crate::store::options::Moment;

const LEASE: &str = "a lease";

/// When a lease that nobody holds expires: it always has.
pub(super) const FREE: i64 = i64::MIN;

/// Voids the leases of all unfinished runs: they were of engines that no longer use this data
/// directory.
pub(super) fn release_all(connection: &Connection) -> Result<()> {
    let sql = "UPDATE runs INDEXED BY runs_by_engine SET engine = NULL, lease_until = ?1 \
               WHERE engine IS NOT NULL AND finish_ts IS NULL";
    change(connection, LEASE, sql, params![FREE]).map(drop)
}

pub(super) fn claim(
    connection: &Connection,
    engine: &EngineId,
    limit: u32,
    at: &Moment,
) -> Result<Vec<Lease>> {
    let sql = "SELECT id, epoch FROM runs INDEXED BY runs_by_lease \
               WHERE finish_ts IS NULL AND lease_until <= ?1 AND length(id) = 16 ORDER BY id LIMIT ?2";
    let row = params![at.now.as_millis(), page_limit(limit)];
    let leases = all(connection, LEASE, sql, row, |row| {
        let epoch: i64 = column(LEASE, row, 1)?;
        // One whose identifier is none can't be driven, and must not keep the others from it.
        let run = run_id(LEASE, row, 0).ok();
        let epoch = epoch.unsigned_abs() + 1;
        Ok(run.map(|run| Lease { run, epoch, until: at.lease_until }))
    })?;
    let leases: Vec<_> = leases.into_iter().flatten().collect();
    for lease in &leases {
        let sql = "UPDATE runs SET engine = ?1, epoch = ?2, lease_until = ?3 WHERE id = ?4";
        let until = lease.until.as_millis();
        let row = params![engine.0, integer(lease.epoch), until, run_key(lease.run)];
        change(connection, LEASE, sql, row)?;
    }
    Ok(leases)
}

pub(super) fn renew(connection: &Connection, engine: &EngineId, at: &Moment) -> Result<Vec<Lease>> {
    let sql = "UPDATE runs SET lease_until = ?1 \
               WHERE engine = ?2 AND finish_ts IS NULL AND lease_until > ?3 RETURNING id, epoch";
    let row = params![at.lease_until.as_millis(), engine.0, at.now.as_millis()];
    let mut leases = all(connection, LEASE, sql, row, |row| {
        let epoch: i64 = column(LEASE, row, 1)?;
        let run = run_id(LEASE, row, 0)?;
        Ok(Lease { run, epoch: epoch.unsigned_abs(), until: at.lease_until })
    })?;
    leases.sort_by_key(|lease| lease.run);
    Ok(leases)
}

pub(super) fn release(connection: &Connection, run: RunId, epoch: u64) -> Result<()> {
    let sql = "UPDATE runs SET engine = NULL, lease_until = ?1 WHERE id = ?2 AND epoch = ?3";
    change(connection, LEASE, sql, params![FREE, run_key(run), integer(epoch)]).map(drop)
}
