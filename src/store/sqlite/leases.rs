//! Leases: who may commit to a run. Only one engine uses the file, so its own clock decides.

use rusqlite::types::Value;
use rusqlite::{Connection, params, params_from_iter};

use super::commands::{is_waited_for, waiting};
use super::commit::check_fence;
use super::rows::{all, change, column, first, integer, run_id, run_key};
use crate::contract::{Lease, MAX_PAGE, Result};
use crate::damage::pass_over;
use crate::documents::{Claim, Holder};
use crate::keys::page_limit;
use crate::options::Moment;
use replibook_core::run::{EngineId, KNOWN_FORMAT, RunId, Timestamp};

const LEASE: &str = "a lease";

/// The format that a run needs. If the progress can't be read, this is 0, so that any engine may claim the run;
/// the one that takes it up sets it aside.
const NEEDS: &str = "CASE WHEN json_valid(progress) \
                     THEN coalesce(json_extract(progress, '$.needs'), 0) ELSE 0 END";

/// The expiry of a lease that nobody holds: it is always over.
pub(super) const FREE: i64 = i64::MIN;

/// The value of `parked` of a run without an engine for which a command has come.
const WOKEN: i64 = 2;

/// Voids the leases of all unfinished runs: they belong to engines that no longer use this data directory.
pub(super) fn void_all(connection: &Connection) -> Result<()> {
    let sql = "UPDATE runs INDEXED BY runs_by_engine SET engine = NULL, lease_until = ?1 \
               WHERE engine IS NOT NULL AND finish_ts IS NULL";
    change(connection, LEASE, sql, params![FREE]).map(drop)
}

pub(super) fn claim(
    connection: &Connection,
    engine: &EngineId,
    claim: &Claim,
    at: &Moment,
) -> Result<Vec<Lease>> {
    let Claim { limit, full, only_woken, passed } = claim;
    let marks = |count| vec!["?"; count].join(", ");
    let (of_full, of_passed) = (marks(full.len()), marks(passed.len()));
    let sql = format!(
        "SELECT id, epoch, cluster, engine FROM runs INDEXED BY runs_by_lease \
         WHERE finish_ts IS NULL AND lease_until <= ? AND length(id) = 16 AND {NEEDS} <= ? \
         AND NOT (status = 'PENDING' AND cluster IN ({of_full})) AND id NOT IN ({of_passed}) \
         AND parked >= ? ORDER BY id LIMIT ?"
    );
    let mut values = vec![Value::Integer(at.now.as_millis()), Value::Integer(KNOWN_FORMAT.into())];
    values.extend(full.iter().map(|name| Value::Text(name.clone())));
    values.extend(passed.iter().map(|run| Value::Blob(run_key(*run).to_vec())));
    values.push(Value::Integer(if *only_woken { WOKEN } else { 0 }));
    values.push(Value::Integer(page_limit(*limit).into()));
    let leases = all(connection, LEASE, &sql, params_from_iter(values), |row| {
        let epoch: i64 = column(LEASE, row, 1)?;
        let (epoch, until) = (epoch.unsigned_abs() + 1, at.lease_until);
        let (cluster, from) = (row.get(2).ok(), row.get(3).ok().map(EngineId));
        // A run whose identifier is damaged can't be driven, and must not keep the engine from the others.
        let run = run_id(LEASE, row, 0).ok();
        Ok(run.map(|run| Lease { run, epoch, until, cluster, from }))
    })?;
    let leases: Vec<_> = leases.into_iter().flatten().collect();
    for lease in &leases {
        let sql = "UPDATE runs SET engine = ?1, epoch = ?2, lease_until = ?3, lease_since = ?4, \
                   parked = 0 WHERE id = ?5";
        let (until, since) = (lease.until.as_millis(), at.now.as_millis());
        let row = params![engine.0, integer(lease.epoch), until, since, run_key(lease.run)];
        change(connection, LEASE, sql, row)?;
    }
    Ok(leases)
}

