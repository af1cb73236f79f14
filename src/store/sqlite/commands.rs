//! Commands, from their submission until an engine takes them up.

use rusqlite::{Connection, params};

use super::leases::wake_run;
use super::rows::{
    change, column, command_key, document, encode, first, found, key_of, millis, record, run_key,
};
use crate::contract::{MAX_PAGE, Result};
use crate::damage::Found;
use crate::documents::Put;
use crate::keys::page_limit;
use crate::options::Moment;
use replibook_core::run::{Command, CommandId, EngineId, RunId};

const COMMAND: &str = "a command";

pub(super) fn submit(connection: &Connection, new: &Command, at: &Moment) -> Result<Put> {
    let finish_ts = match new.finish_ts {
        Some(finish_ts) => Some(finish_ts.as_millis()),
        None => finish_ts_of_late(connection, new, at)?,
    };
    let sql = "INSERT INTO commands (id, run, at, waiting, finish_ts, body) \
               VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (id) DO UPDATE SET \
               run = ?2, at = ?3, waiting = ?4, finish_ts = ?5, body = ?6 \
               WHERE finish_ts < ?7";
    let changed = change(
        connection,
        COMMAND,
        sql,
        params![
            command_key(new.id),
            run_key(new.run),
            new.at.as_millis(),
            new.outcome.is_none(),
            finish_ts,
            encode(COMMAND, new)?,
            at.cutoff.as_millis(),
        ],
    )?;
    if changed == 0 {
        return Ok(Put::Unchanged);
    }
    wake_run(connection, new.run, at)?;
    Ok(Put::Created)
}

/// The `finish_ts` of a command that may come too late to be stamped together with its run.
fn finish_ts_of_late(connection: &Connection, new: &Command, at: &Moment) -> Result<Option<i64>> {
    let sql = "SELECT finishing_at FROM runs \
               WHERE id = ?1 AND (finish_ts IS NULL OR finish_ts >= ?2)";
    let row = params![run_key(new.run), at.cutoff.as_millis()];
    let finishing = first(connection, COMMAND, sql, row, |row| column(COMMAND, row, 0))?;
    Ok(finishing.unwrap_or(millis(Some(at.now))))
}

pub(super) fn command(
    connection: &Connection,
    id: CommandId,
    at: &Moment,
) -> Result<Option<Command>> {
    let sql = "SELECT body, finish_ts FROM commands \
               WHERE id = ?1 AND (finish_ts IS NULL OR finish_ts >= ?2)";
    let row = params![command_key(id), at.cutoff.as_millis()];
    document(connection, COMMAND, sql, row, &id.0.to_string(), record)
}

/// Whether a readable command waits for the run.
pub(super) fn is_waited_for(connection: &Connection, run: RunId, at: &Moment) -> Result<bool> {
    Ok(!unanswered(connection, run, at)?.is_empty())
}

/// The readable commands that wait for the run.
pub(super) fn unanswered(connection: &Connection, run: RunId, at: &Moment) -> Result<Vec<Command>> {
    let waiting = waiting(connection, run, at)?;
    Ok(waiting.into_iter().filter_map(std::result::Result::ok).collect())
}

/// The commands that wait for the run, including those that can't be read.
pub(super) fn waiting(connection: &Connection, run: RunId, at: &Moment) -> Result<Found<Command>> {
    let sql = "SELECT body, finish_ts, id FROM commands \
               WHERE run = ?1 AND waiting = 1 AND (finish_ts IS NULL OR finish_ts >= ?2) \
               ORDER BY at, id LIMIT ?3";
    let row = params![run_key(run), at.cutoff.as_millis(), MAX_PAGE];
    found(connection, COMMAND, sql, row, |row| key_of(row, &[2]), record)
}

pub(super) fn waiting_commands(
    connection: &Connection,
    engine: &EngineId,
    limit: u32,
    at: &Moment,
) -> Result<Vec<Command>> {
    let sql = "SELECT c.body, c.finish_ts FROM commands c JOIN runs r ON r.id = c.run \
               WHERE c.waiting = 1 AND (c.finish_ts IS NULL OR c.finish_ts >= ?1) \
               AND r.engine = ?2 AND r.lease_until > ?3 AND r.finish_ts IS NULL \
               ORDER BY c.at, c.id LIMIT ?4";
    let row = params![at.cutoff.as_millis(), engine.0, at.now.as_millis(), page_limit(limit)];
    let found = found(connection, COMMAND, sql, row, |_| String::new(), record)?;
    Ok(found.into_iter().filter_map(std::result::Result::ok).collect())
}