pub(super) fn unclaimed(connection: &Connection, at: &Moment) -> Result<u32> {
    let sql = format!(
        "SELECT count(*) FROM (SELECT 1 FROM runs INDEXED BY runs_by_lease \
         WHERE finish_ts IS NULL AND lease_until <= ?1 AND {NEEDS} <= ?3 LIMIT ?2)"
    );
    let row = params![at.now.as_millis(), MAX_PAGE, KNOWN_FORMAT];
    Ok(first(connection, LEASE, &sql, row, |row| column(LEASE, row, 0))?.unwrap_or_default())
}

pub(super) fn holders(connection: &Connection, runs: &[RunId], at: &Moment) -> Result<Vec<Holder>> {
    let mut runs = runs.to_vec();
    runs.sort_unstable();
    runs.dedup();
    let sql = "SELECT engine, lease_since FROM runs \
               WHERE id = ?1 AND engine IS NOT NULL AND lease_until > ?2 AND finish_ts IS NULL";
    let mut holders = Vec::new();
    for run in runs {
        let row = params![run_key(run), at.now.as_millis()];
        holders.extend(first(connection, LEASE, sql, row, |row| {
            let since = Timestamp::from_millis(column(LEASE, row, 1)?);
            Ok(Holder { run, engine: EngineId(column(LEASE, row, 0)?), since })
        })?);
    }
    Ok(holders)
}

pub(super) fn park(
    connection: &Connection,
    run: RunId,
    epoch: u64,
    until: Timestamp,
    at: &Moment,
) -> Result<bool> {
    check_fence(connection, run, epoch, at)?;
    let waiting = waiting(connection, run, at)?;
    if waiting.iter().any(std::result::Result::is_ok) {
        return Ok(false);
    }
    waiting
        .iter()
        .filter_map(|command| command.as_ref().err())
        .for_each(|lost| pass_over(run, lost));
    let sql = "UPDATE runs SET engine = NULL, epoch = epoch + 1, lease_until = ?2, parked = 1 \
               WHERE id = ?1";
    change(connection, LEASE, sql, params![run_key(run), until.as_millis()])?;
    Ok(true)
}

/// Wakes a run for which a command has come, if it is parked or its lease has run out: even engines that have no
/// place for it may take it up then. Returns how many runs that were, 0 or 1.
pub(super) fn wake_run(connection: &Connection, run: RunId, at: &Moment) -> Result<u64> {
    let sql = "UPDATE runs SET parked = ?3, \
               lease_until = CASE parked WHEN 1 THEN ?2 ELSE lease_until END \
               WHERE id = ?1 AND finish_ts IS NULL AND parked <> ?3 \
               AND (parked = 1 OR lease_until <= ?4)";
    let row = params![run_key(run), FREE, WOKEN, at.now.as_millis()];
    Ok(change(connection, LEASE, sql, row)? as u64)
}

/// The runs to wake: for each of them a readable command waits.
pub(super) fn asleep(connection: &Connection, at: &Moment) -> Result<Vec<RunId>> {
    let sql = "SELECT DISTINCT r.id FROM commands c JOIN runs r ON r.id = c.run \
               WHERE c.waiting = 1 AND (c.finish_ts IS NULL OR c.finish_ts >= ?1) \
               AND r.finish_ts IS NULL AND r.parked <> ?2 AND (r.parked = 1 OR r.lease_until <= ?3) \
               ORDER BY r.id LIMIT ?4";
    let row = params![at.cutoff.as_millis(), WOKEN, at.now.as_millis(), MAX_PAGE];
    let runs = all(connection, LEASE, sql, row, |row| Ok(run_id(LEASE, row, 0).ok()))?;
    let mut asleep = Vec::new();
    for run in runs.into_iter().flatten() {
        if is_waited_for(connection, run, at)? {
            asleep.push(run);
        }
    }
    Ok(asleep)
}

/// Wakes those of these runs for which a command still waits. Returns how many.
pub(super) fn wake(connection: &Connection, runs: &[RunId], at: &Moment) -> Result<u64> {
    let mut woken = 0;
    for run in runs {
        if is_waited_for(connection, *run, at)? {
            woken += wake_run(connection, *run, at)?;
        }
    }
    Ok(woken)
}

pub(super) fn renew(connection: &Connection, engine: &EngineId, at: &Moment) -> Result<Vec<Lease>> {
    let sql = "UPDATE runs SET lease_until = ?1 \
               WHERE engine = ?2 AND finish_ts IS NULL AND lease_until > ?3 RETURNING id, epoch";
    let row = params![at.lease_until.as_millis(), engine.0, at.now.as_millis()];
    let mut leases = all(connection, LEASE, sql, row, |row| {
        let epoch: i64 = column(LEASE, row, 1)?;
        let run = run_id(LEASE, row, 0)?;
        let (epoch, until) = (epoch.unsigned_abs(), at.lease_until);
        Ok(Lease { run, epoch, until, cluster: None, from: None })
    })?;
    leases.sort_by_key(|lease| lease.run);
    Ok(leases)
}

pub(super) fn release(connection: &Connection, run: RunId, epoch: u64) -> Result<()> {
    let sql = "UPDATE runs SET engine = NULL, lease_until = ?1 WHERE id = ?2 AND epoch = ?3";
    change(connection, LEASE, sql, params![FREE, run_key(run), integer(epoch)]).map(drop)
}

pub(super) fn release_all(connection: &Connection, engine: &EngineId) -> Result<()> {
    let sql = "UPDATE runs INDEXED BY runs_by_engine SET engine = NULL, lease_until = ?1 \
               WHERE engine = ?2 AND finish_ts IS NULL";
    change(connection, LEASE, sql, params![FREE, engine.0]).map(drop)
}

#[cfg(test)]
mod tests {
    use super::super::commands::submit;
    use super::super::schema;
    use super::*;
    use replibook_core::run::{Command, CommandId, Verb};

    /// Nobody takes up a command that can't be read, so it must not cause a write each time that runs to wake are
    /// looked for.
    #[test]
    fn a_run_is_asleep_only_if_a_command_waits_that_can_be_read() {
        let connection = Connection::open_in_memory().unwrap();
        schema::migrate(&connection).unwrap();
        let now = Timestamp::from_millis(0);
        let at =
            Moment { now, cutoff: now, plugins_cutoff: now, lease_until: now, engines_since: now };
        let run = RunId(uuid::Uuid::from_u128(7));
        let sql = "INSERT INTO runs (id, cluster, status, epoch, lease_until, progress, parked) \
                   VALUES (?1, 'a', 'PAUSED', 0, 0, '{}', 1)";
        connection.execute(sql, params![run_key(run)]).unwrap();
        let command = Command {
            id: CommandId(uuid::Uuid::from_u128(9)),
            run,
            verb: Verb::Cancel,
            agent: None,
            again: false,
            signal: None,
            override_guard: None,
            approves: None,
            actor: None,
            why: None,
            at: now,
            outcome: None,
            finish_ts: None,
        };
        submit(&connection, &command, &at).unwrap();
        let set = |column: &str| {
            assert_eq!(connection.execute(&format!("UPDATE {column}"), []).unwrap(), 1);
        };
        set("runs SET parked = 1");
        assert_eq!(asleep(&connection, &at).unwrap(), [run]);
        set("commands SET body = substr(body, 2)");
        assert_eq!(asleep(&connection, &at).unwrap(), []);
        assert_eq!(wake(&connection, &[run], &at).unwrap(), 0);
        set("commands SET body = '{' || body");
        assert_eq!(wake(&connection, &[run], &at).unwrap(), 1);
        assert_eq!(asleep(&connection, &at).unwrap(), []);
    }
}
